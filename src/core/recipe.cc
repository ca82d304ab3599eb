// Recipes are maps of digests, so that a difference can be named.
#include "cd4ml/core/recipe.h"

#include <algorithm>
#include <set>

#include "cd4ml/core/matrix.h"

namespace cd4ml::core {
namespace {

// Raise it when what cd4ml does for a stage changes its results: nothing made before is reused then.
constexpr std::string_view kKindVersion = "1";

// Keys of a stage that say where, when and how often it runs, and not what comes out.
const std::set<std::string, std::less<>> kWithoutInfluence = {
    "name", "needs", "agent", "timeout", "assign_timeout", "total_timeout", "silence_timeout", "grace", "retry",
    "if", "cache", "code", "params", "description", "runtime"};

std::string DigestOf(const Value& value) { return Sha256(ToJson(value)).hex(); }

Value ToValue(const CsvFormat& csv) {
  Value::Map columns(csv.columns.begin(), csv.columns.end());
  return Value::Map{{"encoding", csv.encoding},
                    {"delimiter", csv.delimiter},
                    {"header", csv.header ? Value(*csv.header) : Value()},
                    {"columns", std::move(columns)}};
}

// A rule that looks at the time may find something else in the same data.
bool IsJudgedAnew(const Rule& rule) { return std::holds_alternative<FreshRule>(rule.body); }

}  // namespace

bool IsReusable(const StageSpec& stage) {
  if (stage.matrix || stage.cache.never || stage.kind == StageKind::kDeploy || stage.kind == StageKind::kMonitor) return false;
  if (std::any_of(stage.rules.begin(), stage.rules.end(), IsJudgedAnew)) return false;
  return !stage.outputs.empty() || !stage.rules.empty() || stage.verdict.has_value();
}

Value ChosenParams(const StageSpec& stage, const Value& params) {
  Value own = params;
  SetCellParams(own, stage.cell_params);
  if (stage.params.empty()) return own;
  // What a cell has of its own counts, whatever the stage says that it depends on.
  Value::Map chosen(stage.cell_params.begin(), stage.cell_params.end());
  // A parameter or sub-tree that is not there is an absence that counts.
  for (const std::string& name : stage.params) {
    const Value* value = own.FindPath(name);
    chosen[name] = value == nullptr ? Value() : *value;
  }
  return chosen;
}

Recipe BeginRecipe(const StageSpec& stage, const Value& definition, const std::string& code, const Value& params,
                   const std::string& runtime) {
  Value::Map own;
  if (definition.is_map()) {
    for (const auto& [key, value] : definition.map()) {
      if (!kWithoutInfluence.contains(key)) own[key] = value;
    }
  }
  own["whole env"] = Value::Map(stage.env.begin(), stage.env.end());   // Also what it has from `defaults`.
  own["kind"] = std::string(ToText(stage.kind)) + "/" + std::string(kKindVersion);
  return {{"definition", DigestOf(own)}, {"code", code}, {"params", DigestOf(ChosenParams(stage, params))}, {"runtime", runtime}};
}

Recipe RecipeOfMaterials(const PipelineSpec& pipeline, const StageSpec& stage) {
  Recipe recipe;
  for (const std::string& reference : ReferencesOf(stage)) {
    const MaterialSpec* material = pipeline.FindMaterial(reference);
    if (material == nullptr) continue;
    if (material->csv && IsGate(stage.kind)) recipe["csv of " + reference] = DigestOf(ToValue(*material->csv));
    const bool is_placed = std::any_of(stage.inputs.begin(), stage.inputs.end(), [&](const InputSpec& input) {
      return input.from == reference && input.at.empty();
    });
    if (is_placed && !material->at.empty()) recipe["place of " + reference] = material->at;
  }
  return recipe;
}

Recipe CompleteRecipe(const Run& run, const StageRun& stage, const std::map<std::string, std::string>& compared) {
  Recipe recipe = stage.plan.recipe;
  for (const std::string& reference : stage.plan.references) {
    const std::optional<Version> version = FindVersion(run, reference);
    recipe["input " + reference] = version.has_value() ? version->artifact.digest.hex() : "";
    const ProducedOutput* output = FindOutput(run, reference);
    if (output == nullptr) continue;
    recipe["place of " + reference] = output->path;
    // The segments that qualify travel with the profile: other ones may qualify in the same data.
    if (output->profile.has_value()) recipe["profile of " + reference] = output->profile->digest.hex();
  }
  recipe.insert(compared.begin(), compared.end());
  return recipe;
}

Digest KeyOf(const Recipe& recipe) {
  Value::Map map;
  for (const auto& [part, digest] : recipe) map[part] = digest;
  return Sha256(ToJson(map));
}

std::vector<std::string> ChangedParts(const Recipe& before, const Recipe& now) {
  std::vector<std::string> changed;
  for (const auto& [part, digest] : now) {
    const auto then = before.find(part);
    if (then == before.end() || then->second != digest) changed.push_back(part);
  }
  for (const auto& [part, digest] : before) {
    if (!now.contains(part)) changed.push_back(part);
  }
  return changed;
}

}  // namespace cd4ml::core
