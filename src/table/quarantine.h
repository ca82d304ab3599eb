// The rows that rules call bad, as a file of their own.
#pragma once

#include <string>
#include <vector>

#include "table/rules.h"

namespace cd4ml::table {

// See TableEngine::WriteBadRows.
absl::Status WriteBadRows(Database& database, const Tables& tables, const std::string& name,
                          const std::vector<core::Rule>& rules, const std::string& path);

}  // namespace cd4ml::table
