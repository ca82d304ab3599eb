// A daemon in memory behind ControlApi and QueryApi, and everything else that RunCli asks of the
// world.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "cd4ml/cli/cli.h"

namespace cd4ml::cli {

constexpr UtcTime kStart{1'772'452'800'000};  // 2026-03-02T12:00:00Z

class FakeClock : public Clock {
 public:
  UtcTime Now() const override { return kStart + elapsed; }
  Duration Steady() const override { return elapsed; }

  Duration elapsed{0};
};

// What the daemon knows and what it was asked.
struct FakeDaemon {
  absl::Status failure;  // When set, every call fails with it.
  std::map<std::string, RunView> runs;
  std::vector<RunSummary> summaries;
  std::map<core::AttemptId, std::string> logs;
  std::vector<PipelineRecord> pipelines;
  std::vector<AgentView> agents;
  std::vector<core::Deployment> deployments;
  std::vector<MonitorView> monitors;
  LineageGraph lineage;
  Impact impact;
  RunComparison comparison;   // What comparing two runs does not tell.
  std::map<std::pair<std::string, DocumentKind>, std::string> documents;
  std::string signing_key;
  std::vector<Pin> pins;
  std::map<std::string, std::string> artifacts;   // Bytes by the digest in hexadecimal.
  std::vector<GateRecord> gate_records;   // Of used-car-price/model-gate.
  std::vector<OverrideView> overrides;
  OverrideRequest override_request;       // The last one; answered as in force.
  BackupReport backup;
  ScrubReport scrub;
  bool already = false;   // What asks for a run asks under a key that was used before.
  std::string upkeep;   // What was asked: "back up to /srv", "scrub 1024".
  PlannedRun plan;
  RegisterResult registered;
  bool answers = true;                       // false: no callback of ControlApi is ever called.
  std::vector<absl::Status> watch_failures;  // The next subscriptions end at once with these.

  std::vector<StartRequest> started;
  std::vector<RetryRequest> retried;
  std::vector<ReproduceRequest> reproduced;   // Answered with used-car-price/9.
  std::vector<std::string> drained;   // "agent: reason", "agent undrained"
  std::vector<RegisterRequest> registrations;
  std::vector<std::string> cancelled;
  std::vector<RunFilter> filters;
  std::function<void(RunView)> watcher;  // Of the open subscription.
  std::function<void(absl::Status)> watcher_end;

  // Changes a run and tells whoever watches it.
  void Change(const RunView& view);
};

Connection ConnectTo(FakeDaemon& daemon);

// Texts that begin with "bad" have two findings, those that begin with "gates" are a pipeline with the gates "data",
// "model" and "contract"; others are a pipeline of three stages.
class FakeParser : public PipelineParser {
 public:
  ParsedPipeline Parse(std::string_view text, std::string_view file,
                       const core::Scope*) const override;
  absl::StatusOr<core::GatePolicies> ParseGatePolicies(std::string_view, std::string_view) const override {
    return absl::UnimplementedError("not asked by the CLI");
  }
  absl::StatusOr<Value> ParseParams(std::string_view, std::string_view) const override;
  absl::StatusOr<Value> ParseDocument(std::string_view, std::string_view) const override;
  absl::StatusOr<std::string> WriteParams(const Value&, std::string_view, std::string_view) const override;
};

// Tables by path, already profiled; a path that is not known is no table.
class FakeTables : public TableEngine {
 public:
  explicit FakeTables(const std::map<std::string, core::TableProfile>& tables) : tables_(tables) {}
  absl::Status AddTable(const TableSource& source) override;
  void SetNow(UtcTime) override {}
  void SetStop(std::stop_token) override {}
  void SetRules(std::vector<core::Rule>) override {}
  core::RuleResult Judge(const core::Rule& rule, const std::map<std::string, Baseline>& baselines) override;
  absl::StatusOr<std::vector<std::string>> QualifyingSegments(const core::SegmentsRule&) override;
  absl::StatusOr<core::TableProfile> Profile(const std::string& table) override;
  absl::StatusOr<std::map<std::string, core::ColumnProfile>> CountLike(const std::string& table,
                                                                       const core::TableProfile& reference) override;
  absl::Status WriteBadRows(const std::string&, const std::vector<core::Rule>&, const std::string&) override;
  absl::StatusOr<core::MetricSet> PredictionMetrics(const std::string&, const core::PredictionsSpec&) override;

 private:
  const std::map<std::string, core::TableProfile>& tables_;
};

struct CliResult {
  int code = 0;
  std::string out, err;
};

// The world of one test: change it, then call Run.
struct FakeWorld {
  FakeDaemon daemon;
  FakeClock clock;
  FakeParser parser;
  std::map<std::string, std::string> environment;
  std::map<std::string, std::string> files;
  std::vector<GateTest> tested;   // What `gate test` asked for.
  absl::StatusOr<TestedGate> verdict = TestedGate{};
  ContractChecker contract_check = [](const core::PipelineSpec&, const RepoReader&) { return core::Diagnostics(); };
  std::map<std::string, core::TableProfile> tables;
  std::string no_tables;  // Why no table engine can be opened; empty: it can.
  bool is_terminal = false;
  TerminalSize size{80, 24};
  std::function<bool()> interrupted = [] { return false; };  // Asked each time round the loop.
  std::string connected_to;
  bool breaks_output = false;  // As when the reader of a pipe has gone.

  CliResult Run(const std::vector<std::string>& words);
};

// --- builders ------------------------------------------------------------------------------------

core::Run MakeRun(int64_t number);  // All seven stages, none begun.
void Begin(core::Run& run, const std::string& stage, Duration at);
void End(core::Run& run, const std::string& stage, Duration at, core::Outcome outcome = {});
core::Outcome Passed(std::map<std::string, double> metrics = {});
core::Outcome WithRules(std::vector<core::RuleResult> rules);

RunView RunningRun();   // used-car-price/4: train runs.
RunView WaitingRun();   // used-car-price/5: train waits for an agent.
RunView PassedRun();    // used-car-price/1
RunView RejectedRun();  // used-car-price/2: the error gate says no.
RunView FailedRun();    // used-car-price/3: train exits with 3.
RunView QueuedRun();    // used-car-price/6: waits for its turn behind the fourth.
RunView RetriedRun();   // used-car-price/7: the third again, from train, at the second attempt.
RunView SupersededRun();   // used-car-price/8: overtaken by the ninth before it had begun.

}  // namespace cd4ml::cli
