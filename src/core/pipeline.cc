// The words of the pipeline language for kinds and types, and looking things up in a pipeline.
#include "cd4ml/core/pipeline.h"

#include <algorithm>
#include <array>

namespace cd4ml::core {
namespace {

// In the order of the enumerators.
constexpr std::array<std::string_view, 8> kStageKinds = {
    "data_gate", "train", "model_gate", "package", "contract_gate", "deploy", "monitor", "command"};
constexpr std::array<std::string_view, 6> kOutputTypes = {"dataset",    "model",  "probe_set",
                                                          "deployable", "report", "file"};

template <typename Enum, size_t N>
std::optional<Enum> ParseWord(std::string_view text, const std::array<std::string_view, N>& words) {
  const auto found = std::find(words.begin(), words.end(), text);
  if (found == words.end()) return std::nullopt;
  return static_cast<Enum>(found - words.begin());
}

template <typename Named>
const Named* FindNamed(const std::vector<Named>& all, std::string_view name) {
  const auto found =
      std::find_if(all.begin(), all.end(), [&](const Named& one) { return one.name == name; });
  return found == all.end() ? nullptr : &*found;
}

}  // namespace

std::string_view ToText(StageKind kind) { return kStageKinds[static_cast<size_t>(kind)]; }
std::optional<StageKind> ParseStageKind(std::string_view text) {
  return ParseWord<StageKind>(text, kStageKinds);
}
bool IsGate(StageKind kind) {
  return kind == StageKind::kDataGate || kind == StageKind::kModelGate ||
         kind == StageKind::kContractGate;
}

std::string_view ToText(OutputType type) { return kOutputTypes[static_cast<size_t>(type)]; }
std::optional<OutputType> ParseOutputType(std::string_view text) {
  return ParseWord<OutputType>(text, kOutputTypes);
}

const StageSpec* PipelineSpec::FindStage(std::string_view stage) const {
  return FindNamed(stages, stage);
}
std::string SourceText(const MaterialSpec& material) {
  using Kind = MaterialSpec::Kind;
  switch (material.kind) {
    case Kind::kGit:
      break;
    case Kind::kData:
      return material.location + (material.pattern.empty() ? "" : " [" + material.pattern + "]");
    case Kind::kGitPath:
      return "git " + material.location + ":" + material.path + (material.ref.empty() ? "" : "@" + material.ref);
    case Kind::kDvc:
      return "dvc " + material.location + (material.output.empty() ? "" : ":" + material.output);
    case Kind::kPipeline:
      return material.location + "/" + material.output +
             (material.environment.empty() ? "" : " live in " + material.environment);
  }
  return "";
}

const MaterialSpec* PipelineSpec::FindMaterial(std::string_view material) const {
  return FindNamed(materials, material);
}
const EnvironmentSpec* PipelineSpec::FindEnvironment(std::string_view environment) const {
  return FindNamed(environments, environment);
}

Place StageSpec::PlaceOf(std::string_view part) const {
  const auto found = places.find(part);
  return found == places.end() ? place : found->second;
}

Reference ParseReference(std::string_view from) {
  // The name of a cell may have dots: "train@0.1.model".
  const size_t first = from.find('.'), at = from.find('@');
  const size_t dot = at < first ? from.rfind('.') : first;
  if (dot == std::string_view::npos) return {from, {}};
  return {from.substr(0, dot), from.substr(dot + 1)};
}

std::vector<std::string> ReferencesOf(const StageSpec& stage) {
  std::vector<std::string> references;
  for (const InputSpec& input : stage.inputs) references.push_back(input.from);
  const auto add_subject = [&](std::string_view subject) {
    // The stage's own names go first; an input of that name is among the references already.
    if (FindNamed(stage.outputs, subject) == nullptr &&
        FindNamed(stage.inputs, subject) == nullptr) {
      references.emplace_back(subject);
    }
  };
  for (const Rule& rule : stage.rules) {
    add_subject(Subject(rule.body));
    if (const auto* share = std::get_if<ShareRule>(&rule.body)) add_subject(share->share_of);
    if (const auto* key = std::get_if<KeyRule>(&rule.body)) add_subject(key->other);
    if (const auto* probe = std::get_if<ProbeRule>(&rule.body)) references.push_back(probe->probe);
  }
  references.push_back(stage.package);
  std::sort(references.begin(), references.end());
  references.erase(std::unique(references.begin(), references.end()), references.end());
  if (!references.empty() && references.front().empty()) references.erase(references.begin());
  return references;
}

}  // namespace cd4ml::core
