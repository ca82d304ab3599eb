// Ports that answer from canned values and note what they were asked.
#pragma once

#include <gtest/gtest.h>

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cd4ml/ports/agent_api.h"
#include "cd4ml/ports/blob_store.h"
#include "cd4ml/ports/control_api.h"
#include "cd4ml/ports/query_api.h"
#include "tests/rpc/filled.h"

namespace cd4ml::rpc {

// A value that one thread sets and another waits for. Waiting long means failing.
template <typename T>
class Box {
 public:
  void Put(T value) {
    std::lock_guard lock(mutex_);
    values_.push_back(std::move(value));
    changed_.notify_all();
  }
  // Returns the oldest value not yet taken.
  T Take() {
    std::unique_lock lock(mutex_);
    CD4ML_CHECK(
        changed_.wait_for(lock, std::chrono::seconds(120), [this] { return !values_.empty(); }),
        "nothing came");
    T value = std::move(values_.front());
    values_.erase(values_.begin());
    return value;
  }
  size_t size() {
    std::lock_guard lock(mutex_);
    return values_.size();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<T> values_;  // Guarded by mutex_.
};

// A value that a test and the threads of a server share. Each use is for itself.
template <typename T>
class Shared {
 public:
  Shared(T value = T()) : value_(std::move(value)) {}
  Shared& operator=(T value) {
    std::lock_guard lock(mutex_);
    value_ = std::move(value);
    return *this;
  }
  T get() const {
    std::lock_guard lock(mutex_);
    return value_;
  }
  operator T() const { return get(); }
  friend bool operator==(const Shared& a, const T& b) { return a.get() == b; }
  friend void PrintTo(const Shared& shared, std::ostream* out) { *out << testing::PrintToString(shared.get()); }

 private:
  mutable std::mutex mutex_;
  T value_;  // Guarded by mutex_.
};

// Calls an asynchronous method and waits for its answer.
template <typename T, typename Start>
T Await(Start start) {
  const auto box = std::make_shared<Box<T>>();
  start([box](T answer) { box->Put(std::move(answer)); });
  return box->Take();
}

struct FakeControl : ControlApi {
  Shared<absl::Status> error;  // Answered instead, when it is one.
  Shared<std::string> asked;   // The last request as text.
  Shared<bool> already;

  template <typename T>
  void AnswerWith(Done<T> done, T value) {
    const absl::Status status = error;
    if (status.ok()) {
      done(std::move(value));
    } else {
      done(status);
    }
  }
  void RegisterPipeline(RegisterRequest request, Done<RegisterResult> done) override {
    asked = TextOf(request);
    AnswerWith(std::move(done), FilledValue<v1::RegisterPipelineResponse>());
  }
  void StartRun(StartRequest request, Done<StartedRun> done) override {
    asked = TextOf(request);
    AnswerWith(std::move(done), StartedRun{FilledValue<v1::Run>(), already});
  }
  void PlanRun(StartRequest request, Done<PlannedRun> done) override {
    asked = "plan " + TextOf(request);
    AnswerWith(std::move(done), FilledValue<v1::PlannedRun>());
  }
  void CancelRun(core::RunId run, std::string reason, Done<core::Run> done) override {
    asked = run + ": " + reason;
    AnswerWith(std::move(done), FilledValue<v1::Run>());
  }
  void RetryRun(RetryRequest request, Done<StartedRun> done) override {
    asked = TextOf(request);
    AnswerWith(std::move(done), StartedRun{FilledValue<v1::Run>(), already});
  }
  void BackUp(std::string dir, Done<BackupReport> done) override {
    asked = "back up to " + dir;
    AnswerWith(std::move(done), FilledValue<v1::BackUpResponse>());
  }
  void Scrub(int64_t bytes_per_second, Done<ScrubReport> done) override {
    asked = "scrub " + std::to_string(bytes_per_second);
    AnswerWith(std::move(done), FilledValue<v1::ScrubResponse>());
  }
  void ReproduceRun(ReproduceRequest request, Done<StartedRun> done) override {
    asked = TextOf(request);
    AnswerWith(std::move(done), StartedRun{FilledValue<v1::Run>(), already});
  }
  void DrainAgent(std::string agent, bool drained, std::string reason,
                  Done<AgentRecord> done) override {
    asked = agent + (drained ? " drained: " : " undrained: ") + reason;
    AnswerWith(std::move(done), FilledValue<v1::AgentRecord>());
  }
};

struct FakeQuery : QueryApi {
  struct Watcher : Subscription {
    explicit Watcher(std::function<void()> at_end) : on_end(std::move(at_end)) {}
    ~Watcher() override { on_end(); }
    std::function<void()> on_end;
  };

  Shared<absl::Status> error;
  Shared<std::string> asked;
  Shared<std::string> log = std::string("first line\nsecond line\n");
  Shared<bool> log_has_ended = true;
  Shared<size_t> chunk_max = size_t{1} << 20;
  Shared<int> pipelines = 2;
  Box<std::function<void(RunView)>> watchers;
  Box<std::function<void(absl::Status)>> watcher_ends;
  Box<bool> unsubscribed;

  template <typename T>
  absl::StatusOr<T> Or(T value) {
    const absl::Status status = error;
    if (!status.ok()) return status;
    return value;
  }
  absl::StatusOr<ServerFacts> GetServer() override {
    return Or(FilledValue<v1::GetServerResponse>());
  }
  absl::StatusOr<RunView> GetRun(const std::string& run) override {
    asked = run;
    return Or(FilledValue<v1::RunView>());
  }
  absl::StatusOr<std::vector<RunSummary>> ListRuns(const RunFilter& filter) override {
    asked = TextOf(filter);
    return Or(std::vector{FilledValue<v1::RunSummary>(), FilledValue<v1::RunSummary>()});
  }
  absl::StatusOr<std::unique_ptr<Subscription>> WatchRun(
      const std::string& run, std::function<void(RunView)> on_change,
      std::function<void(absl::Status)> on_end) override {
    asked = run;
    if (const absl::Status status = error; !status.ok()) return status;
    on_change(FilledValue<v1::RunView>());
    watchers.Put(std::move(on_change));
    watcher_ends.Put(std::move(on_end));
    return std::make_unique<Watcher>([this] { unsubscribed.Put(true); });
  }
  absl::StatusOr<LogChunk> ReadLog(const core::AttemptId& attempt, int64_t offset,
                                   bool follow) override {
    asked = TextOf(attempt) + (follow ? "follow" : "");
    if (const absl::Status status = error; !status.ok()) return status;
    const std::string text = log;
    const std::string bytes = text.substr(static_cast<size_t>(offset), chunk_max);
    const bool all = offset + bytes.size() == text.size();
    return LogChunk{.offset = offset, .bytes = bytes, .end = all && log_has_ended};
  }
  absl::StatusOr<std::vector<PipelineRecord>> ListPipelines() override {
    const int count = pipelines;
    std::vector<PipelineRecord> list(count);
    for (int i = 0; i < count; ++i)
      list[i].name = "p" + std::to_string(10'000 + i * 17 % count);
    return Or(std::move(list));
  }
  absl::StatusOr<PipelineRecord> GetPipeline(const std::string& name) override {
    asked = name;
    return Or(FilledValue<v1::Pipeline>());
  }
  absl::StatusOr<std::vector<AgentView>> ListAgents() override {
    return Or(std::vector{FilledValue<v1::Agent>()});
  }
  absl::StatusOr<std::vector<core::Deployment>> ListDeployments(const std::string& environment,
                                                                UtcTime at, int limit) override {
    asked = environment + " " + std::to_string(at.ms) + " " + std::to_string(limit);
    return Or(std::vector{FilledValue<v1::Deployment>()});
  }
  absl::StatusOr<std::vector<MonitorView>> ListMonitors(int checks) override {
    asked = std::to_string(checks);
    return Or(std::vector{FilledValue<v1::Monitor>()});
  }
  absl::StatusOr<Impact> FindImpact(const std::string& reference) override {
    asked = "impact of " + reference;
    return Or(FilledValue<v1::Impact>());
  }
  absl::StatusOr<core::Reproduction> JudgeReproduction(const std::string& run,
                                                       std::optional<double> tolerance) override {
    asked = run + " within " + (tolerance ? std::to_string(*tolerance) : "bytes");
    return Or(FilledValue<v1::Reproduction>());
  }
  absl::StatusOr<RunComparison> CompareRuns(const std::string& before, const std::string& after,
                                            core::Compared compared) override {
    asked = before + " and " + after + (compared == core::Compared::kEverything ? " all" : "");
    return Or(FilledValue<v1::RunComparison>());
  }
  absl::StatusOr<std::string> ExportDocument(const std::string& reference, DocumentKind kind) override {
    asked = reference + " document " + std::to_string(static_cast<int>(kind));
    return Or(std::string("text of it"));
  }
  absl::StatusOr<LineageGraph> TraceLineage(const std::string& reference,
                                            LineageDirection direction, int depth_max) override {
    asked = reference + (direction == LineageDirection::kDown ? " down " : " up ") +
            std::to_string(depth_max);
    return Or(FilledValue<v1::LineageGraph>());
  }
};

// Passes everything on; tests change one method.
struct ForwardingBlobs : BlobStore {
  explicit ForwardingBlobs(BlobStore& to) : inner(to) {}
  absl::StatusOr<std::unique_ptr<BlobWriter>> Create() override { return inner.Create(); }
  absl::StatusOr<std::unique_ptr<BlobReader>> Open(const Digest& digest, int64_t offset) override {
    return inner.Open(digest, offset);
  }
  absl::StatusOr<int64_t> Size(const Digest& digest) override { return inner.Size(digest); }
  absl::Status Remove(const Digest& digest) override { return inner.Remove(digest); }
  absl::StatusOr<Digest> PutFile(const std::string& path, bool may_link,
                                 const std::stop_token& stop) override {
    return inner.PutFile(path, may_link, stop);
  }
  absl::Status Materialize(const Digest& digest, const std::string& path, bool executable,
                           bool may_link, const std::stop_token& stop) override {
    return inner.Materialize(digest, path, executable, may_link, stop);
  }

  BlobStore& inner;
};

// Sessions are named after their agents. Thread-safe.
class FakeAgents : public AgentApi {
 public:
  struct Session {
    std::function<void(DesiredState)> on_desired;
    std::function<void(absl::Status)> on_lost;
  };

  Shared<absl::Status> error;
  Box<Session> sessions;
  Box<std::string> asked;
  Shared<std::string> log;

  void OpenSession(AgentHello hello, std::function<void(DesiredState)> on_desired,
                   std::function<void(absl::Status)> on_lost, Done<SessionGrant> done) override {
    asked.Put(TextOf(hello));
    if (const absl::Status status = error; !status.ok()) return done(status);
    auto grant = FilledValue<v1::SessionGrant>();
    grant.session = hello.name;
    done(grant);
    on_desired(FilledValue<v1::DesiredState>());
    sessions.Put({std::move(on_desired), std::move(on_lost)});
  }
  void Report(std::string session, AgentReport report, DoneStatus done) override {
    asked.Put(session + " " + TextOf(report));
    done(error);
  }
  void AppendLog(std::string, core::AttemptId attempt, int64_t offset, std::string bytes,
                 Done<int64_t> done) override {
    if (const absl::Status status = error; !status.ok()) return done(status);
    asked.Put(TextOf(attempt));
    std::string text = log;
    text.resize(static_cast<size_t>(offset));
    log = text + bytes;
    done(offset + static_cast<int64_t>(bytes.size()));
  }
  void Finish(std::string session, core::AttemptId attempt, core::Outcome outcome,
              Done<int64_t> done) override {
    if (const absl::Status status = error; !status.ok()) return done(status);
    asked.Put(session + " " + TextOf(attempt) + TextOf(outcome));
    done(41);
  }
  void RecordPredictions(std::string deployment, std::vector<PredictionRecord> predictions,
                         Done<int64_t> done) override {
    if (const absl::Status status = error; !status.ok()) return done(status);
    asked.Put(deployment + " " + TextOf(predictions.back()));
    done(static_cast<int64_t>(predictions.size()));
  }
  void CloseSession(std::string session, DoneStatus done) override {
    asked.Put("close " + session);
    done(error);
  }
};

}  // namespace cd4ml::rpc
