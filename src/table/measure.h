// Numbers about whole tables: profiles, and counts like a baseline's.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "cd4ml/core/profile.h"
#include "table/duckdb.h"
#include "table/table.h"

namespace cd4ml::table {

absl::StatusOr<core::TableProfile> MeasureProfile(Database& database, const Table& table);

// Counts those of `columns` that both sides have into the bins or categories of `reference`.
absl::StatusOr<std::map<std::string, core::ColumnProfile>> CountLikeReference(
    Database& database, const Table& table, const core::TableProfile& reference,
    const std::vector<std::string>& columns);

}  // namespace cd4ml::table
