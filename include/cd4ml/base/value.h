// A JSON-like value: parameters, metrics and records whose shape the user decides.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"

namespace cd4ml {

// A null, boolean, integer, number, string, list or map. Maps are ordered by key, so that equal
// values have equal text and digests do not depend on how a file was written.
struct Value {
  using List = std::vector<Value>;
  using Map = std::map<std::string, Value, std::less<>>;
  std::variant<std::monostate, bool, int64_t, double, std::string, List, Map> data;

  Value();
  Value(const Value& other);
  Value(Value&& other) noexcept;
  Value& operator=(const Value& other);
  Value& operator=(Value&& other) noexcept;
  ~Value();
  Value(bool value);                // NOLINT: values convert freely
  Value(int value);                 // NOLINT
  Value(int64_t value);             // NOLINT
  Value(double value);              // NOLINT
  Value(const char* value);         // NOLINT
  Value(std::string value);         // NOLINT
  Value(std::string_view value);    // NOLINT
  Value(List value);                // NOLINT
  Value(Map value);                 // NOLINT

  bool operator==(const Value& other) const;

  bool is_null() const { return std::holds_alternative<std::monostate>(data); }
  bool is_number() const;
  bool is_string() const { return std::holds_alternative<std::string>(data); }
  bool is_list() const { return std::holds_alternative<List>(data); }
  bool is_map() const { return std::holds_alternative<Map>(data); }
  bool is_bool() const { return std::holds_alternative<bool>(data); }
  bool is_scalar() const { return !is_null() && !is_list() && !is_map(); }

  // Returns the content. REQUIRES: the matching is_...() holds; is_number() for `number`.
  double number() const;
  const std::string& string() const { return std::get<std::string>(data); }
  const List& list() const { return std::get<List>(data); }
  const Map& map() const { return std::get<Map>(data); }
  bool boolean() const { return std::get<bool>(data); }

  // Returns the member `key` of a map, or null when this is no map or has no such member.
  const Value* Find(std::string_view key) const;
  // Returns the value at a dotted path ("train.max_depth"), or null.
  const Value* FindPath(std::string_view dotted) const;
};

// Returns "int", "float", "string", ... for messages.
std::string_view TypeName(const Value& value);

// Returns a scalar as text: `true`, `12`, `0.25`, and strings as they are; other values as JSON.
std::string ToText(const Value& value);

// Parses JSON text (RFC 8259, UTF-8, nesting at most 64). NaN and Infinity, which Python's json
// module writes, are read as such, so that a gate can name a metric that is not a number.
absl::StatusOr<Value> ParseJson(std::string_view text);

// Returns compact JSON with sorted keys; the same value always gives the same bytes. Doubles are
// written so that they read back unchanged; NaN and infinities are written as the strings "NaN",
// "Infinity" and "-Infinity".
std::string ToJson(const Value& value);
// Returns the same, indented by two spaces, for people.
std::string ToPrettyJson(const Value& value);

// Returns all scalars of nested maps under dotted names: {a: {b: 1}} gives {"a.b": 1}.
std::map<std::string, Value> Flatten(const Value& value);

// Sets the value at a dotted path, making maps on the way. A scalar in the way is replaced.
void SetPath(Value& root, std::string_view dotted, Value value);

}  // namespace cd4ml

// Made once, in value.cc: nearly every file uses them.
extern template class std::vector<std::string>;
extern template class std::vector<cd4ml::Value>;
extern template class std::map<std::string, std::string>;
extern template class std::map<std::string, cd4ml::Value, std::less<>>;
