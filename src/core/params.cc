// Merging parameters from their sources and checking them against the schema.
#include "cd4ml/core/params.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

#include "cd4ml/base/text.h"

namespace cd4ml::core {
namespace {

using Type = ParamSchema::Type;

std::string_view ToText(Type type) {
  static constexpr std::string_view kWords[] = {"int",  "float", "bool", "string",
                                                "enum", "list",  "map"};
  return kWords[static_cast<size_t>(type)];
}

bool IsInt(const Value& value) { return std::holds_alternative<int64_t>(value.data); }

bool HasType(const Value& value, Type type) {
  switch (type) {
    case Type::kInt:
      return IsInt(value);
    case Type::kFloat:
      return value.is_number();
    case Type::kBool:
      return value.is_bool();
    case Type::kString:
    case Type::kEnum:
      return value.is_string();
    case Type::kList:
      return value.is_list();
    case Type::kMap:
      return value.is_map();
  }
  return false;
}

std::optional<Type> TypeOf(const Value& value) {
  if (value.is_null()) return std::nullopt;
  if (IsInt(value)) return Type::kInt;
  if (value.is_number()) return Type::kFloat;
  if (value.is_bool()) return Type::kBool;
  if (value.is_list()) return Type::kList;
  return value.is_map() ? Type::kMap : Type::kString;
}

std::optional<Value> ParseNumber(std::string_view text) {
  const char* end = text.data() + text.size();
  int64_t integer = 0;
  const auto read = std::from_chars(text.data(), end, integer);
  if (read.ec == std::errc() && read.ptr == end) return Value(integer);
  double number = 0;
  const auto real = std::from_chars(text.data(), end, number);
  if (real.ec == std::errc() && real.ptr == end && std::isfinite(number)) return Value(number);
  return std::nullopt;
}

// Reads an override as the type that its parameter has: the command line knows only text.
Value Coerce(Value value, Type type) {
  if (type == Type::kString || type == Type::kEnum)
    return value.is_scalar() ? Value(cd4ml::ToText(value)) : value;
  if ((type == Type::kInt || type == Type::kFloat) && value.is_string()) {
    if (const auto number = ParseNumber(value.string())) value = *number;
  }
  if (type == Type::kFloat && IsInt(value)) return Value(value.number());
  return value;
}

std::string Described(const Value& value) {
  std::string json = ToJson(value);
  if (json.size() > 60) json = std::string(TypeName(value));
  return json;
}

// Calls `visit(dotted name, value)` for everything that is no map with members.
template <typename Visit>
void ForEachLeaf(const Value& value, const std::string& prefix, const Visit& visit) {
  if (!value.is_map() || (value.map().empty() && !prefix.empty())) {
    visit(prefix, value);
    return;
  }
  for (const auto& [key, member] : value.map()) {
    ForEachLeaf(member, prefix.empty() ? key : prefix + "." + key, visit);
  }
}

// Replaces what a record only has as text (NaN, infinities) by what it is in `now`, where that is written the same.
void TakeUnrecorded(const Value& now, Value& recorded) {
  if (recorded.is_map()) {
    for (auto& [key, member] : std::get<Value::Map>(recorded.data)) {
      if (const Value* today = now.Find(key)) TakeUnrecorded(*today, member);
    }
  } else if (recorded != now && ToJson(recorded) == ToJson(now)) {
    recorded = now;
  }
}

class Resolver {
 public:
  explicit Resolver(const ParamsSpec& spec, EffectiveParams begun = {Value(Value::Map()), {}})
      : spec_(spec), result_(std::move(begun)) {
    for (const ParamSchema& param : spec.schema) schema_.emplace(param.name, &param);
  }

  void AddDefaults() {
    for (const ParamSchema& param : spec_.schema) {
      if (param.fallback) Set(param.name, *param.fallback, "default");
    }
  }

  void AddFile(const std::string& file, const Value& values) {
    if (!values.is_map()) return Problem(file + " must hold a map");
    ForEachLeaf(values, "", [&](const std::string& name, const Value& value) {
      const ParamSchema* param = Find(name);
      const bool widens = param != nullptr && param->type == Type::kFloat && IsInt(value);
      Set(name, widens ? Value(value.number()) : value, file);
    });
  }

  void AddOverride(const std::string& name, const Value& value) {
    const Value* now = result_.values.FindPath(name);
    const ParamSchema* param = Find(name);
    if (param == nullptr && (now == nullptr || name.empty())) {
      return Problem("unknown parameter \"" + name + "\"" + DidYouMean(name, Known()));
    }
    const std::optional<Type> type = param != nullptr ? std::optional(param->type) : TypeOf(*now);
    Value coerced = type ? Coerce(value, *type) : value;
    if (param == nullptr && type && !HasType(coerced, *type)) {
      return Problem("parameter \"" + name + "\" is of type " + std::string(ToText(*type)) +
                     " in its file, " + Described(coerced) + " is not");
    }
    Set(name, std::move(coerced), "trigger");
  }

  void AddOverrides(const std::map<std::string, Value>& overrides, std::string_view lane) {
    if (spec_.experiment_only && !overrides.empty() && lane != "experiment") {
      Problem(
          "only the experiment lane may have other parameters than the files, this is lane \"" +
          std::string(lane) + "\"");
    } else {
      for (const auto& [name, value] : overrides) AddOverride(name, value);
    }
  }

  // A parameter of the schema must have a value, and one that fits.
  void CheckAll() {
    for (const ParamSchema& param : spec_.schema) {
      const Value* value = result_.values.FindPath(param.name);
      if (value == nullptr) {
        Problem("parameter \"" + param.name +
                "\" has no value: no file holds it and its schema has no default");
        continue;
      }
      const std::string problem = CheckParam(param, *value);
      const auto source = result_.sources.find(param.name);
      if (problem.empty()) continue;
      Problem("parameter \"" + param.name + "\" " + problem +
              (source == result_.sources.end() ? "" : " (from " + source->second + ")"));
    }
  }

  absl::StatusOr<EffectiveParams> Finish() {
    if (!problems_.empty()) return absl::InvalidArgumentError(problems_);
    return std::move(result_);
  }

  void Problem(const std::string& problem) {
    problems_ += (problems_.empty() ? "" : "; ") + problem;
  }

 private:
  const ParamSchema* Find(const std::string& name) const {
    const auto found = schema_.find(name);
    return found == schema_.end() ? nullptr : found->second;
  }

  std::vector<std::string> Known() const {
    std::vector<std::string> names;
    for (const auto& [name, param] : schema_) names.push_back(name);
    for (const auto& [name, source] : result_.sources) names.push_back(name);
    return names;
  }

  // What stood at the name, or below it, is replaced, and so are the sources of it.
  void Set(const std::string& name, Value value, const std::string& source) {
    const std::string below = name + ".";
    auto at = result_.sources.lower_bound(below);
    while (at != result_.sources.end() && at->first.starts_with(below))
      at = result_.sources.erase(at);
    for (size_t dot = name.rfind('.'); dot != std::string::npos && dot > 0;
         dot = name.rfind('.', dot - 1)) {
      result_.sources.erase(name.substr(0, dot));
    }
    SetPath(result_.values, name, value);
    ForEachLeaf(value, name,
                [&](const std::string& leaf, const Value&) { result_.sources[leaf] = source; });
  }

  const ParamsSpec& spec_;
  std::map<std::string, const ParamSchema*> schema_;
  EffectiveParams result_;
  std::string problems_;
};

}  // namespace

std::string CheckParam(const ParamSchema& param, const Value& value) {
  if (!HasType(value, param.type)) {
    return "must be of type " + std::string(ToText(param.type)) + ", is " + Described(value);
  }
  if (param.type == Type::kEnum &&
      std::find(param.values.begin(), param.values.end(), value.string()) == param.values.end()) {
    std::string allowed;
    for (const std::string& word : param.values) allowed += (allowed.empty() ? "" : ", ") + word;
    return "must be one of " + allowed + ", is " + Described(value) +
           (value.string().size() > 80 ? "" : DidYouMean(value.string(), param.values));
  }
  if (value.is_number() && !std::isfinite(value.number()))
    return "must be finite, is " + Described(value);
  const auto bound = [](double number) {
    return number == std::floor(number) && std::abs(number) < 1e15
               ? ToJson(Value(static_cast<int64_t>(number)))
               : ToJson(Value(number));
  };
  if (param.bounds.min && value.is_number() && value.number() < *param.bounds.min) {
    return "must be at least " + bound(*param.bounds.min) + ", is " + Described(value);
  }
  if (param.bounds.max && value.is_number() && value.number() > *param.bounds.max) {
    return "must be at most " + bound(*param.bounds.max) + ", is " + Described(value);
  }
  return "";
}

absl::StatusOr<EffectiveParams> ResolveParams(
    const ParamsSpec& spec, const std::vector<std::pair<std::string, Value>>& files,
    const std::map<std::string, Value>& overrides, std::string_view lane) {
  Resolver resolver(spec);
  resolver.AddDefaults();
  for (const auto& [file, values] : files) resolver.AddFile(file, values);
  resolver.AddOverrides(overrides, lane);
  resolver.CheckAll();
  return resolver.Finish();
}

absl::StatusOr<EffectiveParams> ChangeParams(const ParamsSpec& spec, EffectiveParams before, const Value& now,
                                             const std::map<std::string, Value>& overrides, std::string_view lane) {
  TakeUnrecorded(now, before.values);
  Resolver resolver(spec, std::move(before));
  resolver.AddOverrides(overrides, lane);
  resolver.CheckAll();
  return resolver.Finish();
}

Value ParseParamText(std::string_view text) {
  if (text == "true" || text == "false") return Value(text == "true");
  if (text == "null") return Value();
  if (const auto number = ParseNumber(text)) return ToJson(*number) == text ? *number : Value(text);
  if (text.starts_with('[') || text.starts_with('{') || text.starts_with('"')) {
    auto json = ParseJson(text);
    if (json.ok()) return *std::move(json);
  }
  return Value(text);
}

Scope ScopeOfRun(const Value& params, const std::string& lane, TriggerKind trigger) {
  Scope scope;
  scope.name = [&params, lane, trigger](std::string_view name) -> std::optional<Value> {
    if (name == "run.lane") return Value(lane);
    if (name == "run.trigger") return Value(ToText(trigger));
    if (!name.starts_with("params.")) return std::nullopt;
    const Value* value = params.FindPath(name.substr(7));
    return value == nullptr ? std::nullopt : std::optional<Value>(*value);
  };
  scope.call = [](std::string_view, const std::vector<Value>&) -> std::optional<Value> { return std::nullopt; };
  scope.known_names = {"run.lane", "run.trigger"};
  for (const auto& [name, value] : Flatten(params)) scope.known_names.push_back("params." + name);
  return scope;
}

}  // namespace cd4ml::core
