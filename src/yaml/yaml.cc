// The parser that the rest of cd4ml sees: loads, reads and checks one file.
#include "cd4ml/yaml/yaml.h"

#include <algorithm>

#include "cd4ml/core/matrix.h"
#include "cd4ml/core/validate.h"
#include "yaml/params_file.h"
#include "yaml/read.h"
#include "yaml/scan.h"

namespace cd4ml::yaml {
namespace {

namespace code = core::code;

void Append(core::Diagnostics more, core::Diagnostics& all) {
  all.insert(all.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
}

// Only the first findings are shown: after so many, the rest is noise.
void Finish(std::string_view text, std::string_view file, core::Diagnostics& findings) {
  core::Locate(text, file, findings);
  if (findings.size() <= kFindingsMax) return;
  findings.resize(kFindingsMax);
  core::Diagnostic last = findings.back();
  last.code = code::kTooManyFindings;
  last.message = "more findings follow and are not shown";
  last.label.clear();
  last.help.clear();
  findings.push_back(std::move(last));
}

class YamlPipelineParser : public PipelineParser {
 public:
  ParsedPipeline Parse(std::string_view text, std::string_view file,
                       const core::Scope* scope) const override {
    ParsedPipeline parsed;
    parsed.spec.file = std::string(file);
    Tree tree = LoadTree(text);
    parsed.diagnostics = std::move(tree.findings);
    if (tree.is_usable) {
      Reader reader(tree, scope);
      parsed.spec = ReadPipeline(reader, tree.root);
      parsed.spec.file = std::string(file);
      Append(reader.TakeFindings(), parsed.diagnostics);
      Append(core::Validate(parsed.spec), parsed.diagnostics);
    }
    // What is wrong comes first; what could be better is said once nothing is.
    if (core::HasErrors(parsed.diagnostics)) {
      std::erase_if(parsed.diagnostics, [](const core::Diagnostic& one) { return one.severity == core::Severity::kWarning; });
    }
    Finish(text, file, parsed.diagnostics);
    if (core::HasErrors(parsed.diagnostics)) return parsed;
    parsed.expanded = ToJson(tree.root);
    const bool has_matrix = std::any_of(parsed.spec.stages.begin(), parsed.spec.stages.end(),
                                        [](const core::StageSpec& stage) { return stage.matrix.has_value(); });
    if (has_matrix && parsed.expanded.size() > kBytesMax) {
      // With the values of expressions in every cell it has grown beyond what can be read again.
      parsed.diagnostics = {core::MakeError(code::kTooLarge, {1, 1, 1}, "the definition is too large with its cells written out")};
      Finish(text, file, parsed.diagnostics);
      parsed.expanded.clear();
    }
    core::ExpandMatrices(parsed.spec);
    return parsed;
  }

  absl::StatusOr<core::GatePolicies> ParseGatePolicies(std::string_view text, std::string_view file) const override {
    Tree tree = LoadTree(text);
    core::Diagnostics findings = std::move(tree.findings);
    core::GatePolicies policies;
    if (tree.is_usable) {
      Reader reader(tree, nullptr);
      policies = ReadGatePolicies(reader, tree.root);
      Append(reader.TakeFindings(), findings);
    }
    Finish(text, file, findings);
    if (core::HasErrors(findings)) return absl::InvalidArgumentError(core::Brief(findings.front()));
    return policies;
  }

  absl::StatusOr<Value> ParseParams(std::string_view text, std::string_view file) const override {
    return ReadParamsFile(text, file);
  }

  absl::StatusOr<Value> ParseDocument(std::string_view text, std::string_view file) const override {
    return ReadDocument(text, file);
  }

  absl::StatusOr<std::string> WriteParams(const Value& params, std::string_view text,
                                          std::string_view file) const override {
    return WriteParamsFile(params, text, file);
  }
};

}  // namespace

std::unique_ptr<PipelineParser> MakePipelineParser() {
  return std::make_unique<YamlPipelineParser>();
}

}  // namespace cd4ml::yaml
