// Rules about whole rows and their keys: how many, which columns, copies, shares of another table, references.
#include <algorithm>
#include <cmath>

#include "cd4ml/base/status.h"
#include "cd4ml/base/text.h"
#include "table/judge.h"

namespace cd4ml::table {
namespace {

using core::RuleResult;

bool Lacks(const std::vector<std::string>& list, const std::string& name) {
  return std::find(list.begin(), list.end(), name) == list.end();
}

// How far outside of its bounds a number is; negative within.
double Outside(double number, const core::Bounds& bounds) {
  return std::max(bounds.min ? *bounds.min - number : -HUGE_VAL,
                  bounds.max ? number - *bounds.max : -HUGE_VAL);
}

// The columns that a unique rule compares, with their SQL names.
struct Compared {
  std::vector<std::string> names;
  std::vector<std::string> sql;
};

absl::StatusOr<Compared> ComparedBy(const Table& table, const core::UniqueRule& unique) {
  Compared compared;
  CD4ML_ASSIGN_OR_RETURN(compared.sql, SqlOf(table, unique.columns));
  compared.names = unique.columns;
  if (unique.except) {
    compared = {};
    for (const std::string& column : table.columns) {
      if (Lacks(unique.columns, column)) compared.names.push_back(column);
    }
    CD4ML_ASSIGN_OR_RETURN(compared.sql, SqlOf(table, compared.names));
  }
  if (compared.sql.empty())
    return absl::InvalidArgumentError("the rule leaves no column to compare");
  return compared;
}

std::string UniqueKey(const Table& table, const std::string& column) {
  const Native native = table.NativeOf(column);
  return native == Native::kInteger || native == Native::kTime ? table.Key(column) : ComparedKey(column);
}

Judged JudgeUniqueBy(const Case& it, const Table& table, const Grouping& grouping,
                     const core::UniqueRule& unique, const Compared& compared) {
  std::vector<std::string> keys = grouping.columns;
  for (const std::string& column : compared.sql) {
    if (Lacks(keys, column)) keys.push_back(UniqueKey(table, column));
  }
  const std::string counted = "(SELECT " + Join(keys, ", ") + ", NULL AS bad, count(*) AS n FROM " +
                              table.sql + " WHERE bad IS NULL GROUP BY " + Join(keys, ", ") + ")";
  CD4ML_ASSIGN_OR_RETURN(
      const std::vector<Row> rows,
      QueryGroups(it, grouping, "CAST(sum(n) AS BIGINT), CAST(sum(n - 1) AS BIGINT)", counted));
  std::vector<Group> groups;
  for (const Row& row : rows) {
    const int64_t all = Integer(row[1]);
    const int64_t copies = Integer(row[2]);
    groups.push_back({*row[0], Exceeds(copies, unique.max_share, all), Share(copies, all),
                      ShareObserved(copies, all, "are copies")});
  }
  return JudgeGroups(it, table, grouping, std::move(groups),
                     ShareBound(unique.max_share, "copies"));
}

Judged JudgeShareBy(const Case& it, const Table& part, const Table& whole,
                    const core::ShareRule& share, RuleResult result) {
  CD4ML_ASSIGN_OR_RETURN(const std::string part_by, part.Column(share.by));
  CD4ML_ASSIGN_OR_RETURN(const std::string whole_by, whole.Column(share.by));
  result.bound += " for each " + share.by;
  CD4ML_ASSIGN_OR_RETURN(
      const std::vector<Row> rows,
      it.database.Query(
          "WITH part AS (SELECT " + part_by + " AS k, count(*) AS n FROM " + part.sql +
          " GROUP BY 1), whole AS (SELECT " + whole_by + " AS k, count(*) AS n FROM " + whole.sql +
          " GROUP BY 1), shares AS (SELECT coalesce(part.k, whole.k) AS k, coalesce(part.n, 0) "
          "AS n, coalesce(whole.n, 0) AS "
          "total, CASE WHEN whole.n IS NULL THEN 'inf'::DOUBLE ELSE coalesce(part.n, 0)::DOUBLE "
          "/ whole.n END AS share "
          "FROM part FULL JOIN whole ON part.k IS NOT DISTINCT FROM whole.k) "
          "SELECT k, n, total, share, count(*) OVER (), count(*) FILTER (WHERE share > " +
          Literal(share.max + kRounding) + ") OVER () FROM shares ORDER BY share DESC, k LIMIT " +
          std::to_string(core::kOffendingRowsMax)));
  const int64_t failing = Integer(rows[0][5]);
  for (const Row& row : rows) {
    const std::string text =
        share.by + " " + Shown(row[0]) + ": " + *row[1] + " of " + *row[2] + " rows";
    if (result.observed.empty())
      result.observed = text + " (" + Percent(std::stod(*row[3])) + ")";
    if (static_cast<int64_t>(result.rows.size()) < failing) result.rows.push_back(text);
  }
  result.observed_number = std::stod(*rows[0][3]);
  std::string message = std::to_string(failing) + " of " + *rows[0][4] + " values of " + share.by +
                        " have a larger share; the largest: " + result.observed;
  return Ended(it, std::move(result), failing > 0, std::move(message));
}

// Returns "a.k0 = b.k0 AND …": the keys of two tables, made by KeysOf, are the same.
std::string Equal(size_t columns) {
  std::vector<std::string> parts;
  for (size_t i = 0; i < columns; ++i) parts.push_back("a.k" + std::to_string(i) + " = b.k" + std::to_string(i));
  return Join(parts, " AND ");
}
// Returns "c0 AS k0, …" for one of the two tables. Integers need not be made text where both are.
std::string KeysOf(const Table& table, const std::vector<std::string>& columns, const Table& other,
                   const std::vector<std::string>& other_columns) {
  std::vector<std::string> parts;
  for (size_t i = 0; i < columns.size(); ++i) {
    const bool are_integers = table.NativeOf(columns[i]) == Native::kInteger && other.NativeOf(other_columns[i]) == Native::kInteger;
    parts.push_back((are_integers ? table.Key(columns[i]) : ComparedKey(columns[i])) + " AS k" + std::to_string(i));
  }
  return Join(parts, ", ");
}
std::string AreThere(const std::vector<std::string>& columns) {
  std::vector<std::string> parts;
  for (const std::string& column : columns) parts.push_back(column + " IS NOT NULL");
  return Join(parts, " AND ");
}

}  // namespace

Judged Judge(const Case& it, const core::RowsRule& rows) {
  CD4ML_ASSIGN_OR_RETURN(const Table* table, FindTable(it.tables, rows.of));
  CD4ML_ASSIGN_OR_RETURN(const Grouping grouping, GroupingOf(it, *table));
  if (grouping.is_set()) {
    CD4ML_ASSIGN_OR_RETURN(const std::vector<Row> counts,
                           QueryGroups(it, grouping, "count(*)", table->sql));
    std::vector<Group> groups;
    for (const Row& row : counts) {
      const auto count = static_cast<double>(Integer(row[1]));
      const double outside = Outside(count, rows.rows);
      groups.push_back({*row[0], outside > 0, outside, Rows(Integer(row[1]))});
    }
    return JudgeGroups(it, *table, grouping, std::move(groups),
                       core::FormatBounds(rows.rows, " rows"));
  }
  RuleResult result = core::JudgeNumber(it.rule, rows.of, static_cast<double>(table->rows), " rows",
                                        rows.rows, table->rows);
  if (table->bad_rows > 0) {
    result.message += "; " + std::to_string(table->bad_rows) + " of them do not fit the table";
    CD4ML_ASSIGN_OR_RETURN(result.rows,
                           OffendingRows(it, *table, table->sql, "bad IS NOT NULL", {}));
  }
  return result;
}

Judged Judge(const Case& it, const core::ColumnsRule& columns) {
  CD4ML_ASSIGN_OR_RETURN(const Table* table, FindTable(it.tables, columns.of));
  RuleResult result = Begin(it, table->rows);
  for (const std::string& column : columns.columns) {
    if (Lacks(table->columns, column))
      result.rows.push_back("missing: " + column + DidYouMean(column, table->columns));
  }
  for (const std::string& column : table->columns) {
    if (columns.exactly && Lacks(columns.columns, column))
      result.rows.push_back("unexpected: " + column);
  }
  const size_t wrong = result.rows.size();
  result.rows.resize(std::min(wrong, core::kOffendingRowsMax));
  result.observed =
      wrong == 0 ? std::to_string(table->columns.size()) + " columns" : Join(result.rows, ", ");
  result.observed_number = static_cast<double>(wrong);
  result.bound = (columns.exactly ? "exactly " : "at least ") + Named(columns.columns);
  std::string message = "the columns of " + columns.of + ": " + result.observed + (wrong > 0 ? table->hint : "");
  return Ended(it, std::move(result), wrong > 0, std::move(message));
}

Judged Judge(const Case& it, const core::UniqueRule& unique) {
  CD4ML_ASSIGN_OR_RETURN(const Table* table, FilledTable(it, unique.of));
  CD4ML_ASSIGN_OR_RETURN(Compared compared, ComparedBy(*table, unique));
  CD4ML_ASSIGN_OR_RETURN(const Grouping grouping, GroupingOf(it, *table));
  if (grouping.is_set()) return JudgeUniqueBy(it, *table, grouping, unique, compared);
  if (table->bad_rows == table->rows)
    return absl::InvalidArgumentError("no row of \"" + unique.of + "\" fits the table, so nothing was compared");
  std::vector<std::string> compact;
  for (const std::string& column : compared.sql) compact.push_back(UniqueKey(*table, column));
  const std::string from = " FROM " + table->sql + " WHERE bad IS NULL GROUP BY ";
  CD4ML_ASSIGN_OR_RETURN(
      const std::vector<Row> counts,
      it.database.Query("SELECT CAST(sum(n - 1) AS BIGINT) FROM (SELECT count(*) AS n" + from + Join(compact, ", ") +
                        " HAVING count(*) > 1)"));
  const int64_t copies = Integer(counts[0][0]);
  const std::string keys = Join(compact, ", ");
  compared.sql.resize(std::min<size_t>(compared.sql.size(), 5));
  std::vector<std::string> shown;   // Whichever row of the copies.
  for (const std::string& column : compared.sql) shown.push_back("any_value(" + column + ") AS " + column);
  std::vector<Row> rows;   // Where they are is asked only when there are some: it costs twice as much as counting them.
  if (copies > 0) {
    CD4ML_ASSIGN_OR_RETURN(
        rows, it.database.Query("SELECT '', place, n, " + Join(compared.sql, ", ") + " FROM (SELECT " + Join(shown, ", ") +
                                ", count(*) AS n, min(file * 1000000000000 + line) AS place" + from + keys +
                                " HAVING count(*) > 1) ORDER BY place LIMIT " + std::to_string(core::kOffendingRowsMax)));
  }
  RuleResult result = Begin(it, table->rows);
  result.observed = ShareObserved(copies, table->rows, "are copies");
  result.observed_number = Share(copies, table->rows);
  result.bound = ShareBound(unique.max_share, "copies");
  for (const Row& row : rows) {
    const int64_t place = Integer(row[1]);
    std::string text =
        Where(*table, place / 1000000000000, place % 1000000000000) + ", " + *row[2] + " times:";
    for (size_t i = 0; i < compared.sql.size(); ++i)
      text += " " + compared.names[i] + " = " + Shown(row[3 + i]);
    result.rows.push_back(std::move(text));
  }
  std::string message = unique.of + ": " + result.observed;
  return Ended(it, std::move(result), Exceeds(copies, unique.max_share, table->rows),
               std::move(message));
}

Judged Judge(const Case& it, const core::ShareRule& share) {
  CD4ML_ASSIGN_OR_RETURN(const Table* part, FindTable(it.tables, share.of));
  CD4ML_ASSIGN_OR_RETURN(const Table* whole, FilledTable(it, share.share_of));
  RuleResult result = Begin(it, whole->rows);
  result.bound = "<= " + Percent(share.max) + " of " + share.share_of;
  if (!share.by.empty()) return JudgeShareBy(it, *part, *whole, share, std::move(result));
  result.observed = std::to_string(part->rows) + " of " + std::to_string(whole->rows) + " rows (" +
                    Percent(Share(part->rows, whole->rows)) + ")";
  result.observed_number = Share(part->rows, whole->rows);
  const bool broken = Exceeds(part->rows, share.max, whole->rows);
  if (broken) {
    std::vector<std::string> shown = part->columns;
    shown.resize(std::min<size_t>(shown.size(), 5));
    CD4ML_ASSIGN_OR_RETURN(result.rows, OffendingRows(it, *part, part->sql, "TRUE", shown));
  }
  std::string message = share.of + " has " + result.observed;
  return Ended(it, std::move(result), broken, std::move(message));
}

Judged Judge(const Case& it, const core::KeyRule& key) {
  CD4ML_ASSIGN_OR_RETURN(const Table* table, FilledTable(it, key.of));
  CD4ML_ASSIGN_OR_RETURN(const Table* other, FilledTable(it, key.other));
  const std::vector<std::string>& columns = key.columns.empty() ? key.other_columns : key.columns;
  if (columns.empty() || columns.size() != key.other_columns.size())
    return absl::InvalidArgumentError("the rule names no columns, or not as many of one table as of the other");
  CD4ML_ASSIGN_OR_RETURN(const std::vector<std::string> sql, SqlOf(*table, columns));
  CD4ML_ASSIGN_OR_RETURN(const std::vector<std::string> other_sql, SqlOf(*other, key.other_columns));

  const std::string keyed = "(SELECT *, " + KeysOf(*table, sql, *other, other_sql) + " FROM " + table->sql + " WHERE " + AreThere(sql) + ")";
  const std::string others = "(SELECT " + KeysOf(*other, other_sql, *table, sql) + " FROM " + other->sql + " WHERE " + AreThere(other_sql) + ")";
  const std::string bad = "(SELECT a.* FROM " + keyed + " a " + (key.disjoint ? "SEMI" : "ANTI") +
                          " JOIN " + others + " b ON " + Equal(sql.size()) + ")";
  CD4ML_ASSIGN_OR_RETURN(const std::vector<Row> counts,
                         it.database.Query("SELECT (SELECT count(*) FROM " + keyed +
                                           "), (SELECT count(*) FROM " + bad + "), (SELECT count(*) FROM " + others + ")"));
  for (const auto& [one, column] : {std::pair(&key.of, 0), std::pair(&key.other, 2)}) {
    if (Integer(counts[0][static_cast<size_t>(column)]) == 0)
      return absl::InvalidArgumentError("no row of \"" + *one + "\" has a key, so nothing was compared");
  }
  const int64_t without = table->rows - Integer(counts[0][0]);
  const int64_t bad_rows = Integer(counts[0][1]);
  const std::string what =
      (key.disjoint ? "also in " : "not in ") + key.other + "." + Join(key.other_columns, "/");
  RuleResult result = Begin(it, table->rows);
  result.subject = key.of + "." + Join(columns, "/");
  result.observed = ShareObserved(bad_rows, table->rows, what);
  result.observed_number = Share(bad_rows, table->rows);
  result.bound = ShareBound(key.max_bad_share, "keys " + what);
  if (bad_rows > 0) {
    CD4ML_ASSIGN_OR_RETURN(result.rows, OffendingRows(it, *table, bad, "TRUE", columns));
  }
  std::string message = result.observed;
  if (without > 0) message += "; " + Rows(without) + (without == 1 ? " has no key" : " have no key");
  return Ended(it, std::move(result), Exceeds(bad_rows, key.max_bad_share, table->rows),
               std::move(message));
}

}  // namespace cd4ml::table
