// An agent that sees its daemon die: holds what it is leased, comes back to the next daemon as soon as that listens,
// answers everything, and counts what was lost and what was given out twice.
//
//   bench_recovery SERVER SLOTS STAGES
//
// Prints "held" when every slot is taken, and after the daemon's death, when STAGES stages have been answered, one line
// of JSON. `first_dispatch` is the wall-clock time in milliseconds at which a lease arrived that is none of those held.
#include <condition_variable>
#include <cstdlib>
#include <map>
#include <mutex>
#include <set>

#include "cd4ml/rpc/connect.h"
#include "driver.h"

namespace cd4ml::bench {
namespace {

constexpr std::chrono::milliseconds kRetry(2);

class Survivor {
 public:
  Survivor(std::string server, int slots, int64_t stages) : server_(std::move(server)), slots_(slots), stages_(stages) {}

  int Run() {
    if (!Open()) return Fail("bench_recovery", absl::UnavailableError("no session with the first daemon"));
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return static_cast<int>(held_.size()) == slots_; });
    std::printf("held\n");
    std::fflush(stdout);
    changed_.wait(lock, [this] { return lost_; });
    before_ = held_;
    lock.unlock();
    while (!Open()) std::this_thread::sleep_for(kRetry);
    const double opened_ms = NowMs();
    lock.lock();
    changed_.wait(lock, [this] { return static_cast<int64_t>(finished_.size()) >= stages_ || lost_again_; });
    std::printf(R"({"opened": %.3f, "first_dispatch": %.3f, "answered": %zu, "refused": %ld, "again": %zu, )"
                R"("doubled": %ld, "last": %.3f})" "\n",
                opened_ms, first_dispatch_ms_, finished_.size(), static_cast<long>(refused_), again_.size(),
                static_cast<long>(doubled_), NowMs());
    std::fflush(stdout);
    lock.unlock();
    api_.reset();
    return 0;
  }

 private:
  // Makes one attempt, with a connection that has not failed before.
  bool Open() {
    api_ = rpc::ConnectAgent(server_);
    AgentHello hello;
    hello.name = hello.instance = "bench-survivor";
    hello.slots = slots_;
    std::promise<absl::StatusOr<SessionGrant>> granted;
    {
      std::lock_guard lock(mutex_);
      lost_again_ = false;
    }
    api_->OpenSession(
        hello, [this](DesiredState desired) { Take(std::move(desired)); },
        [this](const absl::Status&) {
          std::lock_guard lock(mutex_);
          (lost_ ? lost_again_ : lost_) = true;
          changed_.notify_all();
        },
        [this, &granted](absl::StatusOr<SessionGrant> grant) {
          if (grant.ok()) {
            std::lock_guard lock(mutex_);
            session_ = grant->session;
          }
          granted.set_value(std::move(grant));
        });
    return granted.get_future().get().ok();
  }

  void Take(DesiredState desired) {
    const double now = NowMs();
    std::vector<core::AttemptId> finish;
    std::string session;
    {
      std::lock_guard lock(mutex_);
      session = session_;
      for (const TaskPtr& task : desired.leases) {
        const core::AttemptId& attempt = task->attempt;
        const bool is_new = held_.insert(attempt).second;
        // A stage that was given out before, under this number or another one.
        if (is_new && !stages_seen_.insert({attempt.run, attempt.stage}).second) ++doubled_;
        if (!lost_) continue;
        if (before_.contains(attempt)) again_.insert(attempt);
        if (is_new && first_dispatch_ms_ == 0) first_dispatch_ms_ = now;
        if (reported_.insert(attempt).second) finish.push_back(attempt);
      }
      changed_.notify_all();
    }
    for (const core::AttemptId& attempt : finish) Finish(session, attempt);
  }

  void Finish(const std::string& session, const core::AttemptId& attempt) {
    core::Outcome outcome;
    outcome.state = core::AttemptState::kSucceeded;
    api_->Finish(session, attempt, std::move(outcome), [this, attempt](const absl::StatusOr<int64_t>& revision) {
      std::lock_guard lock(mutex_);
      if (revision.ok()) {
        finished_.insert(attempt);
      } else {
        ++refused_;
      }
      changed_.notify_all();
    });
  }

  const std::string server_;
  const int slots_;
  const int64_t stages_;
  std::mutex mutex_;  // Guards all below but api_, which only the main thread changes.
  std::condition_variable changed_;
  bool lost_ = false, lost_again_ = false;
  std::string session_;
  std::set<core::AttemptId> held_, before_, again_, reported_, finished_;
  std::set<std::pair<core::RunId, std::string>> stages_seen_;
  int64_t refused_ = 0, doubled_ = 0;
  double first_dispatch_ms_ = 0;
  std::unique_ptr<AgentApi> api_;
};

}  // namespace
}  // namespace cd4ml::bench

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: bench_recovery SERVER SLOTS STAGES\n");
    return 2;
  }
  return cd4ml::bench::Survivor(argv[1], std::atoi(argv[2]), std::atoll(argv[3])).Run();
}
