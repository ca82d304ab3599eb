// Histograms, frequent values and error metrics, computed by the engine over all rows.
#include "table/measure.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "cd4ml/base/status.h"
#include "table/judge.h"
#include "table/wide.h"

namespace cd4ml::table {
namespace {

using core::ColumnProfile;

std::string Join(const std::vector<std::string>& texts) {
  std::string joined;
  for (const std::string& text : texts) joined += (joined.empty() ? "" : ", ") + text;
  return joined;
}

// Counts the numbers of a column into `column.edges`, with their extent. `numbers` is a table or
// subquery with the one column v.
absl::Status CountNumbers(Database& database, const std::string& numbers, const ColumnProfile& reference,
                          ColumnProfile& column) {
  std::string bin = "CASE WHEN v IS NULL THEN -1";
  for (size_t i = 0; i < column.edges.size(); ++i) {
    bin += " WHEN v <= " + Literal(column.edges[i]) + " THEN " + std::to_string(i);
  }
  bin += " ELSE " + std::to_string(column.edges.size()) + " END";
  CD4ML_ASSIGN_OR_RETURN(
      const std::vector<Row> rows,
      database.Query("SELECT CAST(" + bin + " AS BIGINT), count(*), min(v), max(v), sum(v), count(*) FILTER (WHERE v < " +
                     Literal(reference.min) + "), count(*) FILTER (WHERE v > " + Literal(reference.max) + ") FROM " +
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
    if (!seen) column.min = NumberOf(row[2]);
    column.max = NumberOf(row[3]);  // The bins come in ascending order.
    sum += NumberOf(row[4]);
    column.below += Integer(row[5]);
    column.above += Integer(row[6]);
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

// Columns of numbers that are measured together: with thousands of columns, the statements themselves take the time.
constexpr size_t kBatch = 16;

struct Measured {
  std::string sql;           // The column.
  ColumnProfile* profile;
};

// Returns `, ` between what `make(i)` says of every column.
template <typename Make>
std::string ForEach(const std::vector<Measured>& columns, const Make& make) {
  std::vector<std::string> parts;
  for (size_t i = 0; i < columns.size(); ++i) parts.push_back(make("v" + std::to_string(i), i));
  return Join(parts);
}

// Sets what the order of the numbers says: quantiles, also as the borders of the bins.
absl::Status FindQuantiles(Database& database, const std::vector<Measured>& columns) {
  const std::string lists =
      ForEach(columns, [](const std::string& v, size_t) { return "unnest(" + QuantileList(v) + ")"; });
  CD4ML_ASSIGN_OR_RETURN(const std::vector<Row> rows, database.Query("SELECT " + lists + " FROM cd4ml_numbers"));
  for (size_t i = 0; i < rows.size(); ++i) {
    for (size_t c = 0; c < columns.size(); ++c) {
      if (rows[i][c]) AddQuantile(i, NumberOf(rows[i][c]), *columns[c].profile);   // Or there are no numbers.
    }
  }
  return absl::OkStatus();
}

// Sets the extent, the rows without a number, those of every bin, how many numbers differ, and the type.
absl::Status CountBatch(Database& database, const std::vector<Measured>& columns) {
  const std::string counts = ForEach(columns, [&](const std::string& v, size_t c) {
    std::string part = "count(" + v + "), min(" + v + "), max(" + v + "), count(DISTINCT " + v +
                       "), CAST(coalesce(bool_and(i" + std::to_string(c) + ") FILTER (WHERE " + v + " IS NOT NULL), FALSE) AS VARCHAR)";
    for (const double edge : columns[c].profile->edges)
      part += ", count(*) FILTER (WHERE " + v + " <= " + Literal(edge) + ")";
    return part;
  });
  CD4ML_ASSIGN_OR_RETURN(const std::vector<Row> rows, database.Query("SELECT " + counts + " FROM cd4ml_numbers"));
  size_t at = 0;
  for (const Measured& measured : columns) {
    ColumnProfile& column = *measured.profile;
    const int64_t numbers = Integer(rows[0][at]);
    column.nulls = column.rows - numbers;
    column.min = NumberOf(rows[0][at + 1]);
    column.max = NumberOf(rows[0][at + 2]);
    column.distinct = Integer(rows[0][at + 3]);
    column.type = *rows[0][at + 4] == "true" ? "BIGINT" : "DOUBLE";
    at += 5;
    int64_t below = 0;
    for (size_t i = 0; i < column.edges.size(); ++i, ++at) {
      const int64_t up_to = Integer(rows[0][at]);
      column.counts.push_back(up_to - below);
      below = up_to;
    }
    column.counts.push_back(numbers - below);
  }
  return absl::OkStatus();
}

// Sets mean and deviation.
absl::Status FindMoments(Database& database, const std::vector<Measured>& columns) {
  std::vector<double> units;
  for (const Measured& measured : columns) {
    const double size = std::max(std::abs(measured.profile->min), std::abs(measured.profile->max));
    units.push_back(size > kSquaredMax ? size : 1);
  }
  const auto in_units = [&units](const std::string& v, size_t c) { return units[c] == 1 ? v : v + " / " + Literal(units[c]); };
  const std::string averages =
      ForEach(columns, [&](const std::string& v, size_t c) { return "favg(" + in_units(v, c) + ")"; });
  CD4ML_ASSIGN_OR_RETURN(const std::vector<Row> means, database.Query("SELECT " + averages + " FROM cd4ml_numbers"));
  // From the differences to the mean: of numbers that lie close together far from zero, nothing else is exact.
  const std::string squares = ForEach(columns, [&](const std::string& v, size_t c) {
    return "fsum(power(" + in_units(v, c) + " - " + Literal(NumberOf(means[0][c])) + ", 2))";
  });
  CD4ML_ASSIGN_OR_RETURN(const std::vector<Row> sums, database.Query("SELECT " + squares + " FROM cd4ml_numbers"));
  for (size_t c = 0; c < columns.size(); ++c) {
    SetMoments(NumberOf(means[0][c]), NumberOf(sums[0][c]), units[c], *columns[c].profile);
  }
  return absl::OkStatus();
}

absl::Status ProfileNumbers(Database& database, const Table& table, const std::vector<Measured>& columns) {
  if (columns.empty()) return absl::OkStatus();
  // Reading text as numbers costs more than all the rest: it is done once.
  const std::string numbers = ForEach(columns, [&](const std::string& v, size_t c) {
    const std::string& sql = columns[c].sql;
    return table.Number(sql) + " AS " + v + ", " + table.IsInt(sql) + " AS i" + std::to_string(c);
  });
  CD4ML_RETURN_IF_ERROR(database.Execute("CREATE OR REPLACE TEMP TABLE cd4ml_numbers AS SELECT " + numbers + " FROM " + table.sql));
  CD4ML_RETURN_IF_ERROR(FindQuantiles(database, columns));
  CD4ML_RETURN_IF_ERROR(CountBatch(database, columns));
  CD4ML_RETURN_IF_ERROR(FindMoments(database, columns));
  return database.Execute("DROP TABLE cd4ml_numbers");
}

// Groups the texts of a column once: first a row about all of them, then the most frequent.
absl::Status ProfileTexts(Database& database, const std::string& from, const Measured& measured, ColumnKind kind) {
  CD4ML_ASSIGN_OR_RETURN(
      const std::vector<Row> rows,
      database.Query("WITH groups AS MATERIALIZED (SELECT " + measured.sql + " AS v, count(*) AS n FROM " + from +
                     " GROUP BY 1) SELECT v, n, empty FROM (SELECT CAST(coalesce(bool_or(contains(v, ':')), FALSE) AS VARCHAR) "
                     "AS v, count(v) AS n, CAST(coalesce(sum(n) FILTER (WHERE v IS NULL), 0) AS BIGINT) AS empty, 0 AS rank "
                     "FROM groups UNION ALL SELECT * FROM (SELECT v, n, 0, 1 FROM groups WHERE strlen(v) <= " +
                     std::to_string(kCategoryMax) + " ORDER BY n DESC, v LIMIT " + std::to_string(core::kTopValues) +
                     ")) ORDER BY rank"));
  ColumnProfile& column = *measured.profile;
  column.distinct = Integer(rows[0][1]);
  column.nulls = Integer(rows[0][2]);
  column.type = kind != ColumnKind::kTimestamp ? "VARCHAR" : *rows[0][0] == "true" ? "TIMESTAMP" : "DATE";
  column.other = column.rows - column.nulls;
  for (size_t i = 1; i < rows.size(); ++i) column.other -= column.top[*rows[i][0]] = Integer(rows[i][1]);
  return absl::OkStatus();
}

// Profiles the columns from `first` to before `end`.
absl::Status ProfileBatch(Database& database, const Table& table, size_t first, size_t end, core::TableProfile& profile) {
  const std::vector<std::string> names(table.columns.begin() + static_cast<ptrdiff_t>(first),
                                       table.columns.begin() + static_cast<ptrdiff_t>(end));
  CD4ML_ASSIGN_OR_RETURN(const auto kinds, FindKinds(database, table, names));
  std::vector<Measured> numbers;
  for (size_t i = first; i < end; ++i) {
    const ColumnKind kind = kinds.at(table.columns[i]);
    ColumnProfile& column = profile.columns[table.columns[i]];
    column.rows = table.rows;
    column.numeric = kind == ColumnKind::kNumber;
    const Measured measured{"c" + std::to_string(i), &column};
    if (column.numeric) {
      numbers.push_back(measured);
    } else {
      CD4ML_RETURN_IF_ERROR(ProfileTexts(database, table.sql, measured, kind));
    }
  }
  return ProfileNumbers(database, table, numbers);
}

}  // namespace

double NumberOf(const std::optional<std::string>& text) {
  double number = 0;
  if (text) std::from_chars(text->data(), text->data() + text->size(), number);
  return number;
}

std::string QuantileList(const std::string& v) {
  std::vector<std::string> borders, shares;
  for (int i = 1; i < core::kProfileBins; ++i) borders.push_back(Literal(static_cast<double>(i) / core::kProfileBins));
  for (const double share : core::kProfileQuantiles) shares.push_back(Literal(share));
  // Of halves, whose differences are always numbers.
  return "list_concat(quantile_disc(" + v + ", [" + Join(borders) + "]), quantile_cont(" + v + " / 2, [" + Join(shares) + "]))";
}

void AddQuantile(size_t i, double value, ColumnProfile& column) {
  if (i + 1 >= core::kProfileBins) {
    column.quantiles.push_back(2 * value);
  } else if (column.edges.empty() || value > column.edges.back()) {
    column.edges.push_back(value);
  }
}

void SetMoments(double mean, double squares, double unit, ColumnProfile& column) {
  const auto numbers = static_cast<double>(column.rows - column.nulls);
  column.mean = std::clamp(mean * unit, column.min, column.max);
  const double deviation = numbers < 2 ? 0 : std::sqrt(squares / (numbers - 1));
  column.std = std::min(deviation * unit, std::numeric_limits<double>::max());
}

absl::StatusOr<core::TableProfile> MeasureProfile(Database& database, const Table& table) {
  const SingleThread single(database);
  CD4ML_RETURN_IF_ERROR(single.status());
  core::TableProfile profile;
  profile.rows = table.rows;
  if (table.columns.size() > kWideColumns && table.rows <= kWideRows) {
    CD4ML_RETURN_IF_ERROR(ProfileWide(database, table, profile));
    return profile;
  }
  for (size_t first = 0; first < table.columns.size(); first += kBatch) {
    const size_t end = std::min(first + kBatch, table.columns.size());
    Table part = table;   // The same, or a copy of these columns alone: a statement about all takes longer, the more there are.
    if (table.columns.size() > kWideColumns) {
      part.sql = "cd4ml_narrow";
      std::vector<std::string> copied = {"line"};
      for (size_t i = first; i < end; ++i) {
        copied.push_back("c" + std::to_string(i));
        if (i < table.natives.size() && table.natives[i] != Native::kText) copied.push_back("n" + std::to_string(i));
      }
      CD4ML_RETURN_IF_ERROR(database.Execute("CREATE OR REPLACE TEMP TABLE cd4ml_narrow AS SELECT " + Join(copied) +
                                             " FROM " + table.sql));
    }
    CD4ML_RETURN_IF_ERROR(ProfileBatch(database, part, first, end, profile));
  }
  CD4ML_RETURN_IF_ERROR(database.Execute("DROP TABLE IF EXISTS cd4ml_narrow"));
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
                                                        found->second, column)
                                         : CountCategories(database, table, *sql, column));
  }
  return counted;
}

}  // namespace cd4ml::table
