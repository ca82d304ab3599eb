// cd4ml_sim: lives through simulated histories and shows the first one that went wrong.
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "cd4ml/base/log.h"
#include "tests/sim/world.h"

namespace cd4ml::sim {
namespace {

constexpr char kUsage[] =
    "cd4ml_sim [--seed N | --first N --count N] [--mode safety|liveness] [--plant NAME] [--tail LINES]\n"
    "\n"
    "  --seed N      one history, with its trace\n"
    "  --first N     the first seed of many (0)\n"
    "  --count N     how many (1000)\n"
    "  --mode MODE   safety: faults to the end; liveness: they end, and everything must end (both)\n"
    "  --plant NAME  with a planted bug\n"
    "  --tail LINES  how much of a failed history's trace is shown (60)\n";

volatile uint64_t current_seed = 0;
volatile int current_mode = 0;

// A crash inside of the product is a finding, too: say where.
void OnAbort(int) {
  char line[96];
  const int length = std::snprintf(line, sizeof line, "seed %llu, mode %s: aborted\n",
                                   static_cast<unsigned long long>(current_seed),
                                   current_mode == 0 ? "safety" : "liveness");
  if (write(2, line, static_cast<size_t>(length)) < 0) _exit(3);
  _exit(2);
}

const char* NameOf(Mode mode) { return mode == Mode::kSafety ? "safety" : "liveness"; }

// Returns whether all was well; otherwise lives it again with a trace and shows the end of that.
bool Judge(Options options, size_t tail, Lived& sum) {
  current_seed = options.seed;
  current_mode = options.mode == Mode::kSafety ? 0 : 1;
  Lived history = Live(options);
  sum.steps += history.steps;
  sum.events += history.events;
  sum.crashes += history.crashes;
  sum.runs += history.runs;
  if (history.violation.empty()) return true;
  if (!options.traced) {
    options.traced = true;
    history = Live(options);
  }
  const size_t from = history.trace.size() > tail ? history.trace.size() - tail : 0;
  for (size_t i = from; i < history.trace.size(); ++i) std::printf("  %s\n", history.trace[i].c_str());
  std::printf("seed %llu, mode %s: %s\n", static_cast<unsigned long long>(options.seed),
              NameOf(options.mode), history.violation.c_str());
  return false;
}

int Main(int argc, char** argv) {
  OpenLog("cd4ml_sim", LogLevel::kError, "/dev/null");
  signal(SIGABRT, OnAbort);
  uint64_t first = 0, count = 1'000;
  size_t tail = 60;
  std::string mode;
  Options options;
  for (int i = 1; i < argc; i += 2) {
    const std::string flag = argv[i];
    if (i + 1 == argc) return std::fputs(kUsage, stderr), 2;
    const char* value = argv[i + 1];
    if (flag == "--seed") {
      first = std::strtoull(value, nullptr, 10);
      count = 1;
    } else if (flag == "--first") {
      first = std::strtoull(value, nullptr, 10);
    } else if (flag == "--count") {
      count = std::strtoull(value, nullptr, 10);
    } else if (flag == "--tail") {
      tail = std::strtoull(value, nullptr, 10);
    } else if (flag == "--mode") {
      mode = value;
    } else if (flag == "--plant") {
      for (const PlantName& plant : Plants()) {
        if (value == std::string(plant.name)) options.plant = plant.plant;
      }
      if (options.plant == Plant::kNone) return std::fputs(kUsage, stderr), 2;
    } else {
      return std::fputs(kUsage, stderr), 2;
    }
  }
  Lived sum;
  const auto started = std::chrono::steady_clock::now();
  for (options.seed = first; options.seed < first + count; ++options.seed) {
    for (const Mode each : {Mode::kSafety, Mode::kLiveness}) {
      if (!mode.empty() && mode != NameOf(each)) continue;
      options.mode = each;
      if (!Judge(options, tail, sum)) return 1;
    }
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - started;
  std::printf("%llu seeds: no violation; %lld runs, %lld events, %lld crashes of the daemon, %.1f s\n",
              static_cast<unsigned long long>(count), static_cast<long long>(sum.runs),
              static_cast<long long>(sum.events), static_cast<long long>(sum.crashes), took.count());
  return 0;
}

}  // namespace
}  // namespace cd4ml::sim

int main(int argc, char** argv) { return cd4ml::sim::Main(argc, argv); }
