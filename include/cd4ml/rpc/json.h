// What the daemon knows as JSON, for `-o json`: one spelling for the CLI, scripts and later the
// HTTP API.
//
// It is proto3 JSON of the messages in proto/cd4ml/v1 with the original field names, every field
// printed, keys sorted, indented by two spaces. Times are RFC 3339, 64-bit integers strings, NaN
// the string "NaN". What a message carries as JSON text in `x_json` comes out as the value `x`.
// Lists are {"runs": […]}, {"agents": […]} and so on.
#pragma once

#include <string>
#include <vector>

#include "cd4ml/ports/control_api.h"
#include "cd4ml/ports/gate_api.h"
#include "cd4ml/ports/query_api.h"
#include "cd4ml/ports/storage_api.h"

namespace cd4ml::rpc {

std::string ToProtoJson(const core::Run& run);
std::string ToProtoJson(const RunView& view);
std::string ToProtoJson(const PlannedRun& planned);
std::string ToProtoJson(const core::Verdict& verdict);
std::string ToProtoJson(const PipelineRecord& pipeline);
std::string ToProtoJson(const RegisterResult& result);
std::string ToProtoJson(const LineageGraph& graph);
std::string ToProtoJson(const Impact& impact);
std::string ToProtoJson(const core::Reproduction& reproduction);
std::string ToProtoJson(const RunComparison& comparison);
std::string ToProtoJson(const ServerFacts& server);
std::string ToProtoJson(const GcReport& report);
std::string ToProtoJson(const Pin& pin);
std::string ToProtoJson(const OverrideView& view);
std::string ToProtoJson(const GateRecord& record);
std::string ToProtoJson(const BackupReport& report);
std::string ToProtoJson(const ScrubReport& report);
std::string ToProtoJson(const RunSummary& run);
std::string ToProtoJson(const AgentView& agent);
std::string ToProtoJson(const core::Deployment& deployment);
std::string ToProtoJson(const MonitorView& monitor);
std::string ToProtoJson(const std::vector<RunSummary>& runs);
std::string ToProtoJson(const std::vector<PipelineRecord>& pipelines);
std::string ToProtoJson(const std::vector<AgentView>& agents);
std::string ToProtoJson(const std::vector<core::Deployment>& deployments);
std::string ToProtoJson(const std::vector<MonitorView>& monitors);
std::string ToProtoJson(const std::vector<core::Diagnostic>& diagnostics);

}  // namespace cd4ml::rpc
