// Messages as JSON; see json.h.
#include "cd4ml/rpc/json.h"

#include <google/protobuf/util/json_util.h>

#include "cd4ml/base/check.h"
#include "cd4ml/base/value.h"
#include "rpc/convert.h"

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

std::string Print(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string text;
  const auto printed = google::protobuf::util::MessageToJsonString(message, &text, options);
  CD4ML_CHECK(printed.ok(), "every message of the wire has a JSON form");
  const absl::StatusOr<Value> value = ParseJson(text);
  CD4ML_CHECK(value.ok(), "protobuf writes JSON");
  return ToPrettyJson(Inlined(*value)) + "\n";
}

template <typename Response, typename T, typename Add>
std::string PrintList(const std::vector<T>& items, Add add) {
  Response response;
  for (const T& item : items) *(response.*add)() = ToProto(item);
  return Print(response);
}

}  // namespace

std::string ToProtoJson(const core::Run& run) { return Print(ToProto(run)); }
std::string ToProtoJson(const RunView& view) { return Print(ToProto(view)); }
std::string ToProtoJson(const PlannedRun& planned) { return Print(ToProto(planned)); }
std::string ToProtoJson(const core::Verdict& verdict) { return Print(ToProto(verdict)); }
std::string ToProtoJson(const PipelineRecord& pipeline) { return Print(ToProto(pipeline)); }
std::string ToProtoJson(const RegisterResult& result) { return Print(ToProto(result)); }
std::string ToProtoJson(const LineageGraph& graph) { return Print(ToProto(graph)); }
std::string ToProtoJson(const ServerFacts& server) { return Print(ToProto(server)); }
std::string ToProtoJson(const std::vector<RunSummary>& runs) {
  return PrintList<v1::ListRunsResponse>(runs, &v1::ListRunsResponse::add_runs);
}
std::string ToProtoJson(const std::vector<PipelineRecord>& pipelines) {
  return PrintList<v1::ListPipelinesResponse>(pipelines, &v1::ListPipelinesResponse::add_pipelines);
}
std::string ToProtoJson(const std::vector<AgentView>& agents) {
  return PrintList<v1::ListAgentsResponse>(agents, &v1::ListAgentsResponse::add_agents);
}
std::string ToProtoJson(const std::vector<core::Deployment>& deployments) {
  return PrintList<v1::ListDeploymentsResponse>(deployments,
                                                &v1::ListDeploymentsResponse::add_deployments);
}
std::string ToProtoJson(const std::vector<MonitorView>& monitors) {
  return PrintList<v1::ListMonitorsResponse>(monitors, &v1::ListMonitorsResponse::add_monitors);
}
std::string ToProtoJson(const std::vector<core::Diagnostic>& diagnostics) {
  return PrintList<v1::RegisterPipelineResponse>(diagnostics,
                                                 &v1::RegisterPipelineResponse::add_problems);
}

}  // namespace cd4ml::rpc
