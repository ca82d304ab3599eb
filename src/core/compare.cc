// Facts of each run by name, side by side.
#include "cd4ml/core/compare.h"

#include <array>
#include <cmath>
#include <utility>

#include "cd4ml/core/gate_report.h"

namespace cd4ml::core {
namespace {

constexpr std::array<std::string_view, 9> kKinds = {"run",   "code",   "data",   "params", "environment",
                                                    "stage", "output", "metric", "time"};
constexpr std::array<std::string_view, 3> kTrends = {"none", "better", "worse"};

// In the order in which they are shown.
using Facts = std::vector<std::pair<std::string, Side>>;

bool IsNan(const Value& value) { return value.is_number() && std::isnan(value.number()); }

bool AreSame(const Value& a, const Value& b) { return a == b || (IsNan(a) && IsNan(b)); }

// Everything under its dotted name; unlike Flatten with lists, which are values here.
void AddLeaves(const Value& value, const std::string& name, std::map<std::string, Value>& leaves) {
  if (!value.is_map()) {
    if (!name.empty()) leaves[name] = value;
    return;
  }
  for (const auto& [key, member] : value.map()) AddLeaves(member, name.empty() ? key : name + "." + key, leaves);
}

std::map<std::string, Value> LeavesOf(const Value& value) {
  std::map<std::string, Value> leaves;
  AddLeaves(value, "", leaves);
  return leaves;
}

Value TextOrNone(const std::string& text) { return text.empty() ? Value() : Value(text); }

Facts RunFacts(const Run& run) {
  return {{"state", {std::string(Word(run)), run.message}},
          {"lane", {run.lane, ""}},
          {"trigger", {std::string(ToText(run.trigger.kind)), run.trigger.reason}},
          {"priority", {run.priority, ""}},
          {"mixed", {TextOrNone(run.pins.mixed), ""}}};
}

Facts CodeFacts(const Run& run) {
  return {{"repository", {run.pins.repo, ""}},
          {"file", {run.pins.file, ""}},
          {"commit", {run.pins.commit, run.pins.commit_subject}}};
}

Facts DataFacts(const Run& run) {
  Facts facts;
  for (const auto& [name, version] : run.pins.materials) facts.push_back({name, {version.digest, version.summary}});
  return facts;
}

Facts ParamFacts(const Run& run) {
  Facts facts;
  for (const auto& [name, value] : LeavesOf(run.pins.params)) {
    const auto source = run.pins.param_sources.find(name);
    facts.push_back({name, {value, source == run.pins.param_sources.end() ? "" : source->second}});
  }
  for (const StageRun& stage : run.stages) {
    for (const auto& [name, value] : stage.plan.cell_params) facts.push_back({stage.plan.name + " " + name, {value, "matrix cell"}});
  }
  return facts;
}

// Key -> stage -> value.
using Environments = std::map<std::string, std::map<std::string, Value>>;

Environments EnvironmentsOf(const Run& run) {
  Environments environments;
  for (const StageRun& stage : run.stages) {
    const Outcome* result = stage.result();
    if (result == nullptr) continue;
    for (const auto& [key, value] : LeavesOf(result->environment)) environments[key][stage.plan.name] = value;
  }
  return environments;
}

bool IsUniform(const Environments& environments, const std::string& key) {
  const auto found = environments.find(key);
  if (found == environments.end()) return true;
  for (const auto& [stage, value] : found->second) {
    if (!AreSame(value, found->second.begin()->second)) return false;
  }
  return true;
}

// Says a thing once where it holds for all stages.
Facts EnvironmentFacts(const Environments& own, const Environments& other) {
  Facts facts;
  for (const auto& [key, stages] : own) {
    if (IsUniform(own, key) && IsUniform(other, key)) {
      facts.push_back({key, {stages.begin()->second, ""}});
      continue;
    }
    for (const auto& [stage, value] : stages) facts.push_back({stage + " " + key, {value, ""}});
  }
  return facts;
}

Facts StageFacts(const Run& run) {
  Facts facts;
  for (const StageRun& stage : run.stages) {
    facts.push_back({stage.plan.name, {std::string(ToText(stage.state)), stage.message}});
    const bool is_chosen = stage.carried.has_value() && !stage.carried->cell.empty();
    if (is_chosen) facts.push_back({stage.plan.name + " cell", {stage.carried->cell, stage.carried->why}});
  }
  return facts;
}

Facts OutputFacts(const Run& run) {
  Facts facts;
  for (const StageRun& stage : run.stages) {
    const Outcome* result = stage.result();
    if (result == nullptr) continue;
    for (const ProducedOutput& output : result->outputs) {
      if (IsGateReport(output)) continue;
      facts.push_back({stage.plan.name + "." + output.name, {output.artifact.digest.hex(), ""}});
    }
  }
  return facts;
}

Facts MetricFacts(const Run& run) {
  Facts facts;
  for (const StageRun& stage : run.stages) {
    const Outcome* result = stage.result();
    if (result == nullptr) continue;
    for (const auto& [name, value] : result->metrics) facts.push_back({stage.plan.name + "." + name, {value, ""}});
  }
  return facts;
}

Value Span(UtcTime begin, UtcTime end) {
  return begin.is_set() && end.is_set() ? Value((end - begin).count()) : Value();
}

Facts TimeFacts(const Run& run) {
  Facts facts = {{"run", {Span(run.created, run.ended), ""}}};
  for (const StageRun& stage : run.stages) {
    if (stage.carried.has_value() && !stage.carried->cell.empty()) continue;   // A choice takes no time.
    if (stage.carried.has_value()) {
      facts.push_back({stage.plan.name, {Value(), "taken over from " + stage.carried->from.run}});
    } else if (const Attempt* attempt = stage.latest()) {
      const UtcTime begin = attempt->started.is_set() ? attempt->started : attempt->granted;
      const bool is_first = attempt->number == 1;
      facts.push_back({stage.plan.name, {Span(begin, attempt->ended), is_first ? "" : "attempt " + std::to_string(attempt->number)}});
    }
  }
  return facts;
}

Trend TrendOf(const Difference& difference, const std::map<std::string, bool>& goals) {
  const auto goal = goals.find(difference.name);
  if (difference.kind != DifferenceKind::kMetric || goal == goals.end()) return Trend::kNone;
  if (!difference.before.value.is_number() || !difference.after.value.is_number()) return Trend::kNone;
  const double before = difference.before.value.number(), after = difference.after.value.number();
  if (!(before < after) && !(before > after)) return Trend::kNone;
  return (after > before) == goal->second ? Trend::kBetter : Trend::kWorse;
}

}  // namespace

std::string_view ToText(DifferenceKind kind) { return kKinds[static_cast<size_t>(kind)]; }
std::string_view ToText(Trend trend) { return kTrends[static_cast<size_t>(trend)]; }

std::vector<Difference> CompareRuns(const Run& before, const Run& after, const std::map<std::string, bool>& goals,
                                    Compared compared) {
  std::vector<Difference> differences;
  const auto add = [&](DifferenceKind kind, const Facts& then, const Facts& now) {
    std::map<std::string, Side> open(now.begin(), now.end());
    const auto put = [&](const std::string& name, Side a, Side b) {
      if (compared == Compared::kDifferences && AreSame(a.value, b.value)) return;
      Difference difference{kind, name, std::move(a), std::move(b)};
      difference.trend = TrendOf(difference, goals);
      differences.push_back(std::move(difference));
    };
    for (const auto& [name, side] : then) {
      const auto other = open.extract(name);
      put(name, side, other.empty() ? Side{} : other.mapped());
    }
    for (const auto& [name, side] : now) {
      if (open.contains(name)) put(name, Side{}, side);
    }
  };
  add(DifferenceKind::kRun, RunFacts(before), RunFacts(after));
  add(DifferenceKind::kCode, CodeFacts(before), CodeFacts(after));
  add(DifferenceKind::kData, DataFacts(before), DataFacts(after));
  add(DifferenceKind::kParams, ParamFacts(before), ParamFacts(after));
  const Environments environments = EnvironmentsOf(before), others = EnvironmentsOf(after);
  add(DifferenceKind::kEnvironment, EnvironmentFacts(environments, others), EnvironmentFacts(others, environments));
  add(DifferenceKind::kStage, StageFacts(before), StageFacts(after));
  add(DifferenceKind::kOutput, OutputFacts(before), OutputFacts(after));
  add(DifferenceKind::kMetric, MetricFacts(before), MetricFacts(after));
  add(DifferenceKind::kTime, TimeFacts(before), TimeFacts(after));
  return differences;
}

}  // namespace cd4ml::core
