// JSON Schema: what an answer must look like, as consumers write it down.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "cd4ml/base/value.h"

namespace cd4ml {

// One schema, ready to be used. Thread-safe.
class JsonSchema {
 public:
  virtual ~JsonSchema() = default;
  // Returns where and how `value`, which is called `name`, does not fit, in one sentence; "" when it fits.
  virtual std::string Breach(const Value& value, std::string_view name) const = 0;
};

// Makes the schema that lies at `pointer` (a JSON pointer) of `document`, into which its `$ref`s may point.
// INVALID_ARGUMENT: it is no schema, or uses what cannot be checked; says what and where.
using SchemaCompiler = std::function<absl::StatusOr<std::shared_ptr<const JsonSchema>>(
    const Value& document, std::string_view pointer)>;

}  // namespace cd4ml
