// Compares requests by what they say, not by what became of it.
#include "asked.h"

#include <algorithm>

#include "cd4ml/base/text.h"
#include "cd4ml/base/time.h"
#include "cd4ml/base/value.h"

namespace cd4ml::daemon {
namespace {

constexpr size_t kKeyMax = 200;
constexpr size_t kReasonMax = 4 << 10;
constexpr size_t kParamsMax = 64 << 10;

// The parameters that a run was started with, as far as it was asked for them.
std::map<std::string, const Value*> Given(const core::Pins& pins) {
  std::map<std::string, const Value*> given;
  for (const auto& [name, source] : pins.param_sources) {
    if (source == "trigger") given[name] = pins.params.FindPath(name);
  }
  return given;
}

bool SaysTheSame(const std::string& text, const Value& value) {
  if (value.is_list() || value.is_map() || text == ToText(value)) return true;
  const absl::StatusOr<Value> read = ParseJson(text);
  return read.ok() && read->is_number() && value.is_number() && read->number() == value.number();
}

std::map<std::string, std::string> GivenAsText(const core::Pins& pins) {
  std::map<std::string, std::string> texts;
  for (const auto& [name, value] : Given(pins)) {
    if (value != nullptr) texts.emplace(name, ToText(*value));
  }
  return texts;
}

std::string KindText(core::TriggerKind kind, const core::RunId& of) {
  if (kind == core::TriggerKind::kRetry) return "a retry of " + of;
  if (kind == core::TriggerKind::kReproduce) return "a reproduction of " + of;
  return kind == core::TriggerKind::kMonitor ? "a monitor's run" : "a new run";
}

std::string JoinNames(const std::set<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text.empty() ? "none" : text;
}

// Those that a run has not taken over from the one that it retries, and that were not left out. What stands for the cells
// of a matrix is performed by nobody, and goes with them.
std::set<std::string> PerformedBy(const core::Run& run) {
  std::set<std::string> performed;
  for (const core::StageRun& stage : run.stages) {
    if (!stage.plan.matrix && !stage.carried && stage.reason != core::Reason::kNotSelected) performed.insert(stage.plan.name);
  }
  return performed;
}

}  // namespace

Asked AskedFor(const core::StartRun& command) {
  Asked asked{command.trigger.key, command.pipeline, command.lane, GivenAsText(command.pins)};
  asked.kind = command.trigger.kind;
  asked.of = command.retry_of;
  if (asked.kind != core::TriggerKind::kRetry) return asked;
  asked.performed.emplace();
  for (const core::StagePlan& stage : command.stages) {
    if (!stage.matrix && !command.carried.contains(stage.name) && !command.left_out.contains(stage.name)) asked.performed->insert(stage.name);
  }
  return asked;
}

Asked AskedFor(const RetryRequest& request, const core::Run& ended) {
  Asked asked{request.key, ended.pipeline, ended.lane, request.params, core::TriggerKind::kRetry, ended.id};
  asked.params->merge(GivenAsText(ended.pins));
  return asked;
}

Asked AskedFor(const ReproduceRequest& request, const core::Run& ended) {
  return {request.key, ended.pipeline, ended.lane, GivenAsText(ended.pins), core::TriggerKind::kReproduce, ended.id};
}

absl::Status CheckKey(const std::string& key) {
  const bool is_readable = std::all_of(key.begin(), key.end(), [](char c) { return c >= ' ' && c <= '~'; });
  if (is_readable && key.size() <= kKeyMax) return absl::OkStatus();
  return absl::InvalidArgumentError("an idempotency key is at most " + std::to_string(kKeyMax) +
                                    " printable ASCII characters; this one " +
                                    (is_readable ? "has " + std::to_string(key.size()) : "has others"));
}

absl::Status CheckReason(const std::string& reason) {
  if (reason.size() <= kReasonMax) return absl::OkStatus();
  return absl::InvalidArgumentError("a reason is at most " + FormatSize(kReasonMax) + " of text; this one has " +
                                    FormatSize(static_cast<int64_t>(reason.size())) + "; keep the rest elsewhere");
}

absl::Status CheckParams(const std::map<std::string, std::string>& params) {
  size_t size = 0;
  for (const auto& [name, text] : params) size += name.size() + text.size();
  if (size <= kParamsMax) return absl::OkStatus();
  return absl::InvalidArgumentError("the parameters of a request are at most " + FormatSize(kParamsMax) +
                                    " of text; these have " + FormatSize(static_cast<int64_t>(size)) +
                                    "; put what is larger into a file of the repository");
}

std::string Difference(const Asked& asked, const core::Run& run) {
  const auto differs = [](const std::string& what, const std::string& was, const std::string& is) {
    return "with " + what + " " + was + " where this request says " + is;
  };
  if (run.pipeline != asked.pipeline) return differs("pipeline", run.pipeline, asked.pipeline);
  const std::string was = KindText(run.trigger.kind, run.retry_of), is = KindText(asked.kind, asked.of);
  if (was != is) return "as " + was + " where this request is for " + is;
  if (asked.lane && *asked.lane != run.lane) return differs("lane", run.lane, *asked.lane);
  if (asked.performed) {
    const std::set<std::string> performed = PerformedBy(run);
    if (performed != *asked.performed) return differs("stages", JoinNames(performed), JoinNames(*asked.performed));
  }
  if (!asked.params) return "";
  const std::map<std::string, const Value*> given = Given(run.pins);
  for (const auto& [name, value] : given) {
    const auto found = asked.params->find(name);
    if (found == asked.params->end()) return "with " + name + ", which this request does not give";
    if (value != nullptr && !SaysTheSame(found->second, *value)) return differs(name + " =", ToText(*value), found->second);
  }
  for (const auto& [name, text] : *asked.params) {
    if (!given.contains(name)) return "without " + name + ", which this request gives";
  }
  return "";
}

}  // namespace cd4ml::daemon
