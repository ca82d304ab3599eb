// Numbers about whole tables: profiles, counts like a baseline's, and regression metrics.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "cd4ml/core/gate.h"
#include "cd4ml/core/profile.h"
#include "table/duckdb.h"
#include "table/table.h"

namespace cd4ml::table {

absl::StatusOr<core::TableProfile> MeasureProfile(Database& database, const Table& table);

// Counts those of `columns` that both sides have into the bins or categories of `reference`.
absl::StatusOr<std::map<std::string, core::ColumnProfile>> CountLikeReference(
    Database& database, const Table& table, const core::TableProfile& reference,
    const std::vector<std::string>& columns);

absl::StatusOr<core::MetricSet> MeasureRegression(Database& database, const Table& table,
                                                  const core::PredictionsSpec& spec);

}  // namespace cd4ml::table
