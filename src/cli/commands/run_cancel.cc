// `cd4ml run cancel`: asks runs to stop.
#include "cli/commands/commands.h"
#include "cli/invocation.h"
#include "cli/text.h"

namespace cd4ml::cli {
namespace {

int CancelOne(Invocation& invocation, ControlApi& control, const std::string& id) {
  std::string reason = invocation.arguments.One("reason");
  if (reason.empty()) reason = "cancelled by " + invocation.ports.user;
  const auto run = invocation.Await<core::Run>(
      [&](Done<core::Run> done) { control.CancelRun(id, reason, std::move(done)); });
  if (!run.ok()) {
    return invocation.Fail(run.status(), {{"How it stands", "cd4ml run show " + id},
                                          {"Running ones", "cd4ml run list --state running"}});
  }
  if (invocation.is_json()) {
    invocation.PrintJson(invocation.ports.json.run(*run));
  } else {
    const StateWord word = WordOf(core::Word(*run));
    invocation.out.Line(SafeLine(run->id) + " " + invocation.out.Paint(word.text(), word.style));
  }
  if (!core::IsTerminal(run->state))
    invocation.Hints({{"Until nothing of it is left", "cd4ml run wait " + run->id}});
  return kExitOk;
}

int Perform(Invocation& invocation) {
  int first_bad = kExitOk;
  for (const std::string& id : invocation.arguments.Many("RUN")) {
    const int code = CancelOne(invocation, invocation.Control(), id);
    if (first_bad == kExitOk) first_bad = code;
  }
  return first_bad;
}

}  // namespace

Command RunCancel() {
  return {.path = "run cancel",
          .group = "Runs",
          .summary = "stop runs",
          .examples = {"run cancel used-car-price/2 --reason \"wrong branch\""},
          .operands = {{"RUN", "a run, like used-car-price/2 (cd4ml help refs)", true, true}},
          .options = {{"--reason", "TEXT", "why; recorded with the run"}},
          .perform = Perform,
          .alias = "cancel"};
}

}  // namespace cd4ml::cli
