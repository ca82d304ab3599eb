// Rules about the values of rows: of one column, of a predicate, of a label.
#include <algorithm>
#include <cctype>
#include <charconv>
#include <limits>

#include "cd4ml/base/status.h"
#include "table/judge.h"
#include "table/predicate.h"
#include "table/rules.h"

namespace cd4ml::table {
namespace {

using core::ColumnRule;
using core::RuleResult;

// One condition on the values of a column.
struct Demand {
  std::string fulfilled;  // SQL.
  std::string broken;     // "are no float"
};

// What the values of a group are like.
struct ColumnCounts {
  int64_t rows = 0, bad = 0, empty = 0;
  std::vector<int64_t> broken;  // By demand.
};

Demand TypeDemand(const Table& table, core::ColumnType type, const std::string& sql) {
  switch (type) {
    case core::ColumnType::kInt:
      return {table.IsInt(sql), "are no int"};
    case core::ColumnType::kFloat:
      return {table.IsNumber(sql), "are no float"};
    case core::ColumnType::kText:
      return {"TRUE", "are no text"};
    case core::ColumnType::kBool:
      return {"TRY_CAST(" + sql + " AS BOOLEAN) IS NOT NULL", "are no bool"};
    case core::ColumnType::kDate:
      return {table.IsTime(sql) + " AND NOT contains(" + sql + ", ':')", "are no date (2016-03-26)"};
    case core::ColumnType::kTimestamp:
      return {table.IsTime(sql), "are no timestamp (2016-03-26 17:47:46)"};
  }
  return {"FALSE", "have an unknown type"};
}

bool IsNumeral(const std::string& text) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

std::vector<Demand> Demands(const Table& table, const ColumnRule& column, const std::string& sql) {
  std::vector<Demand> demands;
  if (column.type) demands.push_back(TypeDemand(table, *column.type, sql));
  if (column.value.is_set()) {
    constexpr double kMost = std::numeric_limits<double>::max();
    const std::string within = table.Within(sql, Literal(column.value.min.value_or(-kMost)),
                                            Literal(column.value.max.value_or(kMost)));
    demands.push_back({within, "are not " + core::FormatBounds(column.value, "")});
  }
  if (!column.in.empty()) {
    std::vector<std::string> literals;
    for (const std::string& value : column.in) literals.push_back(Literal(value));
    const bool has_numbers = std::any_of(column.in.begin(), column.in.end(), IsNumeral);
    for (std::string& literal : literals) literal = has_numbers ? ComparedKey(literal) : literal;
    demands.push_back({(has_numbers ? ComparedKey(sql) : sql) + " IN (" + Join(literals, ", ") + ")",
                       "are none of " + Named(column.in)});
  }
  if (!column.pattern.empty()) {
    demands.push_back({"regexp_full_match(" + sql + ", " + Literal(column.pattern) + ")",
                       "do not match " + column.pattern});
  }
  return demands;
}

// --- outliers ---

// The middle and the distance from it, as SQL aggregates of v, and how the method is called.
struct Spread {
  std::string low, high, word;
};

Spread SpreadOf(core::OutlierMethod method) {
  switch (method) {
    case core::OutlierMethod::kIqr: {
      const std::string range = "1.5 * (quantile_cont(v, 0.75) - quantile_cont(v, 0.25))";
      return {"quantile_cont(v, 0.25) - " + range, "quantile_cont(v, 0.75) + " + range, "iqr"};
    }
    case core::OutlierMethod::kZ: {
      const std::string range = "3 * coalesce(stddev_samp(v), 0)";
      return {"avg(v) - " + range, "avg(v) + " + range, "z"};
    }
    case core::OutlierMethod::kMad: {
      // 1.4826: what makes the median deviation of a normal distribution its standard deviation.
      const std::string range = "3.5 * 1.4826 * mad(v)";
      return {"median(v) - " + range, "median(v) + " + range, "mad"};
    }
  }
  return {"NULL", "NULL", "?"};
}

// Makes the limits of every group, and returns the rows of the table with `low` and `high` of
// theirs. What is no number is no outlier: `type` asks for numbers.
absl::StatusOr<std::string> AddOutliers(const Case& it, const Table& table,
                                        const Grouping& grouping, core::OutlierMethod method,
                                        const std::string& sql, std::vector<Demand>& demands) {
  const Spread spread = SpreadOf(method);
  std::string keys, selected, joined = "TRUE", grouped;
  for (const std::string& column : grouping.columns) {
    selected += column + " AS by_" + column + ", ";
    keys += (keys.empty() ? " GROUP BY " : ", ") + column;
    joined += " AND t." + column + " IS NOT DISTINCT FROM l.by_" + column;
  }
  // A limit that is a value of the column must not exclude it by a rounding error.
  CD4ML_RETURN_IF_ERROR(it.database.Execute(
      "CREATE OR REPLACE TEMP TABLE cd4ml_limits AS SELECT * EXCLUDE (below, above), below - 1e-12 * "
      "abs(below) AS low, above + 1e-12 * abs(above) AS high FROM (SELECT " +
      selected + spread.low + " AS below, " + spread.high +
      " AS above FROM (SELECT *, cd4ml_number(" + sql + ") AS v FROM " + table.sql +
      " WHERE bad IS NULL)" + keys + ")"));
  std::string outside = "are outliers (" + spread.word + ")";
  if (!grouping.is_set()) {
    CD4ML_ASSIGN_OR_RETURN(const std::vector<Row> limits,
                           it.database.Query("SELECT low, high FROM cd4ml_limits"));
    if (!limits[0][0])
      return absl::InvalidArgumentError("the column has no numbers, so none can be outliers");
    outside = "are outside " + core::FormatNumber(std::stod(*limits[0][0])) + " .. " +
              core::FormatNumber(std::stod(*limits[0][1])) + " (" + spread.word + ")";
  }
  demands.push_back(
      {"cd4ml_number(" + sql + ") IS NULL OR cd4ml_number(" + sql + ") BETWEEN low AND high",
       outside});
  return "(SELECT t.*, l.low, l.high FROM " + table.sql + " t LEFT JOIN cd4ml_limits l ON " +
         joined + ")";
}

// --- column ---

// Returns what the rule asks of a row, and its demands. `read` is the table as the SQL is to call it.
absl::StatusOr<Question> AskColumn(const Case& it, const Table& table, const Table& read, const Grouping& grouping,
                                   const ColumnRule& column, const std::string& sql, std::vector<Demand>& demands) {
  Question question;
  demands = Demands(read, column, sql);
  if (column.outliers) {
    CD4ML_ASSIGN_OR_RETURN(question.from, AddOutliers(it, table, grouping, *column.outliers, sql, demands));
  }
  std::string filled = read.Value(sql);
  if (column.max_nulls) {
    CD4ML_ASSIGN_OR_RETURN(const auto kinds, FindKinds(it.database, table, {column.column}));
    if (kinds.at(column.column) == ColumnKind::kNumber) filled = read.Number(sql);
  }
  question.empty = "bad IS NULL AND " + filled + " IS NULL";
  question.shows_empty = column.max_nulls.has_value();
  // Where some values may be empty, an empty one is not bad.
  question.empty_breaks = column.max_nulls == 0.0;
  for (const Demand& demand : demands)
    question.broken.push_back(read.Value(sql) + " IS NOT NULL AND (" + demand.fulfilled + ") IS NOT TRUE");
  question.columns = {column.column};
  return question;
}

ColumnCounts ReadCounts(const Row& row) {
  ColumnCounts counts{Integer(row[1]), Integer(row[2]), Integer(row[3]), {}};
  for (size_t i = 4; i < row.size(); ++i) counts.broken.push_back(Integer(row[i]));
  return counts;
}

// Returns "12 are no float, 3 are empty".
std::string Tell(const std::vector<Demand>& demands, const ColumnCounts& counts, int64_t misfits) {
  std::vector<std::string> found;
  const auto tell = [&found](int64_t count, const std::string& what) {
    if (count > 0) found.push_back(std::to_string(count) + " " + what);
  };
  for (size_t i = 0; i < demands.size(); ++i) tell(counts.broken[i], demands[i].broken);
  tell(misfits, "do not fit the table");
  tell(counts.empty, "are empty");
  return found.empty() ? "all are as they must be" : Join(found, ", ");
}

Judged JudgeColumnBy(const Case& it, const Table& table, const Grouping& grouping, const ColumnRule& column,
                     const Question& question, const std::vector<Demand>& demands) {
  // Every demand is evaluated once for each row.
  std::string view = "(SELECT *, " + question.empty + " AS empty";
  std::string any_bad = "bad IS NOT NULL", counted;
  for (size_t i = 0; i < question.broken.size(); ++i) {
    const std::string broken = "broken" + std::to_string(i);
    view += ", " + question.broken[i] + " AS " + broken;
    any_bad += " OR " + broken;
    counted += ", count(*) FILTER (WHERE " + broken + ")";
  }
  view += " FROM " + (question.from.empty() ? table.sql : question.from) + ")";
  CD4ML_ASSIGN_OR_RETURN(const std::vector<Row> rows,
                         QueryGroups(it, grouping, "count(*), count(*) FILTER (WHERE " + any_bad +
                                                       "), count(*) FILTER (WHERE empty)" + counted, view));
  std::vector<Group> groups;
  for (const Row& row : rows) {
    const ColumnCounts counts = ReadCounts(row);
    const double bad = Share(counts.bad, counts.rows) - column.max_bad_share;
    const double empty =
        column.max_nulls ? Share(counts.empty, counts.rows) - *column.max_nulls : -1.0;
    Group group{*row[0], false, std::max(bad, empty), Tell(demands, counts, 0)};
    group.broken = Exceeds(counts.bad, column.max_bad_share, counts.rows) ||
                   (column.max_nulls && Exceeds(counts.empty, *column.max_nulls, counts.rows));
    if (counts.bad + counts.empty > 0)
      group.found = "of " + std::to_string(counts.rows) + " rows " + group.found;
    groups.push_back(std::move(group));
  }
  std::vector<std::string> bounds;
  if (!demands.empty()) bounds.push_back(ShareBound(column.max_bad_share, "bad rows"));
  if (column.max_nulls) bounds.push_back(ShareBound(*column.max_nulls, "empty"));
  return JudgeGroups(it, table, grouping, std::move(groups), Join(bounds, " and "));
}

// --- sql ---

// SQL does not tell "Price" from "price"; the table does.
absl::Status SpellAsInTable(const Table& table, std::vector<std::string>& columns) {
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

// Returns the predicate with its columns as the table spells them.
absl::StatusOr<Predicate> PredicateOf(const Case& it, const Table& table, const core::SqlRule& sql) {
  CD4ML_ASSIGN_OR_RETURN(Predicate predicate, CheckPredicate(it.database, sql.predicate));
  CD4ML_RETURN_IF_ERROR(SpellAsInTable(table, predicate.columns));
  return predicate;
}

// Returns the columns under their own names with their types.
absl::StatusOr<std::map<std::string, std::string>> Typed(const Case& it, const Table& table, const Table& read,
                                                         const std::vector<std::string>& columns) {
  CD4ML_ASSIGN_OR_RETURN(const auto kinds, FindKinds(it.database, table, columns));
  std::map<std::string, std::string> typed;
  for (const std::string& column : columns) {
    CD4ML_ASSIGN_OR_RETURN(const std::string sql, table.Column(column));
    const ColumnKind kind = kinds.at(column);
    typed[column] = kind == ColumnKind::kText ? sql : kind == ColumnKind::kNumber ? read.Number(sql) : read.Time(sql);
  }
  return typed;
}

// Returns a subquery with `columns` under their own names and types, and those of `grouping`, which
// are renamed so that no column of the user's is called like them.
absl::StatusOr<std::string> TypedView(const Case& it, const Table& table,
                                      const std::vector<std::string>& columns, Grouping& grouping) {
  CD4ML_ASSIGN_OR_RETURN(const auto typed, Typed(it, table, table, columns));
  std::string selected = "file AS cd4ml_file, line AS cd4ml_line, bad AS cd4ml_bad";
  for (std::string& column : grouping.columns) {
    const std::string name = "cd4ml_by_" + column;
    selected += ", " + column + " AS " + name;
    column = name;
  }
  for (const auto& [column, sql] : typed) selected += ", " + sql + " AS " + Identifier(column);
  return "(SELECT " + selected + " FROM " + table.sql + ")";
}

std::string Broken(const Predicate& predicate) { return "((" + predicate.sql + "\n) IS NOT TRUE)"; }

absl::Status CheckType(const Case& it, const Predicate& predicate, const std::string& view) {
  CD4ML_ASSIGN_OR_RETURN(const std::vector<Row> type,
                         it.database.Query("SELECT typeof((" + predicate.sql + "\n)) FROM " + view + " LIMIT 1"));
  if (*type[0][0] == "BOOLEAN") return absl::OkStatus();
  return absl::InvalidArgumentError("the predicate gives a " + *type[0][0] + ", not true or false");
}

absl::StatusOr<Question> AskSql(const Case& it, const Table& table, const Predicate& predicate) {
  Question question;
  question.broken = {"cd4ml_bad IS NULL AND " + Broken(predicate)};
  question.columns = predicate.columns;
  CD4ML_ASSIGN_OR_RETURN(question.named, Typed(it, table, ScanOf(it, table).table(), predicate.columns));
  return question;
}

Judged JudgeSqlBy(const Case& it, const Table& table, const Grouping& grouping, const core::SqlRule& sql,
                  const Predicate& predicate, const std::string& view) {
  CD4ML_ASSIGN_OR_RETURN(const std::vector<Row> rows,
                         QueryGroups(it, grouping, "count(*), count(*) FILTER (WHERE cd4ml_bad IS NOT NULL OR " + Broken(predicate) + ")",
                                     view, "cd4ml_bad"));
  std::vector<Group> groups;
  for (const Row& row : rows) {
    const int64_t all = Integer(row[1]);
    const int64_t broken = Integer(row[2]);
    groups.push_back({*row[0], Exceeds(broken, sql.max_bad_share, all), Share(broken, all),
                      ShareObserved(broken, all, "bad")});
  }
  return JudgeGroups(it, table, grouping, std::move(groups), ShareBound(sql.max_bad_share, "bad rows"));
}

}  // namespace

absl::StatusOr<std::optional<Question>> QuestionOf(const Case& it) {
  const auto* column = std::get_if<ColumnRule>(&it.rule.body);
  const auto* predicate = std::get_if<core::SqlRule>(&it.rule.body);
  if (column == nullptr && predicate == nullptr) return std::optional<Question>();
  CD4ML_ASSIGN_OR_RETURN(const Table* table, FindTable(it.tables, std::string(core::Subject(it.rule.body))));
  if (predicate != nullptr) {
    CD4ML_ASSIGN_OR_RETURN(const Predicate checked, PredicateOf(it, *table, *predicate));
    return AskSql(it, *table, checked);
  }
  CD4ML_ASSIGN_OR_RETURN(const std::string sql, table->Column(column->column));
  CD4ML_ASSIGN_OR_RETURN(const Grouping grouping, GroupingOf(it, *table));
  std::vector<Demand> demands;
  return AskColumn(it, *table, ScanOf(it, *table).table(), grouping, *column, sql, demands);
}

Judged Judge(const Case& it, const ColumnRule& column) {
  CD4ML_ASSIGN_OR_RETURN(const Table* table, FilledTable(it, column.of));
  CD4ML_ASSIGN_OR_RETURN(const std::string sql, table->Column(column.column));
  CD4ML_ASSIGN_OR_RETURN(const Grouping grouping, GroupingOf(it, *table));
  Scan& scan = ScanOf(it, *table);
  std::vector<Demand> demands;
  CD4ML_ASSIGN_OR_RETURN(const Question question,
                         AskColumn(it, *table, grouping.is_set() ? *table : scan.table(), grouping, column, sql, demands));
  if (demands.empty() && !column.max_nulls) {
    return absl::InvalidArgumentError(
        "the rule demands nothing of the column; give it type, min, max, in, pattern, outliers or "
        "max_nulls");
  }
  std::string left_out;
  if (column.outliers) {
    CD4ML_ASSIGN_OR_RETURN(const std::vector<Row> read,
                           it.database.Query("SELECT count(" + sql + "), count(" + table->Number(sql) + ") FROM " + table->sql));
    CD4ML_ASSIGN_OR_RETURN(left_out, LeftOut(column.column, Integer(read[0][0]), Integer(read[0][1]), "numbers"));
  }
  if (grouping.is_set()) {
    CD4ML_ASSIGN_OR_RETURN(RuleResult result, JudgeColumnBy(it, *table, grouping, column, question, demands));
    result.message += left_out;
    return result;
  }

  CD4ML_ASSIGN_OR_RETURN(Answer answer, scan.Ask(it, question));
  const ColumnCounts counts{table->rows, answer.bad, answer.empty, std::move(answer.broken)};
  const bool too_bad = Exceeds(counts.bad, column.max_bad_share, table->rows);
  const bool too_empty = column.max_nulls && Exceeds(counts.empty, *column.max_nulls, table->rows);
  RuleResult result = Begin(it, table->rows);
  // What is broken is reported; where nothing is, the first thing that was asked for.
  const bool report_empty = !too_bad && (too_empty || demands.empty());
  const int64_t reported = report_empty ? counts.empty : counts.bad;
  result.observed = ShareObserved(reported, table->rows, report_empty ? "empty" : "bad");
  result.observed_number = Share(reported, table->rows);
  result.bound = report_empty ? ShareBound(*column.max_nulls, "empty")
                              : ShareBound(column.max_bad_share, "bad rows");
  result.rows = report_empty ? std::move(answer.empty_rows) : std::move(answer.bad_rows);
  return Ended(it, std::move(result), too_bad || too_empty,
               "of " + std::to_string(table->rows) + " rows " +
                   Tell(demands, counts, table->bad_rows) + left_out);
}

Judged Judge(const Case& it, const core::SqlRule& sql) {
  CD4ML_ASSIGN_OR_RETURN(const Table* table, FilledTable(it, sql.of));
  CD4ML_ASSIGN_OR_RETURN(const Predicate predicate, PredicateOf(it, *table, sql));
  CD4ML_ASSIGN_OR_RETURN(Grouping grouping, GroupingOf(it, *table));
  CD4ML_ASSIGN_OR_RETURN(const std::string view, TypedView(it, *table, predicate.columns, grouping));
  CD4ML_RETURN_IF_ERROR(CheckType(it, predicate, view));
  if (grouping.is_set()) {
    CD4ML_ASSIGN_OR_RETURN(RuleResult result, JudgeSqlBy(it, *table, grouping, sql, predicate, view));
    result.subject = sql.of + ": " + sql.predicate;
    return result;
  }
  CD4ML_ASSIGN_OR_RETURN(const Question question, AskSql(it, *table, predicate));
  CD4ML_ASSIGN_OR_RETURN(Answer answer, ScanOf(it, *table).Ask(it, question));
  RuleResult result = Begin(it, table->rows);
  result.subject = sql.of + ": " + sql.predicate;
  result.observed = ShareObserved(answer.bad, table->rows, "bad");
  result.observed_number = Share(answer.bad, table->rows);
  result.bound = ShareBound(sql.max_bad_share, "bad rows");
  result.rows = std::move(answer.bad_rows);
  std::string message = result.observed + ": " + sql.predicate;
  return Ended(it, std::move(result), Exceeds(answer.bad, sql.max_bad_share, table->rows),
               std::move(message));
}

Judged Judge(const Case& it, const core::BalanceRule& balance) {
  CD4ML_ASSIGN_OR_RETURN(const Table* table, FilledTable(it, balance.of));
  if (!balance.share.is_set())
    return absl::InvalidArgumentError("the rule has no bound; give it min or max");
  CD4ML_ASSIGN_OR_RETURN(const std::string sql, table->Column(balance.column));
  CD4ML_ASSIGN_OR_RETURN(
      const std::vector<Row> rows,
      it.database.Query("SELECT " + sql + ", count(*) FROM " + table->sql + " WHERE " + sql +
                        " IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT " +
                        std::to_string(kGroupsMax + 1)));
  if (static_cast<int64_t>(rows.size()) > kGroupsMax)
    return absl::InvalidArgumentError("\"" + balance.column + "\" has more than " +
                                      std::to_string(kGroupsMax) + " values; it is no label");
  int64_t labelled = 0;
  for (const Row& row : rows) labelled += Integer(row[1]);
  if (labelled == 0)
    return absl::InvalidArgumentError("\"" + balance.column + "\" is empty in every row");

  const core::Bounds& bounds = balance.share;
  const auto text = [&](const Row& row) {
    return Shown(row[0]) + ": " + *row[1] + " of " + std::to_string(labelled) + " rows (" +
           Percent(Share(Integer(row[1]), labelled)) + ")";
  };
  RuleResult result = Begin(it, labelled);
  result.bound = (bounds.min ? ">= " + Percent(*bounds.min) : "") +
                 (bounds.min && bounds.max ? " and " : "") +
                 (bounds.max ? "<= " + Percent(*bounds.max) : "") + " of the rows for each value";
  int64_t failing = 0;
  const Row* worst = bounds.min ? &rows.back() : &rows.front();
  double distance = -1;
  for (const Row& row : rows) {
    const double share = Share(Integer(row[1]), labelled);
    const double outside = std::max(bounds.min ? *bounds.min - share : -1.0,
                                    bounds.max ? share - *bounds.max : -1.0);
    if (outside <= kRounding) continue;
    if (++failing <= static_cast<int64_t>(core::kOffendingRowsMax)) result.rows.push_back(text(row));
    if (outside > distance) worst = &row, distance = outside;
  }
  // With `min`, one value stands for others that are not there at all.
  const bool alone = rows.size() == 1 && bounds.min.value_or(0) > 0;
  result.observed = alone ? "only the value " + Shown(rows[0][0]) : text(*worst);
  result.observed_number = alone ? 0 : Share(Integer((*worst)[1]), labelled);
  std::string message = std::to_string(alone ? 1 : failing) + " of " + std::to_string(rows.size()) +
                        " values of " + balance.column + " are out of balance: " + result.observed;
  if (labelled < table->rows)
    message += "; " + Rows(table->rows - labelled) + (table->rows - labelled == 1 ? " has none" : " have none");
  return Ended(it, std::move(result), failing > 0 || alone, std::move(message));
}

}  // namespace cd4ml::table
