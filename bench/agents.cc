// Agents that answer without performing: sessions over real connections, as many as asked for, in one program.
//
//   bench_agents SERVER AGENTS SLOTS HOLD_MS STAGES
//
// Each agent has a connection of its own. It reports success for a lease HOLD_MS after it has heard of it, at once for
// 0. Prints "ready" when all sessions are open, and one line of JSON when STAGES stages have been answered:
// `dispatch` is the time in milliseconds from a report to the next new lease of that agent.
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <map>
#include <mutex>
#include <set>

#include "cd4ml/rpc/connect.h"
#include "driver.h"

namespace cd4ml::bench {
namespace {

// What all agents of this program share.
struct Score {
  std::mutex mutex;
  std::condition_variable changed;
  Samples dispatch;  // Guarded by mutex, like all here.
  int64_t opened = 0, granted = 0, answered = 0, refused = 0;
  double first_ms = 0, last_ms = 0;
  std::deque<std::pair<double, std::function<void()>>> due;  // In the order of time: every hold is as long.
};

class BenchAgent {
 public:
  BenchAgent(const std::string& server, std::string name, int slots, double hold_ms, Score& score)
      : name_(std::move(name)), hold_ms_(hold_ms), score_(score), api_(rpc::ConnectAgent(server)) {
    AgentHello hello;
    hello.name = hello.instance = name_;
    hello.slots = slots;
    api_->OpenSession(
        hello, [this](DesiredState desired) { Take(std::move(desired)); },
        [this](const absl::Status& why) { std::fprintf(stderr, "bench_agents: %s: %s\n", name_.c_str(), Message(why).c_str()); },
        [this](absl::StatusOr<SessionGrant> grant) { Opened(std::move(grant)); });
  }

  // Tells the daemon that it is there.
  void Report() {
    AgentReport report;
    {
      std::lock_guard lock(mutex_);
      for (const core::AttemptId& attempt : held_) report.held.push_back({attempt, true});
    }
    api_->Report(session_, std::move(report), [](const absl::Status&) {});
  }

 private:
  void Opened(absl::StatusOr<SessionGrant> grant) {
    if (!grant.ok()) std::exit(Fail("bench_agents", grant.status()));
    session_ = grant->session;
    std::lock_guard lock(score_.mutex);
    ++score_.opened;
    score_.changed.notify_all();
  }

  void Take(DesiredState desired) {
    const double now = NowMs();
    std::vector<core::AttemptId> fresh;
    double reported = 0;
    {
      std::lock_guard lock(mutex_);
      std::set<core::AttemptId> wanted;
      for (const TaskPtr& task : desired.leases) {
        wanted.insert(task->attempt);
        if (held_.insert(task->attempt).second) fresh.push_back(task->attempt);
      }
      std::erase_if(held_, [&](const core::AttemptId& attempt) { return !wanted.contains(attempt); });
      if (!fresh.empty()) reported = std::exchange(reported_ms_, 0);
    }
    if (fresh.empty()) return;
    {
      std::lock_guard lock(score_.mutex);
      if (score_.first_ms == 0) score_.first_ms = now;
      score_.granted += static_cast<int64_t>(fresh.size());
      if (reported != 0) score_.dispatch.Add(now - reported);
      if (hold_ms_ > 0) {
        for (core::AttemptId& attempt : fresh) {
          score_.due.emplace_back(now + hold_ms_, [this, attempt] { Finish(attempt); });
        }
        score_.changed.notify_all();
        return;
      }
    }
    for (const core::AttemptId& attempt : fresh) Finish(attempt);
  }

  void Finish(const core::AttemptId& attempt) {
    {
      std::lock_guard lock(mutex_);
      reported_ms_ = NowMs();
    }
    core::Outcome outcome;
    outcome.state = core::AttemptState::kSucceeded;
    api_->Finish(session_, attempt, std::move(outcome), [this](const absl::StatusOr<int64_t>& revision) {
      std::lock_guard lock(score_.mutex);
      revision.ok() ? ++score_.answered : ++score_.refused;
      score_.last_ms = NowMs();
      score_.changed.notify_all();
    });
  }

  const std::string name_;
  const double hold_ms_;
  Score& score_;
  std::string session_;
  std::mutex mutex_;
  std::set<core::AttemptId> held_;  // Guarded by mutex_, like the next.
  double reported_ms_ = 0;
  std::unique_ptr<AgentApi> api_;  // Last: its callbacks use the others.
};

// Does what is due, and keeps the sessions alive, until all stages are answered.
void Work(std::vector<std::unique_ptr<BenchAgent>>& agents, Score& score, int64_t stages) {
  double report_ms = NowMs() + 2'000;
  std::unique_lock lock(score.mutex);
  while (score.answered + score.refused < stages) {
    const double now = NowMs();
    if (now >= report_ms) {
      lock.unlock();
      for (auto& agent : agents) agent->Report();
      lock.lock();
      report_ms = now + 2'000;
      continue;
    }
    if (!score.due.empty() && score.due.front().first <= now) {
      const auto finish = std::move(score.due.front().second);
      score.due.pop_front();
      lock.unlock();
      finish();
      lock.lock();
      continue;
    }
    const double until = score.due.empty() ? report_ms : std::min(report_ms, score.due.front().first);
    score.changed.wait_for(lock, std::chrono::duration<double, std::milli>(until - now));
  }
}

int Main(const std::string& server, int count, int slots, double hold_ms, int64_t stages) {
  Score score;
  std::vector<std::unique_ptr<BenchAgent>> agents;
  for (int i = 0; i < count; ++i) {
    agents.push_back(std::make_unique<BenchAgent>(server, "bench-" + std::to_string(i), slots, hold_ms, score));
  }
  {
    std::unique_lock lock(score.mutex);
    score.changed.wait(lock, [&] { return score.opened == count; });
  }
  std::printf("ready\n");
  std::fflush(stdout);
  Work(agents, score, stages);
  std::unique_lock lock(score.mutex);
  std::printf(R"({"agents": %d, "slots": %d, "granted": %ld, "answered": %ld, "refused": %ld, "seconds": %.4f, "dispatch": %s})"
              "\n",
              count, slots, static_cast<long>(score.granted), static_cast<long>(score.answered),
              static_cast<long>(score.refused), (score.last_ms - score.first_ms) / 1e3, score.dispatch.Json().c_str());
  std::fflush(stdout);
  lock.unlock();
  agents.clear();
  return 0;
}

}  // namespace
}  // namespace cd4ml::bench

int main(int argc, char** argv) {
  if (argc != 6) {
    std::fprintf(stderr, "usage: bench_agents SERVER AGENTS SLOTS HOLD_MS STAGES\n");
    return 2;
  }
  return cd4ml::bench::Main(argv[1], std::atoi(argv[2]), std::atoi(argv[3]), std::atof(argv[4]), std::atoll(argv[5]));
}
