// What a gate found: one record for all gates, shown alike by CLI, API and report.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "cd4ml/base/time.h"
#include "cd4ml/base/value.h"

namespace cd4ml::core {

enum class VerdictOutcome {
  kPass,
  kWarn,   // Only rules with severity warn are broken.
  kFail,   // A blocking rule is broken.
  kError,  // A rule could not be judged (no such metric, NaN, unreadable table): blocks, whatever its severity.
};
std::string_view ToText(VerdictOutcome outcome);   // "pass"
std::optional<VerdictOutcome> ParseVerdictOutcome(std::string_view text);

struct Interval {
  double low = 0, high = 0;

  bool operator==(const Interval&) const = default;
};

// Somebody who took it upon himself that a blocking rule does not block.
struct Override {
  std::string rule;
  std::string by;                      // Who.
  std::string reason;
  UtcTime at, expires;

  bool operator==(const Override&) const = default;
};

// What one rule found.
struct RuleResult {
  std::string name;
  std::string form;                    // "rows", "column", "metric", "probe", ...
  VerdictOutcome outcome = VerdictOutcome::kPass;
  std::string subject;                 // What was looked at: "clean.price", "mae", "POST /v1/estimate".
  std::string observed;                // "2710.4", "18204 rows", "3 of 120 slices".
  std::string bound;                   // "<= 1200", ">= 20000 rows".
  std::optional<double> observed_number;   // The same as a number where there is one; may be NaN.
  std::optional<int64_t> sample_size;
  std::string baseline;                // What it was compared with, with identity; empty: nothing.
  std::optional<double> baseline_number;   // What was observed there.
  std::optional<double> confidence;    // 0.95: how sure the interval is, where one was asked for.
  std::optional<Interval> interval;    // Of the difference to the baseline.
  std::string message;                 // One sentence for people; says why on error.
  std::vector<std::string> rows;       // Bounded sample of offending rows or slices, as text.
};

constexpr size_t kOffendingRowsMax = 10;

struct Verdict {
  VerdictOutcome outcome = VerdictOutcome::kError;
  std::vector<RuleResult> rules;       // In the order of the names.
  std::vector<std::string> segments;   // Segments that qualify, when a `segments` rule was judged; with several such rules,
                                       // "clean: bmw/x5".
  std::vector<Override> overrides;     // In force when it was judged, and used.
};

// Returns the verdict of these rule results: the worst one counts; none at all is an error.
Verdict Conclude(std::vector<RuleResult> rules);

// Returns `mae: 2710.4, must be <= 1200 (clean.csv, n=3120)`: the first blocking rule in one line,
// or "" when the verdict does not block.
std::string BlockingReason(const Verdict& verdict);
bool Blocks(VerdictOutcome outcome);

Value ToValue(const Verdict& verdict);
absl::StatusOr<Verdict> VerdictFromValue(const Value& value);

}  // namespace cd4ml::core
