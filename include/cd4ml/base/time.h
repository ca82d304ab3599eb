// Points in time and spans of it. Nobody reads a clock here: see ports/clock.h.
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace cd4ml {

using Duration = std::chrono::milliseconds;

// A moment in milliseconds since 1970-01-01 UTC. Zero means "not yet".
struct UtcTime {
  int64_t ms = 0;

  auto operator<=>(const UtcTime&) const = default;
  bool is_set() const { return ms != 0; }
};

inline UtcTime operator+(UtcTime time, Duration span) { return {time.ms + span.count()}; }
inline Duration operator-(UtcTime later, UtcTime earlier) { return Duration(later.ms - earlier.ms); }

// Returns "2026-11-23T11:49:24.123Z".
std::string FormatTime(UtcTime time);

// Parses what FormatTime writes; also without fraction.
absl::StatusOr<UtcTime> ParseTime(std::string_view text);

// Returns a short text for people: "850ms", "12s", "4m02s", "2h05m", "3d4h".
std::string FormatDuration(Duration span);

// Parses "250ms", "30s", "10m", "4h", "7d". A number without unit is an error.
absl::StatusOr<Duration> ParseDuration(std::string_view text);

// Parses "512B", "64KiB", "512MiB", "4GiB", "1TiB" into bytes.
absl::StatusOr<int64_t> ParseSize(std::string_view text);

// Returns "512 B", "1.5 KiB", "3.2 GiB".
std::string FormatSize(int64_t bytes);

}  // namespace cd4ml
