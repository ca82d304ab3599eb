// The places of bad rows by rule, gathered by row and joined with the rows themselves.
#include "table/quarantine.h"

#include "cd4ml/base/status.h"

namespace cd4ml::table {

bool JudgesRows(const core::Rule& rule) {
  return std::holds_alternative<core::ColumnRule>(rule.body) || std::holds_alternative<core::SqlRule>(rule.body);
}

absl::Status FindBroken(Database& database, const Tables& tables, Scans& scans, const Table& table,
                        const std::vector<core::Rule>& rules) {
  // What does not fit the table breaks no rule by name; its problem says why it is here.
  CD4ML_RETURN_IF_ERROR(database.Execute(
      "CREATE OR REPLACE TEMP TABLE cd4ml_broken AS SELECT file, line, -1 AS n, CAST(NULL AS VARCHAR) AS rule FROM " +
      table.sql + " WHERE bad IS NOT NULL"));
  const std::map<std::string, Baseline> none;   // They are not asked for by rules about single rows.
  std::vector<std::string> names;
  for (const core::Rule& rule : rules) names.push_back(Literal(rule.name));
  const auto insert = [&](const std::string& select) {
    return database.Execute("INSERT INTO cd4ml_broken SELECT file, line, n, ([" + Join(names, ", ") + "])[n + 1] FROM (" +
                            select + ")");
  };
  std::map<size_t, Question> together;   // What breaks some rows, by the number of the rule.
  for (size_t i = 0; i < rules.size(); ++i) {
    if (core::Subject(rules[i].body) != table.name || !JudgesRows(rules[i])) continue;
    const Case it{database, tables, scans, rules[i], none, UtcTime(), rules};
    const absl::StatusOr<std::optional<Question>> question = QuestionOf(it);
    if (!question.ok()) return Annotate(question.status(), "rule " + rules[i].name);
    if (!*question || ((*question)->broken.empty() && !(*question)->empty_breaks)) continue;
    Scan& scan = ScanOf(it, table);
    if (!(*question)->from.empty()) {
      CD4ML_RETURN_IF_ERROR(insert(scan.SelectBroken({{i, **question}})));
      continue;
    }
    const absl::StatusOr<Answer> answer = scan.Ask(it, **question);
    if (!answer.ok()) return Annotate(answer.status(), "rule " + rules[i].name);
    if (answer->bad > table.bad_rows || ((*question)->empty_breaks && answer->empty > 0)) together[i] = **question;
    if (together.size() < kQuestionsTogether) continue;
    CD4ML_RETURN_IF_ERROR(insert(scan.SelectBroken(together)));
    together.clear();
  }
  return together.empty() ? absl::OkStatus() : insert(scans.at(table.sql).SelectBroken(together));
}

namespace {

// Returns the columns of the file in their order, under the names that the table has.
std::string Selected(const Table& table) {
  std::string selected;
  if (table.files.size() > 1) {
    std::string names;
    for (const std::string& file : table.files) names += (names.empty() ? "" : ", ") + Literal(file);
    selected = "([" + names + "])[t.file + 1] AS cd4ml_file, ";
  }
  selected += "t.line AS cd4ml_line, b.rules AS cd4ml_rules, t.bad AS cd4ml_problem";
  for (size_t i = 0; i < table.columns.size(); ++i)
    selected += ", t.c" + std::to_string(i) + " AS " + Identifier(table.columns[i]);
  return selected;
}

}  // namespace

absl::Status WriteBadRows(Database& database, const Tables& tables, Scans& scans, const std::string& name,
                          const std::vector<core::Rule>& rules, const std::string& path) {
  CD4ML_ASSIGN_OR_RETURN(const Table* table, FindTable(tables, name));
  CD4ML_RETURN_IF_ERROR(FindBroken(database, tables, scans, *table, rules));
  const std::string format = path.ends_with(".parquet") ? "FORMAT parquet" : "FORMAT csv, HEADER true";
  CD4ML_RETURN_IF_ERROR(database.Execute(
      "COPY (SELECT " + Selected(*table) + " FROM " + table->sql +
      " t JOIN (SELECT file, line, string_agg(rule, ' ' ORDER BY n) AS rules FROM cd4ml_broken GROUP BY file, line) b "
      "ON t.file = b.file AND t.line = b.line ORDER BY t.file, t.line) TO " + Literal(path) + " (" + format + ")"));
  return database.Execute("DROP TABLE cd4ml_broken");
}

}  // namespace cd4ml::table
