// The lease protocol's server side: one pushed stream per agent, and three unary calls.
#include "rpc/agent_service.h"

#include <algorithm>
#include <iterator>
#include <mutex>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "cd4ml/v1/agent_service.grpc.pb.h"
#include "cd4ml/v1/prediction_service.grpc.pb.h"
#include "rpc/convert.h"
#include "rpc/status.h"
#include "rpc/unary.h"

namespace cd4ml::rpc {
namespace {

class SyncStream;

// The open streams of a server. Thread-safe.
class OpenStreams {
 public:
  // Returns false when the server is stopping.
  bool Add(SyncStream* stream) {
    std::lock_guard lock(mutex_);
    if (!stopping_) streams_.insert(stream);
    return !stopping_;
  }
  void Remove(SyncStream* stream) {
    std::lock_guard lock(mutex_);
    streams_.erase(stream);
  }
  void EndAll();

 private:
  std::mutex mutex_;
  bool stopping_ = false;  // Guarded by mutex_, like all below.
  std::set<SyncStream*> streams_;
};

constexpr int kUnderWayMax = 1'000;

absl::Status Stopping() {
  return absl::UnavailableError("the daemon is stopping; connect again soon");
}

// One agent's stream. It keeps itself alive until gRPC is done with it; the port's callbacks hold
// it weakly, so that a session may outlive its connection.
//
// At most one read and one write are under way. No more is read while much of what was read waits for
// its answer, and only the newest desired state waits for its turn to be written: nothing here can
// grow.
class SyncStream : public grpc::ServerBidiReactor<v1::SyncRequest, v1::SyncResponse>,
                   public std::enable_shared_from_this<SyncStream> {
 public:
  SyncStream(grpc::CallbackServerContext* context, AgentApi& api, OpenStreams& open)
      : context_(context), api_(api), open_(open) {}

  void Open() {
    self_ = shared_from_this();
    if (!open_.Add(this)) return End(Stopping());
    Read();
  }

  // Ends the stream. Only the first call counts.
  void End(const absl::Status& status) {
    std::lock_guard lock(mutex_);
    if (std::exchange(ended_, true)) return;
    Finish(Answer(context_, status));
  }

  void OnReadDone(bool ok) override {
    if (!ok) return End(absl::OkStatus());  // The agent closed its side, or is gone.
    if (session_.empty()) {
      TakeHello();
    } else {
      TakeMessage();
    }
  }
  void OnWriteDone(bool ok) override {
    std::lock_guard lock(mutex_);
    writing_ = false;
    if (ok) WriteWhatIsNew();
  }
  void OnCancel() override { End(absl::CancelledError("the agent is gone")); }
  void OnDone() override {
    open_.Remove(this);
    self_.reset();
  }

 private:
  void TakeHello() {
    absl::StatusOr<AgentHello> hello = FromProto(request_.hello());
    if (!request_.has_hello())
      hello = absl::InvalidArgumentError("the first message of a stream must say hello");
    if (!hello.ok()) return End(hello.status());
    const std::weak_ptr<SyncStream> weak = shared_from_this();
    api_.OpenSession(
        *std::move(hello),
        [weak](DesiredState desired) {
          if (auto stream = weak.lock()) stream->Push(std::move(desired));
        },
        [weak](absl::Status lost) {
          if (auto stream = weak.lock()) stream->End(lost);
        },
        [stream = shared_from_this()](absl::StatusOr<SessionGrant> grant) {
          stream->Granted(std::move(grant));
        });
  }

  void Granted(absl::StatusOr<SessionGrant> grant) {
    if (!grant.ok()) return End(grant.status());
    {
      std::lock_guard lock(mutex_);
      session_ = grant->session;
      *next_.mutable_grant() = ToProto(*grant);
      granted_ = has_news_ = true;
      WriteWhatIsNew();
    }
    Read();
  }

  void TakeMessage() {
    if (!request_.has_report() && request_.finished().empty())
      return End(absl::InvalidArgumentError("a message after the first must hold a report or results"));
    {
      std::lock_guard lock(mutex_);
      under_way_ += request_.has_report() + request_.finished_size();
    }
    if (request_.has_report()) TakeReport();
    for (const v1::FinishedAttempt& finished : request_.finished()) TakeFinished(finished);
    Read();
  }

  void TakeReport() {
    absl::StatusOr<AgentReport> report = FromProto(request_.report());
    if (!report.ok()) return End(report.status());
    api_.Report(session_, *std::move(report),
                [stream = shared_from_this()](absl::Status status) { stream->Reported(status); });
  }

  void Reported(const absl::Status& status) {
    if (!status.ok()) return End(status);
    std::lock_guard lock(mutex_);
    ++reports_taken_;
    Answered();
  }

  void TakeFinished(const v1::FinishedAttempt& finished) {
    const absl::StatusOr<core::AttemptId> attempt = FromProto(finished.attempt());
    absl::StatusOr<core::Outcome> outcome = FromProto(finished.outcome());
    Done<int64_t> done = [stream = shared_from_this(),
                          id = finished.attempt()](const absl::StatusOr<int64_t>& revision) {
      stream->TellFinished(id, revision);
    };
    if (!attempt.ok()) return done(attempt.status());
    if (!outcome.ok()) return done(outcome.status());
    api_.Finish(session_, *attempt, *std::move(outcome), std::move(done));
  }

  void TellFinished(const v1::AttemptId& attempt, const absl::StatusOr<int64_t>& revision) {
    std::lock_guard lock(mutex_);
    v1::FinishAnswer& answer = *next_.add_finished();
    *answer.mutable_attempt() = attempt;
    answer.set_revision(revision.value_or(0));
    std::string diagnostics;  // A result has none.
    const grpc::Status status = ToGrpc(revision.status(), &diagnostics);
    answer.set_code(status.error_code());
    answer.set_message(status.error_message());
    Answered();
  }

  // REQUIRES: mutex_ is held.
  void Answered() {
    --under_way_;
    has_news_ = true;
    WriteWhatIsNew();
    ReadIfReady();
  }

  void Push(DesiredState desired) {
    std::lock_guard lock(mutex_);
    if (desired.revision < newest_revision_)
      return;  // Two threads of the daemon overtook each other.
    newest_revision_ = desired.revision;
    desired_ = std::move(desired);
    has_news_ = true;
    WriteWhatIsNew();
  }

  void Read() {
    std::lock_guard lock(mutex_);
    reads_next_ = true;
    ReadIfReady();
  }

  // REQUIRES: mutex_ is held.
  void ReadIfReady() {
    if (ended_ || !reads_next_ || under_way_ >= kUnderWayMax) return;
    reads_next_ = false;
    StartRead(&request_);
  }

  // REQUIRES: mutex_ is held. What comes before the grant waits for it.
  void WriteWhatIsNew() {
    if (ended_ || writing_ || !granted_ || !has_news_) return;
    writing_ = true;
    has_news_ = false;
    response_ = std::exchange(next_, {});
    response_.set_reports_taken(reports_taken_);
    if (desired_) TellDesired(*std::exchange(desired_, std::nullopt));
    StartWrite(&response_);
  }

  // REQUIRES: mutex_ is held.
  void TellDesired(DesiredState desired) {
    std::sort(desired.leases.begin(), desired.leases.end(), ById);
    std::vector<TaskPtr> gone;
    std::set_difference(told_.begin(), told_.end(), desired.leases.begin(), desired.leases.end(),
                        std::back_inserter(gone), ById);
    for (const TaskPtr& task : gone) *response_.add_gone() = ToProto(task->attempt);
    std::vector<TaskPtr> fresh;
    std::set_difference(desired.leases.begin(), desired.leases.end(), told_.begin(), told_.end(),
                        std::back_inserter(fresh), ById);
    told_ = std::exchange(desired.leases, std::move(fresh));
    *response_.mutable_desired() = ToProto(desired);
  }

  static bool ById(const TaskPtr& a, const TaskPtr& b) { return a != b && a->attempt < b->attempt; }

  grpc::CallbackServerContext* const context_;
  AgentApi& api_;
  OpenStreams& open_;
  std::shared_ptr<SyncStream> self_;  // Until OnDone.
  v1::SyncRequest request_;           // Of whoever reads: there is one read at a time.
  std::string session_;               // Set between two reads.

  std::mutex mutex_;  // Guards all below.
  bool ended_ = false, writing_ = false, granted_ = false, has_news_ = false;
  bool reads_next_ = false;  // The message in request_ has been taken.
  int under_way_ = 0;        // Reports and results that wait for their answers.
  int64_t reports_taken_ = 0;
  int64_t newest_revision_ = 0;
  std::optional<DesiredState> desired_;  // The newest, not written yet.
  std::vector<TaskPtr> told_;            // Leases that the agent was told of last, in order.
  v1::SyncResponse next_;      // What waits to be written.
  v1::SyncResponse response_;  // What is being written.
};

void OpenStreams::EndAll() {
  std::lock_guard lock(mutex_);
  stopping_ = true;
  for (SyncStream* stream : streams_) stream->End(Stopping());
}

class AgentHandlers : public v1::AgentService::CallbackService {
 public:
  AgentHandlers(AgentApi& api, OpenStreams& open) : api_(api), open_(open) {}

  grpc::ServerBidiReactor<v1::SyncRequest, v1::SyncResponse>* Sync(
      grpc::CallbackServerContext* context) override {
    const auto stream = std::make_shared<SyncStream>(context, api_, open_);
    stream->Open();
    return stream.get();
  }

  grpc::ServerUnaryReactor* AppendLog(grpc::CallbackServerContext* context,
                                      const v1::AppendLogRequest* request,
                                      v1::AppendLogResponse* response) override {
    return AnswerUnary<int64_t>(
        context, FromProto(request->attempt()),
        [&](core::AttemptId attempt, Done<int64_t> done) {
          api_.AppendLog(request->session(), std::move(attempt), request->offset(), request->data(),
                         std::move(done));
        },
        [response](int64_t size) { response->set_size(size); });
  }

  grpc::ServerUnaryReactor* Finish(grpc::CallbackServerContext* context,
                                   const v1::FinishRequest* request,
                                   v1::FinishResponse* response) override {
    return AnswerUnary<int64_t>(
        context, FromProto(request->outcome()),
        [&](core::Outcome outcome, Done<int64_t> done) {
          api_.Finish(request->session(), *FromProto(request->attempt()), std::move(outcome),
                      std::move(done));
        },
        [response](int64_t revision) { response->set_revision(revision); });
  }

  grpc::ServerUnaryReactor* CloseSession(grpc::CallbackServerContext* context,
                                         const v1::CloseSessionRequest* request,
                                         v1::CloseSessionResponse*) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    api_.CloseSession(request->session(), [context, reactor](absl::Status status) {
      reactor->Finish(Answer(context, status));
    });
    return reactor;
  }

 private:
  AgentApi& api_;
  OpenStreams& open_;
};

class PredictionHandlers : public v1::PredictionService::CallbackService {
 public:
  explicit PredictionHandlers(AgentApi& api) : api_(api) {}

  grpc::ServerUnaryReactor* RecordPredictions(grpc::CallbackServerContext* context,
                                              const v1::RecordPredictionsRequest* request,
                                              v1::RecordPredictionsResponse* response) override {
    return AnswerUnary<int64_t>(
        context, ListFromProto<PredictionRecord>(request->predictions()),
        [&](std::vector<PredictionRecord> predictions, Done<int64_t> done) {
          api_.RecordPredictions(request->deployment(), std::move(predictions), std::move(done));
        },
        [response](int64_t recorded) { response->set_recorded(recorded); });
  }

 private:
  AgentApi& api_;
};

class Services : public AgentServices {
 public:
  explicit Services(AgentApi& api) : agents_(api, open_), predictions_(api) {}
  grpc::Service& agents() override { return agents_; }
  grpc::Service& predictions() override { return predictions_; }
  void EndStreams() override { open_.EndAll(); }

 private:
  OpenStreams open_;
  AgentHandlers agents_;
  PredictionHandlers predictions_;
};

}  // namespace

std::unique_ptr<AgentServices> MakeAgentServices(AgentApi& api) {
  return std::make_unique<Services>(api);
}

}  // namespace cd4ml::rpc
