// Reads the files of a table into the database.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "cd4ml/ports/table_engine.h"
#include "table/duckdb.h"
#include "table/table.h"

namespace cd4ml::table {

// Creates the SQL table `sql` and fills it. On error the table may exist; nobody knows its name.
absl::StatusOr<Table> LoadTable(Database& database, const TableSource& source, std::string sql);

// Returns the SQL literal that means the one file at `path`: DuckDB takes paths for patterns, and a class of one character is
// that character.
std::string ParquetPattern(std::string_view path);

}  // namespace cd4ml::table
