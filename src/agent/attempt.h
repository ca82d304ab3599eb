// One attempt as its performer and executors see it: what to do, where, and whether it is still
// wanted.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "agent/runtimes.h"
#include "agent/sweeper.h"
#include "agent/tools.h"
#include "cd4ml/core/run.h"

namespace cd4ml::agent {

// Returns the id as part of a file name or process id: "used-car-price.12.train.1". Names have no
// dots, so that two ids never give one key.
std::string KeyOf(const core::AttemptId& attempt);
std::string KeyOf(const std::string& deployment);

// Where an attempt keeps what.
struct AttemptPaths {
  std::string dir;  // <state>/attempts/<key>

  std::string record() const { return dir + "/task.json"; }
  std::string outcome() const { return dir + "/outcome.json"; }
  std::string log() const { return dir + "/log"; }
  std::string room() const { return dir + "/room"; }  // All that goes when the attempt has ended.
  std::string work() const { return room() + "/work"; }
};

// What of these folders is used again.
inline const Mould kAttemptMould{.files = {"task.json", "outcome.json"}, .folders = {}, .log = "log"};
inline const Mould kRoomMould{.files = {"params.json"}, .folders = {"work"}, .log = ""};

// An attempt in progress. Executors use it on the performer's thread; Cancel comes from another
// one.
class Attempt {
 public:
  // `quit` is requested when the agent ends, which the attempt outlives.
  Attempt(const Tools& tools, const Task& task, AttemptPaths paths, std::stop_token quit,
          std::function<void()> on_began);

  const Tools& tools() const { return tools_; }
  const Task& task() const { return task_; }
  const AttemptPaths& paths() const { return paths_; }
  int port() const { return port_; }  // Free for whatever it starts.
  void set_port(int port) { port_ = port; }
  const std::vector<std::string>& gpus() const { return gpus_; }  // Its own, and only these.
  void set_gpus(std::vector<std::string> gpus) { gpus_ = std::move(gpus); }
  const Runtime& runtime() const { return runtime_; }  // What its processes run in.
  void set_runtime(Runtime runtime) { runtime_ = std::move(runtime); }

  // Kills what runs and makes every wait end.
  void Cancel();
  bool cancelled() const { return cancelled_.stop_requested(); }
  bool quitting() const { return quit_.stop_requested(); }
  bool halted() const { return halt_.stop_requested(); }
  // Requested when it was cancelled or the agent ends: whatever is not a running process stops
  // then.
  std::stop_token halt() const { return halt_.get_token(); }
  const std::stop_token& quit() const { return quit_; }

  // Returns the id of one of its processes; `role` is empty for the stage's command.
  std::string ProcessId(std::string_view role = "") const;
  // Notes the processes that an earlier agent has started.
  void FindProcesses();
  // Returns whether a process was started, now or by an earlier agent.
  bool HasStarted(const std::string& id);
  // Starts a process, or takes it up when it is there; it is killed by Cancel. CANCELLED: too late.
  absl::Status Start(ProcessSpec spec);
  // The same for what must be done after a cancellation too: putting back what was there before.
  absl::Status StartRegardless(ProcessSpec spec);
  // Kills what is left and waits for its end.
  void EndProcesses();
  // Drops the records of its processes, which have ended.
  void ForgetProcesses();
  // Tells that its command or built-in work has begun.
  void Began() const { on_began_(); }
  // Counts the time since the last lap, or since the beginning, as one of `step`.
  void Lap(Histogram& step);

  // Appends a line to its log, which begins with kVoice.
  static constexpr std::string_view kVoice = "[cd4ml] ";
  void Say(const std::string& line) const;

 private:
  const Tools& tools_;
  const Task& task_;
  int port_ = 0;
  std::vector<std::string> gpus_;
  Runtime runtime_;
  const AttemptPaths paths_;
  const std::stop_token quit_;
  const std::function<void()> on_began_;
  std::stop_source cancelled_;
  std::stop_source halt_;
  std::stop_callback<std::function<void()>> on_quit_;
  int64_t lap_ticks_;
  std::mutex mutex_;
  std::set<std::string> started_;  // Guarded by mutex_.

  absl::Status StartLocked(const ProcessSpec& spec);
  std::set<std::string> started();
};

// --- outcomes ---

core::Outcome Failed(core::Reason reason, const std::string& message);
core::Outcome Failed(core::Reason reason, const absl::Status& status);
// Of a runtime that is not there.
core::Outcome FailedWithoutRuntime(const absl::Status& why);

// Returns how the output in a log ended, as the end of a message; what cd4ml said in it does not count.
std::string LastWords(const std::string& log);

}  // namespace cd4ml::agent
