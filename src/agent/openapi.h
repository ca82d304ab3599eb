// OpenAPI 3.0 and 3.1 documents as contracts: every operation is called with the examples that the document holds for its
// parameters and its body, and has to answer with a success that the document describes. Pure.
#pragma once

#include "agent/contract.h"

namespace cd4ml::agent {

// INVALID_ARGUMENT: names the place in the document, also of what is not supported and of an operation without examples.
absl::StatusOr<Contract> ParseOpenApi(const Value& document, const SchemaCompiler& compile);

}  // namespace cd4ml::agent
