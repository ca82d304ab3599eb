// Core and port values as messages of the wire, and back.
//
// ToProto is total; text that is no UTF-8, which a message must not hold, comes out with
// replacement characters. FromProto answers INVALID_ARGUMENT for what no value can hold: an unset
// enum, a bad digest, bad JSON, a time out of range.
#pragma once

#include "absl/status/statusor.h"
#include "cd4ml/ports/agent_api.h"
#include "cd4ml/ports/control_api.h"
#include "cd4ml/ports/query_api.h"
#include "cd4ml/v1/agent.pb.h"
#include "cd4ml/v1/control_service.pb.h"
#include "cd4ml/v1/deployment.pb.h"
#include "cd4ml/v1/pipeline.pb.h"
#include "cd4ml/v1/query_service.pb.h"
#include "cd4ml/v1/record.pb.h"
#include "cd4ml/v1/run.pb.h"
#include "cd4ml/v1/version.pb.h"

namespace cd4ml::rpc {

v1::Run ToProto(const core::Run& run);
v1::RunView ToProto(const RunView& view);
v1::RunSummary ToProto(const RunSummary& summary);
v1::PlannedRun ToProto(const PlannedRun& planned);
v1::Verdict ToProto(const core::Verdict& verdict);
v1::Outcome ToProto(const core::Outcome& outcome);
v1::AttemptId ToProto(const core::AttemptId& attempt);
v1::Diagnostic ToProto(const core::Diagnostic& diagnostic);
v1::Pipeline ToProto(const PipelineRecord& pipeline);
v1::Agent ToProto(const AgentView& agent);
v1::AgentHello ToProto(const AgentHello& hello);
v1::SessionGrant ToProto(const SessionGrant& grant);
v1::DesiredState ToProto(const DesiredState& desired);
v1::AgentReport ToProto(const AgentReport& report);
v1::Deployment ToProto(const core::Deployment& deployment);
v1::Monitor ToProto(const MonitorView& monitor);
v1::Prediction ToProto(const PredictionRecord& prediction);
v1::LineageGraph ToProto(const LineageGraph& graph);
v1::Impact ToProto(const Impact& impact);
v1::Reproduction ToProto(const core::Reproduction& reproduction);
v1::RunComparison ToProto(const RunComparison& comparison);
v1::RegisterPipelineRequest ToProto(const RegisterRequest& request);
v1::RegisterPipelineResponse ToProto(const RegisterResult& result);
v1::StartRunRequest ToProto(const StartRequest& request);
v1::ReproduceRunRequest ToProto(const ReproduceRequest& request);
v1::RetryRunRequest ToProto(const RetryRequest& request);
v1::AgentRecord ToProto(const AgentRecord& agent);
v1::BackUpResponse ToProto(const BackupReport& report);
v1::ScrubResponse ToProto(const ScrubReport& report);
v1::GetServerResponse ToProto(const ServerFacts& server);
v1::ListRunsRequest ToProto(const RunFilter& filter);
v1::ReadLogResponse ToProto(const LogChunk& chunk);
google::protobuf::Timestamp ToProto(UtcTime time);
v1::DocumentKind ToProto(DocumentKind kind);
v1::LineageDirection ToProto(LineageDirection direction);

absl::StatusOr<core::Run> FromProto(const v1::Run& run);
absl::StatusOr<RunView> FromProto(const v1::RunView& view);
absl::StatusOr<RunSummary> FromProto(const v1::RunSummary& summary);
absl::StatusOr<PlannedRun> FromProto(const v1::PlannedRun& planned);
absl::StatusOr<core::Verdict> FromProto(const v1::Verdict& verdict);
absl::StatusOr<core::Outcome> FromProto(const v1::Outcome& outcome);
absl::StatusOr<core::AttemptId> FromProto(const v1::AttemptId& attempt);
absl::StatusOr<core::Diagnostic> FromProto(const v1::Diagnostic& diagnostic);
absl::StatusOr<PipelineRecord> FromProto(const v1::Pipeline& pipeline);
absl::StatusOr<AgentView> FromProto(const v1::Agent& agent);
absl::StatusOr<AgentHello> FromProto(const v1::AgentHello& hello);
absl::StatusOr<SessionGrant> FromProto(const v1::SessionGrant& grant);
absl::StatusOr<DesiredState> FromProto(const v1::DesiredState& desired);
absl::StatusOr<AgentReport> FromProto(const v1::AgentReport& report);
absl::StatusOr<core::Deployment> FromProto(const v1::Deployment& deployment);
absl::StatusOr<MonitorView> FromProto(const v1::Monitor& monitor);
absl::StatusOr<PredictionRecord> FromProto(const v1::Prediction& prediction);
absl::StatusOr<LineageGraph> FromProto(const v1::LineageGraph& graph);
absl::StatusOr<Impact> FromProto(const v1::Impact& impact);
absl::StatusOr<core::Reproduction> FromProto(const v1::Reproduction& reproduction);
absl::StatusOr<RunComparison> FromProto(const v1::RunComparison& comparison);
absl::StatusOr<RegisterRequest> FromProto(const v1::RegisterPipelineRequest& request);
absl::StatusOr<RegisterResult> FromProto(const v1::RegisterPipelineResponse& result);
absl::StatusOr<StartRequest> FromProto(const v1::StartRunRequest& request);
absl::StatusOr<ReproduceRequest> FromProto(const v1::ReproduceRunRequest& request);
absl::StatusOr<RetryRequest> FromProto(const v1::RetryRunRequest& request);
absl::StatusOr<AgentRecord> FromProto(const v1::AgentRecord& agent);
absl::StatusOr<BackupReport> FromProto(const v1::BackUpResponse& report);
absl::StatusOr<ScrubReport> FromProto(const v1::ScrubResponse& report);
absl::StatusOr<ServerFacts> FromProto(const v1::GetServerResponse& server);
absl::StatusOr<RunFilter> FromProto(const v1::ListRunsRequest& filter);
absl::StatusOr<LogChunk> FromProto(const v1::ReadLogResponse& chunk);
absl::StatusOr<UtcTime> FromProto(const google::protobuf::Timestamp& time);
absl::StatusOr<DocumentKind> FromProto(v1::DocumentKind kind);
LineageDirection FromProto(v1::LineageDirection direction);

// Converts a list, or answers the first problem.
template <typename T, typename Messages>
absl::StatusOr<std::vector<T>> ListFromProto(const Messages& messages) {
  std::vector<T> list;
  list.reserve(messages.size());
  for (const auto& message : messages) {
    absl::StatusOr<T> item = FromProto(message);
    if (!item.ok()) return item.status();
    list.push_back(*std::move(item));
  }
  return list;
}

}  // namespace cd4ml::rpc
