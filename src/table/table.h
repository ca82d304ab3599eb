// A loaded table: which SQL column holds which column of the file.
//
// In SQL it is (file, line, bad, c0, c1, …), all values as the text that stood in the file, NULL
// where it was empty. User's names never become SQL. A row that does not fit has NULL everywhere
// but `bad`, which says why, with its raw text.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cd4ml/core/rule.h"
#include "table/duckdb.h"

namespace cd4ml::table {

constexpr size_t kColumnsMax = 4096;
constexpr size_t kHiddenColumns = 3;

// What a column is in a file that has types, as far as its text need not be made to read it as that. `kRead`: it is text, which
// is read as numbers once for all rules (scan.h).
enum class Native { kText, kInteger, kNumber, kTime, kRead };

// How a column is read where a number or a time is needed.
enum class ColumnKind { kText, kNumber, kTimestamp };

struct Table {
  std::string name;  // As rules call it.
  std::string sql;   // As SQL calls it.
  std::vector<std::string> columns;
  std::map<std::string, core::ColumnType> stated;  // `columns: {price: text}`.
  std::vector<std::string> files;
  std::string row_word = "line";  // What `line` counts: "line" or "row".
  int64_t rows = 0;
  int64_t bad_rows = 0;
  std::string hint;      // Added where a column is not there.
  bool is_view = false;  // Of files that are read anew by every statement.

  // What columns were found to be, so that it is found once. The table does not change.
  mutable std::map<std::string, ColumnKind> kinds;

  // By column, empty where all are text; a column c4 that is no text has its value as n4 too.
  std::vector<Native> natives;

  // Each returns an SQL expression over a column, given by its SQL name: whether it is written as such, whether it is a
  // number between the bounds (SQL too), the number or time or else NULL, what differs exactly where the text does, and what
  // is NULL exactly where the text is.
  std::string IsInt(const std::string& sql) const;
  std::string IsNumber(const std::string& sql) const;
  std::string Within(const std::string& sql, const std::string& low, const std::string& high) const;
  std::string Number(const std::string& sql) const;
  std::string Time(const std::string& sql) const;
  std::string IsTime(const std::string& sql) const;   // TRUE or not.
  std::string Key(const std::string& sql) const;
  std::string Value(const std::string& sql) const;
  Native NativeOf(const std::string& sql) const;

  // Returns the statement that takes it away.
  std::string Drop() const { return std::string(is_view ? "DROP VIEW " : "DROP TABLE ") + sql; }

  // Returns the SQL name of a column.
  absl::StatusOr<std::string> Column(const std::string& column) const;
};

ColumnKind KindOfType(core::ColumnType type);
// Returns what a column is of which so many of `values` are numbers, times and "nan".
ColumnKind KindOfCounts(int64_t values, int64_t numbers, int64_t times, int64_t nans);
// Returns the SQL that counts the last.
std::string CountNans(const std::string& column);
// Returns the SQL condition of the rows that are counted for that.
std::string SampleCondition(const Table& table);

// Returns the stated type, otherwise what at least nine in ten values are, of a sample of about
// 10,000 rows.
absl::StatusOr<std::map<std::string, ColumnKind>> FindKinds(
    Database& database, const Table& table, const std::vector<std::string>& columns);

// Defines the SQL macros cd4ml_is_int(x), cd4ml_is_number(x), cd4ml_within(x, low, high),
// cd4ml_number(x) and cd4ml_timestamp(x), which are NULL where the text is none, the time in UTC;
// and cd4ml_finite(v), which is NULL where v is no finite number or time.
absl::Status DefineMacros(Database& database);

// Returns at most `bytes` of `text`, with "…" where something was cut off; never cuts a character.
std::string Clip(std::string_view text, size_t bytes);

}  // namespace cd4ml::table
