// The places of bad rows by rule, gathered by row and joined with the rows themselves.
#include "table/quarantine.h"

#include "cd4ml/base/status.h"

namespace cd4ml::table {

bool JudgesRows(const core::Rule& rule) {
  return std::holds_alternative<core::ColumnRule>(rule.body) || std::holds_alternative<core::SqlRule>(rule.body);
}

absl::Status FindBroken(Database& database, const Tables& tables, const Table& table,
                        const std::vector<core::Rule>& rules) {
  // What does not fit the table breaks no rule by name; its problem says why it is here.
  CD4ML_RETURN_IF_ERROR(database.Execute(
      "CREATE OR REPLACE TEMP TABLE cd4ml_broken AS SELECT file, line, -1 AS n, CAST(NULL AS VARCHAR) AS rule FROM " +
      table.sql + " WHERE bad IS NOT NULL"));
  const std::map<std::string, Baseline> none;   // They are not asked for by rules about single rows.
  for (size_t i = 0; i < rules.size(); ++i) {
    if (core::Subject(rules[i].body) != table.name || !JudgesRows(rules[i])) continue;
    absl::StatusOr<std::string> broken = SelectBroken({database, tables, rules[i], none, UtcTime(), rules});
    if (!broken.ok()) return Annotate(broken.status(), "rule " + rules[i].name);
    if (broken->empty()) continue;
    CD4ML_RETURN_IF_ERROR(database.Execute("INSERT INTO cd4ml_broken SELECT file, line, " + std::to_string(i) + ", " +
                                           Literal(rules[i].name) + " FROM (" + *broken + ")"));
  }
  return absl::OkStatus();
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

absl::Status WriteBadRows(Database& database, const Tables& tables, const std::string& name,
                          const std::vector<core::Rule>& rules, const std::string& path) {
  CD4ML_ASSIGN_OR_RETURN(const Table* table, FindTable(tables, name));
  CD4ML_RETURN_IF_ERROR(FindBroken(database, tables, *table, rules));
  const std::string format = path.ends_with(".parquet") ? "FORMAT parquet" : "FORMAT csv, HEADER true";
  CD4ML_RETURN_IF_ERROR(database.Execute(
      "COPY (SELECT " + Selected(*table) + " FROM " + table->sql +
      " t JOIN (SELECT file, line, string_agg(rule, ' ' ORDER BY n) AS rules FROM cd4ml_broken GROUP BY file, line) b "
      "ON t.file = b.file AND t.line = b.line ORDER BY t.file, t.line) TO " + Literal(path) + " (" + format + ")"));
  return database.Execute("DROP TABLE cd4ml_broken");
}

}  // namespace cd4ml::table
