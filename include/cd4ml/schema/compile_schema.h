// JSON Schema by valijson.
#pragma once

#include "cd4ml/ports/json_schema.h"

namespace cd4ml::schema {

// A SchemaCompiler. Drafts 4 to 7, what of 2019-09 and 2020-12 can be said in these, and the dialect of OpenAPI 3.0.
absl::StatusOr<std::shared_ptr<const JsonSchema>> CompileSchema(const Value& document, std::string_view pointer);

}  // namespace cd4ml::schema
