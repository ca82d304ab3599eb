// The program `cd4ml`: reads a command line, asks the daemon, answers people or scripts.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cd4ml/base/digest.h"
#include "cd4ml/ports/clock.h"
#include "cd4ml/ports/contract_checker.h"
#include "cd4ml/ports/control_api.h"
#include "cd4ml/ports/gate_api.h"
#include "cd4ml/ports/gate_tester.h"
#include "cd4ml/ports/pipeline_parser.h"
#include "cd4ml/ports/query_api.h"
#include "cd4ml/ports/signer.h"
#include "cd4ml/ports/storage_api.h"
#include "cd4ml/ports/table_engine.h"

namespace cd4ml::cli {

// The ports of one daemon.
struct Connection {
  std::unique_ptr<ControlApi> control;
  std::unique_ptr<QueryApi> query;
  std::unique_ptr<StorageApi> storage;
  // Reads an artifact of one file whole. NOT_FOUND: it is not kept.
  std::function<absl::StatusOr<std::string>(const Digest& digest, int64_t size_max)> read_artifact;
  std::unique_ptr<GateApi> gates;
};

// Each returns one message as proto3 JSON, compact or not. What `-o json` shows is stable.
struct JsonPrinters {
  std::function<std::string(const core::Run&)> run;
  std::function<std::string(const RunSummary&)> run_summary;
  std::function<std::string(const PlannedRun&)> plan;
  std::function<std::string(const RegisterResult&)> registered;
  std::function<std::string(const PipelineRecord&)> pipeline;
  std::function<std::string(const AgentView&)> agent;
  std::function<std::string(const core::Deployment&)> deployment;
  std::function<std::string(const MonitorView&)> monitor;
  std::function<std::string(const LineageGraph&)> lineage;
  std::function<std::string(const RunComparison&)> comparison;
  std::function<std::string(const Impact&)> impact;
  std::function<std::string(const core::Reproduction&)> reproduction;
  std::function<std::string(const ServerFacts&)> server;
  std::function<std::string(const GcReport&)> gc;
  std::function<std::string(const Pin&)> pin;
  std::function<std::string(const OverrideView&)> override_view;
  std::function<std::string(const GateRecord&)> gate_record;
  std::function<std::string(const BackupReport&)> backup;
  std::function<std::string(const ScrubReport&)> scrub;
  std::function<std::string(const core::Verdict&)> verdict;
};

// Columns and lines of a terminal; zero: unknown.
struct TerminalSize {
  int columns = 0;
  int lines = 0;
};

// One of the program's two streams.
struct OutputStream {
  std::ostream& stream;
  bool is_terminal = false;
};

// What the program asks of the world. Everything outlives RunCli.
struct CliPorts {
  // Called at most once, before the first question to the daemon. Need not wait until one answers.
  std::function<Connection(const std::string& server)> connect;
  const PipelineParser& parser;
  const Clock& clock;
  JsonPrinters json;
  std::function<absl::StatusOr<std::string>(const std::string& path)> read_file;
  std::function<absl::Status(const std::string& path, const std::string& text)> write_file;
  SignatureCheck check_signature;
  GateTester test_gate;
  // Opens an engine of its own; FAILED_PRECONDITION: its library is not installed.
  std::function<absl::StatusOr<std::unique_ptr<TableEngine>>()> table_engine;
  // Returns the paths of the *.cd4ml.yaml files in the working directory, sorted.
  std::function<std::vector<std::string>()> find_definitions;
  // Returns the paths of the files below a folder whose names end in `suffix`, relative to it, sorted; not those in .git and .dvc.
  std::function<absl::StatusOr<std::vector<std::string>>(const std::string& folder, const std::string& suffix)> find_files = {};
  ContractChecker check_contracts;
  // Returns the top of the checkout that a file lies in; without one, the working directory.
  std::function<std::string(const std::string& file)> checkout_of;
  std::function<TerminalSize()> terminal_size;  // Asked again whenever the size may have changed.
  std::function<bool()> interrupted;            // Whether Ctrl-C was pressed.
  std::function<std::string()> new_key;         // A fresh idempotency key.
  OutputStream out, err;
  std::map<std::string, std::string> environment;
  std::string user;         // Who asks: "ana@laptop".
  std::string working_dir;  // Absolute.
  std::string version;
};

// Performs one command line and returns the exit code (`cd4ml help exit-codes`). Throws nothing.
int RunCli(int argc, const char* const* argv, const CliPorts& ports);

// Returns the daemon's address: the flag, else CD4ML_SERVER, else the daemon's default.
std::string ResolveServer(const std::string& flag,
                          const std::map<std::string, std::string>& environment);

}  // namespace cd4ml::cli
