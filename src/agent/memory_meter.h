// The highest memory of a running process with all that it started, looked at every so often.
#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "agent/tools.h"

namespace cd4ml::agent {

// What a process takes for shorter than kPeriod between two looks is seen too if one process of it takes it, because the
// kernel keeps the peak of each.
class MemoryMeter {
 public:
  // Looks at `process` from now on.
  MemoryMeter(const AgentPorts& ports, std::string process);

  // Looks once more and returns the highest number of bytes; the error of the last look if none succeeded.
  absl::StatusOr<int64_t> Peak();

 private:
  static constexpr Duration kPeriod{25};

  void Run(const std::stop_token& stop);
  void Look();

  const AgentPorts& ports_;
  const std::string process_;
  std::mutex mutex_;  // Guards the next three.
  std::condition_variable_any wake_;
  int64_t peak_ = 0;
  absl::Status problem_;
  std::jthread thread_;  // Last: it uses the others.
};

}  // namespace cd4ml::agent
