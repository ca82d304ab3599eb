// Reading and writing times, spans and sizes.
#include "cd4ml/base/time.h"

#include <array>
#include <charconv>
#include <cstdio>
#include <ctime>
#include <limits>

namespace cd4ml {
namespace {

struct Unit {
  std::string_view name;
  int64_t factor;
};

constexpr std::array<Unit, 5> kDurationUnits = {
    {{"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}, {"d", 86'400'000}}};
constexpr std::array<Unit, 5> kSizeUnits = {{{"B", 1},
                                             {"KiB", int64_t{1} << 10},
                                             {"MiB", int64_t{1} << 20},
                                             {"GiB", int64_t{1} << 30},
                                             {"TiB", int64_t{1} << 40}}};

template <size_t N>
absl::StatusOr<int64_t> ParseWithUnit(std::string_view text, const std::array<Unit, N>& units,
                                      std::string_view example) {
  int64_t count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  const std::string_view unit = text.substr(static_cast<size_t>(end - text.data()));
  if (error == std::errc() && count >= 0) {
    for (const Unit& known : units) {
      if (unit == known.name && count <= std::numeric_limits<int64_t>::max() / known.factor) {
        return count * known.factor;
      }
    }
  }
  return absl::InvalidArgumentError("\"" + std::string(text) + "\" needs a whole number and a unit, like " +
                                    std::string(example));
}

}  // namespace

std::string FormatTime(UtcTime time) {
  const int64_t fraction = ((time.ms % 1000) + 1000) % 1000;
  const auto seconds = static_cast<time_t>((time.ms - fraction) / 1000);
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char buffer[80];
  std::snprintf(buffer, sizeof buffer, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", parts.tm_year + 1900,
                parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
                static_cast<int>(fraction));
  return buffer;
}

absl::StatusOr<UtcTime> ParseTime(std::string_view text) {
  const std::string copy(text);
  std::tm parts{};
  int fraction = 0;
  int read = 0;
  const char* rest = strptime(copy.c_str(), "%Y-%m-%dT%H:%M:%S", &parts);
  if (rest != nullptr && *rest == '.' && std::sscanf(rest, ".%3d%n", &fraction, &read) == 1) {
    rest += read;
  }
  if (rest == nullptr || std::string_view(rest) != "Z") {
    return absl::InvalidArgumentError("\"" + copy + "\" is no UTC time like 2026-11-23T11:49:24Z");
  }
  return UtcTime{int64_t{timegm(&parts)} * 1000 + fraction};
}

std::string FormatDuration(Duration span) {
  const int64_t ms = span.count();
  char buffer[64];
  if (ms < 0) return "-" + FormatDuration(-span);
  if (ms < 1000) {
    std::snprintf(buffer, sizeof buffer, "%dms", static_cast<int>(ms));
  } else if (ms < 10'000) {
    std::snprintf(buffer, sizeof buffer, "%.1fs", static_cast<double>(ms) / 1000);
  } else if (ms < 60'000) {
    std::snprintf(buffer, sizeof buffer, "%ds", static_cast<int>(ms / 1000));
  } else if (ms < 3'600'000) {
    std::snprintf(buffer, sizeof buffer, "%dm%02ds", static_cast<int>(ms / 60'000),
                  static_cast<int>(ms / 1000 % 60));
  } else if (ms < 86'400'000) {
    std::snprintf(buffer, sizeof buffer, "%dh%02dm", static_cast<int>(ms / 3'600'000),
                  static_cast<int>(ms / 60'000 % 60));
  } else {
    std::snprintf(buffer, sizeof buffer, "%lldd%dh", static_cast<long long>(ms / 86'400'000),
                  static_cast<int>(ms / 3'600'000 % 24));
  }
  return buffer;
}

absl::StatusOr<Duration> ParseDuration(std::string_view text) {
  auto ms = ParseWithUnit(text, kDurationUnits, "250ms, 30s, 10m, 4h or 7d");
  if (!ms.ok()) return ms.status();
  return Duration(*ms);
}

absl::StatusOr<int64_t> ParseSize(std::string_view text) {
  return ParseWithUnit(text, kSizeUnits, "512MiB or 4GiB");
}

std::string FormatSize(int64_t bytes) {
  char buffer[64];
  if (bytes < 1024) {
    std::snprintf(buffer, sizeof buffer, "%d B", static_cast<int>(bytes));
    return buffer;
  }
  static constexpr const char* kNames[] = {"KiB", "MiB", "GiB", "TiB", "PiB"};
  double amount = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  while (amount >= 1024 && unit + 1 < std::size(kNames)) {
    amount /= 1024;
    ++unit;
  }
  std::snprintf(buffer, sizeof buffer, "%.1f %s", amount, kNames[unit]);
  return buffer;
}

}  // namespace cd4ml
