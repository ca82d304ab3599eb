// Located findings as the payload of a status: JSON under one type name.
#include "cd4ml/ports/diagnostic_payload.h"

#include "absl/strings/cord.h"
#include "cd4ml/base/value.h"

namespace cd4ml {
namespace {

constexpr char kTypeName[] = "cd4ml.v1.Diagnostics";

Value ToValue(const core::Diagnostic& diagnostic) {
  return Value::Map{
      {"code", diagnostic.code},
      {"severity", diagnostic.severity == core::Severity::kError ? "error" : "warning"},
      {"message", diagnostic.message},
      {"file", diagnostic.file},
      {"line", diagnostic.place.line},
      {"column", diagnostic.place.column},
      {"length", diagnostic.place.length},
      {"snippet", diagnostic.snippet},
      {"label", diagnostic.label},
      {"help", diagnostic.help}};
}

std::string TextOf(const Value& map, std::string_view key) {
  const Value* value = map.Find(key);
  return value != nullptr && value->is_string() ? value->string() : "";
}

int NumberOf(const Value& map, std::string_view key) {
  const Value* value = map.Find(key);
  const int64_t* number = value == nullptr ? nullptr : std::get_if<int64_t>(&value->data);
  return number != nullptr && *number >= 0 && *number <= INT32_MAX ? static_cast<int>(*number) : 0;
}

// Total: the text comes from another process, and a finding that lacks a part is still worth
// showing.
core::Diagnostic FromValue(const Value& map) {
  return {.code = TextOf(map, "code"),
          .severity = TextOf(map, "severity") == "warning" ? core::Severity::kWarning
                                                           : core::Severity::kError,
          .message = TextOf(map, "message"),
          .file = TextOf(map, "file"),
          .place = {.line = NumberOf(map, "line"),
                    .column = NumberOf(map, "column"),
                    .length = NumberOf(map, "length")},
          .snippet = TextOf(map, "snippet"),
          .label = TextOf(map, "label"),
          .help = TextOf(map, "help")};
}

}  // namespace

absl::Status DiagnosticsError(const std::string& message, const core::Diagnostics& diagnostics) {
  Value::List list;
  for (const core::Diagnostic& diagnostic : diagnostics) list.push_back(ToValue(diagnostic));
  return WithDiagnosticsJson(absl::InvalidArgumentError(message), ToJson(list));
}

core::Diagnostics DiagnosticsOf(const absl::Status& status) {
  const absl::StatusOr<Value> list = ParseJson(DiagnosticsJson(status));
  core::Diagnostics diagnostics;
  if (!list.ok() || !list->is_list()) return diagnostics;
  for (const Value& item : list->list()) diagnostics.push_back(FromValue(item));
  return diagnostics;
}

std::string DiagnosticsJson(const absl::Status& status) {
  const absl::optional<absl::Cord> payload = status.GetPayload(kTypeName);
  return payload.has_value() ? std::string(*payload) : "";
}

absl::Status WithDiagnosticsJson(absl::Status status, const std::string& json) {
  if (!json.empty()) status.SetPayload(kTypeName, absl::Cord(json));
  return status;
}

}  // namespace cd4ml
