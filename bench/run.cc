// Starts a run of each pipeline, one after the other, and says when each was asked for, acknowledged and ended.
//
//   bench_run SERVER PIPELINE...
//
// Prints one line of JSON per run, times in milliseconds.
#include <cinttypes>

#include "cd4ml/rpc/connect.h"
#include "driver.h"

int main(int argc, char** argv) {
  using namespace cd4ml;
  if (argc < 3) {
    std::fprintf(stderr, "usage: bench_run SERVER PIPELINE...\n");
    return 2;
  }
  const std::unique_ptr<ControlApi> control = rpc::ConnectControl(argv[1]);
  const std::unique_ptr<QueryApi> query = rpc::ConnectQuery(argv[1]);
  for (int i = 2; i < argc; ++i) {
    const bench::Acknowledged acknowledged = bench::StartRun(*control, argv[i]);
    if (!acknowledged.run.ok()) return bench::Fail("bench_run", acknowledged.run.status());
    const absl::StatusOr<RunSummary> ended = bench::WaitForEnd(*query, argv[i]);
    if (!ended.ok()) return bench::Fail("bench_run", ended.status());
    std::printf(R"({"run": "%s", "state": "%s", "stages": %d, "asked": %.3f, "acknowledged": %.3f, )"
                R"("created": %)" PRId64 R"(, "ended": %)" PRId64 "}\n",
                ended->id.c_str(), ended->word.c_str(), ended->stages_done, acknowledged.asked_ms,
                acknowledged.answered_ms, ended->created.ms, ended->ended.ms);
  }
  return 0;
}
