// Consumers' contracts: what a service has to answer to which requests. Pure.
//
//   consumer: web-frontend
//   interactions:
//     NAME:
//       request:  {method, path, headers, body}
//       response: {status, headers, body: a part of the answer | schema: a part of JSON Schema}
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "cd4ml/base/value.h"
#include "cd4ml/ports/http_client.h"

namespace cd4ml::agent {

struct Interaction {
  std::string name;
  HttpRequest request;  // With a path in place of the URL.
  int status = 200;
  std::map<std::string, std::string> headers;  // Expected ones.
  std::optional<Value> body;
  std::optional<Value> schema;
};

struct Contract {
  std::string consumer;
  std::vector<Interaction> interactions;
};

// INVALID_ARGUMENT: an unknown key or keyword, a missing part; says which.
absl::StatusOr<Contract> ParseContract(const Value& value);

// Returns how the answer breaks the interaction, in one sentence, or "" when it keeps it.
std::string BreachOf(const Interaction& interaction, const HttpResponse& response);

// Returns where `value` does not fit `schema`, or "". Known keywords: type, required, properties,
// items, enum, minimum, maximum, pattern (RE2, anywhere in the text).
std::string SchemaBreach(const Value& schema, const Value& value, const std::string& where);
// INVALID_ARGUMENT names a keyword that is not known, or one whose value makes no sense.
absl::Status CheckSchema(const Value& schema);

// Returns where `expected` is not a part of `value`, or "": maps may hold more, everything else is
// equal.
std::string PartBreach(const Value& expected, const Value& value, const std::string& where);

// Returns whether two values are equal, numbers within the larger of both tolerances.
bool NearlyEqual(const Value& expected, const Value& value, double abs_tol, double rel_tol);

// Returns what a JSON pointer (RFC 6901) names in `value`, or null.
const Value* FindPointer(const Value& value, std::string_view pointer);

}  // namespace cd4ml::agent
