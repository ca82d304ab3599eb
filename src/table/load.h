// Reads the files of a table into the database.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "cd4ml/ports/table_engine.h"
#include "table/duckdb.h"
#include "table/table.h"

namespace cd4ml::table {

// Creates the SQL table `sql` and fills it. On error the table may exist; nobody knows its name.
absl::StatusOr<Table> LoadTable(Database& database, const TableSource& source, std::string sql);

}  // namespace cd4ml::table
