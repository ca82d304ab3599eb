// Histograms, frequent values and error metrics, computed by the engine over all rows.
#include "table/measure.h"

#include "cd4ml/base/status.h"

namespace cd4ml::table {
namespace {

using core::ColumnProfile;

// Longer texts are no categories; they count as "other".
constexpr int kCategoryMax = 200;

std::string Join(const std::vector<std::string>& texts) {
  std::string joined;
  for (const std::string& text : texts) joined += (joined.empty() ? "" : ", ") + text;
  return joined;
}

int64_t Integer(const std::optional<std::string>& text) { return text ? std::stoll(*text) : 0; }
double Number(const std::optional<std::string>& text) { return text ? std::stod(*text) : 0; }

// Counts the numbers of a column into `column.edges`, with their extent. `numbers` is a table or
// subquery with the one column v.
absl::Status CountNumbers(Database& database, const std::string& numbers, ColumnProfile& column) {
  std::string bin = "CASE WHEN v IS NULL THEN -1";
  for (size_t i = 0; i < column.edges.size(); ++i) {
    bin += " WHEN v <= " + Literal(column.edges[i]) + " THEN " + std::to_string(i);
  }
  bin += " ELSE " + std::to_string(column.edges.size()) + " END";
  CD4ML_ASSIGN_OR_RETURN(
      const std::vector<Row> rows,
      database.Query("SELECT CAST(" + bin + " AS BIGINT), count(*), min(v), max(v), sum(v) FROM " +
                     numbers + " GROUP BY 1 ORDER BY 1"));
  column.counts.assign(column.edges.size() + 1, 0);
  double sum = 0;
  bool seen = false;
  for (const Row& row : rows) {
    const int64_t count = Integer(row[1]);
    if (Integer(row[0]) < 0) {
      column.nulls = count;
      continue;
    }
    column.counts[static_cast<size_t>(Integer(row[0]))] = count;
    if (!seen) column.min = Number(row[2]);
    column.max = Number(row[3]);  // The bins come in ascending order.
    sum += Number(row[4]);
    seen = true;
  }
  if (seen) column.mean = sum / static_cast<double>(column.rows - column.nulls);
  return absl::OkStatus();
}

// Counts the texts of a column that are keys of `column.top`; all others are `other`.
absl::Status CountCategories(Database& database, const Table& table, const std::string& sql,
                             ColumnProfile& column) {
  std::vector<std::string> literals = {"NULL"};
  for (const auto& [category, count] : column.top) literals.push_back(Literal(category));
  CD4ML_ASSIGN_OR_RETURN(const std::vector<Row> rows,
                         database.Query("SELECT CASE WHEN " + sql + " IN (" + Join(literals) +
                                        ") THEN " + sql + " END, count(*), count(*) - count(" +
                                        sql + ") FROM " + table.sql + " GROUP BY 1"));
  for (const Row& row : rows) {
    if (row[0]) {
      column.top[*row[0]] = Integer(row[1]);
    } else {
      column.nulls = Integer(row[2]);
      column.other = Integer(row[1]) - column.nulls;
    }
  }
  return absl::OkStatus();
}

// Sets quantiles as the borders of the bins; equal ones are one border.
absl::Status FindEdges(Database& database, const std::string& numbers, ColumnProfile& column) {
  std::vector<std::string> shares;
  for (int i = 1; i < core::kProfileBins; ++i) {
    shares.push_back(std::to_string(i) + ".0 / " + std::to_string(core::kProfileBins));
  }
  CD4ML_ASSIGN_OR_RETURN(
      const std::vector<Row> rows,
      database.Query("SELECT unnest(quantile_disc(v, [" + Join(shares) + "])) FROM " + numbers));
  for (const Row& row : rows) {
    if (row[0] && (column.edges.empty() || Number(row[0]) > column.edges.back()))
      column.edges.push_back(Number(row[0]));
  }
  return absl::OkStatus();
}

absl::Status FindCategories(Database& database, const Table& table, const std::string& sql,
                            ColumnProfile& column) {
  CD4ML_ASSIGN_OR_RETURN(const std::vector<Row> rows,
                         database.Query("SELECT " + sql + " FROM " + table.sql + " WHERE strlen(" +
                                        sql + ") <= " + std::to_string(kCategoryMax) +
                                        " GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT " +
                                        std::to_string(core::kTopValues)));
  for (const Row& row : rows) column.top[*row[0]] = 0;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<core::TableProfile> MeasureProfile(Database& database, const Table& table) {
  CD4ML_ASSIGN_OR_RETURN(const auto kinds, FindKinds(database, table, table.columns));
  const SingleThread single(database);
  CD4ML_RETURN_IF_ERROR(single.status());
  core::TableProfile profile;
  profile.rows = table.rows;
  for (const std::string& name : table.columns) {
    CD4ML_ASSIGN_OR_RETURN(const std::string sql, table.Column(name));
    ColumnProfile& column = profile.columns[name];
    column.rows = table.rows;
    column.numeric = kinds.at(name) == ColumnKind::kNumber;
    if (column.numeric) {
      // Reading text as numbers costs more than all the rest: it is done once.
      CD4ML_RETURN_IF_ERROR(
          database.Execute("CREATE OR REPLACE TEMP TABLE cd4ml_numbers AS SELECT cd4ml_number(" +
                           sql + ") AS v FROM " + table.sql));
      CD4ML_RETURN_IF_ERROR(FindEdges(database, "cd4ml_numbers", column));
      CD4ML_RETURN_IF_ERROR(CountNumbers(database, "cd4ml_numbers", column));
    } else {
      CD4ML_RETURN_IF_ERROR(FindCategories(database, table, sql, column));
      CD4ML_RETURN_IF_ERROR(CountCategories(database, table, sql, column));
    }
  }
  CD4ML_RETURN_IF_ERROR(database.Execute("DROP TABLE IF EXISTS cd4ml_numbers"));
  return profile;
}

absl::StatusOr<std::map<std::string, ColumnProfile>> CountLikeReference(
    Database& database, const Table& table, const core::TableProfile& reference,
    const std::vector<std::string>& columns) {
  std::map<std::string, ColumnProfile> counted;
  for (const std::string& name : columns) {
    const auto found = reference.columns.find(name);
    const absl::StatusOr<std::string> sql = table.Column(name);
    if (found == reference.columns.end() || !sql.ok()) continue;
    ColumnProfile& column = counted[name] = core::CountLike(found->second, {});
    column.rows = table.rows;
    CD4ML_RETURN_IF_ERROR(column.numeric ? CountNumbers(database,
                                                        "(SELECT cd4ml_number(" + *sql +
                                                            ") AS v FROM " + table.sql + ")",
                                                        column)
                                         : CountCategories(database, table, *sql, column));
  }
  return counted;
}

}  // namespace cd4ml::table
