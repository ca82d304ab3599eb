// One function per command, each in the file of its name; pairs that share a table share a file.
#pragma once

#include "cli/command.h"

namespace cd4ml::cli {

Command RunStart();
Command RunList();
Command RunShow();
Command RunWatch();
Command RunLogs();
Command RunCancel();
Command RunWait();
Command RunRetry();
Command RunDiff();
Command RunReproduce();
Command Why();
Command Lint();
Command Plan();
Command PipelineAdd();
Command PipelineList();
Command PipelineShow();
Command AgentList();
Command AgentDrain();
Command AgentUndrain();
Command DeployList();
Command DeployHistory();
Command Lineage();
Command ImpactCommand();
Command ProvenanceExport();
Command ProvenanceVerify();
Command ProvenanceCard();
Command ProvenanceBom();
Command ProvenanceKey();
Command GateTestCommand();
Command GateReport();
Command GateHistory();
Command GateOverride();
Command GateOverrides();
Command GateRevoke();
Command MonitorList();
Command MonitorShow();
Command Gc();
Command PinSet();
Command PinRemove();
Command PinList();
Command Explain();
Command ImportDvcCommand();
Command DataProfile();
Command DataDiff();
Command BackupCreate();
Command Server();
Command ServerScrub();
Command VersionCommand();
Command Help();

}  // namespace cd4ml::cli
