// Hands what live services predicted in to the daemon: each appends lines to its $CD4ML_PREDICTIONS
// file.
#pragma once

#include <condition_variable>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "agent/services.h"

namespace cd4ml::agent {

// What the complete lines at the beginning of some bytes say.
struct PredictionBatch {
  std::vector<PredictionRecord> records;  // At most 1,000.
  size_t consumed = 0;                    // Bytes of those lines, bad ones included.
  int bad_lines = 0;
  std::string complaint;  // Of the first bad line.
};

// Reads lines {"key", "at_ms", "input", "prediction"}. A line without `at_ms` is of `now`.
PredictionBatch ReadPredictions(std::string_view bytes, const std::string& deployment, UtcTime now);

// Follows the files of all services on a thread of its own. What was handed in is kept as an offset
// on disk; while the daemon is away the lines wait in their files. Known keys are harmless, so a
// repeated batch is too.
class Predictions {
 public:
  explicit Predictions(const Tools& tools);

 private:
  struct Follow {
    int64_t offset = 0;
    int64_t bad_lines = 0;
    bool complained = false;
  };

  void Run(std::stop_token stop);
  // Hands in one batch of a service. Returns whether there may be more.
  bool HandIn(const Services::Feed& feed, Follow& follow);

  const Tools& tools_;
  std::map<std::string, Follow> follows_;  // Used by the thread only.
  std::mutex mutex_;
  std::condition_variable_any pause_;
  std::jthread thread_;  // Last: it uses the others.
};

}  // namespace cd4ml::agent
