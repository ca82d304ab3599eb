// From a command line to the command that performs it.
#include "cd4ml/cli/cli.h"

#include "cli/help_text.h"
#include "cli/invocation.h"
#include "cli/parse.h"

namespace cd4ml::cli {

int RunCli(int argc, const char* const* argv, const CliPorts& ports) {
  ParsedLine line = ParseLine(std::vector<std::string>(argv + (argc > 0 ? 1 : 0), argv + argc));
  Invocation invocation(ports, line.command, std::move(line.arguments));
  if (!line.error.empty()) return invocation.FailUsage(line.error);
  if (line.version) {
    invocation.out.Line("cd4ml " + ports.version);
    return kExitOk;
  }
  if (line.help || line.command == nullptr) {
    invocation.out.Write(HelpFor(line.command != nullptr ? line.command->path : line.group));
    return kExitOk;
  }
  return line.command->perform(invocation);
}

}  // namespace cd4ml::cli
