// The daemon's door: control and query services, and the server that carries all services.
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <optional>

#include "cd4ml/base/status.h"
#include "cd4ml/rpc/serve.h"
#include "cd4ml/v1/control_service.grpc.pb.h"
#include "cd4ml/v1/query_service.grpc.pb.h"
#include "rpc/address.h"
#include "rpc/agent_service.h"
#include "rpc/blob_service.h"
#include "rpc/convert.h"
#include "rpc/gates.h"
#include "rpc/listener.h"
#include "rpc/storage.h"
#include "rpc/unary.h"
#include "rpc/wakeful.h"

namespace cd4ml::rpc {
namespace {

// --- control: answered by the loop, so no thread waits -----------------------------------------

template <typename Response>
void WriteStarted(const StartedRun& started, Response& response) {
  *response.mutable_run() = ToProto(static_cast<const core::Run&>(started));
  response.set_already(started.already);
}

class ControlHandlers : public v1::ControlService::CallbackService {
 public:
  explicit ControlHandlers(ControlApi& api) : api_(api) {}

  grpc::ServerUnaryReactor* RegisterPipeline(grpc::CallbackServerContext* context,
                                             const v1::RegisterPipelineRequest* request,
                                             v1::RegisterPipelineResponse* response) override {
    return AnswerUnary<RegisterResult>(
        context, FromProto(*request),
        [&](RegisterRequest asked, Done<RegisterResult> done) {
          api_.RegisterPipeline(std::move(asked), std::move(done));
        },
        [response](const RegisterResult& result) { *response = ToProto(result); });
  }

  grpc::ServerUnaryReactor* StartRun(grpc::CallbackServerContext* context,
                                     const v1::StartRunRequest* request,
                                     v1::StartRunResponse* response) override {
    return AnswerUnary<StartedRun>(
        context, FromProto(*request),
        [&](StartRequest asked, Done<StartedRun> done) {
          api_.StartRun(std::move(asked), std::move(done));
        },
        [response](const StartedRun& run) { WriteStarted(run, *response); });
  }

  grpc::ServerUnaryReactor* PlanRun(grpc::CallbackServerContext* context,
                                    const v1::PlanRunRequest* request,
                                    v1::PlanRunResponse* response) override {
    return AnswerUnary<PlannedRun>(
        context, FromProto(request->start()),
        [&](StartRequest asked, Done<PlannedRun> done) {
          api_.PlanRun(std::move(asked), std::move(done));
        },
        [response](const PlannedRun& planned) {
          *response->mutable_planned_run() = ToProto(planned);
        });
  }

  grpc::ServerUnaryReactor* RetryRun(grpc::CallbackServerContext* context,
                                     const v1::RetryRunRequest* request,
                                     v1::RetryRunResponse* response) override {
    return AnswerUnary<StartedRun>(
        context, FromProto(*request),
        [&](RetryRequest retry, Done<StartedRun> done) {
          api_.RetryRun(std::move(retry), std::move(done));
        },
        [response](const StartedRun& run) { WriteStarted(run, *response); });
  }

  grpc::ServerUnaryReactor* ReproduceRun(grpc::CallbackServerContext* context,
                                         const v1::ReproduceRunRequest* request,
                                         v1::ReproduceRunResponse* response) override {
    return AnswerUnary<StartedRun>(
        context, FromProto(*request),
        [&](ReproduceRequest reproduce, Done<StartedRun> done) {
          api_.ReproduceRun(std::move(reproduce), std::move(done));
        },
        [response](const StartedRun& run) { WriteStarted(run, *response); });
  }

  grpc::ServerUnaryReactor* DrainAgent(grpc::CallbackServerContext* context,
                                       const v1::DrainAgentRequest* request,
                                       v1::DrainAgentResponse* response) override {
    return AnswerUnary<AgentRecord>(
        context, absl::StatusOr<std::string>(request->agent()),
        [&](std::string agent, Done<AgentRecord> done) {
          api_.DrainAgent(std::move(agent), request->drained(), request->reason(), std::move(done));
        },
        [response](const AgentRecord& agent) { *response->mutable_agent() = ToProto(agent); });
  }

  grpc::ServerUnaryReactor* BackUp(grpc::CallbackServerContext* context,
                                   const v1::BackUpRequest* request,
                                   v1::BackUpResponse* response) override {
    return AnswerUnary<BackupReport>(
        context, absl::StatusOr<std::string>(request->dir()),
        [&](std::string dir, Done<BackupReport> done) { api_.BackUp(std::move(dir), std::move(done)); },
        [response](const BackupReport& report) { *response = ToProto(report); });
  }

  grpc::ServerUnaryReactor* Scrub(grpc::CallbackServerContext* context,
                                  const v1::ScrubRequest* request,
                                  v1::ScrubResponse* response) override {
    return AnswerUnary<ScrubReport>(
        context, absl::StatusOr<int64_t>(request->bytes_per_second()),
        [&](int64_t rate, Done<ScrubReport> done) { api_.Scrub(rate, std::move(done)); },
        [response](const ScrubReport& report) { *response = ToProto(report); });
  }

  grpc::ServerUnaryReactor* CancelRun(grpc::CallbackServerContext* context,
                                      const v1::CancelRunRequest* request,
                                      v1::CancelRunResponse* response) override {
    return AnswerUnary<core::Run>(
        context, absl::StatusOr<core::RunId>(request->run()),
        [&](core::RunId run, Done<core::Run> done) {
          api_.CancelRun(run, request->reason(), std::move(done));
        },
        [response](const core::Run& run) { *response->mutable_run() = ToProto(run); });
  }

 private:
  ControlApi& api_;
};

// --- query: may block, so each call has a thread of the bounded pool ---------------------------

constexpr int kPageMax = 1'000;
// How often a follower looks whether its client or the server has gone while nothing changes.
constexpr Duration kFollowerCheck{200};

// Counts those who hold a thread for long.
class Followers {
 public:
  explicit Followers(int max) : max_(max) {}

  // One follower's place; empty when all are taken.
  class Place {
   public:
    explicit Place(Followers& followers)
        : followers_(followers), taken_(++followers.count_ <= followers.max_) {}
    ~Place() { --followers_.count_; }
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;
    absl::Status status() const {
      if (taken_) return absl::OkStatus();
      return absl::ResourceExhaustedError("more than " + std::to_string(followers_.max_) +
                                          " runs and logs are being followed; try again later");
    }

   private:
    Followers& followers_;
    const bool taken_;
  };

  void Stop() { stopping_ = true; }
  bool stopping() const { return stopping_; }

 private:
  const int max_;
  std::atomic<int> count_{0};
  std::atomic<bool> stopping_{false};
};

// The newest view of a watched run, on its way from the port's thread to the watcher's.
class NewestView {
 public:
  void Put(RunView view) {
    std::lock_guard lock(mutex_);
    view_ = std::move(view);
    changed_.notify_one();
  }
  void End(absl::Status status) {
    std::lock_guard lock(mutex_);
    end_ = std::move(status);
    changed_.notify_one();
  }
  // Waits a little for a view; a view comes before the end that follows it.
  std::pair<std::optional<RunView>, std::optional<absl::Status>> Take() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, kFollowerCheck,
                      [this] { return view_.has_value() || end_.has_value(); });
    if (view_) return {std::exchange(view_, std::nullopt), std::nullopt};
    return {std::nullopt, end_};
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<RunView> view_;      // Guarded by mutex_.
  std::optional<absl::Status> end_;  // Guarded by mutex_.
};

// Puts one page of `items`, ordered by `key_of`, into a response. The token of a page is the key
// before it.
template <typename Item, typename Request, typename Response, typename KeyOf, typename Messages>
absl::Status FillPage(absl::StatusOr<std::vector<Item>> items, const Request& request, KeyOf key_of,
                      Messages* messages, Response* response) {
  CD4ML_RETURN_IF_ERROR(items.status());
  const int size = request.page_size() == 0 ? kPageMax : request.page_size();
  if (size < 1 || size > kPageMax)
    return absl::InvalidArgumentError("page_size must be 1 to 1,000");
  std::sort(items->begin(), items->end(),
            [&](const Item& a, const Item& b) { return key_of(a) < key_of(b); });
  for (const Item& item : *items) {
    if (key_of(item) <= request.page_token()) continue;
    if (messages->size() == size) {
      response->set_next_page_token(key_of(items->at(&item - items->data() - 1)));
      break;
    }
    *messages->Add() = ToProto(item);
  }
  return absl::OkStatus();
}

class QueryHandlers : public v1::QueryService::Service {
 public:
  QueryHandlers(QueryApi& api, Followers& followers) : api_(api), followers_(followers) {}

  grpc::Status GetServer(grpc::ServerContext* context, const v1::GetServerRequest*,
                         v1::GetServerResponse* response) override {
    const auto server = api_.GetServer();
    if (server.ok()) *response = ToProto(*server);
    return Answer(context, server.status());
  }

  grpc::Status GetRun(grpc::ServerContext* context, const v1::GetRunRequest* request,
                      v1::GetRunResponse* response) override {
    const auto view = api_.GetRun(request->run());
    if (view.ok()) *response->mutable_run() = ToProto(*view);
    return Answer(context, view.status());
  }

  grpc::Status ListRuns(grpc::ServerContext* context, const v1::ListRunsRequest* request,
                        v1::ListRunsResponse* response) override {
    const auto filter = FromProto(*request);
    if (!filter.ok()) return Answer(context, filter.status());
    if (filter->limit < 1 || filter->limit > kPageMax) {
      return Answer(context, absl::InvalidArgumentError("page_size must be 1 to 1,000"));
    }
    const auto runs = api_.ListRuns(*filter);
    if (!runs.ok()) return Answer(context, runs.status());
    for (const RunSummary& run : *runs) *response->add_runs() = ToProto(run);
    if (response->runs_size() == filter->limit) response->set_next_page_token(runs->back().id);
    return grpc::Status::OK;
  }

  grpc::Status WatchRun(grpc::ServerContext* context, const v1::WatchRunRequest* request,
                        grpc::ServerWriter<v1::WatchRunResponse>* writer) override {
    const Followers::Place place(followers_);
    if (!place.status().ok()) return Answer(context, place.status());
    NewestView newest;
    const auto subscription = api_.WatchRun(
        request->run(), [&newest](RunView view) { newest.Put(std::move(view)); },
        [&newest](absl::Status status) { newest.End(std::move(status)); });
    if (!subscription.ok()) return Answer(context, subscription.status());
    while (!followers_.stopping() && !context->IsCancelled()) {
      auto [view, end] = newest.Take();
      if (end) return Answer(context, *end);
      if (!view) continue;
      v1::WatchRunResponse response;
      *response.mutable_run() = ToProto(*view);
      if (!writer->Write(response)) break;
    }
    return Answer(context, absl::UnavailableError("the daemon is stopping"));
  }

  grpc::Status ReadLog(grpc::ServerContext* context, const v1::ReadLogRequest* request,
                       grpc::ServerWriter<v1::ReadLogResponse>* writer) override {
    const Followers::Place place(followers_);
    if (!place.status().ok()) return Answer(context, place.status());
    const core::AttemptId attempt = *FromProto(request->attempt());
    int64_t offset = request->offset();
    while (!followers_.stopping() && !context->IsCancelled()) {
      const auto chunk = api_.ReadLog(attempt, offset, request->follow());
      if (!chunk.ok()) return Answer(context, chunk.status());
      const bool has_news = !chunk->bytes.empty() || chunk->end;
      if (!has_news && !request->follow()) return grpc::Status::OK;
      if (!writer->Write(ToProto(*chunk)) || chunk->end) return grpc::Status::OK;
      offset = chunk->offset + static_cast<int64_t>(chunk->bytes.size());
    }
    return Answer(context, absl::UnavailableError("the daemon is stopping"));
  }

  grpc::Status ListPipelines(grpc::ServerContext* context, const v1::ListPipelinesRequest* request,
                             v1::ListPipelinesResponse* response) override {
    return Answer(
        context, FillPage(
                     api_.ListPipelines(), *request, [](const PipelineRecord& p) { return p.name; },
                     response->mutable_pipelines(), response));
  }

  grpc::Status GetPipeline(grpc::ServerContext* context, const v1::GetPipelineRequest* request,
                           v1::GetPipelineResponse* response) override {
    const auto pipeline = api_.GetPipeline(request->name());
    if (pipeline.ok()) *response->mutable_pipeline() = ToProto(*pipeline);
    return Answer(context, pipeline.status());
  }

  grpc::Status ListAgents(grpc::ServerContext* context, const v1::ListAgentsRequest* request,
                          v1::ListAgentsResponse* response) override {
    return Answer(context,
                  FillPage(
                      api_.ListAgents(), *request, [](const AgentView& a) { return a.agent.name; },
                      response->mutable_agents(), response));
  }

  grpc::Status ListDeployments(grpc::ServerContext* context,
                               const v1::ListDeploymentsRequest* request,
                               v1::ListDeploymentsResponse* response) override {
    const auto at = FromProto(request->time());
    if (!at.ok()) return Answer(context, at.status());
    const int size = request->page_size() == 0 ? 20 : request->page_size();
    if (size < 1 || size > kPageMax) {
      return Answer(context, absl::InvalidArgumentError("page_size must be 1 to 1,000"));
    }
    const auto deployments = api_.ListDeployments(request->environment(), *at, size);
    if (!deployments.ok()) return Answer(context, deployments.status());
    for (const core::Deployment& deployment : *deployments)
      *response->add_deployments() = ToProto(deployment);
    return grpc::Status::OK;
  }

  grpc::Status ListMonitors(grpc::ServerContext* context, const v1::ListMonitorsRequest* request,
                            v1::ListMonitorsResponse* response) override {
    return Answer(context, FillPage(
                               api_.ListMonitors(request->checks()), *request,
                               [](const MonitorView& m) { return m.monitor.id(); },
                               response->mutable_monitors(), response));
  }

  grpc::Status TraceLineage(grpc::ServerContext* context, const v1::TraceLineageRequest* request,
                            v1::TraceLineageResponse* response) override {
    const auto graph = api_.TraceLineage(request->reference(), FromProto(request->direction()),
                                         request->depth_max());
    if (graph.ok()) *response->mutable_graph() = ToProto(*graph);
    return Answer(context, graph.status());
  }

  grpc::Status FindImpact(grpc::ServerContext* context, const v1::FindImpactRequest* request,
                          v1::FindImpactResponse* response) override {
    const auto impact = api_.FindImpact(request->reference());
    if (impact.ok()) *response->mutable_impact() = ToProto(*impact);
    return Answer(context, impact.status());
  }

  grpc::Status JudgeReproduction(grpc::ServerContext* context,
                                 const v1::JudgeReproductionRequest* request,
                                 v1::JudgeReproductionResponse* response) override {
    std::optional<double> tolerance;
    if (request->has_tolerance()) tolerance = request->tolerance();
    const auto reproduction = api_.JudgeReproduction(request->run(), tolerance);
    if (reproduction.ok()) *response->mutable_reproduction() = ToProto(*reproduction);
    return Answer(context, reproduction.status());
  }

  grpc::Status CompareRuns(grpc::ServerContext* context, const v1::CompareRunsRequest* request,
                           v1::CompareRunsResponse* response) override {
    const auto comparison = api_.CompareRuns(
        request->before(), request->after(),
        request->everything() ? core::Compared::kEverything : core::Compared::kDifferences);
    if (comparison.ok()) *response->mutable_comparison() = ToProto(*comparison);
    return Answer(context, comparison.status());
  }

  grpc::Status ExportDocument(grpc::ServerContext* context, const v1::ExportDocumentRequest* request,
                              v1::ExportDocumentResponse* response) override {
    const auto kind = FromProto(request->kind());
    if (!kind.ok()) return Answer(context, kind.status());
    auto text = api_.ExportDocument(request->reference(), *kind);
    if (text.ok()) *response->mutable_text() = *std::move(text);
    return Answer(context, text.status());
  }

 private:
  QueryApi& api_;
  Followers& followers_;
};

// --- the server --------------------------------------------------------------------------------

constexpr int kReceiveMax = 4 << 20;
constexpr int kRequestMetadataMax = 8 << 10;
constexpr int kConcurrentStreamsMax = 100;  // Per connection.
constexpr int kPingIntervalMin = 10'000;    // Clients that ping more often are sent away.
constexpr int kHandshakeTimeout = 5'000;
constexpr size_t kMemoryMax = size_t{256} << 20;  // For gRPC's own buffers.

class GrpcServer : public Server {
 public:
  GrpcServer(const ServerConfig& config, ControlApi& control, QueryApi& query, AgentApi& agents,
             BlobStore& blobs, StorageApi* storage, GateApi* gates)
      : followers_(config.followers_max),
        control_(control),
        query_(query, followers_),
        agents_(MakeAgentServices(agents)),
        blobs_(MakeBlobService(blobs)),
        storage_(storage == nullptr ? nullptr : MakeStorageService(*storage)),
        gates_(gates == nullptr ? nullptr : MakeGateService(*gates)) {}

  ~GrpcServer() override {
    if (server_ != nullptr) Shutdown(Duration(0));
  }

  absl::Status Start(const ServerConfig& config) {
    CD4ML_ASSIGN_OR_RETURN(const Address address, ParseAddress(config.address));
    CD4ML_RETURN_IF_ERROR(CheckLocal(address));
    CD4ML_ASSIGN_OR_RETURN(listener_, Listener::Open(address));
    address_ = address.WithPort(listener_->port());
    grpc::ServerBuilder builder;
    Limit(config, builder);
    acceptor_ = builder.experimental().AddExternalConnectionAcceptor(
        grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD,
        grpc::InsecureServerCredentials());
    for (grpc::Service* service :
         {static_cast<grpc::Service*>(&control_), static_cast<grpc::Service*>(&query_),
          &agents_->agents(), &agents_->predictions(), blobs_.get()}) {
      builder.RegisterService(service);
    }
    if (storage_ != nullptr) builder.RegisterService(storage_.get());
    if (gates_ != nullptr) builder.RegisterService(gates_.get());
    server_ = builder.BuildAndStart();
    if (server_ == nullptr)
      return absl::InternalError("gRPC could not start a server on " + address_);
    wakeful_.emplace(server_->InProcessChannel({}));
    listener_->Start([this](int listener, int connection) {
      grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters parameters;
      parameters.listener_fd = listener;
      parameters.fd = connection;
      acceptor_->HandleNewConnection(&parameters);
    });
    return absl::OkStatus();
  }

  int port() const override { return listener_->port(); }
  const std::string& address() const override { return address_; }

  void Shutdown(Duration deadline) override {
    if (std::exchange(stopped_, true)) return;
    wakeful_.reset();
    listener_->Stop();
    followers_.Stop();
    agents_->EndStreams();
    server_->Shutdown(gpr_time_from_millis(deadline.count(), GPR_TIMESPAN));
    server_->Wait();
  }

 private:
  static void Limit(const ServerConfig& config, grpc::ServerBuilder& builder) {
    builder.SetMaxReceiveMessageSize(kReceiveMax);
    builder.SetMaxSendMessageSize(-1);
    builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, kHandshakeTimeout);
    builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kRequestMetadataMax);
    builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kConcurrentStreamsMax);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS,
                               static_cast<int>(config.keepalive.count()));
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS,
                               static_cast<int>(config.keepalive_timeout.count()));
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                               kPingIntervalMin);
    builder.SetSyncServerOption(grpc::ServerBuilder::MAX_POLLERS, 4);
    builder.SetResourceQuota(
        grpc::ResourceQuota("cd4ml").Resize(kMemoryMax).SetMaxThreads(config.threads_max));
  }

  bool stopped_ = false;
  Followers followers_;
  ControlHandlers control_;
  QueryHandlers query_;
  std::unique_ptr<AgentServices> agents_;
  std::unique_ptr<grpc::Service> blobs_;
  std::unique_ptr<grpc::Service> storage_, gates_;  // May be none.
  std::string address_;
  std::unique_ptr<Listener> listener_;
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> acceptor_;
  std::unique_ptr<grpc::Server> server_;  // It stops calling the others before they go.
  std::optional<Wakeful> wakeful_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> Serve(const ServerConfig& config, ControlApi& control,
                                              QueryApi& query, AgentApi& agents, BlobStore& blobs,
                                              StorageApi* storage, GateApi* gates) {
  auto server = std::make_unique<GrpcServer>(config, control, query, agents, blobs, storage, gates);
  CD4ML_RETURN_IF_ERROR(server->Start(config));
  return std::unique_ptr<Server>(std::move(server));
}

}  // namespace cd4ml::rpc
