// The rows that rules call bad, as a file of their own.
#pragma once

#include <string>
#include <vector>

#include "table/rules.h"

namespace cd4ml::table {

// Makes the table kBrokenTable (file, line, n, rule): every row that breaks a rule by itself, once for each such rule, and every
// one that does not fit the table, with n -1.
absl::Status FindBroken(Database& database, const Tables& tables, Scans& scans, const Table& table,
                        const std::vector<core::Rule>& rules);
constexpr char kBrokenTable[] = "cd4ml_broken";
// Returns whether a rule can call single rows bad.
bool JudgesRows(const core::Rule& rule);

// See TableEngine::WriteBadRows.
absl::Status WriteBadRows(Database& database, const Tables& tables, Scans& scans, const std::string& name,
                          const std::vector<core::Rule>& rules, const std::string& path);

}  // namespace cd4ml::table
