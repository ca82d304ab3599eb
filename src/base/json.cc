// JSON text to values and back. Reading goes through nlohmann's event parser, which bounds nesting
// here and keeps that library out of every header.
#include <charconv>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "cd4ml/base/value.h"

namespace cd4ml {
namespace {

constexpr size_t kDepthMax = 64;

// Builds a Value from nlohmann's events.
class ValueBuilder : public nlohmann::json_sax<nlohmann::json> {
 public:
  bool null() override { return Add(Value()); }
  bool boolean(bool value) override { return Add(Value(value)); }
  bool number_integer(number_integer_t value) override { return Add(Value(int64_t{value})); }
  bool number_unsigned(number_unsigned_t value) override {
    if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return Add(Value(static_cast<double>(value)));
    }
    return Add(Value(static_cast<int64_t>(value)));
  }
  bool number_float(number_float_t value, const string_t&) override { return Add(Value(value)); }
  bool string(string_t& value) override { return Add(Value(std::move(value))); }
  bool binary(binary_t&) override { return false; }
  bool start_object(size_t) override { return Open(Value(Value::Map())); }
  bool end_object() override { return Close(); }
  bool start_array(size_t) override { return Open(Value(Value::List())); }
  bool end_array() override { return Close(); }
  bool key(string_t& name) override {
    keys_.back() = std::move(name);
    if (open_.back()->Find(keys_.back()) != nullptr) {
      error_ = "duplicate key \"" + keys_.back() + "\"";
      return false;
    }
    return true;
  }
  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception& error) override {
    if (error_.empty()) error_ = error.what();
    return false;
  }

  const std::string& error() const { return error_; }
  Value& root() { return root_; }

 private:
  Value* Place(Value value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Value& parent = *open_.back();
    if (parent.is_list()) {
      auto& list = std::get<Value::List>(parent.data);
      list.push_back(std::move(value));
      return &list.back();
    }
    Value& member = std::get<Value::Map>(parent.data)[keys_.back()];
    member = std::move(value);
    return &member;
  }
  bool Add(Value value) {
    Place(std::move(value));
    return true;
  }
  bool Open(Value container) {
    if (open_.size() >= kDepthMax) {
      error_ = "nested deeper than " + std::to_string(kDepthMax);
      return false;
    }
    open_.push_back(Place(std::move(container)));
    keys_.emplace_back();
    return true;
  }
  bool Close() {
    open_.pop_back();
    keys_.pop_back();
    return true;
  }

  Value root_;
  std::vector<Value*> open_;  // Containers being filled; a parent is never touched while a child is open.
  std::vector<std::string> keys_;
  std::string error_;
};

// Python writes NaN and Infinity as bare words, which JSON has not. Outside strings they are put in
// quotes here and read as numbers by ReadBareNumbers.
constexpr std::string_view kBareWords[] = {"NaN", "-Infinity", "Infinity"};
constexpr std::string_view kBareMark = "\x01";

std::string QuoteBareWords(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      out.push_back(c);
      if (c == '\\' && i + 1 < text.size()) out.push_back(text[++i]);
      if (c == '"') in_string = false;
      continue;
    }
    bool replaced = false;
    for (std::string_view word : kBareWords) {
      if (text.substr(i).starts_with(word)) {
        out += "\"\\u0001" + std::string(word) + "\"";
        i += word.size() - 1;
        replaced = true;
        break;
      }
    }
    if (replaced) continue;
    in_string = c == '"';
    out.push_back(c);
  }
  return out;
}

void ReadBareNumbers(Value& value) {
  if (auto* list = std::get_if<Value::List>(&value.data)) {
    for (Value& item : *list) ReadBareNumbers(item);
  } else if (auto* map = std::get_if<Value::Map>(&value.data)) {
    for (auto& [key, item] : *map) ReadBareNumbers(item);
  } else if (value.is_string() && value.string().starts_with(kBareMark)) {
    const std::string_view word = std::string_view(value.string()).substr(1);
    const double infinity = std::numeric_limits<double>::infinity();
    value = word == "NaN" ? std::nan("") : word == "Infinity" ? infinity : -infinity;
  }
}

void AppendString(const std::string& text, std::string& out) {
  static constexpr char kDigits[] = "0123456789abcdef";
  out.push_back('"');
  for (char c : text) {
    switch (c) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          out += "\\u00";
          out.push_back(kDigits[c >> 4]);
          out.push_back(kDigits[c & 15]);
        } else {
          out.push_back(c);
        }
    }
  }
  out.push_back('"');
}

void AppendDouble(double number, std::string& out) {
  if (std::isnan(number)) {
    out += "\"NaN\"";
  } else if (std::isinf(number)) {
    out += number > 0 ? "\"Infinity\"" : "\"-Infinity\"";
  } else {
    char buffer[32];
    const auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, number);
    std::string_view text(buffer, static_cast<size_t>(end - buffer));
    out += text;
    // A double stays a double when it is read back.
    if (text.find_first_of(".en") == std::string_view::npos) out += ".0";
  }
}

void AppendLine(int indent, int depth, std::string& out) {
  if (indent == 0) return;
  out.push_back('\n');
  out.append(static_cast<size_t>(indent * depth), ' ');
}

void Append(const Value& value, int indent, int depth, std::string& out) {
  if (value.is_null()) {
    out += "null";
  } else if (value.is_bool()) {
    out += value.boolean() ? "true" : "false";
  } else if (const auto* integer = std::get_if<int64_t>(&value.data)) {
    out += std::to_string(*integer);
  } else if (const auto* number = std::get_if<double>(&value.data)) {
    AppendDouble(*number, out);
  } else if (value.is_string()) {
    AppendString(value.string(), out);
  } else if (value.is_list()) {
    out.push_back('[');
    bool first = true;
    for (const Value& item : value.list()) {
      if (!first) out.push_back(',');
      first = false;
      AppendLine(indent, depth + 1, out);
      Append(item, indent, depth + 1, out);
    }
    if (!first) AppendLine(indent, depth, out);
    out.push_back(']');
  } else {
    out.push_back('{');
    bool first = true;
    for (const auto& [key, item] : value.map()) {
      if (!first) out.push_back(',');
      first = false;
      AppendLine(indent, depth + 1, out);
      AppendString(key, out);
      out += indent == 0 ? ":" : ": ";
      Append(item, indent, depth + 1, out);
    }
    if (!first) AppendLine(indent, depth, out);
    out.push_back('}');
  }
}

}  // namespace

absl::StatusOr<Value> ParseJson(std::string_view text) {
  ValueBuilder builder;
  const bool has_bare_words =
      text.find("NaN") != std::string_view::npos || text.find("Infinity") != std::string_view::npos;
  const bool parsed = has_bare_words ? nlohmann::json::sax_parse(QuoteBareWords(text), &builder)
                                     : nlohmann::json::sax_parse(text, &builder);
  if (!parsed) return absl::InvalidArgumentError("not valid JSON: " + builder.error());
  if (has_bare_words) ReadBareNumbers(builder.root());
  return std::move(builder.root());
}

std::string ToJson(const Value& value) {
  std::string out;
  Append(value, /*indent=*/0, /*depth=*/0, out);
  return out;
}

std::string ToPrettyJson(const Value& value) {
  std::string out;
  Append(value, /*indent=*/2, /*depth=*/0, out);
  return out;
}

}  // namespace cd4ml
