// Measures and judges the data rules with SQL.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "cd4ml/ports/table_engine.h"
#include "table/duckdb.h"
#include "table/table.h"

namespace cd4ml::table {

using Tables = std::map<std::string, Table>;

// Returns the table that rules call `name`.
absl::StatusOr<const Table*> FindTable(const Tables& tables, const std::string& name);

core::RuleResult JudgeRule(Database& database, const Tables& tables, const core::Rule& rule,
                           const std::map<std::string, Baseline>& baselines);

absl::StatusOr<std::vector<std::string>> FindSegments(Database& database, const Tables& tables,
                                                      const core::SegmentsRule& rule);

}  // namespace cd4ml::table
