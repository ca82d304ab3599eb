// Reads Pact files and matches answers against their examples and matching rules.
#include "agent/pact.h"

#include <re2/re2.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "cd4ml/base/status.h"

namespace cd4ml::agent {
namespace {

// A step of a JSONPath: a name, an index, or any of them.
struct Step {
  enum class Kind { kName, kIndex, kAny } kind = Kind::kName;
  std::string name;
  size_t index = 0;

  bool Fits(const Step& actual) const {
    if (kind == Kind::kAny) return true;
    return kind == actual.kind && name == actual.name && index == actual.index;
  }
};
using Path = std::vector<Step>;

struct Matcher {
  std::string match;  // "type", "regex", ...
  std::optional<int64_t> min, max;
  std::shared_ptr<const RE2> regex;
  Value value;  // include
};

struct Rule {
  Path path;
  bool any_of = false;
  std::vector<Matcher> matchers;
};

absl::Status Unsupported(const std::string& what) { return absl::InvalidArgumentError(what + " is not supported"); }

// Reads `.name`, `['name']`, `[0]`, `[*]` and `.*`.
absl::StatusOr<Path> ReadPath(std::string_view text) {
  const std::string whole(text);
  Path path;
  while (!text.empty()) {
    const bool is_dot = text.front() == '.';
    const size_t end = is_dot ? std::min(text.find_first_of(".[", 1), text.size()) : text.find(']');
    if ((!is_dot && text.front() != '[') || end == std::string_view::npos || end < 2) {
      return Unsupported("the path \"" + whole + "\" of a matching rule");
    }
    std::string_view part = text.substr(1, end - 1);
    text.remove_prefix(is_dot ? end : end + 1);
    Step step;
    if (part == "*") {
      step.kind = Step::Kind::kAny;
    } else if (!is_dot && part.size() >= 2 && (part.front() == '\'' || part.front() == '"') && part.back() == part.front()) {
      step.name = std::string(part.substr(1, part.size() - 2));
    } else if (is_dot) {
      step.name = std::string(part);
    } else {
      step.kind = Step::Kind::kIndex;
      const auto [rest, error] = std::from_chars(part.data(), part.data() + part.size(), step.index);
      if (error != std::errc() || rest != part.data() + part.size()) {
        return Unsupported("the path \"" + whole + "\" of a matching rule");
      }
    }
    path.push_back(std::move(step));
  }
  return path;
}

absl::StatusOr<Matcher> ReadMatcher(const Value& value) {
  static const std::vector<std::string> kKnown = {"equality", "type",    "regex", "integer", "decimal",
                                                  "number",   "include", "null",  "boolean", "values"};
  if (!value.is_map()) return absl::InvalidArgumentError("a matcher is not a map");
  Matcher matcher;
  const Value* match = value.Find("match");
  const Value* regex = value.Find("regex");
  matcher.match = match != nullptr ? ToText(*match) : regex != nullptr ? "regex" : "type";
  for (const auto& [bound, out] : {std::pair("min", &matcher.min), std::pair("max", &matcher.max)}) {
    const Value* number = value.Find(bound);
    if (number == nullptr) continue;
    if (!std::holds_alternative<int64_t>(number->data)) {
      return absl::InvalidArgumentError("\"" + std::string(bound) + "\" of a matcher is no whole number");
    }
    *out = std::get<int64_t>(number->data);
  }
  if (matcher.match == "min" || matcher.match == "max") matcher.match = "type";
  if (std::find(kKnown.begin(), kKnown.end(), matcher.match) == kKnown.end()) {
    return Unsupported("the matcher \"" + matcher.match + "\"");
  }
  if (matcher.match == "regex") {
    matcher.regex = std::make_shared<const RE2>(regex != nullptr ? ToText(*regex) : "(", RE2::Quiet);
    if (!matcher.regex->ok()) {
      return absl::InvalidArgumentError("a matcher's regex is none of RE2: " + matcher.regex->error());
    }
  }
  if (const Value* text = value.Find("value")) matcher.value = *text;
  return matcher;
}

std::string Shown(const Value& value) {
  const std::string json = ToJson(value);
  return json.size() > 120 ? json.substr(0, 120) + " ..." : json;
}

std::string_view Kind(const Value& value) {
  return value.is_number() ? "a number" : value.is_string() ? "a text" : value.is_bool() ? "true or false"
         : value.is_list() ? "a list" : value.is_map() ? "a map" : "null";
}

// Returns how a scalar, or a container as a whole, breaks one matcher.
std::string MatcherBreach(const Matcher& matcher, const Value& expected, const Value& value, const std::string& where) {
  const std::string is = where + " is " + Shown(value) + ", must ";
  if (matcher.match == "type") return Kind(expected) == Kind(value) ? "" : is + "be " + std::string(Kind(expected));
  if (matcher.match == "equality") return NearlyEqual(expected, value, 0, 0) ? "" : is + "be " + Shown(expected);
  if (matcher.match == "regex") {
    const bool fits = !value.is_list() && !value.is_map() && RE2::PartialMatch(ToText(value), *matcher.regex);
    return fits ? "" : is + "match " + matcher.regex->pattern();
  }
  if (matcher.match == "include") {
    const bool has = value.is_scalar() && ToText(value).find(ToText(matcher.value)) != std::string::npos;
    return has ? "" : is + "include " + Shown(matcher.value);
  }
  if (matcher.match == "integer") return std::holds_alternative<int64_t>(value.data) ? "" : is + "be a whole number";
  if (matcher.match == "decimal") return std::holds_alternative<double>(value.data) ? "" : is + "be a decimal fraction";
  if (matcher.match == "number") return value.is_number() ? "" : is + "be a number";
  if (matcher.match == "boolean") return value.is_bool() ? "" : is + "be true or false";
  return value.is_null() ? "" : is + "be null";
}

// Matches a body against an example, by rules.
class BodyMatcher {
 public:
  explicit BodyMatcher(const std::vector<Rule>& rules) : rules_(rules) {}

  std::string Breach(const Value& expected, const Value& value, const std::string& where) {
    const Rule* rule = Select();
    if (rule == nullptr) return Inside(expected, value, where, nullptr, false);
    const bool is_own = rule->path.size() == path_.size();  // Otherwise it has come down from above.
    std::string first;
    for (const Matcher& matcher : rule->matchers) {
      std::string breach = Holds(matcher, is_own, expected, value, where);
      if (breach.empty() && rule->any_of) return "";
      if (!breach.empty() && !rule->any_of) return breach;
      if (first.empty()) first = std::move(breach);
    }
    return first;
  }

 private:
  // Returns the most specific rule whose path leads here or to something around it, or null.
  const Rule* Select() const {
    const Rule* best = nullptr;
    std::pair<int64_t, size_t> best_weight;
    for (const Rule& rule : rules_) {
      if (rule.path.size() > path_.size()) continue;
      int64_t weight = 1;
      bool fits = true;
      for (size_t i = 0; i < rule.path.size() && fits; ++i) {
        fits = rule.path[i].Fits(path_[i]);
        if (rule.path[i].kind != Step::Kind::kAny && weight < (int64_t{1} << 40)) weight *= 2;
      }
      const std::pair<int64_t, size_t> own = {weight, rule.path.size()};
      if (fits && (best == nullptr || own > best_weight)) {
        best = &rule;
        best_weight = own;
      }
    }
    return best;
  }

  std::string Holds(const Matcher& matcher, bool is_own, const Value& expected, const Value& value, const std::string& where) {
    const bool is_container = expected.is_map() || expected.is_list();
    const bool goes_down = is_container && (matcher.match == "type" || matcher.match == "values");
    if (!goes_down) {
      // What has come down from above is about values, and the container is none.
      if (is_container && !is_own) return Inside(expected, value, where, nullptr, false);
      return MatcherBreach(matcher, expected, value, where);
    }
    return Inside(expected, value, where, &matcher, is_own);
  }

  // Compares what lies inside; `by` is the matcher of the container, if any.
  std::string Inside(const Value& expected, const Value& value, const std::string& where, const Matcher* by, bool is_own) {
    if (Kind(expected) != Kind(value) || !(expected.is_list() || expected.is_map())) {
      if (NearlyEqual(expected, value, 0, 0)) return "";
      const bool is_container = expected.is_list() || expected.is_map();
      return where + " is " + Shown(value) + ", must be " + (is_container ? std::string(Kind(expected)) : Shown(expected));
    }
    return expected.is_list() ? ListBreach(expected.list(), value.list(), where, by, is_own)
                              : MapBreach(expected.map(), value.map(), where, by != nullptr && by->match == "values");
  }

  std::string ListBreach(const Value::List& expected, const Value::List& value, const std::string& where, const Matcher* by,
                         bool is_own) {
    const auto size = static_cast<int64_t>(value.size());
    const std::string has = where + " has " + std::to_string(size) + " items, must have ";
    if (by == nullptr && value.size() != expected.size()) return has + std::to_string(expected.size());
    if (by != nullptr && is_own && by->min && size < *by->min) return has + "at least " + std::to_string(*by->min);
    if (by != nullptr && is_own && by->max && size > *by->max) return has + "at most " + std::to_string(*by->max);
    for (size_t i = 0; i < value.size() && !expected.empty(); ++i) {
      path_.push_back({Step::Kind::kIndex, "", i});
      std::string breach =
          Breach(expected[i < expected.size() ? i : 0], value[i], where + "[" + std::to_string(i) + "]");
      path_.pop_back();
      if (!breach.empty()) return breach;
    }
    return "";
  }

  std::string MapBreach(const Value::Map& expected, const Value::Map& value, const std::string& where, bool any_names) {
    if (any_names) {
      for (const auto& [name, member] : value) {
        const auto known = expected.find(name);
        if (expected.empty()) return "";
        std::string breach = Member(known != expected.end() ? known->second : expected.begin()->second, member, name, where);
        if (!breach.empty()) return breach;
      }
      return "";
    }
    for (const auto& [name, inner] : expected) {
      const auto member = value.find(name);
      if (member == value.end()) return where + " has no \"" + name + "\"";
      if (std::string breach = Member(inner, member->second, name, where); !breach.empty()) return breach;
    }
    return "";
  }

  std::string Member(const Value& expected, const Value& value, const std::string& name, const std::string& where) {
    path_.push_back({Step::Kind::kName, name, 0});
    std::string breach = Breach(expected, value, where + "." + name);
    path_.pop_back();
    return breach;
  }

  const std::vector<Rule>& rules_;
  Path path_;  // Of what is being compared.
};

std::string WithoutSpacesAfterCommas(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c != ' ' || !out.ends_with(',')) out.push_back(c);
  }
  return out;
}

// What a response must look like.
struct Expected {
  int status = 200;
  std::map<std::string, std::string> headers;
  std::optional<Value> body;
  std::vector<Rule> body_rules;
  std::map<std::string, Rule> header_rules;  // By name in lower case.

  std::string operator()(const HttpResponse& response) const {
    if (std::string breach = StatusBreach(status, response); !breach.empty()) return breach;
    for (const auto& [name, expected] : headers) {
      if (std::string breach = OneHeaderBreach(name, expected, response); !breach.empty()) return breach;
    }
    if (!body) return "";
    BodyMatcher matcher(body_rules);
    if (IsText()) return matcher.Breach(*body, Value(response.body), "body");
    const absl::StatusOr<Value> answer = ParseJson(response.body);
    if (!answer.ok()) return "the answer is no JSON: " + Message(answer.status());
    return matcher.Breach(*body, *answer, "body");
  }

 private:
  // A body that is a text is JSON only when the headers say so.
  bool IsText() const {
    if (!body->is_string()) return false;
    for (const auto& [name, value] : headers) {
      if (Lower(name) == "content-type") return !IsJsonType(value);
    }
    return true;
  }

  std::string OneHeaderBreach(const std::string& name, const std::string& expected, const HttpResponse& response) const {
    const auto rule = header_rules.find(Lower(name));
    const auto found = response.headers.find(Lower(name));
    if (rule == header_rules.end() || found == response.headers.end()) {
      if (found != response.headers.end() &&
          WithoutSpacesAfterCommas(found->second) == WithoutSpacesAfterCommas(expected)) {
        return "";
      }
      return HeaderBreach(name, expected, response);
    }
    std::string first;
    for (const Matcher& matcher : rule->second.matchers) {
      std::string breach = MatcherBreach(matcher, Value(expected), Value(found->second), "header " + name);
      if (breach.empty() && rule->second.any_of) return "";
      if (!breach.empty() && !rule->second.any_of) return breach;
      if (first.empty()) first = std::move(breach);
    }
    return first;
  }
};

class Reader {
 public:
  absl::StatusOr<Contract> Read(const Value& file) {
    CD4ML_RETURN_IF_ERROR(CheckKeys(file, {"consumer", "provider", "interactions", "messages", "metadata"}, "the Pact file"));
    CD4ML_RETURN_IF_ERROR(ReadVersion(file));
    const Value* messages = file.Find("messages");
    if (messages != nullptr && messages->is_list() && !messages->list().empty()) return Unsupported("a Pact of messages");
    const Value* name = file.FindPath("consumer.name");
    if (name == nullptr) return absl::InvalidArgumentError("the Pact file names no consumer");
    Contract contract{ToText(*name), {}};
    const Value* interactions = file.Find("interactions");
    if (interactions == nullptr || !interactions->is_list() || interactions->list().empty()) {
      return absl::InvalidArgumentError("the Pact file of " + contract.consumer + " has no interactions");
    }
    for (const Value& one : interactions->list()) {
      const Value* description = one.Find("description");
      const std::string what = description != nullptr ? ToText(*description)
                                                      : "interaction " + std::to_string(contract.interactions.size() + 1);
      absl::StatusOr<Interaction> interaction = ReadInteraction(one);
      if (!interaction.ok()) return Annotate(interaction.status(), "interaction \"" + what + "\"");
      interaction->name = what;
      contract.interactions.push_back(*std::move(interaction));
    }
    return contract;
  }

 private:
  absl::Status ReadVersion(const Value& file) {
    std::string version = "2";
    for (const char* path : {"metadata.pactSpecification.version", "metadata.pact-specification.version",
                             "metadata.pactSpecificationVersion"}) {
      if (const Value* value = file.FindPath(path)) version = ToText(*value);
    }
    if (version.size() > 1 && version[1] != '.') version = "0";
    if (version[0] < '1' || version[0] > '3') {
      return Unsupported("version " + version + " of the Pact specification (1 to 3 are); this");
    }
    is_v3_ = version[0] == '3';
    return absl::OkStatus();
  }

  absl::StatusOr<Interaction> ReadInteraction(const Value& value) {
    CD4ML_RETURN_IF_ERROR(CheckKeys(value, {"_id", "description", "providerState", "provider_state", "providerStates",
                                            "request", "response"}, "it"));
    for (const char* key : {"providerState", "provider_state", "providerStates"}) {
      const Value* state = value.Find(key);
      if (state == nullptr || state->is_null() || *state == Value("") || *state == Value(Value::List{})) continue;
      return absl::InvalidArgumentError("it needs the provider state " + Shown(*state) +
                                        ", which nobody can bring about here: provider states are not supported");
    }
    const Value* request = value.Find("request");
    const Value* response = value.Find("response");
    if (request == nullptr || response == nullptr) return absl::InvalidArgumentError("it needs a request and a response");
    Interaction interaction;
    CD4ML_RETURN_IF_ERROR(Annotate(ReadRequest(*request, interaction.request), "request"));
    absl::StatusOr<Expected> expected = ReadResponse(*response);
    if (!expected.ok()) return Annotate(expected.status(), "response");
    interaction.checks_body = expected->body.has_value() || !HasBody(expected->status);
    interaction.breach = *std::move(expected);
    return interaction;
  }

  static absl::StatusOr<std::map<std::string, std::string>> ReadHeaders(const Value& part) {
    std::map<std::string, std::string> headers;
    const Value* map = part.Find("headers");
    if (map == nullptr || map->is_null()) return headers;
    if (!map->is_map()) return absl::InvalidArgumentError("the headers are not a map");
    for (const auto& [name, value] : map->map()) {
      const Value::List one = {value};
      for (const Value& item : value.is_list() ? value.list() : one) {
        std::string& text = headers[name];
        text += (text.empty() ? "" : ", ") + ToText(item);
      }
    }
    return headers;
  }

  // The rules about a request say what the consumer may send; its example is what is sent.
  absl::Status ReadRequest(const Value& value, HttpRequest& request) {
    CD4ML_RETURN_IF_ERROR(
        CheckKeys(value, {"method", "path", "query", "headers", "body", "matchingRules", "generators"}, "it"));
    const Value* generators = value.Find("generators");
    if (generators != nullptr && generators->is_map() && !generators->map().empty()) {
      return absl::InvalidArgumentError("it makes values up anew each time: generators are not supported");
    }
    const Value* method = value.Find("method");
    const Value* path = value.Find("path");
    if (path == nullptr || !path->is_string() || !path->string().starts_with("/")) {
      return absl::InvalidArgumentError("it needs a path that begins with /");
    }
    std::string upper = method != nullptr ? ToText(*method) : "GET";
    std::transform(upper.begin(), upper.end(), upper.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    request.method = upper;
    request.url = path->string();
    if (const Value* query = value.Find("query"); query != nullptr && !query->is_null()) request.url += "?" + QueryOf(*query);
    CD4ML_ASSIGN_OR_RETURN(request.headers, ReadHeaders(value));
    const Value* body = value.Find("body");
    if (body == nullptr) return absl::OkStatus();
    SetBody(*body, request);
    const auto type = std::find_if(request.headers.begin(), request.headers.end(),
                                   [](const auto& header) { return Lower(header.first) == "content-type"; });
    if (body->is_string() && type != request.headers.end() && IsJsonType(type->second)) request.body = ToJson(*body);
    return absl::OkStatus();
  }

  static std::string QueryOf(const Value& query) {
    if (!query.is_map()) return ToText(query);
    std::string text;
    for (const auto& [name, value] : query.map()) {
      const Value::List one = {value};
      for (const Value& item : value.is_list() ? value.list() : one) {
        text += (text.empty() ? "" : "&") + UrlEncoded(name) + "=" + UrlEncoded(ToText(item));
      }
    }
    return text;
  }

  absl::StatusOr<Expected> ReadResponse(const Value& value) {
    CD4ML_RETURN_IF_ERROR(CheckKeys(value, {"status", "headers", "body", "matchingRules", "generators"}, "it"));
    Expected expected;
    if (const Value* status = value.Find("status")) {
      if (!status->is_number()) return absl::InvalidArgumentError("its status is no number");
      expected.status = static_cast<int>(status->number());
    }
    CD4ML_ASSIGN_OR_RETURN(expected.headers, ReadHeaders(value));
    if (const Value* body = value.Find("body")) expected.body = *body;
    const Value* rules = value.Find("matchingRules");
    if (rules == nullptr || rules->is_null()) return expected;
    if (!rules->is_map()) return absl::InvalidArgumentError("its matching rules are not a map");
    for (const auto& [key, rule] : rules->map()) {
      CD4ML_RETURN_IF_ERROR(Annotate(is_v3_ ? ReadCategory(key, rule, expected) : ReadOldRule(key, rule, expected),
                                     "matching rule \"" + key + "\""));
    }
    return expected;
  }

  // {"body": {"$.price": {"combine": "AND", "matchers": [{"match": "type"}]}}, "header": {"X": {...}}}
  static absl::Status ReadCategory(const std::string& category, const Value& rules, Expected& expected) {
    if (!rules.is_map()) return absl::InvalidArgumentError("it is not a map");
    if (rules.map().empty()) return absl::OkStatus();
    if (category != "body" && category != "header") return Unsupported("it");
    for (const auto& [path, value] : rules.map()) {
      const Value* matchers = value.Find("matchers");
      if (matchers == nullptr || !matchers->is_list() || matchers->list().empty()) {
        return absl::InvalidArgumentError("\"" + path + "\" has no matchers");
      }
      Rule rule;
      const Value* combine = value.Find("combine");
      rule.any_of = combine != nullptr && *combine == Value("OR");
      for (const Value& one : matchers->list()) {
        CD4ML_ASSIGN_OR_RETURN(Matcher matcher, ReadMatcher(one));
        rule.matchers.push_back(std::move(matcher));
      }
      if (category == "header") {
        expected.header_rules[Lower(path)] = std::move(rule);
        continue;
      }
      if (!path.starts_with('$')) return absl::InvalidArgumentError("the path \"" + path + "\" does not begin with $");
      CD4ML_ASSIGN_OR_RETURN(rule.path, ReadPath(std::string_view(path).substr(1)));
      expected.body_rules.push_back(std::move(rule));
    }
    return absl::OkStatus();
  }

  // "$.body.price": {"match": "type"}
  static absl::Status ReadOldRule(const std::string& key, const Value& value, Expected& expected) {
    if (!key.starts_with('$')) return absl::InvalidArgumentError("it does not begin with $");
    CD4ML_ASSIGN_OR_RETURN(Path path, ReadPath(std::string_view(key).substr(1)));
    Rule rule;
    CD4ML_ASSIGN_OR_RETURN(Matcher matcher, ReadMatcher(value));
    rule.matchers.push_back(std::move(matcher));
    const std::string part = path.empty() ? "" : path.front().name;
    if (part == "body") {
      rule.path.assign(path.begin() + 1, path.end());
      expected.body_rules.push_back(std::move(rule));
    } else if ((part == "headers" || part == "header") && path.size() == 2) {
      expected.header_rules[Lower(path[1].name)] = std::move(rule);
    } else {
      return Unsupported("it");
    }
    return absl::OkStatus();
  }

  bool is_v3_ = false;
};

}  // namespace

absl::StatusOr<Contract> ParsePact(const Value& document) { return Reader().Read(document); }

}  // namespace cd4ml::agent
