// How long an idle system takes to have a process running.
//
//   bench_dispatch SERVER trigger|ready PIPELINE COUNT
//
// trigger: from the acknowledgement of a trigger to the first instruction of the process of the pipeline's only stage.
// ready: from the end of a stage to the first instruction of the next one's process. The first stage asks for the
// label "bench" and is answered by this program, which takes the time just before it reports the result: what is
// measured holds the way of that report to the daemon, the commit, the way of the lease to the agent, and the spawn.
//
// The stage under test is called "stamp" and prints the time at which it began (bench/stamp.cc). Prints one line of JSON.
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <set>

#include "cd4ml/rpc/connect.h"
#include "driver.h"

namespace cd4ml::bench {
namespace {

// Between two runs, so that the agent is idle: it has cleared away what the run before left.
constexpr std::chrono::milliseconds kPause(50);

// An agent with one slot that performs nothing by itself.
class Hand {
 public:
  explicit Hand(const std::string& server) : api_(rpc::ConnectAgent(server)) {
    AgentHello hello;
    hello.name = "bench-hand";
    hello.instance = "bench-hand";
    hello.labels = {"bench"};
    std::promise<absl::StatusOr<SessionGrant>> granted;
    api_->OpenSession(
        hello, [this](DesiredState desired) { Take(std::move(desired)); }, [](const absl::Status&) {},
        [&granted](absl::StatusOr<SessionGrant> grant) { granted.set_value(std::move(grant)); });
    absl::StatusOr<SessionGrant> grant = granted.get_future().get();
    if (grant.ok()) session_ = grant->session;
    status_ = grant.status();
  }

  const absl::Status& status() const { return status_; }

  // Waits until a stage is leased to it.
  core::AttemptId Wait() {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [this] { return next_.has_value(); });
    return *std::exchange(next_, std::nullopt);
  }

  // Returns the time just before the report went out.
  double Finish(const core::AttemptId& attempt) {
    core::Outcome outcome;
    outcome.state = core::AttemptState::kSucceeded;
    const double now = NowMs();
    api_->Finish(session_, attempt, outcome, [](const absl::StatusOr<int64_t>&) {});
    return now;
  }

 private:
  void Take(DesiredState desired) {
    std::lock_guard lock(mutex_);
    for (const TaskPtr& task : desired.leases) {
      if (seen_.insert(task->attempt).second) next_ = task->attempt;
    }
    wake_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::optional<core::AttemptId> next_;  // Guarded by mutex_, like the next.
  std::set<core::AttemptId> seen_;
  std::string session_;
  absl::Status status_;
  std::unique_ptr<AgentApi> api_;  // Last: its callbacks use the others.
};

absl::StatusOr<double> StampOf(QueryApi& query, const core::RunId& run) {
  CD4ML_ASSIGN_OR_RETURN(const LogChunk log, query.ReadLog({run, "stamp", 0}, 0, /*follow=*/true));
  const double began_ms = std::strtod(log.bytes.c_str(), nullptr) / 1e6;
  if (began_ms == 0) return absl::InternalError("run " + run + " printed no time: \"" + log.bytes + "\"");
  return began_ms;
}

int Main(const std::string& server, bool ready, const std::string& pipeline, int count) {
  const std::unique_ptr<ControlApi> control = rpc::ConnectControl(server);
  const std::unique_ptr<QueryApi> query = rpc::ConnectQuery(server);
  const std::unique_ptr<Hand> hand = ready ? std::make_unique<Hand>(server) : nullptr;
  if (hand != nullptr && !hand->status().ok()) return Fail("bench_dispatch", hand->status());
  Samples latencies;
  for (int i = 0; i < count; ++i) {
    const Acknowledged acknowledged = StartRun(*control, pipeline);
    if (!acknowledged.run.ok()) return Fail("bench_dispatch", acknowledged.run.status());
    double from = acknowledged.answered_ms;
    if (hand != nullptr) {
      const core::AttemptId attempt = hand->Wait();
      std::this_thread::sleep_for(kPause);
      from = hand->Finish(attempt);
    }
    const absl::StatusOr<RunSummary> ended = WaitForEnd(*query, pipeline, kPause);
    if (!ended.ok()) return Fail("bench_dispatch", ended.status());
    const absl::StatusOr<double> began = StampOf(*query, ended->id);
    if (!began.ok()) return Fail("bench_dispatch", began.status());
    latencies.Add(*began - from);
    std::this_thread::sleep_for(kPause);
  }
  std::printf("%s\n", latencies.Json().c_str());
  return 0;
}

}  // namespace
}  // namespace cd4ml::bench

int main(int argc, char** argv) {
  if (argc != 5 || std::atoi(argv[4]) < 1) {
    std::fprintf(stderr, "usage: bench_dispatch SERVER trigger|ready PIPELINE COUNT\n");
    return 2;
  }
  return cd4ml::bench::Main(argv[1], std::strcmp(argv[2], "ready") == 0, argv[3], std::atoi(argv[4]));
}
