// One function per rule form: a SELECT that measures, and the sentence that says what was found.
#include "table/rules.h"

#include <algorithm>
#include <limits>

#include "cd4ml/base/status.h"
#include "cd4ml/base/text.h"
#include "table/measure.h"
#include "table/predicate.h"

namespace cd4ml::table {
namespace {

using core::Bounds;
using core::FormatBounds;
using core::FormatNumber;
using core::Rule;
using core::RuleResult;
using core::VerdictOutcome;

constexpr size_t kValueMax = 120;
constexpr size_t kNamesMax = 20;
// Shares are decimal fractions: 3 of 60 rows must not miss 0.05 by a rounding error.
constexpr double kRounding = 1e-9;

std::string Percent(double share) { return FormatNumber(100 * share) + "%"; }

std::string Join(const std::vector<std::string>& texts, std::string_view separator) {
  std::string joined;
  for (size_t i = 0; i < texts.size(); ++i)
    joined += (i == 0 ? "" : std::string(separator)) + texts[i];
  return joined;
}

// Returns the first names, and how many there are where that is not all.
std::string Named(std::vector<std::string> names) {
  const size_t all = names.size();
  names.resize(std::min(all, kNamesMax));
  return Join(names, ", ") + (all > kNamesMax ? ", … (" + std::to_string(all) + ")" : "");
}

int64_t Integer(const std::optional<std::string>& text) { return text ? std::stoll(*text) : 0; }

bool Exceeds(int64_t count, double share_max, int64_t rows) {
  return static_cast<double>(count) > share_max * static_cast<double>(rows) + kRounding;
}

double Share(int64_t count, int64_t rows) {
  return static_cast<double>(count) / static_cast<double>(rows);
}

// "<= 0 bad rows", "<= 2% bad rows".
std::string ShareBound(double max, const std::string& what) {
  return "<= " + (max == 0 ? "0" : Percent(max)) + " " + what;
}

// "12 of 18705 rows bad (0.0642%)".
std::string ShareObserved(int64_t count, int64_t rows, const std::string& what) {
  const std::string text = std::to_string(count) + " of " + std::to_string(rows) + " rows " + what;
  return count == 0 ? text : text + " (" + Percent(Share(count, rows)) + ")";
}

std::string Shown(const std::optional<std::string>& value) {
  return value ? Clip(*value, kValueMax) : "(empty)";
}

// Judges the rules of one call. The members are what all of them look at.
class Judge {
 public:
  Judge(Database& database, const Tables& tables, const Rule& rule,
        const std::map<std::string, Baseline>& baselines)
      : database_(database), tables_(tables), rule_(rule), baselines_(baselines) {}

  absl::StatusOr<RuleResult> operator()(const core::RowsRule& rows) {
    CD4ML_ASSIGN_OR_RETURN(const Table* table, FindTable(tables_, rows.of));
    RuleResult result = core::JudgeNumber(rule_, rows.of, static_cast<double>(table->rows), " rows",
                                          rows.rows, table->rows);
    if (table->bad_rows > 0) {
      result.message += "; " + std::to_string(table->bad_rows) + " of them do not fit the table";
      CD4ML_ASSIGN_OR_RETURN(result.rows, OffendingRows(*table, table->sql, "bad IS NOT NULL", {}));
    }
    return result;
  }

  absl::StatusOr<RuleResult> operator()(const core::ColumnsRule& columns) {
    CD4ML_ASSIGN_OR_RETURN(const Table* table, FindTable(tables_, columns.of));
    const auto lacks = [](const std::vector<std::string>& list, const std::string& name) {
      return std::find(list.begin(), list.end(), name) == list.end();
    };
    RuleResult result = Begin(table->rows);
    for (const std::string& column : columns.columns) {
      if (lacks(table->columns, column))
        result.rows.push_back("missing: " + column + DidYouMean(column, table->columns));
    }
    for (const std::string& column : table->columns) {
      if (columns.exactly && lacks(columns.columns, column))
        result.rows.push_back("unexpected: " + column);
    }
    const size_t wrong = result.rows.size();
    result.rows.resize(std::min(wrong, core::kOffendingRowsMax));
    result.observed =
        wrong == 0 ? std::to_string(table->columns.size()) + " columns" : Join(result.rows, ", ");
    result.observed_number = static_cast<double>(wrong);
    result.bound = (columns.exactly ? "exactly " : "at least ") + Named(columns.columns);
    return Ended(std::move(result), wrong > 0,
                 "the columns of " + columns.of + ": " + result.observed);
  }

  absl::StatusOr<RuleResult> operator()(const core::ColumnRule& column) {
    CD4ML_ASSIGN_OR_RETURN(const Table* table, FilledTable(column.of));
    CD4ML_ASSIGN_OR_RETURN(const std::string sql, table->Column(column.column));
    const std::vector<Demand> demands = Demands(column, sql);
    if (demands.empty() && !column.max_nulls) {
      return absl::InvalidArgumentError(
          "the rule demands nothing of the column; give it type, min, max, in, pattern or "
          "max_nulls");
    }
    CD4ML_ASSIGN_OR_RETURN(const ColumnCounts counts, CountColumn(*table, sql, demands));
    const bool too_bad = Exceeds(counts.bad, column.max_bad_share, table->rows);
    const bool too_empty =
        column.max_nulls && Exceeds(counts.empty, *column.max_nulls, table->rows);

    RuleResult result = Begin(table->rows);
    // What is broken is reported; where nothing is, the first thing that was asked for.
    const bool report_empty = !too_bad && (too_empty || demands.empty());
    const int64_t reported = report_empty ? counts.empty : counts.bad;
    result.observed = ShareObserved(reported, table->rows, report_empty ? "empty" : "bad");
    result.observed_number = Share(reported, table->rows);
    result.bound = report_empty ? ShareBound(*column.max_nulls, "empty")
                                : ShareBound(column.max_bad_share, "bad rows");
    if (reported > 0) {
      CD4ML_ASSIGN_OR_RETURN(
          result.rows, OffendingRows(*table, counts.view, report_empty ? kEmpty : counts.any_bad,
                                     {column.column}));
    }
    return Ended(std::move(result), too_bad || too_empty,
                 "of " + std::to_string(table->rows) + " rows " +
                     (counts.found.empty() ? "all are as they must be" : Join(counts.found, ", ")));
  }

  absl::StatusOr<RuleResult> operator()(const core::UniqueRule& unique) {
    CD4ML_ASSIGN_OR_RETURN(const Table* table, FilledTable(unique.of));
    std::vector<std::string> sql;
    std::vector<std::string> names;
    for (const std::string& column : unique.columns) {
      CD4ML_ASSIGN_OR_RETURN(const std::string name, table->Column(column));
      if (!unique.except) {
        sql.push_back(name);
        names.push_back(column);
      }
    }
    for (size_t i = 0; unique.except && i < table->columns.size(); ++i) {
      if (std::find(unique.columns.begin(), unique.columns.end(), table->columns[i]) !=
          unique.columns.end())
        continue;
      sql.push_back("c" + std::to_string(i));
      names.push_back(table->columns[i]);
    }
    if (sql.empty()) return absl::InvalidArgumentError("the rule leaves no column to compare");
    const std::string groups = "(SELECT " + Join(sql, ", ") +
                               ", count(*) AS n, min(file * 1000000000000 + line) AS place FROM " +
                               table->sql + " WHERE bad IS NULL GROUP BY " + Join(sql, ", ") +
                               " HAVING count(*) > 1)";
    sql.resize(std::min<size_t>(sql.size(), 5));
    names.resize(sql.size());
    CD4ML_ASSIGN_OR_RETURN(
        const std::vector<Row> rows,
        database_.Query("SELECT CAST(sum(n - 1) OVER () AS BIGINT), place, n, " + Join(sql, ", ") +
                        " FROM " + groups + " ORDER BY place LIMIT " +
                        std::to_string(core::kOffendingRowsMax)));
    const int64_t copies = rows.empty() ? 0 : Integer(rows[0][0]);
    RuleResult result = Begin(table->rows);
    result.observed = ShareObserved(copies, table->rows, "are copies");
    result.observed_number = Share(copies, table->rows);
    result.bound = ShareBound(unique.max_share, "copies");
    for (const Row& row : rows) {
      const int64_t place = Integer(row[1]);
      std::string text =
          Where(*table, place / 1000000000000, place % 1000000000000) + ", " + *row[2] + " times:";
      for (size_t i = 0; i < names.size(); ++i) text += " " + names[i] + " = " + Shown(row[3 + i]);
      result.rows.push_back(std::move(text));
    }
    return Ended(std::move(result), Exceeds(copies, unique.max_share, table->rows),
                 unique.of + ": " + result.observed);
  }

  absl::StatusOr<RuleResult> operator()(const core::ShareRule& share) {
    CD4ML_ASSIGN_OR_RETURN(const Table* part, FindTable(tables_, share.of));
    CD4ML_ASSIGN_OR_RETURN(const Table* whole, FilledTable(share.share_of));
    RuleResult result = Begin(whole->rows);
    result.bound = "<= " + Percent(share.max) + " of " + share.share_of;
    if (share.by.empty()) {
      result.observed = std::to_string(part->rows) + " of " + std::to_string(whole->rows) +
                        " rows (" + Percent(Share(part->rows, whole->rows)) + ")";
      result.observed_number = Share(part->rows, whole->rows);
      return Ended(std::move(result), Exceeds(part->rows, share.max, whole->rows),
                   share.of + " has " + result.observed);
    }
    CD4ML_ASSIGN_OR_RETURN(const std::string part_by, part->Column(share.by));
    CD4ML_ASSIGN_OR_RETURN(const std::string whole_by, whole->Column(share.by));
    result.bound += " for each " + share.by;
    CD4ML_ASSIGN_OR_RETURN(
        const std::vector<Row> rows,
        database_.Query(
            "WITH part AS (SELECT " + part_by + " AS k, count(*) AS n FROM " + part->sql +
            " GROUP BY 1), whole AS (SELECT " + whole_by + " AS k, count(*) AS n FROM " +
            whole->sql +
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
    return Ended(std::move(result), failing > 0,
                 std::to_string(failing) + " of " + *rows[0][4] + " values of " + share.by +
                     " have a larger share; the largest: " + result.observed);
  }

  absl::StatusOr<RuleResult> operator()(const core::SegmentsRule& segments) {
    CD4ML_ASSIGN_OR_RETURN(const Table* table, FilledTable(segments.of));
    CD4ML_ASSIGN_OR_RETURN(const std::string groups, SegmentGroups(*table, segments));
    const std::string enough = "n >= " + std::to_string(segments.rows_min);
    CD4ML_ASSIGN_OR_RETURN(
        const std::vector<Row> rows,
        database_.Query("SELECT count(*), count(*) FILTER (WHERE " + enough +
                        "), CAST(sum(n) FILTER (WHERE " + enough + ") AS BIGINT) FROM " + groups));
    const int64_t all = Integer(rows[0][0]);
    const int64_t enough_rows = Integer(rows[0][1]);
    const double coverage = Share(Integer(rows[0][2]), table->rows);
    RuleResult result = Begin(table->rows);
    result.observed = std::to_string(enough_rows) + " of " + std::to_string(all) +
                      " segments qualify, with " + Percent(coverage) + " of the rows";
    result.observed_number = coverage;
    result.bound = ">= " + std::to_string(segments.rows_min) + " rows in " +
                   (segments.exclude_below ? "at least one segment" : "every segment") +
                   ", coverage >= " + Percent(segments.coverage_min);
    CD4ML_ASSIGN_OR_RETURN(const std::vector<Row> below,
                           database_.Query("SELECT segment, n FROM " + groups + " WHERE NOT " +
                                           enough + " ORDER BY n DESC, segment LIMIT " +
                                           std::to_string(core::kOffendingRowsMax)));
    for (const Row& row : below)
      result.rows.push_back(Clip(*row[0], kValueMax) + ": " + *row[1] + " rows");
    const bool broken = enough_rows == 0 || coverage < segments.coverage_min - kRounding ||
                        (!segments.exclude_below && enough_rows < all);
    return Ended(std::move(result), broken,
                 Join(segments.by, "/") + " of " + segments.of + ": " + result.observed);
  }

  absl::StatusOr<RuleResult> operator()(const core::DriftRule& drift) {
    CD4ML_ASSIGN_OR_RETURN(const Table* table, FindTable(tables_, drift.of));
    const auto baseline = baselines_.find(drift.versus);
    if (baseline == baselines_.end())
      return core::JudgeDrift(rule_, drift, nullptr, "", {}, table->rows);
    for (const std::string& column : drift.columns)
      CD4ML_RETURN_IF_ERROR(table->Column(column).status());
    const core::TableProfile& reference = baseline->second.profile;
    CD4ML_ASSIGN_OR_RETURN(const auto current,
                           CountLikeReference(database_, *table, reference, drift.columns));
    return core::JudgeDrift(rule_, drift, &reference, baseline->second.identity, current,
                            table->rows);
  }

  absl::StatusOr<RuleResult> operator()(const core::SqlRule& sql) {
    CD4ML_ASSIGN_OR_RETURN(const Table* table, FilledTable(sql.of));
    CD4ML_ASSIGN_OR_RETURN(std::vector<std::string> columns,
                           CheckPredicate(database_, sql.predicate));
    CD4ML_RETURN_IF_ERROR(SpellAsInTable(*table, columns));
    CD4ML_ASSIGN_OR_RETURN(const std::string view, TypedView(*table, columns));
    const std::string predicate = "(" + sql.predicate + "\n)";
    CD4ML_ASSIGN_OR_RETURN(
        const std::vector<Row> type,
        database_.Query("SELECT typeof(" + predicate + ") FROM " + view + " LIMIT 1"));
    if (*type[0][0] != "BOOLEAN")
      return absl::InvalidArgumentError("the predicate gives a " + *type[0][0] +
                                        ", not true or false");
    const std::string bad = "cd4ml_bad IS NOT NULL OR (" + predicate + " IS NOT TRUE)";
    CD4ML_ASSIGN_OR_RETURN(const std::vector<Row> rows,
                           database_.Query("SELECT count(*) FROM " + view + " WHERE " + bad));
    const int64_t bad_rows = Integer(rows[0][0]);
    RuleResult result = Begin(table->rows);
    result.subject = sql.of + ": " + sql.predicate;
    result.observed = ShareObserved(bad_rows, table->rows, "bad");
    result.observed_number = Share(bad_rows, table->rows);
    result.bound = ShareBound(sql.max_bad_share, "bad rows");
    const std::string places = "(file, line) IN (SELECT (cd4ml_file, cd4ml_line) FROM " + view +
                               " WHERE " + bad + " ORDER BY cd4ml_file, cd4ml_line LIMIT " +
                               std::to_string(core::kOffendingRowsMax) + ")";
    if (bad_rows > 0) {
      CD4ML_ASSIGN_OR_RETURN(result.rows, OffendingRows(*table, table->sql, places, columns));
    }
    return Ended(std::move(result), Exceeds(bad_rows, sql.max_bad_share, table->rows),
                 result.observed + ": " + sql.predicate);
  }

  template <typename Other>
  absl::StatusOr<RuleResult> operator()(const Other&) {
    return absl::InvalidArgumentError("a rule of the form \"" +
                                      std::string(core::RuleForm(rule_.body)) +
                                      "\" is not about a table");
  }

  // Returns a subquery (segment, n) of all segments.
  static absl::StatusOr<std::string> SegmentGroups(const Table& table,
                                                   const core::SegmentsRule& segments) {
    if (segments.by.empty())
      return absl::InvalidArgumentError("the rule names no columns to segment by");
    std::vector<std::string> sql;
    std::string named = "bad IS NULL";
    for (const std::string& column : segments.by) {
      CD4ML_ASSIGN_OR_RETURN(sql.emplace_back(), table.Column(column));
      named += " AND " + sql.back() + " IS NOT NULL";
    }
    return "(SELECT concat_ws('/', " + Join(sql, ", ") + ") AS segment, count(*) AS n FROM " +
           table.sql + " WHERE " + named + " GROUP BY " + Join(sql, ", ") + ")";
  }

 private:
  // One condition on the values of a column.
  struct Demand {
    std::string fulfilled;  // SQL.
    std::string broken;     // "are no float"
  };

  // What the values of a column are like.
  struct ColumnCounts {
    int64_t bad = 0;
    int64_t empty = 0;
    std::vector<std::string> found;  // "12 are no float"
    std::string view;     // SQL: the rows, with a column `empty` and what `any_bad` needs.
    std::string any_bad;  // SQL condition over `view`.
  };
  static constexpr char kEmpty[] = "empty";

  // Evaluates every demand once for each row, and counts.
  absl::StatusOr<ColumnCounts> CountColumn(const Table& table, const std::string& sql,
                                           const std::vector<Demand>& demands) {
    ColumnCounts counts;
    counts.view = "(SELECT *, bad IS NULL AND " + sql + " IS NULL AS empty";
    counts.any_bad = "bad IS NOT NULL";
    std::string filters;
    for (size_t i = 0; i < demands.size(); ++i) {
      const std::string broken = "broken" + std::to_string(i);
      counts.view +=
          ", " + sql + " IS NOT NULL AND (" + demands[i].fulfilled + ") IS NOT TRUE AS " + broken;
      counts.any_bad += " OR " + broken;
      filters += ", count(*) FILTER (WHERE " + broken + ")";
    }
    counts.view += " FROM " + table.sql + ")";
    CD4ML_ASSIGN_OR_RETURN(
        const std::vector<Row> rows,
        database_.Query("SELECT count(*) FILTER (WHERE " + counts.any_bad +
                        "), count(*) FILTER (WHERE empty)" + filters + " FROM " + counts.view));
    const auto tell = [&counts](int64_t count, const std::string& what) {
      if (count > 0) counts.found.push_back(std::to_string(count) + " " + what);
    };
    counts.bad = Integer(rows[0][0]);
    counts.empty = Integer(rows[0][1]);
    for (size_t i = 0; i < demands.size(); ++i) tell(Integer(rows[0][2 + i]), demands[i].broken);
    tell(table.bad_rows, "do not fit the table");
    tell(counts.empty, "are empty");
    return counts;
  }

  static std::vector<Demand> Demands(const core::ColumnRule& column, const std::string& sql) {
    std::vector<Demand> demands;
    if (column.type) demands.push_back(TypeDemand(*column.type, sql));
    if (column.value.is_set()) {
      constexpr double kMost = std::numeric_limits<double>::max();
      const std::string within = "cd4ml_within(" + sql + ", " +
                                 Literal(column.value.min.value_or(-kMost)) + ", " +
                                 Literal(column.value.max.value_or(kMost)) + ")";
      demands.push_back({within, "are not " + FormatBounds(column.value, "")});
    }
    if (!column.in.empty()) {
      std::vector<std::string> literals;
      for (const std::string& value : column.in) literals.push_back(Literal(value));
      demands.push_back(
          {sql + " IN (" + Join(literals, ", ") + ")", "are none of " + Named(column.in)});
    }
    if (!column.pattern.empty()) {
      demands.push_back({"regexp_full_match(" + sql + ", " + Literal(column.pattern) + ")",
                         "do not match " + column.pattern});
    }
    return demands;
  }

  static Demand TypeDemand(core::ColumnType type, const std::string& sql) {
    switch (type) {
      case core::ColumnType::kInt:
        return {"cd4ml_is_int(" + sql + ")", "are no int"};
      case core::ColumnType::kFloat:
        return {"cd4ml_is_number(" + sql + ")", "are no float"};
      case core::ColumnType::kText:
        return {"TRUE", "are no text"};
      case core::ColumnType::kBool:
        return {"TRY_CAST(" + sql + " AS BOOLEAN) IS NOT NULL", "are no bool"};
      case core::ColumnType::kDate:
        return {"cd4ml_timestamp(" + sql + ") IS NOT NULL AND NOT contains(" + sql + ", ':')",
                "are no date (2016-03-26)"};
      case core::ColumnType::kTimestamp:
        return {"cd4ml_timestamp(" + sql + ") IS NOT NULL",
                "are no timestamp (2016-03-26 17:47:46)"};
    }
    return {"FALSE", "have an unknown type"};
  }

  absl::StatusOr<const Table*> FilledTable(const std::string& name) {
    CD4ML_ASSIGN_OR_RETURN(const Table* table, FindTable(tables_, name));
    if (table->rows == 0)
      return absl::InvalidArgumentError("\"" + name + "\" has no rows to judge");
    return table;
  }

  // SQL does not tell "Price" from "price"; the table does.
  static absl::Status SpellAsInTable(const Table& table, std::vector<std::string>& columns) {
    const auto same = [](const std::string& a, const std::string& b) {
      return std::equal(
          a.begin(), a.end(), b.begin(), b.end(),
          [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
    };
    for (std::string& column : columns) {
      const auto matches =
          std::count_if(table.columns.begin(), table.columns.end(),
                        [&](const std::string& name) { return same(name, column); });
      if (matches > 1)
        return absl::InvalidArgumentError("SQL cannot tell which column \"" + column +
                                          "\" is: two differ only in case");
      const auto found = std::find_if(table.columns.begin(), table.columns.end(),
                                      [&](const std::string& name) { return same(name, column); });
      if (found == table.columns.end()) return table.Column(column).status();
      column = *found;
    }
    return absl::OkStatus();
  }

  // Returns a subquery with `columns` under their own names and types.
  absl::StatusOr<std::string> TypedView(const Table& table,
                                        const std::vector<std::string>& columns) {
    CD4ML_ASSIGN_OR_RETURN(const auto kinds, FindKinds(database_, table, columns));
    std::string selected = "file AS cd4ml_file, line AS cd4ml_line, bad AS cd4ml_bad";
    for (const std::string& column : columns) {
      CD4ML_ASSIGN_OR_RETURN(const std::string sql, table.Column(column));
      selected += ", ";
      switch (kinds.at(column)) {
        case ColumnKind::kText:
          selected += sql;
          break;
        case ColumnKind::kNumber:
          selected += "cd4ml_number(" + sql + ")";
          break;
        case ColumnKind::kTimestamp:
          selected += "cd4ml_timestamp(" + sql + ")";
          break;
      }
      selected += " AS " + Identifier(column);
    }
    return "(SELECT " + selected + " FROM " + table.sql + ")";
  }

  static std::string Where(const Table& table, int64_t file, int64_t line) {
    const std::string place = table.row_word + " " + std::to_string(line);
    return table.files.size() < 2 ? place : table.files[static_cast<size_t>(file)] + " " + place;
  }

  // Returns the first rows of `from` that fulfil `condition`, with the values of `columns`.
  absl::StatusOr<std::vector<std::string>> OffendingRows(const Table& table,
                                                         const std::string& from,
                                                         const std::string& condition,
                                                         const std::vector<std::string>& columns) {
    std::string selected = "file, line, bad";
    for (const std::string& column : columns) {
      CD4ML_ASSIGN_OR_RETURN(const std::string sql, table.Column(column));
      selected += ", " + sql;
    }
    CD4ML_ASSIGN_OR_RETURN(
        const std::vector<Row> rows,
        database_.Query("SELECT " + selected + " FROM " + from + " WHERE " + condition +
                        " ORDER BY file, line LIMIT " + std::to_string(core::kOffendingRowsMax)));
    std::vector<std::string> texts;
    for (const Row& row : rows) {
      std::vector<std::string> values;
      if (row[2]) values.push_back(Clip(*row[2], 2 * kValueMax));
      for (size_t i = 0; i < columns.size() && !row[2]; ++i)
        values.push_back(columns[i] + " = " + Shown(row[3 + i]));
      texts.push_back(Where(table, Integer(row[0]), Integer(row[1])) + ": " + Join(values, ", "));
    }
    return texts;
  }

  RuleResult Begin(int64_t rows) const {
    RuleResult result = core::CannotJudge(rule_, SubjectOf(rule_), "");
    result.sample_size = rows;
    return result;
  }

  RuleResult Ended(RuleResult result, bool broken, std::string message) const {
    result.outcome = broken ? core::Broken(rule_) : VerdictOutcome::kPass;
    result.message = std::move(message) + ", must be " + result.bound;
    return result;
  }

 public:
  static std::string SubjectOf(const Rule& rule) {
    std::string subject(core::Subject(rule.body));
    if (const auto* column = std::get_if<core::ColumnRule>(&rule.body))
      subject += "." + column->column;
    return subject;
  }

 private:
  Database& database_;
  const Tables& tables_;
  const Rule& rule_;
  const std::map<std::string, Baseline>& baselines_;
};

}  // namespace

absl::StatusOr<const Table*> FindTable(const Tables& tables, const std::string& name) {
  const auto found = tables.find(name);
  if (found != tables.end()) return &found->second;
  std::vector<std::string> known;
  for (const auto& [other, table] : tables) known.push_back(other);
  const std::string near = DidYouMean(name, known);
  return absl::NotFoundError(
      "there is no table \"" + name + "\"" +
      (near.empty() && !known.empty() ? "; there are: " + Join(known, ", ") : near));
}

RuleResult JudgeRule(Database& database, const Tables& tables, const Rule& rule,
                     const std::map<std::string, Baseline>& baselines) {
  absl::StatusOr<RuleResult> result =
      std::visit(Judge(database, tables, rule, baselines), rule.body);
  return result.ok() ? *std::move(result)
                     : core::CannotJudge(rule, Judge::SubjectOf(rule), Message(result.status()));
}

absl::StatusOr<std::vector<std::string>> FindSegments(Database& database, const Tables& tables,
                                                      const core::SegmentsRule& rule) {
  CD4ML_ASSIGN_OR_RETURN(const Table* table, FindTable(tables, rule.of));
  CD4ML_ASSIGN_OR_RETURN(const std::string groups, Judge::SegmentGroups(*table, rule));
  CD4ML_ASSIGN_OR_RETURN(const std::vector<Row> rows,
                         database.Query("SELECT segment FROM " + groups + " WHERE n >= " +
                                        std::to_string(rule.rows_min) + " ORDER BY segment"));
  std::vector<std::string> segments;
  for (const Row& row : rows) segments.push_back(*row[0]);
  return segments;
}

}  // namespace cd4ml::table
