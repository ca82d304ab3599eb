// The logs of attempts: text that grows while it is read.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace cd4ml {

// How much of a log is kept. Whoever sends more sends enough of it that the store sees that there is more.
inline constexpr int64_t kLogSizeMax = int64_t{100} << 20;

// One log per attempt, known by the attempt's id ("used-car-price/12/train/1": up to eight parts of
// letters, digits, '.', '_' and '-', none beginning with '.'). Thread-safe.
class LogStore {
 public:
  virtual ~LogStore() = default;

  // Appends `bytes`, of which the first has the place `offset`; returns how far the sender has
  // come, `offset + bytes.size()` or further. What is there already is skipped, so sending twice
  // does no harm; FAILED_PRECONDITION when bytes before `offset` are missing: the sender goes on
  // from Size. A log is cut off at the store's limit with a line that says so; what follows is
  // accepted and dropped.
  virtual absl::StatusOr<int64_t> Append(const std::string& attempt_id, int64_t offset,
                                         std::string_view bytes) = 0;

  // Returns at most `size_max` bytes from `offset`: "" at the end, and of a log that does not exist
  // yet.
  virtual absl::StatusOr<std::string> Read(const std::string& attempt_id, int64_t offset,
                                           int64_t size_max) = 0;

  // Returns how many bytes there are, 0 for a log that does not exist yet.
  virtual absl::StatusOr<int64_t> Size(const std::string& attempt_id) = 0;
};

}  // namespace cd4ml
