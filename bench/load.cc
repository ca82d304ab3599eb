// Asks a service as a contract gate's latency rule does, for scripts/bench.
//
//   bench_load URL BODY REQUESTS CONCURRENCY
//
// Posts BODY (JSON) and prints one line of JSON: requests a second and percentiles in milliseconds.
#include <cstdio>
#include <cstdlib>

#include "agent/load.h"
#include "cd4ml/http/connect.h"
#include "cd4ml/os/os.h"

int main(int argc, char** argv) {
  using namespace cd4ml;
  if (argc != 5) {
    std::fprintf(stderr, "usage: bench_load URL BODY REQUESTS CONCURRENCY\n");
    return 2;
  }
  agent::Asked asked;
  asked.request.method = "POST";
  asked.request.url = argv[1];
  asked.request.body = argv[2];
  asked.request.headers["Content-Type"] = "application/json";
  const std::unique_ptr<Clock> clock = os::MakeClock();
  const agent::LoadReport report =
      agent::Load(*clock, [&] { return http::MakeLoadClient(*clock); }, {asked}, std::atoll(argv[3]), std::atoi(argv[4]), {});
  if (report.failed > 0 || report.seconds.empty()) {
    std::fprintf(stderr, "bench_load: %s\n", report.failure.c_str());
    return 1;
  }
  const auto ms = [&](int percent) { return agent::Percentile(report.seconds, percent) * 1e3; };
  std::printf(R"({"per_second": %.1f, "p50": %.4f, "p95": %.4f, "p99": %.4f})" "\n",
              static_cast<double>(report.asked) / report.elapsed, ms(50), ms(95), ms(99));
}
