// The lease protocol's client side: what an agent holds instead of the daemon itself.
#include <algorithm>
#include <deque>
#include <map>
#include <vector>

#include "cd4ml/base/status.h"
#include "cd4ml/rpc/connect.h"
#include "cd4ml/v1/agent_service.grpc.pb.h"
#include "cd4ml/v1/prediction_service.grpc.pb.h"
#include "rpc/client.h"
#include "rpc/convert.h"

namespace cd4ml::rpc {
namespace {

constexpr Duration kReportCall{30'000};
constexpr size_t kLogPiece = size_t{1} << 20;
// As many results go in one message. A larger one goes in a call of its own.
constexpr size_t kResultsPiece = size_t{1} << 20;
// Well below the 4 MiB that the daemon accepts, whatever a batch holds.
constexpr size_t kPredictionsPiece = size_t{1} << 20;

class SyncSession;

// The open sessions of one client, by id. Thread-safe.
class Sessions {
 public:
  void Add(const std::string& id, std::shared_ptr<SyncSession> session) {
    std::lock_guard lock(mutex_);
    sessions_[id] = std::move(session);
  }
  void Remove(const std::string& id) {
    std::lock_guard lock(mutex_);
    sessions_.erase(id);
  }
  std::shared_ptr<SyncSession> Find(const std::string& id) {
    std::lock_guard lock(mutex_);
    const auto found = sessions_.find(id);
    return found == sessions_.end() ? nullptr : found->second;
  }

 private:
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<SyncSession>> sessions_;  // Guarded by mutex_.
};

// One stream to the daemon. It keeps itself alive until gRPC is done with it.
//
// A report replaces the one that still waits for its turn, since reports are complete; all of them
// are answered when the daemon has taken the one that was sent. Results that come while a message is
// being written go together in the next one.
class SyncSession : public grpc::ClientBidiReactor<v1::SyncRequest, v1::SyncResponse>,
                    public std::enable_shared_from_this<SyncSession> {
 public:
  SyncSession(std::string address, std::function<void(DesiredState)> on_desired,
              std::function<void(absl::Status)> on_lost, Done<SessionGrant> done,
              Sessions& sessions, Calls& calls)
      : address_(std::move(address)),
        on_desired_(std::move(on_desired)),
        on_lost_(std::move(on_lost)),
        granted_(std::move(done)),
        sessions_(sessions),
        calls_(calls) {}

  void Open(v1::AgentService::Stub& stub, const AgentHello& hello) {
    self_ = shared_from_this();
    calls_.Begin(&context_);
    stub.async()->Sync(&context_, this);
    *request_.mutable_hello() = ToProto(hello);
    AddHold();  // Reports are written from outside; released when nothing more can be read.
    writing_ = true;
    StartWrite(&request_);
    StartRead(&response_);
    StartCall();
  }

  void Report(const AgentReport& report, DoneStatus done) {
    v1::AgentReport message = ToProto(report);
    {
      std::lock_guard lock(mutex_);
      if (!ended_) {
        next_report_ = std::move(message);
        next_done_.push_back(std::move(done));
        WriteWhatIsNew();
        return;
      }
    }
    done(absl::NotFoundError("the session is over"));
  }

  // Returns false when the session is over; `done` is not called then.
  bool Finish(v1::FinishedAttempt finished, const core::AttemptId& attempt, Done<int64_t>& done) {
    std::lock_guard lock(mutex_);
    if (ended_) return false;
    next_finished_.push_back(std::move(finished));
    finish_done_[attempt].push_back(std::move(done));
    WriteWhatIsNew();
    return true;
  }

  // Ends the stream without a word to `on_lost`.
  void Close() {
    {
      std::lock_guard lock(mutex_);
      closed_ = true;
    }
    context_.TryCancel();
  }

  void OnWriteDone(bool ok) override {
    std::lock_guard lock(mutex_);
    writing_ = false;
    if (ok) WriteWhatIsNew();
  }

  void OnReadDone(bool ok) override {
    if (!ok || !Take()) {
      std::lock_guard lock(mutex_);
      ended_ = true;
      RemoveHold();
      return;
    }
    StartRead(&response_);
  }

  void OnDone(const grpc::Status& ended) override {
    absl::Status status = FromGrpc(ended, context_.GetServerTrailingMetadata(), address_);
    if (!problem_.ok()) status = problem_;
    if (status.ok()) status = absl::UnavailableError("the daemon at " + address_ + " stopped");
    sessions_.Remove(session_);
    std::vector<DoneStatus> waiting;
    std::map<core::AttemptId, std::vector<Done<int64_t>>> results;
    bool closed = false;
    {
      std::lock_guard lock(mutex_);
      closed = closed_;
      for (auto& dones : sent_done_)
        std::move(dones.begin(), dones.end(), std::back_inserter(waiting));
      std::move(next_done_.begin(), next_done_.end(), std::back_inserter(waiting));
      results = std::exchange(finish_done_, {});
    }
    for (const DoneStatus& done : waiting) done(status);
    for (const auto& [attempt, dones] : results) {
      // Not with the status itself: ABORTED would mean that the attempt is stale.
      for (const Done<int64_t>& done : dones)
        done(absl::UnavailableError("the session ended before the result was answered: " + Message(status)));
    }
    if (session_.empty()) {
      granted_(status);
    } else if (!closed) {
      on_lost_(status);
    }
    calls_.End(&context_, std::move(self_));  // From here on the client may be gone.
  }

 private:
  // Acts on a message; false when it makes no sense, which ends the session.
  bool Take() {
    if (session_.empty()) {
      const absl::StatusOr<SessionGrant> grant = FromProto(response_.grant());
      if (!grant.ok() || grant->session.empty()) return Refuse(grant.status());
      session_ = grant->session;
      sessions_.Add(session_, self_);
      granted_(*grant);
    }
    if (response_.has_desired()) {
      absl::StatusOr<DesiredState> desired = Complete();
      if (!desired.ok()) return Refuse(desired.status());
      on_desired_(*std::move(desired));
    }
    TakeAnswers();
    for (const DoneStatus& done : TakenReports(response_.reports_taken())) done(absl::OkStatus());
    return true;
  }

  bool Refuse(const absl::Status& why) {
    problem_ = absl::InternalError(
        "the daemon at " + address_ + " sent what this agent does not understand: " +
        (why.ok() ? "no session" : Message(why)) + "; are both of the same version?");
    context_.TryCancel();
    return false;
  }

  // Returns what is desired now: the leases that are new, and those that the daemon has told of before.
  absl::StatusOr<DesiredState> Complete() {
    CD4ML_ASSIGN_OR_RETURN(DesiredState desired, FromProto(response_.desired()));
    for (const v1::AttemptId& message : response_.gone()) {
      CD4ML_ASSIGN_OR_RETURN(const core::AttemptId attempt, FromProto(message));
      leases_.erase(attempt);
    }
    for (TaskPtr& task : desired.leases) leases_[task->attempt] = std::move(task);
    desired.leases.clear();
    for (const auto& [attempt, task] : leases_) desired.leases.push_back(task);
    return desired;
  }

  void TakeAnswers() {
    for (const v1::FinishAnswer& answer : response_.finished()) {
      const absl::StatusOr<core::AttemptId> attempt = FromProto(answer.attempt());
      std::vector<Done<int64_t>> dones;
      {
        std::lock_guard lock(mutex_);
        const auto found = attempt.ok() ? finish_done_.find(*attempt) : finish_done_.end();
        if (found == finish_done_.end()) continue;
        dones = std::move(found->second);
        finish_done_.erase(found);
      }
      const absl::Status status(static_cast<absl::StatusCode>(answer.code()), answer.message());
      for (const Done<int64_t>& done : dones)
        done(status.ok() ? absl::StatusOr<int64_t>(answer.revision()) : status);
    }
  }

  // Returns the callbacks of all reports up to the daemon's count.
  std::vector<DoneStatus> TakenReports(int64_t count) {
    std::vector<DoneStatus> dones;
    std::lock_guard lock(mutex_);
    for (; reports_taken_ < count && !sent_done_.empty(); ++reports_taken_) {
      std::move(sent_done_.front().begin(), sent_done_.front().end(), std::back_inserter(dones));
      sent_done_.erase(sent_done_.begin());
    }
    return dones;
  }

  // REQUIRES: mutex_ is held.
  void WriteWhatIsNew() {
    if (ended_ || writing_ || (next_done_.empty() && next_finished_.empty())) return;
    writing_ = true;
    request_.Clear();
    if (!next_done_.empty()) {
      *request_.mutable_report() = std::exchange(next_report_, {});
      sent_done_.push_back(std::exchange(next_done_, {}));
    }
    for (size_t bytes = 0; !next_finished_.empty() && bytes < kResultsPiece; next_finished_.pop_front()) {
      bytes += next_finished_.front().ByteSizeLong();
      *request_.add_finished() = std::move(next_finished_.front());
    }
    StartWrite(&request_);
  }

  const std::string address_;
  const std::function<void(DesiredState)> on_desired_;
  const std::function<void(absl::Status)> on_lost_;
  const Done<SessionGrant> granted_;
  Sessions& sessions_;
  Calls& calls_;
  grpc::ClientContext context_;
  std::shared_ptr<SyncSession> self_;  // Until OnDone.
  v1::SyncResponse response_;          // Of whoever reads: one at a time. So are the next three.
  std::map<core::AttemptId, TaskPtr> leases_;  // That the daemon has told of and desires.
  std::string session_;
  absl::Status problem_;

  std::mutex mutex_;  // Guards all below.
  bool ended_ = false, closed_ = false, writing_ = false;
  v1::SyncRequest request_;  // What is being written.
  v1::AgentReport next_report_;
  std::vector<DoneStatus> next_done_;
  std::vector<std::vector<DoneStatus>> sent_done_;
  int64_t reports_taken_ = 0;
  std::deque<v1::FinishedAttempt> next_finished_;
  std::map<core::AttemptId, std::vector<Done<int64_t>>> finish_done_;
};

class AgentClient : public AgentApi {
 public:
  explicit AgentClient(const std::string& address)
      : address_(address),
        channel_(OpenChannel(address)),
        stub_(v1::AgentService::NewStub(channel_)),
        predictions_(v1::PredictionService::NewStub(channel_)) {}

  ~AgentClient() override { closing_ = true; }

  void OpenSession(AgentHello hello, std::function<void(DesiredState)> on_desired,
                   std::function<void(absl::Status)> on_lost, Done<SessionGrant> done) override {
    auto desired_heard = [this, on_desired = std::move(on_desired)](DesiredState desired) {
      if (!closing_) on_desired(std::move(desired));
    };
    auto lost_heard = [this, on_lost = std::move(on_lost)](absl::Status status) {
      if (!closing_) on_lost(std::move(status));
    };
    std::make_shared<SyncSession>(address_, std::move(desired_heard), std::move(lost_heard),
                                  std::move(done), sessions_, calls_)
        ->Open(*stub_, hello);
  }

  void Report(std::string session, AgentReport report, DoneStatus done) override {
    const std::shared_ptr<SyncSession> stream = sessions_.Find(session);
    if (stream == nullptr) return done(absl::NotFoundError("session " + session + " is over"));
    stream->Report(report, std::move(done));
  }

  // Long output goes in pieces, one after the other; a repeated piece is harmless.
  void AppendLog(std::string session, core::AttemptId attempt, int64_t offset, std::string bytes,
                 Done<int64_t> done) override {
    v1::AppendLogRequest request;
    request.set_session(session);
    *request.mutable_attempt() = ToProto(attempt);
    request.set_offset(offset);
    request.set_data(bytes.substr(0, kLogPiece));
    if (bytes.size() > kLogPiece) {
      done = [this, session, attempt, offset, rest = bytes.substr(kLogPiece),
              done = std::move(done)](absl::StatusOr<int64_t> size) {
        if (!size.ok()) return done(size);
        AppendLog(session, attempt, offset + static_cast<int64_t>(kLogPiece), rest, done);
      };
    }
    Ask<v1::AppendLogResponse>(
        calls_, address_, kReportCall, std::move(request),
        [&](auto... call) { stub_->async()->AppendLog(std::move(call)...); },
        [](const v1::AppendLogResponse& response) {
          return absl::StatusOr<int64_t>(response.size());
        },
        std::move(done));
  }

  void Finish(std::string session, core::AttemptId attempt, core::Outcome outcome,
              Done<int64_t> done) override {
    v1::FinishedAttempt finished;
    *finished.mutable_attempt() = ToProto(attempt);
    *finished.mutable_outcome() = ToProto(outcome);
    const bool is_small = finished.ByteSizeLong() <= kResultsPiece;
    const std::shared_ptr<SyncSession> stream = is_small ? sessions_.Find(session) : nullptr;
    if (stream != nullptr) {
      if (stream->Finish(std::move(finished), attempt, done)) return;
      return done(absl::UnavailableError("session " + session + " is over"));
    }
    v1::FinishRequest request;
    request.set_session(session);
    *request.mutable_attempt() = std::move(*finished.mutable_attempt());
    *request.mutable_outcome() = std::move(*finished.mutable_outcome());
    Ask<v1::FinishResponse>(
        calls_, address_, kReportCall, std::move(request),
        [&](auto... call) { stub_->async()->Finish(std::move(call)...); },
        [](const v1::FinishResponse& response) {
          return absl::StatusOr<int64_t>(response.revision());
        },
        std::move(done));
  }

  // Batches that are too large for one message go in pieces, too.
  void RecordPredictions(std::string deployment, std::vector<PredictionRecord> predictions,
                         Done<int64_t> done) override {
    v1::RecordPredictionsRequest request;
    request.set_deployment(deployment);
    size_t bytes = 0, sent = 0;
    for (; sent < predictions.size() && bytes < kPredictionsPiece; ++sent) {
      *request.add_predictions() = ToProto(predictions[sent]);
      bytes += request.predictions().rbegin()->ByteSizeLong();
    }
    if (sent < predictions.size()) {
      predictions.erase(predictions.begin(),
                        predictions.begin() + static_cast<std::ptrdiff_t>(sent));
      done = [this, deployment, rest = std::move(predictions),
              done = std::move(done)](absl::StatusOr<int64_t> recorded) {
        if (!recorded.ok()) return done(recorded);
        RecordPredictions(deployment, rest,
                          [before = *recorded, done](absl::StatusOr<int64_t> more) {
                            done(more.ok() ? before + *more : more);
                          });
      };
    }
    Ask<v1::RecordPredictionsResponse>(
        calls_, address_, kReportCall, std::move(request),
        [&](auto... call) { predictions_->async()->RecordPredictions(std::move(call)...); },
        [](const v1::RecordPredictionsResponse& response) {
          return absl::StatusOr<int64_t>(response.recorded());
        },
        std::move(done));
  }

  void CloseSession(std::string session, DoneStatus done) override {
    v1::CloseSessionRequest request;
    request.set_session(session);
    Ask<v1::CloseSessionResponse>(
        calls_, address_, kQuickCall, std::move(request),
        [&](auto... call) { stub_->async()->CloseSession(std::move(call)...); },
        [](const v1::CloseSessionResponse&) { return absl::OkStatus(); },
        DoneStatus([this, session, done = std::move(done)](absl::Status status) {
          if (const auto stream = sessions_.Find(session)) stream->Close();
          done(std::move(status));
        }));
  }

 private:
  const std::string address_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::AgentService::Stub> stub_;
  const std::unique_ptr<v1::PredictionService::Stub> predictions_;
  std::atomic<bool> closing_{false};
  Sessions sessions_;
  Calls calls_;  // Last: it waits for the calls before the rest goes.
};

}  // namespace

std::unique_ptr<AgentApi> ConnectAgent(const std::string& address) {
  return std::make_unique<AgentClient>(address);
}

}  // namespace cd4ml::rpc
