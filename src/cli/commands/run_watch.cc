// `cd4ml run watch`: shows a run as it goes on and ends as it ends.
#include "cli/commands/commands.h"
#include "cli/progress.h"

namespace cd4ml::cli {
namespace {

int Perform(Invocation& invocation) {
  const Terminal& screen = invocation.is_json() ? invocation.err : invocation.out;
  const auto observer = MakeProgress(invocation, screen);
  return FollowToEnd(invocation, invocation.arguments.One("RUN"), *observer, screen);
}

}  // namespace

Command RunWatch() {
  return {
      .path = "run watch",
      .group = "Runs",
      .summary = "show a run as it goes on; exit as it ends",
      .examples = {"run watch used-car-price/latest",
                   "run watch used-car-price/2 --progress plain"},
      .operands = {{"RUN", "a run, like used-car-price/2 (cd4ml help refs)"}},
      .perform = Perform,
      .details =
          "Ctrl-C detaches and the run goes on. The exit code says how the run ended: cd4ml help "
          "exit-codes.",
      .alias = "watch"};
}

}  // namespace cd4ml::cli
