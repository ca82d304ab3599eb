// The table of commands, in the order of the overview.
#include "cli/commands/commands.h"

namespace cd4ml::cli {

const std::vector<Command>& AllCommands() {
  static const std::vector<Command> kCommands = {
      RunStart(),     RunWatch(),  RunShow(),       RunLogs(),        RunList(),
      RunWait(),      RunRetry(),  RunCancel(),     RunDiff(),        RunReproduce(),
      Why(),          PipelineAdd(),
      PipelineList(), PipelineShow(), Lint(),       Plan(),           ImportDvcCommand(), Explain(),
      GateTestCommand(), GateReport(),
      GateHistory(),  GateOverride(), GateOverrides(), GateRevoke(),
      DataProfile(),  DataDiff(),
      DeployList(),   DeployHistory(), Lineage(),   ImpactCommand(), MonitorList(),    MonitorShow(),
      ProvenanceExport(), ProvenanceVerify(), ProvenanceCard(), ProvenanceBom(), ProvenanceKey(),
      AgentList(),    AgentDrain(), AgentUndrain(), Gc(),
      PinSet(),       PinRemove(), PinList(),       BackupCreate(),   Server(),
      ServerScrub(),  VersionCommand(), Help()};
  return kCommands;
}

const std::vector<Option>& GlobalOptions() {
  static const std::vector<Option> kOptions = {
      {"--server", "ADDRESS", "the daemon; without it: CD4ML_SERVER or 127.0.0.1:7420"},
      {"-o,--output",
       "FMT",
       "format of the answer",
       false,
       {"table", "wide", "json", "jsonl", "name"}},
      {"--no-headers", "", "tables without their first line"},
      {"--color", "WHEN", "colour", false, {"auto", "always", "never"}},
      {"--progress",
       "MODE",
       "how a run's progress is shown",
       false,
       {"auto", "tty", "plain", "json", "none"}},
      {"-q,--quiet", "", "only the answer: no hints and no progress"},
      {"--timeout", "DUR", "give up after this time, like 30s or 10m"},
  };
  return kOptions;
}

}  // namespace cd4ml::cli
