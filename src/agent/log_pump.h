// Streams the logs of attempts to the daemon while they are written, and what is missing once it is
// there again.
#pragma once

#include <condition_variable>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "cd4ml/core/run.h"
#include "cd4ml/ports/agent_api.h"
#include "cd4ml/ports/log_store.h"

namespace cd4ml::agent {

// Thread-safe. One thread looks at all files every kLook: a line is with the daemon soon, and a
// stage that says nothing costs next to nothing.
class LogPump {
 public:
  static constexpr Duration kLook{20};
  static constexpr int64_t kChunkMax = 256 << 10;
  // More stays on the agent until the attempt is forgotten; by the last byte the daemon's store learns that there is more.
  static constexpr int64_t kLogMax = kLogSizeMax + 1;

  // The callbacks may come from any thread: everything of an ended log is delivered; the daemon
  // says that the attempt counts no more.
  using Told = std::function<void(const core::AttemptId&)>;
  LogPump(AgentApi& daemon, Told on_delivered, Told on_stale);

  // Uses another session from now on; empty: there is none.
  void SetSession(const std::string& session);

  // Begins to follow a log file, which need not exist yet.
  void Follow(const core::AttemptId& attempt, const std::string& path);
  // Says that nothing will be appended any more: `on_delivered` follows.
  void End(const core::AttemptId& attempt, int64_t size);
  // Stops following.
  void Drop(const core::AttemptId& attempt);

 private:
  struct Log {
    core::AttemptId attempt;
    std::string path;
    std::ifstream file;  // Used by the pump's thread only, as are the next two.
    bool complained = false;
    int rounds_to_wait = 0;
    int64_t delivered = 0;       // Guarded by mutex_, as is the next one.
    std::optional<int64_t> end;  // Its size, once it has ended.
  };
  enum class Progress { kNothing, kMore, kSessionOver };

  void Run(std::stop_token stop);
  // Delivers one chunk of a log.
  Progress Pump(Log& log, const std::string& session);
  bool IsDelivered(const Log& log) const { return log.end && log.delivered >= *log.end; }

  AgentApi& daemon_;
  const Told on_delivered_, on_stale_;
  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::map<core::AttemptId, std::shared_ptr<Log>>
      logs_;             // Guarded by mutex_; shared with the pump's round.
  std::string session_;  // Guarded by mutex_, as are the next two.
  bool woken_ = false;
  const std::unique_ptr<char[]> chunk_ = std::make_unique<char[]>(kChunkMax);  // Of the pump's thread.
  bool looking_ = false;  // The thread waits for no longer than kLook.
  std::jthread thread_;  // Last: it uses the others.
};

}  // namespace cd4ml::agent
