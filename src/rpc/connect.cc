// The control and query ports on the client's side, and the channel that every client opens.
#include "cd4ml/rpc/connect.h"

#include <grpcpp/grpcpp.h>

#include <thread>

#include "cd4ml/base/status.h"
#include "cd4ml/v1/control_service.grpc.pb.h"
#include "cd4ml/v1/query_service.grpc.pb.h"
#include "rpc/client.h"
#include "rpc/convert.h"

namespace cd4ml::rpc {

std::shared_ptr<grpc::Channel> OpenChannel(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  // The first connection attempt is given up after this long, too.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 2'000);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_MAX_METADATA_SIZE, kMetadataMax);
  // A client trusts its daemon; a run of ten thousand stages is larger than the 4 MiB that the
  // daemon accepts.
  arguments.SetMaxReceiveMessageSize(256 << 20);
  arguments.SetMaxSendMessageSize(-1);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

namespace {

template <typename Response>
absl::StatusOr<StartedRun> ReadStarted(const Response& response) {
  CD4ML_ASSIGN_OR_RETURN(core::Run run, FromProto(response.run()));
  return StartedRun{std::move(run), response.already()};
}

class ControlClient : public ControlApi {
 public:
  explicit ControlClient(const std::string& address)
      : address_(address), stub_(v1::ControlService::NewStub(OpenChannel(address))) {}

  void RegisterPipeline(RegisterRequest request, Done<RegisterResult> done) override {
    Ask<v1::RegisterPipelineResponse>(
        calls_, address_, kLongCall, ToProto(request),
        [&](auto... call) { stub_->async()->RegisterPipeline(std::move(call)...); },
        [](const v1::RegisterPipelineResponse& response) { return FromProto(response); },
        std::move(done));
  }

  void StartRun(StartRequest request, Done<StartedRun> done) override {
    Ask<v1::StartRunResponse>(
        calls_, address_, kLongCall, ToProto(request),
        [&](auto... call) { stub_->async()->StartRun(std::move(call)...); },
        ReadStarted<v1::StartRunResponse>,
        std::move(done));
  }

  void PlanRun(StartRequest request, Done<PlannedRun> done) override {
    v1::PlanRunRequest message;
    *message.mutable_start() = ToProto(request);
    Ask<v1::PlanRunResponse>(
        calls_, address_, kLongCall, std::move(message),
        [&](auto... call) { stub_->async()->PlanRun(std::move(call)...); },
        [](const v1::PlanRunResponse& response) { return FromProto(response.planned_run()); },
        std::move(done));
  }

  void RetryRun(RetryRequest request, Done<StartedRun> done) override {
    Ask<v1::RetryRunResponse>(
        calls_, address_, kLongCall, ToProto(request),
        [&](auto... call) { stub_->async()->RetryRun(std::move(call)...); },
        ReadStarted<v1::RetryRunResponse>,
        std::move(done));
  }

  void ReproduceRun(ReproduceRequest request, Done<StartedRun> done) override {
    Ask<v1::ReproduceRunResponse>(
        calls_, address_, kLongCall, ToProto(request),
        [&](auto... call) { stub_->async()->ReproduceRun(std::move(call)...); },
        ReadStarted<v1::ReproduceRunResponse>,
        std::move(done));
  }

  void DrainAgent(std::string agent, bool drained, std::string reason,
                  Done<AgentRecord> done) override {
    v1::DrainAgentRequest message;
    message.set_agent(agent);
    message.set_drained(drained);
    message.set_reason(reason);
    Ask<v1::DrainAgentResponse>(
        calls_, address_, kQuickCall, std::move(message),
        [&](auto... call) { stub_->async()->DrainAgent(std::move(call)...); },
        [](const v1::DrainAgentResponse& response) { return FromProto(response.agent()); },
        std::move(done));
  }

  void BackUp(std::string dir, Done<BackupReport> done) override {
    v1::BackUpRequest message;
    message.set_dir(dir);
    Ask<v1::BackUpResponse>(
        calls_, address_, kUpkeepCall, std::move(message),
        [&](auto... call) { stub_->async()->BackUp(std::move(call)...); },
        [](const v1::BackUpResponse& response) { return FromProto(response); }, std::move(done));
  }

  void Scrub(int64_t bytes_per_second, Done<ScrubReport> done) override {
    v1::ScrubRequest message;
    message.set_bytes_per_second(bytes_per_second);
    Ask<v1::ScrubResponse>(
        calls_, address_, kUpkeepCall, std::move(message),
        [&](auto... call) { stub_->async()->Scrub(std::move(call)...); },
        [](const v1::ScrubResponse& response) { return FromProto(response); }, std::move(done));
  }

  void CancelRun(core::RunId run, std::string reason, Done<core::Run> done) override {
    v1::CancelRunRequest message;
    message.set_run(run);
    message.set_reason(reason);
    Ask<v1::CancelRunResponse>(
        calls_, address_, kQuickCall, std::move(message),
        [&](auto... call) { stub_->async()->CancelRun(std::move(call)...); },
        [](const v1::CancelRunResponse& response) { return FromProto(response.run()); },
        std::move(done));
  }

 private:
  const std::string address_;
  const std::unique_ptr<v1::ControlService::Stub> stub_;
  Calls calls_;  // Last: it waits for the calls before the rest goes.
};

// A run being watched: one thread reads the stream and calls back.
class Watch : public Subscription {
 public:
  Watch(v1::QueryService::Stub& stub, const std::string& run,
        std::function<void(RunView)> on_change, std::function<void(absl::Status)> on_end,
        std::string address)
      : on_change_(std::move(on_change)), on_end_(std::move(on_end)), address_(std::move(address)) {
    v1::WatchRunRequest request;
    request.set_run(run);
    reader_ = stub.WatchRun(&context_, request);
  }
  ~Watch() override {
    closing_ = true;
    context_.TryCancel();
  }

  // Waits for the first answer, so that an unknown run is an error of the call that asked.
  absl::Status Begin() {
    v1::WatchRunResponse first;
    if (!reader_->Read(&first)) {
      const absl::Status status = Ended();
      return status.ok()
                 ? absl::InternalError("the daemon at " + address_ + " sent no run to watch")
                 : status;
    }
    thread_ = std::jthread([this, first] { Follow(first); });
    return absl::OkStatus();
  }

 private:
  absl::Status Ended() {
    const grpc::Status ended = reader_->Finish();
    return FromGrpc(ended, context_.GetServerTrailingMetadata(), address_);
  }

  void Follow(v1::WatchRunResponse response) {
    absl::Status problem;
    do {
      absl::StatusOr<RunView> view = FromProto(response.run());
      problem = view.status();
      if (!closing_ && problem.ok()) on_change_(*std::move(view));
    } while (problem.ok() && reader_->Read(&response));
    if (!problem.ok()) context_.TryCancel();
    const absl::Status ended = Ended();
    if (!closing_) on_end_(problem.ok() ? ended : problem);
  }

  const std::function<void(RunView)> on_change_;
  const std::function<void(absl::Status)> on_end_;
  const std::string address_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::WatchRunResponse>> reader_;
  std::atomic<bool> closing_{false};
  std::jthread thread_;  // Last: joined before the rest goes.
};

// An open log stream, kept between two ReadLog calls that follow each other.
struct LogStream {
  core::AttemptId attempt;
  int64_t next = 0;
  bool follow = false;
  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientReader<v1::ReadLogResponse>> reader;
};

class QueryClient : public QueryApi {
 public:
  explicit QueryClient(const std::string& address)
      : address_(address), stub_(v1::QueryService::NewStub(OpenChannel(address))) {}

  absl::StatusOr<ServerFacts> GetServer() override {
    CD4ML_ASSIGN_OR_RETURN(
        const auto response,
        Call<v1::GetServerResponse>(&v1::QueryService::Stub::GetServer, v1::GetServerRequest()));
    return FromProto(response);
  }

  absl::StatusOr<RunView> GetRun(const std::string& run) override {
    v1::GetRunRequest request;
    request.set_run(run);
    CD4ML_ASSIGN_OR_RETURN(const auto response,
                           Call<v1::GetRunResponse>(&v1::QueryService::Stub::GetRun, request));
    return FromProto(response.run());
  }

  absl::StatusOr<std::vector<RunSummary>> ListRuns(const RunFilter& filter) override {
    CD4ML_ASSIGN_OR_RETURN(
        const auto response,
        Call<v1::ListRunsResponse>(&v1::QueryService::Stub::ListRuns, ToProto(filter)));
    return ListFromProto<RunSummary>(response.runs());
  }

  absl::StatusOr<std::unique_ptr<Subscription>> WatchRun(
      const std::string& run, std::function<void(RunView)> on_change,
      std::function<void(absl::Status)> on_end) override {
    auto watch =
        std::make_unique<Watch>(*stub_, run, std::move(on_change), std::move(on_end), address_);
    CD4ML_RETURN_IF_ERROR(watch->Begin());
    return std::unique_ptr<Subscription>(std::move(watch));
  }

  absl::StatusOr<LogChunk> ReadLog(const core::AttemptId& attempt, int64_t offset,
                                   bool follow) override {
    std::unique_ptr<LogStream> stream = TakeLog();
    const bool goes_on = stream != nullptr && stream->attempt == attempt &&
                         stream->next == offset && stream->follow == follow;
    v1::ReadLogResponse response;
    if (!goes_on || !stream->reader->Read(&response)) {
      stream =
          OpenLog(attempt, offset, follow);  // A kept stream that ended says nothing about now.
      if (!stream->reader->Read(&response)) {
        const grpc::Status ended = stream->reader->Finish();
        CD4ML_RETURN_IF_ERROR(
            FromGrpc(ended, stream->context.GetServerTrailingMetadata(), address_));
        return LogChunk{.offset = offset, .bytes = "", .end = false};
      }
    }
    stream->next = response.offset() + static_cast<int64_t>(response.data().size());
    if (!response.end()) KeepLog(std::move(stream));
    return FromProto(response);
  }

  absl::StatusOr<std::vector<PipelineRecord>> ListPipelines() override {
    return CallPages<PipelineRecord, v1::ListPipelinesResponse>(
        &v1::QueryService::Stub::ListPipelines, v1::ListPipelinesRequest(),
        [](const v1::ListPipelinesResponse& page) { return page.pipelines(); });
  }

  absl::StatusOr<PipelineRecord> GetPipeline(const std::string& name) override {
    v1::GetPipelineRequest request;
    request.set_name(name);
    CD4ML_ASSIGN_OR_RETURN(const auto response, Call<v1::GetPipelineResponse>(
                                                    &v1::QueryService::Stub::GetPipeline, request));
    return FromProto(response.pipeline());
  }

  absl::StatusOr<std::vector<AgentView>> ListAgents() override {
    return CallPages<AgentView, v1::ListAgentsResponse>(
        &v1::QueryService::Stub::ListAgents, v1::ListAgentsRequest(),
        [](const v1::ListAgentsResponse& page) { return page.agents(); });
  }

  absl::StatusOr<std::vector<core::Deployment>> ListDeployments(const std::string& environment,
                                                                UtcTime at, int limit) override {
    v1::ListDeploymentsRequest request;
    request.set_environment(environment);
    if (at.is_set()) *request.mutable_time() = ToProto(at);
    request.set_page_size(limit);
    CD4ML_ASSIGN_OR_RETURN(
        const auto response,
        Call<v1::ListDeploymentsResponse>(&v1::QueryService::Stub::ListDeployments, request));
    return ListFromProto<core::Deployment>(response.deployments());
  }

  absl::StatusOr<std::vector<MonitorView>> ListMonitors(int checks) override {
    v1::ListMonitorsRequest request;
    request.set_checks(checks);
    return CallPages<MonitorView, v1::ListMonitorsResponse>(
        &v1::QueryService::Stub::ListMonitors, request,
        [](const v1::ListMonitorsResponse& page) { return page.monitors(); });
  }

  absl::StatusOr<LineageGraph> TraceLineage(const std::string& reference,
                                            LineageDirection direction, int depth_max) override {
    v1::TraceLineageRequest request;
    request.set_reference(reference);
    request.set_direction(ToProto(direction));
    request.set_depth_max(depth_max);
    CD4ML_ASSIGN_OR_RETURN(
        const auto response,
        Call<v1::TraceLineageResponse>(&v1::QueryService::Stub::TraceLineage, request));
    return FromProto(response.graph());
  }

  absl::StatusOr<Impact> FindImpact(const std::string& reference) override {
    v1::FindImpactRequest request;
    request.set_reference(reference);
    CD4ML_ASSIGN_OR_RETURN(
        const auto response,
        Call<v1::FindImpactResponse>(&v1::QueryService::Stub::FindImpact, request));
    return FromProto(response.impact());
  }

  absl::StatusOr<core::Reproduction> JudgeReproduction(const std::string& run,
                                                       std::optional<double> tolerance) override {
    v1::JudgeReproductionRequest request;
    request.set_run(run);
    if (tolerance) request.set_tolerance(*tolerance);
    CD4ML_ASSIGN_OR_RETURN(const auto response,
                           Call<v1::JudgeReproductionResponse>(
                               &v1::QueryService::Stub::JudgeReproduction, request));
    return FromProto(response.reproduction());
  }

  absl::StatusOr<RunComparison> CompareRuns(const std::string& before, const std::string& after,
                                            core::Compared compared) override {
    v1::CompareRunsRequest request;
    request.set_before(before);
    request.set_after(after);
    request.set_everything(compared == core::Compared::kEverything);
    CD4ML_ASSIGN_OR_RETURN(
        const auto response,
        Call<v1::CompareRunsResponse>(&v1::QueryService::Stub::CompareRuns, request));
    return FromProto(response.comparison());
  }

  absl::StatusOr<std::string> ExportDocument(const std::string& reference,
                                             DocumentKind kind) override {
    v1::ExportDocumentRequest request;
    request.set_reference(reference);
    request.set_kind(ToProto(kind));
    CD4ML_ASSIGN_OR_RETURN(
        const auto response,
        Call<v1::ExportDocumentResponse>(&v1::QueryService::Stub::ExportDocument, request));
    return response.text();
  }

 private:
  template <typename Response, typename Request>
  using Method = grpc::Status (v1::QueryService::Stub::*)(grpc::ClientContext*, const Request&,
                                                          Response*);

  template <typename Response, typename Request>
  absl::StatusOr<Response> Call(Method<Response, Request> method, const Request& request) {
    grpc::ClientContext context;
    SetDeadline(&context, kQuickCall);
    Response response;
    const grpc::Status ended = (stub_.get()->*method)(&context, request, &response);
    CD4ML_RETURN_IF_ERROR(FromGrpc(ended, context.GetServerTrailingMetadata(), address_));
    return response;
  }

  // Asks for page after page.
  template <typename T, typename Response, typename Request, typename MessagesOf>
  absl::StatusOr<std::vector<T>> CallPages(Method<Response, Request> method, Request request,
                                           MessagesOf messages_of) {
    std::vector<T> all;
    do {
      CD4ML_ASSIGN_OR_RETURN(const Response page, Call(method, request));
      CD4ML_ASSIGN_OR_RETURN(std::vector<T> items, ListFromProto<T>(messages_of(page)));
      std::move(items.begin(), items.end(), std::back_inserter(all));
      request.set_page_token(page.next_page_token());
    } while (!request.page_token().empty());
    return all;
  }

  std::unique_ptr<LogStream> OpenLog(const core::AttemptId& attempt, int64_t offset, bool follow) {
    auto stream = std::make_unique<LogStream>();
    stream->attempt = attempt;
    stream->follow = follow;
    v1::ReadLogRequest request;
    *request.mutable_attempt() = ToProto(attempt);
    request.set_offset(offset);
    request.set_follow(follow);
    stream->reader = stub_->ReadLog(&stream->context, request);
    return stream;
  }
  std::unique_ptr<LogStream> TakeLog() {
    std::lock_guard lock(mutex_);
    return std::move(log_);
  }
  void KeepLog(std::unique_ptr<LogStream> stream) {
    std::lock_guard lock(mutex_);
    log_ = std::move(stream);
  }

  const std::string address_;
  const std::unique_ptr<v1::QueryService::Stub> stub_;
  std::mutex mutex_;
  std::unique_ptr<LogStream> log_;  // Guarded by mutex_; null while somebody reads it.
};

}  // namespace

std::unique_ptr<ControlApi> ConnectControl(const std::string& address) {
  return std::make_unique<ControlClient>(address);
}
std::unique_ptr<QueryApi> ConnectQuery(const std::string& address) {
  return std::make_unique<QueryClient>(address);
}

}  // namespace cd4ml::rpc
