// Measures and judges the data rules with SQL.
#pragma once

#include <string>
#include <vector>

#include "table/judge.h"

namespace cd4ml::table {

core::RuleResult JudgeRule(const Case& it);

// Returns what a rule asks of every single row, `by` left aside; nullopt when it does not judge rows one by one. For outliers
// it has a `from`, which is valid until the next call.
absl::StatusOr<std::optional<Question>> QuestionOf(const Case& it);

absl::StatusOr<std::vector<std::string>> FindSegments(Database& database, const Tables& tables, Scans& scans,
                                                      const core::SegmentsRule& rule,
                                                      const std::vector<core::Rule>& gate);

}  // namespace cd4ml::table
