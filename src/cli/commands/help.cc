// `cd4ml help`: the overview, a command's page, or a topic.
#include "cd4ml/base/text.h"
#include "cli/commands/commands.h"
#include "cli/help_text.h"
#include "cli/invocation.h"
#include "cli/text.h"

namespace cd4ml::cli {
namespace {

int Perform(Invocation& invocation) {
  const std::string path = Join(invocation.arguments.Many("TOPIC"), " ");
  const std::string text = HelpFor(path);
  if (text.empty()) {
    return invocation.FailUsage("no help on \"" + SafeLine(path) + "\"" +
                                DidYouMean(path, HelpSubjects()));
  }
  invocation.out.Write(text);
  return kExitOk;
}

}  // namespace

Command Help() {
  return {
      .path = "help",
      .group = "Agents and daemon",
      .summary = "explain a command or a topic",
      .examples = {"help run start", "help exit-codes", "help refs"},
      .operands = {{"TOPIC", "a command, or one of exit-codes, environment, refs", false, true}},
      .perform = Perform};
}

}  // namespace cd4ml::cli
