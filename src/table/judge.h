// What the functions that judge data rules share: the case before them, groups, and the words of results.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cd4ml/ports/table_engine.h"
#include "table/duckdb.h"
#include "table/scan.h"
#include "table/table.h"

namespace cd4ml::table {

using Tables = std::map<std::string, Table>;

// A rule, and all that it is judged by.
struct Case {
  Database& database;
  const Tables& tables;
  Scans& scans;
  const core::Rule& rule;
  const std::map<std::string, Baseline>& baselines;
  UtcTime now;  // The start of the run; not set where there is none.
  const std::vector<core::Rule>& rules;  // All of the gate.
};

// --- one function per form ------------------------------------------------------------------------

using Judged = absl::StatusOr<core::RuleResult>;

Judged Judge(const Case& it, const core::RowsRule& rows);          // rules_rows.cc
Judged Judge(const Case& it, const core::ColumnsRule& columns);
Judged Judge(const Case& it, const core::UniqueRule& unique);
Judged Judge(const Case& it, const core::ShareRule& share);
Judged Judge(const Case& it, const core::KeyRule& key);
Judged Judge(const Case& it, const core::ColumnRule& column);      // rules_values.cc
Judged Judge(const Case& it, const core::SqlRule& sql);
Judged Judge(const Case& it, const core::BalanceRule& balance);
Judged Judge(const Case& it, const core::StatRule& stat);          // rules_stat.cc
Judged Judge(const Case& it, const core::FreshRule& fresh);
Judged Judge(const Case& it, const core::SegmentsRule& segments);  // rules_baseline.cc
Judged Judge(const Case& it, const core::DriftRule& drift);

// --- tables and baselines -------------------------------------------------------------------------

// Returns the table that rules call `name`; FilledTable refuses one without rows.
absl::StatusOr<const Table*> FindTable(const Tables& tables, const std::string& name);
absl::StatusOr<const Table*> FilledTable(const Case& it, const std::string& name);

// Returns what `versus` names for the table `of`, or null while there is none.
const Baseline* FindBaseline(const Case& it, const std::string& versus, const std::string& of);

// Returns the SQL names of columns.
absl::StatusOr<std::vector<std::string>> SqlOf(const Table& table,
                                               const std::vector<std::string>& columns);

// Returns the first rows of `from` that fulfil `condition`, with their lines and the values of
// `columns`.
absl::StatusOr<std::vector<std::string>> OffendingRows(const Case& it, const Table& table,
                                                       const std::string& from,
                                                       const std::string& condition,
                                                       const std::vector<std::string>& columns);
// Returns "line 5", with the file where there is more than one.
std::string Where(const Table& table, int64_t file, int64_t line);

// Returns SQL that is equal for two keys that are: where a text is written as a number with a fraction or an exponent, that
// number as it would be written shortest; any other text as it is.
std::string ComparedKey(const std::string& column);

// Says how many of the values of a column could not be read as `what`, numbers or times; more than half is an error.
absl::StatusOr<std::string> LeftOut(const std::string& column, int64_t values, int64_t read, const std::string& what);

// Returns SQL for the value of a column, NULL where it has none: in a column of numbers also where it holds something else.
absl::StatusOr<std::string> Filled(const Case& it, const Table& table, const std::string& column);

// --- groups: `by` ---------------------------------------------------------------------------------

// How a query asks for every group of rows. Without `by`, all rows are one group without a name. A
// row that does not fit the table has no values and so belongs to no group.
struct Grouping {
  std::vector<std::string> columns;  // In SQL.
  std::string words;                 // "brand/model"

  bool is_set() const { return !columns.empty(); }
};
absl::StatusOr<Grouping> GroupingOf(const Case& it, const Table& table);

// Returns (name, `counts`) of every group of `from`, which has the columns of `grouping` and `bad`.
// At most kGroupsMax, more are an error.
absl::StatusOr<std::vector<Row>> QueryGroups(const Case& it, const Grouping& grouping,
                                             const std::string& counts, const std::string& from,
                                             std::string_view bad = "bad");
constexpr int64_t kGroupsMax = 100'000;

// What was found in one group.
struct Group {
  std::string name;
  bool broken = false;
  double badness = 0;  // To show the worst first.
  std::string found;   // "3 of 60 rows bad (5%)"
};

// Makes the result of a rule with `by`: it is broken where one group is.
core::RuleResult JudgeGroups(const Case& it, const Table& table, const Grouping& grouping,
                             std::vector<Group> groups, const std::string& bound);

// --- words ----------------------------------------------------------------------------------------

// Shares are decimal fractions: 3 of 60 rows must not miss 0.05 by a rounding error.
constexpr double kRounding = 1e-9;
constexpr size_t kValueMax = 120;

std::string Percent(double share);
std::string Join(const std::vector<std::string>& texts, std::string_view separator);
// Returns the first names, and how many there are where that is not all.
std::string Named(std::vector<std::string> names);
std::string Rows(int64_t count);   // "1 row", "2 rows".
// Returns the SQL that names a group by its values, of which no two are named alike: "a/b"; a "/" within one of several is "\/".
std::string LabelSql(const std::vector<std::string>& values);
std::string Shown(const std::optional<std::string>& value);
int64_t Integer(const std::optional<std::string>& text);

bool Exceeds(int64_t count, double share_max, int64_t rows);
double Share(int64_t count, int64_t rows);
// Returns "<= 0 bad rows", "<= 2% bad rows".
std::string ShareBound(double max, const std::string& what);
// Returns "12 of 18705 rows bad (0.0642%)".
std::string ShareObserved(int64_t count, int64_t rows, const std::string& what);

// --- results --------------------------------------------------------------------------------------

// Returns "clean.price", or "clean" for a rule about the whole table.
std::string SubjectOf(const core::Rule& rule);
core::RuleResult Begin(const Case& it, int64_t rows);
core::RuleResult Ended(const Case& it, core::RuleResult result, bool broken, std::string message);

}  // namespace cd4ml::table
