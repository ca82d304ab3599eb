// Sets two profiles side by side. Pure: who counted, and when, does not matter here.
#include "cd4ml/core/profile_diff.h"

#include <algorithm>

#include "cd4ml/core/drift.h"

namespace cd4ml::core {
namespace {

constexpr size_t kMedian = 3;   // In kProfileQuantiles.
static_assert(kProfileQuantiles[kMedian] == 0.5);

std::optional<double> NullShare(const ColumnProfile& column) {
  if (column.rows == 0) return std::nullopt;
  return static_cast<double>(column.nulls) / static_cast<double>(column.rows);
}

bool HasNumbers(const ColumnProfile& column) { return column.numeric && column.rows > column.nulls; }

std::optional<double> Median(const ColumnProfile& column) {
  if (column.quantiles.size() <= kMedian) return std::nullopt;
  return column.quantiles[kMedian];
}

ColumnDifference OnlyOne(const std::string& name, const ColumnProfile& column, bool is_added) {
  ColumnDifference difference{.name = name, .change = is_added ? ColumnChange::kAdded : ColumnChange::kRemoved};
  (is_added ? difference.type_after : difference.type_before) = column.type;
  (is_added ? difference.nulls_after : difference.nulls_before) = NullShare(column);
  return difference;
}

ColumnDifference Both(const std::string& name, const ColumnProfile& before, const ColumnProfile& after,
                      const std::map<std::string, ColumnProfile>& counted) {
  ColumnDifference difference{.name = name, .type_before = before.type, .type_after = after.type};
  if (before.type != after.type || before.numeric != after.numeric) difference.change = ColumnChange::kType;
  difference.nulls_before = NullShare(before);
  difference.nulls_after = NullShare(after);
  if (HasNumbers(before) && HasNumbers(after)) {
    difference.mean_before = before.mean;
    difference.mean_after = after.mean;
    difference.median_before = Median(before);
    difference.median_after = Median(after);
  }
  if (const auto found = counted.find(name); found != counted.end() && before.rows > 0 && found->second.rows > 0) {
    difference.psi = PopulationStabilityIndex(before, found->second);
    difference.js = JensenShannonDistance(before, found->second);
  }
  return difference;
}

void Put(Value::Map& map, const char* key, const std::optional<double>& number) {
  if (number) map[key] = *number;
}

Value ToValue(const ColumnDifference& column) {
  Value::Map map = {{"name", column.name}, {"change", std::string(ToText(column.change))}};
  if (!column.type_before.empty()) map["type_before"] = column.type_before;
  if (!column.type_after.empty()) map["type_after"] = column.type_after;
  Put(map, "nulls_before", column.nulls_before);
  Put(map, "nulls_after", column.nulls_after);
  Put(map, "mean_before", column.mean_before);
  Put(map, "mean_after", column.mean_after);
  Put(map, "median_before", column.median_before);
  Put(map, "median_after", column.median_after);
  Put(map, "psi", column.psi);
  Put(map, "js", column.js);
  return Value(std::move(map));
}

}  // namespace

std::string_view ToText(ColumnChange change) {
  switch (change) {
    case ColumnChange::kSame: return "same";
    case ColumnChange::kType: return "type";
    case ColumnChange::kAdded: return "added";
    case ColumnChange::kRemoved: return "removed";
  }
  return "same";
}

TableDifference DiffProfiles(const TableProfile& before, const TableProfile& after,
                             const std::map<std::string, ColumnProfile>& counted) {
  TableDifference difference{.rows_before = before.rows, .rows_after = after.rows};
  for (const auto& [name, column] : before.columns) {
    const auto found = after.columns.find(name);
    difference.columns.push_back(found == after.columns.end() ? OnlyOne(name, column, /*is_added=*/false)
                                                              : Both(name, column, found->second, counted));
  }
  for (const auto& [name, column] : after.columns) {
    if (!before.columns.contains(name)) difference.columns.push_back(OnlyOne(name, column, /*is_added=*/true));
  }
  std::stable_sort(difference.columns.begin(), difference.columns.end(), [](const auto& a, const auto& b) {
    if (a.change != b.change) return a.change > b.change;
    return a.psi.value_or(-1) > b.psi.value_or(-1);
  });
  return difference;
}

Value ToValue(const TableDifference& difference) {
  Value::List columns;
  for (const ColumnDifference& column : difference.columns) columns.push_back(ToValue(column));
  return Value(Value::Map{{"rows_before", difference.rows_before},
                          {"rows_after", difference.rows_after},
                          {"columns", std::move(columns)}});
}

}  // namespace cd4ml::core
