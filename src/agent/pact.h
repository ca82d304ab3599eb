// Pact files of the specification's versions 1 to 3 as contracts. Pure.
//
// What a response has beside what was agreed does not matter; matching rules go down to what lies below their path, and
// of several that fit the most specific one holds.
#pragma once

#include "agent/contract.h"

namespace cd4ml::agent {

// INVALID_ARGUMENT: names the interaction and what of it is malformed or not supported: provider states, messages,
// generators of requests, matchers beyond those of version 3.
absl::StatusOr<Contract> ParsePact(const Value& document);

}  // namespace cd4ml::agent
