// Keeps track of what an attempt has started and whether it is to go on.
#include "agent/attempt.h"

#include <algorithm>
#include <utility>

#include "agent/exits.h"
#include "agent/files.h"
#include "cd4ml/base/status.h"

namespace cd4ml::agent {
namespace {

// What the processes of one attempt are for; the stage's command has no name.
constexpr std::string_view kRoles[] = {"", "runtime", "serve", "apply", "rollback"};

}  // namespace

std::string KeyOf(const std::string& deployment) {
  std::string key = deployment;
  std::replace(key.begin(), key.end(), '/', '.');
  return key;
}

std::string KeyOf(const core::AttemptId& attempt) { return KeyOf(core::ToText(attempt)); }

Attempt::Attempt(const Tools& tools, const Task& task, AttemptPaths paths, std::stop_token quit,
                 std::function<void()> on_began)
    : tools_(tools),
      task_(task),
      paths_(std::move(paths)),
      quit_(std::move(quit)),
      on_began_(std::move(on_began)),
      on_quit_(quit_, [this] { halt_.request_stop(); }),
      lap_ticks_(tools.ports.clock.Ticks()) {}

void Attempt::Lap(Histogram& step) {
  const int64_t now = tools_.ports.clock.Ticks();
  step.Add(now - std::exchange(lap_ticks_, now));
}

void Attempt::Cancel() {
  cancelled_.request_stop();
  halt_.request_stop();
  std::lock_guard lock(mutex_);
  for (const std::string& id : started_) (void)tools_.ports.processes.Kill(id);
}

std::string Attempt::ProcessId(std::string_view role) const {
  const std::string key = KeyOf(task_.attempt);
  return role.empty() ? key : key + "." + std::string(role);
}

void Attempt::FindProcesses() {
  std::lock_guard lock(mutex_);
  for (std::string_view role : kRoles) {
    const std::string id = ProcessId(role);
    if (tools_.ports.processes.Status(id).ok()) started_.insert(id);
  }
}

bool Attempt::HasStarted(const std::string& id) {
  std::lock_guard lock(mutex_);
  return started_.contains(id);
}

absl::Status Attempt::StartLocked(const ProcessSpec& spec) {
  const absl::Status started = tools_.ports.processes.Start(spec);
  if (!started.ok() && !absl::IsAlreadyExists(started)) return started;
  started_.insert(spec.id);
  return absl::OkStatus();
}

absl::Status Attempt::Start(ProcessSpec spec) {
  // Under the lock, so that Cancel either comes first or kills it.
  std::lock_guard lock(mutex_);
  if (cancelled()) return absl::CancelledError("cancelled");
  return StartLocked(spec);
}

absl::Status Attempt::StartRegardless(ProcessSpec spec) {
  std::lock_guard lock(mutex_);
  return StartLocked(spec);
}

std::set<std::string> Attempt::started() {
  std::lock_guard lock(mutex_);
  return started_;
}

void Attempt::EndProcesses() {
  for (const std::string& id : started()) tools_.exits.End(id, quit_);
}

void Attempt::ForgetProcesses() {
  for (const std::string& id : started()) tools_.exits.Forget(id);
}

void Attempt::Say(const std::string& line) const {
  (void)AppendText(paths_.log(), std::string(kVoice) + line + "\n");
}

core::Outcome Failed(core::Reason reason, const std::string& message) {
  core::Outcome outcome;
  outcome.state = reason == core::Reason::kCancelled ? core::AttemptState::kCancelled
                                                     : core::AttemptState::kFailed;
  outcome.reason = reason;
  outcome.message = message;
  return outcome;
}

core::Outcome Failed(core::Reason reason, const absl::Status& status) {
  return Failed(reason, Message(status));
}

core::Outcome FailedWithoutRuntime(const absl::Status& why) {
  using core::Reason;
  return Failed(absl::IsFailedPrecondition(why) ? Reason::kExitCode
                : absl::IsDeadlineExceeded(why) ? Reason::kTimeout
                : absl::IsCancelled(why)        ? Reason::kCancelled
                                                : Reason::kInfra,
                why);
}

std::string LastWords(const std::string& log) {
  std::vector<std::string> lines = LastLines(log, 20);
  std::erase_if(lines, [](const std::string& line) { return line.starts_with(Attempt::kVoice); });
  if (lines.empty()) return "; it printed nothing";
  std::string& last = lines.back();
  // Progress bars draw over themselves: only what they drew last is a line.
  while (!last.empty() && last.back() == '\r') last.pop_back();
  last.erase(0, last.rfind('\r') + 1);
  return "; its last line: " + last;
}

}  // namespace cd4ml::agent
