// Tables as a data gate sees them: measured by an engine, never loaded into memory whole.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cd4ml/core/gate.h"
#include "cd4ml/core/pipeline.h"
#include "cd4ml/core/profile.h"
#include "cd4ml/core/rule.h"
#include "cd4ml/core/verdict.h"

namespace cd4ml {

// A table on disk: one file, or all files of a folder that have one of the known endings
// (.csv .tsv .txt .jsonl .ndjson .json .parquet; .gz after them).
struct TableSource {
  std::string name;                        // As rules call it: "clean", "listings".
  std::string path;
  std::optional<core::CsvFormat> csv;      // For text tables; absent: UTF-8, sniffed.
};

// What a rule compares with.
struct Baseline {
  core::TableProfile profile;
  std::string identity;                    // For messages: "used-car-price/1 data sha256:3fa1…".
};

// Evaluates data rules and makes profiles. Not thread-safe: one per thread.
class TableEngine {
 public:
  virtual ~TableEngine() = default;

  // Makes `source` known under its name. INVALID_ARGUMENT with file, line and reason when the file is
  // empty, no table, or not in the stated encoding. No row is ever dropped in silence: a row that does not fit
  // the table is part of it with its raw text: row rules count it, and every column rule sees it as bad.
  // Replaces a table of the same name.
  virtual absl::Status AddTable(const TableSource& source) = 0;

  // Says when the run was started: what `fresh` counts from. Without it, such rules are errors.
  virtual void SetNow(UtcTime now) = 0;

  // Judges one data rule. Never fails as a call: what cannot be judged is an `error` result that says why.
  // `baselines` holds what `versus` names, "last_accepted" as "last_accepted.<table>"; an absent name means "no
  // baseline yet".
  virtual core::RuleResult Judge(const core::Rule& rule,
                                 const std::map<std::string, Baseline>& baselines) = 0;

  // Returns the segments that qualify under a segments rule, "brand/model" each, sorted.
  virtual absl::StatusOr<std::vector<std::string>> QualifyingSegments(const core::SegmentsRule& rule) = 0;

  // Returns the profile of a table made known by AddTable.
  virtual absl::StatusOr<core::TableProfile> Profile(const std::string& table) = 0;

  // Counts a table into the bins and categories of `reference`. Columns that only one of them has are left out.
  virtual absl::StatusOr<std::map<std::string, core::ColumnProfile>> CountLike(const std::string& table,
                                                                               const core::TableProfile& reference) = 0;

  // Writes the rows of a table that break one of `rules` by themselves (what a column rule or a predicate says about their
  // values), and those that do not fit the table, to `path` (.csv or .parquet) in their order: as text, after the columns
  // cd4ml_line (with several files also cd4ml_file), cd4ml_rules and cd4ml_problem. Rules about other tables and of other
  // forms do not count. The file is written also when there is no such row.
  virtual absl::Status WriteBadRows(const std::string& table, const std::vector<core::Rule>& rules,
                                    const std::string& path) = 0;

  // Computes the metrics of the stated task from a predictions file, overall and for each value of each slice column, and
  // of the champion's column where there is one. Rows that lack a truth, a prediction or whatever else is stated make every
  // metric NaN, and the message of the gate says how many.
  virtual absl::StatusOr<core::MetricSet> PredictionMetrics(const std::string& path,
                                                            const core::PredictionsSpec& spec) = 0;

  // Ends whatever is under way, and everything later, soon after `stop` is requested, from any thread: calls fail then, and
  // judge an `error`. Before the first of them.
  virtual void SetStop(std::stop_token stop) = 0;

  // Names all rules of the gate: rows that one of them calls bad by themselves do not count for a segment.
  virtual void SetRules(std::vector<core::Rule> rules) = 0;
};

}  // namespace cd4ml
