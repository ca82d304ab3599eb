// Reads contracts and holds answers against them.
#include "agent/contract.h"

#include <re2/re2.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "cd4ml/base/status.h"
#include "cd4ml/base/text.h"

namespace cd4ml::agent {
namespace {

const std::vector<std::string> kSchemaWords = {"type", "required", "properties", "items",
                                               "enum", "minimum",  "maximum",    "pattern"};
const std::vector<std::string> kSchemaTypes = {"object",  "array",   "string", "number",
                                               "integer", "boolean", "null"};

absl::Status CheckKeys(const Value& map, const std::vector<std::string>& known,
                       const std::string& what) {
  if (!map.is_map()) return absl::InvalidArgumentError(what + " is not a map");
  for (const auto& [key, value] : map.map()) {
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    return absl::InvalidArgumentError("unknown key \"" + key + "\" in " + what +
                                      DidYouMean(key, known));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::map<std::string, std::string>> Headers(const Value& part,
                                                           const std::string& what) {
  std::map<std::string, std::string> headers;
  const Value* map = part.Find("headers");
  if (map == nullptr) return headers;
  if (!map->is_map()) return absl::InvalidArgumentError("headers of " + what + " are not a map");
  for (const auto& [name, value] : map->map()) headers[name] = ToText(value);
  return headers;
}

std::string Lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

absl::Status ReadRequest(const Value& value, const std::string& what, HttpRequest& request) {
  CD4ML_RETURN_IF_ERROR(CheckKeys(value, {"method", "path", "headers", "body"}, what));
  const Value* method = value.Find("method");
  const Value* path = value.Find("path");
  if (path == nullptr || !path->is_string() || !path->string().starts_with("/")) {
    return absl::InvalidArgumentError(what + " needs a path that begins with /");
  }
  request.method = method != nullptr ? ToText(*method) : "GET";
  request.url = path->string();
  CD4ML_ASSIGN_OR_RETURN(request.headers, Headers(value, what));
  const Value* body = value.Find("body");
  if (body == nullptr) return absl::OkStatus();
  request.body = body->is_string() ? body->string() : ToJson(*body);
  const bool has_type =
      std::any_of(request.headers.begin(), request.headers.end(),
                  [](const auto& header) { return Lower(header.first) == "content-type"; });
  if (!has_type && !body->is_string()) request.headers["Content-Type"] = "application/json";
  return absl::OkStatus();
}

absl::Status ReadResponse(const Value& value, const std::string& what, Interaction& interaction) {
  CD4ML_RETURN_IF_ERROR(CheckKeys(value, {"status", "headers", "body", "schema"}, what));
  if (const Value* status = value.Find("status")) {
    if (!std::holds_alternative<int64_t>(status->data)) {
      return absl::InvalidArgumentError("status of " + what + " is not a whole number");
    }
    interaction.status = static_cast<int>(status->number());
  }
  CD4ML_ASSIGN_OR_RETURN(interaction.headers, Headers(value, what));
  if (const Value* body = value.Find("body")) interaction.body = *body;
  if (const Value* schema = value.Find("schema")) {
    CD4ML_RETURN_IF_ERROR(Annotate(CheckSchema(*schema), "schema of " + what));
    interaction.schema = *schema;
  }
  return absl::OkStatus();
}

bool HasType(const Value& value, const std::string& type) {
  if (type == "object") return value.is_map();
  if (type == "array") return value.is_list();
  if (type == "string") return value.is_string();
  if (type == "boolean") return value.is_bool();
  if (type == "null") return value.is_null();
  if (!value.is_number()) return false;
  return type == "number" || std::floor(value.number()) == value.number();
}

std::string ObjectBreach(const Value& schema, const Value& value, const std::string& where) {
  if (!value.is_map()) return "";
  if (const Value* required = schema.Find("required")) {
    for (const Value& name : required->list()) {
      if (value.Find(name.string()) == nullptr) return where + " has no \"" + name.string() + "\"";
    }
  }
  if (const Value* properties = schema.Find("properties")) {
    for (const auto& [name, inner] : properties->map()) {
      const Value* member = value.Find(name);
      if (member == nullptr) continue;
      if (std::string breach = SchemaBreach(inner, *member, where + "." + name); !breach.empty())
        return breach;
    }
  }
  return "";
}

std::string ScalarBreach(const Value& schema, const Value& value, const std::string& where) {
  const std::string is = where + " is " + ToJson(value) + ", ";
  if (const Value* minimum = schema.Find("minimum"); minimum != nullptr && value.is_number()) {
    if (!(value.number() >= minimum->number())) return is + "must be >= " + ToText(*minimum);
  }
  if (const Value* maximum = schema.Find("maximum"); maximum != nullptr && value.is_number()) {
    if (!(value.number() <= maximum->number())) return is + "must be <= " + ToText(*maximum);
  }
  if (const Value* pattern = schema.Find("pattern"); pattern != nullptr && value.is_string()) {
    if (!RE2::PartialMatch(value.string(), pattern->string()))
      return is + "must match " + pattern->string();
  }
  return "";
}

}  // namespace

absl::StatusOr<Contract> ParseContract(const Value& value) {
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
    CD4ML_RETURN_IF_ERROR(ReadResponse(*response, "the response of " + what, interaction));
    contract.interactions.push_back(std::move(interaction));
  }
  return contract;
}

std::string BreachOf(const Interaction& interaction, const HttpResponse& response) {
  if (response.status != interaction.status) {
    return "status is " + std::to_string(response.status) + ", must be " +
           std::to_string(interaction.status);
  }
  for (const auto& [name, expected] : interaction.headers) {
    const auto found = response.headers.find(Lower(name));
    if (found == response.headers.end()) return "header " + name + " is missing";
    // "application/json" is kept by "application/json; charset=utf-8" too.
    if (found->second != expected && !found->second.starts_with(expected + ";")) {
      return "header " + name + " is \"" + found->second + "\", must be \"" + expected + "\"";
    }
  }
  if (!interaction.body && !interaction.schema) return "";
  absl::StatusOr<Value> body = ParseJson(response.body);
  if (!body.ok()) {
    if (!interaction.schema && interaction.body->is_string()) body = Value(response.body);
    if (!body.ok()) return "the answer is no JSON: " + Message(body.status());
  }
  if (interaction.body) {
    if (std::string breach = PartBreach(*interaction.body, *body, "body"); !breach.empty())
      return breach;
  }
  return interaction.schema ? SchemaBreach(*interaction.schema, *body, "body") : "";
}

absl::Status CheckSchema(const Value& schema) {
  CD4ML_RETURN_IF_ERROR(CheckKeys(schema, kSchemaWords, "the schema"));
  const auto wrong = [](std::string_view word, std::string_view must) {
    return absl::InvalidArgumentError("\"" + std::string(word) + "\" must be " + std::string(must));
  };
  for (const auto& [word, value] : schema.map()) {
    if (word == "type") {
      const std::string type = value.is_string() ? value.string() : "";
      if (std::find(kSchemaTypes.begin(), kSchemaTypes.end(), type) == kSchemaTypes.end()) {
        return absl::InvalidArgumentError("unknown type " + ToJson(value) +
                                          DidYouMean(type, kSchemaTypes));
      }
    } else if (word == "required" || word == "enum") {
      const bool texts =
          value.is_list() && std::all_of(value.list().begin(), value.list().end(),
                                         [](const Value& item) { return item.is_string(); });
      if (!value.is_list() || (word == "required" && !texts)) return wrong(word, "a list of names");
    } else if (word == "properties") {
      if (!value.is_map()) return wrong(word, "a map");
      for (const auto& [name, inner] : value.map())
        CD4ML_RETURN_IF_ERROR(Annotate(CheckSchema(inner), name));
    } else if (word == "items") {
      CD4ML_RETURN_IF_ERROR(Annotate(CheckSchema(value), word));
    } else if (word == "minimum" || word == "maximum") {
      if (!value.is_number()) return wrong(word, "a number");
    } else if (!value.is_string() || !RE2(value.string(), RE2::Quiet).ok()) {
      return wrong(word, "a regular expression");
    }
  }
  return absl::OkStatus();
}

std::string SchemaBreach(const Value& schema, const Value& value, const std::string& where) {
  if (const Value* type = schema.Find("type"); type != nullptr && !HasType(value, type->string())) {
    return where + " is " + std::string(TypeName(value)) + ", must be " + type->string();
  }
  if (const Value* allowed = schema.Find("enum")) {
    const Value::List& list = allowed->list();
    const bool found = std::any_of(list.begin(), list.end(), [&](const Value& item) {
      return NearlyEqual(item, value, 0, 0);
    });
    if (!found) return where + " is " + ToJson(value) + ", must be one of " + ToJson(*allowed);
  }
  if (const Value* items = schema.Find("items"); items != nullptr && value.is_list()) {
    for (size_t i = 0; i < value.list().size(); ++i) {
      std::string breach =
          SchemaBreach(*items, value.list()[i], where + "[" + std::to_string(i) + "]");
      if (!breach.empty()) return breach;
    }
  }
  std::string breach = ObjectBreach(schema, value, where);
  return breach.empty() ? ScalarBreach(schema, value, where) : breach;
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
    return a == b || std::abs(a - b) <= std::max(abs_tol, rel_tol * std::abs(a));
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
