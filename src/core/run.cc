// Words, look-ups and derived fields of runs.
#include "cd4ml/core/run.h"

#include <algorithm>
#include <charconv>
#include <deque>
#include <set>

#include "cd4ml/base/check.h"
#include "cd4ml/core/matrix.h"

namespace cd4ml::core {
namespace {

constexpr std::array<std::string_view, 5> kRunStates = {"queued", "running", "succeeded", "failed", "cancelled"};
constexpr std::array<std::string_view, 8> kStageStates = {"blocked",   "ready",  "leased",    "running",
                                                          "succeeded", "failed", "cancelled", "skipped"};
constexpr std::array<std::string_view, 6> kAttemptStates = {"granted", "started", "succeeded",
                                                            "failed",  "lost",    "cancelled"};
constexpr std::array<std::string_view, 19> kReasons = {
    "none",          "exit_code",       "timeout",       "output_missing",  "metrics_unreadable",
    "gate_rejected", "gate_error",      "not_ready",     "not_available",   "cancelled",
    "need_failed",   "condition_false", "agent_lost",    "infra",           "no_agent",
    "total_timeout", "silence_timeout", "superseded",    "not_selected"};
constexpr std::array<std::string_view, 4> kTriggerKinds = {"dispatch", "monitor", "retry", "reproduce"};

template <typename Enum, size_t N>
std::optional<Enum> Parse(const std::array<std::string_view, N>& words, std::string_view text) {
  const auto found = std::find(words.begin(), words.end(), text);
  if (found == words.end()) return std::nullopt;
  return static_cast<Enum>(found - words.begin());
}

// Returns "pipeline/stage" of whoever made the stage's result. What is taken over may have been made under another name,
// which it keeps: by that it is known what it was made from.
std::string NameOfMaker(const Run& run, const StageRun& stage) {
  if (!stage.carried) return run.pipeline + "/" + stage.plan.name;
  const AttemptId& from = stage.carried->from;
  return from.run.substr(0, from.run.rfind('/')) + "/" + from.stage;
}

}  // namespace

std::string_view ToText(RunState state) { return kRunStates[static_cast<size_t>(state)]; }
std::string_view ToText(StageState state) { return kStageStates[static_cast<size_t>(state)]; }
std::string_view ToText(AttemptState state) { return kAttemptStates[static_cast<size_t>(state)]; }
std::string_view ToText(TriggerKind kind) { return kTriggerKinds[static_cast<size_t>(kind)]; }
std::string_view ToText(Reason reason) { return kReasons[static_cast<size_t>(reason)]; }

std::optional<RunState> ParseRunState(std::string_view text) { return Parse<RunState>(kRunStates, text); }
std::optional<StageState> ParseStageState(std::string_view text) { return Parse<StageState>(kStageStates, text); }
std::optional<AttemptState> ParseAttemptState(std::string_view text) {
  return Parse<AttemptState>(kAttemptStates, text);
}
std::optional<TriggerKind> ParseTriggerKind(std::string_view text) { return Parse<TriggerKind>(kTriggerKinds, text); }
std::optional<Reason> ParseReason(std::string_view text) { return Parse<Reason>(kReasons, text); }

bool IsTerminal(RunState state) { return state != RunState::kQueued && state != RunState::kRunning; }

bool IsTerminal(StageState state) {
  switch (state) {
    case StageState::kBlocked:
    case StageState::kReady:
    case StageState::kLeased:
    case StageState::kRunning: return false;
    case StageState::kSucceeded:
    case StageState::kFailed:
    case StageState::kCancelled:
    case StageState::kSkipped: return true;
  }
  return true;
}

bool IsTerminal(AttemptState state) { return state != AttemptState::kGranted && state != AttemptState::kStarted; }

bool IsInfrastructure(Reason reason) {
  return reason == Reason::kAgentLost || reason == Reason::kInfra || reason == Reason::kNoAgent;
}

std::string ToText(const AttemptId& id) { return id.run + "/" + id.stage + "/" + std::to_string(id.number); }

std::optional<AttemptId> ParseAttemptId(std::string_view text) {
  const size_t number_at = text.rfind('/');
  if (number_at == std::string_view::npos || number_at == 0) return std::nullopt;
  const size_t stage_at = text.rfind('/', number_at - 1);
  if (stage_at == std::string_view::npos || stage_at == 0) return std::nullopt;
  AttemptId id;
  id.run = text.substr(0, stage_at);
  id.stage = text.substr(stage_at + 1, number_at - stage_at - 1);
  const auto [end, error] = std::from_chars(text.data() + number_at + 1, text.data() + text.size(), id.number);
  if (error != std::errc() || end != text.data() + text.size() || id.number < 1) return std::nullopt;
  return id;
}

const Outcome* StageRun::result() const {
  if (carried.has_value()) return &carried->outcome;
  const Attempt* attempt = latest();
  return attempt != nullptr && IsTerminal(attempt->state) ? &attempt->outcome : nullptr;
}

const StageRun* Run::FindStage(std::string_view name) const {
  const auto found = positions.find(name);
  return found == positions.end() ? nullptr : &stages[static_cast<size_t>(found->second)];
}

StageRun* Run::FindStage(std::string_view name) {
  return const_cast<StageRun*>(std::as_const(*this).FindStage(name));
}

void UpdateDeadline(Run& run, int position, UtcTime resumed) {
  StageRun& stage = run.stages[static_cast<size_t>(position)];
  if (stage.deadline.is_set()) run.deadlines.erase({stage.deadline, position});
  stage.deadline = {};
  const auto consider = [&stage](UtcTime from, Duration span) {
    if (span.count() == 0 || !from.is_set()) return;
    if (!stage.deadline.is_set() || from + span < stage.deadline) stage.deadline = from + span;
  };
  // What is told to end has no time left to run out.
  const bool ending = stage.stop.has_value() || run.cancel_requested;
  if (IsTerminal(stage.state) || !stage.first_ready.is_set() || ending) return;
  if (stage.state == StageState::kReady) {
    consider(std::max({stage.ready, stage.not_before, resumed}), stage.plan.assign_timeout);
  }
  consider(TotalTimeoutFrom(run, stage), stage.plan.total_timeout);
  if (stage.deadline.is_set()) run.deadlines.emplace(stage.deadline, position);
}

void Reindex(Run& run, UtcTime resumed) {
  run.positions.clear();
  run.deadlines.clear();
  run.open_stages = 0;
  run.environment.clear();
  for (size_t i = 0; i < run.stages.size(); ++i) {
    StageRun& stage = run.stages[i];
    run.positions[stage.plan.name] = static_cast<int>(i);
    stage.dependents.clear();
    stage.open_needs = 0;
    stage.deadline = {};
    if (!IsTerminal(stage.state)) ++run.open_stages;
    if (stage.plan.kind == StageKind::kDeploy) run.environment = stage.plan.environment;
  }
  for (size_t i = 0; i < run.stages.size(); ++i) {
    UpdateDeadline(run, static_cast<int>(i), resumed);
    for (const std::string& need : run.stages[i].plan.needs) {
      StageRun* upstream = run.FindStage(need);
      CD4ML_CHECK(upstream != nullptr, need);
      upstream->dependents.push_back(static_cast<int>(i));
      if (!IsTerminal(upstream->state)) ++run.stages[i].open_needs;
    }
  }
}

Value ParamsOf(const Pins& pins, const StagePlan& stage) {
  Value params = pins.params;
  SetCellParams(params, stage.cell_params);
  return params;
}

const StageRun& MakerOf(const Run& run, const StageRun& stage) {
  const StageRun* winner = stage.carried ? run.FindStage(stage.carried->cell) : nullptr;
  return winner == nullptr ? stage : *winner;
}

const ProducedOutput* FindOutput(const Run& run, std::string_view reference) {
  const Reference parts = ParseReference(reference);
  const StageRun* stage = run.FindStage(parts.stage);
  const Outcome* result = stage == nullptr ? nullptr : stage->result();
  if (result == nullptr) return nullptr;
  for (const ProducedOutput& output : result->outputs) {
    if (output.name == parts.output) return &output;
  }
  return nullptr;
}

std::optional<Version> FindVersion(const Run& run, std::string_view reference) {
  const auto material = run.pins.materials.find(std::string(reference));
  if (material != run.pins.materials.end()) return material->second;
  const ProducedOutput* output = FindOutput(run, reference);
  if (output == nullptr) return std::nullopt;
  const Reference parts = ParseReference(reference);
  return Version{.kind = VersionKindOf(output->type),
                 .name = NameOfMaker(run, *run.FindStage(parts.stage)) + "." + output->name,
                 .digest = output->artifact.digest.hex(),
                 .artifact = output->artifact,
                 .summary = ""};
}

std::optional<Version> FindModel(const Run& run, std::string_view reference) {
  std::deque<std::string> open = {std::string(reference)};
  std::set<std::string, std::less<>> seen;
  while (!open.empty()) {
    const std::string next = std::move(open.front());
    open.pop_front();
    const ProducedOutput* output = FindOutput(run, next);
    if (output == nullptr || !seen.insert(next).second) continue;
    if (output->type == OutputType::kModel) return FindVersion(run, next);
    const StagePlan& producer = MakerOf(run, *run.FindStage(ParseReference(next).stage)).plan;
    open.insert(open.end(), producer.references.begin(), producer.references.end());
  }
  return std::nullopt;
}

std::optional<std::string> FindTrainData(const Run& run) {
  for (const StageRun& stage : run.stages) {
    if (stage.plan.kind != StageKind::kTrain) continue;
    for (const std::string& reference : stage.plan.references) {
      const ProducedOutput* output = FindOutput(run, reference);
      if (output != nullptr && output->type == OutputType::kDataset) return reference;
    }
  }
  return std::nullopt;
}

std::string_view Word(const Run& run) {
  switch (run.state) {
    case RunState::kQueued: return "queued";
    case RunState::kRunning: return run.cancel_requested ? "cancelling" : "running";
    case RunState::kSucceeded: return "passed";
    case RunState::kCancelled: return run.reason == Reason::kSuperseded ? "superseded" : "cancelled";
    case RunState::kFailed: break;
  }
  if (run.reason == Reason::kGateRejected || run.reason == Reason::kGateError) return "gate rejected";
  return IsInfrastructure(run.reason) ? "infra error" : "failed";
}

}  // namespace cd4ml::core
