// `cd4ml lint`: checks pipeline files without a daemon.
#include "cd4ml/ports/diagnostic_payload.h"
#include "cli/commands/commands.h"
#include "cli/definition.h"
#include "cli/text.h"

namespace cd4ml::cli {
namespace {

int Perform(Invocation& invocation) {
  const auto files = DefinitionFiles(invocation, "FILE");
  if (!files.ok()) return invocation.Fail(files.status());
  core::Diagnostics findings;
  for (const std::string& file : *files) {
    const absl::StatusOr<ParsedPipeline> parsed = ReadDefinition(invocation, file);
    if (!parsed.ok()) return invocation.Fail(parsed.status());
    findings.insert(findings.end(), parsed->diagnostics.begin(), parsed->diagnostics.end());
  }
  if (invocation.is_json() || invocation.arguments.One("format") == "json") {
    invocation.PrintJson(DiagnosticsJson(DiagnosticsError("findings", findings)));
  } else {
    for (const core::Diagnostic& finding : findings)
      invocation.out.Write(SafeLines(core::Format(finding)));
    invocation.Note(FindingsText(findings, files->size()) +
                    (findings.empty() ? "" : ". More:  cd4ml explain " + findings.front().code));
  }
  return core::HasErrors(findings) ? kExitInvalidPipeline : kExitOk;
}

}  // namespace

Command Lint() {
  return {
      .path = "lint",
      .group = "Pipelines",
      .summary = "check pipeline files; needs no daemon",
      .examples = {"lint", "lint used-car-price.cd4ml.yaml --format json"},
      .operands = {{"FILE", "a pipeline file; without it: every *.cd4ml.yaml here", false, true}},
      .options = {{"--format", "FMT", "how findings are printed", false, {"text", "json"}}},
      .perform = Perform};
}

}  // namespace cd4ml::cli
