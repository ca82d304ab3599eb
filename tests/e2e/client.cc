// A client that keeps its connections, for tests that ask for more than one process per request allows.
//
//   e2e_client SERVER CONNECTIONS
//
// Reads requests from standard input, one a line, and sends each at once; answers come in any order:
//
//   start ID PIPELINE KEY  ->  ID MS OK RUN
//   cancel ID RUN          ->  ID MS OK RUN
//   hello ID AGENT PROTOCOL ->  ID MS OK SESSION
//                              ID MS UNAVAILABLE why
//
// MS is how long the answer took. After the end of its input it waits for the last answer and ends.
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <mutex>
#include <sstream>
#include <string>
#include <vector>

#include "cd4ml/base/status.h"
#include "cd4ml/rpc/connect.h"

namespace cd4ml {
namespace {

using SteadyClock = std::chrono::steady_clock;

class Client {
 public:
  Client(const std::string& server, int connections) : agent_(rpc::ConnectAgent(server)) {
    for (int i = 0; i < connections; ++i) connections_.push_back(rpc::ConnectControl(server));
  }

  void Send(const std::string& line) {
    std::istringstream words(line);
    std::string request, id, what, key;
    words >> request >> id >> what >> key;
    ControlApi& control = *connections_[next_++ % connections_.size()];
    const auto done = [this, id, sent = SteadyClock::now()](const absl::StatusOr<core::Run>& run) {
      Print(id, SteadyClock::now() - sent, run);
    };
    {
      std::lock_guard lock(mutex_);
      ++open_;
    }
    if (request == "start") return control.StartRun({.pipeline = what, .by = "e2e", .key = key}, done);
    if (request == "cancel") return control.CancelRun(what, "", done);
    if (request == "hello") return OpenSession(what, std::atoi(key.c_str()), done);
    done(absl::InvalidArgumentError("no request: " + line));
  }

  void WaitForAnswers() {
    std::unique_lock lock(mutex_);
    answered_.wait(lock, [this] { return open_ == 0; });
  }

 private:
  // As an agent that speaks `protocol` does.
  void OpenSession(const std::string& agent, int protocol, const Done<core::Run>& done) {
    AgentHello hello;
    hello.protocol = protocol;
    hello.name = hello.instance = agent;
    hello.slots = 1;
    agent_->OpenSession(hello, [](DesiredState) {}, [](absl::Status) {}, [done](const absl::StatusOr<SessionGrant>& grant) {
      core::Run answer;
      if (!grant.ok()) return done(grant.status());
      answer.id = grant->session;
      done(answer);
    });
  }

  void Print(const std::string& id, SteadyClock::duration took, const absl::StatusOr<core::Run>& run) {
    std::string text = run.ok() ? run->id : Message(run.status());
    std::replace(text.begin(), text.end(), '\n', ' ');
    std::lock_guard lock(mutex_);
    std::printf("%s %.3f %s %s\n", id.c_str(), std::chrono::duration<double, std::milli>(took).count(),
                absl::StatusCodeToString(run.status().code()).c_str(), text.c_str());
    std::fflush(stdout);
    if (--open_ == 0) answered_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable answered_;
  int open_ = 0;  // Requests without an answer; guarded by mutex_.
  size_t next_ = 0;
  std::unique_ptr<AgentApi> agent_;
  std::vector<std::unique_ptr<ControlApi>> connections_;  // Last, as the one before: their answers use what stands above.
};

}  // namespace
}  // namespace cd4ml

int main(int argc, char** argv) {
  if (argc != 3 || std::atoi(argv[2]) < 1) {
    std::fprintf(stderr, "usage: e2e_client SERVER CONNECTIONS\n");
    return 2;
  }
  cd4ml::Client client(argv[1], std::atoi(argv[2]));
  for (std::string line; std::getline(std::cin, line);) client.Send(line);
  client.WaitForAnswers();
}
