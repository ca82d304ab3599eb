// Reads contracts and holds answers against them.
#include "agent/contract.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstring>
#include <optional>

#include "agent/openapi.h"
#include "agent/pact.h"
#include "cd4ml/base/status.h"
#include "cd4ml/base/text.h"

namespace cd4ml::agent {
namespace {

// Whether a text may stand in the head of a request: what ends a line there would make another head of it.
bool HasNoControls(const std::string& text) {
  return std::none_of(text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7F; });
}

// Whether it is a method or the name of a header.
bool IsToken(const std::string& text) {
  const auto is_part = [](unsigned char c) { return (std::isalnum(c) != 0) || std::strchr("!#$%&'*+-.^_`|~", c) != nullptr; };
  return !text.empty() && HasNoControls(text) && std::all_of(text.begin(), text.end(), is_part);
}

absl::StatusOr<std::map<std::string, std::string>> Headers(const Value& part,
                                                           const std::string& what) {
  std::map<std::string, std::string> headers;
  const Value* map = part.Find("headers");
  if (map == nullptr) return headers;
  if (!map->is_map()) return absl::InvalidArgumentError("headers of " + what + " are not a map");
  for (const auto& [name, value] : map->map()) {
    headers[name] = ToText(value);
    if (!IsToken(name)) return absl::InvalidArgumentError("\"" + name + "\" in " + what + " cannot be the name of a header");
    if (!HasNoControls(headers[name])) return absl::InvalidArgumentError("header " + name + " of " + what + " holds a line break or another control character");
  }
  return headers;
}

absl::Status ReadRequest(const Value& value, const std::string& what, HttpRequest& request) {
  CD4ML_RETURN_IF_ERROR(CheckKeys(value, {"method", "path", "headers", "body"}, what));
  const Value* method = value.Find("method");
  const Value* path = value.Find("path");
  if (path == nullptr || !path->is_string() || !path->string().starts_with("/")) {
    return absl::InvalidArgumentError(what + " needs a path that begins with /");
  }
  if (!HasNoControls(path->string()) || path->string().find(' ') != std::string::npos)
    return absl::InvalidArgumentError("the path of " + what + " holds a space or a control character; write it as %20");
  request.method = method != nullptr ? ToText(*method) : "GET";
  if (!IsToken(request.method)) return absl::InvalidArgumentError("\"" + request.method + "\" in " + what + " is no method");
  request.url = path->string();
  CD4ML_ASSIGN_OR_RETURN(request.headers, Headers(value, what));
  if (const Value* body = value.Find("body")) SetBody(*body, request);
  return absl::OkStatus();
}

// What our own form says of an answer.
struct Expected {
  int status = 200;
  std::map<std::string, std::string> headers;
  std::optional<Value> body;
  std::shared_ptr<const JsonSchema> schema;

  std::string operator()(const HttpResponse& response) const {
    if (std::string breach = StatusBreach(status, response); !breach.empty()) return breach;
    for (const auto& [name, expected] : headers) {
      if (std::string breach = HeaderBreach(name, expected, response); !breach.empty()) return breach;
    }
    if (!body && schema == nullptr) return "";
    absl::StatusOr<Value> answer = ParseJson(response.body);
    if (!answer.ok()) {
      if (schema == nullptr && body->is_string()) answer = Value(response.body);
      if (!answer.ok()) return "the answer is no JSON: " + Message(answer.status());
    }
    if (body) {
      if (std::string breach = PartBreach(*body, *answer, "body"); !breach.empty()) return breach;
    }
    return schema != nullptr ? schema->Breach(*answer, "body") : "";
  }
};

absl::StatusOr<Expected> ReadResponse(const Value& value, const std::string& what, const SchemaCompiler& compile) {
  Expected expected;
  CD4ML_RETURN_IF_ERROR(CheckKeys(value, {"status", "headers", "body", "schema"}, what));
  if (const Value* status = value.Find("status")) {
    if (!std::holds_alternative<int64_t>(status->data)) {
      return absl::InvalidArgumentError("status of " + what + " is not a whole number");
    }
    expected.status = static_cast<int>(status->number());
  }
  CD4ML_ASSIGN_OR_RETURN(expected.headers, Headers(value, what));
  if (const Value* body = value.Find("body")) expected.body = *body;
  if (const Value* schema = value.Find("schema")) {
    if (IsEmptySchema(*schema)) {
      return absl::InvalidArgumentError("the schema of " + what + " lets every answer pass; say what it must look like, or leave it out");
    }
    auto compiled = compile(*schema, "");
    if (!compiled.ok()) return Annotate(compiled.status(), what);
    expected.schema = *std::move(compiled);
  }
  return expected;
}

absl::StatusOr<Contract> ParseOwn(const Value& value, const SchemaCompiler& compile) {
  CD4ML_RETURN_IF_ERROR(CheckKeys(value, {"consumer", "interactions"}, "the contract"));
  const Value* consumer = value.Find("consumer");
  const Value* interactions = value.Find("interactions");
  if (consumer == nullptr || !consumer->is_string())
    return absl::InvalidArgumentError("the contract names no consumer");
  if (interactions == nullptr || !interactions->is_map() || interactions->map().empty()) {
    return absl::InvalidArgumentError("the contract of " + consumer->string() +
                                      " has no interactions");
  }
  Contract contract{consumer->string(), {}};
  for (const auto& [name, parts] : interactions->map()) {
    const std::string what = "interaction \"" + name + "\"";
    CD4ML_RETURN_IF_ERROR(CheckKeys(parts, {"request", "response"}, what));
    const Value* request = parts.Find("request");
    const Value* response = parts.Find("response");
    if (request == nullptr || response == nullptr) {
      return absl::InvalidArgumentError(what + " needs a request and a response");
    }
    Interaction interaction;
    interaction.name = name;
    CD4ML_RETURN_IF_ERROR(ReadRequest(*request, "the request of " + what, interaction.request));
    CD4ML_ASSIGN_OR_RETURN(Expected expected, ReadResponse(*response, "the response of " + what, compile));
    const bool is_bare = !expected.body || *expected.body == Value(Value::Map{});
    interaction.checks_body = !HasBody(expected.status) || expected.schema != nullptr || !is_bare;
    interaction.breach = std::move(expected);
    contract.interactions.push_back(std::move(interaction));
  }
  return contract;
}

}  // namespace

absl::StatusOr<Contract> ReadContract(const std::string& text, const std::string& file, const PipelineParser& parser,
                                      const SchemaCompiler& compile) {
  CD4ML_ASSIGN_OR_RETURN(const Value document, parser.ParseDocument(text, file));
  absl::StatusOr<Contract> contract = ParseContract(document, compile);
  if (!contract.ok()) return Annotate(contract.status(), file);
  return contract;
}

absl::StatusOr<Contract> ParseContract(const Value& document, const SchemaCompiler& compile) {
  if (document.Find("openapi") != nullptr) return ParseOpenApi(document, compile);
  if (document.Find("swagger") != nullptr) {
    return absl::InvalidArgumentError("documents of Swagger 2 are not supported; convert it to OpenAPI 3");
  }
  if (document.Find("asyncapi") != nullptr) return absl::InvalidArgumentError("AsyncAPI documents are not supported");
  const Value* consumer = document.Find("consumer");
  const bool is_pact = document.Find("provider") != nullptr || (consumer != nullptr && consumer->is_map());
  return is_pact ? ParsePact(document) : ParseOwn(document, compile);
}

absl::Status CheckKeys(const Value& map, const std::vector<std::string>& known, const std::string& what) {
  if (!map.is_map()) return absl::InvalidArgumentError(what + " is not a map");
  for (const auto& [key, value] : map.map()) {
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    return absl::InvalidArgumentError("unknown key \"" + key + "\" in " + what +
                                      DidYouMean(key, known));
  }
  return absl::OkStatus();
}

std::string Lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

std::string UrlEncoded(std::string_view text) {
  constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) || (c != '\0' && std::strchr("-._~", c) != nullptr)) {
      out.push_back(c);
    } else {
      out += {'%', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return out;
}

void SetBody(const Value& body, HttpRequest& request) {
  request.body = body.is_string() ? body.string() : ToJson(body);
  const bool has_type =
      std::any_of(request.headers.begin(), request.headers.end(),
                  [](const auto& header) { return Lower(header.first) == "content-type"; });
  if (!has_type && !body.is_string()) request.headers["Content-Type"] = "application/json";
}

bool IsJsonType(std::string_view content_type) {
  std::string type = Lower(std::string(content_type.substr(0, content_type.find(';'))));
  while (type.ends_with(' ')) type.pop_back();
  return type == "application/json" || (type.ends_with("+json") && type.find('/') != std::string::npos);
}

std::string ContentType(const HttpResponse& response) {
  const auto found = response.headers.find("content-type");
  return found == response.headers.end() ? "" : found->second;
}

bool HasBody(int status) { return status >= 200 && status < 300 && status != 204 && status != 205; }

bool IsEmptySchema(const Value& schema) {
  static const std::vector<std::string> kNotes = {"title", "description", "$comment", "default", "example", "examples"};
  if (!schema.is_map()) return schema == Value(true);
  return std::all_of(schema.map().begin(), schema.map().end(), [](const auto& member) {
    return std::find(kNotes.begin(), kNotes.end(), member.first) != kNotes.end();
  });
}

std::string HeaderBreach(const std::string& name, const std::string& expected, const HttpResponse& response) {
  const auto found = response.headers.find(Lower(name));
  if (found == response.headers.end()) return "header " + name + " is missing";
  if (found->second == expected || found->second.starts_with(expected + ";")) return "";
  return "header " + name + " is \"" + found->second.substr(0, 200) + "\", must be \"" + expected + "\"";
}

std::string StatusBreach(int expected, const HttpResponse& response) {
  if (response.status == expected) return "";
  return "status is " + std::to_string(response.status) + ", must be " + std::to_string(expected);
}

std::string PartBreach(const Value& expected, const Value& value, const std::string& where) {
  if (!expected.is_map()) {
    if (NearlyEqual(expected, value, 0, 0)) return "";
    return where + " is " + ToJson(value) + ", must be " + ToJson(expected);
  }
  if (!value.is_map()) return where + " is " + std::string(TypeName(value)) + ", must be a map";
  for (const auto& [name, inner] : expected.map()) {
    const Value* member = value.Find(name);
    if (member == nullptr) return where + " has no \"" + name + "\"";
    if (std::string breach = PartBreach(inner, *member, where + "." + name); !breach.empty())
      return breach;
  }
  return "";
}

bool NearlyEqual(const Value& expected, const Value& value, double abs_tol, double rel_tol) {
  if (expected.is_number() && value.is_number()) {
    const double a = expected.number(), b = value.number();
    const double tolerance = std::max(abs_tol, rel_tol * std::abs(a));
    // Whole numbers beyond 2^53 are equal as doubles before they are equal.
    if (expected.data.index() == value.data.index() && tolerance == 0) return expected == value;
    return a == b || (std::isfinite(a) && std::abs(a - b) <= tolerance);
  }
  if (expected.is_list() && value.is_list()) {
    return std::equal(
        expected.list().begin(), expected.list().end(), value.list().begin(), value.list().end(),
        [&](const Value& a, const Value& b) { return NearlyEqual(a, b, abs_tol, rel_tol); });
  }
  if (expected.is_map() && value.is_map()) {
    return std::equal(expected.map().begin(), expected.map().end(), value.map().begin(),
                      value.map().end(), [&](const auto& a, const auto& b) {
                        return a.first == b.first &&
                               NearlyEqual(a.second, b.second, abs_tol, rel_tol);
                      });
  }
  return expected == value;
}

const Value* FindPointer(const Value& value, std::string_view pointer) {
  const Value* here = &value;
  while (!pointer.empty()) {
    if (pointer.front() != '/') return nullptr;
    pointer.remove_prefix(1);
    const size_t end = std::min(pointer.find('/'), pointer.size());
    std::string name(pointer.substr(0, end));
    pointer.remove_prefix(end);
    for (size_t at = 0; (at = name.find('~', at)) != std::string::npos; ++at) {
      name.replace(at, 2, name.compare(at, 2, "~1") == 0 ? "/" : "~");
    }
    if (here->is_list()) {
      size_t index = 0;
      const auto [rest, error] = std::from_chars(name.data(), name.data() + name.size(), index);
      if (error != std::errc() || rest != name.data() + name.size() || index >= here->list().size())
        return nullptr;
      here = &here->list()[index];
    } else {
      here = here->Find(name);
      if (here == nullptr) return nullptr;
    }
  }
  return here;
}

}  // namespace cd4ml::agent
