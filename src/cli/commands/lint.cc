// `cd4ml lint`: checks pipeline files without a daemon.
#include "cd4ml/ports/diagnostic_payload.h"
#include "cli/commands/commands.h"
#include "cli/definition.h"
#include "cli/text.h"

namespace cd4ml::cli {
namespace {

// Returns what is wrong with the files that the contract gates of a definition name. What lies beside the definition may be
// meant to become a repository of its own; registering it looks at the top alone.
core::Diagnostics CheckContracts(const Invocation& invocation, const std::string& file, const core::PipelineSpec& pipeline) {
  const std::string top = invocation.ports.checkout_of(file) + "/";
  const std::string beside = file.substr(0, file.rfind('/') + 1);
  core::Diagnostics findings = invocation.ports.check_contracts(pipeline, [&](const std::string& path) {
    absl::StatusOr<std::string> text = invocation.ports.read_file(top + path);
    return absl::IsNotFound(text.status()) ? invocation.ports.read_file(beside + path) : text;
  });
  const absl::StatusOr<std::string> text = invocation.ports.read_file(file);
  core::Locate(text.ok() ? *text : "", file, findings);
  return findings;
}

int Perform(Invocation& invocation) {
  const auto files = DefinitionFiles(invocation, "FILE");
  if (!files.ok()) return invocation.Fail(files.status());
  core::Diagnostics findings;
  for (const std::string& file : *files) {
    const absl::StatusOr<ParsedPipeline> parsed = ReadDefinition(invocation, file);
    if (!parsed.ok()) return invocation.Fail(parsed.status());
    findings.insert(findings.end(), parsed->diagnostics.begin(), parsed->diagnostics.end());
    core::Diagnostics contracts = CheckContracts(invocation, file, parsed->spec);
    findings.insert(findings.end(), contracts.begin(), contracts.end());
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
