// What differs between the profiles of two tables, column by column.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cd4ml/base/value.h"
#include "cd4ml/core/profile.h"

namespace cd4ml::core {

enum class ColumnChange { kSame, kType, kAdded, kRemoved };
std::string_view ToText(ColumnChange change);   // "added"

struct ColumnDifference {
  std::string name;
  ColumnChange change = ColumnChange::kSame;
  std::string type_before, type_after;               // Empty on the side that has no such column.
  std::optional<double> nulls_before, nulls_after;   // Shares of the rows; absent where there are none.
  // Numbers on both sides:
  std::optional<double> mean_before, mean_after, median_before, median_after;
  std::optional<double> psi, js;                     // See core/profile.h, core/drift.h; absent when a side has no rows.
};

struct TableDifference {
  int64_t rows_before = 0, rows_after = 0;
  // Columns that are not the same first, then by how far they have moved.
  std::vector<ColumnDifference> columns;
};

// Compares two profiles. `counted` holds columns of the second table that were counted into the bins and categories of
// `before`; what is not in it gets no index.
TableDifference DiffProfiles(const TableProfile& before, const TableProfile& after,
                             const std::map<std::string, ColumnProfile>& counted);

Value ToValue(const TableDifference& difference);

}  // namespace cd4ml::core
