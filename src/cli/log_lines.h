// An attempt's log as lines, read piece by piece.
#pragma once

#include <functional>
#include <string>

#include "cd4ml/ports/query_api.h"

namespace cd4ml::cli {

// Reads one attempt's log from where it stopped the last time.
class LogReader {
 public:
  explicit LogReader(core::AttemptId attempt, int64_t offset = 0)
      : attempt_(std::move(attempt)), offset_(offset) {}

  // Calls `on_line` for each line that is complete by now, without its line break; the rest when
  // the log has ended. Reads what is there and does not wait.
  absl::Status Read(QueryApi& query, const std::function<void(const std::string&)>& on_line);
  // Calls `on_line` with a begun line, if there is one.
  void Flush(const std::function<void(const std::string&)>& on_line);

  const core::AttemptId& attempt() const { return attempt_; }
  bool has_ended() const { return has_ended_; }

 private:
  core::AttemptId attempt_;
  int64_t offset_ = 0;
  std::string begun_;  // A line whose end has not come yet.
  bool has_ended_ = false;
};

// Returns the last `max` lines of an attempt whose log has `size` bytes (0: not known).
absl::StatusOr<std::vector<std::string>> ReadLastLines(QueryApi& query,
                                                       const core::AttemptId& attempt, int64_t size,
                                                       size_t max);

}  // namespace cd4ml::cli
