// Columns by name, and what their text is.
#include "table/table.h"

#include <algorithm>

#include "cd4ml/base/status.h"
#include "cd4ml/base/text.h"

namespace cd4ml::table {
namespace {

// A column is read as numbers although some values are none: those count as empty, and rules see
// them.
constexpr double kKindShare = 0.9;
constexpr int64_t kKindRows = 10'000;
constexpr size_t kKindColumns = 4;   // Looked at by one statement.

// Says what the values of `columns` are, of a sample of the rows.
absl::Status AddKinds(Database& database, const Table& table, const std::vector<std::string>& columns,
                      std::map<std::string, ColumnKind>& kinds) {
  std::string counts;
  for (const std::string& column : columns) {
    CD4ML_ASSIGN_OR_RETURN(const std::string sql, table.Column(column));
    counts += (counts.empty() ? "" : ", ") + ("count(" + sql + "), count(" + table.Number(sql) + "), count(" + table.Time(sql) + "), " + CountNans(sql));
  }
  CD4ML_ASSIGN_OR_RETURN(const std::vector<Row> rows,
                         database.Query("SELECT " + counts + " FROM " + table.sql +
                                        " WHERE " + SampleCondition(table)));
  for (size_t i = 0; i < columns.size(); ++i) {
    const auto count = [&](size_t k) { return std::stoll(*rows[0][4 * i + k]); };
    kinds[columns[i]] = KindOfCounts(count(0), count(1), count(2), count(3));
  }
  return absl::OkStatus();
}

}  // namespace

ColumnKind KindOfType(core::ColumnType type) {
  switch (type) {
    case core::ColumnType::kInt:
    case core::ColumnType::kFloat:
      return ColumnKind::kNumber;
    case core::ColumnType::kDate:
    case core::ColumnType::kTimestamp:
      return ColumnKind::kTimestamp;
    case core::ColumnType::kText:
    case core::ColumnType::kBool:
      return ColumnKind::kText;
  }
  return ColumnKind::kText;
}

std::string CountNans(const std::string& column) { return "count(*) FILTER (WHERE lower(" + column + ") = 'nan')"; }

ColumnKind KindOfCounts(int64_t values, int64_t numbers, int64_t times, int64_t nans) {
  // NaN is how numbers say that there is none, so it says nothing against them.
  const double enough = std::max(1.0, kKindShare * static_cast<double>(values - nans));
  if (static_cast<double>(numbers) >= enough || (values == nans && nans > 0)) return ColumnKind::kNumber;
  return static_cast<double>(times) >= enough ? ColumnKind::kTimestamp : ColumnKind::kText;
}

std::string SampleCondition(const Table& table) {
  // Rows may come in a period, which must not be that of the sample.
  return "hash(line) % " + std::to_string(1 + table.rows / kKindRows) + " = 0";
}

absl::StatusOr<std::string> Table::Column(const std::string& column) const {
  const auto found = std::find(columns.begin(), columns.end(), column);
  if (found != columns.end()) return "c" + std::to_string(found - columns.begin());
  std::string known;
  for (size_t i = 0; i < columns.size() && i < 20; ++i)
    known += (i == 0 ? "; there are: " : ", ") + columns[i];
  const std::string near = DidYouMean(column, columns);
  return absl::NotFoundError("\"" + name + "\" has no column \"" + column + "\"" +
                             (near.empty() ? known : near) + hint);
}

Native Table::NativeOf(const std::string& column) const {
  const size_t at = std::stoul(column.substr(1));   // "c4"
  return at < natives.size() ? natives[at] : Native::kText;
}

namespace {

std::string NativeName(const std::string& column) { return "n" + column.substr(1); }

}  // namespace

std::string Table::Number(const std::string& column) const {
  const std::string native = NativeName(column);
  switch (NativeOf(column)) {
    case Native::kInteger: return "CAST(" + native + " AS DOUBLE)";
    case Native::kNumber: return "CASE WHEN isfinite(" + native + ") THEN " + native + " END";
    case Native::kTime: return "CAST(NULL AS DOUBLE)";
    case Native::kRead: return native;
    case Native::kText: break;
  }
  return "cd4ml_number(" + column + ")";
}

std::string Table::IsInt(const std::string& column) const {
  return NativeOf(column) == Native::kInteger ? NativeName(column) + " IS NOT NULL" : "cd4ml_is_int(" + column + ")";
}

std::string Table::IsNumber(const std::string& column) const {
  return NativeOf(column) == Native::kText ? "cd4ml_is_number(" + column + ")" : Number(column) + " IS NOT NULL";
}

std::string Table::Within(const std::string& column, const std::string& low, const std::string& high) const {
  if (NativeOf(column) == Native::kText) return "cd4ml_within(" + column + ", " + low + ", " + high + ")";
  return Number(column) + " BETWEEN " + low + " AND " + high;
}

std::string Table::Time(const std::string& column) const {
  if (NativeOf(column) != Native::kTime) return "cd4ml_timestamp(" + column + ")";
  return "CASE WHEN isfinite(" + NativeName(column) + ") THEN " + NativeName(column) + " END";
}

std::string Table::IsTime(const std::string& column) const {
  if (NativeOf(column) == Native::kTime) return "isfinite(" + NativeName(column) + ")";
  return "cd4ml_timestamp(" + column + ") IS NOT NULL";
}

std::string Table::Key(const std::string& column) const {
  const Native native = NativeOf(column);
  // Of 0.0 and -0.0 the texts differ, and the numbers do not.
  return native == Native::kInteger || native == Native::kTime ? NativeName(column) : column;
}

std::string Table::Value(const std::string& column) const {
  const Native native = NativeOf(column);
  return native == Native::kText || native == Native::kRead ? column : NativeName(column);
}

absl::StatusOr<std::map<std::string, ColumnKind>> FindKinds(
    Database& database, const Table& table, const std::vector<std::string>& columns) {
  std::map<std::string, ColumnKind> kinds;
  std::vector<std::string> unknown;
  for (const std::string& column : columns) {
    CD4ML_RETURN_IF_ERROR(table.Column(column).status());
    if (const auto stated = table.stated.find(column); stated != table.stated.end()) {
      kinds[column] = KindOfType(stated->second);
    } else if (const auto known = table.kinds.find(column); known != table.kinds.end()) {
      kinds[column] = known->second;
    } else {
      unknown.push_back(column);
    }
  }
  // A statement about thousands of columns takes a time that grows with their square.
  for (size_t first = 0; first < unknown.size(); first += kKindColumns) {
    const size_t end = std::min(first + kKindColumns, unknown.size());
    CD4ML_RETURN_IF_ERROR(AddKinds(database, table, {unknown.begin() + static_cast<ptrdiff_t>(first),
                                                     unknown.begin() + static_cast<ptrdiff_t>(end)}, table.kinds));
    for (size_t i = first; i < end; ++i) kinds[unknown[i]] = table.kinds.at(unknown[i]);
  }
  return kinds;
}

// DuckDB also reads "1_000", "0x1F" and, as an integer, "1.5": no rule means those. NaN is greater
// than every number. An integer nearly always reads as it would be written, which is much quicker
// to see than that it matches a pattern. A TIMESTAMP forgets the offset from UTC that its text has;
// only what has one is read as a TIMESTAMPTZ, which is slower and takes the zone of one row for that
// of the next. Up to the ninth character, "-" is part of the date.
absl::Status DefineMacros(Database& database) {
  for (const char* macro :
       {"cd4ml_within(x, low, high) AS TRY_CAST(x AS DOUBLE) BETWEEN low AND high AND NOT "
        "contains(x, '_')",
        "cd4ml_is_number(x) AS cd4ml_within(x, '-1.7976931348623157e308'::DOUBLE, "
        "'1.7976931348623157e308'::DOUBLE)",
        "cd4ml_number(x) AS CASE WHEN cd4ml_is_number(x) THEN TRY_CAST(x AS DOUBLE) END",
        "cd4ml_is_int(x) AS CASE WHEN CAST(TRY_CAST(x AS BIGINT) AS VARCHAR) = x THEN TRUE WHEN "
        "TRY_CAST(x AS BIGINT) IS NULL THEN FALSE ELSE regexp_full_match(x, ' *[-+]?[0-9]+ *') END",
        "cd4ml_finite(v) AS CASE WHEN isfinite(v) THEN v END",
        "cd4ml_timestamp(x) AS CASE WHEN NOT contains(x, '+') AND NOT contains(substr(x, 9), '-') THEN "
        "cd4ml_finite(TRY_CAST(x AS TIMESTAMP)) WHEN regexp_full_match(x, "
        "'.*:[0-9.]+[-+](0[0-9]|1[0-8])(:?[0-5][0-9]){0,2} *') THEN "
        "make_timestamp(epoch_us(TRY_CAST(x AS TIMESTAMPTZ))) END"}) {
    CD4ML_RETURN_IF_ERROR(database.Execute(std::string("CREATE MACRO ") + macro));
  }
  return absl::OkStatus();
}

std::string Clip(std::string_view text, size_t bytes) {
  if (text.size() <= bytes) return std::string(text);
  while (bytes > 0 && (static_cast<uint8_t>(text[bytes]) & 0xC0) == 0x80) --bytes;
  return std::string(text.substr(0, bytes)) + "…";
}

}  // namespace cd4ml::table
