// Profiles of tables with many columns and few rows.
#pragma once

#include <cstddef>

#include "cd4ml/core/profile.h"
#include "table/duckdb.h"
#include "table/table.h"

namespace cd4ml::table {

// A statement about a column costs milliseconds before it looks at a row. From so many columns on that is most of the
// time, unless there are more rows than this.
constexpr size_t kWideColumns = 256;
constexpr int64_t kWideRows = 20'000;

// Adds all columns to `profile`: what column by column would give, with a number of statements that does not grow with
// that of the columns. REQUIRES: a SingleThread lives.
absl::Status ProfileWide(Database& database, const Table& table, core::TableProfile& profile);

}  // namespace cd4ml::table
