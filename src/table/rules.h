// Measures and judges the data rules with SQL.
#pragma once

#include <string>
#include <vector>

#include "table/judge.h"

namespace cd4ml::table {

core::RuleResult JudgeRule(const Case& it);

// Returns a SELECT of (file, line) of the rows that break the rule by themselves, "" when it does not judge rows one by one.
// Valid until the next call.
absl::StatusOr<std::string> SelectBroken(const Case& it);

absl::StatusOr<std::vector<std::string>> FindSegments(Database& database, const Tables& tables,
                                                      const core::SegmentsRule& rule,
                                                      const std::vector<core::Rule>& gate);

}  // namespace cd4ml::table
