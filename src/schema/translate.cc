// Checks schemas and rewrites them; see translate.h.
#include "schema/translate.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <functional>
#include <set>

#include "cd4ml/base/status.h"
#include "cd4ml/base/text.h"

namespace cd4ml::schema {
namespace {

using Json = nlohmann::json;

// Held places: the number of a pattern or divisor, and lists of a pattern's number, whether names fit it, and the schema
// of their members then.
constexpr char kTexts[] = "$texts", kNumbers[] = "$numbers", kNames[] = "$names";
constexpr size_t kDifferentMax = 10'000;  // Different texts or numbers of an answer that patterns are asked about.
constexpr double kExactMax = 9007199254740992.0;  // 2^53

const std::vector<std::string> kTypes = {"object", "array", "string", "number", "integer", "boolean", "null"};

// Says something to people or generators, nothing about a value.
const std::set<std::string, std::less<>> kAnnotations = {
    "$schema", "$id", "$comment", "$anchor", "$defs", "definitions", "components", "title", "description", "default",
    "example", "examples", "deprecated", "readOnly", "writeOnly", "xml", "externalDocs", "discriminator",
    "contentEncoding", "contentMediaType", "contentSchema"};

const std::vector<std::string> kKeywords = {
    "type", "enum", "const", "nullable", "required", "properties", "patternProperties", "additionalProperties",
    "propertyNames", "minProperties", "maxProperties", "dependencies", "dependentRequired", "dependentSchemas",
    "items", "prefixItems", "additionalItems", "contains", "minItems", "maxItems", "uniqueItems", "minLength", "maxLength",
    "pattern", "format", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "allOf", "anyOf",
    "oneOf", "not", "if", "then", "else", "$ref"};

// Formats that are checked, as patterns over the whole text.
const std::map<std::string, std::string, std::less<>> kFormats = {
    {"date", R"(\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01]))"},
    {"time", R"(([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d))"},
    {"date-time", R"(\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])[Tt ]([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?)"
                  R"(([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d))"},
    {"uuid", "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"},
    {"ipv4", R"(((25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(25[0-5]|2[0-4]\d|1?\d?\d))"},
    {"email", R"([^@\s]+@[^@\s]+)"},
    {"hostname", R"([0-9A-Za-z]([0-9A-Za-z-]*[0-9A-Za-z])?(\.[0-9A-Za-z]([0-9A-Za-z-]*[0-9A-Za-z])?)*)"},
    {"uri", R"([A-Za-z][A-Za-z0-9+.-]*:\S*)"},
    {"byte", R"([A-Za-z0-9+/]*={0,2})"}};
// Formats that bound nothing.
const std::set<std::string, std::less<>> kLooseFormats = {"float", "double", "password", "binary", "uri-reference"};

absl::Status Wrong(const std::string& where, const std::string& what) {
  return absl::InvalidArgumentError("schema " + (where.empty() ? "/" : where) + ": " + what);
}

std::string Escaped(std::string_view name) {
  std::string out;
  for (const char c : name) out += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
  return out;
}

// Returns the text of a reference's pointer with what is written as %XX put back.
std::string Unescaped(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    int code = 0;
    if (text[i] == '%' && i + 2 < text.size() &&
        std::from_chars(text.data() + i + 1, text.data() + i + 3, code, 16).ptr == text.data() + i + 3) {
      out.push_back(static_cast<char>(code));
      i += 2;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

bool IsCount(const Value& value) {
  return value.is_number() && value.number() >= 0 && value.number() <= kExactMax &&
         std::floor(value.number()) == value.number();
}

class Translator {
 public:
  explicit Translator(const Value& document) : document_(document) {}

  absl::StatusOr<Translated> Run(std::string_view pointer) {
    CD4ML_ASSIGN_OR_RETURN(const size_t first, Number(std::string(pointer), ""));
    Json definitions = Json::object();
    // What a definition refers to comes after it in the list.
    for (size_t i = 0; i < pointers_.size(); ++i) {
      at_ = i;
      const std::string where = pointers_[i];
      CD4ML_ASSIGN_OR_RETURN(definitions[std::to_string(i)], Schema(*Resolve(document_, where), where, /*in_place=*/true));
    }
    CD4ML_RETURN_IF_ERROR(CheckCircles());
    out_.schema = {{"allOf", Json::array({{{"$ref", "#/definitions/" + std::to_string(first)}}})},
                   {"definitions", std::move(definitions)}};
    return std::move(out_);
  }

 private:
  // Returns the number of the definition that is made of what lies at `pointer`.
  absl::StatusOr<size_t> Number(const std::string& pointer, const std::string& where) {
    const auto [found, is_new] = numbers_.emplace(pointer, pointers_.size());
    if (!is_new) return found->second;
    if (Resolve(document_, pointer) == nullptr) return Wrong(where, "there is nothing at \"#" + pointer + "\"");
    pointers_.push_back(pointer);
    edges_.emplace_back();
    return found->second;
  }

  // `in_place`: it judges the same value as the definition that is being translated.
  absl::StatusOr<Json> Schema(const Value& value, const std::string& where, bool in_place) {
    if (value.is_bool()) return value.boolean() ? Json::object() : Json{{"not", Json::object()}};
    if (!value.is_map()) return Wrong(where, "a schema is a map, this is a " + std::string(TypeName(value)));
    Json out = Json::object();
    Json more = Json::array();  // Further schemas for the same value.
    for (const auto& [word, argument] : value.map()) {
      if (kAnnotations.contains(word) || word.starts_with("x-")) continue;
      CD4ML_RETURN_IF_ERROR(Keyword(value, word, argument, where + "/" + Escaped(word), in_place, out, more));
    }
    if (!more.empty()) {
      for (Json& item : more) out["allOf"].push_back(std::move(item));
    }
    return out;
  }

  absl::Status Keyword(const Value& schema, const std::string& word, const Value& argument, const std::string& where,
                       bool in_place, Json& out, Json& more) {
    if (word == "$ref") return Reference(argument, where, in_place, more);
    if (word == "type") return Type(schema, argument, where, out);
    if (word == "nullable") return Nullable(schema, argument, where);
    if (word == "pattern") return Pattern(argument, where, more);
    if (word == "propertyNames") return Names(argument, where, out);
    if (word == "format") return Format(argument, where, more);
    if (word == "multipleOf") return Multiple(argument, where, more);
    if (word == "const") {
      more.push_back({{"enum", Json::array({ToNlohmann(argument)})}});
      return absl::OkStatus();
    }
    if (word == "enum") {
      if (!argument.is_list() || argument.list().empty()) return Wrong(where, "must be a list of values");
      out[word] = ToNlohmann(argument);
      return absl::OkStatus();
    }
    if (word == "allOf" || word == "anyOf" || word == "oneOf") return Several(word, argument, where, in_place, out);
    if (word == "properties" || word == "patternProperties" || word == "dependentSchemas") {
      return Members(word, argument, where, in_place, out);
    }
    if (word == "items" || word == "prefixItems") return Items(schema, word, argument, where, out);
    if (word == "required" || word == "dependentRequired" || word == "dependencies") {
      return Required(word, argument, where, in_place, out);
    }
    if (word == "uniqueItems") {
      if (!argument.is_bool()) return Wrong(where, "must be true or false");
      out_.wants_unique |= argument.boolean();
      out[word] = argument.boolean();
      return absl::OkStatus();
    }
    if (word.starts_with("exclusive") || word == "minimum" || word == "maximum") return Bound(schema, word, argument, where, out);
    if (word.starts_with("min") || word.starts_with("max")) {
      if (std::find(kKeywords.begin(), kKeywords.end(), word) == kKeywords.end()) return Unknown(word, where);
      if (!IsCount(argument)) return Wrong(where, "must be a whole number from 0 on");
      out[word] = static_cast<int64_t>(argument.number());
      return absl::OkStatus();
    }
    const bool is_one = word == "not" || word == "if" || word == "then" || word == "else";
    if (is_one || word == "additionalProperties" || word == "contains" || word == "additionalItems") {
      return One(word, argument, where, in_place && is_one, out);
    }
    return Unknown(word, where);
  }

  static absl::Status Unknown(const std::string& word, const std::string& where) {
    return Wrong(where, "the keyword \"" + word + "\" is not supported" + DidYouMean(word, kKeywords));
  }

  absl::Status Reference(const Value& argument, const std::string& where, bool in_place, Json& more) {
    if (!argument.is_string()) return Wrong(where, "must be a text");
    const std::string& text = argument.string();
    if (text != "#" && !text.starts_with("#/")) {
      return Wrong(where, "\"" + text + "\" refers to another document, which is not supported; put it into this one");
    }
    CD4ML_ASSIGN_OR_RETURN(const size_t number, Number(Unescaped(text.substr(1)), where));
    if (in_place) edges_[at_].insert(number);
    more.push_back({{"$ref", "#/definitions/" + std::to_string(number)}});
    return absl::OkStatus();
  }

  static absl::Status Type(const Value& schema, const Value& argument, const std::string& where, Json& out) {
    const Value::List one = {argument};
    Json types = Json::array();
    for (const Value& type : argument.is_list() ? argument.list() : one) {
      const std::string name = type.is_string() ? type.string() : "";
      if (std::find(kTypes.begin(), kTypes.end(), name) == kTypes.end()) {
        return Wrong(where, "unknown type " + ToJson(type) + DidYouMean(name, kTypes));
      }
      types.push_back(name);
    }
    if (types.empty()) return Wrong(where, "must name a type");
    const Value* nullable = schema.Find("nullable");
    if (nullable != nullptr && *nullable == Value(true)) types.push_back("null");
    out["type"] = types.size() == 1 ? types[0] : types;
    return absl::OkStatus();
  }

  static absl::Status Nullable(const Value& schema, const Value& argument, const std::string& where) {
    if (!argument.is_bool()) return Wrong(where, "must be true or false");
    if (!argument.boolean() || schema.Find("type") != nullptr) return absl::OkStatus();
    return Wrong(where, "says nothing without a \"type\" beside it");
  }

  absl::Status AddPattern(const std::string& pattern, const std::string& where, size_t& number) {
    auto compiled = std::make_unique<RE2>(pattern, RE2::Quiet);
    if (!compiled->ok()) return Wrong(where, "is no regular expression of RE2: " + compiled->error());
    number = out_.patterns.size();
    out_.patterns.push_back(std::move(compiled));
    return absl::OkStatus();
  }

  static void If(const char* type, Json then, Json& more) {
    more.push_back({{"if", {{"type", type}}}, {"then", std::move(then)}});
  }

  absl::Status Pattern(const Value& argument, const std::string& where, Json& more) {
    if (!argument.is_string()) return Wrong(where, "must be a regular expression");
    size_t number = 0;
    CD4ML_RETURN_IF_ERROR(AddPattern(argument.string(), where, number));
    If("string", {{kTexts, number}}, more);
    return absl::OkStatus();
  }

  // valijson does not hold names against anything but their length.
  absl::Status Names(const Value& argument, const std::string& where, Json& out) {
    const Value* pattern = argument.Find("pattern");
    if (pattern == nullptr || !pattern->is_string() || argument.map().size() != 1) {
      return Wrong(where, "only {pattern: ...} is supported for names");
    }
    size_t number = 0;
    CD4ML_RETURN_IF_ERROR(AddPattern(pattern->string(), where, number));
    out[kNames].push_back(Json::array({number, false, {{"not", Json::object()}}}));
    return absl::OkStatus();
  }

  absl::Status Format(const Value& argument, const std::string& where, Json& more) {
    const std::string name = argument.is_string() ? argument.string() : "";
    if (kLooseFormats.contains(name)) return absl::OkStatus();
    if (name == "int32" || name == "int64") {
      const double top = name == "int32" ? 2147483648.0 : 9223372036854775808.0;
      If("number", {{"minimum", -top}, {"maximum", name == "int32" ? top - 1 : top}}, more);
      return absl::OkStatus();
    }
    const auto found = kFormats.find(name);
    if (found == kFormats.end()) {
      std::string known;
      for (const auto& [format, pattern] : kFormats) known += (known.empty() ? "" : ", ") + format;
      return Wrong(where, "the format " + ToJson(argument) + " is not supported; these are checked: " + known);
    }
    size_t number = 0;
    CD4ML_RETURN_IF_ERROR(AddPattern("^(?:" + found->second + ")$", where, number));
    If("string", {{kTexts, number}}, more);
    return absl::OkStatus();
  }

  absl::Status Multiple(const Value& argument, const std::string& where, Json& more) {
    if (!argument.is_number() || !(argument.number() > 0) || !std::isfinite(argument.number())) {
      return Wrong(where, "must be a number above 0");
    }
    If("number", {{kNumbers, out_.divisors.size()}}, more);
    out_.divisors.push_back(argument.number());
    return absl::OkStatus();
  }

  absl::Status Several(const std::string& word, const Value& argument, const std::string& where, bool in_place, Json& out) {
    if (!argument.is_list() || argument.list().empty()) return Wrong(where, "must be a list of schemas");
    out[word] = Json::array();
    for (size_t i = 0; i < argument.list().size(); ++i) {
      CD4ML_ASSIGN_OR_RETURN(Json one, Schema(argument.list()[i], where + "/" + std::to_string(i), in_place));
      out[word].push_back(std::move(one));
    }
    return absl::OkStatus();
  }

  absl::Status Members(const std::string& word, const Value& argument, const std::string& where, bool in_place, Json& out) {
    if (!argument.is_map()) return Wrong(where, "must be a map of schemas");
    const bool is_same = word == "dependentSchemas";
    if (word != "patternProperties") out[is_same ? "dependencies" : word].update(Json::object());
    for (const auto& [name, schema] : argument.map()) {
      const std::string here = where + "/" + Escaped(name);
      CD4ML_ASSIGN_OR_RETURN(Json one, Schema(schema, here, in_place && is_same));
      if (word == "patternProperties") {
        size_t number = 0;
        CD4ML_RETURN_IF_ERROR(AddPattern(name, here, number));
        out[kNames].push_back(Json::array({number, true, std::move(one)}));
      } else {
        out[is_same ? "dependencies" : word][name] = std::move(one);
      }
    }
    return absl::OkStatus();
  }

  absl::Status Items(const Value& schema, const std::string& word, const Value& argument, const std::string& where, Json& out) {
    const bool is_tuple = argument.is_list();
    if (word == "prefixItems" && !is_tuple) return Wrong(where, "must be a list of schemas");
    if (is_tuple) {
      out["items"] = Json::array();
      for (size_t i = 0; i < argument.list().size(); ++i) {
        CD4ML_ASSIGN_OR_RETURN(Json one, Schema(argument.list()[i], where + "/" + std::to_string(i), false));
        out["items"].push_back(std::move(one));
      }
      // Without a word about the rest, valijson would allow none.
      if (schema.Find("additionalItems") == nullptr && !out.contains("additionalItems")) {
        out["additionalItems"] = Json::object();
      }
      return absl::OkStatus();
    }
    return One(schema.Find("prefixItems") != nullptr ? "additionalItems" : "items", argument, where, false, out);
  }

  absl::Status Required(const std::string& word, const Value& argument, const std::string& where, bool in_place, Json& out) {
    const auto is_names = [](const Value& value) {
      return value.is_list() && std::all_of(value.list().begin(), value.list().end(),
                                            [](const Value& item) { return item.is_string(); });
    };
    if (word == "required") {
      if (!is_names(argument)) return Wrong(where, "must be a list of names");
      if (!argument.list().empty()) out[word] = ToNlohmann(argument);
      return absl::OkStatus();
    }
    if (!argument.is_map()) return Wrong(where, "must be a map");
    for (const auto& [name, needed] : argument.map()) {
      if (is_names(needed)) {
        out["dependencies"][name] = ToNlohmann(needed);
      } else if (word == "dependentRequired") {
        return Wrong(where + "/" + Escaped(name), "must be a list of names");
      } else {
        CD4ML_ASSIGN_OR_RETURN(out["dependencies"][name], Schema(needed, where + "/" + Escaped(name), in_place));
      }
    }
    return absl::OkStatus();
  }

  // Draft 4 and OpenAPI 3.0 say `exclusiveMinimum: true` beside a minimum, later ones give the number there.
  static absl::Status Bound(const Value& schema, const std::string& word, const Value& argument, const std::string& where,
                            Json& out) {
    static const std::set<std::string> kKnown = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"};
    if (!kKnown.contains(word)) return Unknown(word, where);
    const bool is_exclusive = word.starts_with("exclusive");
    if (is_exclusive && argument.is_bool()) {
      const Value* bound = schema.Find(word == "exclusiveMinimum" ? "minimum" : "maximum");
      if (bound == nullptr || !bound->is_number()) return Wrong(where, "needs the bound beside it");
      if (argument.boolean()) out[word] = ToNlohmann(*bound);
      return absl::OkStatus();
    }
    if (!argument.is_number() || !std::isfinite(argument.number())) return Wrong(where, "must be a number");
    out[word] = ToNlohmann(argument);
    return absl::OkStatus();
  }

  absl::Status One(const std::string& word, const Value& argument, const std::string& where, bool in_place, Json& out) {
    CD4ML_ASSIGN_OR_RETURN(out[word], Schema(argument, where, in_place));
    return absl::OkStatus();
  }

  // A schema that says of a value only what it says of the same value again would never come to an end.
  absl::Status CheckCircles() const {
    enum class Mark { kNew, kOpen, kDone };
    std::vector<Mark> marks(edges_.size(), Mark::kNew);
    std::vector<std::pair<size_t, std::set<size_t>::const_iterator>> path;
    for (size_t start = 0; start < edges_.size(); ++start) {
      if (marks[start] != Mark::kNew) continue;
      marks[start] = Mark::kOpen;
      path.emplace_back(start, edges_[start].begin());
      while (!path.empty()) {
        auto& [node, next] = path.back();
        if (next == edges_[node].end()) {
          marks[node] = Mark::kDone;
          path.pop_back();
          continue;
        }
        const size_t target = *next++;
        if (marks[target] == Mark::kOpen) return Wrong(pointers_[target], "refers to itself in a circle");
        if (marks[target] == Mark::kDone) continue;
        marks[target] = Mark::kOpen;
        path.emplace_back(target, edges_[target].begin());
      }
    }
    return absl::OkStatus();
  }

  const Value& document_;
  Translated out_;
  std::map<std::string, size_t> numbers_;
  std::vector<std::string> pointers_;       // Where each definition lies in the document.
  std::vector<std::set<size_t>> edges_;     // Which others judge the same value as it.
  size_t at_ = 0;
};

// Everything in an answer that a held place may be about.
struct Content {
  std::set<std::string> texts, names;
  std::set<double> numbers;

  void Gather(const Value& value) {
    if (value.is_string()) texts.insert(value.string());
    if (value.is_number() && !std::isnan(value.number())) numbers.insert(value.number());
    if (value.is_list()) {
      for (const Value& item : value.list()) Gather(item);
    }
    if (!value.is_map()) return;
    for (const auto& [name, member] : value.map()) {
      names.insert(name);
      Gather(member);
    }
  }
};

bool IsMultiple(double number, double divisor) {
  const double times = number / divisor;
  return std::abs(times) > kExactMax || std::abs(times - std::round(times)) <= 1e-9 * std::max(1.0, std::abs(times));
}

class Filler {
 public:
  Filler(const Translated& translated, const Content& content) : translated_(translated), content_(content) {
    for (const auto& pattern : translated.patterns) {
      Json& allowed = texts_.emplace_back(Json::array());
      for (const std::string& text : content.texts) {
        if (RE2::PartialMatch(text, *pattern)) allowed.push_back(text);
      }
    }
    for (const double divisor : translated.divisors) {
      Json& allowed = numbers_.emplace_back(Json::array());
      for (const double number : content.numbers) {
        if (IsMultiple(number, divisor)) allowed.push_back(ToNlohmann(Value(number)));
      }
    }
  }

  Json Fill(const Json& schema) const {
    if (schema.is_array()) {
      Json out = Json::array();
      for (const Json& item : schema) out.push_back(Fill(item));
      return out;
    }
    if (!schema.is_object()) return schema;
    Json out = Json::object();
    for (const auto& [word, argument] : schema.items()) {
      if (word == kTexts) {
        out["enum"] = texts_[argument.get<size_t>()];
      } else if (word == kNumbers) {
        out["enum"] = numbers_[argument.get<size_t>()];
      } else if (word == "properties" || word == "definitions" || word == "dependencies") {
        out[word] = Json::object();
        for (const auto& [name, member] : argument.items()) out[word][name] = Fill(member);
      } else if (word == "enum") {
        out[word] = argument;  // May hold anything, also what looks like a place.
      } else if (word != kNames) {
        out[word] = Fill(argument);
      }
    }
    if (const auto names = schema.find(kNames); names != schema.end()) AddNamed(*names, out);
    return out;
  }

 private:
  void AddNamed(const Json& named, Json& out) const {
    out["properties"].update(Json::object());
    for (const Json& one : named) {
      const RE2& pattern = *translated_.patterns[one[0].get<size_t>()];
      const Json schema = Fill(one[2]);
      for (const std::string& name : content_.names) {
        if (RE2::PartialMatch(name, pattern) != one[1].get<bool>()) continue;
        Json& property = out["properties"][name];
        if (property.is_null()) property = Json::object();
        property = {{"allOf", Json::array({property, schema})}};
      }
    }
  }

  const Translated& translated_;
  const Content& content_;
  std::vector<Json> texts_, numbers_;
};

size_t LongestList(const Value& value) {
  size_t longest = value.is_list() ? value.list().size() : 0;
  if (value.is_list()) {
    for (const Value& item : value.list()) longest = std::max(longest, LongestList(item));
  } else if (value.is_map()) {
    for (const auto& [name, member] : value.map()) longest = std::max(longest, LongestList(member));
  }
  return longest;
}

}  // namespace

Json ToNlohmann(const Value& value) {
  if (value.is_null()) return nullptr;
  if (value.is_bool()) return value.boolean();
  if (value.is_string()) return value.string();
  if (const auto* whole = std::get_if<int64_t>(&value.data)) return *whole;
  if (value.is_number()) {
    const double number = value.number();
    if (!std::isfinite(number)) return std::isnan(number) ? "NaN" : number > 0 ? "Infinity" : "-Infinity";
    if (std::floor(number) == number && std::abs(number) <= kExactMax) return static_cast<int64_t>(number);
    return number;
  }
  if (value.is_list()) {
    Json list = Json::array();
    for (const Value& item : value.list()) list.push_back(ToNlohmann(item));
    return list;
  }
  Json map = Json::object();
  for (const auto& [name, member] : value.map()) map[name] = ToNlohmann(member);
  return map;
}

const Value* Resolve(const Value& document, std::string_view pointer) {
  const Value* here = &document;
  while (!pointer.empty() && here != nullptr) {
    if (pointer.front() != '/') return nullptr;
    pointer.remove_prefix(1);
    const size_t end = std::min(pointer.find('/'), pointer.size());
    std::string name;
    for (size_t i = 0; i < end; ++i) {
      const bool is_escape = pointer[i] == '~' && i + 1 < end && (pointer[i + 1] == '0' || pointer[i + 1] == '1');
      name.push_back(is_escape ? (pointer[++i] == '1' ? '/' : '~') : pointer[i]);
    }
    pointer.remove_prefix(end);
    if (!here->is_list()) {
      here = here->Find(name);
      continue;
    }
    size_t index = 0;
    const auto [rest, error] = std::from_chars(name.data(), name.data() + name.size(), index);
    const bool is_index = error == std::errc() && rest == name.data() + name.size();
    here = is_index && index < here->list().size() ? &here->list()[index] : nullptr;
  }
  return here;
}

absl::StatusOr<Translated> Translate(const Value& document, std::string_view pointer) {
  return Translator(document).Run(pointer);
}

absl::StatusOr<Json> Fill(const Translated& translated, const Value& answer) {
  if (translated.wants_unique && LongestList(answer) > kDifferentMax) {
    return absl::ResourceExhaustedError("has a list of more than " + std::to_string(kDifferentMax) +
                                        " items, too many to find out whether they differ");
  }
  if (!translated.has_places()) return translated.schema;
  Content content;
  content.Gather(answer);
  if (std::max({content.texts.size(), content.names.size(), content.numbers.size()}) > kDifferentMax) {
    return absl::ResourceExhaustedError("holds more than " + std::to_string(kDifferentMax) +
                                        " different values, too many for the patterns of its schema");
  }
  return Filler(translated, content).Fill(translated.schema);
}

}  // namespace cd4ml::schema
