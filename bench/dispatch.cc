// How long it takes from "the trigger is acknowledged" to "the first stage's process runs", on an idle system:
// starts runs of a one-stage pipeline, with a pause between them, against a real daemon and agent.
//
//   bench_dispatch SERVER PIPELINE RUNS
//
// The stage prints the time at which it began (bench/stamp.cc); this program takes the time at which the answer to
// StartRun arrived. Prints one line of JSON, in milliseconds.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <future>
#include <string>
#include <thread>
#include <vector>

#include "cd4ml/base/status.h"
#include "cd4ml/os/os.h"
#include "cd4ml/rpc/connect.h"

namespace cd4ml {
namespace {

// Between two runs, so that the agent is idle: it has cleared away what the run before left.
constexpr std::chrono::milliseconds kPause(200);

double NowMs() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) / 1e6;
}

struct Acknowledged {
  absl::StatusOr<core::Run> run = absl::UnknownError("no answer");
  double at_ms = 0;
};

Acknowledged StartRun(ControlApi& control, const std::string& pipeline) {
  std::promise<Acknowledged> promise;
  StartRequest request;
  request.pipeline = pipeline;
  request.by = "bench";
  control.StartRun(request, [&promise](absl::StatusOr<core::Run> run) {
    promise.set_value({.run = std::move(run), .at_ms = NowMs()});
  });
  return promise.get_future().get();
}

absl::Status WaitForEnd(QueryApi& query, const core::RunId& run) {
  std::promise<absl::Status> ended;
  auto watch = query.WatchRun(run, [](const RunView&) {}, [&ended](absl::Status status) { ended.set_value(status); });
  if (!watch.ok()) return watch.status();
  return ended.get_future().get();
}

// Returns how long after the acknowledgement the stage's process began.
absl::StatusOr<double> MeasureOnce(ControlApi& control, QueryApi& query, const std::string& pipeline) {
  const Acknowledged acknowledged = StartRun(control, pipeline);
  if (!acknowledged.run.ok()) return acknowledged.run.status();
  const core::RunId& run = acknowledged.run->id;
  CD4ML_RETURN_IF_ERROR(WaitForEnd(query, run));
  CD4ML_ASSIGN_OR_RETURN(const LogChunk log,
                         query.ReadLog({run, acknowledged.run->stages.front().plan.name, 0}, 0, /*follow=*/true));
  const double began_ms = std::strtod(log.bytes.c_str(), nullptr) / 1e6;
  if (began_ms == 0) return absl::InternalError("run " + run + " printed no time: \"" + log.bytes + "\"");
  return began_ms - acknowledged.at_ms;
}

int Main(const std::string& server, const std::string& pipeline, int runs) {
  const std::unique_ptr<ControlApi> control = rpc::ConnectControl(server);
  const std::unique_ptr<QueryApi> query = rpc::ConnectQuery(server);
  std::vector<double> latencies;
  for (int i = 0; i < runs; ++i) {
    const absl::StatusOr<double> latency = MeasureOnce(*control, *query, pipeline);
    if (!latency.ok()) {
      std::fprintf(stderr, "bench_dispatch: %s\n", Message(latency.status()).c_str());
      return 1;
    }
    latencies.push_back(*latency);
    std::this_thread::sleep_for(kPause);
  }
  std::sort(latencies.begin(), latencies.end());
  const auto percentile = [&](double share) {
    return latencies[static_cast<size_t>(share * static_cast<double>(latencies.size() - 1))];
  };
  std::printf("{\"name\": \"trigger-to-process\", \"unit\": \"ms\", \"runs\": %d, \"min\": %.3f, \"p50\": %.3f, "
              "\"p90\": %.3f, \"p99\": %.3f, \"max\": %.3f}\n",
              runs, latencies.front(), percentile(0.5), percentile(0.9), percentile(0.99), latencies.back());
  return 0;
}

}  // namespace
}  // namespace cd4ml

int main(int argc, char** argv) {
  if (argc != 4 || std::atoi(argv[3]) < 1) {
    std::fprintf(stderr, "usage: bench_dispatch SERVER PIPELINE RUNS\n");
    return 2;
  }
  return cd4ml::Main(argv[1], argv[2], std::atoi(argv[3]));
}
