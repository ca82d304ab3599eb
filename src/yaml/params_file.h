// Parameter files: read strictly, written so that every reader of YAML sees the same types.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "cd4ml/base/value.h"

namespace cd4ml::yaml {

// Reads any map, whose keys may have dots.
absl::StatusOr<Value> ReadDocument(std::string_view text, std::string_view file);
absl::StatusOr<Value> ReadParamsFile(std::string_view text, std::string_view file);
// Returns `text` with the values `params`, and all else as it is when only scalars differ.
absl::StatusOr<std::string> WriteParamsFile(const Value& params, std::string_view text,
                                            std::string_view file);

}  // namespace cd4ml::yaml
