// `cd4ml version`: the version of this program.
#include "cli/commands/commands.h"
#include "cli/invocation.h"

namespace cd4ml::cli {

Command VersionCommand() {
  return {.path = "version",
          .group = "Agents and daemon",
          .summary = "print the version of this program",
          .examples = {"version"},
          .perform = [](Invocation& invocation) {
            invocation.out.Line("cd4ml " + invocation.ports.version);
            return static_cast<int>(kExitOk);
          }};
}

}  // namespace cd4ml::cli
