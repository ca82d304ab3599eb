// TOML by toml++: parameter files as values, and back with all that is no value left as it is.
#include "cd4ml/toml/toml.h"

#include <algorithm>
#include <optional>
#include <sstream>
#include <utility>
#include <vector>

#include <toml++/toml.h>

#include "cd4ml/base/status.h"
#include "cd4ml/core/diagnostic.h"

namespace cd4ml::toml {
namespace {

namespace tomlpp = ::toml;

constexpr size_t kBytesMax = 8u << 20;

bool IsToml(std::string_view file) { return file.ends_with(".toml"); }

template <typename Printable>
std::string Printed(Printable&& printable) {
  std::ostringstream out;
  out << std::forward<Printable>(printable);
  return out.str();
}

// Dates and times are texts in parameters.
Value ToValue(const tomlpp::node& node) {
  if (const auto* table = node.as_table()) {
    Value::Map map;
    for (const auto& [key, member] : *table) map.emplace(std::string(key.str()), ToValue(member));
    return map;
  }
  if (const auto* array = node.as_array()) {
    Value::List list;
    for (const tomlpp::node& item : *array) list.push_back(ToValue(item));
    return list;
  }
  if (const auto* text = node.as_string()) return Value(text->get());
  if (const auto* integer = node.as_integer()) return Value(integer->get());
  if (const auto* number = node.as_floating_point()) return Value(number->get());
  if (const auto* boolean = node.as_boolean()) return Value(boolean->get());
  if (const auto* date = node.as_date()) return Value(Printed(date->get()));
  if (const auto* time = node.as_time()) return Value(Printed(time->get()));
  const auto* moment = node.as_date_time();
  return moment == nullptr ? Value() : Value(Printed(moment->get()));
}

// Returns a key with a dot, which cannot be told from a nested parameter, or "".
std::string DottedKey(const Value& value) {
  if (!value.is_map()) return "";
  for (const auto& [key, member] : value.map()) {
    if (key.find('.') != std::string::npos) return key;
    if (std::string dotted = DottedKey(member); !dotted.empty()) return dotted;
  }
  return "";
}

bool HasNull(const Value& value) {
  if (value.is_null()) return true;
  if (value.is_list()) return std::any_of(value.list().begin(), value.list().end(), HasNull);
  return value.is_map() && std::any_of(value.map().begin(), value.map().end(), [](const auto& member) { return HasNull(member.second); });
}

absl::StatusOr<tomlpp::table> Parse(std::string_view text, std::string_view file) {
  if (text.size() > kBytesMax) {
    return absl::InvalidArgumentError(std::string(file) + " is larger than " + std::to_string(kBytesMax) + " bytes");
  }
  try {
    return tomlpp::parse(text, file);
  } catch (const tomlpp::parse_error& error) {
    const tomlpp::source_position& begin = error.source().begin;
    return absl::InvalidArgumentError(
        core::Brief(core::Diagnostic{.message = std::string(error.description()),
                                     .file = std::string(file),
                                     .place = {static_cast<int>(begin.line), static_cast<int>(begin.column)}}));
  }
}

absl::StatusOr<Value> Read(std::string_view text, std::string_view file) {
  CD4ML_ASSIGN_OR_RETURN(const tomlpp::table table, Parse(text, file));
  Value value = ToValue(table);
  if (const std::string key = DottedKey(value); !key.empty()) {
    return absl::InvalidArgumentError(std::string(file) + ": a dot in " + core::Quoted(key) +
                                      " cannot be told from a nested parameter");
  }
  return value;
}

// --- writing ---

tomlpp::table ToTable(const Value& value);
tomlpp::array ToArray(const Value& value);

// Calls `take` with the value as TOML has it. REQUIRES: no null is in it.
template <typename Take>
void Hand(const Value& value, const Take& take) {
  if (value.is_map()) return take(ToTable(value));
  if (value.is_list()) return take(ToArray(value));
  if (value.is_string()) return take(tomlpp::value<std::string>(value.string()));
  if (value.is_bool()) return take(tomlpp::value<bool>(value.boolean()));
  if (const auto* integer = std::get_if<int64_t>(&value.data)) return take(tomlpp::value<int64_t>(*integer));
  take(tomlpp::value<double>(value.number()));
}

tomlpp::table ToTable(const Value& value) {
  tomlpp::table table;
  for (const auto& [key, member] : value.map()) {
    Hand(member, [&table, &name = key](auto node) { table.insert_or_assign(name, std::move(node)); });
  }
  return table;
}

tomlpp::array ToArray(const Value& value) {
  tomlpp::array array;
  for (const Value& item : value.list()) {
    Hand(item, [&array](auto node) { array.push_back(std::move(node)); });
  }
  return array;
}

struct Edit {
  tomlpp::source_region source;
  std::string text;
};

// Notes which scalars have to change. Returns false when more than scalars differs.
bool FindEdits(const tomlpp::node& node, const Value& wanted, std::vector<Edit>& edits) {
  if (const auto* table = node.as_table()) {
    if (!wanted.is_map() || wanted.map().size() != table->size()) return false;
    return std::all_of(table->begin(), table->end(), [&](const auto& entry) {
      const Value* member = wanted.Find(entry.first.str());
      return member != nullptr && FindEdits(entry.second, *member, edits);
    });
  }
  if (const auto* array = node.as_array()) {
    if (!wanted.is_list() || wanted.list().size() != array->size()) return false;
    for (size_t i = 0; i < array->size(); ++i) {
      if (!FindEdits(*array->get(i), wanted.list()[i], edits)) return false;
    }
    return true;
  }
  if (ToJson(ToValue(node)) == ToJson(wanted)) return true;
  if (wanted.is_list() || wanted.is_map()) return false;
  Hand(wanted, [&](const auto& scalar) { edits.push_back({node.source(), Printed(tomlpp::toml_formatter{scalar})}); });
  return true;
}

// Returns the byte at a position, whose columns count characters; the end of the text when it lies beyond.
size_t OffsetOf(std::string_view text, const tomlpp::source_position& position) {
  size_t at = 0;
  for (tomlpp::source_index line = 1; line < position.line; ++line) {
    at = text.find('\n', at);
    if (at == std::string_view::npos) return text.size();
    ++at;
  }
  for (tomlpp::source_index column = 1; column < position.column && at < text.size(); ++column) {
    do ++at;
    while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80);
  }
  return at;
}

std::optional<std::string> Edited(std::string_view text, const tomlpp::table& table, const Value& wanted) {
  std::vector<Edit> edits;
  if (!FindEdits(table, wanted, edits)) return std::nullopt;
  std::sort(edits.begin(), edits.end(), [](const Edit& a, const Edit& b) { return b.source.begin < a.source.begin; });
  std::string edited(text);
  for (const Edit& edit : edits) {
    const size_t begin = OffsetOf(text, edit.source.begin), end = OffsetOf(text, edit.source.end);
    if (begin >= end) return std::nullopt;
    edited.replace(begin, end - begin, edit.text);
  }
  return edited;
}

// Makes `table` hold `wanted`; what it says already stays as it is, so that dates stay dates.
void Merge(const Value& wanted, tomlpp::table& table) {
  for (auto member = table.begin(); member != table.end();) {
    member = wanted.Find(member->first.str()) == nullptr ? table.erase(member) : std::next(member);
  }
  for (const auto& [key, value] : wanted.map()) {
    tomlpp::node* now = table.get(key);
    if (now != nullptr && ToJson(ToValue(*now)) == ToJson(value)) continue;
    if (now != nullptr && now->is_table() && value.is_map()) {
      Merge(value, *now->as_table());
    } else {
      Hand(value, [&table, &name = key](auto node) { table.insert_or_assign(name, std::move(node)); });
    }
  }
}

absl::StatusOr<std::string> Write(const Value& params, std::string_view text, std::string_view file) {
  if (HasNull(params) || !params.is_map()) {
    return absl::InvalidArgumentError(std::string(file) + ": TOML has no null");
  }
  CD4ML_ASSIGN_OR_RETURN(tomlpp::table table, Parse(text, file));
  // Nothing is taken on trust: what was edited has to say what is wanted when it is read again.
  if (const auto edited = Edited(text, table, params)) {
    const absl::StatusOr<Value> again = Read(*edited, file);
    if (again.ok() && ToJson(*again) == ToJson(params)) return *edited;
  }
  Merge(params, table);
  return Printed(tomlpp::toml_formatter{table}) + "\n";
}

class TomlParams : public PipelineParser {
 public:
  explicit TomlParams(std::unique_ptr<PipelineParser> others) : others_(std::move(others)) {}

  ParsedPipeline Parse(std::string_view text, std::string_view file, const core::Scope* scope) const override {
    return others_->Parse(text, file, scope);
  }
  absl::StatusOr<core::GatePolicies> ParseGatePolicies(std::string_view text, std::string_view file) const override {
    return others_->ParseGatePolicies(text, file);
  }
  absl::StatusOr<Value> ParseParams(std::string_view text, std::string_view file) const override {
    return IsToml(file) ? Read(text, file) : others_->ParseParams(text, file);
  }
  absl::StatusOr<Value> ParseDocument(std::string_view text, std::string_view file) const override {
    return IsToml(file) ? Read(text, file) : others_->ParseDocument(text, file);
  }
  absl::StatusOr<std::string> WriteParams(const Value& params, std::string_view text,
                                          std::string_view file) const override {
    return IsToml(file) ? Write(params, text, file) : others_->WriteParams(params, text, file);
  }

 private:
  const std::unique_ptr<PipelineParser> others_;
};

}  // namespace

std::unique_ptr<PipelineParser> WithToml(std::unique_ptr<PipelineParser> others) {
  return std::make_unique<TomlParams>(std::move(others));
}

}  // namespace cd4ml::toml
