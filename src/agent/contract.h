// Consumers' contracts: what a service has to answer to which requests. Pure.
//
// A contract comes in one of three forms, told by what it holds:
//
//   consumer: web-frontend                       our own
//   interactions:
//     NAME:
//       request:  {method, path, headers, body}
//       response: {status, headers, body: a part of the answer | schema: JSON Schema}
//
//   openapi: 3.0.3 ...                           an OpenAPI document, see openapi.h
//   {"consumer": {...}, "provider": {...}, ...}  a Pact file, see pact.h
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "cd4ml/base/value.h"
#include "cd4ml/ports/http_client.h"
#include "cd4ml/ports/json_schema.h"
#include "cd4ml/ports/pipeline_parser.h"

namespace cd4ml::agent {

// Returns how an answer breaks what was agreed, in one sentence, or "" when it keeps it.
using BreachOf = std::function<std::string(const HttpResponse&)>;

struct Interaction {
  std::string name;
  HttpRequest request;  // With a path in place of the URL.
  BreachOf breach;
  bool checks_body = true;  // Whether some body could break it that an answer of this kind has.
};

struct Contract {
  std::string consumer;
  std::vector<Interaction> interactions;
};

// Reads the file of a contract. INVALID_ARGUMENT: an unknown form, key or keyword, a missing part, something that is not supported; says which.
absl::StatusOr<Contract> ReadContract(const std::string& text, const std::string& file, const PipelineParser& parser,
                                      const SchemaCompiler& compile);
// The same of what the file holds.
absl::StatusOr<Contract> ParseContract(const Value& document, const SchemaCompiler& compile);

// --- what the forms share ---

absl::Status CheckKeys(const Value& map, const std::vector<std::string>& known, const std::string& what);
std::string Lower(std::string text);
// Returns a text as part of a URL's path or query.
std::string UrlEncoded(std::string_view text);
// Sets the body of a request: texts as they are, everything else as JSON, with its Content-Type unless there is one.
void SetBody(const Value& body, HttpRequest& request);

// Returns whether a Content-Type is that of JSON: application/json, application/problem+json; parameters do not count.
bool IsJsonType(std::string_view content_type);
// Returns the Content-Type of an answer, "" when it has none.
std::string ContentType(const HttpResponse& response);
// Returns whether an answer with this status may have a body.
bool HasBody(int status);
// Returns whether a schema lets everything pass.
bool IsEmptySchema(const Value& schema);
// Returns how a header differs from what was agreed, or "": "application/json" is kept by "application/json;
// charset=utf-8" too.
std::string HeaderBreach(const std::string& name, const std::string& expected, const HttpResponse& response);
std::string StatusBreach(int expected, const HttpResponse& response);

// Returns where `expected` is not a part of `value`, or "": maps may hold more, everything else is
// equal.
std::string PartBreach(const Value& expected, const Value& value, const std::string& where);

// Returns whether two values are equal, numbers within the larger of both tolerances.
bool NearlyEqual(const Value& expected, const Value& value, double abs_tol, double rel_tol);

// Returns what a JSON pointer (RFC 6901) names in `value`, or null.
const Value* FindPointer(const Value& value, std::string_view pointer);

}  // namespace cd4ml::agent
