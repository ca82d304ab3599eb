// Looking into values and changing them by path.
#include "cd4ml/base/value.h"

#include <charconv>
#include <utility>

#include "cd4ml/base/check.h"

namespace cd4ml {
namespace {

void FlattenInto(const Value& value, const std::string& prefix, std::map<std::string, Value>& out) {
  if (value.is_map()) {
    for (const auto& [key, member] : value.map()) {
      FlattenInto(member, prefix.empty() ? key : prefix + "." + key, out);
    }
  } else if (value.is_scalar()) {
    out[prefix] = value;
  }
}

}  // namespace

Value::Value() = default;
Value::Value(const Value& other) = default;
Value::Value(Value&& other) noexcept = default;
Value& Value::operator=(const Value& other) = default;
Value& Value::operator=(Value&& other) noexcept = default;
Value::~Value() = default;
bool Value::operator==(const Value& other) const { return data == other.data; }  // `= default` ends clang 14.

Value::Value(bool value) : data(value) {}
Value::Value(int value) : data(int64_t{value}) {}
Value::Value(int64_t value) : data(value) {}
Value::Value(double value) : data(value) {}
Value::Value(const char* value) : data(std::string(value)) {}
Value::Value(std::string value) : data(std::move(value)) {}
Value::Value(std::string_view value) : data(std::string(value)) {}
Value::Value(List value) : data(std::move(value)) {}
Value::Value(Map value) : data(std::move(value)) {}

bool Value::is_number() const {
  return std::holds_alternative<int64_t>(data) || std::holds_alternative<double>(data);
}

double Value::number() const {
  CD4ML_CHECK(is_number(), "value is no number");
  if (const auto* integer = std::get_if<int64_t>(&data)) return static_cast<double>(*integer);
  return std::get<double>(data);
}

const Value* Value::Find(std::string_view key) const {
  if (!is_map()) return nullptr;
  const auto found = map().find(key);
  return found == map().end() ? nullptr : &found->second;
}

const Value* Value::FindPath(std::string_view dotted) const {
  const Value* value = this;
  while (value != nullptr && !dotted.empty()) {
    const size_t dot = dotted.find('.');
    value = value->Find(dotted.substr(0, dot));
    dotted = dot == std::string_view::npos ? std::string_view() : dotted.substr(dot + 1);
  }
  return value;
}

std::string_view TypeName(const Value& value) {
  static constexpr std::string_view kNames[] = {"null", "bool", "int", "float", "string", "list", "map"};
  return kNames[value.data.index()];
}

std::string ToText(const Value& value) {
  return value.is_string() ? value.string() : ToJson(value);
}

std::map<std::string, Value> Flatten(const Value& value) {
  std::map<std::string, Value> flat;
  FlattenInto(value, "", flat);
  return flat;
}

void SetPath(Value& root, std::string_view dotted, Value value) {
  if (!root.is_map()) root = Value(Value::Map());
  const size_t dot = dotted.find('.');
  Value& member = std::get<Value::Map>(root.data)[std::string(dotted.substr(0, dot))];
  if (dot == std::string_view::npos) {
    member = std::move(value);
  } else {
    SetPath(member, dotted.substr(dot + 1), std::move(value));
  }
}

}  // namespace cd4ml

template class std::vector<std::string>;
template class std::vector<cd4ml::Value>;
template class std::map<std::string, std::string>;
template class std::map<std::string, cd4ml::Value, std::less<>>;
