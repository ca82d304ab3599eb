// Many agents in one program, for tests that ask for more than a process each allows: they take leases, perform nothing,
// and report what they hold.
//
//   e2e_agents SERVER AGENTS HEARTBEAT_MS
//
// Each agent has a connection of its own and one slot. Prints "ready" when all sessions are open. Holds every lease until its
// input ends, then reports success for each, and prints one line of JSON: how many sessions were lost, how many leases were
// held at the end, how many results were taken or refused, and how long the daemon took to answer reports.
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "cd4ml/base/status.h"
#include "cd4ml/rpc/connect.h"

namespace cd4ml {
namespace {

using SteadyClock = std::chrono::steady_clock;

// What all agents share, guarded by `mutex`.
struct Board {
  std::mutex mutex;
  std::condition_variable changed;
  int opened = 0, lost = 0, held = 0, taken = 0, refused = 0, failed_reports = 0;
  std::vector<double> answers_ms;
};

class IdleAgent {
 public:
  IdleAgent(const std::string& server, int number, Board& board) : board_(board), api_(rpc::ConnectAgent(server)) {
    AgentHello hello;
    hello.name = hello.instance = "idle-" + std::to_string(number);
    api_->OpenSession(
        hello, [this](const DesiredState& desired) { Take(desired); },
        [this](const absl::Status&) { Count(&Board::lost); },
        [this](const absl::StatusOr<SessionGrant>& grant) {
          if (!grant.ok()) {
            std::fprintf(stderr, "e2e_agents: %s\n", Message(grant.status()).c_str());
            std::exit(1);
          }
          session_ = grant->session;
          Count(&Board::opened);
        });
  }

  void Report() {
    AgentReport report;
    {
      std::lock_guard lock(board_.mutex);
      for (const core::AttemptId& attempt : leases_) report.held.push_back({attempt, true, {}});
    }
    api_->Report(session_, std::move(report), [this, sent = SteadyClock::now()](const absl::Status& answered) {
      const double took = std::chrono::duration<double, std::milli>(SteadyClock::now() - sent).count();
      std::lock_guard lock(board_.mutex);
      board_.answers_ms.push_back(took);
      board_.failed_reports += answered.ok() ? 0 : 1;
    });
  }

  void Finish() {
    std::set<core::AttemptId> leases;
    {
      std::lock_guard lock(board_.mutex);
      leases = leases_;
    }
    for (const core::AttemptId& attempt : leases) {
      core::Outcome outcome;
      outcome.state = core::AttemptState::kSucceeded;
      api_->Finish(session_, attempt, std::move(outcome), [this](const absl::StatusOr<int64_t>& revision) {
        Count(revision.ok() ? &Board::taken : &Board::refused);
      });
    }
  }

 private:
  void Take(const DesiredState& desired) {
    std::lock_guard lock(board_.mutex);
    board_.held -= static_cast<int>(leases_.size());
    leases_.clear();
    for (const TaskPtr& task : desired.leases) leases_.insert(task->attempt);
    board_.held += static_cast<int>(leases_.size());
  }

  void Count(int Board::*what) {
    std::lock_guard lock(board_.mutex);
    ++(board_.*what);
    board_.changed.notify_all();
  }

  Board& board_;
  std::string session_;
  std::set<core::AttemptId> leases_;  // Guarded by the board's mutex.
  std::unique_ptr<AgentApi> api_;     // Last: its callbacks use the others.
};

// Reports evenly over the time of a heartbeat, until the input ends.
void KeepAlive(std::vector<std::unique_ptr<IdleAgent>>& agents, std::chrono::milliseconds heartbeat, Board& board) {
  bool over = false;
  std::jthread reader([&] {
    for (std::string line; std::getline(std::cin, line);) {
    }
    std::lock_guard lock(board.mutex);
    over = true;
    board.changed.notify_all();
  });
  const SteadyClock::time_point began = SteadyClock::now();
  for (size_t turn = 0;; ++turn) {
    const auto due = began + heartbeat * turn / agents.size();
    {
      std::unique_lock lock(board.mutex);
      if (board.changed.wait_until(lock, due, [&] { return over; })) return;
    }
    agents[turn % agents.size()]->Report();
  }
}

int Run(const std::string& server, int count, std::chrono::milliseconds heartbeat) {
  Board board;
  std::vector<std::unique_ptr<IdleAgent>> agents;
  for (int i = 0; i < count; ++i) agents.push_back(std::make_unique<IdleAgent>(server, i, board));
  {
    std::unique_lock lock(board.mutex);
    board.changed.wait(lock, [&] { return board.opened == count; });
  }
  std::printf("ready\n");
  std::fflush(stdout);
  KeepAlive(agents, heartbeat, board);
  std::unique_lock lock(board.mutex);
  const int held = board.held;
  lock.unlock();
  for (auto& agent : agents) agent->Finish();
  lock.lock();
  board.changed.wait(lock, [&] { return board.taken + board.refused >= held; });
  std::vector<double> ms = board.answers_ms;
  std::sort(ms.begin(), ms.end());
  const auto at = [&ms](double share) { return ms.empty() ? 0 : ms[static_cast<size_t>(share * static_cast<double>(ms.size() - 1))]; };
  std::printf("{\"lost\": %d, \"held\": %d, \"taken\": %d, \"refused\": %d, \"reports\": %zu, \"failed_reports\": %d, "
              "\"p50_ms\": %.3f, \"p99_ms\": %.3f, \"max_ms\": %.3f}\n",
              board.lost, held, board.taken, board.refused, ms.size(), board.failed_reports, at(0.5), at(0.99), at(1));
  std::fflush(stdout);
  lock.unlock();
  agents.clear();
  return 0;
}

}  // namespace
}  // namespace cd4ml

int main(int argc, char** argv) {
  if (argc != 4 || std::atoi(argv[2]) < 1 || std::atoi(argv[3]) < 1) {
    std::fprintf(stderr, "usage: e2e_agents SERVER AGENTS HEARTBEAT_MS\n");
    return 2;
  }
  return cd4ml::Run(argv[1], std::atoi(argv[2]), std::chrono::milliseconds(std::atoi(argv[3])));
}
