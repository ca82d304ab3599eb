// How long a step takes, counted in classes: cheap enough to be always on, exact enough for percentiles.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <initializer_list>
#include <string_view>
#include <utility>

namespace cd4ml {

// Thread-safe. Eight classes to each doubling, so a percentile is too high by an eighth at most.
class Histogram {
 public:
  struct Summary {
    int64_t count = 0;
    double mean_us = 0, p50_us = 0, p90_us = 0, p99_us = 0, max_us = 0;
  };

  void Add(int64_t nanoseconds);
  Summary Summarize() const;

 private:
  static constexpr size_t kClasses = 8 * 62;

  std::array<std::atomic<int64_t>, kClasses> counts_{};
  std::atomic<int64_t> sum_{0}, max_{0};
};

// Writes a line to the log for each named step that has happened.
void LogSteps(std::initializer_list<std::pair<std::string_view, const Histogram*>> steps);

}  // namespace cd4ml
