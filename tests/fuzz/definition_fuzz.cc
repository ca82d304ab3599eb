// Any bytes as a pipeline definition and as a parameter file: they are read within the limits, or refused; what is
// accepted keeps its meaning when it is written and read again.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "cd4ml/yaml/yaml.h"

namespace cd4ml {
namespace {

void Require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "violated: %s\n", what);
  std::abort();
}

// Knows every parameter, so that expressions are evaluated and not only refused.
core::Scope AnyScope() {
  core::Scope scope;
  scope.name = [](std::string_view name) -> std::optional<Value> {
    return name.size() % 2 == 0 ? Value(int64_t{7}) : Value("text");
  };
  scope.call = [](std::string_view, const std::vector<Value>&) -> std::optional<Value> { return Value(true); };
  return scope;
}

void CheckDefinition(const PipelineParser& parser, std::string_view text) {
  static const core::Scope scope = AnyScope();
  (void)parser.Parse(text, "fuzz.cd4ml.yaml", nullptr);
  const ParsedPipeline parsed = parser.Parse(text, "fuzz.cd4ml.yaml", &scope);
  if (core::HasErrors(parsed.diagnostics)) {
    Require(parsed.expanded.empty(), "a definition with errors is not expanded");
    return;
  }
  const ParsedPipeline again = parser.Parse(parsed.expanded, "fuzz.cd4ml.yaml", &scope);
  Require(!core::HasErrors(again.diagnostics), "an expanded definition is a definition");
  Require(again.expanded == parsed.expanded, "expanding twice changes nothing");
  Require(again.spec.stages.size() == parsed.spec.stages.size(), "expanding keeps every stage");
}

void CheckParams(const PipelineParser& parser, std::string_view text, const char* file) {
  const absl::StatusOr<Value> params = parser.ParseParams(text, file);
  if (!params.ok()) return;
  const absl::StatusOr<std::string> written = parser.WriteParams(*params, text, file);
  if (!written.ok()) return;
  const absl::StatusOr<Value> again = parser.ParseParams(*written, file);
  Require(again.ok(), "written parameters can be read");
  Require(ToJson(*again) == ToJson(*params), "written parameters are the ones that were read");
}

}  // namespace
}  // namespace cd4ml

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::unique_ptr<cd4ml::PipelineParser> parser = cd4ml::yaml::MakePipelineParser();
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  cd4ml::CheckDefinition(*parser, text);
  cd4ml::CheckParams(*parser, text, "params.yaml");
  cd4ml::CheckParams(*parser, text, "params.json");
  return 0;
}
