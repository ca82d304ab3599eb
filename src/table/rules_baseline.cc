// Rules that look back: segments, of which none shall be lost, and drift.
#include <algorithm>

#include "cd4ml/base/status.h"
#include "table/measure.h"
#include "table/quarantine.h"
#include "table/rules.h"

namespace cd4ml::table {
namespace {

using core::RuleResult;

constexpr char kSegments[] = "cd4ml_segments";

// Makes the table kSegments (segment, n) of all segments. Rows that a rule of the gate calls bad by themselves count for none.
absl::Status FindGroups(Database& database, const Tables& tables, Scans& scans, const Table& table,
                                          const core::SegmentsRule& segments, const std::vector<core::Rule>& gate) {
  if (segments.by.empty())
    return absl::InvalidArgumentError("the rule names no columns to segment by");
  CD4ML_ASSIGN_OR_RETURN(const std::vector<std::string> sql, SqlOf(table, segments.by));
  std::string from = table.sql + " t", named = "bad IS NULL";
  for (const std::string& column : sql) named += " AND " + column + " IS NOT NULL";
  const bool are_judged = std::any_of(gate.begin(), gate.end(), [&](const core::Rule& rule) {
    return core::Subject(rule.body) == table.name && JudgesRows(rule);
  });
  if (are_judged) {
    CD4ML_RETURN_IF_ERROR(FindBroken(database, tables, scans, table, gate));
    from += std::string(" ANTI JOIN ") + kBrokenTable + " b ON b.file = t.file AND b.line = t.line";
  }
  return database.Execute(std::string("CREATE OR REPLACE TEMP TABLE ") + kSegments + " AS SELECT " +
                          LabelSql(sql) + " AS segment, count(*) AS n FROM " + from + " WHERE " + named +
                          " GROUP BY " + Join(sql, ", "));
}

absl::StatusOr<std::vector<std::string>> Qualifying(Database& database, const core::SegmentsRule& rule) {
  CD4ML_ASSIGN_OR_RETURN(const std::vector<Row> rows,
                         database.Query(std::string("SELECT segment FROM ") + kSegments + " WHERE n >= " +
                                        std::to_string(rule.rows_min) + " ORDER BY segment"));
  std::vector<std::string> segments;
  for (const Row& row : rows) segments.push_back(*row[0]);
  return segments;
}

// Judges which segments qualified before and do not now, and adds what it finds. Returns whether
// there are too many of them.
absl::StatusOr<bool> AddLost(const Case& it, const core::SegmentsRule& segments,
                             RuleResult& result, std::string& message) {
  result.bound += ", at most " + std::to_string(segments.lost_max) + " lost";
  const Baseline* baseline = FindBaseline(it, segments.lost_versus, segments.of);
  if (baseline == nullptr || baseline->profile.segments.empty()) {
    const bool passes = segments.first == core::FirstTime::kPass;
    message += "; there are no segments of " + segments.lost_versus + " to compare with yet (first: " +
               (passes ? "pass)" : "fail)");
    return !passes;
  }
  CD4ML_ASSIGN_OR_RETURN(const std::vector<std::string> present, Qualifying(it.database, segments));
  std::vector<std::string> before = baseline->profile.segments;
  std::sort(before.begin(), before.end());
  std::vector<std::string> lost;
  std::set_difference(before.begin(), before.end(), present.begin(), present.end(),
                      std::back_inserter(lost));
  result.baseline = baseline->identity;
  result.baseline_number = static_cast<double>(before.size());
  const std::string found = std::to_string(lost.size()) + " lost of " + std::to_string(before.size());
  result.observed += ", " + found;
  message += "; " + found + (lost.empty() ? "" : ": " + Named(lost));
  std::vector<std::string> shown;
  for (size_t i = 0; i < std::min(lost.size(), core::kOffendingRowsMax); ++i) {
    CD4ML_ASSIGN_OR_RETURN(const std::vector<Row> rows,
                           it.database.Query(std::string("SELECT CAST(sum(n) AS BIGINT) FROM ") + kSegments +
                                             " WHERE segment = " + Literal(lost[i])));
    shown.push_back("lost: " + Clip(lost[i], kValueMax) + ", " +
                    Rows(Integer(rows[0][0])));
  }
  // What is lost comes first: it is what has changed.
  shown.insert(shown.end(), result.rows.begin(), result.rows.end());
  shown.resize(std::min(shown.size(), core::kOffendingRowsMax));
  result.rows = std::move(shown);
  return static_cast<int64_t>(lost.size()) > segments.lost_max;
}

// Adds the quantiles of the numbers themselves, which the bins of a baseline do not tell.
absl::Status AddQuantiles(const Case& it, const Table& table,
                          std::map<std::string, core::ColumnProfile>& columns) {
  std::vector<std::string> shares;
  for (const double share : core::kProfileQuantiles) shares.push_back(Literal(share));
  for (auto& [name, column] : columns) {
    if (!column.numeric) continue;
    CD4ML_ASSIGN_OR_RETURN(const std::string sql, table.Column(name));
    CD4ML_ASSIGN_OR_RETURN(const std::vector<Row> rows,
                           it.database.Query("SELECT unnest(quantile_cont(cd4ml_number(" + sql + "), [" +
                                             Join(shares, ", ") + "])) FROM " + table.sql));
    column.quantiles.clear();
    for (const Row& row : rows) {
      if (row[0]) column.quantiles.push_back(std::stod(*row[0]));
    }
  }
  return absl::OkStatus();
}

}  // namespace

Judged Judge(const Case& it, const core::SegmentsRule& segments) {
  CD4ML_ASSIGN_OR_RETURN(const Table* table, FilledTable(it, segments.of));
  CD4ML_RETURN_IF_ERROR(FindGroups(it.database, it.tables, it.scans, *table, segments, it.rules));
  const std::string enough = "n >= " + std::to_string(segments.rows_min);
  CD4ML_ASSIGN_OR_RETURN(
      const std::vector<Row> rows,
      it.database.Query("SELECT count(*), count(*) FILTER (WHERE " + enough +
                        "), CAST(sum(n) FILTER (WHERE " + enough + ") AS BIGINT) FROM " + kSegments));
  const int64_t all = Integer(rows[0][0]);
  const int64_t enough_rows = Integer(rows[0][1]);
  const double coverage = Share(Integer(rows[0][2]), table->rows);
  RuleResult result = Begin(it, table->rows);
  result.observed = std::to_string(enough_rows) + " of " + std::to_string(all) +
                    " segments qualify, with " + Percent(coverage) + " of the rows";
  result.observed_number = coverage;
  result.bound = ">= " + std::to_string(segments.rows_min) + " rows in " +
                 (segments.exclude_below ? "at least one segment" : "every segment") +
                 ", coverage >= " + Percent(segments.coverage_min);
  CD4ML_ASSIGN_OR_RETURN(const std::vector<Row> below,
                         it.database.Query(std::string("SELECT segment, n FROM ") + kSegments + " WHERE NOT " +
                                           enough + " ORDER BY n DESC, segment LIMIT " +
                                           std::to_string(core::kOffendingRowsMax)));
  for (const Row& row : below)
    result.rows.push_back(Clip(*row[0], kValueMax) + ": " + Rows(Integer(row[1])));
  bool broken = enough_rows == 0 || coverage < segments.coverage_min - kRounding ||
                (!segments.exclude_below && enough_rows < all);
  std::string message = Join(segments.by, "/") + " of " + segments.of + ": " + result.observed;
  if (!segments.lost_versus.empty()) {
    CD4ML_ASSIGN_OR_RETURN(const bool too_many, AddLost(it, segments, result, message));
    broken |= too_many;
  }
  return Ended(it, std::move(result), broken, std::move(message));
}

absl::StatusOr<std::vector<std::string>> FindSegments(Database& database, const Tables& tables, Scans& scans,
                                                      const core::SegmentsRule& rule,
                                                      const std::vector<core::Rule>& gate) {
  CD4ML_ASSIGN_OR_RETURN(const Table* table, FindTable(tables, rule.of));
  CD4ML_RETURN_IF_ERROR(FindGroups(database, tables, scans, *table, rule, gate));
  return Qualifying(database, rule);
}

Judged Judge(const Case& it, const core::DriftRule& drift) {
  CD4ML_ASSIGN_OR_RETURN(const Table* table, FilledTable(it, drift.of));
  CD4ML_RETURN_IF_ERROR(SqlOf(*table, drift.columns).status());
  const Baseline* baseline = FindBaseline(it, drift.versus, drift.of);
  if (baseline == nullptr)
    return core::JudgeDrift(it.rule, drift, nullptr, "", {}, table->rows);
  const core::TableProfile& reference = baseline->profile;
  CD4ML_ASSIGN_OR_RETURN(auto current,
                         CountLikeReference(it.database, *table, reference, drift.columns));
  if (drift.measure == core::DriftMeasure::kWasserstein) CD4ML_RETURN_IF_ERROR(AddQuantiles(it, *table, current));
  return core::JudgeDrift(it.rule, drift, &reference, baseline->identity, current, table->rows);
}

}  // namespace cd4ml::table
