// A reproduction is a run like any other; what makes it one is what it is planned and compared with.
#include "cd4ml/core/reproduce.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "cd4ml/core/gate_report.h"

namespace cd4ml::core {
namespace {

constexpr std::array<std::string_view, 4> kWords = {"identical", "equivalent", "different", "unknown"};

bool ChangesTheWorld(StageKind kind) { return kind == StageKind::kDeploy || kind == StageKind::kMonitor; }

bool IsWithin(double before, double after, double tolerance) {
  if (std::isnan(before) || std::isnan(after)) return std::isnan(before) && std::isnan(after);
  return before == after || std::abs(before - after) <= tolerance * std::max(1.0, std::abs(before));
}

bool HasOutputs(const StageRun& stage) {
  return stage.result() != nullptr && !std::all_of(stage.result()->outputs.begin(), stage.result()->outputs.end(), IsGateReport);
}

std::string BriefDigest(const Value& digest) {
  return digest.is_null() ? "nothing" : "sha256:" + digest.string().substr(0, 12);
}

// Sorts what differs between two runs into what counts and what only explains.
class Judge {
 public:
  Judge(const Run& original, const Run& rebuilt, std::optional<double> tolerance)
      : original_(original), rebuilt_(rebuilt), tolerance_(tolerance) {
    result_.original = original.id;
    result_.rebuilt = rebuilt.id;
  }

  Reproduction operator()() {
    for (const StageRun& stage : original_.stages) {
      const StageRun* again = rebuilt_.FindStage(stage.plan.name);
      if (again == nullptr || again->reason == Reason::kNotSelected) {
        result_.left_out.push_back(stage.plan.name);
      } else {
        JudgeStage(stage, *again);
      }
    }
    for (Difference& difference : CompareRuns(original_, rebuilt_, {}, Compared::kDifferences)) {
      if (difference.kind == DifferenceKind::kEnvironment && IsOfBoth(difference)) {
        result_.differences.push_back(std::move(difference));
      }
    }
    Conclude();
    return std::move(result_);
  }

 private:
  // Stages that were left out ran with something, too.
  static bool IsOfBoth(const Difference& difference) {
    return !difference.before.value.is_null() && !difference.after.value.is_null();
  }

  void JudgeStage(const StageRun& stage, const StageRun& again) {
    if (again.state == StageState::kFailed && IsInfrastructure(again.reason)) is_broken_ = true;
    if (again.state != StageState::kSucceeded) {
      // What was skipped follows from an earlier one.
      Name(stage.plan.name, "it " + std::string(ToText(again.state)) + (again.message.empty() ? "" : ": " + again.message));
      has_failed_ = true;
      return;
    }
    const Outcome empty;
    const Outcome& then = stage.result() == nullptr ? empty : *stage.result();
    const Outcome& now = again.result() == nullptr ? empty : *again.result();
    CompareOutputs(stage.plan.name, then, now);
    // What a contract gate measures is the time that answers took.
    if (tolerance_.has_value() && stage.plan.kind != StageKind::kContractGate) CompareMetrics(stage.plan.name, then, now);
  }

  void CompareOutputs(const std::string& stage, const Outcome& then, const Outcome& now) {
    std::map<std::string, std::pair<Value, Value>> digests;
    for (const ProducedOutput& output : then.outputs) {
      if (!IsGateReport(output)) digests[output.name].first = output.artifact.digest.hex();
    }
    for (const ProducedOutput& output : now.outputs) {
      if (!IsGateReport(output)) digests[output.name].second = output.artifact.digest.hex();
    }
    for (auto& [name, pair] : digests) {
      ++result_.outputs;
      if (pair.first == pair.second) continue;
      Name(stage, "its output \"" + name + "\" was " + BriefDigest(pair.first) + " and is " + BriefDigest(pair.second));
      Add({DifferenceKind::kOutput, stage + "." + name, {pair.first, ""}, {pair.second, ""}});
    }
  }

  void CompareMetrics(const std::string& stage, const Outcome& then, const Outcome& now) {
    std::map<std::string, std::pair<Value, Value>> metrics;
    for (const auto& [name, value] : then.metrics) metrics[name].first = value;
    for (const auto& [name, value] : now.metrics) metrics[name].second = value;
    for (auto& [name, pair] : metrics) {
      ++result_.metrics;
      const bool both = !pair.first.is_null() && !pair.second.is_null();
      if (both && IsWithin(pair.first.number(), pair.second.number(), *tolerance_)) continue;
      if (beyond_.empty()) {
        beyond_ = "metric \"" + name + "\" is beyond the tolerance: " + ToText(pair.first) + " was, " + ToText(pair.second) + " is";
        beyond_stage_ = stage;
      }
      Add({DifferenceKind::kMetric, stage + "." + name, {pair.first, ""}, {pair.second, ""}});
    }
  }

  void Add(Difference difference) { result_.differences.push_back(std::move(difference)); }

  // The first one counts: what comes later may differ because of it.
  void Name(const std::string& stage, std::string why) {
    if (!result_.stage.empty()) return;
    result_.stage = stage;
    result_.why = stage + ": " + std::move(why);
  }

  void Conclude() {
    const bool is_over = rebuilt_.state == RunState::kSucceeded || rebuilt_.state == RunState::kFailed;
    if (!is_over || is_broken_) {
      result_.sameness = Sameness::kUnknown;
      if (result_.why.empty()) result_.why = "run " + rebuilt_.id + " is " + std::string(Word(rebuilt_));
      return;
    }
    result_.sameness = Sameness::kDifferent;
    if (has_failed_) return;
    if (!beyond_.empty()) {
      if (result_.stage.empty()) return Name(beyond_stage_, "its " + beyond_);
      result_.why += "; " + beyond_stage_ + ": its " + beyond_;
    } else if (result_.stage.empty()) {
      result_.sameness = Sameness::kIdentical;
    } else if (tolerance_.has_value() && result_.metrics > 0) {
      result_.sameness = Sameness::kEquivalent;
    } else if (tolerance_.has_value()) {
      result_.why += "; no metric is recorded that could be compared instead";
    }
  }

  const Run& original_;
  const Run& rebuilt_;
  const std::optional<double> tolerance_;
  Reproduction result_;
  bool has_failed_ = false;       // A stage that succeeded then did not now.
  bool is_broken_ = false;        // Because of something on our side.
  std::string beyond_, beyond_stage_;   // The first metric beyond the tolerance.
};

}  // namespace

std::string_view ToText(Sameness sameness) { return kWords[static_cast<size_t>(sameness)]; }

absl::StatusOr<ReproductionPlan> PlanReproduction(const Run& ended) {
  if (!IsTerminal(ended.state)) {
    return absl::FailedPreconditionError("run " + ended.id + " is " + std::string(Word(ended)) + "; wait for its end");
  }
  ReproductionPlan plan;
  bool compares = false;
  for (const StageRun& stage : ended.stages) {
    StagePlan again = stage.plan;
    const auto is_left_out = [&](const std::string& need) { return plan.left_out.contains(need); };
    const bool lacks_a_need = std::any_of(again.needs.begin(), again.needs.end(), is_left_out);
    const bool needs_the_world = std::any_of(again.needs.begin(), again.needs.end(), [&](const std::string& need) {
      return is_left_out(need) && ended.FindStage(need)->state == StageState::kSucceeded;
    });
    if (ChangesTheWorld(again.kind) || stage.state != StageState::kSucceeded || needs_the_world) {
      plan.left_out.insert(again.name);
    } else {
      compares = compares || HasOutputs(stage);
    }
    // Its condition was true then; what it needs may be among what failed then.
    again.condition = lacks_a_need ? "always()" : "";
    again.recipe.clear();             // Nothing is taken over from it either: it says what was, not what is newest.
    again.reuse = false;
    plan.stages.push_back(std::move(again));
  }
  if (compares) return plan;
  return absl::FailedPreconditionError("run " + ended.id + " made nothing that could be made again and compared");
}

Reproduction JudgeReproduction(const Run& original, const Run& rebuilt, std::optional<double> tolerance) {
  return Judge(original, rebuilt, tolerance)();
}

}  // namespace cd4ml::core
