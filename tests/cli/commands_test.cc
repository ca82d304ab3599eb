// What each command prints and how it exits, against a daemon in memory.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cd4ml/core/envelope.h"
#include "cd4ml/core/override.h"
#include "cd4ml/ports/answer.h"
#include "cd4ml/ports/diagnostic_payload.h"
#include "cd4ml/ports/log_store.h"
#include "cli/fake_daemon.h"
#include "cli/golden.h"
#include "cli/help_text.h"
#include "cli/progress.h"
#include "cli/text.h"
#include "cli/words.h"

namespace cd4ml::cli {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Le;
using ::testing::Not;
using ::testing::Pair;
using ::testing::ResultOf;
using ::testing::StartsWith;

const char kHostile[] = "evil\x1b[2J\x1b]0;owned\x07\r\nname\u202E";

RunSummary SummaryOf(const core::Run& run) {
  RunSummary summary;
  summary.id = run.id;
  summary.pipeline = run.pipeline;
  summary.lane = run.lane;
  summary.state = run.state;
  summary.word = std::string(core::Word(run));
  summary.message = run.message;
  summary.trigger_by = "ana@laptop";
  summary.trigger_reason = "deeper trees";
  summary.commit = run.pins.commit;
  summary.commit_subject = run.pins.commit_subject;
  summary.created = run.created;
  summary.ended = run.ended;
  summary.stages_total = static_cast<int>(run.stages.size());
  for (const core::StageRun& stage : run.stages) {
    summary.stages_done += stage.state == core::StageState::kSucceeded ? 1 : 0;
  }
  summary.gates_passed = 1;
  summary.gates_judged = 2;
  return summary;
}

core::Deployment MakeDeployment(int number, Duration started, Duration ended) {
  core::Deployment deployment;
  deployment.environment = "production";
  deployment.pipeline = "used-car-price";
  deployment.run = "used-car-price/" + std::to_string(number);
  deployment.id = deployment.run + "/release";
  deployment.stage = "release";
  deployment.model = {core::VersionKind::kModel,
                      "used-car-price/train.model",
                      "91bc" + std::string(60, 'a'),
                      {},
                      ""};
  deployment.agent = "agent-a";
  deployment.endpoint = "http://127.0.0.1:40123";
  deployment.started = kStart + started;
  if (ended.count() > 0) deployment.ended = kStart + ended;
  return deployment;
}

LineageGraph MakeLineage() {
  using Kind = LineageNode::Kind;
  LineageGraph graph;
  graph.root = "used-car-price/1/release";
  graph.nodes = {
      {Kind::kDeployment,
       graph.root,
       "deployment used-car-price/1/release to production, live",
       {},
       {}},
      {Kind::kAttempt, "a1", "package of used-car-price/1, succeeded on agent-a", {}, {}},
      {Kind::kVersion, "m", "model used-car-price/train.model 91bc2f0a1b2c", {}, {}},
      {Kind::kVersion, "d", "data used-car-price/listings 3fa100000000 (12,000 rows)", {}, {}},
      {Kind::kVersion, "c", "code used-car-price 9f2c1aa00000 (Say \"hi\" \\ [x])", {}, {}}};
  graph.edges = {{"a1", graph.root}, {"m", "a1"}, {"c", "a1"}, {"d", "m"}, {"c", "m"}};
  return graph;
}

// Four runs of a gate, newest first: the third failed, and the newest passed because somebody says so.
std::vector<GateRecord> MakeGateRecords() {
  std::vector<GateRecord> records;
  for (int64_t number = 4; number >= 1; --number) {
    GateRecord& record = records.emplace_back();
    record.run = "used-car-price/" + std::to_string(number);
    record.lane = "production";
    record.at = kStart + Duration(number * 1'000'000);
    core::RuleResult mae;
    mae.name = "mae";
    mae.form = "metric";
    mae.observed_number = 900 + 400.0 * static_cast<double>(number * number) / 9;
    mae.observed = std::to_string(static_cast<int>(*mae.observed_number));
    mae.bound = "<= 1200";
    mae.subject = "clean";
    mae.sample_size = 3'120;
    mae.outcome = *mae.observed_number <= 1200 ? core::VerdictOutcome::kPass : core::VerdictOutcome::kFail;
    core::RuleResult r2{.name = "r2", .form = "metric", .outcome = core::VerdictOutcome::kPass, .subject = "r2"};
    r2.observed = "0.83";
    r2.bound = ">= 0.8";
    if (number > 1) r2.observed_number = 0.83;
    std::vector<core::RuleResult> rules = {mae};
    if (number > 1) rules.push_back(r2);
    core::Verdict verdict = core::Conclude(std::move(rules));
    if (number == 4) {
      verdict = core::ApplyOverrides(std::move(verdict), {{.rule = "mae", .by = "ana@laptop", .reason = "a new tax",
                                                           .at = kStart, .expires = kStart + Duration(86'400'000)}});
    }
    record.passed = !core::Blocks(verdict.outcome);
    record.outcome.verdict = std::move(verdict);
  }
  return records;
}

std::vector<OverrideView> MakeOverrides() {
  core::OverrideRecord record{.id = 2, .pipeline = "used-car-price", .gate = "model-gate", .rule = "mae", .run = "used-car-price/3",
                              .by = "ana@laptop", .reason = "a new tax", .at = kStart, .expires = kStart + Duration(86'400'000)};
  core::OverrideRecord older = record;
  older.id = 1;
  older.by = "bo@laptop";
  older.reason = "the old tax";
  core::OverrideRecord half = record;
  half.id = 3;
  half.rule = "r2";
  half.people = 2;
  return {{half, "needs 1 more person"}, {record, "in force"}, {older, "expired"}};
}

FakeWorld FullWorld() {
  FakeWorld world;
  world.daemon.gate_records = MakeGateRecords();
  world.daemon.overrides = MakeOverrides();
  world.daemon.pins = {{"used-car-price/2", "used-car-price/2", "baseline", "ana@laptop", kStart}};
  world.clock.elapsed = Duration(7'200'000);
  for (const RunView& view :
       {PassedRun(), RejectedRun(), FailedRun(), RunningRun(), WaitingRun()}) {
    world.daemon.runs[view.run.id] = view;
    world.daemon.summaries.insert(world.daemon.summaries.begin(), SummaryOf(view.run));
  }
  std::string log;
  for (int i = 1; i <= 30; ++i) log += "epoch " + std::to_string(i) + "\n";
  world.daemon.logs[{"used-car-price/3", "train", 1}] = log + "Traceback: \x1b[31mboom\x1b[0m\x07";
  world.daemon.logs[{"used-car-price/2", "error-gate", 1}] =
      "segment brand=lada rmse 6120.5 is the largest contributor\n";
  world.daemon.pipelines = {{.name = "used-car-price",
                             .repo = "/srv/git/cars.git",
                             .branch = "main",
                             .file = "used-car-price.cd4ml.yaml",
                             .description = "Price estimates",
                             .good_commit = "9f2c1aa0000000000000000000000000000000aa",
                             .registered = kStart,
                             .checked = kStart + Duration(7'195'000)}};
  world.daemon.deployments = {MakeDeployment(3, Duration(600'000), Duration(0)),
                              MakeDeployment(1, Duration(77'000), Duration(600'000))};
  AgentView busy{{.name = "agent-a",
                  .host = "laptop",
                  .version = "0.1.0",
                  .labels = {"linux", "cpu"},
                  .slots = 4,
                  .facts = Value::Map{{"cpus", 8}},
                  .last_seen = kStart + Duration(7'198'000)},
                 "busy",
                 {{"used-car-price/4", "train", 1}}};
  AgentView lost{
      {.name = "agent-b", .host = "server", .slots = 1, .last_seen = kStart}, "lost", {}};
  world.daemon.agents = {busy, lost};
  MonitorView monitor;
  monitor.monitor.pipeline = "used-car-price";
  monitor.monitor.stage = "watch";
  monitor.monitor.environment = "production";
  monitor.monitor.deployment = "used-car-price/1/release";
  monitor.monitor.armed = kStart;
  monitor.monitor.checks = 2;
  monitor.monitor.next_check = kStart + Duration(7'205'000);
  monitor.checks = {{.number = 2,
                     .at = kStart + Duration(7'200'000),
                     .requests = 900,
                     .breach = "input-drift: psi(age) 0.61 > 0.25",
                     .retrain_run = "used-car-price/3"},
                    {.number = 1, .at = kStart + Duration(7'195'000), .requests = 100}};
  monitor.checks[0].verdict.outcome = core::VerdictOutcome::kFail;
  monitor.checks[1].verdict.outcome = core::VerdictOutcome::kPass;
  world.daemon.monitors = {monitor};
  world.daemon.lineage = MakeLineage();
  RunView& rejected = world.daemon.runs["used-car-price/10"] = RejectedRun();
  rejected.run.id = "used-car-price/10";
  rejected.run.pins.commit = "77b01de0000000000000000000000000000000bb";
  rejected.run.pins.commit_subject = "Drop the filter of outliers, because the new market has none of them";
  rejected.run.pins.materials["listings"].digest = "aa02" + std::string(60, '0');
  SetPath(rejected.run.pins.params, "train.max_depth", 8);
  for (int i = 10; i < 22; ++i) world.daemon.comparison.changed_paths.push_back("src/f" + std::to_string(i) + ".py");
  world.daemon.impact.versions = {MakeRun(1).pins.materials.at("listings")};
  world.daemon.impact.runs = {"used-car-price/1", "used-car-price/2", "used-car-price/3"};
  for (const core::Deployment& deployment : {world.daemon.deployments[1], world.daemon.deployments[0]}) {
    world.daemon.impact.models.push_back({deployment.model, {deployment.run, "train", 1}, deployment.started});
    world.daemon.impact.deployments.push_back({deployment, 0, {}, {}});
  }
  world.daemon.impact.deployments[0].predictions = 1'812;
  world.daemon.impact.deployments[0].first_prediction = kStart + Duration(80'000);
  world.daemon.impact.deployments[0].last_prediction = kStart + Duration(599'000);
  world.daemon.plan.pipeline = "used-car-price";
  world.daemon.plan.commit = "9f2c1aa0000000000000000000000000000000aa";
  world.daemon.plan.commit_subject = "Use log mileage";
  world.daemon.plan.file = "used-car-price.cd4ml.yaml";
  const core::Run plan = MakeRun(9);
  for (const core::StageRun& stage : plan.stages) world.daemon.plan.stages.push_back(stage.plan);
  world.daemon.plan.materials = plan.pins.materials;
  world.daemon.plan.params = plan.pins.params;
  world.daemon.plan.param_sources = plan.pins.param_sources;
  world.daemon.plan.agents = {{"train", "agent-a"},
                              {"release", "no agent can take it: 1 agent is busy"}};
  return world;
}

// --- golden outputs ------------------------------------------------------------------------------

TEST(Golden, ListsAndPages) {
  const std::map<std::string, std::vector<std::string>> lines = {
      {"run_list", {"run", "list"}},
      {"run_list_wide", {"run", "list", "-o", "wide"}},
      {"run_show_passed", {"run", "show", "used-car-price/1"}},
      {"run_show_rejected", {"run", "show", "used-car-price/2"}},
      {"run_show_failed", {"run", "show", "used-car-price/3"}},
      {"run_show_running", {"run", "show", "used-car-price/4"}},
      {"run_show_waiting", {"run", "show", "used-car-price/5"}},
      {"run_wait", {"run", "wait", "used-car-price/1", "used-car-price/2"}},
      {"run_watch_plain", {"run", "watch", "used-car-price/2"}},
      {"run_watch_json", {"run", "watch", "used-car-price/2", "--progress", "json"}},
      {"run_logs", {"run", "logs", "used-car-price/2"}},
      {"run_logs_follow", {"run", "logs", "used-car-price/3", "-f"}},
      {"run_cancel", {"run", "cancel", "used-car-price/4", "--reason", "wrong branch"}},
      {"run_start", {"run", "start", "used-car-price", "-p", "train.max_depth=8"}},
      {"pipeline_list", {"pipeline", "list"}},
      {"pipeline_show", {"pipeline", "show", "used-car-price"}},
      {"agent_list", {"agent", "list"}},
      {"deploy_list", {"deploy", "list"}},
      {"deploy_history", {"deploy", "history", "production"}},
      {"monitor_list", {"monitor", "list"}},
      {"monitor_show", {"monitor", "show", "used-car-price/watch"}},
      {"plan_pipeline", {"plan", "used-car-price"}},
      {"plan_file", {"plan", "cars.cd4ml.yaml"}},
      {"lint", {"lint", "bad.cd4ml.yaml", "cars.cd4ml.yaml"}},
      {"lint_json", {"lint", "bad.cd4ml.yaml", "--format", "json"}},
      {"lineage_tree", {"lineage", "used-car-price/1/release"}},
      {"lineage_dot", {"lineage", "used-car-price/1/release", "--format", "dot"}},
      {"lineage_mermaid", {"lineage", "used-car-price/1/release", "--format", "mermaid"}},
      {"run_diff", {"run", "diff", "used-car-price/1", "used-car-price/10"}},
      {"run_diff_all", {"diff", "used-car-price/1", "used-car-price/1", "--all", "-o", "wide"}},
      {"impact", {"impact", "used-car-price/listings"}},
      {"impact_wide", {"impact", "used-car-price/listings", "-o", "wide"}},
      {"impact_unknown", {"impact", "cars.csv"}},
      {"run_diff_same", {"diff", "used-car-price/1", "used-car-price/1"}},
      {"server", {"server"}},
      {"explain", {"explain", "cd0121"}},
      {"help", {"help"}},
      {"help_run_start", {"run", "start", "--help"}},
      {"help_run_retry", {"run", "retry", "--help"}},
      {"help_run_reproduce", {"run", "reproduce", "--help"}},
      {"help_exit_codes", {"help", "exit-codes"}},
      {"run_show_queued", {"run", "show", "used-car-price/6"}},
      {"run_show_retried", {"run", "show", "used-car-price/7"}},
      {"run_show_superseded", {"run", "show", "used-car-price/8"}},
      {"run_watch_superseded", {"run", "watch", "used-car-price/8"}},
      {"why_waiting", {"why", "used-car-price/5/train"}},
      {"why_queued", {"why", "used-car-price/6"}},
      {"why_retried", {"why", "used-car-price/7"}},
      {"why_failed", {"why", "used-car-price/3"}},
      {"why_json", {"why", "used-car-price/7/train", "-o", "json"}},
      {"agent_drain", {"agent", "drain", "agent-a", "--reason", "new memory"}},
      {"agent_undrain", {"agent", "undrain", "agent-a"}},
      {"gc", {"gc"}},
      {"gc_dry_run", {"gc", "--dry-run"}},
      {"pin", {"pin", "used-car-price/3", "--reason", "audit of March"}},
      {"unpin_unknown", {"unpin", "used-car-price/9"}},
      {"pins", {"pins"}},
      {"gate_history", {"gate", "history", "used-car-price", "model-gate"}},
      {"gate_history_rule", {"gate", "history", "used-car-price", "model-gate", "--rule", "mae"}},
      {"gate_history_unknown", {"gate", "history", "used-car-price", "model-gat"}},
      {"gate_override", {"gate", "override", "used-car-price/3", "model-gate", "mae", "--reason", "a new tax"}},
      {"gate_overrides", {"gate", "overrides"}},
      {"gate_revoke", {"gate", "revoke", "2", "--by", "bo"}},
  };
  for (const auto& [name, words] : lines) {
    FakeWorld world = FullWorld();
    for (const RunView& view : {QueuedRun(), RetriedRun(), SupersededRun()}) {
      if (name != "run_start") world.daemon.runs[view.run.id] = view;
    }
    world.files = {{"bad.cd4ml.yaml", "bad"}, {"cars.cd4ml.yaml", "good"}};
    ExpectGolden(name, Transcript(world.Run(words)));
  }
}

TEST(Golden, AnOverrideIsSeenWhereverTheRunIs) {
  FakeWorld world = FullWorld();
  RunView view = RejectedRun();
  core::StageRun& gate = *view.run.FindStage("error-gate");
  core::Outcome& outcome = gate.attempts.back().outcome;
  std::string rule;
  for (const core::RuleResult& one : outcome.verdict->rules) {
    if (core::Blocks(one.outcome)) rule = one.name;
  }
  outcome.verdict = core::ApplyOverrides(*outcome.verdict, {{.rule = rule, .by = "ana@laptop", .reason = "a new tax",
                                                             .at = kStart, .expires = kStart + Duration(86'400'000)}});
  outcome.state = gate.attempts.back().state = core::AttemptState::kSucceeded;
  gate.state = core::StageState::kSucceeded;
  view.run.state = core::RunState::kSucceeded;
  view.run.reason = core::Reason::kNone;
  view.run.message.clear();
  world.daemon.runs[view.run.id] = view;
  RunSummary summary = SummaryOf(view.run);
  summary.gates_overridden = 1;
  world.daemon.summaries = {summary};

  ExpectGolden("run_overridden", Transcript(world.Run({"run", "show", view.run.id})) + Transcript(world.Run({"run", "list"})) +
                                     Transcript(world.Run({"run", "wait", view.run.id})));
}

// What PassedRun has, but that "train" has the cells 8 to 8+n-1, of which the first one won and the last one ends as told.
RunView MatrixRun(int count, const std::function<void(core::StageRun&)>& last) {
  RunView view = PassedRun();
  core::Run& run = view.run;
  const auto at = std::find_if(run.stages.begin(), run.stages.end(), [](const auto& stage) { return stage.plan.name == "train"; });
  core::MatrixSpec matrix{.select = "mae"};
  std::vector<core::StageRun> cells;
  for (int i = 0; i < count; ++i) {
    core::StageRun& cell = cells.emplace_back(*at);
    cell.plan.name = "train@" + std::to_string(8 + i);
    cell.plan.cell_of = "train";
    cell.plan.cell_params = {{"train.depth", Value(8 + i)}};
    cell.attempts.back().outcome.environment = *ParseJson(R"({"agent": "agent-a", "os": "Debian 12", "runtime": "host"})");
    matrix.cells.push_back(cell.plan.name);
  }
  last(cells.back());
  at->carried = core::Carried{{run.id, "train@8", 1}, *cells.front().result(), false, "train@8",
                              "lowest mae of 1 cell: train@8 1513.2; not compared: " + cells.back().plan.name + " (failed)"};
  at->attempts.clear();
  at->plan.matrix = matrix;
  run.stages.insert(at, cells.begin(), cells.end());
  core::Reindex(run);
  return view;
}

TEST(Golden, AMatrixSaysWhatBecameOfItsCells) {
  FakeWorld world = FullWorld();
  world.daemon.runs["used-car-price/1"] = MatrixRun(3, [](core::StageRun& cell) {
    cell.state = core::StageState::kFailed;
    cell.reason = core::Reason::kExitCode;
    cell.message = "the command exited with 3";
    cell.attempts.back().state = core::AttemptState::kFailed;
    cell.attempts.back().outcome.metrics.clear();
  });

  const std::string shown = Transcript(world.Run({"run", "show", "used-car-price/1"}));
  ExpectGolden("run_matrix", shown + Transcript(world.Run({"run", "wait", "used-car-price/1"})));
}

TEST(RunShow, BlamesNoCellThatAnotherOneMadeUpFor) {
  FakeWorld world = FullWorld();
  RunView view = MatrixRun(2, [](core::StageRun& cell) {
    cell.state = core::StageState::kFailed;
    cell.message = "exited with 3";
    cell.ended = kStart;
  });
  core::StageRun& release = *view.run.FindStage("release");
  release.state = core::StageState::kFailed;
  release.message = "exited with 1";
  view.run.state = core::RunState::kFailed;
  world.daemon.runs["used-car-price/1"] = view;

  for (const char* command : {"show", "wait"}) {
    const CliResult told = world.Run({"run", command, "used-car-price/1"});
    EXPECT_THAT(told.out, HasSubstr("release: exited with 1"));
    EXPECT_THAT(told.err + told.out, HasSubstr("cd4ml run logs used-car-price/1 release"));
    EXPECT_THAT(told.err + told.out, Not(HasSubstr("train@9: exited")));
  }
}

TEST(RunShow, TellsWhichCellIsToldToEndAndWhy) {
  FakeWorld world = FullWorld();
  RunView view = MatrixRun(2, [](core::StageRun& cell) {
    cell.state = core::StageState::kRunning;
    cell.stop = core::Stop{core::StageState::kCancelled, core::Reason::kCancelled, "cell train@8 failed, which ends the others: fail_fast"};
  });
  view.run.state = core::RunState::kRunning;
  world.daemon.runs["used-car-price/1"] = view;

  EXPECT_THAT(world.Run({"run", "show", "used-car-price/1"}).out,
              HasSubstr("train@9 is told to end: cell train@8 failed, which ends the others: fail_fast"));
  EXPECT_THAT(world.Run({"why", "used-car-price/1/train@9"}).out, HasSubstr("told to end: cell train@8 failed"));
}

TEST(Gate, AnOverrideSaysWhoWhyAndForHowLong) {
  FakeWorld world = FullWorld();

  EXPECT_EQ(world.Run({"gate", "override", "used-car-price/3", "model-gate", "mae"}).code, kExitUsage);
  EXPECT_EQ(world.daemon.override_request.run, "") << "nothing was asked for without a reason";
  for (const char* expires : {"0s", "0", "-1h", "soon"}) {
    const CliResult never = world.Run({"gate", "override", "used-car-price/3", "model-gate", "mae", "--reason", "tax", "--expires", expires});
    EXPECT_EQ(never.code, kExitUsage) << expires;
    EXPECT_EQ(world.daemon.override_request.run, "") << expires;
  }
  EXPECT_THAT(world.Run({"gate", "override", "used-car-price/3", "model-gate", "mae", "--reason", "tax", "--expires", "0s"}).err,
              HasSubstr("an override that is over when it begins does nothing"));

  EXPECT_EQ(world.Run({"gate", "override", "used-car-price/3", "model-gate", "mae", "--reason", "tax"}).code, kExitOk);
  EXPECT_EQ(world.daemon.override_request.by, "ana@laptop");
  EXPECT_EQ(world.daemon.override_request.lasting, Duration(86'400'000));

  EXPECT_EQ(world.Run({"gate", "override", "used-car-price/3", "model-gate", "mae", "--reason", "tax", "--expires", "2h", "--by", "bo"}).code,
            kExitOk);
  EXPECT_EQ(world.daemon.override_request.by, "bo");
  EXPECT_EQ(world.daemon.override_request.lasting, Duration(7'200'000));

  world.daemon.failure = absl::FailedPreconditionError("a gate policy of the server forbids overrides");
  EXPECT_EQ(world.Run({"gate", "override", "used-car-price/3", "model-gate", "mae", "--reason", "tax"}).code, kExitConflict);
  EXPECT_EQ(world.Run({"gate", "revoke", "two"}).code, kExitUsage);
}

TEST(Gate, HistoryFitsEightyColumnsAndShowsARuleAlone) {
  FakeWorld world = FullWorld();

  for (const std::vector<std::string>& words : {std::vector<std::string>{"gate", "history", "used-car-price", "model-gate"},
                                               {"gate", "history", "used-car-price", "model-gate", "--rule", "mae"}}) {
    for (const std::string& line : SplitLines(world.Run(words).out)) EXPECT_LE(DisplayWidth(line), 80u) << line;
  }
  EXPECT_EQ(world.Run({"gate", "history", "used-car-price", "model-gate", "--rule", "r2", "-o", "jsonl"}).out,
            "{\"used-car-price/4\":\"1 rules\"}\n{\"used-car-price/3\":\"1 rules\"}\n"
            "{\"used-car-price/2\":\"1 rules\"}\n{\"used-car-price/1\":\"0 rules\"}\n");
  EXPECT_EQ(world.Run({"gate", "history", "used-car-price", "model-gate", "--rule", "rr"}).code, kExitNotFound);
}

TEST(Golden, RunListAtThreeWidths) {
  std::string text;
  for (const char* width : {"40", "80", "120"}) {
    FakeWorld world = FullWorld();
    world.environment["COLUMNS"] = width;
    text += "COLUMNS=" + std::string(width) + "\n" + Transcript(world.Run({"run", "list"}));
  }
  ExpectGolden("run_list_widths", text);
}

TEST(Golden, AgentListWithResourcesAndADrainedOne) {
  FakeWorld world = FullWorld();
  AgentView& busy = world.daemon.agents[0];
  busy.agent.resources = {.cpu_millis = 8000, .memory_bytes = int64_t{32} << 30, .gpus = 2};
  busy.free = {.cpu_millis = 5500, .memory_bytes = int64_t{28} << 30, .gpus = 1};
  busy.agent.drained = true;
  busy.agent.drain_reason = "new memory";
  busy.state = "draining";
  world.daemon.agents[1].agent.resources = {.cpu_millis = 500};
  ExpectGolden("agent_list_resources", Transcript(world.Run({"agent", "list"})) +
                                           Transcript(world.Run({"agent", "list", "-o", "wide"})));
}

// --- all commands --------------------------------------------------------------------------------

const std::vector<std::vector<std::string>>& EveryAnswer() {
  static const std::vector<std::vector<std::string>> kLines = {
      {"run", "list"},
      {"run", "show", "used-car-price/2"},
      {"run", "watch", "used-car-price/2"},
      {"why", "used-car-price/5"},
      {"why", "used-car-price/3"},
      {"pipeline", "list"},
      {"agent", "list"},
      {"deploy", "list"},
      {"deploy", "history"},
      {"monitor", "list"},
      {"monitor", "show", "used-car-price/watch"},
      {"plan", "used-car-price"},
      {"lineage", "used-car-price/1/release"},
      {"diff", "used-car-price/1", "used-car-price/10"},
      {"impact", "used-car-price/listings"},
      {"server"}};
  return kLines;
}

TEST(Output, HasNoEscapeByteOffATerminalOrWithoutColour) {
  for (const auto& words : EveryAnswer()) {
    FakeWorld world = FullWorld();
    EXPECT_THAT(Transcript(world.Run(words)), Not(HasSubstr("\x1b"))) << words[0];

    world.is_terminal = true;
    world.environment["TERM"] = "dumb";
    EXPECT_THAT(Transcript(world.Run(words)), Not(HasSubstr("\x1b"))) << words[0];

    world.environment = {{"NO_COLOR", "1"}, {"CD4ML_ACCESSIBLE", "1"}, {"CLICOLOR_FORCE", "1"}};
    EXPECT_THAT(Transcript(world.Run(words)), Not(HasSubstr("\x1b"))) << words[0];
  }
}

TEST(Output, IsColouredOnATerminalAndWhenForced) {
  FakeWorld world = FullWorld();
  EXPECT_THAT(world.Run({"run", "list", "--color", "always"}).out,
              HasSubstr("\x1b[31m✗ gate rejected\x1b[0m"));
  world.environment["CLICOLOR_FORCE"] = "1";
  EXPECT_THAT(world.Run({"run", "list"}).out, HasSubstr("\x1b[31m"));
  world.environment.clear();
  world.is_terminal = true;
  EXPECT_THAT(world.Run({"run", "list"}).out, HasSubstr("\x1b[31m"));
  EXPECT_THAT(world.Run({"run", "list", "--color", "never"}).out, Not(HasSubstr("\x1b")));
}

TEST(Output, NeverExceedsTheWidth) {
  for (const char* width : {"40", "80", "120"}) {
    for (const auto& words : EveryAnswer()) {
      if (words.back() == "used-car-price/2" || words[0] == "monitor" || words[0] == "plan")
        continue;  // Sentences and logs.
      FakeWorld world = FullWorld();
      world.environment["COLUMNS"] = width;
      EXPECT_THAT(SplitLines(world.Run(words).out),
                  Each(ResultOf(DisplayWidth, Le(std::stoul(width)))))
          << words[0] << " at " << width;
    }
  }
}

TEST(Output, IsJsonWithTheShapeOfTheMessages) {
  FakeWorld world = FullWorld();
  EXPECT_EQ(world.Run({"agent", "list", "-o", "jsonl"}).out,
            "{\"agent\":\"agent-a\"}\n{\"agent\":\"agent-b\"}\n");
  const absl::StatusOr<Value> list = ParseJson(world.Run({"agent", "list", "-o", "json"}).out);
  ASSERT_TRUE(list.ok());
  EXPECT_EQ(list->list().size(), 2u);
  EXPECT_EQ(world.Run({"run", "show", "used-car-price/5", "-o", "jsonl"}).out,
            "{\"run\":\"used-car-price/5\",\"waiting\":{\"train\":\"1 agent lacks label "
            "\\\"gpu\\\"\"}}\n");
}

TEST(Output, IsAnEmptyListInJsonAndASentenceOtherwise) {
  FakeWorld world;
  EXPECT_EQ(world.Run({"run", "list", "-o", "json"}).out, "[]\n");
  const CliResult result = world.Run({"run", "list"});
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(result.err, "no runs; start one:  cd4ml run start PIPELINE\n");
  EXPECT_EQ(result.code, 0);
}

TEST(Output, IsOnlyTheAnswerWhenQuiet) {
  FakeWorld world = FullWorld();
  EXPECT_EQ(world.Run({"run", "start", "used-car-price", "-q"}).out, "used-car-price/5\n");
  EXPECT_EQ(world.Run({"run", "list", "-q"}).err, "");
  EXPECT_EQ(
      world.Run({"run", "list", "-o", "name"}).out,
      "used-car-price/5\nused-car-price/4\nused-car-price/3\nused-car-price/2\nused-car-price/1\n");
  EXPECT_THAT(world.Run({"run", "list", "--no-headers"}).out, StartsWith("used-car-price/5"));
}

TEST(Output, MakesTextsFromElsewhereHarmless) {
  FakeWorld world = FullWorld();
  core::Run& run = world.daemon.runs["used-car-price/2"].run;
  run.pins.commit_subject = run.trigger.by = run.trigger.reason = kHostile;
  run.FindStage("error-gate")->attempts[0].outcome.verdict->rules[0].message = kHostile;
  world.daemon.logs[{"used-car-price/2", "error-gate", 1}] = kHostile;
  world.daemon.agents[0].agent.host = kHostile;
  world.daemon.agents[0].agent.labels = {kHostile};
  world.daemon.pipelines[0].description = kHostile;
  world.daemon.lineage.nodes[2].label = kHostile;
  world.daemon.plan.commit_subject = kHostile;
  world.daemon.deployments[0].endpoint = kHostile;
  world.daemon.monitors[0].checks[0].breach = kHostile;
  for (const auto& words : EveryAnswer()) {
    const std::string text = Transcript(world.Run(words));
    EXPECT_THAT(text, Not(HasSubstr("\x1b"))) << words[0];
    EXPECT_THAT(text, Not(HasSubstr("\x07"))) << words[0];
    EXPECT_THAT(text, Not(HasSubstr("\u202E"))) << words[0];
    EXPECT_THAT(text, Not(HasSubstr("\r"))) << words[0];
  }
}

// --- errors and exit codes -----------------------------------------------------------------------

TEST(ExitCode, FollowsTheTable) {
  const std::vector<std::pair<absl::Status, int>> table = {
      {absl::NotFoundError("x"), 4},
      {absl::InvalidArgumentError("x"), 2},
      {DiagnosticsError("x", {{.code = "CD0121", .message = "m"}}), 3},
      {absl::AlreadyExistsError("x"), 6},
      {absl::FailedPreconditionError("x"), 6},
      {absl::AbortedError("x"), 6},
      {absl::UnavailableError("x"), 7},
      {absl::DeadlineExceededError("x"), 8},
      {absl::InternalError("x"), 1},
      {absl::UnknownError(""), 1},
      {absl::ResourceExhaustedError("x"), 1},
      {absl::UnauthenticatedError("x"), 5},
      {absl::PermissionDeniedError("x"), 5}};
  for (const auto& [status, code] : table) {
    FakeWorld world = FullWorld();
    world.daemon.failure = status;
    for (const auto& words :
         std::vector<std::vector<std::string>>{{"run", "start", "used-car-price"},
                                               {"run", "show", "used-car-price/1"},
                                               {"run", "watch", "used-car-price/1"},
                                               {"run", "list"},
                                               {"run", "retry", "used-car-price/3"},
                                               {"why", "used-car-price/1"},
                                               {"plan", "cars"},
                                               {"pipeline", "add", "."}}) {
      const CliResult result = world.Run(words);
      EXPECT_EQ(result.code, code) << status << " " << words[0] << " " << words[1];
      EXPECT_THAT(result.err, HasSubstr("error: "));
      EXPECT_EQ(result.out, "");
    }
  }
}

TEST(ExitCode, SaysHowARunEnded) {
  FakeWorld world = FullWorld();
  RunView lost = FailedRun();
  lost.run.id = "cars/1";
  lost.run.reason = lost.run.FindStage("train")->reason = core::Reason::kAgentLost;
  RunView cancelled = FailedRun();
  cancelled.run.id = "cars/2";
  cancelled.run.state = core::RunState::kCancelled;
  world.daemon.runs["cars/1"] = lost;
  world.daemon.runs["cars/2"] = cancelled;

  EXPECT_EQ(world.Run({"run", "wait", "used-car-price/1"}).code, 0);
  EXPECT_EQ(world.Run({"run", "wait", "used-car-price/2"}).code, 11);
  EXPECT_EQ(world.Run({"run", "wait", "used-car-price/3"}).code, 10);
  EXPECT_EQ(world.Run({"run", "wait", "cars/1"}).code, 13);
  EXPECT_EQ(world.Run({"run", "wait", "cars/2"}).code, 12);
  world.daemon.runs["used-car-price/8"] = SupersededRun();
  EXPECT_EQ(world.Run({"run", "wait", "used-car-price/8"}).code, 12);
  EXPECT_EQ(world.Run({"run", "show", "used-car-price/3"}).code, 0);
}

TEST(Errors, NameTheAddressThatDoesNotAnswer) {
  FakeWorld world;
  world.daemon.failure = absl::UnavailableError("connection refused");

  const CliResult result = world.Run({"run", "list"});

  EXPECT_EQ(result.code, 7);
  EXPECT_EQ(result.err,
            "error: no cd4ml daemon answers at 127.0.0.1:7420\n"
            "  start one on this machine:   cd4mld\n"
            "  or choose a server:          --server or CD4ML_SERVER\n"
            "  what the connection said:    connection refused\n");
}

TEST(Errors, OfWhatTheDaemonCannotReachAreNotThatItIsAway) {
  FakeWorld world = FullWorld();
  world.daemon.failure = AsAnswer(absl::UnavailableError("material \"m\": connection refused"));

  for (const std::vector<std::string>& words : {std::vector<std::string>{"run", "start", "cars"}, {"plan", "cars"}}) {
    const CliResult result = world.Run(words);
    EXPECT_EQ(result.code, 1);
    EXPECT_EQ(result.err, "error: material \"m\": connection refused\n");
  }
}

TEST(Errors, ShowFindingsOfTheDaemonLikeLint) {
  FakeWorld world;
  world.daemon.failure = DiagnosticsError("used-car-price.cd4ml.yaml has 1 error",
                                          {{.code = "CD0121",
                                            .message = "unknown key \"need\"",
                                            .file = "p.cd4ml.yaml",
                                            .place = {14, 7, 4},
                                            .snippet = "      need: [x]",
                                            .label = "did you mean \"needs\"?"}});

  const CliResult result = world.Run({"run", "start", "used-car-price"});

  EXPECT_EQ(result.code, 3);
  EXPECT_THAT(result.err, StartsWith("p.cd4ml.yaml:14:7: error[CD0121]: unknown key \"need\"\n"));
  EXPECT_THAT(result.err, HasSubstr("error: used-car-price.cd4ml.yaml has 1 error\n"));
  EXPECT_THAT(result.err, HasSubstr("cd4ml explain CD0121"));
}

TEST(Errors, OfUsageSayWhereHelpIs) {
  FakeWorld world;

  EXPECT_EQ(Transcript(world.Run({"run", "start"})),
            "--- stderr\n"
            "error: \"cd4ml run start\" needs PIPELINE: name of a registered pipeline\n"
            "  How it is used:  cd4ml run start --help\n"
            "--- exit 2\n");
  EXPECT_EQ(world.Run({"rum", "list"}).code, 2);
  EXPECT_EQ(world.Run({"run", "list", "--limit", "many"}).code, 2);
  EXPECT_EQ(world.Run({"run", "list", "--limit", "0"}).code, 2);
  EXPECT_EQ(world.Run({"run", "wait", "a/1", "--timeout", "30"}).code, 2);
  EXPECT_EQ(world.Run({"deploy", "history", "--at", "yesterday"}).code, 2);
  EXPECT_EQ(world.Run({"lineage", "x", "--up", "--down"}).code, 2);
  EXPECT_EQ(world.Run({"run", "logs", "a/1", "-f", "--tail", "3"}).code, 2);
  EXPECT_EQ(world.Run({"plan", "x.cd4ml.yaml", "-p", "a=1"}).code, 2);
  EXPECT_EQ(world.Run({"run", "start", "a", "--priority", "101"}).code, 2);
  EXPECT_EQ(world.Run({"run", "retry", "a/1", "--failed", "--only", "x"}).code, 2);
  EXPECT_EQ(world.Run({"run", "retry", "a/1", "--from", "x", "--only", "x"}).code, 2);
}

TEST(Errors, OfUnknownThingsSuggestNearOnes) {
  FakeWorld world = FullWorld();
  EXPECT_THAT(world.Run({"run", "logs", "used-car-price/2", "trainn"}).err,
              HasSubstr("did you mean \"train\"?"));
  EXPECT_THAT(world.Run({"monitor", "show", "used-car-price/wacth"}).err,
              HasSubstr("did you mean \"used-car-price/watch\"?"));
  EXPECT_THAT(world.Run({"explain", "CD0132"}).err, HasSubstr("did you mean \"CD01"));
  EXPECT_THAT(world.Run({"why", "used-car-price/2/trainn"}).err,
              HasSubstr("did you mean \"train\"?"));
  EXPECT_EQ(world.Run({"why", "used-car-price/2/trian"}).code, 4);
  EXPECT_EQ(world.Run({"agent", "drain", "agent-z"}).code, 4);
  EXPECT_THAT(world.Run({"help", "exit-code"}).err, HasSubstr("did you mean \"exit-codes\"?"));
}

// --- single commands -----------------------------------------------------------------------------

TEST(RunStart, PassesEverythingOn) {
  FakeWorld world = FullWorld();

  world.Run({"run", "start", "cars", "--lane", "exp", "--ref", "v2", "-p", "a.b=1", "-p", "c=x=y",
             "--reason", "why"});

  const StartRequest& request = world.daemon.started.at(0);
  EXPECT_EQ(request.pipeline, "cars");
  EXPECT_EQ(request.lane, "exp");
  EXPECT_EQ(request.ref, "v2");
  EXPECT_THAT(request.params, ElementsAre(Pair("a.b", "1"), Pair("c", "x=y")));
  EXPECT_EQ(request.reason, "why");
  EXPECT_EQ(request.by, "ana@laptop");
  EXPECT_EQ(request.key, "key-1");
}

TEST(RunStart, PassesThePriorityOnOnlyWhenItIsGiven) {
  FakeWorld world = FullWorld();
  world.Run({"run", "start", "cars"});
  world.Run({"run", "start", "cars", "--priority", "-5"});
  EXPECT_EQ(world.daemon.started.at(0).priority, std::nullopt);
  EXPECT_EQ(world.daemon.started.at(1).priority, -5);
}

TEST(RunRetry, PassesEverythingOn) {
  FakeWorld world = FullWorld();

  world.Run({"run", "retry", "cars/4", "--from", "train", "-p", "a.b=1", "--reason", "why",
             "--priority", "7", "--key", "k"});

  const RetryRequest& request = world.daemon.retried.at(0);
  EXPECT_EQ(request.run, "cars/4");
  EXPECT_EQ(request.scope, core::RetryScope::kFrom);
  EXPECT_EQ(request.stage, "train");
  EXPECT_THAT(request.params, ElementsAre(Pair("a.b", "1")));
  EXPECT_EQ(request.reason, "why");
  EXPECT_EQ(request.by, "ana@laptop");
  EXPECT_EQ(request.key, "k");
  EXPECT_EQ(request.priority, 7);
}

TEST(RunRetry, MeansAllThatDidNotPassUnlessItIsSaid) {
  FakeWorld world = FullWorld();
  world.Run({"run", "retry", "cars/4"});
  world.Run({"retry", "cars/4", "--failed"});
  world.Run({"run", "retry", "cars/4", "--only", "package"});
  EXPECT_EQ(world.daemon.retried.at(0).scope, core::RetryScope::kFailed);
  EXPECT_EQ(world.daemon.retried.at(1).scope, core::RetryScope::kFailed);
  EXPECT_EQ(world.daemon.retried.at(2).scope, core::RetryScope::kOnly);
  EXPECT_EQ(world.daemon.retried.at(2).stage, "package");
}

TEST(RunRetry, SaysWhatTheNewRunTakesOver) {
  FakeWorld world;
  world.daemon.runs["used-car-price/7"] = RetriedRun();
  EXPECT_THAT(world.Run({"run", "retry", "used-car-price/3"}).out,
              HasSubstr("retry of used-car-price/3, takes over validate-data\n"));
}

TEST(RunRetry, TellsHowToRepeatSafelyWhenTheDaemonIsGone) {
  FakeWorld world = FullWorld();
  world.daemon.failure = absl::UnavailableError("connection reset");
  EXPECT_THAT(world.Run({"run", "retry", "cars/4", "--only", "a"}).err,
              HasSubstr("cd4ml run retry cars/4 --only a --idempotency-key key-1"));
}

TEST(RunRetry, SaysWhenAnEarlierRequestWithThisKeyHasStartedTheRun) {
  FakeWorld world;
  world.daemon.runs["used-car-price/7"] = RetriedRun();
  world.daemon.already = true;
  for (const auto& [command, argument] : {std::pair("retry", "used-car-price/3"), std::pair("start", "used-car-price")}) {
    EXPECT_THAT(world.Run({"run", command, argument, "--key", "k"}).out,
                StartsWith("✔ Already started used-car-price/7 at "));
  }
}

TEST(RunStart, SaysThatARunIsQueued) {
  FakeWorld world;
  world.daemon.runs["used-car-price/6"] = QueuedRun();
  const CliResult result = world.Run({"run", "start", "used-car-price"});
  EXPECT_THAT(result.out, StartsWith("✔ Queued used-car-price/6 at 9f2c1aa"));
  EXPECT_THAT(result.err, HasSubstr("cd4ml why used-car-price/6"));
}

TEST(Transitions, TellThatARunStartedOnlyWhenItsTurnHadCome) {
  const auto words = [](const RunView& view) {
    std::vector<std::string> out;
    for (const Transition& one : TransitionsOf(view, kStart)) {
      if (one.stage.empty()) out.push_back(one.word);
    }
    return out;
  };
  EXPECT_THAT(words(QueuedRun()), ElementsAre("queued"));
  EXPECT_THAT(words(RunningRun()), ElementsAre("started"));
  EXPECT_THAT(words(SupersededRun()), ElementsAre("cancelling"));
}

TEST(RunShow, AddsToTheJsonWhatAQueuedRunWaitsFor) {
  FakeWorld world;
  world.daemon.runs["used-car-price/6"] = QueuedRun();
  EXPECT_THAT(world.Run({"run", "show", "used-car-price/6", "-o", "json"}).out,
              HasSubstr("\"queued_behind\": \"waits for used-car-price/4"));
}

TEST(AgentDrain, RecordsWhoWhenNobodySaysWhy) {
  FakeWorld world = FullWorld();
  world.Run({"agent", "drain", "agent-a"});
  world.Run({"agent", "undrain", "agent-a"});
  EXPECT_THAT(world.daemon.drained,
              ElementsAre("agent-a: drained by ana@laptop", "agent-a undrained"));
}

TEST(RunStart, TakesAKeyUnderBothNames) {
  FakeWorld world = FullWorld();
  world.Run({"run", "start", "cars", "--key", "ci-1"});
  world.Run({"run", "start", "cars", "--idempotency-key", "ci-2"});
  EXPECT_EQ(world.daemon.started.at(0).key, "ci-1");
  EXPECT_EQ(world.daemon.started.at(1).key, "ci-2");
}

TEST(RunStart, RefusesParametersThatAreNone) {
  FakeWorld world = FullWorld();
  EXPECT_EQ(world.Run({"run", "start", "cars", "-p", "depth"}).code, 2);
  EXPECT_EQ(world.Run({"run", "start", "cars", "-p", "=1"}).code, 2);
  EXPECT_EQ(world.Run({"run", "start", "cars", "-p", "a=1", "-p", "a=2"}).code, 2);
  EXPECT_TRUE(world.daemon.started.empty());
}

TEST(RunStart, TellsHowToRepeatSafelyWhenTheDaemonIsGone) {
  FakeWorld world = FullWorld();
  world.daemon.failure = absl::UnavailableError("connection reset");

  EXPECT_THAT(world.Run({"run", "start", "cars"}).err,
              HasSubstr("cd4ml run start cars --idempotency-key key-1"));
}

TEST(RunStart, GivesUpAfterTheTimeout) {
  FakeWorld world = FullWorld();
  world.daemon.answers = false;
  world.interrupted = [&world] {
    world.clock.elapsed += Duration(1'000);
    return false;
  };

  const CliResult result = world.Run({"run", "start", "cars", "--timeout", "5s"});

  EXPECT_EQ(result.code, 8);
  EXPECT_THAT(result.err, HasSubstr("the daemon has not answered within 5.0s"));
}

TEST(RunStart, CanBeInterruptedBeforeTheAnswer) {
  FakeWorld world = FullWorld();
  world.daemon.answers = false;
  world.interrupted = [] { return true; };

  EXPECT_EQ(world.Run({"run", "start", "cars"}).code, 130);
}

TEST(RunStart, AnswersTheEndedRunInJsonWhenItWaits) {
  FakeWorld world;
  world.daemon.runs["used-car-price/2"] = RejectedRun();

  const CliResult result = world.Run({"run", "start", "used-car-price", "--watch", "-o", "jsonl"});

  EXPECT_EQ(result.out, "{\"run\":\"used-car-price/2\"}\n");
  EXPECT_THAT(result.err, HasSubstr("GATE REJECTED"));
  EXPECT_EQ(result.code, 11);
}

TEST(RunList, PassesTheFilterOn) {
  FakeWorld world = FullWorld();
  world.Run({"run", "list", "--pipeline", "cars", "--state", "passed", "--limit", "5", "--before",
             "cars/9"});

  const RunFilter& filter = world.daemon.filters.at(0);
  EXPECT_EQ(filter.pipeline, "cars");
  EXPECT_EQ(filter.state, core::RunState::kSucceeded);
  EXPECT_EQ(filter.limit, 5);
  EXPECT_EQ(filter.before, "cars/9");
}

TEST(RunList, FiltersForQueuedRuns) {
  FakeWorld world = FullWorld();
  world.Run({"run", "list", "--state", "queued"});
  EXPECT_EQ(world.daemon.filters.at(0).state, core::RunState::kQueued);
}

TEST(RunList, SaysHowToSeeOlderRuns) {
  FakeWorld world = FullWorld();
  EXPECT_THAT(world.Run({"run", "list", "--limit", "5"}).err,
              HasSubstr("cd4ml run list --before used-car-price/1"));
}

TEST(RunLogs, PrintsTheTailOfOneStageWithoutPrefix) {
  FakeWorld world = FullWorld();
  EXPECT_EQ(world.Run({"run", "logs", "used-car-price/3", "train", "--tail", "2"}).out,
            "epoch 30\nTraceback: boom\n");
}

// More than the daemon keeps was written: what is there ends with the line that says so.
TEST(RunLogs, PrintsTheTailOfWhatIsKeptOfALogThatWasCutOff) {
  FakeWorld world = FullWorld();
  core::StageRun& train = *world.daemon.runs["used-car-price/3"].run.FindStage("train");
  train.attempts[0].outcome.log_bytes = 3 * kLogSizeMax;
  std::string& log = world.daemon.logs[{"used-car-price/3", "train", 1}];
  log.assign(static_cast<size_t>(kLogSizeMax) - 9, '\n');
  log += "the last\n[cd4ml: the log is cut off here, at 100.0 MiB]\n";

  EXPECT_EQ(world.Run({"run", "logs", "used-car-price/3", "train", "--tail", "2"}).out,
            "the last\n[cd4ml: the log is cut off here, at 100.0 MiB]\n");
  EXPECT_THAT(world.Run({"run", "show", "used-car-price/3"}).out,
              HasSubstr("  │ the last\n  │ [cd4ml: the log is cut off here, at 100.0 MiB]\n"));
}

TEST(RunLogs, PrintsOnlyFailedStages) {
  FakeWorld world = FullWorld();
  EXPECT_THAT(world.Run({"run", "logs", "used-car-price/3", "--failed"}).out,
              StartsWith("epoch 1\nepoch 2\n"));
  EXPECT_EQ(world.Run({"run", "logs", "used-car-price/1", "--failed"}).err,
            "no stage of used-car-price/1 has begun and failed\n");
}

TEST(RunLogs, SaysInWordsWhyThereIsNothing) {
  FakeWorld world = FullWorld();
  EXPECT_EQ(world.Run({"run", "logs", "used-car-price/1", "train"}).err, "train wrote no output\n");
  EXPECT_EQ(world.Run({"run", "logs", "used-car-price/5", "train"}).err,
            "train has not begun: 1 agent lacks label \"gpu\"\n");
  EXPECT_EQ(world.Run({"run", "logs", "used-car-price/3", "package"}).err,
            "package skipped without an attempt: needs train\n");
  EXPECT_THAT(world.Run({"run", "logs", "used-car-price/3", "train", "--attempt", "2"}).err,
              HasSubstr("train has had 1 attempt"));
}

TEST(RunLogs, OfWhatWasTakenOverIsTheLogOfItsMakerWhereItIsAskedFor) {
  FakeWorld world = FullWorld();
  core::StageRun& package = *world.daemon.runs["used-car-price/3"].run.FindStage("package");
  package.state = core::StageState::kSucceeded;
  package.carried = core::Carried{.from = {"used-car-price/1", "package@2", 1}, .outcome = {}, .cell = {}, .why = {}};
  world.daemon.logs[package.carried->from] = "packed\nwell\n";

  const auto asked = world.Run({"run", "logs", "used-car-price/3", "package"});
  EXPECT_EQ(asked.out, "packed\nwell\n");
  EXPECT_EQ(asked.err, "the log of package@2 of used-car-price/1, which package takes over\n");
  EXPECT_THAT(world.Run({"run", "logs", "used-car-price/3"}).out, Not(HasSubstr("packed")));
}

TEST(RunShow, NamesTheStageThatFailedAndNoCellThatAnotherHasMadeUpFor) {
  FakeWorld world = FullWorld();
  core::Run& run = world.daemon.runs["used-car-price/3"].run;
  core::StageRun cell = *run.FindStage("train");
  cell.plan.name = "tune@1";
  cell.plan.cell_of = "tune";
  cell.ended = run.created;
  core::StageRun tune = cell;
  tune.plan.name = "tune";
  tune.plan.cell_of = "";
  tune.state = core::StageState::kSucceeded;
  tune.attempts.clear();
  run.stages.push_back(cell);
  run.stages.push_back(tune);
  core::Reindex(run, run.created);

  const std::string out = world.Run({"run", "show", "used-car-price/3"}).out;
  EXPECT_THAT(out, HasSubstr("\n  train: the command exited with 3\n"));
  EXPECT_THAT(out, HasSubstr("\nLast output of train, attempt 1:\n"));
}

TEST(RunLogs, SaysThatNothingHasBegun) {
  FakeWorld world;
  world.daemon.runs["used-car-price/9"] = {MakeRun(9), {}};
  EXPECT_EQ(world.Run({"run", "logs", "used-car-price/9"}).err,
            "no stage of used-car-price/9 has begun\n");
}

TEST(RunLogs, KeepsColoursOnlyOnATerminalAndBytesOnlyWhenAsked) {
  FakeWorld world = FullWorld();
  const std::vector<std::string> words = {"run",   "logs",   "used-car-price/3",
                                          "train", "--tail", "1"};
  EXPECT_EQ(world.Run(words).out, "Traceback: boom\n");
  std::vector<std::string> raw = words;
  raw.push_back("--raw");
  EXPECT_EQ(world.Run(raw).out, "Traceback: \x1b[31mboom\x1b[0m\x07\n");
  world.is_terminal = true;
  EXPECT_EQ(world.Run(words).out, "Traceback: \x1b[31mboom\x1b[0m\x1b[0m\n");
}

TEST(RunCancel, RecordsWhoAndWhy) {
  FakeWorld world = FullWorld();
  world.Run({"run", "cancel", "used-car-price/4"});
  EXPECT_THAT(world.daemon.cancelled, ElementsAre("used-car-price/4: cancelled by ana@laptop"));
  EXPECT_EQ(world.Run({"run", "cancel", "nope/1", "used-car-price/5"}).code, 4);
  EXPECT_EQ(world.daemon.cancelled.size(), 2u);
}

TEST(PipelineAdd, MakesThePathAbsolute) {
  FakeWorld world;
  for (const char* repo : {".", "../cars", "sub", "./sub", "/srv/x", "file:///srv/x"}) {
    world.Run({"pipeline", "add", repo, "--branch", "main"});
  }
  std::vector<std::string> repos;
  for (const RegisterRequest& request : world.daemon.registrations) repos.push_back(request.repo);
  EXPECT_THAT(repos, ElementsAre("/home/ana/cars", "/home/ana/cars/../cars", "/home/ana/cars/sub",
                                 "/home/ana/cars/sub", "/srv/x", "file:///srv/x"));
}

TEST(PipelineAdd, ShowsProblemsAndExitsWith3) {
  FakeWorld world;
  world.daemon.registered.commit = "9f2c1aa";
  world.daemon.registered.pipelines = {{.name = "cars", .file = "cars.cd4ml.yaml"}};
  EXPECT_EQ(world.Run({"pipeline", "add", "."}).code, 0);
  world.daemon.registered.problems = {
      {.code = "CD0016", .message = "not valid YAML", .file = "x.cd4ml.yaml"}};

  const CliResult result = world.Run({"pipeline", "add", "."});

  EXPECT_EQ(result.code, 3);
  EXPECT_EQ(result.out, "✔ Registered cars at 9f2c1aa  cars.cd4ml.yaml\n");
  EXPECT_THAT(result.err, HasSubstr("x.cd4ml.yaml: error[CD0016]: not valid YAML"));
}

TEST(Lint, ChecksEveryFileHereWhenNoneIsNamed) {
  FakeWorld world;
  EXPECT_EQ(world.Run({"lint"}).code, 4);
  world.files = {{"a.cd4ml.yaml", "good"}, {"b.cd4ml.yaml", "good"}};
  EXPECT_EQ(Transcript(world.Run({"lint"})),
            "--- stderr\n0 errors, 0 warnings in 2 files\n--- exit 0\n");
  EXPECT_EQ(world.Run({"lint", "missing.cd4ml.yaml"}).code, 4);
  EXPECT_EQ(world.connected_to, "");
}

TEST(Lint, LooksAtTheContractsOfTheCheckoutAroundTheFile) {
  FakeWorld world;
  world.files = {{"a.cd4ml.yaml", "good\n"}, {"/checkout/of/a.cd4ml.yaml/contracts/web.yaml", "consumer: web"}};
  std::string read;
  world.contract_check = [&](const core::PipelineSpec&, const RepoReader& reader) {
    read = reader("contracts/web.yaml").value_or("");
    return core::Diagnostics{core::MakeError(core::code::kBadContract, {1, 1, 4}, "contract cannot be checked: it has no interactions")};
  };
  EXPECT_EQ(Transcript(world.Run({"lint", "a.cd4ml.yaml"})),
            "a.cd4ml.yaml:1:1: error[CD0222]: contract cannot be checked: it has no interactions\n"
            "   |\n 1 | good\n   | ^^^^\n"
            "--- stderr\n1 error, 0 warnings in 1 file. More:  cd4ml explain CD0222\n--- exit 3\n");
  EXPECT_EQ(read, "consumer: web");
  EXPECT_EQ(world.connected_to, "");
}

TEST(DeployList, NamesTheOverridesByWhichARunPassed) {
  FakeWorld world = FullWorld();
  world.daemon.deployments[0].overrides = {{.rule = "model-gate.mae", .by = "ana", .reason = "tax", .at = {}, .expires = {}}};
  EXPECT_THAT(world.Run({"deploy", "list"}).out, HasSubstr("model-gate.mae by ana\n")) << "before what it is only nice to know";
  world.daemon.deployments[0].overrides.push_back({.rule = "contract-gate.fast", .by = "bo", .reason = "load", .at = {}, .expires = {}});
  EXPECT_THAT(world.Run({"deploy", "list", "-o", "wide"}).out, HasSubstr("model-gate.mae by ana, contract-gate.fast by bo"));
}

TEST(Plan, OfAFileWithErrorsShowsThem) {
  FakeWorld world;
  world.files = {{"bad.cd4ml.yaml", "bad"}};
  const CliResult result = world.Run({"plan"});
  EXPECT_EQ(result.code, 3);
  EXPECT_THAT(result.err, HasSubstr("error[CD0121]"));
  EXPECT_EQ(world.connected_to, "");
}

TEST(Plan, AsksWhichFileWhenThereAreSeveral) {
  FakeWorld world;
  world.files = {{"a.cd4ml.yaml", "good"}, {"b.cd4ml.yaml", "good"}};
  EXPECT_EQ(world.Run({"plan"}).code, 2);
}

TEST(DeployHistory, ShowsWhatWasLiveThen) {
  FakeWorld world = FullWorld();
  const std::string out =
      world.Run({"deploy", "history", "production", "--at", "2026-03-02T12:05:00Z", "-o", "name"})
          .out;
  EXPECT_EQ(out, "used-car-price/1/release\n");
}

// --- run reproduce -------------------------------------------------------------------------------

core::ProducedOutput MakeOutput(const std::string& name, const std::string& content) {
  core::ProducedOutput output;
  output.name = output.path = name;
  output.artifact.digest = Sha256(content);
  return output;
}

// used-car-price/9 makes the first run again; its model is `model`, its error `mae`.
FakeWorld ReproducedWorld(const std::string& model, double mae) {
  FakeWorld world = FullWorld();
  core::Run& original = world.daemon.runs["used-car-price/1"].run;
  original.FindStage("train")->attempts.back().outcome.outputs = {MakeOutput("model", "as it was")};
  core::Run again = original;
  again.id = "used-car-price/9";
  again.number = 9;
  again.retry_of = original.id;
  again.trigger.kind = core::TriggerKind::kReproduce;
  core::Outcome& trained = again.FindStage("train")->attempts.back().outcome;
  trained.outputs = {MakeOutput("model", model)};
  trained.metrics["mae"] = mae;
  trained.environment = Value::Map{{"python", "3.11.2"}};
  for (const char* left_out : {"release", "watch"}) {
    core::StageRun& stage = *again.FindStage(left_out);
    stage.state = core::StageState::kSkipped;
    stage.reason = core::Reason::kNotSelected;
    stage.attempts.clear();
  }
  world.daemon.runs[again.id] = {again, {}};
  return world;
}

TEST(RunReproduce, SaysWhatCameOutAndExitsAccordingly) {
  const std::vector<std::string> bytes = {"run", "reproduce", "used-car-price/1"};
  const std::vector<std::string> metrics = {"reproduce", "used-car-price/1", "--verify", "metrics:1e-3"};

  const CliResult identical = ReproducedWorld("as it was", 1513.2).Run(bytes);
  EXPECT_EQ(identical.code, 0);
  ExpectGolden("run_reproduce_identical", Transcript(identical));
  const CliResult equivalent = ReproducedWorld("another", 1513.3).Run(metrics);
  EXPECT_EQ(equivalent.code, 0);
  ExpectGolden("run_reproduce_equivalent", Transcript(equivalent));
  const CliResult different = ReproducedWorld("another", 1613.3).Run(bytes);
  EXPECT_EQ(different.code, 14);
  ExpectGolden("run_reproduce_different", Transcript(different));
  EXPECT_EQ(ReproducedWorld("another", 1613.3).Run(metrics).code, 14);
}

TEST(RunReproduce, TellsScriptsTheJudgementAlone) {
  const CliResult told = ReproducedWorld("another", 1613.3).Run({"reproduce", "used-car-price/1", "-o", "json"});

  EXPECT_EQ(told.code, 14);
  EXPECT_THAT(told.out, HasSubstr("\"reproduction\": \"used-car-price/9\""));
  EXPECT_THAT(told.out, Not(HasSubstr("IDENTICAL")));
}

TEST(RunReproduce, IsRefusedWithTheVersionThatNoLongerMatches) {
  FakeWorld world = ReproducedWorld("as it was", 1513.2);
  world.daemon.failure = absl::FailedPreconditionError("material \"listings\" no longer matches its version data:x@3fa1");

  const CliResult refused = world.Run({"run", "reproduce", "used-car-price/1"});

  EXPECT_EQ(refused.code, 6);
  EXPECT_THAT(refused.err, HasSubstr("data:x@3fa1"));
}

TEST(RunReproduce, SaysHowToGoOnAfterCtrlC) {
  FakeWorld world = ReproducedWorld("as it was", 1513.2);
  world.daemon.runs["used-car-price/9"].run.state = core::RunState::kRunning;
  int asked = 0;
  world.interrupted = [&] { return ++asked > 2; };

  const CliResult told = world.Run({"run", "reproduce", "used-car-price/1", "--verify", "metrics:0.1"});

  EXPECT_EQ(told.code, 130);
  EXPECT_THAT(told.err, HasSubstr("cd4ml run reproduce used-car-price/1 --verify metrics:0.1 --idempotency-key key-1"));
  EXPECT_EQ(world.daemon.reproduced.at(0).key, "key-1");
  EXPECT_EQ(world.daemon.reproduced.at(0).by, "ana@laptop");
}

TEST(RunReproduce, RefusesAToleranceThatIsNone) {
  for (const char* how : {"metrics", "metrics:", "metrics:-1", "metrics:1x", "metrics:inf", "metrics:nan", "byte"}) {
    EXPECT_EQ(ReproducedWorld("as it was", 1513.2).Run({"reproduce", "used-car-price/1", "--verify", how}).code, 2) << how;
  }
}

TEST(Lineage, EndsOnCycles) {
  FakeWorld world = FullWorld();
  world.daemon.lineage.edges.push_back({world.daemon.lineage.root, "d"});
  EXPECT_THAT(world.Run({"lineage", "used-car-price/1/release"}).out, HasSubstr("(see above)"));
}

TEST(ResolveServer, PrefersTheFlagThenTheVariable) {
  EXPECT_EQ(ResolveServer("a:1", {{"CD4ML_SERVER", "b:2"}}), "a:1");
  EXPECT_EQ(ResolveServer("", {{"CD4ML_SERVER", "b:2"}}), "b:2");
  EXPECT_EQ(ResolveServer("", {{"CD4ML_SERVER", ""}}), "127.0.0.1:7420");
}

TEST(Version, NeedsNoDaemon) {
  FakeWorld world;
  EXPECT_EQ(world.Run({"version"}).out, "cd4ml 0.1.0\n");
  EXPECT_EQ(world.Run({"--version"}).out, "cd4ml 0.1.0\n");
  EXPECT_EQ(world.connected_to, "");
}

TEST(Help, IsWhatTheProgramSaysWithoutArguments) {
  FakeWorld world;
  EXPECT_EQ(world.Run({}).out, HelpFor(""));
  EXPECT_EQ(world.Run({"run"}).out, HelpFor("run"));
  EXPECT_EQ(world.Run({"help", "nonsense"}).code, 2);
}

TEST(BackupCreate, TellsWhatWasCopiedAndWhatCouldNotBe) {
  FakeWorld world;
  world.daemon.backup = {"/srv/b", "2026-03-02T12-00-00.000Z-91bc2f", 4'096, 12, 3, 2'048, {}};

  const CliResult good = world.Run({"backup", "create", "/srv/b"});
  EXPECT_EQ(good.code, 0);
  EXPECT_EQ(world.daemon.upkeep, "back up to /srv/b");
  EXPECT_THAT(good.out, HasSubstr("backup 2026-03-02T12-00-00.000Z-91bc2f in /srv/b"));
  EXPECT_THAT(good.out, HasSubstr("12 blobs, 3 of them new (2.0 KiB)"));
  EXPECT_EQ(world.Run({"backup", "create", "/srv/b", "-o", "name"}).out, "2026-03-02T12-00-00.000Z-91bc2f\n");
  EXPECT_EQ(world.Run({"backup", "create"}).code, 2);

  world.daemon.backup.damage = {{"blob sha256:91bc", "it is gone", {"run cars/1"}}};
  const CliResult bad = world.Run({"backup", "create", "b"});
  EXPECT_EQ(bad.code, kExitFailed);
  EXPECT_THAT(world.daemon.upkeep, StartsWith("back up to /"));
  EXPECT_THAT(bad.out, HasSubstr("✘ blob sha256:91bc: it is gone\n  needed by run cars/1\n"));
}

TEST(ServerScrub, ExitsByWhatItFound) {
  FakeWorld world;
  world.daemon.scrub = {2, 80, 12, 4'096, {}};

  const CliResult good = world.Run({"server", "scrub", "--rate", "1KiB"});
  EXPECT_EQ(good.code, 0);
  EXPECT_EQ(world.daemon.upkeep, "scrub 1024");
  EXPECT_EQ(good.out, "✔ read 2 runs with 80 events and 12 blobs of 4.0 KiB: all as recorded\n");
  EXPECT_EQ(world.Run({"server", "scrub", "--rate", "fast"}).code, 2);

  world.daemon.scrub.damage = {{"run cars/1", "its run is not what follows from its events", {}}};
  EXPECT_EQ(world.Run({"server", "scrub"}).code, kExitFailed);
  EXPECT_EQ(world.Run({"server", "scrub", "-o", "json"}).code, kExitFailed);
  EXPECT_EQ(world.Run({"server"}).code, 0) << "the group is a command, too";
}

// The fake world's keys sign with themselves.
std::string SignedStatement(const std::string& key, const std::string& kind, const std::string& payload) {
  return core::FormatEnvelope({kind, payload, {{"id", key + core::PreAuthEncoding(kind, payload)}}}) + "\n";
}

constexpr char kStatement[] = R"({"_type":"https://in-toto.io/Statement/v1","predicate":{"runDetails":{"metadata":)"
                              R"({"invocationId":"cars/1/train/1"}}},"predicateType":"https://slsa.dev/provenance/v1",)"
                              R"("subject":[{"digest":{"sha256":"91bc"},"name":"cars/train.model"}]})";

TEST(Provenance, IsWrittenAsTheDaemonSaysIt) {
  FakeWorld world;
  world.daemon.documents[{"production", DocumentKind::kProvenance}] = "one\n";
  world.daemon.documents[{"production", DocumentKind::kUpstream}] = "one\ntwo\n";

  EXPECT_EQ(world.Run({"provenance", "export", "production"}).out, "one\n");
  EXPECT_EQ(world.Run({"provenance", "export", "production", "--upstream", "--to", "f"}).code, 0);
  EXPECT_EQ(world.files["f"], "one\ntwo\n");
  EXPECT_EQ(world.Run({"provenance", "export", "staging"}).code, kExitNotFound);
}

TEST(Provenance, IsGoodOnlyWhenEveryLineIsSignedByTheKey) {
  FakeWorld world;
  world.daemon.signing_key = "K";
  world.files["pub"] = "K";
  world.files["good"] = SignedStatement("K", std::string(core::kInTotoPayload), kStatement);
  world.files["half"] = world.files["good"] + SignedStatement("L", std::string(core::kInTotoPayload), kStatement);
  world.files["other"] = SignedStatement("K", "text/plain", kStatement);
  world.files["strange"] = SignedStatement("K", std::string(core::kInTotoPayload), "{\"_type\":\"x\"}");

  const CliResult good = world.Run({"provenance", "verify", "good", "--key", "pub"});
  EXPECT_EQ(good.code, 0);
  EXPECT_EQ(good.out, "✔ cars/1/train/1\n  sha256:91bc  cars/train.model\n");
  EXPECT_EQ(world.connected_to, "");
  EXPECT_EQ(world.Run({"provenance", "verify", "good"}).code, 0);
  for (const char* file : {"half", "other", "strange"}) {
    const CliResult bad = world.Run({"provenance", "verify", file});
    EXPECT_NE(bad.code, 0) << file;
    EXPECT_EQ(bad.out, "") << file;
  }
  EXPECT_EQ(world.Run({"provenance", "verify", "gone"}).code, kExitNotFound);
  world.daemon.signing_key = "";
  EXPECT_EQ(world.Run({"provenance", "key"}).code, kExitConflict);
}

}  // namespace
}  // namespace cd4ml::cli
