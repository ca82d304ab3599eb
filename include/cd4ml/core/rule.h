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

struct ColumnRule {  // column: c with bounds on its values
  std::string of;
  std::string column;
  std::optional<ColumnType> type;
  Bounds value;
  std::vector<std::string> in;       // Allowed values as text; empty: any.
  std::string pattern;               // RE2 over the raw text, matching as a whole; empty: any.
  std::optional<double> max_nulls;   // Share of empty values, 0..1.
  double max_bad_share = 0;          // Share of rows that may break the rule.
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

struct SegmentsRule {  // segments: {by, rows: {min}, below, coverage}
  std::string of;
  std::vector<std::string> by;
  int64_t rows_min = 0;
  bool exclude_below = true;         // `below: exclude`, otherwise `below: fail`.
  double coverage_min = 0;           // Share of all rows that lie in qualifying segments.
};

struct DriftRule {  // drift: psi, columns, versus, max, min_samples, first
  std::string of;
  std::vector<std::string> columns;
  std::string versus;                // "champion.train_data" in gates, "train_data" in monitors.
  double max = 0.25;                 // Population stability index, per column.
  int64_t min_samples = 0;           // Fewer rows: no verdict on drift, said so.
  FirstTime first = FirstTime::kPass;
};

struct SqlRule {  // sql: "price > 0 AND year <= 2026": a predicate that every row must fulfil
  std::string of;
  std::string predicate;
  double max_bad_share = 0;
};

// --- model rules ---------------------------------------------------------------------------------

struct MetricRule {  // metric: mae, max: 1200, or with slice: the same in every slice
  std::string metric;
  Bounds value;
  std::string slice;                 // A slice column of `predictions`; empty: overall.
  int64_t min_samples = 0;           // Smaller slices are not judged.
  double allow_failing = 0;          // Share of judged slices that may fail.
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

using RuleBody = std::variant<RowsRule, ColumnsRule, ColumnRule, UniqueRule, ShareRule, SegmentsRule,
                              DriftRule, SqlRule, MetricRule, CheckRule, ProbeRule, ContractRule,
                              LatencyRule>;

struct Rule {
  std::string name;
  bool blocks = true;                // `severity: warn` does not block.
  RuleBody body;
  Place place;
};

// Returns the name of a rule's form as the language writes it: "rows", "column", "probe", ...
std::string_view RuleForm(const RuleBody& body);

// Returns the material or output that a data rule reads, or "" for the other rules.
std::string_view Subject(const RuleBody& body);

}  // namespace cd4ml::core
