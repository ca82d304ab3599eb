// Looking up what gates are compared with.
#include "baselines.h"

#include <algorithm>

#include "cd4ml/base/log.h"
#include "cd4ml/base/status.h"

namespace cd4ml::daemon {
namespace {

constexpr int kRetriesMax = 100;   // Of retries that are followed back.

// The parts of "last_accepted.clean", "last_passed", "run:12.clean", "run:other/12".
struct Versus {
  std::string base, table;
};

Versus Split(const std::string& name) {
  const size_t dot = name.rfind('.');
  if (dot == std::string::npos) return {name, ""};
  return {name.substr(0, dot), name.substr(dot + 1)};
}

TaskBaseline Describe(const GateRecord& record, const std::string& gate, const std::string& table) {
  TaskBaseline baseline;
  baseline.identity = record.run + " " + gate;
  if (table.empty()) {
    baseline.metrics = record.outcome.metrics;
    return baseline;
  }
  baseline.identity += "." + table;
  for (const core::ProducedOutput& output : record.outcome.outputs) {
    if (output.name != table || !output.profile.has_value()) continue;
    baseline.identity += " sha256:" + output.artifact.digest.brief();
    baseline.profile = *output.profile;
  }
  return baseline;
}

}  // namespace

Baselines::Moment Baselines::FirstTime(const core::Run& run, const core::StageRun& stage, UtcTime at) const {
  Moment first{run.number, at, run.created};
  core::RunId earlier = run.retry_of;
  for (int i = 0; i < kRetriesMax && !earlier.empty(); ++i) {
    const absl::StatusOr<core::Run> original = history_.GetRun(earlier);
    if (!original.ok()) break;
    first.number = original->number;
    first.created = original->created;
    const core::StageRun* before = original->FindStage(stage.plan.name);
    if (before != nullptr && before->latest() != nullptr) first.granted = before->latest()->granted;
    earlier = original->retry_of;
  }
  return first;
}

void Baselines::Add(const core::Run& run, const core::StageRun& stage, UtcTime at, Task& task) const {
  task.overrides = OverridesOf(run, stage, at);
  task.created_at = run.created;
  if (run.trigger.kind == core::TriggerKind::kReproduce) task.created_at = FirstTime(run, stage, at).created;
  if (stage.plan.baselines.empty()) return;
  const Moment first = FirstTime(run, stage, at);
  for (const std::string& name : stage.plan.baselines) {
    const Versus versus = Split(name);
    absl::StatusOr<std::optional<GateRecord>> record;
    if (versus.base.starts_with("run:")) {
      const std::string named = versus.base.substr(4);
      const bool is_other = named.find('/') != std::string::npos;
      record = history_.FindGate(is_other ? named : run.pipeline + "/" + named, stage.plan.name);
      // A run is not compared with itself, nor with one that has judged since.
      if (record.ok() && record->has_value() && (*record)->at >= first.granted) record = std::nullopt;
    } else {
      record = history_.LastPassed(run.pipeline, stage.plan.name, first.number, first.granted);
    }
    if (!record.ok()) {
      LogWarn("a baseline could not be looked up",
              {{"run", run.id}, {"stage", stage.plan.name}, {"versus", name}, {"error", Message(record.status())}});
    } else if (record->has_value()) {
      TaskBaseline baseline = Describe(**record, stage.plan.name, versus.table);
      // A gate that made no profile of the table has nothing to compare with.
      if (versus.table.empty() || baseline.profile.digest.is_set()) task.baselines[name] = std::move(baseline);
    }
  }
}

std::vector<core::Override> Baselines::OverridesOf(const core::Run& run, const core::StageRun& stage, UtcTime at) const {
  if (!core::IsGate(stage.plan.kind)) return {};
  if (run.trigger.kind == core::TriggerKind::kReproduce) at = FirstTime(run, stage, at).granted;
  const auto records = history_.OverridesOf(run.pipeline, stage.plan.name, at);
  if (records.ok()) return core::InForce(*records, stage.plan.override_people, at);
  LogWarn("overrides could not be looked up, so none counts",
          {{"run", run.id}, {"stage", stage.plan.name}, {"error", Message(records.status())}});
  return {};
}

std::map<std::string, std::string> ComparedParts(const Task& task) {
  std::map<std::string, std::string> parts;
  parts["champion"] = task.champion.has_value() ? task.champion->digest.hex() : "";
  // How its package is started and in what is said there.
  if (task.champion_service) parts["champion definition"] = task.champion_service->definition.hex();
  for (const auto& [name, baseline] : task.baselines) {
    Value::Map metrics(baseline.metrics.begin(), baseline.metrics.end());
    parts["baseline " + name] = Sha256(baseline.profile.digest.hex() + ToJson(std::move(metrics))).hex();
  }
  std::string overrides;
  for (const core::Override& one : task.overrides) {
    overrides += ToJson(Value::List{one.rule, one.by, one.reason, one.at.ms, one.expires.ms});
  }
  if (!overrides.empty()) parts["overrides"] = Sha256(overrides).hex();
  return parts;
}

}  // namespace cd4ml::daemon
