// What a gate demands: one struct per rule form of the pipeline language.
//
// A rule is pure data here. Data rules are measured by an adapter (ports/table_engine.h) and the
// others from metrics and probes; all are judged in core/gate.h.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "cd4ml/base/time.h"
#include "cd4ml/base/value.h"
#include "cd4ml/core/diagnostic.h"

namespace cd4ml::core {

// Inclusive bounds; an absent side does not bound.
struct Bounds {
  std::optional<double> min;
  std::optional<double> max;

  bool operator==(const Bounds&) const = default;
  bool is_set() const { return min.has_value() || max.has_value(); }
};

// What a rule does while the baseline it names does not exist yet.
enum class FirstTime { kPass, kFail };

// How far a number may move from a baseline: the larger of the two allowances holds.
struct Allowance {
  std::optional<double> abs;         // In the number's own unit.
  std::optional<double> rel;         // Share of the baseline's size.

  bool operator==(const Allowance&) const = default;
  bool is_set() const { return abs.has_value() || rel.has_value(); }
};

// --- data rules: `of` names a material or an output of the same gate -----------------------------

struct RowsRule {  // rows: {min, max}
  std::string of;
  Bounds rows;
};

struct ColumnsRule {  // columns: {exactly: [...]} or {at_least: [...]}
  std::string of;
  bool exactly = false;
  std::vector<std::string> columns;
};

enum class ColumnType { kInt, kFloat, kText, kBool, kDate, kTimestamp };

// What is far from the rest: outside the quartiles by 1.5 interquartile ranges, more than 3 standard deviations from
// the mean, more than 3.5 scaled median deviations from the median.
enum class OutlierMethod { kIqr, kZ, kMad };

struct ColumnRule {  // column: c with bounds on its values
  std::string of;
  std::string column;
  std::optional<ColumnType> type;
  Bounds value;
  std::vector<std::string> in;       // Allowed values as text; empty: any.
  std::string pattern;               // RE2 over the raw text, matching as a whole; empty: any.
  std::optional<double> max_nulls;   // Share of empty values, 0..1.
  double max_bad_share = 0;          // Share of rows that may break the rule.
  std::optional<OutlierMethod> outliers;
};

struct UniqueRule {  // unique: {columns: [...]} or {except: [...]}, max_share
  std::string of;
  bool except = false;               // `columns` are those that do not count.
  std::vector<std::string> columns;
  double max_share = 0;              // Share of rows that may be copies of an earlier one.
};

struct ShareRule {  // share_of: sales, max: 0.2, by: brand
  std::string of;
  std::string share_of;
  double max = 0;
  std::string by;                    // Empty: overall.
};

struct SegmentsRule {  // segments: {by, rows: {min}, below, coverage, lost}
  std::string of;
  std::vector<std::string> by;
  int64_t rows_min = 0;
  bool exclude_below = true;         // `below: exclude`, otherwise `below: fail`.
  double coverage_min = 0;           // Share of all rows that lie in qualifying segments.
  std::string lost_versus;           // Segments that qualified there and do not now are lost; empty: not asked.
  int64_t lost_max = 0;
  FirstTime first = FirstTime::kPass;   // For `lost`.
};

enum class DriftMeasure {
  kPsi,                              // Population stability index.
  kJensenShannon,                    // Jensen-Shannon distance with logarithms of base 2: 0..1.
  kWasserstein,                      // Earth mover's distance over the baseline's standard deviation; numbers only.
};

struct DriftRule {  // drift: psi|js|wasserstein, columns, versus, max, min_samples, first
  std::string of;
  std::vector<std::string> columns;
  std::string versus;                // "champion.train_data" in gates, "train_data" in monitors.
  DriftMeasure measure = DriftMeasure::kPsi;
  double max = 0.25;                 // Of the measure, per column.
  int64_t min_samples = 0;           // Fewer rows: no verdict on drift, said so.
  FirstTime first = FirstTime::kPass;
};

struct KeyRule {  // columns: [zip], references: zips.zipcode, or disjoint_from: test.id
  std::string of;
  std::vector<std::string> columns;  // Empty: those of the other table, under the same names.
  std::string other;                 // The other table: a material, input or output.
  std::vector<std::string> other_columns;
  bool disjoint = false;             // No key may be in both; otherwise every key must be in the other.
  double max_bad_share = 0;          // Share of rows that may break the rule; a row without a key does not.
};

enum class Statistic { kCount, kNulls, kDistinct, kMin, kMax, kMean, kMedian, kSum, kStd, kP05, kP25, kP75, kP95 };

struct StatRule {  // stat: median, column, window, versus, min, max, max_change
  std::string of;
  Statistic stat = Statistic::kMedian;
  std::string column;
  Bounds value;                      // Of the statistic itself.
  std::string window_column;         // A date or time; empty: of all rows.
  Duration window_last{0};           // Only rows at most this much older than the newest one.
  std::string versus;                // "rest" (the rows outside the window) or a baseline; empty: nothing.
  Allowance max_change;              // Against `versus`, in either direction.
  int64_t min_samples = 0;           // Fewer rows on either side: no verdict on the change, said so.
  FirstTime first = FirstTime::kPass;
};

struct FreshRule {  // fresh: {column: seen_at, within: 14d}
  std::string of;
  std::string column;
  Duration within{0};                // How much older than the run's start the newest row may be.
};

struct BalanceRule {  // balance: {column: sold}, min, max: the share of every value of a label
  std::string of;
  std::string column;
  Bounds share;
};

struct SqlRule {  // sql: "price > 0 AND year <= 2026": a predicate that every row must fulfil
  std::string of;
  std::string predicate;
  double max_bad_share = 0;
};

// --- model rules ---------------------------------------------------------------------------------

struct MetricRule {  // metric: mae, max: 1200, or with slice: the same in every slice; or versus, worse_by
  std::string metric;
  Bounds value;
  std::string slice;                 // A slice column of `predictions`; empty: overall.
  int64_t min_samples = 0;           // Smaller slices are not judged.
  double allow_failing = 0;          // Share of judged slices that may fail.
  std::string versus;                // "champion", "last_passed" or "run:ID"; empty: nothing.
  Allowance worse_by;                // How much worse than `versus` it may be, in the direction of the stage's goals.
  std::optional<double> confidence;  // 0.95: by a paired bootstrap over the rows; absent: the plain difference counts.
  FirstTime first = FirstTime::kPass;
};

struct FairnessRule {  // fairness: {slice: seller, metric: bias, max_difference: 0.03, min_ratio: 0.8}
  std::string slice;
  std::string metric;                // Any metric of slices: "bias", "positive_rate", "recall", "calibration_error", ...
  std::optional<double> max_difference;   // Between the highest and the lowest slice.
  std::optional<double> min_ratio;   // Of the lowest to the highest slice.
  int64_t min_samples = 0;           // Smaller slices do not count.
};

struct CheckRule {  // check: "r2.train - r2 <= 0.15": an expression over metrics
  std::string expression;
};

// --- contract rules ------------------------------------------------------------------------------

struct ProbeRule {  // probe: train.probe, request, answer: the service answers as the model did
  std::string probe;                 // "stage.output" of type probe_set.
  std::string method = "POST";
  std::string path;
  std::string body;                  // Expression over `row`: "row.input".
  std::string grpc;                  // "package.Service/Method" in place of an HTTP request.
  std::string proto;                 // grpc: the .proto file in the repository; empty: the server's reflection.
  std::string answer_pointer;        // JSON pointer into the answer; empty: the whole body as text.
  std::string equals;                // Expression over `row`: "row.prediction".
  std::optional<double> abs_tol;
  std::optional<double> rel_tol;
  int64_t max_mismatches = 0;
};

struct ContractRule {  // contract: contracts/web.yaml
  std::string file;                  // Path in the repository.
};

struct LatencyRule {  // latency: {p50, p95, p99, requests, concurrency}
  std::optional<Duration> p50, p95, p99;
  int64_t requests = 100;
  int concurrency = 1;
};

struct MemoryRule {  // memory: {max: 512MiB}: of the service and its children, at its highest
  int64_t max = 0;                   // Bytes.
};

using RuleBody = std::variant<RowsRule, ColumnsRule, ColumnRule, UniqueRule, ShareRule, SegmentsRule,
                              DriftRule, KeyRule, StatRule, FreshRule, BalanceRule, SqlRule, MetricRule, FairnessRule,
                              CheckRule, ProbeRule, ContractRule, LatencyRule, MemoryRule>;

struct Rule {
  std::string name;
  bool blocks = true;                // `severity: warn` does not block.
  std::vector<std::string> by;       // Asked for every value of these columns; for rows, column, unique, stat, sql.
  RuleBody body;
  Place place;
};

// Returns the name of a rule's form as the language writes it: "rows", "column", "probe", ...
std::string_view RuleForm(const RuleBody& body);

// Returns the material or output that a data rule reads, or "" for the other rules.
std::string_view Subject(const RuleBody& body);

}  // namespace cd4ml::core
