// Files are read through the port and parsed as the daemon would, but without the values of a run.
#include "cli/definition.h"

#include <algorithm>

#include "cd4ml/base/status.h"
#include "cli/text.h"

namespace cd4ml::cli {

absl::StatusOr<std::vector<std::string>> DefinitionFiles(const Invocation& invocation,
                                                         const std::string& operand) {
  std::vector<std::string> files = invocation.arguments.Many(operand);
  if (files.empty()) files = invocation.ports.find_definitions();
  if (files.empty()) return absl::NotFoundError("no *.cd4ml.yaml file here; name one");
  return files;
}

absl::StatusOr<ParsedPipeline> ReadDefinition(const Invocation& invocation,
                                              const std::string& file) {
  CD4ML_ASSIGN_OR_RETURN(const std::string text, invocation.ports.read_file(file));
  return invocation.ports.parser.Parse(text, file, /*scope=*/nullptr);
}

std::string FindingsText(const core::Diagnostics& findings, size_t files) {
  const int64_t errors = std::count_if(
      findings.begin(), findings.end(),
      [](const core::Diagnostic& finding) { return finding.severity == core::Severity::kError; });
  return Count(errors, "error", "errors") + ", " +
         Count(static_cast<int64_t>(findings.size()) - errors, "warning", "warnings") + " in " +
         Count(static_cast<int64_t>(files), "file", "files");
}

}  // namespace cd4ml::cli
