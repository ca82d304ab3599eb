// Reads OpenAPI documents and makes a call of every example.
#include "agent/openapi.h"

#include <algorithm>
#include <optional>
#include <set>

#include "cd4ml/base/status.h"
#include "cd4ml/base/text.h"

namespace cd4ml::agent {
namespace {

constexpr int kReferencesMax = 32;  // In a row, and nested while an example is put together.
constexpr size_t kCallsMax = 10'000;

const std::vector<std::string> kMethods = {"get", "put", "post", "delete", "options", "head", "patch", "trace"};

// A value of the document and where it lies: "/paths/~1price/post".
struct Spot {
  const Value* value = nullptr;
  std::string at;

  explicit operator bool() const { return value != nullptr; }
  Spot Member(const std::string& name) const {
    std::string escaped;
    for (const char c : name) escaped += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
    return {value == nullptr ? nullptr : value->Find(name), at + "/" + escaped};
  }
  Spot Item(size_t i) const { return {&value->list()[i], at + "/" + std::to_string(i)}; }
};

absl::Status Wrong(const Spot& spot, const std::string& what) {
  return absl::InvalidArgumentError((spot.at.empty() ? "/" : spot.at) + ": " + what);
}

absl::Status CheckParts(const Spot& spot, std::vector<std::string> known) {
  if (!spot.value->is_map()) return Wrong(spot, "is not a map");
  for (const auto& [key, value] : spot.value->map()) {
    if (key.starts_with("x-") || std::find(known.begin(), known.end(), key) != known.end()) continue;
    return Wrong(spot, "\"" + key + "\" is not known or not supported" + DidYouMean(key, known));
  }
  return absl::OkStatus();
}

bool IsSuccess(int status) { return status >= 200 && status < 400; }

// A parameter or a body, and the examples that there are for it.
struct Part {
  std::string name;
  std::string in;  // "path", "query", "header"; for bodies the media type.
  bool is_required = false;
  std::map<std::string, Value> examples;  // Under their names.
  std::optional<Value> other;             // Where no named one fits.

  // Returns the example `name`, else the one that stands for all, else any.
  std::optional<Value> Example(const std::string& wanted) const {
    if (const auto found = examples.find(wanted); found != examples.end()) return found->second;
    if (other) return other;
    return examples.empty() ? std::nullopt : std::optional(examples.begin()->second);
  }
};

// What one response of an operation may look like.
struct Response {
  bool has_content = false;
  std::map<std::string, std::shared_ptr<const JsonSchema>> content;  // By media type; null: any.
  struct Header {
    std::string name;
    bool is_required;
    bool is_text;
    std::shared_ptr<const JsonSchema> schema;
  };
  std::vector<Header> headers;
  bool checks_body = false;  // Some content has a schema that not everything fits.
};

bool TypeFits(std::string_view declared, std::string_view actual) {
  if (declared == "*/*" || declared == actual) return true;
  return declared.ends_with("/*") && actual.starts_with(declared.substr(0, declared.size() - 1));
}

std::string TypeOf(std::string_view content_type) {
  std::string type = Lower(std::string(content_type.substr(0, content_type.find(';'))));
  while (type.ends_with(' ')) type.pop_back();
  return type;
}

std::string BodyBreach(const Response& expected, const HttpResponse& response) {
  if (!expected.has_content) return "";
  const std::string type = TypeOf(ContentType(response));
  std::string declared;
  const std::shared_ptr<const JsonSchema>* schema = nullptr;
  for (const auto& [name, one] : expected.content) {
    declared += (declared.empty() ? "" : " or ") + name;
    if (schema == nullptr && TypeFits(TypeOf(name), type)) schema = &one;
  }
  if (schema == nullptr) return "Content-Type is \"" + type.substr(0, 200) + "\", must be " + declared;
  if (*schema == nullptr) return "";
  if (!IsJsonType(type)) return (*schema)->Breach(Value(response.body), "body");
  const absl::StatusOr<Value> body = ParseJson(response.body);
  if (!body.ok()) return "the answer is no JSON: " + Message(body.status());
  return (*schema)->Breach(*body, "body");
}

// What an operation may answer to a good example.
struct Responses {
  std::map<std::string, Response> by_status;  // "200", "2XX", "default"; successes only.
  bool is_head = false;

  std::string operator()(const HttpResponse& response) const {
    const std::string status = std::to_string(response.status);
    const Response* found = nullptr;
    for (const std::string& key : {status, status.substr(0, 1) + "XX", std::string("default")}) {
      const auto one = by_status.find(key);
      if (found == nullptr && one != by_status.end()) found = &one->second;
    }
    std::string allowed;
    for (const auto& [key, one] : by_status) allowed += (allowed.empty() ? "" : " or ") + (key == "default" ? "a success" : key);
    if (found == nullptr || !IsSuccess(response.status)) {
      return "status is " + status + ", must be " + allowed + ": " + response.body.substr(0, 120);
    }
    for (const Response::Header& header : found->headers) {
      if (std::string breach = HeaderBreach(header, response); !breach.empty()) return breach;
    }
    return is_head ? "" : BodyBreach(*found, response);
  }

  static std::string HeaderBreach(const Response::Header& header, const HttpResponse& response) {
    const auto value = response.headers.find(Lower(header.name));
    if (value == response.headers.end()) return header.is_required ? "header " + header.name + " is missing" : "";
    if (header.schema == nullptr) return "";
    const absl::StatusOr<Value> typed = header.is_text ? Value(value->second) : ParseJson(value->second);
    return header.schema->Breach(typed.ok() ? *typed : Value(value->second), "header " + header.name);
  }
};

class Reader {
 public:
  Reader(const Value& document, const SchemaCompiler& compile) : document_(document), compile_(compile) {}

  absl::StatusOr<Contract> Read() {
    const Spot top{&document_, ""};
    CD4ML_RETURN_IF_ERROR(CheckParts(top, {"openapi", "info", "jsonSchemaDialect", "servers", "paths", "components",
                                           "security", "tags", "externalDocs"}));
    const std::string version = ToText(*document_.Find("openapi"));
    if (!version.starts_with("3.0") && !version.starts_with("3.1")) {
      return Wrong(top.Member("openapi"), "OpenAPI " + version + " is not supported; 3.0 and 3.1 are");
    }
    const Value* title = document_.FindPath("info.title");
    contract_.consumer = title != nullptr ? ToText(*title) : "OpenAPI";
    CD4ML_RETURN_IF_ERROR(ReadServers(top.Member("servers")));
    const Spot paths = top.Member("paths");
    if (!paths || !paths.value->is_map()) return Wrong(top, "there are no paths");
    for (const auto& [path, item] : paths.value->map()) {
      if (path.starts_with("x-")) continue;
      if (!path.starts_with("/")) return Wrong(paths.Member(path), "a path begins with /");
      CD4ML_RETURN_IF_ERROR(ReadPath(path, paths.Member(path)));
    }
    if (contract_.interactions.empty()) return Wrong(paths, "there is no operation");
    return std::move(contract_);
  }

 private:
  // Follows references, which stay inside the document.
  absl::StatusOr<Spot> Follow(Spot spot) const {
    for (int i = 0; i < kReferencesMax; ++i) {
      const Value* reference = spot.value->is_map() ? spot.value->Find("$ref") : nullptr;
      if (reference == nullptr) return spot;
      const std::string text = ToText(*reference);
      if (!text.starts_with("#/")) return Wrong(spot, "\"" + text + "\" refers to another document, which is not supported");
      const Value* target = FindPointer(document_, text.substr(1));
      if (target == nullptr) return Wrong(spot, "there is nothing at \"" + text + "\"");
      spot = {target, text.substr(1)};
    }
    return Wrong(spot, "references go round in a circle");
  }

  // The paths of the first server are where the service answers; its host is ours.
  absl::Status ReadServers(const Spot& servers) {
    if (!servers || !servers.value->is_list() || servers.value->list().empty()) return absl::OkStatus();
    const Spot first = servers.Item(0);
    const Value* url = first.value->Find("url");
    if (url == nullptr || !url->is_string()) return Wrong(first, "a server has a url");
    std::string text = url->string();
    for (size_t open; (open = text.find('{')) != std::string::npos;) {
      const size_t close = text.find('}', open);
      const Value* variables = first.value->Find("variables");
      const Value* variable = variables != nullptr && close != std::string::npos
                                  ? variables->Find(text.substr(open + 1, close - open - 1))
                                  : nullptr;
      const Value* value = variable != nullptr ? variable->Find("default") : nullptr;
      if (value == nullptr) return Wrong(first, "a variable of its url has no default");
      text.replace(open, close - open + 1, ToText(*value));
    }
    if (const size_t host = text.find("://"); host != std::string::npos) {
      const size_t slash = text.find('/', host + 3);
      text = slash == std::string::npos ? "" : text.substr(slash);
    }
    while (text.ends_with('/')) text.pop_back();
    if (!text.empty() && !text.starts_with('/')) text.insert(0, "/");
    base_path_ = text;
    return absl::OkStatus();
  }

  absl::Status ReadPath(const std::string& path, Spot item) {
    CD4ML_ASSIGN_OR_RETURN(item, Follow(item));
    std::vector<std::string> known = kMethods;
    known.insert(known.end(), {"summary", "description", "parameters"});
    CD4ML_RETURN_IF_ERROR(CheckParts(item, known));
    for (const std::string& method : kMethods) {
      const Spot operation = item.Member(method);
      if (!operation) continue;
      CD4ML_RETURN_IF_ERROR(ReadOperation(path, method, item.Member("parameters"), operation));
      if (contract_.interactions.size() > kCallsMax) {
        return Wrong(item, "there are more than " + std::to_string(kCallsMax) + " examples");
      }
    }
    return absl::OkStatus();
  }

  absl::Status ReadOperation(const std::string& path, const std::string& method, const Spot& shared, const Spot& operation) {
    CD4ML_RETURN_IF_ERROR(CheckParts(operation, {"tags", "summary", "description", "externalDocs", "operationId",
                                                 "parameters", "requestBody", "responses", "deprecated", "security"}));
    CD4ML_RETURN_IF_ERROR(CheckSecurity(operation));
    std::map<std::pair<std::string, std::string>, Part> parameters;
    CD4ML_RETURN_IF_ERROR(ReadParameters(shared, parameters));
    CD4ML_RETURN_IF_ERROR(ReadParameters(operation.Member("parameters"), parameters));
    CD4ML_ASSIGN_OR_RETURN(const std::vector<Part> bodies, ReadBodies(operation.Member("requestBody")));
    Responses responses;
    responses.is_head = method == "head";
    CD4ML_RETURN_IF_ERROR(ReadResponses(operation.Member("responses"), operation, responses));
    std::vector<Part> parts;
    for (auto& [key, part] : parameters) parts.push_back(std::move(part));
    for (const Part& part : parts) {
      if (part.is_required && !part.Example("")) {
        return Wrong(operation, "there is no example of its parameter \"" + part.name + "\", so it cannot be called; add one");
      }
    }
    if (bodies.empty()) return AddCalls(path, method, parts, nullptr, operation, responses);
    for (const Part& body : bodies) {
      CD4ML_RETURN_IF_ERROR(AddCalls(path, method, parts, &body, operation, responses));
    }
    return absl::OkStatus();
  }

  absl::Status CheckSecurity(const Spot& operation) const {
    const Value* security = operation.value->Find("security");
    if (security == nullptr) security = document_.Find("security");
    if (security == nullptr || !security->is_list() || security->list().empty()) return absl::OkStatus();
    for (const Value& one : security->list()) {
      if (one.is_map() && one.map().empty()) return absl::OkStatus();
    }
    return Wrong(operation, "asks for credentials (security), which is not supported");
  }

  absl::Status ReadParameters(const Spot& list, std::map<std::pair<std::string, std::string>, Part>& parameters) const {
    if (!list) return absl::OkStatus();
    if (!list.value->is_list()) return Wrong(list, "is not a list");
    for (size_t i = 0; i < list.value->list().size(); ++i) {
      CD4ML_ASSIGN_OR_RETURN(const Spot spot, Follow(list.Item(i)));
      CD4ML_RETURN_IF_ERROR(CheckParts(spot, {"name", "in", "description", "required", "deprecated", "schema", "example",
                                              "examples", "style", "explode"}));
      const Value* name = spot.value->Find("name");
      const Value* in = spot.value->Find("in");
      if (name == nullptr || in == nullptr) return Wrong(spot, "a parameter has a name and says what it is in");
      Part part;
      part.name = ToText(*name);
      part.in = ToText(*in);
      if (part.in != "path" && part.in != "query" && part.in != "header") {
        return Wrong(spot, "parameters in \"" + part.in + "\" are not supported");
      }
      const Value* style = spot.value->Find("style");
      const std::string usual = part.in == "query" ? "form" : "simple";
      if (style != nullptr && ToText(*style) != usual) return Wrong(spot, "only the style \"" + usual + "\" is supported here");
      const Value* explode = spot.value->Find("explode");
      if (explode != nullptr && *explode != Value(part.in == "query")) return Wrong(spot, "this \"explode\" is not supported");
      part.is_required = part.in == "path" || IsTrue(spot, "required");
      CD4ML_RETURN_IF_ERROR(ReadExamples(spot, part));
      parameters[{part.in, part.name}] = std::move(part);
    }
    return absl::OkStatus();
  }

  static bool IsTrue(const Spot& spot, const char* key) {
    const Value* value = spot.value->Find(key);
    return value != nullptr && *value == Value(true);
  }

  absl::StatusOr<std::vector<Part>> ReadBodies(Spot body) const {
    std::vector<Part> bodies;
    if (!body) return bodies;
    CD4ML_ASSIGN_OR_RETURN(body, Follow(body));
    CD4ML_RETURN_IF_ERROR(CheckParts(body, {"description", "content", "required"}));
    const Spot content = body.Member("content");
    if (!content || !content.value->is_map() || content.value->map().empty()) return Wrong(body, "has no content");
    for (const auto& [type, media] : content.value->map()) {
      const Spot spot = content.Member(type);
      CD4ML_RETURN_IF_ERROR(CheckParts(spot, {"schema", "example", "examples"}));
      Part part;
      part.name = part.in = type;
      if (!IsJsonType(type) && !TypeOf(type).starts_with("text/")) {
        return Wrong(spot, "a request body of the type " + type + " is not supported; JSON and text are");
      }
      CD4ML_RETURN_IF_ERROR(ReadExamples(spot, part));
      if (!part.Example("")) return Wrong(spot, "there is no example of the body, so it cannot be sent; add one");
      bodies.push_back(std::move(part));
    }
    return bodies;
  }

  // Reads the examples of a parameter or body and holds them against its schema.
  absl::Status ReadExamples(const Spot& spot, Part& part) const {
    if (const Spot examples = spot.Member("examples")) {
      if (!examples.value->is_map()) return Wrong(examples, "is not a map");
      for (const auto& [name, one] : examples.value->map()) {
        CD4ML_ASSIGN_OR_RETURN(const Spot example, Follow(examples.Member(name)));
        CD4ML_RETURN_IF_ERROR(CheckParts(example, {"summary", "description", "value"}));
        const Value* value = example.value->Find("value");
        if (value == nullptr) return Wrong(example, "has no value");
        part.examples[name] = *value;
      }
    }
    const Spot schema = spot.Member("schema");
    if (const Value* example = spot.value->Find("example")) {
      part.other = *example;
    } else if (part.examples.empty() && schema) {
      CD4ML_ASSIGN_OR_RETURN(part.other, ExampleOf(schema, 0));
    }
    if (!schema) return absl::OkStatus();
    CD4ML_ASSIGN_OR_RETURN(const auto compiled, compile_(document_, schema.at));
    std::vector<Value> all;
    for (const auto& [name, value] : part.examples) all.push_back(value);
    if (part.other) all.push_back(*part.other);
    for (const Value& value : all) {
      const std::string breach = compiled->Breach(value, "the example");
      if (!breach.empty()) return Wrong(spot, "does not fit its own schema: " + breach);
    }
    return absl::OkStatus();
  }

  // Puts an example together from what a schema says: its own, its default, its only value, or those of its parts.
  absl::StatusOr<std::optional<Value>> ExampleOf(Spot schema, int depth) const {
    if (depth > kReferencesMax) return std::optional<Value>();
    CD4ML_ASSIGN_OR_RETURN(schema, Follow(schema));
    for (const char* word : {"example", "default", "const"}) {
      if (const Value* value = schema.value->Find(word)) return std::optional(*value);
    }
    for (const char* word : {"examples", "enum"}) {
      const Value* list = schema.value->Find(word);
      if (list != nullptr && list->is_list() && !list->list().empty()) return std::optional(list->list().front());
    }
    Value::Map map;
    bool is_map = false;
    if (const Spot all = schema.Member("allOf"); all && all.value->is_list()) {
      for (size_t i = 0; i < all.value->list().size(); ++i) {
        CD4ML_ASSIGN_OR_RETURN(const std::optional<Value> part, ExampleOf(all.Item(i), depth + 1));
        if (!part || !part->is_map()) return std::optional<Value>();
        is_map = true;
        for (const auto& [name, value] : part->map()) map[name] = value;
      }
    }
    if (const Spot properties = schema.Member("properties"); properties && properties.value->is_map()) {
      is_map = true;
      for (const auto& [name, property] : properties.value->map()) {
        CD4ML_ASSIGN_OR_RETURN(std::optional<Value> value, ExampleOf(properties.Member(name), depth + 1));
        if (value) map[name] = *std::move(value);
      }
    }
    const Value* required = schema.value->Find("required");
    if (required != nullptr && required->is_list()) {
      for (const Value& name : required->list()) {
        if (!map.contains(ToText(name))) return std::optional<Value>();
      }
    }
    if (is_map) return std::optional(Value(std::move(map)));
    if (const Spot items = schema.Member("items")) {
      CD4ML_ASSIGN_OR_RETURN(std::optional<Value> item, ExampleOf(items, depth + 1));
      if (item) return std::optional(Value(Value::List{*std::move(item)}));
    }
    return std::optional<Value>();
  }

  absl::Status ReadResponses(const Spot& list, const Spot& operation, Responses& responses) const {
    if (!list || !list.value->is_map()) return Wrong(operation, "has no responses");
    std::optional<Response> other;
    for (const auto& [status, one] : list.value->map()) {
      if (status.starts_with("x-")) continue;
      std::string key = status;
      if (key.size() == 3 && Lower(key).ends_with("xx")) key = key.substr(0, 1) + "XX";
      const bool is_status = key.size() == 3 && key[0] >= '1' && key[0] <= '5' &&
                             (key.ends_with("XX") || (std::isdigit(static_cast<unsigned char>(key[1])) &&
                                                      std::isdigit(static_cast<unsigned char>(key[2]))));
      if (!is_status && key != "default") return Wrong(list.Member(status), "is no status");
      CD4ML_ASSIGN_OR_RETURN(Response response, ReadResponse(list.Member(status)));
      if (key == "default") {
        other = std::move(response);
      } else if (key[0] == '2' || key[0] == '3') {
        responses.by_status[key] = std::move(response);
      }
    }
    // Beside successes, `default` is what errors look like.
    if (responses.by_status.empty() && other) responses.by_status["default"] = *std::move(other);
    if (responses.by_status.empty()) return Wrong(list, "describes no success, which an example would be answered with");
    return absl::OkStatus();
  }

  absl::StatusOr<Response> ReadResponse(Spot spot) const {
    CD4ML_ASSIGN_OR_RETURN(spot, Follow(spot));
    CD4ML_RETURN_IF_ERROR(CheckParts(spot, {"description", "headers", "content", "links"}));
    Response response;
    if (const Spot content = spot.Member("content"); content && content.value->is_map()) {
      response.has_content = !content.value->map().empty();
      for (const auto& [type, media] : content.value->map()) {
        const Spot one = content.Member(type);
        CD4ML_RETURN_IF_ERROR(CheckParts(one, {"schema", "example", "examples"}));
        CD4ML_ASSIGN_OR_RETURN(response.content[type], SchemaOf(one));
        const Spot schema = one.Member("schema");
        response.checks_body |= schema && !IsEmptySchema(*schema.value);
      }
    }
    if (const Spot headers = spot.Member("headers"); headers && headers.value->is_map()) {
      for (const auto& [name, one] : headers.value->map()) {
        if (Lower(name) == "content-type") continue;  // Said by `content`.
        CD4ML_ASSIGN_OR_RETURN(const Spot header, Follow(headers.Member(name)));
        CD4ML_RETURN_IF_ERROR(CheckParts(header, {"description", "required", "deprecated", "schema", "example", "examples"}));
        CD4ML_ASSIGN_OR_RETURN(auto schema, SchemaOf(header));
        const Value* type = header.value->FindPath("schema.type");
        response.headers.push_back({name, IsTrue(header, "required"), type == nullptr || *type == Value("string"),
                                    std::move(schema)});
      }
    }
    return response;
  }

  absl::StatusOr<std::shared_ptr<const JsonSchema>> SchemaOf(const Spot& spot) const {
    const Spot schema = spot.Member("schema");
    if (!schema) return std::shared_ptr<const JsonSchema>();
    return compile_(document_, schema.at);
  }

  // Adds a call for every name that an example has, or one when none has a name.
  absl::Status AddCalls(const std::string& path, const std::string& method, const std::vector<Part>& parts, const Part* body,
                        const Spot& operation, const Responses& responses) {
    std::set<std::string> names;
    for (const Part& part : parts) {
      for (const auto& [name, value] : part.examples) names.insert(name);
    }
    if (body != nullptr) {
      for (const auto& [name, value] : body->examples) names.insert(name);
    }
    if (names.empty()) names.insert("");
    std::string upper = method;
    std::transform(upper.begin(), upper.end(), upper.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    for (const std::string& name : names) {
      Interaction call;
      call.name = upper + " " + path + (name.empty() ? "" : " (" + name + ")");
      call.request.method = upper;
      call.request.headers["Accept"] = AcceptOf(responses);
      CD4ML_ASSIGN_OR_RETURN(call.request.url, UrlOf(path, parts, name, operation, call.request.headers));
      if (body != nullptr) {
        call.request.headers["Content-Type"] = body->in;
        const Value value = *body->Example(name);
        call.request.body = IsJsonType(body->in) || !value.is_string() ? ToJson(value) : value.string();
      }
      call.checks_body = ChecksBody(responses);
      call.breach = responses;
      contract_.interactions.push_back(std::move(call));
    }
    return absl::OkStatus();
  }

  static bool ChecksBody(const Responses& responses) {
    return responses.is_head || std::all_of(responses.by_status.begin(), responses.by_status.end(), [](const auto& one) {
             const int status = one.first == "default" || one.first == "2XX" ? 200 : std::atoi(one.first.c_str());
             return one.second.checks_body || !HasBody(status);
           });
  }

  static std::string AcceptOf(const Responses& responses) {
    std::set<std::string> types;
    for (const auto& [status, response] : responses.by_status) {
      for (const auto& [type, schema] : response.content) types.insert(type);
    }
    std::string accept;
    for (const std::string& type : types) accept += (accept.empty() ? "" : ", ") + type;
    return accept.empty() ? "*/*" : accept;
  }

  absl::StatusOr<std::string> UrlOf(const std::string& path, const std::vector<Part>& parts, const std::string& name,
                                    const Spot& operation, std::map<std::string, std::string>& headers) const {
    std::string url = base_path_ + path, query;
    for (const Part& part : parts) {
      const std::optional<Value> value = part.Example(name);
      if (!value) continue;
      const Value::List one = {*value};
      const Value::List& items = value->is_list() ? value->list() : one;
      std::string joined;
      for (const Value& item : items) {
        if (!item.is_scalar()) return Wrong(operation, "an example of \"" + part.name + "\" is nested, which is not supported");
        joined += (joined.empty() ? "" : ",") + (part.in == "header" ? ToText(item) : UrlEncoded(ToText(item)));
        if (part.in == "query") query += (query.empty() ? "?" : "&") + UrlEncoded(part.name) + "=" + UrlEncoded(ToText(item));
      }
      if (part.in == "header") headers[part.name] = joined;
      const std::string place = "{" + part.name + "}";
      if (part.in != "path") continue;
      const size_t at = url.find(place);
      if (at == std::string::npos) return Wrong(operation, "the path has no " + place);
      url.replace(at, place.size(), joined);
    }
    if (url.find('{') != std::string::npos) return Wrong(operation, "a part of the path in { } is no parameter");
    return url + query;
  }

  const Value& document_;
  const SchemaCompiler& compile_;
  std::string base_path_;
  Contract contract_;
};

}  // namespace

absl::StatusOr<Contract> ParseOpenApi(const Value& document, const SchemaCompiler& compile) {
  return Reader(document, compile).Read();
}

}  // namespace cd4ml::agent
