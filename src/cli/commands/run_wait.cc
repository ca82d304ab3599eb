// `cd4ml run wait`: returns when runs have ended, however they ended.
#include "cli/commands/commands.h"
#include "cli/progress.h"

namespace cd4ml::cli {
namespace {

int Perform(Invocation& invocation) {
  const Terminal& screen = invocation.is_json() ? invocation.err : invocation.out;
  int first_bad = kExitOk;
  for (const std::string& run : invocation.arguments.Many("RUN")) {
    const int code = FollowToEnd(invocation, run, *MakeSilence(), screen);
    if (code == kExitInterrupted || code == kExitUnreachable) return code;
    if (first_bad == kExitOk) first_bad = code;
  }
  return first_bad;
}

}  // namespace

Command RunWait() {
  return {
      .path = "run wait",
      .group = "Runs",
      .summary = "wait until runs have ended",
      .examples = {"run wait used-car-price/2 --timeout 1h", "run wait used-car-price/2 churn/8"},
      .operands = {{"RUN", "a run, like used-car-price/2 (cd4ml help refs)", true, true}},
      .perform = Perform,
      .details =
          "The exit code is that of the first run that did not pass: cd4ml help exit-codes. "
          "--timeout holds for each run."};
}

}  // namespace cd4ml::cli
