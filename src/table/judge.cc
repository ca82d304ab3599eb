// Tables, groups and words for the rules; nothing here knows a form.
#include "table/judge.h"

#include <algorithm>

#include "cd4ml/base/status.h"
#include "cd4ml/base/text.h"

namespace cd4ml::table {

constexpr size_t kNamesMax = 20;

std::string Percent(double share) { return core::FormatNumber(100 * share) + "%"; }

std::string Join(const std::vector<std::string>& texts, std::string_view separator) {
  std::string joined;
  for (size_t i = 0; i < texts.size(); ++i)
    joined += (i == 0 ? "" : std::string(separator)) + texts[i];
  return joined;
}

std::string Named(std::vector<std::string> names) {
  const size_t all = names.size();
  names.resize(std::min(all, kNamesMax));
  return Join(names, ", ") + (all > kNamesMax ? ", … (" + std::to_string(all) + ")" : "");
}

std::string Rows(int64_t count) { return std::to_string(count) + (count == 1 ? " row" : " rows"); }

std::string LabelSql(const std::vector<std::string>& values) {
  if (values.size() == 1) return values[0];
  std::vector<std::string> parts;
  for (const std::string& value : values) parts.push_back("replace(replace(" + value + ", '\\', '\\\\'), '/', '\\/')");
  return "concat_ws('/', " + Join(parts, ", ") + ")";
}

std::string Shown(const std::optional<std::string>& value) {
  return value ? Clip(*value, kValueMax) : "(empty)";
}

int64_t Integer(const std::optional<std::string>& text) { return text ? std::stoll(*text) : 0; }

bool Exceeds(int64_t count, double share_max, int64_t rows) {
  return static_cast<double>(count) > share_max * static_cast<double>(rows) + kRounding;
}

double Share(int64_t count, int64_t rows) {
  return static_cast<double>(count) / static_cast<double>(rows);
}

std::string ShareBound(double max, const std::string& what) {
  return "<= " + (max == 0 ? "0" : Percent(max)) + " " + what;
}

std::string ShareObserved(int64_t count, int64_t rows, const std::string& what) {
  const std::string text = std::to_string(count) + " of " + std::to_string(rows) + " rows " + what;
  return count == 0 ? text : text + " (" + Percent(Share(count, rows)) + ")";
}

// --- tables and baselines ---

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

absl::StatusOr<const Table*> FilledTable(const Case& it, const std::string& name) {
  CD4ML_ASSIGN_OR_RETURN(const Table* table, FindTable(it.tables, name));
  if (table->rows == 0)
    return absl::InvalidArgumentError("\"" + name + "\" has no rows to judge");
  return table;
}

const Baseline* FindBaseline(const Case& it, const std::string& versus, const std::string& of) {
  const bool is_of_table = versus == "last_accepted" || versus.starts_with("run:");
  const auto found = it.baselines.find(is_of_table ? versus + "." + of : versus);
  return found == it.baselines.end() ? nullptr : &found->second;
}

absl::StatusOr<std::vector<std::string>> SqlOf(const Table& table,
                                               const std::vector<std::string>& columns) {
  std::vector<std::string> sql;
  for (const std::string& column : columns) {
    CD4ML_ASSIGN_OR_RETURN(sql.emplace_back(), table.Column(column));
  }
  return sql;
}

std::string Where(const Table& table, int64_t file, int64_t line) {
  const std::string place = table.row_word + " " + std::to_string(line);
  return table.files.size() < 2 ? place : table.files[static_cast<size_t>(file)] + " " + place;
}

absl::StatusOr<std::vector<std::string>> OffendingRows(const Case& it, const Table& table,
                                                       const std::string& from,
                                                       const std::string& condition,
                                                       const std::vector<std::string>& columns) {
  CD4ML_ASSIGN_OR_RETURN(const std::vector<std::string> sql, SqlOf(table, columns));
  std::string selected = "file, line, bad";
  for (const std::string& column : sql) selected += ", " + column;
  CD4ML_ASSIGN_OR_RETURN(
      const std::vector<Row> rows,
      it.database.Query("SELECT " + selected + " FROM " + from + " WHERE " + condition +
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

std::string ComparedKey(const std::string& column) {
  const std::string number = "TRY_CAST(" + column + " AS DOUBLE)";
  // No number begins with a letter, which is quick to see.
  return "CASE WHEN " + column + " < ':' AND (contains(" + column + ", '.') OR contains(" + column + ", 'e') OR contains(" + column +
         ", 'E')) AND cd4ml_is_number(" + column + ") THEN CASE WHEN " + number + " = trunc(" + number + ") AND abs(" + number +
         ") < 9007199254740992 THEN CAST(CAST(" + number + " AS BIGINT) AS VARCHAR) ELSE CAST(" + number +
         " AS VARCHAR) END ELSE " + column + " END";
}

absl::StatusOr<std::string> LeftOut(const std::string& column, int64_t values, int64_t read, const std::string& what) {
  if (read == values) return "";
  const std::string text =
      std::to_string(values - read) + " of " + std::to_string(values) + " values of \"" + column + "\" are no " + what;
  if (2 * (values - read) > values) return absl::InvalidArgumentError(text + ", which leaves too few to judge");
  return "; " + text + " and were left out";
}

absl::StatusOr<std::string> Filled(const Case& it, const Table& table, const std::string& column) {
  CD4ML_ASSIGN_OR_RETURN(const std::string sql, table.Column(column));
  CD4ML_ASSIGN_OR_RETURN(const auto kinds, FindKinds(it.database, table, {column}));
  return kinds.at(column) == ColumnKind::kNumber ? table.Number(sql) : table.Value(sql);
}

// --- groups ---

absl::StatusOr<Grouping> GroupingOf(const Case& it, const Table& table) {
  Grouping grouping;
  CD4ML_ASSIGN_OR_RETURN(grouping.columns, SqlOf(table, it.rule.by));
  grouping.words = Join(it.rule.by, "/");
  return grouping;
}

absl::StatusOr<std::vector<Row>> QueryGroups(const Case& it, const Grouping& grouping,
                                             const std::string& counts, const std::string& from,
                                             std::string_view bad) {
  if (!grouping.is_set()) return it.database.Query("SELECT NULL::VARCHAR, " + counts + " FROM " + from);
  std::vector<std::string> parts;
  for (const std::string& column : grouping.columns)
    parts.push_back("coalesce(" + column + ", '(empty)')");
  CD4ML_ASSIGN_OR_RETURN(
      std::vector<Row> rows,
      it.database.Query("SELECT " + LabelSql(parts) + ", " + counts + " FROM " +
                        from + " WHERE " + std::string(bad) + " IS NULL GROUP BY " +
                        Join(grouping.columns, ", ") + " LIMIT " + std::to_string(kGroupsMax + 1)));
  if (static_cast<int64_t>(rows.size()) > kGroupsMax) {
    return absl::InvalidArgumentError("\"by\" makes more than " + std::to_string(kGroupsMax) +
                                      " groups of " + grouping.words +
                                      "; it is for columns with few values");
  }
  return rows;
}

core::RuleResult JudgeGroups(const Case& it, const Table& table, const Grouping& grouping,
                             std::vector<Group> groups, const std::string& bound) {
  if (groups.empty()) {
    return core::CannotJudge(it.rule, SubjectOf(it.rule),
                             "\"" + table.name + "\" has no rows to judge by " + grouping.words);
  }
  std::sort(groups.begin(), groups.end(), [](const Group& a, const Group& b) {
    if (a.broken != b.broken) return a.broken;
    return a.badness != b.badness ? a.badness > b.badness : a.name < b.name;
  });
  core::RuleResult result = Begin(it, table.rows);
  int64_t failing = 0;
  for (const Group& group : groups) {
    if (!group.broken) break;
    if (++failing <= static_cast<int64_t>(core::kOffendingRowsMax))
      result.rows.push_back(Clip(group.name, kValueMax) + ": " + group.found);
  }
  const std::string worst =
      "the worst is " + Clip(groups[0].name, kValueMax) + ": " + groups[0].found;
  result.observed = std::to_string(failing) + " of " + std::to_string(groups.size()) + " values of " +
                    grouping.words + " fail, " + worst;
  result.observed_number = static_cast<double>(failing);
  result.bound = bound + " for each " + grouping.words;
  std::string message = result.observed;
  if (table.bad_rows > 0)
    message += "; " + Rows(table.bad_rows) + (table.bad_rows == 1 ? " does not fit the table and is in none" : " do not fit the table and are in none");
  return Ended(it, std::move(result), failing > 0, std::move(message));
}

// --- results ---

std::string SubjectOf(const core::Rule& rule) {
  return std::visit(
      [](const auto& body) -> std::string {
        if constexpr (requires { body.of; body.column; }) return body.of + "." + body.column;
        if constexpr (requires { body.of; }) return body.of;
        return {};
      },
      rule.body);
}

core::RuleResult Begin(const Case& it, int64_t rows) {
  core::RuleResult result = core::CannotJudge(it.rule, SubjectOf(it.rule), "");
  result.sample_size = rows;
  return result;
}

core::RuleResult Ended(const Case& it, core::RuleResult result, bool broken, std::string message) {
  result.outcome = broken ? core::Broken(it.rule) : core::VerdictOutcome::kPass;
  result.message = std::move(message) + ", must be " + result.bound;
  return result;
}

}  // namespace cd4ml::table
