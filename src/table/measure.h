// Numbers about whole tables: profiles, and counts like a baseline's.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "cd4ml/core/profile.h"
#include "table/duckdb.h"
#include "table/table.h"

namespace cd4ml::table {

// Longer texts are no categories; they count as "other".
constexpr int kCategoryMax = 200;
// What is larger is measured in a larger unit, so that it can be squared.
constexpr double kSquaredMax = 1e150;

// Not std::stod, which throws for the smallest numbers that there are.
double NumberOf(const std::optional<std::string>& text);
// Returns the SQL aggregate of the list of quantiles of `v`: of the borders of bins, then of half of kProfileQuantiles.
std::string QuantileList(const std::string& v);
// Takes the `i`-th of that list. Equal borders are one.
void AddQuantile(size_t i, double value, core::ColumnProfile& column);
// Takes the mean, and the sum of the squares of what numbers differ from it by, both in `unit`s. REQUIRES: extent and counts
// are known.
void SetMoments(double mean, double squares, double unit, core::ColumnProfile& column);

absl::StatusOr<core::TableProfile> MeasureProfile(Database& database, const Table& table);

// Counts those of `columns` that both sides have into the bins or categories of `reference`.
absl::StatusOr<std::map<std::string, core::ColumnProfile>> CountLikeReference(
    Database& database, const Table& table, const core::TableProfile& reference,
    const std::vector<std::string>& columns);

}  // namespace cd4ml::table
