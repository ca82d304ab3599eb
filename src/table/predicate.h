// Checks that the text of an `sql:` rule is one harmless expression over columns.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "table/duckdb.h"

namespace cd4ml::table {

struct Predicate {
  std::vector<std::string> columns;   // That it names, each once.
  std::string sql;                    // The expression, in which NaN and infinity are NULL.
};

// Refused are statements, subqueries, aggregates, and every function that is not on a list of pure
// ones: nothing in a predicate can reach a file, a setting, or another table.
absl::StatusOr<Predicate> CheckPredicate(Database& database, const std::string& predicate);

}  // namespace cd4ml::table
