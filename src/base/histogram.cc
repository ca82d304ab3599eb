// Classes of durations: the highest bit and the three below it.
#include "cd4ml/base/histogram.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <string>

#include "cd4ml/base/log.h"

namespace cd4ml {
namespace {

// Values below 8 have a class each; from there on 8 classes per doubling.
size_t ClassOf(uint64_t value) {
  if (value < 8) return value;
  const int shift = std::bit_width(value) - 4;
  return static_cast<size_t>(8 * shift) + (value >> shift);
}

// Returns the largest value of a class.
uint64_t LargestOf(size_t number) {
  if (number < 8) return number;
  const size_t shift = number / 8 - 1;
  return ((8 + number % 8 + 1) << shift) - 1;
}

std::string Microseconds(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", value);
  return text;
}

}  // namespace

void Histogram::Add(int64_t nanoseconds) {
  const int64_t value = std::max<int64_t>(0, nanoseconds);
  counts_[ClassOf(static_cast<uint64_t>(value))].fetch_add(1, std::memory_order_relaxed);
  sum_.fetch_add(value, std::memory_order_relaxed);
  int64_t max = max_.load(std::memory_order_relaxed);
  while (value > max && !max_.compare_exchange_weak(max, value, std::memory_order_relaxed)) continue;
}

Histogram::Summary Histogram::Summarize() const {
  std::array<int64_t, kClasses> counts;
  Summary summary;
  for (size_t i = 0; i < kClasses; ++i) summary.count += counts[i] = counts_[i].load(std::memory_order_relaxed);
  if (summary.count == 0) return summary;
  const int64_t max = max_.load(std::memory_order_relaxed);
  const auto percentile = [&](double share) {
    int64_t left = static_cast<int64_t>(share * static_cast<double>(summary.count - 1));
    size_t number = 0;
    while (left >= counts[number]) left -= counts[number++];
    return static_cast<double>(std::min(LargestOf(number), static_cast<uint64_t>(max))) / 1e3;
  };
  summary.mean_us = static_cast<double>(sum_.load(std::memory_order_relaxed)) / static_cast<double>(summary.count) / 1e3;
  summary.p50_us = percentile(0.5);
  summary.p90_us = percentile(0.9);
  summary.p99_us = percentile(0.99);
  summary.max_us = static_cast<double>(max) / 1e3;
  return summary;
}

void LogSteps(std::initializer_list<std::pair<std::string_view, const Histogram*>> steps) {
  for (const auto& [name, histogram] : steps) {
    const Histogram::Summary summary = histogram->Summarize();
    if (summary.count == 0) continue;
    LogInfo("step", {{"step", std::string(name)},
                     {"count", std::to_string(summary.count)},
                     {"mean_us", Microseconds(summary.mean_us)},
                     {"p50_us", Microseconds(summary.p50_us)},
                     {"p90_us", Microseconds(summary.p90_us)},
                     {"p99_us", Microseconds(summary.p99_us)},
                     {"max_us", Microseconds(summary.max_us)}});
  }
}

}  // namespace cd4ml
