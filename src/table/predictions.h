// Reads the columns of a predictions file.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "cd4ml/core/metrics.h"
#include "table/duckdb.h"

namespace cd4ml::table {

// More do not fit into memory as columns.
constexpr int64_t kPredictionsMax = 100'000'000;
constexpr size_t kLabelsMax = 10'000;

// Reads what `spec` names: straight from one Parquet file, or of anything else through a table with the SQL name `sql`,
// which may exist afterwards. A champion's column that is not there is no error: whether it is needed is for rules to say.
absl::StatusOr<core::Predictions> ReadPredictions(Database& database, const std::string& path,
                                                  const core::PredictionsSpec& spec, const std::string& sql);

}  // namespace cd4ml::table
