// Messages as JSON; see json.h.
#include "cd4ml/rpc/json.h"

#include <google/protobuf/util/json_util.h>

#include "cd4ml/base/check.h"
#include "cd4ml/base/value.h"
#include "rpc/convert.h"
#include "rpc/gates.h"
#include "rpc/storage.h"

namespace cd4ml::rpc {
namespace {

constexpr std::string_view kJsonSuffix = "_json";

// Puts the value of every `x_json` in place of its text.
Value Inlined(const Value& value) {
  if (value.is_list()) {
    Value::List list;
    for (const Value& item : value.list()) list.push_back(Inlined(item));
    return list;
  }
  if (!value.is_map()) return value;
  Value::Map map;
  for (const auto& [key, item] : value.map()) {
    if (key.ends_with(kJsonSuffix) && item.is_string()) {
      map[key.substr(0, key.size() - kJsonSuffix.size())] =
          ParseJson(item.string()).value_or(Value());
    } else {
      map[key] = Inlined(item);
    }
  }
  return map;
}

Value ToValue(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string text;
  const auto printed = google::protobuf::util::MessageToJsonString(message, &text, options);
  CD4ML_CHECK(printed.ok(), "every message of the wire has a JSON form");
  const absl::StatusOr<Value> value = ParseJson(text);
  CD4ML_CHECK(value.ok(), "protobuf writes JSON");
  return Inlined(*value);
}

template <typename T>
std::string Print(const T& item) {
  return ToPrettyJson(ToValue(ToProto(item))) + "\n";
}

template <typename T>
std::string PrintList(const char* name, const std::vector<T>& items) {
  Value::List list;
  for (const T& item : items) list.push_back(ToValue(ToProto(item)));
  return ToPrettyJson(Value::Map{{name, std::move(list)}}) + "\n";
}

}  // namespace

std::string ToProtoJson(const core::Run& run) { return Print(run); }
std::string ToProtoJson(const RunView& view) { return Print(view); }
std::string ToProtoJson(const PlannedRun& planned) { return Print(planned); }
std::string ToProtoJson(const core::Verdict& verdict) { return Print(verdict); }
std::string ToProtoJson(const PipelineRecord& pipeline) { return Print(pipeline); }
std::string ToProtoJson(const RegisterResult& result) { return Print(result); }
std::string ToProtoJson(const LineageGraph& graph) { return Print(graph); }
std::string ToProtoJson(const Impact& impact) { return Print(impact); }
std::string ToProtoJson(const core::Reproduction& reproduction) { return Print(reproduction); }
std::string ToProtoJson(const RunComparison& comparison) { return Print(comparison); }
std::string ToProtoJson(const ServerFacts& server) { return Print(server); }
std::string ToProtoJson(const GcReport& report) { return Print(report); }
std::string ToProtoJson(const Pin& pin) { return Print(pin); }
std::string ToProtoJson(const OverrideView& view) { return Print(view); }
std::string ToProtoJson(const GateRecord& record) { return Print(record); }
std::string ToProtoJson(const BackupReport& report) { return Print(report); }
std::string ToProtoJson(const ScrubReport& report) { return Print(report); }
std::string ToProtoJson(const RunSummary& run) { return Print(run); }
std::string ToProtoJson(const AgentView& agent) { return Print(agent); }
std::string ToProtoJson(const core::Deployment& deployment) { return Print(deployment); }
std::string ToProtoJson(const MonitorView& monitor) { return Print(monitor); }
std::string ToProtoJson(const std::vector<RunSummary>& runs) { return PrintList("runs", runs); }
std::string ToProtoJson(const std::vector<PipelineRecord>& pipelines) {
  return PrintList("pipelines", pipelines);
}
std::string ToProtoJson(const std::vector<AgentView>& agents) {
  return PrintList("agents", agents);
}
std::string ToProtoJson(const std::vector<core::Deployment>& deployments) {
  return PrintList("deployments", deployments);
}
std::string ToProtoJson(const std::vector<MonitorView>& monitors) {
  return PrintList("monitors", monitors);
}
std::string ToProtoJson(const std::vector<core::Diagnostic>& diagnostics) {
  return PrintList("problems", diagnostics);
}

}  // namespace cd4ml::rpc
