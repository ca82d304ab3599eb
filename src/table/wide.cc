// A wide table is made a long one: a row for each cell, which is grouped by the number of its column.
#include "table/wide.h"

#include <algorithm>

#include "cd4ml/base/status.h"
#include "table/judge.h"
#include "table/measure.h"

namespace cd4ml::table {
namespace {

using core::ColumnProfile;

// Cells that are looked at together; their numbers are kept in memory to be sorted.
constexpr int64_t kCellsMax = 2'000'000;

// Some neighbouring columns of the table, whose cells are in cd4ml_cells (c, line, x).
class CellProfiler {
 public:
  CellProfiler(Database& database, const Table& table, size_t first, size_t end, core::TableProfile& profile)
      : database_(database), table_(table) {
    for (size_t i = first; i < end; ++i) columns_[static_cast<int64_t>(i)] = &profile.columns[table.columns[i]];
  }

  absl::Status Profile() {
    CD4ML_RETURN_IF_ERROR(MakeCells());
    CD4ML_RETURN_IF_ERROR(TellKinds());
    CD4ML_RETURN_IF_ERROR(ProfileCellTexts());
    if (!numeric_.empty()) CD4ML_RETURN_IF_ERROR(ProfileCellNumbers());
    return database_.Execute("DROP TABLE cd4ml_cells");
  }

 private:
  ColumnProfile& ColumnOf(const Row& row) { return *columns_.at(Integer(row[0])); }
  absl::Status Make(const std::string& name, const std::string& select) {
    return database_.Execute("CREATE OR REPLACE TEMP TABLE " + name + " AS " + select);
  }

  absl::Status MakeCells() {
    std::string cells, numbers;
    for (const auto& [c, column] : columns_) {
      const char* comma = cells.empty() ? "" : ", ";
      cells += comma + ("c" + std::to_string(c));
      numbers += comma + std::to_string(c);
    }
    return Make("cd4ml_cells", "SELECT line, unnest([" + numbers + "]::BIGINT[]) AS c, unnest([" + cells + "]) AS x FROM " + table_.sql);
  }

  absl::Status TellKinds() {
    CD4ML_ASSIGN_OR_RETURN(const std::vector<Row> rows,
                           database_.Query("SELECT c, count(x), count(cd4ml_number(x)), count(cd4ml_timestamp(x)), " +
                                           CountNans("x") + " FROM cd4ml_cells WHERE " + SampleCondition(table_) + " GROUP BY 1 ORDER BY 1"));
    std::map<int64_t, ColumnKind> found;
    for (const Row& row : rows)
      found[Integer(row[0])] = KindOfCounts(Integer(row[1]), Integer(row[2]), Integer(row[3]), Integer(row[4]));
    for (const auto& [c, column] : columns_) {
      const auto stated = table_.stated.find(table_.columns[static_cast<size_t>(c)]);
      const ColumnKind kind = stated != table_.stated.end() ? KindOfType(stated->second) : found[c];
      column->rows = table_.rows;
      column->numeric = kind == ColumnKind::kNumber;
      if (column->numeric) numeric_ += (numeric_.empty() ? "" : ", ") + std::to_string(c);
      column->type = kind == ColumnKind::kTimestamp ? "DATE" : "VARCHAR";   // Of texts.
      column->nulls = table_.rows;
    }
    return absl::OkStatus();
  }

  absl::Status ProfileCellTexts() {
    const std::string texts = numeric_.empty() ? "" : " WHERE c NOT IN (" + numeric_ + ")";
    CD4ML_RETURN_IF_ERROR(Make("cd4ml_texts", "SELECT c, x AS v, count(*) AS n FROM cd4ml_cells" + texts + " GROUP BY 1, 2"));
    CD4ML_ASSIGN_OR_RETURN(const std::vector<Row> columns,
                           database_.Query("SELECT c, count(v), CAST(coalesce(sum(n) FILTER (WHERE v IS NULL), 0) AS BIGINT), "
                                           "CAST(coalesce(bool_or(contains(v, ':')), FALSE) AS VARCHAR) FROM cd4ml_texts "
                                           "GROUP BY 1 ORDER BY 1"));
    for (const Row& row : columns) {
      ColumnProfile& column = ColumnOf(row);
      column.distinct = Integer(row[1]);
      column.nulls = Integer(row[2]);
      column.other = column.rows - column.nulls;
      if (column.type == "DATE" && *row[3] == "true") column.type = "TIMESTAMP";
    }
    CD4ML_ASSIGN_OR_RETURN(const std::vector<Row> top,
                           database_.Query("SELECT c, v, n FROM (SELECT *, row_number() OVER (PARTITION BY c ORDER BY n DESC, v) "
                                           "AS rank FROM cd4ml_texts WHERE strlen(v) <= " + std::to_string(kCategoryMax) +
                                           ") WHERE rank <= " + std::to_string(core::kTopValues) + " ORDER BY c, rank"));
    for (const Row& row : top) ColumnOf(row).other -= ColumnOf(row).top[*row[1]] = Integer(row[2]);
    return database_.Execute("DROP TABLE cd4ml_texts");
  }

  absl::Status ProfileCellNumbers() {
    CD4ML_RETURN_IF_ERROR(Make("cd4ml_numbers", "SELECT c, cd4ml_number(x) AS v, cd4ml_is_int(x) AS i FROM cd4ml_cells "
                                                "WHERE c IN (" + numeric_ + ")"));
    CD4ML_RETURN_IF_ERROR(FindCellExtents());
    CD4ML_RETURN_IF_ERROR(FindCellQuantiles());
    CD4ML_RETURN_IF_ERROR(FindCellMoments());
    return database_.Execute("DROP TABLE cd4ml_numbers");
  }

  absl::Status FindCellExtents() {
    CD4ML_ASSIGN_OR_RETURN(const std::vector<Row> rows,
                           database_.Query("SELECT c, count(v), min(v), max(v), count(DISTINCT v), CAST(coalesce(bool_and(i) FILTER "
                                           "(WHERE v IS NOT NULL), FALSE) AS VARCHAR) FROM cd4ml_numbers GROUP BY 1 ORDER BY 1"));
    for (const Row& row : rows) {
      ColumnProfile& column = ColumnOf(row);
      column.nulls = column.rows - Integer(row[1]);
      column.min = NumberOf(row[2]);
      column.max = NumberOf(row[3]);
      column.distinct = Integer(row[4]);
      column.type = *row[5] == "true" ? "BIGINT" : "DOUBLE";
    }
    return absl::OkStatus();
  }

  // The bins end at their borders, each of which is a number of the column, so that none is empty but the last.
  absl::Status FindCellQuantiles() {
    CD4ML_RETURN_IF_ERROR(Make("cd4ml_quantiles", "SELECT c, unnest(range(len(q))) AS k, unnest(q) AS v FROM (SELECT c, " +
                                                      QuantileList("v") + " AS q FROM cd4ml_numbers WHERE v IS NOT NULL GROUP BY 1)"));
    CD4ML_ASSIGN_OR_RETURN(const std::vector<Row> quantiles, database_.Query("SELECT c, k, v FROM cd4ml_quantiles ORDER BY c, k"));
    for (const Row& row : quantiles) AddQuantile(static_cast<size_t>(Integer(row[1])), NumberOf(row[2]), ColumnOf(row));
    CD4ML_ASSIGN_OR_RETURN(const std::vector<Row> bins,
                           database_.Query("SELECT n.c, e.v, count(*) FROM (SELECT c, v FROM cd4ml_numbers WHERE v IS NOT NULL) n "
                                           "ASOF JOIN (SELECT DISTINCT c, v FROM cd4ml_quantiles WHERE k < " +
                                           std::to_string(core::kProfileBins - 1) +
                                           ") e ON n.c = e.c AND n.v <= e.v GROUP BY 1, 2 ORDER BY 1, 2"));
    for (const Row& row : bins) ColumnOf(row).counts.push_back(Integer(row[2]));
    for (const auto& [c, column] : columns_) {
      if (!column->numeric) continue;
      int64_t above = column->rows - column->nulls;
      for (const int64_t count : column->counts) above -= count;
      column->counts.push_back(above);
    }
    return database_.Execute("DROP TABLE cd4ml_quantiles");
  }

  absl::Status FindCellMoments() {
    CD4ML_RETURN_IF_ERROR(Make("cd4ml_means", "SELECT n.c, unit, favg(v / unit) AS mean FROM cd4ml_numbers n JOIN (SELECT c, CASE WHEN "
                                              "max(abs(v)) > " + Literal(kSquaredMax) + " THEN max(abs(v)) ELSE 1 END AS unit FROM "
                                              "cd4ml_numbers GROUP BY 1) u ON n.c = u.c WHERE v IS NOT NULL GROUP BY 1, 2"));
    CD4ML_ASSIGN_OR_RETURN(const std::vector<Row> rows,
                           database_.Query("SELECT n.c, unit, mean, fsum(power(v / unit - mean, 2)) FROM cd4ml_numbers n JOIN "
                                           "cd4ml_means m ON n.c = m.c WHERE v IS NOT NULL GROUP BY 1, 2, 3 ORDER BY 1"));
    for (const Row& row : rows) SetMoments(NumberOf(row[2]), NumberOf(row[3]), NumberOf(row[1]), ColumnOf(row));
    return database_.Execute("DROP TABLE cd4ml_means");
  }

  Database& database_;
  const Table& table_;
  std::map<int64_t, ColumnProfile*> columns_;   // By the number of the column in the table.
  std::string numeric_;                         // "0, 5, 6"
};

}  // namespace

absl::Status ProfileWide(Database& database, const Table& table, core::TableProfile& profile) {
  const size_t batch = static_cast<size_t>(kCellsMax / std::max<int64_t>(1, table.rows));
  for (size_t first = 0; first < table.columns.size(); first += batch) {
    const size_t end = std::min(first + batch, table.columns.size());
    CD4ML_RETURN_IF_ERROR(CellProfiler(database, table, first, end, profile).Profile());
  }
  return absl::OkStatus();
}

}  // namespace cd4ml::table
