// Looks up every name that a definition mentions, and walks the graph that results.
#include "cd4ml/core/validate.h"

#include <algorithm>
#include <set>
#include <string>
#include <unordered_map>

#include "cd4ml/base/text.h"
#include "cd4ml/core/expression.h"
#include "cd4ml/core/matrix.h"
#include "cd4ml/core/metrics.h"

namespace cd4ml::core {
namespace {

constexpr size_t kFindingsMax = 1000;
constexpr size_t kPathShownMax = 12;

// Names to what stands at their position; never iterated.
using Index = std::unordered_map<std::string_view, size_t>;

template <typename Named>
Index MakeIndex(const std::vector<Named>& all) {
  Index index;
  for (size_t i = 0; i < all.size(); ++i) index.emplace(all[i].name, i);
  return index;
}

// Returns why `path` cannot be one within a work directory, or "".
std::string_view PathProblem(std::string_view path) {
  if (path.empty() || HasTemplate(path)) return "";  // Reported elsewhere; not known yet.
  if (path.starts_with('/')) return "must be relative to the work directory";
  bool names_something = false;
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view part = path.substr(begin, end - begin);
    if (part == "..") return "must not leave the work directory";
    names_something |= !part.empty() && part != ".";
    begin = end + 1;
  }
  return names_something ? "" : "must not be the work directory itself";
}

bool IsKnownPath(std::string_view path) {
  return !path.empty() && !HasTemplate(path) && PathProblem(path).empty();
}

// Returns the parts of a path with a mark after each, which sorts before every character: a folder
// stands right before everything in it.
std::string PathKey(std::string_view path) {
  std::string key;
  for (size_t begin = 0; begin < path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view part = path.substr(begin, end - begin);
    if (!part.empty() && part != ".") key += std::string(part) + '\x01';
    begin = end + 1;
  }
  return key;
}

// Something that lies at a path.
struct Occupant {
  std::string key;   // PathKey of the path.
  size_t owner;      // Two of one owner may lie within one another.
  std::string name;  // For messages: `output "model" of stage "train"`.
  std::string path;
  Place place;
};

bool HasBound(const Bounds& bounds, double least, double most) {
  return (bounds.min && *bounds.min > least) || (bounds.max && *bounds.max < most);
}

// Returns why no table and no metric can break a rule, or "".
std::string WhyItAlwaysPasses(const RuleBody& body) {
  constexpr char kAllMayBeBad[] = "every row may break it";
  if (const auto* rows = std::get_if<RowsRule>(&body)) {
    return rows->rows.is_set() && !HasBound(rows->rows, 0, 9e15) ? "no table has fewer rows than 0" : "";
  } else if (const auto* column = std::get_if<ColumnRule>(&body)) {
    const bool demands = column->type || column->value.is_set() || !column->in.empty() || !column->pattern.empty() || column->outliers;
    const bool all_may_be_empty = column->max_nulls && *column->max_nulls >= 1;
    if (demands && column->max_bad_share >= 1 && (!column->max_nulls || all_may_be_empty)) return kAllMayBeBad;
    return !demands && all_may_be_empty ? "every value may be empty" : "";
  } else if (const auto* key = std::get_if<KeyRule>(&body)) {
    return key->max_bad_share >= 1 ? kAllMayBeBad : "";
  } else if (const auto* sql = std::get_if<SqlRule>(&body)) {
    return sql->max_bad_share >= 1 ? kAllMayBeBad : "";
  } else if (const auto* unique = std::get_if<UniqueRule>(&body)) {
    return unique->max_share >= 1 ? "every row may be a copy" : "";
  } else if (const auto* balance = std::get_if<BalanceRule>(&body)) {
    return balance->share.is_set() && !HasBound(balance->share, 0, 1) ? "every value has a share of 0 to 1" : "";
  } else if (const auto* drift = std::get_if<DriftRule>(&body)) {
    return drift->measure == DriftMeasure::kJensenShannon && drift->max >= 1 ? "no distance is larger than 1" : "";
  } else if (const auto* metric = std::get_if<MetricRule>(&body)) {
    return metric->allow_failing >= 1 ? "every slice may fail" : "";
  }
  return "";
}

class Validator {
 public:
  explicit Validator(const PipelineSpec& pipeline)
      : pipeline_(pipeline),
        stages_(MakeIndex(pipeline.stages)),
        materials_(MakeIndex(pipeline.materials)),
        environments_(MakeIndex(pipeline.environments)) {}

  Diagnostics Run() {
    size_t count = 0;
    for (const StageSpec& stage : pipeline_.stages) {
      count += 1 + stage.cells.size();
      if (count <= kStagesMax) continue;
      Error(code::kTooManyStages, stage.place,
            "pipeline has more than " + std::to_string(kStagesMax) + " stages, with the cells of matrices");
      return std::move(findings_);
    }
    CheckVariables(pipeline_.stages, "stages");
    CheckVariables(pipeline_.materials, "materials");
    CheckVariables(pipeline_.environments, "environments");
    CheckVariables(pipeline_.params.schema, "parameters");
    for (const MaterialSpec& material : pipeline_.materials) {
      CheckPath(material.at, "\"at\" of material " + Quoted(material.name), material.place);
      if (material.path != ".") CheckPath(material.path, "\"path\" of material " + Quoted(material.name), material.place);
      if (material.kind == MaterialSpec::Kind::kDvc) {
        CheckPath(material.location, "\"dvc\" of material " + Quoted(material.name), material.place);
      }
    }
    CollectSlices();
    for (const StageSpec& stage : pipeline_.stages) {
      const size_t before = findings_.size();
      CheckStage(stage);
      if (stage.matrix && findings_.size() == before) CheckMatrix(stage);
    }
    WarnOfHosts();
    CheckTriggers();
    CheckOutputPaths();
    if (CollectEdges()) CheckCycles();
    return std::move(findings_);
  }

 private:
  // One warning for all of them: what is wrong with them is mended in one place.
  void WarnOfHosts() {
    std::vector<const StageSpec*> stages;
    for (const StageSpec& stage : pipeline_.stages) {
      const bool runs = !stage.run.empty() || !stage.hooks.apply.empty();
      if (runs && stage.runtime.kind == RuntimeSpec::Kind::kUnsaid) stages.push_back(&stage);
    }
    if (stages.empty()) return;
    const size_t others = stages.size() - 1;
    findings_.push_back(MakeWarning(
        code::kNotPinned, stages.front()->place,
        "stage " + Quoted(stages.front()->name) +
            (others == 0 ? " runs" : " and " + std::to_string(others) + (others == 1 ? " other" : " others") + " run") +
            " with whatever the host of the agent has",
        "", "pin it with `runtime:`, or write `runtime: host` where that is meant"));
  }

  // --- reporting ---

  void Error(std::string_view code, const Place& place, std::string message, std::string label = "",
             std::string help = "") {
    if (findings_.size() >= kFindingsMax) return;
    findings_.push_back(
        MakeError(code, place, std::move(message), std::move(label), std::move(help)));
  }

  // Looking for a near name costs as much as there are names, so there is a budget for a file.
  // `names` is a list of names or of what has names.
  template <typename Named>
  std::string Suggest(std::string_view word, const std::vector<Named>& names) {
    if (suggestions_left_ == 0 || word.size() > 80) return "";
    suggestions_left_ -= std::min(suggestions_left_, names.size());
    std::string closest;
    if constexpr (std::is_same_v<Named, std::string>) {
      closest = ClosestWord(word, names);
    } else {
      closest = ClosestWord(word, NamesOf(names));
    }
    return closest.empty() ? "" : "did you mean " + Quoted(closest) + "?";
  }

  template <typename Named>
  static std::vector<std::string> NamesOf(const std::vector<Named>& all) {
    std::vector<std::string> names;
    for (const Named& one : all) names.push_back(one.name);
    return names;
  }

  // --- names and paths ---

  template <typename Named>
  void CheckVariables(const std::vector<Named>& all, std::string_view what) {
    if (all.size() < 2) return;
    std::unordered_map<std::string, size_t> variables;
    for (size_t i = 0; i < all.size(); ++i) {
      const auto [at, is_new] = variables.emplace(VariableName(all[i].name), i);
      // The loader has reported a name that stands there twice.
      if (is_new || all[at->second].name == all[i].name) continue;
      Error(code::kSameVariable, all[i].place,
            Quoted(all[i].name) + " and " + Quoted(all[at->second].name) + " of the " +
                std::string(what) + " give the same variable " + at->first);
    }
  }

  void CheckPath(std::string_view path, const std::string& what, const Place& place) {
    const std::string_view problem = PathProblem(path);
    if (!problem.empty()) Error(code::kBadPath, place, what + " " + std::string(problem));
  }

  // Reports those of `all` that lie at one path or, of different owners, within each other.
  void CheckOverlaps(std::vector<Occupant>& all) {
    std::stable_sort(all.begin(), all.end(),
                     [](const Occupant& a, const Occupant& b) { return a.key < b.key; });
    std::vector<const Occupant*> around;  // The folders that the present one lies in.
    for (const Occupant& one : all) {
      while (!around.empty() && !one.key.starts_with(around.back()->key)) around.pop_back();
      if (!around.empty() && (around.back()->owner != one.owner || around.back()->key == one.key)) {
        // Said at the one that comes later in the file.
        const bool is_later = one.place.line > around.back()->place.line ||
                              (one.place.line == around.back()->place.line &&
                               one.place.column > around.back()->place.column);
        const Occupant& later = is_later ? one : *around.back();
        const Occupant& earlier = is_later ? *around.back() : one;
        Error(code::kSamePath, later.place,
              later.name + " lies at " + Quoted(later.path) + ", and so does " + earlier.name +
                  (later.key == earlier.key ? "" : " at " + Quoted(earlier.path)));
      }
      around.push_back(&one);
    }
  }

  void CheckOutputPaths() {
    std::vector<Occupant> all;
    for (size_t i = 0; i < pipeline_.stages.size(); ++i) {
      for (const OutputSpec& output : pipeline_.stages[i].outputs) {
        if (!IsKnownPath(output.path)) continue;
        all.push_back(
            {PathKey(output.path), i,
             "output " + Quoted(output.name) + " of stage " + Quoted(pipeline_.stages[i].name),
             output.path, output.place});
      }
      AddPathsOfCells(i, all);
    }
    CheckOverlaps(all);
  }

  // Where other cells write than the first; cells see nothing of each other.
  void AddPathsOfCells(size_t owner, std::vector<Occupant>& all) {
    std::set<std::string> keys;
    for (const OutputSpec& output : pipeline_.stages[owner].outputs) keys.insert(PathKey(output.path));
    for (const StageSpec& cell : pipeline_.stages[owner].cells) {
      for (const OutputSpec& output : cell.outputs) {
        if (!IsKnownPath(output.path) || !keys.insert(PathKey(output.path)).second) continue;
        all.push_back({PathKey(output.path), owner, "output " + Quoted(output.name) + " of cell " + Quoted(cell.name),
                       output.path, output.place});
      }
    }
  }

  // --- references ---

  const OutputSpec* FindOutput(std::string_view reference) const {
    const auto [stage, output] = ParseReference(reference);
    const auto found = stages_.find(stage);
    if (found == stages_.end()) return nullptr;
    for (const OutputSpec& one : pipeline_.stages[found->second].outputs) {
      if (one.name == output) return &one;
    }
    return nullptr;
  }

  // Checks "stage.output" and returns the output, or null after saying what is wrong.
  const OutputSpec* CheckOutput(const std::string& reference, const Place& place) {
    const auto [stage, output] = ParseReference(reference);
    const auto found = stages_.find(stage);
    if (found == stages_.end()) {
      Error(code::kUnknownStage, place, "unknown stage " + Quoted(stage),
            Suggest(stage, pipeline_.stages));
      return nullptr;
    }
    const std::vector<OutputSpec>& outputs = pipeline_.stages[found->second].outputs;
    if (const OutputSpec* one = FindOutput(reference)) {
      const std::optional<MatrixSpec>& matrix = pipeline_.stages[found->second].matrix;
      if (!matrix || !matrix->select.empty()) return one;
      Error(code::kNoWinner, place,
            "each of the " + std::to_string(matrix->cells.size()) + " cells of stage " + Quoted(stage) + " has an output " +
                Quoted(output) + ", and nobody says which one is meant",
            "", "add `select: {metric: NAME}` to its matrix, or take no output of it");
      return nullptr;
    }
    std::string known;
    for (const OutputSpec& one : outputs) known += (known.empty() ? "" : ", ") + one.name;
    Error(code::kUnknownOutput, place,
          "stage " + Quoted(stage) + " has no output " + Quoted(output), Suggest(output, outputs),
          known.empty() ? "it declares no outputs" : "it declares: " + known);
    return nullptr;
  }

  // Checks a material or "stage.output".
  void CheckSource(const std::string& from, const Place& place) {
    if (from.empty()) return;
    if (from.find('.') != std::string::npos) {
      CheckOutput(from, place);
    } else if (!materials_.contains(from)) {
      const bool is_stage = stages_.contains(from);
      Error(code::kUnknownSource, place,
            is_stage ? "stage " + Quoted(from) + " is no input; name one of its outputs"
                     : "unknown material " + Quoted(from),
            is_stage ? "" : Suggest(from, pipeline_.materials),
            "inputs are materials, or outputs as stage.output");
    }
  }

  void CheckTypedOutput(const std::string& reference, OutputType type, const Place& place) {
    if (reference.empty()) return;
    const OutputSpec* output = CheckOutput(reference, place);
    if (output == nullptr || output->type == type) return;
    Error(code::kWrongOutputType, place,
          Quoted(reference) + " must be of type " + std::string(ToText(type)) + ", is " +
              std::string(ToText(output->type)));
  }

  void CheckEnvironment(const std::string& environment, const Place& place) {
    if (environment.empty() || environments_.contains(environment)) return;
    Error(code::kUnknownEnvironment, place, "unknown environment " + Quoted(environment),
          Suggest(environment, pipeline_.environments));
  }

  // --- stages ---

  void CheckStage(const StageSpec& stage) {
    CheckVariables(stage.inputs, "inputs");
    CheckVariables(stage.outputs, "outputs");
    for (const std::string& need : stage.needs) {
      if (stages_.contains(need)) continue;
      Error(code::kUnknownStage, stage.PlaceOf("needs." + need),
            "stage " + Quoted(stage.name) + " needs " + Quoted(need) + ", which is not defined",
            Suggest(need, pipeline_.stages));
    }
    CheckInputs(stage);
    for (const OutputSpec& output : stage.outputs) {
      CheckPath(output.path, "output " + Quoted(output.name), output.place);
    }
    for (const MetricsSpec& metrics : stage.metrics) {
      CheckPath(metrics.file, "file of metrics " + Quoted(metrics.file), metrics.place);
    }
    for (const OutputSpec& output : stage.outputs) CheckQuarantine(stage, output);
    if (stage.predictions) {
      CheckPath(stage.predictions->file, "file of predictions", stage.predictions->place);
    }
    if (stage.verdict && stage.verdict->kind != VerdictSpec::Kind::kExitCode) {
      CheckPath(stage.verdict->file, "file of the verdict", stage.verdict->place);
    }
    CheckTypedOutput(stage.package, OutputType::kDeployable, stage.PlaceOf("package"));
    CheckEnvironment(stage.environment, stage.PlaceOf("environment"));
    CheckEnvironment(stage.champion_environment, stage.PlaceOf("champion"));
    for (const std::string& param : stage.params)
      CheckParamName(param, stage.PlaceOf("params." + param));
    for (const Rule& rule : stage.rules) CheckRule(stage, rule);
    if (stage.kind == StageKind::kContractGate && !(stage.run.empty() && stage.outputs.empty())) {
      const bool runs = !stage.run.empty();
      Error(code::kKeyOfOtherKind, runs ? stage.PlaceOf("run") : stage.outputs.front().place,
            Quoted(runs ? "run" : "outputs") + " of a contract gate is not available yet", "",
            "what runs there is the service: `serve: {run: …}`");
    }
    CheckCondition(stage);
    if (stage.monitor) CheckMonitor(stage);
  }

  // --- matrices ---

  // Cells differ in values; the first one, which the stage itself is like, has been checked.
  void CheckMatrix(const StageSpec& stage) {
    const auto is_like = [&](const StageSpec& cell) {
      const auto same_inputs = [](const InputSpec& a, const InputSpec& b) { return a.name == b.name && a.from == b.from; };
      const auto same_outputs = [](const OutputSpec& a, const OutputSpec& b) { return a.name == b.name && a.type == b.type; };
      return cell.kind == stage.kind && cell.needs == stage.needs && cell.goals == stage.goals &&
             std::equal(cell.inputs.begin(), cell.inputs.end(), stage.inputs.begin(), stage.inputs.end(), same_inputs) &&
             std::equal(cell.outputs.begin(), cell.outputs.end(), stage.outputs.begin(), stage.outputs.end(), same_outputs);
    };
    const size_t before = findings_.size();
    for (const StageSpec& cell : stage.cells) {
      if (&cell != &stage.cells.front()) CheckStage(cell);
      if (!is_like(cell)) {
        Error(code::kBadMatrix, cell.place,
              "cell " + Quoted(cell.name) + " is another stage than the first cell, and not only one of other values");
      } else if (!stage.matrix->select.empty() && !IsSameRuntime(cell.runtime, stage.runtime)) {
        Error(code::kBadRuntime, stage.runtime.place,
              "cells of stage " + Quoted(stage.name) + " have different runtimes, and whoever wins is used in one", "",
              "leave the runtime the same for all cells, or `select` out");
      }
      if (findings_.size() > before) return;   // The next one would say the same.
    }
    CheckSelect(stage);
  }

  static bool IsSameRuntime(const RuntimeSpec& a, const RuntimeSpec& b) {
    return a.kind == b.kind && a.python == b.python && a.requirements == b.requirements && a.image == b.image &&
           a.setup.script == b.setup.script && a.setup.argv == b.setup.argv && a.key == b.key;
  }

  void CheckSelect(const StageSpec& stage) {
    const std::string& metric = stage.matrix->select;
    if (metric.empty()) return;
    const Place place = stage.PlaceOf("select");
    std::vector<std::string> names;
    bool any = false;   // What a JSON file holds is seen when it has been written.
    for (const MetricsSpec& metrics : stage.metrics) {
      any = any || (metrics.name.empty() && metrics.slice.empty());
      if (!metrics.name.empty()) names.push_back(metrics.name);
    }
    if (!any && std::find(names.begin(), names.end(), metric) == names.end()) {
      return Error(code::kUnknownMetric, place, "stage " + Quoted(stage.name) + " has no metric " + Quoted(metric) + " to select by",
                   Suggest(metric, names), "its `metrics` say where its numbers are");
    }
    if (!stage.goals.contains(metric) && !HigherIsBetter(metric)) {
      Error(code::kMissingKey, place, "nobody says whether more or less of " + Quoted(metric) + " is better", "",
            "add `goals: {" + metric + ": min}`, or max");
    }
  }

  void CheckQuarantine(const StageSpec& stage, const OutputSpec& output) {
    if (output.quarantine.empty()) return;
    const Place place = stage.PlaceOf("outputs." + output.name + ".quarantine");
    std::vector<std::string> judged;   // Tables whose rows some rule judges one by one.
    for (const Rule& rule : stage.rules) {
      if (std::holds_alternative<ColumnRule>(rule.body) || std::holds_alternative<SqlRule>(rule.body))
        judged.emplace_back(Subject(rule.body));
    }
    if (std::find(judged.begin(), judged.end(), output.quarantine) == judged.end()) {
      Error(code::kUnknownSubject, place,
            "no rule of stage " + Quoted(stage.name) + " judges single rows of " + Quoted(output.quarantine),
            Suggest(output.quarantine, judged), "rows are judged by rules of the forms column and sql");
    }
    const bool known_path = !HasTemplate(output.path);
    if (known_path && !output.path.ends_with(".csv") && !output.path.ends_with(".parquet")) {
      Error(code::kBadPath, output.place,
            "bad rows cannot be written to " + Quoted(output.path), "", "its path ends in .csv or .parquet");
    }
  }

  void CheckInputs(const StageSpec& stage) {
    std::vector<Occupant> places;
    for (const InputSpec& input : stage.inputs) {
      CheckSource(input.from, input.place);
      CheckPath(input.at, "\"at\" of input " + Quoted(input.name), input.place);
      const std::string path = PathOf(input);
      if (!IsKnownPath(path)) continue;
      places.push_back(
          {PathKey(path), OwnerOf(input.from), "input " + Quoted(input.name), path, input.place});
    }
    // One thing under two names lies at one path rightly.
    std::stable_sort(places.begin(), places.end(),
                     [](const Occupant& a, const Occupant& b) { return a.key < b.key; });
    places.erase(std::unique(places.begin(), places.end(),
                             [](const Occupant& a, const Occupant& b) {
                               return a.key == b.key && a.owner == b.owner;
                             }),
                 places.end());
    CheckOverlaps(places);
  }

  // Returns where an input lies in the work directory, or "" when that is not known.
  std::string PathOf(const InputSpec& input) const {
    if (!input.at.empty()) return input.at;
    if (const OutputSpec* output = FindOutput(input.from)) return output->path;
    const auto material = materials_.find(input.from);
    if (material == materials_.end()) return "";
    const MaterialSpec& spec = pipeline_.materials[material->second];
    if (spec.kind == MaterialSpec::Kind::kGit) return "";
    return spec.at.empty() ? "inputs/" + spec.name : spec.at;
  }

  size_t OwnerOf(std::string_view from) const {
    const auto material = materials_.find(from);
    if (material != materials_.end()) return pipeline_.stages.size() + material->second;
    const auto stage = stages_.find(ParseReference(from).stage);
    return stage == stages_.end() ? 0 : stage->second;
  }

  void CheckParamName(const std::string& name, const Place& place) {
    if (pipeline_.params.schema.empty()) return;
    const std::string below = name + ".";
    std::vector<std::string> known;
    for (const ParamSchema& param : pipeline_.params.schema) {
      const bool is_part =
          param.name == name || param.name.starts_with(below) ||
          (param.type == ParamSchema::Type::kMap && name.starts_with(param.name + "."));
      if (is_part) return;
      known.push_back(param.name);
      known.push_back(param.name.substr(0, param.name.find('.')));
    }
    Error(code::kUnknownParameter, place, "unknown parameter " + Quoted(name),
          Suggest(name, known));
  }

  void CheckCondition(const StageSpec& stage) {
    if (stage.condition.empty()) return;
    const Place place = stage.PlaceOf("if");
    const auto expression = Expression::Parse(stage.condition);
    if (!expression.ok()) return;  // The parser has said so.
    for (const std::string& name : expression->Names()) {
      if (name.starts_with("params.")) CheckParamName(name.substr(7), place);
    }
    for (const FunctionCall& call : expression->Calls()) {
      if (call.function == "passed" || call.function == "failed") {
        CheckAskedStage(stage, call, place);
      } else if (call.function != "always") {
        Error(code::kUnknownFunction, place,
              "unknown function " + Quoted(call.function) + " in a condition",
              Suggest(call.function, std::vector<std::string>{"always", "passed", "failed"}),
              "allowed: always(), passed('stage'), failed('stage')");
      } else if (!call.arguments.empty()) {
        Error(code::kUnknownFunction, place, "\"always\" takes no argument");
      }
    }
  }

  // Whether a stage has passed is known in time only when this one waits for it.
  void CheckAskedStage(const StageSpec& stage, const FunctionCall& call, const Place& place) {
    if (call.arguments.size() != 1 || !call.arguments[0].is_string()) {
      return Error(code::kUnknownFunction, place,
                   Quoted(call.function) + " wants the name of one stage in quotes");
    }
    const std::string& asked = call.arguments[0].string();
    if (!stages_.contains(asked)) {
      return Error(code::kUnknownStage, place, "unknown stage " + Quoted(asked) + " in a condition",
                   Suggest(asked, pipeline_.stages));
    }
    bool waits = std::find(stage.needs.begin(), stage.needs.end(), asked) != stage.needs.end();
    for (const std::string& reference : ReferencesOf(stage))
      waits |= ParseReference(reference).stage == asked;
    if (!waits) {
      Error(code::kUnknownFunction, place,
            "stage " + Quoted(stage.name) + " asks about " + Quoted(asked) +
                " and does not wait for it",
            "", "add " + Quoted(asked) + " to its needs");
    }
  }

  // --- rules ---

  void CheckRule(const StageSpec& stage, const Rule& rule) {
    const std::string part = "rules." + rule.name + ".";
    CheckSubject(stage, std::string(Subject(rule.body)), stage.PlaceOf(part + "of"));
    CheckColumns(stage, rule);
    if (const std::string why = WhyItAlwaysPasses(rule.body); !why.empty() && findings_.size() < kFindingsMax) {
      findings_.push_back(MakeWarning(code::kNoBound, rule.place, "rule " + Quoted(rule.name) + " always passes: " + why));
    }
    if (const auto* share = std::get_if<ShareRule>(&rule.body)) {
      CheckSubject(stage, share->share_of, stage.PlaceOf(part + "share_of"));
    } else if (const auto* probe = std::get_if<ProbeRule>(&rule.body)) {
      CheckTypedOutput(probe->probe, OutputType::kProbeSet, stage.PlaceOf(part + "probe"));
      if (!probe->proto.empty()) CheckPath(probe->proto, "file of a protocol", stage.PlaceOf(part + "proto"));
    } else if (const auto* contract = std::get_if<ContractRule>(&rule.body)) {
      CheckPath(contract->file, "file of a contract", stage.PlaceOf(part + "contract"));
    } else if (const auto* drift = std::get_if<DriftRule>(&rule.body)) {
      CheckVersus(stage, drift->of, drift->versus, {"champion.train_data", "last_accepted"}, stage.PlaceOf(part + "versus"));
    } else if (const auto* key = std::get_if<KeyRule>(&rule.body)) {
      const Place place = stage.PlaceOf(part + (key->disjoint ? "disjoint_from" : "references"));
      CheckSubject(stage, key->other, place);
      if (key->disjoint && key->other == key->of && !key->of.empty())
        Error(code::kConflict, place, "no table is disjoint from itself");
    } else if (const auto* stat = std::get_if<StatRule>(&rule.body)) {
      CheckStat(stage, rule, *stat, stage.PlaceOf(part + "versus"));
    } else if (const auto* segments = std::get_if<SegmentsRule>(&rule.body)) {
      CheckSegments(stage, rule, *segments, stage.PlaceOf(part + "versus"));
    } else if (const auto* metric = std::get_if<MetricRule>(&rule.body)) {
      CheckSlice(metric->slice, stage.PlaceOf(part + "slice"));
      if (!metric->versus.empty()) CheckComparison(stage, *metric, stage.PlaceOf(part + "versus"));
    } else if (const auto* fairness = std::get_if<FairnessRule>(&rule.body)) {
      CheckSlice(fairness->slice, stage.PlaceOf(part + "slice"));
    } else if (const auto* check = std::get_if<core::CheckRule>(&rule.body)) {
      const absl::StatusOr<Expression> expression = Expression::Parse(check->expression);
      if (expression.ok() && expression->Names().empty())
        Error(code::kNoBound, rule.place, "rule " + Quoted(rule.name) + " names no metric, so it says nothing of the model");
    } else if (std::holds_alternative<MemoryRule>(rule.body)) {
      CheckMemory(stage, rule);
    }
  }

  // A container's processes are its engine's, so what they take cannot be measured.
  void CheckMemory(const StageSpec& stage, const Rule& rule) {
    const auto made_by = stages_.find(ParseReference(stage.package).stage);
    if (made_by == stages_.end()) return;
    const StageSpec& maker = pipeline_.stages[made_by->second];
    if (maker.runtime.kind != RuntimeSpec::Kind::kImage) return;
    Error(code::kConflict, rule.place,
          "rule " + Quoted(rule.name) + " cannot be judged: stage " + Quoted(maker.name) + " makes the package in an image, and the memory of a container is not known",
          "", "take the rule out, or make the package in another runtime");
  }

  void CheckComparison(const StageSpec& stage, const MetricRule& metric, const Place& place) {
    const bool is_champion = metric.versus == "champion";
    const bool is_run = metric.versus.starts_with("run:") && metric.versus.size() > 4;
    if (!is_champion && !is_run && metric.versus != "last_passed") {
      return Error(code::kUnknownBaseline, place, "metrics cannot be compared with " + Quoted(metric.versus), "",
                   "allowed here: champion, last_passed, run:ID");
    }
    if (is_champion) {
      CheckChampion(stage, metric, place);
    } else if (metric.confidence || !metric.slice.empty()) {
      Error(code::kConflict, place, "only one number of " + metric.versus + " is known, so there is neither a confidence nor a slice",
            "", "`versus: champion` compares on the same rows");
    }
    if (HasTemplate(metric.metric)) return;
    if (!stage.goals.contains(metric.metric) && !HigherIsBetter(metric.metric)) {
      Error(code::kMissingKey, place, "nobody says whether more or less of " + Quoted(metric.metric) + " is better", "",
            "add `goals: {" + metric.metric + ": min}`, or max");
    }
    if (metric.confidence && metric.metric == "max_error") {
      Error(code::kConflict, place, "there is no confidence for \"max_error\": rows tell nothing of the largest error there can be");
    }
  }

  // Answers of the champion to the same rows: who writes them, and whose they are.
  void CheckChampion(const StageSpec& stage, const MetricRule& metric, const Place& place) {
    if (stage.champion_environment.empty()) {
      Error(code::kUnknownBaseline, place, "stage " + Quoted(stage.name) + " names no champion", "",
            "add `champion: {environment: NAME}`");
    }
    const bool needs_rows = stage.predictions || metric.confidence || !metric.slice.empty();
    if (needs_rows && !stage.asks_champion() && (!stage.predictions || stage.predictions->champion.empty())) {
      return Error(code::kMissingKey, place, "the champion's answers to the same rows are not known", "",
                   "write them into the predictions file, from $CD4ML_CHAMPION, and name their column: `predictions: {champion: COLUMN}`");
    }
    for (const char* of_score : {"auc", "log_loss", "brier", "calibration_error"}) {
      if (metric.metric != of_score || !stage.predictions) continue;
      if (!stage.predictions->champion_score.empty() || !stage.champion_score.empty()) continue;
      Error(code::kMissingKey, place, Quoted(metric.metric) + " needs the champion's scores", "",
            stage.asks_champion() ? "say where they are: `champion: {answer: {json: /label, score: /probability}}`"
                                  : "name their column: `predictions: {champion_score: COLUMN}`");
    }
  }

  void CheckSubject(const StageSpec& stage, const std::string& subject, const Place& place) {
    if (subject.empty() || materials_.contains(subject)) return;
    std::vector<std::string> names = NamesOf(stage.outputs);
    for (const OutputSpec& output : stage.outputs) {
      if (output.name != subject || output.quarantine.empty()) continue;
      return Error(code::kUnknownSubject, place,
                   Quoted(subject) + " takes the bad rows of " + Quoted(output.quarantine) + ", which are known when all rules are judged",
                   "", "say with max_bad_share how many rows of " + Quoted(output.quarantine) + " may be bad");
    }
    for (const InputSpec& input : stage.inputs) names.push_back(input.name);
    if (std::find(names.begin(), names.end(), subject) != names.end()) return;
    for (const MaterialSpec& material : pipeline_.materials) names.push_back(material.name);
    Error(code::kUnknownSubject, place,
          Quoted(subject) + " is neither an output or input of stage " + Quoted(stage.name) +
              " nor a material",
          Suggest(subject, names));
  }

  // `of` is the table that is compared; a monitor has none.
  void CheckVersus(const StageSpec& stage, const std::string& of, const std::string& versus,
                   const std::vector<std::string>& allowed, const Place& place) {
    if (versus.empty()) return;
    const auto allows = [&allowed](std::string_view word) {
      return std::find(allowed.begin(), allowed.end(), word) != allowed.end();
    };
    // Whoever may look at what was accepted last may look at what a run has accepted.
    const bool is_run = allows("last_accepted") && versus.starts_with("run:") && versus.size() > 4;
    if (!is_run && !allows(versus)) {
      std::string words;
      for (const std::string& word : allowed) words += (words.empty() ? "" : ", ") + word;
      if (allows("last_accepted")) words += ", run:ID";
      return Error(code::kUnknownBaseline, place, "this cannot be compared with " + Quoted(versus), Suggest(versus, allowed),
                   "allowed here: " + words);
    }
    if (versus != "last_accepted" && !is_run) return;
    const auto output = std::find_if(stage.outputs.begin(), stage.outputs.end(),
                                     [&](const OutputSpec& one) { return one.name == of; });
    // What the gate does not make it reads, and that is kept as well.
    if (output == stage.outputs.end() ? stage.kind == StageKind::kDataGate : output->type == OutputType::kDataset) return;
    Error(code::kUnknownBaseline, place, "nothing of " + Quoted(of) + " is kept to compare with", "",
          "last_accepted and runs are known for what a data gate reads, and for its outputs of type dataset");
  }

  void CheckStat(const StageSpec& stage, const Rule& rule, const StatRule& stat, const Place& place) {
    CheckVersus(stage, stat.of, stat.versus, {"rest", "champion.train_data", "last_accepted"}, place);
    if (rule.by.empty() || stat.versus.empty() || stat.versus == "rest") return;
    Error(code::kConflict, place, "a baseline knows nothing of single groups", "",
          "with `by`, compare with `rest`, or leave `versus` out");
  }

  void CheckSegments(const StageSpec& stage, const Rule& rule, const SegmentsRule& segments, const Place& place) {
    CheckVersus(stage, segments.of, segments.lost_versus, {"last_accepted"}, place);
    for (const Rule& other : stage.rules) {
      if (&other == &rule) return;
      const auto* before = std::get_if<SegmentsRule>(&other.body);
      if (before == nullptr || before->of != segments.of) continue;
      return Error(code::kConflict, rule.place,
                   "rules " + Quoted(other.name) + " and " + Quoted(rule.name) + " both say which segments of " +
                       Quoted(segments.of) + " qualify");
    }
  }

  // A gate that says exactly which columns a table has knows when a rule names another one.
  void CheckColumns(const StageSpec& stage, const Rule& rule) {
    const std::string place = "rules." + rule.name + ".";
    CheckColumns(stage, std::string(Subject(rule.body)), ColumnsOf(rule), rule.place);
    if (const auto* key = std::get_if<KeyRule>(&rule.body))
      CheckColumns(stage, key->other, key->other_columns,
                   stage.PlaceOf(place + (key->disjoint ? "disjoint_from" : "references")));
    if (const auto* share = std::get_if<ShareRule>(&rule.body); share != nullptr && !share->by.empty())
      CheckColumns(stage, share->share_of, {share->by}, rule.place);
  }

  void CheckColumns(const StageSpec& stage, const std::string& table, const std::vector<std::string>& columns,
                    const Place& place) {
    for (const Rule& rule : stage.rules) {
      const auto* schema = std::get_if<ColumnsRule>(&rule.body);
      if (schema == nullptr || !schema->exactly || schema->of != table || table.empty()) continue;
      for (const std::string& column : columns) {
        if (column.empty() || HasTemplate(column)) continue;
        if (std::find(schema->columns.begin(), schema->columns.end(), column) != schema->columns.end()) continue;
        Error(code::kUnknownSubject, place,
              "column " + Quoted(column) + " is none of those that rule " + Quoted(rule.name) + " lists for " +
                  Quoted(table),
              Suggest(column, schema->columns));
      }
      return;
    }
  }

  // Returns the columns of its subject that a rule names.
  static std::vector<std::string> ColumnsOf(const Rule& rule) {
    std::vector<std::string> columns = rule.by;
    const auto add = [&columns](const std::vector<std::string>& more) {
      columns.insert(columns.end(), more.begin(), more.end());
    };
    std::visit(
        [&](const auto& body) {
          if constexpr (requires { body.column; }) columns.push_back(body.column);
          if constexpr (requires { body.window_column; }) columns.push_back(body.window_column);
        },
        rule.body);
    if (const auto* unique = std::get_if<UniqueRule>(&rule.body)) add(unique->columns);
    if (const auto* segments = std::get_if<SegmentsRule>(&rule.body)) add(segments->by);
    if (const auto* drift = std::get_if<DriftRule>(&rule.body)) add(drift->columns);
    if (const auto* share = std::get_if<ShareRule>(&rule.body)) add({share->by});
    if (const auto* key = std::get_if<KeyRule>(&rule.body)) add(key->columns.empty() ? key->other_columns : key->columns);
    return columns;
  }

  void CollectSlices() {
    for (const StageSpec& stage : pipeline_.stages) {
      for (const MetricsSpec& metrics : stage.metrics) {
        if (!metrics.slice.empty()) slices_.push_back(metrics.slice);
      }
      if (!stage.predictions) continue;
      slices_.insert(slices_.end(), stage.predictions->slices.begin(),
                     stage.predictions->slices.end());
    }
    std::sort(slices_.begin(), slices_.end());
  }

  void CheckSlice(const std::string& slice, const Place& place) {
    if (slice.empty() || HasTemplate(slice)) return;
    if (std::binary_search(slices_.begin(), slices_.end(), slice)) return;
    Error(code::kUnknownSlice, place, "no predictions or metrics have the slice " + Quoted(slice),
          Suggest(slice, slices_));
  }

  // --- monitors ---

  void CheckMonitor(const StageSpec& stage) {
    const bool is_armed =
        std::any_of(stage.needs.begin(), stage.needs.end(), [&](const std::string& need) {
          const auto found = stages_.find(need);
          if (found == stages_.end()) return false;
          const StageSpec& other = pipeline_.stages[found->second];
          return other.kind == StageKind::kDeploy && other.environment == stage.environment;
        });
    if (!is_armed && environments_.contains(stage.environment)) {
      Error(code::kMonitorWithoutDeploy, stage.PlaceOf("environment"),
            "monitor " + Quoted(stage.name) + " needs no deploy to environment " +
                Quoted(stage.environment));
    }
    for (const CheckSpec& check : stage.monitor->checks) {
      if (const auto* drift = std::get_if<DriftRule>(&check.rule)) {
        CheckVersus(stage, "", drift->versus, {"train_data"}, stage.PlaceOf("checks." + check.name + ".versus"));
      }
    }
    if (stage.monitor->retrain) CheckRetrain(stage, *stage.monitor->retrain);
  }

  void CheckRetrain(const StageSpec& stage, const RetrainSpec& retrain) {
    std::vector<std::string> blocking;
    for (const CheckSpec& check : stage.monitor->checks) {
      if (check.blocks) blocking.push_back(check.name);
    }
    const std::vector<std::string> names = NamesOf(stage.monitor->checks);
    for (const std::string& check : retrain.checks) {
      if (std::find(blocking.begin(), blocking.end(), check) != blocking.end()) continue;
      const bool only_warns = std::find(names.begin(), names.end(), check) != names.end();
      Error(code::kUnknownCheck, stage.PlaceOf("retrain.checks." + check),
            only_warns ? "check " + Quoted(check) + " is of severity warn, so it never retrains"
                       : "unknown check " + Quoted(check),
            only_warns ? "" : Suggest(check, names));
    }
    if (pipeline_.triggers.monitor != stage.name) {
      Error(code::kRetrainNotTriggered, stage.PlaceOf("retrain"),
            "monitor " + Quoted(stage.name) + " retrains, but is no trigger of the pipeline", "",
            "add `triggers: {monitor: {stage: " + stage.name + "}}`");
    }
    if (pipeline_.params.experiment_only && !retrain.params.empty() &&
        retrain.lane != "experiment") {
      Error(code::kLaneMayNotDiffer, stage.PlaceOf("retrain.params"),
            "lane " + Quoted(retrain.lane) + " may not have other parameters than the files");
    }
    for (const auto& [name, value] : retrain.params) {
      CheckParamName(name, stage.PlaceOf("retrain.params"));
      for (const StageSpec& other : pipeline_.stages) {
        if (other.cells.empty()) continue;
        const auto& own = other.cells.front().cell_params;
        const auto dimension = std::find_if(own.begin(), own.end(), [&param = name](const auto& one) { return Overlap(param, one.first); });
        if (dimension == own.end()) continue;
        Error(code::kConflict, stage.PlaceOf("retrain.params"),
              "parameter " + Quoted(dimension->first) + " is a dimension of the matrix of stage " + Quoted(other.name) +
                  ", whose cells have values of their own");
        break;
      }
    }
  }

  void CheckTriggers() {
    const std::string& name = pipeline_.triggers.monitor;
    if (name.empty()) return;
    const auto found = stages_.find(name);
    if (found != stages_.end() && pipeline_.stages[found->second].kind == StageKind::kMonitor)
      return;
    Error(code::kUnknownMonitor, pipeline_.triggers.monitor_place,
          found == stages_.end() ? "unknown stage " + Quoted(name)
                                 : "stage " + Quoted(name) + " is no monitor",
          found == stages_.end() ? Suggest(name, pipeline_.stages) : "");
  }

  // --- the graph ---

  struct Edge {
    size_t from;  // The stage that is waited for.
    Place place;
  };

  // Returns false when there are too many to go on.
  bool CollectEdges() {
    edges_.resize(pipeline_.stages.size());
    size_t count = 0;
    for (size_t i = 0; i < pipeline_.stages.size(); ++i) {
      const StageSpec& stage = pipeline_.stages[i];
      const auto add = [&](std::string_view name, const Place& place) {
        const auto found = stages_.find(name);
        if (found != stages_.end()) edges_[i].push_back({found->second, place});
      };
      for (const std::string& need : stage.needs) add(need, stage.PlaceOf("needs." + need));
      for (const InputSpec& input : stage.inputs) AddProducer(input.from, input.place, add);
      AddProducer(stage.package, stage.PlaceOf("package"), add);
      for (const Rule& rule : stage.rules) {
        if (const auto* probe = std::get_if<ProbeRule>(&rule.body))
          AddProducer(probe->probe, rule.place, add);
      }
      count += edges_[i].size() * std::max<size_t>(1, stage.cells.size()) + stage.cells.size();
      if (count > kEdgesMax) {
        Error(code::kTooManyEdges, stage.place,
              "pipeline has more than " + std::to_string(kEdgesMax) + " needs and inputs");
        return false;
      }
    }
    return true;
  }

  template <typename Add>
  static void AddProducer(std::string_view reference, const Place& place, const Add& add) {
    const auto [stage, output] = ParseReference(reference);
    if (!output.empty()) add(stage, place);
  }

  // Walks depth first without recursion: a chain may be as long as there are stages.
  void CheckCycles() {
    enum class Mark : char { kNew, kOpen, kDone };
    std::vector<Mark> marks(edges_.size(), Mark::kNew);
    struct Step {
      size_t stage;
      size_t next_edge;
    };
    std::vector<Step> path;
    for (size_t start = 0; start < edges_.size(); ++start) {
      if (marks[start] != Mark::kNew) continue;
      marks[start] = Mark::kOpen;
      path.push_back({start, 0});
      while (!path.empty()) {
        Step& step = path.back();
        if (step.next_edge == edges_[step.stage].size()) {
          marks[step.stage] = Mark::kDone;
          path.pop_back();
          continue;
        }
        const Edge& edge = edges_[step.stage][step.next_edge++];
        if (marks[edge.from] == Mark::kOpen) {
          std::vector<size_t> cycle;
          for (size_t i = path.size(); i-- > 0;) {
            cycle.push_back(path[i].stage);
            if (path[i].stage == edge.from) break;
          }
          std::reverse(cycle.begin(), cycle.end());
          ReportCycle(cycle, edge.place);
        } else if (marks[edge.from] == Mark::kNew) {
          marks[edge.from] = Mark::kOpen;
          path.push_back({edge.from, 0});
        }
      }
    }
  }

  void ReportCycle(const std::vector<size_t>& cycle, const Place& place) {
    if (++cycles_ > 10) return;  // Many ways around lead through the same few stages.
    std::string shown;
    for (size_t i = 0; i < cycle.size(); ++i) {
      if (cycle.size() > kPathShownMax && i == kPathShownMax / 2) {
        i = cycle.size() - kPathShownMax / 2;
        shown += "... -> ";
      }
      shown += pipeline_.stages[cycle[i]].name + " -> ";
    }
    Error(code::kCycle, place,
          "stages wait for each other: " + shown + pipeline_.stages[cycle.front()].name);
  }

  const PipelineSpec& pipeline_;
  const Index stages_, materials_, environments_;
  std::vector<std::string> slices_;
  std::vector<std::vector<Edge>> edges_;  // By stage: what it waits for.
  Diagnostics findings_;
  size_t suggestions_left_ = 50'000;
  int cycles_ = 0;
};

}  // namespace

Diagnostics Validate(const PipelineSpec& pipeline) { return Validator(pipeline).Run(); }

}  // namespace cd4ml::core
