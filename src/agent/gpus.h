// Which of the agent's GPUs is whose: an attempt gets exactly as many as its task says, and none is
// given twice.
#pragma once

#include <condition_variable>
#include <map>
#include <mutex>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace cd4ml::agent {

// Thread-safe.
class Gpus {
 public:
  explicit Gpus(std::vector<std::string> all) : all_(std::move(all)) {}

  // Takes `count` of them for an attempt. Waits while an attempt that is being ended still has them;
  // CANCELLED at `stop`. FAILED_PRECONDITION: there are not so many.
  absl::StatusOr<std::vector<std::string>> Take(int64_t count, const std::stop_token& stop);
  // Notes those that an attempt of an earlier agent has, also ones that are no longer the agent's.
  void Claim(const std::vector<std::string>& taken);
  void Release(const std::vector<std::string>& taken);

 private:
  std::vector<std::string> Free() const;

  const std::vector<std::string> all_;
  std::mutex mutex_;
  std::condition_variable_any released_;
  std::multiset<std::string> taken_;  // Guarded by mutex_.
};

// Lets a process with the environment `env` see the GPUs `given` of the agent's `all`, and no other
// one. Nothing is said where there are none.
void ShowGpus(const std::vector<std::string>& given, const std::vector<std::string>& all,
              std::map<std::string, std::string>& env);

}  // namespace cd4ml::agent
