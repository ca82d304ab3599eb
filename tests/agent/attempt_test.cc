// Attempts from lease to outcome, with real commands under a real keeper.
#include <cmath>
#include <filesystem>

#include "cd4ml/base/status.h"
#include "cd4ml/core/gate_report.h"
#include "tests/agent/fixture.h"

namespace cd4ml::agent {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

namespace fs = std::filesystem;

constexpr std::string_view kHead = "format: 1\npipeline: shop\n";

// A pipeline whose only stage "train" runs `script`; `more` are further keys of it.
std::string Stage(const std::string& script, const std::string& more = "",
                  const std::string& top = "") {
  return std::string(kHead) + top + "stages:\n  train:\n    run: " + ToJson(Value(script)) + "\n" +
         more;
}

// A parser whose stages are changed by `change`: for what a test needs sooner than a person would.
class ChangingParser : public PipelineParser {
 public:
  using Change = std::function<void(core::StageSpec&)>;
  ChangingParser(std::unique_ptr<PipelineParser> inner, Change change)
      : inner_(std::move(inner)), change_(std::move(change)) {}

  ParsedPipeline Parse(std::string_view text, std::string_view file,
                       const core::Scope* scope) const override {
    ParsedPipeline parsed = inner_->Parse(text, file, scope);
    for (core::StageSpec& stage : parsed.spec.stages) change_(stage);
    return parsed;
  }
  absl::StatusOr<core::GatePolicies> ParseGatePolicies(std::string_view text,
                                                       std::string_view file) const override {
    return inner_->ParseGatePolicies(text, file);
  }
  absl::StatusOr<Value> ParseParams(std::string_view text, std::string_view file) const override {
    return inner_->ParseParams(text, file);
  }
  absl::StatusOr<Value> ParseDocument(std::string_view text, std::string_view file) const override {
    return inner_->ParseDocument(text, file);
  }
  absl::StatusOr<std::string> WriteParams(const Value& params, std::string_view text,
                                          std::string_view file) const override {
    return inner_->WriteParams(params, text, file);
  }

 private:
  const std::unique_ptr<PipelineParser> inner_;
  const Change change_;
};

std::unique_ptr<PipelineParser> Changing(std::unique_ptr<PipelineParser> inner,
                                         ChangingParser::Change change) {
  return std::make_unique<ChangingParser>(std::move(inner), std::move(change));
}

// Returns whether this process, and so the agent in it, has a file open whose path ends so.
bool IsOpenHere(std::string_view end) {
  for (const auto& entry : fs::directory_iterator("/proc/self/fd")) {
    std::error_code error;
    if (fs::read_symlink(entry.path(), error).string().ends_with(end)) return true;
  }
  return false;
}

class AttemptTest : public ::testing::Test {
 protected:
  core::Outcome Run(const std::string& definition) {
    return world_.Perform(world_.TaskOf(definition, "train"));
  }
  // Returns whether an attempt whose outcome was not written down is done all the same.
  bool IsConcluded() {
    const std::vector<ProcessStatus> all = world_.Processes();
    return !all.empty() && all[0].state == ProcessState::kExited &&
           fs::exists(world_.dir.At("daemon/objects/" + Sha256("m\n").hex().substr(0, 2)));
  }
  std::string AttemptDir() { return world_.dir.At("agent/attempts/shop.1.train.1"); }

  World world_;
  int number_ = 0;   // Of the last attempt, where there are several.
  const core::AttemptId id_{"shop/1", "train", 1};
};

TEST_F(AttemptTest, ACommandThatSucceedsKeepsItsOutputsMetricsAndLog) {
  const core::Outcome outcome =
      Run(Stage("echo one; echo two >&2; echo model > m.bin; echo '{\"mae\": 1.5}' > m.json",
                "    outputs: {model: {path: m.bin, type: model}}\n    metrics: [m.json]\n"));
  EXPECT_EQ(outcome.state, core::AttemptState::kSucceeded) << outcome.message;
  ASSERT_EQ(outcome.outputs.size(), 1u);
  EXPECT_EQ(outcome.outputs[0].name, "model");
  EXPECT_EQ(outcome.outputs[0].type, core::OutputType::kModel);
  EXPECT_EQ(world_.Bytes(outcome.outputs[0].artifact), "model\n");
  EXPECT_EQ(outcome.metrics.at("mae"), 1.5);
  EXPECT_EQ(world_.daemon.Log(id_), "one\ntwo\n");
  EXPECT_EQ(outcome.log_bytes, 8);
  EXPECT_EQ(ToText(*outcome.environment.Find("agent")), "agent-a");
}

TEST_F(AttemptTest, EverythingOfAnAttemptIsRemovedOnceTheDaemonHasAnswered) {
  Run(Stage("true"));
  world_.Stop();
  // What the last agent did not get to remove, the next one does.
  world_.Start();
  EXPECT_TRUE(world_.Perform(world_.TaskOf(Stage("true"), "train", 2)).message.empty());
  EXPECT_THAT(world_.Processes(), ::testing::SizeIs(::testing::Le(1u)));
  EXPECT_FALSE(fs::exists(AttemptDir()));
}

TEST_F(AttemptTest, TheEnvironmentIsWhatTheLanguagePromisesAndNothingElse) {
  world_.repos.files = {{"src/a.py", "a"}, {"params.yaml", "train:\n  depth: 3\n"}};
  Task task = world_.TaskOf(
      Stage("env | sort | cut -d= -f1; echo \"$PYTHONPATH\" \"$CD4ML_PARAM_TRAIN_MAX_DEPTH\" "
            "\"$CD4ML_RUN\" \"$CD4ML_STAGE\" \"$CD4ML_ATTEMPT\"; cat < /dev/stdin",
            "    inputs: {table: sales}\n    env: {PYTHONPATH: src}\n"
            "    outputs: {model: {path: deep/m.bin, when: always}}\n    params: [train]\n",
            "params: {schema: {train.max_depth: {type: int, default: 7}}}\n"
            "materials: {sales: {data: sales.csv}}\n"),
      "train");
  task.params = Value::Map{{"train", Value::Map{{"max_depth", 7}}}};
  task.inputs["sales"].artifact = world_.Store("price\n1\n");
  world_.Perform(task);
  EXPECT_EQ(world_.daemon.Log(id_),
            "CD4ML_ATTEMPT\nCD4ML_IN_TABLE\nCD4ML_METRICS\nCD4ML_OUT_MODEL\nCD4ML_PARAMS\n"
            "CD4ML_PARAM_TRAIN_MAX_DEPTH\nCD4ML_PORT\nCD4ML_PROCESS\nCD4ML_RUN\nCD4ML_STAGE\nCD4ML_"
            "VERDICT\nHOME\nPATH\n"
            "PWD\nPYTHONPATH\nSHLVL\nTRACEPARENT\n_\nsrc 7 shop/1 train 1\n");
}

TEST_F(AttemptTest, InputsLieWhereTheirProducerWroteThemAndMaterialsInInputs) {
  Task task = world_.TaskOf(std::string(kHead) +
                                "materials: {sales: {data: sales.csv}, cars: {data: cars, pattern: "
                                "'*.csv', at: raw/cars}}\n"
                                "stages:\n"
                                "  fit: {run: 'true', outputs: {model: {path: model/m.bin}}}\n"
                                "  train:\n"
                                "    inputs: {model: fit.model, sales: sales, cars: cars, other: "
                                "{from: fit.model, at: o/x}}\n"
                                "    run: cat model/m.bin inputs/sales raw/cars/a/1.csv o/x "
                                "src/code; cat $CD4ML_IN_MODEL\n",
                            "train");
  world_.dir.Write("cars/a/1.csv", "car\n");
  world_.repos.files = {{"src/code", "code\n"}, {"model/m.bin", "from git\n"}};
  task.inputs["fit.model"] = {world_.Store("model\n"), "model/m.bin", "", std::nullopt};
  task.inputs["sales"].artifact = world_.Store("sales\n");
  task.inputs["cars"].artifact = world_.StoreTree(world_.dir.At("cars"));
  const core::Outcome outcome = world_.Perform(task);
  EXPECT_EQ(outcome.message, "");
  EXPECT_EQ(world_.daemon.Log(id_), "model\nsales\ncar\nmodel\ncode\nmodel\n");
}

TEST_F(AttemptTest, ParameterFilesHoldTheEffectiveValues) {
  world_.repos.files = {{"params.yaml", "# depth of the trees\ntrain:\n  depth: 3\n"},
                        {"gate.json", "{\"max\": 1}"}};
  Task task = world_.TaskOf(Stage("cat params.yaml gate.json $CD4ML_PARAMS", "",
                                  "params: {file: [params.yaml, gate.json]}\n"),
                            "train");
  task.params = Value::Map{{"train", Value::Map{{"depth", 9}, {"rate", 0.5}}}, {"max", 4}};
  world_.Perform(task);
  const std::string log = world_.daemon.Log(id_);
  EXPECT_THAT(log, HasSubstr("# depth of the trees\ntrain:\n  depth: 9\n  rate: 0.5\n"));
  EXPECT_THAT(log, Not(HasSubstr("depth: 3")));
  EXPECT_THAT(log, HasSubstr("\"max\": 4"));
  EXPECT_THAT(log, HasSubstr("{\"max\":4,\"train\":{\"depth\":9,\"rate\":0.5}}"));
}

TEST_F(AttemptTest, AStageThatNamesItsParametersSeesNoOthers) {
  world_.repos.files = {{"params.yaml", "train:\n  depth: 3\n  rate: 1\nseed: 4\n"}};
  Task task = world_.TaskOf(Stage("cat params.yaml $CD4ML_PARAMS; env | grep CD4ML_PARAM_ | sort", "    params: [train.depth, gone]\n",
                                  "params: {file: params.yaml}\n"),
                            "train");
  task.params = Value::Map{{"train", Value::Map{{"depth", 9}, {"rate", 1}}}, {"seed", 4}};
  world_.Perform(task);
  EXPECT_EQ(world_.daemon.Log(id_), "train:\n  depth: 9\n{\"train\":{\"depth\":9}}CD4ML_PARAM_TRAIN_DEPTH=9\n");
}

TEST_F(AttemptTest, WhatAnArtifactDoesNotHoldIsSaid) {
  const core::Outcome outcome =
      Run(Stage("mkdir -p pack/a pack/b; touch pack/x; echo '#!/bin/sh' > tool; chmod +x tool; touch plain",
                "    outputs: {tool: {path: tool}, pack: {path: pack}, plain: {path: plain}}\n"));
  EXPECT_EQ(outcome.state, core::AttemptState::kSucceeded) << outcome.message;
  const std::string log = world_.daemon.Log(id_);
  EXPECT_THAT(log, HasSubstr("output \"tool\": tool may be executed, which is not kept of a single file"));
  EXPECT_THAT(log, HasSubstr("output \"pack\": the empty folder pack/"));
  EXPECT_THAT(log, HasSubstr(" and 1 more are not kept"));
  EXPECT_THAT(log, Not(HasSubstr("\"plain\"")));
}

TEST_F(AttemptTest, ACommandThatExitsWithThreeSaysSoWithItsLastLine) {
  const core::Outcome outcome =
      Run(Stage("echo before; echo 'no such column: prize' >&2; exit 3; echo never"));
  EXPECT_EQ(outcome.state, core::AttemptState::kFailed);
  EXPECT_EQ(outcome.reason, core::Reason::kExitCode);
  EXPECT_EQ(outcome.exit_code, 3);
  EXPECT_EQ(outcome.message, "stage \"train\" exited with 3; its last line: no such column: prize");
}

TEST_F(AttemptTest, AProgramThatIsNotThereSaysSo) {
  const core::Outcome outcome =
      Run(std::string(kHead) + "stages: {train: {run: [no-such-program, x]}}\n");
  EXPECT_EQ(outcome.reason, core::Reason::kExitCode);
  EXPECT_EQ(outcome.exit_code, 127);
  EXPECT_THAT(outcome.message, HasSubstr("no-such-program"));
}

TEST_F(AttemptTest, ATimeoutNamesTheBound) {
  Task task = world_.TaskOf(Stage("sleep 60"), "train");
  task.timeout = Duration(150);
  const core::Outcome outcome = world_.Perform(task);
  EXPECT_EQ(outcome.reason, core::Reason::kTimeout);
  EXPECT_THAT(outcome.message, HasSubstr("took longer than 150ms"));
}

TEST_F(AttemptTest, ASilenceNamesItsBoundAndIsNoTimeout) {
  world_.parser = Changing(std::move(world_.parser), [](core::StageSpec& stage) {
    stage.silence_timeout = Duration(200);
  });
  const core::Outcome outcome = Run(Stage("echo one; sleep 60"));
  EXPECT_EQ(outcome.reason, core::Reason::kSilenceTimeout);
  EXPECT_EQ(outcome.message,
            "stage \"train\" wrote nothing for 200ms and was stopped; its last line: one");
}

TEST_F(AttemptTest, TheGraceIsThatOfTheStage) {
  world_.parser = Changing(std::move(world_.parser),
                           [](core::StageSpec& stage) { stage.grace = Duration(100); });
  world_.Start();
  const std::string ran = world_.dir.At("ran");
  world_.daemon.Want(world_.TaskOf(
      Stage("trap 'echo told' TERM; touch " + ran + "; while true; do sleep 0.1; done"), "train"));
  ASSERT_TRUE(world_.WaitForFile(ran));
  const Duration start = world_.clock->Steady();
  world_.daemon.Unwant(id_);
  EXPECT_EQ(world_.daemon.Outcome(id_).state, core::AttemptState::kCancelled);
  EXPECT_LT(world_.clock->Steady() - start, Duration(4'000));  // Five seconds are the default.
  // The shell may have a word of its own about what it waited for.
  EXPECT_THAT(world_.daemon.Log(id_), ::testing::HasSubstr("told\n"));
}

TEST_F(AttemptTest, AMissingOutputIsNamedAndAlwaysOutputsAreKept) {
  const core::Outcome outcome = Run(
      Stage("echo r > rejects",
            "    outputs: {model: {path: model/m.bin}, rejects: {path: rejects, when: always}}\n"));
  EXPECT_EQ(outcome.reason, core::Reason::kOutputMissing);
  EXPECT_EQ(outcome.message,
            "stage \"train\" did not write its output \"model\": there is nothing at model/m.bin "
            "in the work directory");
  const core::Outcome failed = world_.Perform(world_.TaskOf(
      Stage("echo r > rejects; exit 1",
            "    outputs: {model: {path: m}, rejects: {path: rejects, when: always}}\n"),
      "train", 2));
  ASSERT_EQ(failed.outputs.size(), 1u);
  EXPECT_EQ(failed.outputs[0].name, "rejects");
}

TEST_F(AttemptTest, AnOutputThatLeadsOutOfTheWorkDirectoryIsRefused) {
  world_.dir.Write("secret", "secret");
  const std::string secret = world_.dir.At("secret");
  struct Case {
    std::string script, output;
  };
  const std::vector<Case> cases = {{"ln -s " + secret + " m", "m"},
                                   {"mkdir m; ln -s " + secret + " m/x", "m"},
                                   {"rm -rf o; ln -s " + world_.dir.path() + " o", "o/secret"}};
  int number = 0;
  for (const Case& one : cases) {
    const std::string outputs = "    outputs: {model: {path: " + one.output + "}}\n";
    const core::Outcome outcome =
        world_.Perform(world_.TaskOf(Stage(one.script, outputs), "train", ++number));
    EXPECT_EQ(outcome.reason, core::Reason::kOutputMissing)
        << one.script << ": " << outcome.message;
    EXPECT_THAT(outcome.outputs, IsEmpty());
  }
}

TEST_F(AttemptTest, AFullDiskIsOurSideAndSaysHowMuchIsFreeAndNeeded) {
  world_.config.disk_reserve = int64_t{1} << 60;
  const core::Outcome outcome = Run(Stage("true"));
  EXPECT_EQ(outcome.reason, core::Reason::kInfra);
  EXPECT_THAT(outcome.message,
              ::testing::ContainsRegex("are free in .*agent.* are needed to begin"));
}

TEST_F(AttemptTest, AnInputThatTheCommandChangesFailsTheStageAndLosesTheDamagedBlob) {
  Task task = world_.TaskOf(
      Stage("chmod u+w inputs/sales; echo more >> inputs/sales", "    inputs: {sales: sales}\n",
            "materials: {sales: {data: sales.csv}}\n"),
      "train");
  // Stored by linking, as outputs are: the work directory then shares the store's file where it
  // cannot be cloned.
  const std::string file = world_.dir.Write("sales.csv", "price\n1\n");
  task.inputs["sales"].artifact = {*world_.blobs->PutFile(file, true), false, 8, 1};
  const core::Outcome outcome = world_.Perform(task);
  if (outcome.state == core::AttemptState::kSucceeded)
    GTEST_SKIP() << "this file system clones files";
  EXPECT_THAT(outcome.message, HasSubstr("changed its input inputs/sales"));
  EXPECT_TRUE(absl::IsNotFound(world_.blobs->Size(task.inputs["sales"].artifact.digest).status()));
}

TEST_F(AttemptTest, AnInputThatTheCommandReplacesIsItsOwn) {
  Task task = world_.TaskOf(
      Stage("rm -f inputs/sales; echo mine > inputs/sales", "    inputs: {sales: sales}\n",
            "materials: {sales: {data: sales.csv}}\n"),
      "train");
  task.inputs["sales"].artifact = world_.Store("price\n1\n");
  EXPECT_EQ(world_.Perform(task).message, "");
  EXPECT_EQ(world_.Bytes(task.inputs["sales"].artifact), "price\n1\n");
}

TEST_F(AttemptTest, MetricsThatCannotBeReadAreTheStagesFault) {
  const core::Outcome outcome = Run(Stage("echo '{' > m.json", "    metrics: [m.json]\n"));
  EXPECT_EQ(outcome.reason, core::Reason::kMetricsUnreadable);
  EXPECT_THAT(outcome.message, HasSubstr("metrics file m.json"));
}

TEST_F(AttemptTest, WhatOurSideLacksIsInfra) {
  Task task = world_.TaskOf(Stage("true"), "train");
  task.commit = std::string(40, 'd');
  core::Outcome outcome = world_.Perform(task);
  EXPECT_EQ(outcome.reason, core::Reason::kInfra);
  EXPECT_THAT(outcome.message, HasSubstr("no commit dddd"));
  task.attempt.number = 2;
  task.commit = std::string(40, 'c');
  task.definition = Sha256("not stored");
  EXPECT_EQ(world_.Perform(task).reason, core::Reason::kInfra);
}

TEST_F(AttemptTest, ManyLinesArriveByteForByteAndWhileTheCommandRuns) {
  world_.Start();
  world_.daemon.Want(world_.TaskOf(Stage("echo first; until [ -e " + world_.dir.At("go") +
                                         " ]; do sleep 0.01; done; seq 1 200000"),
                                   "train"));
  EXPECT_TRUE(world_.daemon.WaitUntilStarted(id_));
  ASSERT_TRUE(world_.daemon.WaitForLog(id_, "first\n"));
  world_.dir.Write("go", "");
  const core::Outcome outcome = world_.daemon.Outcome(id_);
  std::string expected = "first\n";
  for (int i = 1; i <= 200'000; ++i) expected += std::to_string(i) + "\n";
  EXPECT_TRUE(world_.daemon.Log(id_) == expected);
  EXPECT_EQ(outcome.log_bytes, static_cast<int64_t>(expected.size()));
}

TEST_F(AttemptTest, ALogThatTheDaemonTakesOnlyInPartDoesNotHoldUpTheOutcome) {
  world_.daemon.log_max = 1'000;
  const core::Outcome outcome = Run(Stage("seq 1 300000"));
  EXPECT_EQ(outcome.state, core::AttemptState::kSucceeded);
  EXPECT_EQ(world_.daemon.Log(id_).size(), 1'000u);
  EXPECT_GT(outcome.log_bytes, 1'000'000);
}

TEST_F(AttemptTest, CancelMeansDead) {
  world_.Start();
  const std::string pid = world_.dir.At("pid");
  world_.daemon.Want(world_.TaskOf(
      Stage("sleep 600 & echo $! > " + pid + ".tmp; mv " + pid + ".tmp " + pid + "; wait"),
      "train"));
  ASSERT_TRUE(world_.WaitForFile(pid));
  world_.daemon.Unwant(id_);
  const core::Outcome outcome = world_.daemon.Outcome(id_);
  EXPECT_EQ(outcome.state, core::AttemptState::kCancelled);
  EXPECT_EQ(outcome.reason, core::Reason::kCancelled);
  EXPECT_FALSE(fs::exists("/proc/" + std::to_string(std::stoi(FileBytes(pid)))));
}

TEST_F(AttemptTest, ACancelDoesNotWaitForAHugeOutput) {
  world_.Start();
  const std::string done = world_.dir.At("done");
  world_.daemon.Want(world_.TaskOf(Stage("truncate -s 900G huge; touch " + done,
                                         "    outputs: {huge: {path: huge}}\n"),
                                   "train"));
  ASSERT_TRUE(world_.WaitForFile(done));
  for (int i = 0; i < 6'000 && !IsOpenHere("/huge"); ++i) World::Pause();
  ASSERT_TRUE(IsOpenHere("/huge"));
  const Duration start = world_.clock->Steady();
  world_.daemon.Unwant(id_);
  EXPECT_EQ(world_.daemon.Outcome(id_).state, core::AttemptState::kCancelled);
  EXPECT_LT(world_.clock->Steady() - start, Duration(5'000));
  EXPECT_TRUE(fs::is_empty(world_.dir.At("daemon/tmp")));
}

TEST_F(AttemptTest, AStaleAttemptIsKilledAndNothingIsReported) {
  world_.Start();
  world_.daemon.Forbid(id_);
  const std::string ran = world_.dir.At("ran");
  world_.daemon.Want(
      world_.TaskOf(Stage("touch " + ran + "; echo hello; exec sleep 600"), "train"));
  ASSERT_TRUE(world_.WaitForFile(ran));
  for (int i = 0; i < 6'000 && fs::exists(AttemptDir()); ++i) World::Pause();
  EXPECT_FALSE(fs::exists(AttemptDir()));
  EXPECT_FALSE(world_.daemon.HasOutcome(id_));
  EXPECT_THAT(world_.Processes(), IsEmpty());
}

// --- the daemon is away ---

TEST_F(AttemptTest, AStageGoesOnWhileTheDaemonIsAwayAndReportsAfterwards) {
  world_.Start();
  const std::string go = world_.dir.At("go"), done = world_.dir.At("done");
  world_.daemon.Want(
      world_.TaskOf(Stage("echo one; until [ -e " + go +
                              " ]; do sleep 0.01; done; echo two; echo m > m; touch " + done,
                          "    outputs: {model: {path: m}}\n"),
                    "train"));
  ASSERT_TRUE(world_.daemon.WaitUntilStarted(id_));
  world_.daemon.SetAway(true);
  world_.dir.Write("go", "");
  ASSERT_TRUE(world_.WaitForFile(done));
  ASSERT_TRUE(world_.WaitForFile(AttemptDir() + "/outcome.json"));
  EXPECT_FALSE(world_.daemon.HasOutcome(id_));
  world_.daemon.SetAway(false);
  const core::Outcome outcome = world_.daemon.Outcome(id_);
  EXPECT_EQ(outcome.state, core::AttemptState::kSucceeded) << outcome.message;
  EXPECT_EQ(world_.Bytes(outcome.outputs.at(0).artifact), "m\n");
  EXPECT_EQ(world_.daemon.Log(id_), "one\ntwo\n");
  EXPECT_EQ(world_.daemon.Finishes(id_), 1);
  EXPECT_GE(world_.daemon.sessions(), 2);
}

TEST_F(AttemptTest, AnAgentOnAnotherHostSendsItsOutputsOverTheWire) {
  world_.same_host = false;
  Task task = world_.TaskOf(Stage("mkdir out; cat inputs/sales > out/a; echo b > out/b",
                                  "    inputs: {sales: sales}\n"
                                  "    outputs: {all: {path: out}}\n",
                                  "materials: {sales: {data: sales.csv}}\n"),
                            "train");
  task.inputs["sales"].artifact = world_.Store("price\n");
  const core::Outcome outcome = world_.Perform(task);
  ASSERT_EQ(outcome.message, "");
  const absl::StatusOr<std::vector<TreeEntry>> tree =
      ParseTree(world_.Bytes(outcome.outputs.at(0).artifact));
  ASSERT_TRUE(tree.ok());
  ASSERT_EQ(tree->size(), 2u);
  EXPECT_EQ(*ReadBlob(*world_.blobs, tree->at(0).digest, 100), "price\n");
}

// --- the agent is restarted ---

TEST_F(AttemptTest, ARunningCommandIsTakenUpByTheNextAgentAndRunsOnce) {
  world_.Start();
  const std::string go = world_.dir.At("go"), ran = world_.dir.At("ran");
  world_.daemon.Want(world_.TaskOf(
      Stage(
          "echo run >> " + ran + "; echo one; until [ -e " + go +
              " ]; do sleep 0.01; done; echo two; echo m > m; echo '{\"mae\": 2}' > $CD4ML_METRICS",
          "    outputs: {model: {path: m}}\n"),
      "train"));
  ASSERT_TRUE(world_.WaitForFile(ran));
  world_.Stop();
  world_.Start();
  world_.dir.Write("go", "");
  const core::Outcome outcome = world_.daemon.Outcome(id_);
  EXPECT_EQ(outcome.message, "");
  EXPECT_EQ(FileBytes(ran), "run\n");
  EXPECT_EQ(world_.daemon.Log(id_), "one\ntwo\n");
  EXPECT_EQ(world_.Bytes(outcome.outputs.at(0).artifact), "m\n");
  EXPECT_EQ(outcome.metrics.at("mae"), 2);
  EXPECT_EQ(world_.daemon.Finishes(id_), 1);
}

TEST_F(AttemptTest, ACommandThatEndedWhileNoAgentWasThereIsHarvested) {
  world_.Start();
  const std::string ran = world_.dir.At("ran");
  world_.daemon.Want(
      world_.TaskOf(Stage("echo run >> " + ran + "; sleep 0.2; echo m > m; touch " + ran + ".done",
                          "    outputs: {model: {path: m}}\n"),
                    "train"));
  ASSERT_TRUE(world_.WaitForFile(ran));
  world_.Stop();
  ASSERT_TRUE(world_.WaitForFile(ran + ".done"));
  world_.Start();
  EXPECT_EQ(world_.daemon.Outcome(id_).message, "");
  EXPECT_EQ(FileBytes(ran), "run\n");
}

TEST_F(AttemptTest, AnOutcomeThatWasNotAnsweredIsReportedByTheNextAgent) {
  world_.Start();
  world_.daemon.Want(world_.TaskOf(Stage("echo out; touch " + world_.dir.At("ran")), "train"));
  ASSERT_TRUE(world_.WaitForFile(world_.dir.At("ran")) || true);
  world_.daemon.SetAway(true);
  if (!world_.daemon.HasOutcome(id_)) {
    ASSERT_TRUE(world_.WaitForFile(AttemptDir() + "/outcome.json"));
  }
  world_.Stop();
  world_.daemon.SetAway(false);
  world_.Start();
  EXPECT_EQ(world_.daemon.Outcome(id_).message, "");
  EXPECT_EQ(world_.daemon.Log(id_), "out\n");
}

TEST_F(AttemptTest, AnOutcomeThatDidNotFitOnTheDiskIsFoundAgainByTheNextAgent) {
  world_.Start();
  const std::string ran = world_.dir.At("ran"), in_the_way = AttemptDir() + "/outcome.json.next";
  world_.daemon.Want(world_.TaskOf(Stage("mkdir " + in_the_way + "; echo run >> " + ran +
                                             "; echo m > m; until [ -e " + ran +
                                             ".go ]; do sleep 0.01; done",
                                         "    outputs: {model: {path: m}}\n"),
                                   "train"));
  ASSERT_TRUE(world_.WaitForFile(ran));
  world_.daemon.SetAway(true);
  world_.dir.Write("ran.go", "");
  for (int i = 0; i < 6'000 && !IsConcluded(); ++i) World::Pause();
  for (int i = 0; i < 20; ++i) World::Pause();  // Nothing tells that it could not be written.
  world_.Stop();
  EXPECT_FALSE(fs::exists(AttemptDir() + "/outcome.json"));
  fs::remove(in_the_way);
  world_.daemon.SetAway(false);
  world_.Start();
  const core::Outcome outcome = world_.daemon.Outcome(id_);
  EXPECT_EQ(outcome.message, "");
  EXPECT_EQ(world_.Bytes(outcome.outputs.at(0).artifact), "m\n");
  EXPECT_EQ(FileBytes(ran), "run\n");
}

TEST_F(AttemptTest, AProcessOfAnAttemptThatCannotBeReadIsEnded) {
  world_.Start();
  const std::string ran = world_.dir.At("ran");
  world_.daemon.Want(world_.TaskOf(Stage("touch " + ran + "; sleep 600"), "train"));
  ASSERT_TRUE(world_.WaitForFile(ran));
  world_.Stop();
  world_.daemon.Unwant(id_);
  fs::resize_file(AttemptDir() + "/task.json", 3);
  world_.Start();
  const auto runs = [this] {
    const std::vector<ProcessStatus> all = world_.Processes();
    return std::any_of(all.begin(), all.end(), [](const ProcessStatus& process) {
      return process.state == ProcessState::kRunning;
    });
  };
  for (int i = 0; i < 6'000 && runs(); ++i) World::Pause();
  EXPECT_FALSE(runs());
}

// --- the daemon's state was wiped ---

TEST_F(AttemptTest, AttemptsOfAnotherDatabaseAreEndedAndNeverAnsweredFor) {
  world_.daemon.grant.store = "old";
  world_.Start();
  const std::string ran = world_.dir.At("ran");
  world_.daemon.Want(world_.TaskOf(Stage("echo old; touch " + ran + "; sleep 600"), "train"));
  const core::AttemptId second{"shop/1", "train", 2};
  world_.daemon.Want(world_.TaskOf(Stage("echo also old"), "train", 2));
  ASSERT_TRUE(world_.WaitForFile(ran));
  world_.daemon.SetAway(true);
  if (!world_.daemon.HasOutcome(second)) {
    ASSERT_TRUE(
        world_.WaitForFile(world_.dir.At("agent/attempts/shop.1.train.2/outcome.json")));
  }
  world_.daemon.Wipe();
  world_.daemon.grant.store = "new";
  // The new daemon counts from one again, so that the names are those of the old attempts.
  world_.daemon.Want(world_.TaskOf(Stage("echo new"), "train"));
  world_.daemon.SetAway(false);
  EXPECT_EQ(world_.daemon.Outcome(id_).message, "");
  EXPECT_EQ(world_.daemon.Log(id_), "new\n");
  EXPECT_EQ(world_.daemon.Finishes(id_), 1);
  EXPECT_FALSE(world_.daemon.HasOutcome(second));
}

TEST_F(AttemptTest, AttemptsOfAnotherDatabaseAreDroppedByTheNextAgentToo) {
  world_.daemon.grant.store = "old";
  world_.Start();
  const std::string ran = world_.dir.At("ran");
  world_.daemon.Want(world_.TaskOf(Stage("touch " + ran + "; sleep 600"), "train"));
  ASSERT_TRUE(world_.WaitForFile(ran));
  world_.Stop();
  world_.daemon.Wipe();
  world_.daemon.grant.store = "new";
  world_.daemon.Want(world_.TaskOf(Stage("echo new"), "train"));
  world_.Start();
  EXPECT_EQ(world_.daemon.Outcome(id_).message, "");
  EXPECT_EQ(world_.daemon.Log(id_), "new\n");
}

// --- GPUs ---

TEST_F(AttemptTest, EachStageSeesItsOwnGpusAndNoOthers) {
  world_.config.gpus = {"0", "1", "2"};
  world_.Start();
  const std::string go = world_.dir.At("go");
  const std::string script = "echo \"[$CUDA_VISIBLE_DEVICES]\"; until [ -e " + go +
                             " ]; do sleep 0.01; done";
  for (int number = 1; number <= 4; ++number) {
    Task task = world_.TaskOf(Stage("touch " + world_.dir.At("ran") + "$CD4ML_ATTEMPT; " + script),
                              "train", number);
    task.resources.gpus = number == 1 ? 2 : number == 3 ? 0 : 1;
    world_.daemon.Want(task);
    if (number < 4) {
      ASSERT_TRUE(world_.daemon.WaitUntilStarted({"shop/1", "train", number}));
    }
  }
  // The fourth waits for a GPU, also across a restart of the agent, which doubles none.
  world_.Stop();
  world_.Start();
  EXPECT_EQ(world_.daemon.hello().resources.gpus, 3);
  world_.Perform(world_.TaskOf(Stage("sleep 0.2"), "train", 5));
  EXPECT_TRUE(fs::exists(world_.dir.At("ran3")));
  EXPECT_FALSE(fs::exists(world_.dir.At("ran4")));
  world_.dir.Write("go", "");
  std::vector<std::string> seen;
  for (int number = 1; number <= 4; ++number) {
    EXPECT_EQ(world_.daemon.Outcome({"shop/1", "train", number}).message, "");
    seen.push_back(world_.daemon.Log({"shop/1", "train", number}));
  }
  EXPECT_THAT(seen, ElementsAre("[0,1]\n", "[2]\n", "[]\n", ::testing::AnyOf("[0]\n", "[1]\n", "[2]\n")));
}

TEST_F(AttemptTest, MoreGpusThanThereAreIsOurSide) {
  Task task = world_.TaskOf(Stage("true"), "train");
  task.resources.gpus = 1;
  const core::Outcome outcome = world_.Perform(task);
  EXPECT_EQ(outcome.reason, core::Reason::kInfra);
  EXPECT_EQ(outcome.message, "the stage needs 1 GPUs and this agent has 0");
}

// --- the end of an agent ---

TEST_F(AttemptTest, ADrainingAgentFinishesWhatItHoldsAndThenEnds) {
  world_.Start();
  const std::string go = world_.dir.At("go");
  world_.daemon.Want(
      world_.TaskOf(Stage("until [ -e " + go + " ]; do sleep 0.01; done"), "train"));
  ASSERT_TRUE(world_.daemon.WaitUntilStarted(id_));
  world_.Drain();
  for (int i = 0; i < 6'000 && !world_.daemon.LastReport().draining; ++i) World::Pause();
  EXPECT_TRUE(world_.daemon.LastReport().draining);
  EXPECT_FALSE(world_.daemon.HasOutcome(id_));
  world_.dir.Write("go", "");
  world_.AwaitEnd();
  EXPECT_EQ(world_.daemon.Outcome(id_).message, "");
}

TEST_F(AttemptTest, AnAgentThatIsRefusedWorksOnceTheDaemonIsUpgraded) {
  world_.daemon.refusal = absl::FailedPreconditionError("this daemon speaks 2");
  world_.daemon.Want(world_.TaskOf(Stage("true"), "train"));
  world_.Start();
  ASSERT_TRUE(world_.daemon.WaitFor([&] { return world_.daemon.refused == 1; }));
  world_.daemon.Accept();
  EXPECT_EQ(world_.daemon.Outcome(id_).message, "");
}

TEST_F(AttemptTest, AnAttemptWithoutACommandYetIsStartedByTheNextAgent) {
  Task task = world_.TaskOf(Stage("echo run >> " + world_.dir.At("ran")), "train");
  // As an agent leaves it that died before it could ask its keeper.
  world_.dir.Write("agent/attempts/shop.1.train.1/task.json", "");
  fs::remove_all(AttemptDir());
  world_.daemon.Want(task);
  world_.Start();
  world_.daemon.Outcome(id_);
  EXPECT_EQ(FileBytes(world_.dir.At("ran")), "run\n");
}

TEST_F(AttemptTest, WhatIsUnreadableOnDiskDoesNotKeepTheAgentFromWorking) {
  world_.dir.Write("agent/attempts/shop.9.train.1/task.json", "{\"task\": 1");
  world_.dir.Write("agent/attempts/odd/other", "");
  world_.dir.Write("agent/services/odd/service.json", "[]");
  world_.dir.Write("agent/trash/1/2/3", "x");
  world_.dir.Write("agent/daemon-blobs.json", "{\"dir\": 1}");
  EXPECT_EQ(Run(Stage("true")).message, "");
  EXPECT_FALSE(fs::exists(world_.dir.At("agent/attempts/odd")));
}

// --- gates ---

std::string DataGate(const std::string& script, const std::string& rules) {
  return std::string(kHead) +
         "materials: {sales: {data: sales.csv}}\nstages:\n  train:\n    kind: data_gate\n" +
         "    inputs: {sales: sales}\n    run: " + ToJson(Value(script)) +
         "\n    outputs: {clean: {path: clean.csv, type: dataset}, rejects: {path: r.csv, when: "
         "always}}\n    rules: " +
         rules + "\n";
}

TEST_F(AttemptTest, ADataGateThatPassesKeepsTheProfileOfWhatItJudged) {
  Task task =
      world_.TaskOf(DataGate("cp inputs/sales clean.csv; cp inputs/sales r.csv",
                             "{in: {of: sales, rows: {min: 1}}, out: {of: clean, rows: {min: 2}}}"),
                    "train");
  task.inputs["sales"].artifact = world_.Store("price\n1\n2\n");
  const core::Outcome outcome = world_.Perform(task);
  EXPECT_EQ(outcome.state, core::AttemptState::kSucceeded) << outcome.message;
  ASSERT_TRUE(outcome.verdict);
  EXPECT_EQ(outcome.verdict->outcome, core::VerdictOutcome::kPass);
  ASSERT_EQ(outcome.verdict->rules.size(), 2u);
  ASSERT_EQ(outcome.outputs.size(), 4u);
  EXPECT_EQ(outcome.outputs.back().name, "gate-report");
  // Of the material, too, which is no output of the stage.
  const core::ProducedOutput& sales = outcome.outputs[2];
  EXPECT_EQ(sales.name, "sales");
  EXPECT_TRUE(core::IsGateReport(sales));
  ASSERT_TRUE(sales.profile);
  EXPECT_EQ(core::ProfileFromValue(*ParseJson(world_.Bytes(*sales.profile)))->rows, 2);
  const core::ProducedOutput& clean = outcome.outputs[outcome.outputs[0].name == "clean" ? 0 : 1];
  ASSERT_TRUE(clean.profile);
  EXPECT_EQ(core::ProfileFromValue(*ParseJson(world_.Bytes(*clean.profile)))->rows, 2);
  EXPECT_THAT(world_.daemon.Log(id_), HasSubstr("[cd4ml] verdict: pass"));
}

TEST_F(AttemptTest, ADataGateKeepsItsSegmentsAndCountsFromTheStartOfTheRun) {
  Task task = world_.TaskOf(DataGate("cp inputs/sales clean.csv; cp inputs/sales r.csv",
                                     "{cars: {of: clean, segments: {by: [model], rows: {min: 1}}}, "
                                     "new: {of: sales, fresh: {column: seen, within: 1d}}}"),
                            "train");
  task.inputs["sales"].artifact = world_.Store("model\ngolf\ngolf\n");
  task.created_at = {1234567};
  task.baselines["last_passed"] = {"shop/0", {}, {{"mae", 1.0}}};
  const core::Outcome outcome = world_.Perform(task);
  ASSERT_EQ(outcome.state, core::AttemptState::kSucceeded) << outcome.message;
  EXPECT_THAT(outcome.verdict->segments, ElementsAre("golf"));
  EXPECT_EQ(outcome.verdict->rules[1].observed_number, 1234567);
  const core::ProducedOutput& clean = outcome.outputs[outcome.outputs[0].name == "clean" ? 0 : 1];
  ASSERT_TRUE(clean.profile);
  EXPECT_THAT(core::ProfileFromValue(*ParseJson(world_.Bytes(*clean.profile)))->segments,
              ElementsAre("golf"));
}

TEST_F(AttemptTest, SegmentsThatCannotBeToldHideNoVerdict) {
  Task task = world_.TaskOf(DataGate("cp inputs/sales clean.csv; cp inputs/sales r.csv",
                                     "{cars: {of: clean, segments: {by: [missing], rows: {min: 1}}, severity: warn}}"),
                            "train");
  task.inputs["sales"].artifact = world_.Store("model\ngolf\n");
  const core::Outcome outcome = world_.Perform(task);
  EXPECT_EQ(outcome.state, core::AttemptState::kSucceeded) << outcome.message;
  ASSERT_TRUE(outcome.verdict);
  EXPECT_THAT(outcome.verdict->segments, IsEmpty());
}

TEST_F(AttemptTest, AStageSeesWhichSegmentsOfItsInputQualify) {
  Task task = world_.TaskOf(
      std::string(kHead) + "stages:\n  check: {run: 'true', outputs: {clean: {path: c.csv}, rest: {path: r.csv}}}\n"
                           "  train:\n    inputs: {good-cars: check.clean, rest: check.rest}\n"
                           "    run: cat $CD4ML_SEGMENTS_GOOD_CARS; echo; env | grep -c CD4ML_SEGMENTS\n",
      "train");
  core::TableProfile profile;
  const ArtifactRef without = world_.Store(ToJson(core::ToValue(profile)));
  profile.segments = {"bmw/x5", "vw/golf"};
  const ArtifactRef with = world_.Store(ToJson(core::ToValue(profile)));
  task.inputs["check.clean"] = {world_.Store("a\n"), "c.csv", "", with};
  task.inputs["check.rest"] = {world_.Store("b\n"), "r.csv", "", without};
  EXPECT_EQ(world_.Perform(task).message, "");
  EXPECT_EQ(world_.daemon.Log(id_), "[\"bmw/x5\",\"vw/golf\"]\n1\n");
}

TEST_F(AttemptTest, ADataGateThatRejectsSaysWhyInOneLineAndKeepsOnlyWhatIsAlwaysKept) {
  Task task = world_.TaskOf(DataGate("cp inputs/sales clean.csv; cp inputs/sales r.csv",
                                     "{out: {of: clean, rows: {min: 20}}}"),
                            "train");
  task.inputs["sales"].artifact = world_.Store("price\n1\n2\n");
  const core::Outcome outcome = world_.Perform(task);
  EXPECT_EQ(outcome.reason, core::Reason::kGateRejected);
  EXPECT_THAT(outcome.message, HasSubstr("out: 2 rows, must be >= 20 rows"));
  ASSERT_EQ(outcome.outputs.size(), 2u);
  EXPECT_EQ(outcome.outputs[0].name, "rejects");
  EXPECT_EQ(outcome.outputs[1].name, "gate-report");
}

TEST_F(AttemptTest, ADataGateProfilesEveryDatasetThatIsATable) {
  Task task = world_.TaskOf(
      std::string(kHead) + "materials: {sales: {data: sales.csv}}\nstages:\n  train:\n    kind: data_gate\n"
      "    inputs: {sales: sales}\n    run: cp inputs/sales more.csv; touch pictures; echo x > notes.csv\n"
      "    outputs: {more: {path: more.csv, type: dataset}, pictures: {path: pictures, type: dataset}, notes: {path: notes.csv}}\n"
      "    rules: {in: {of: sales, rows: {min: 1}}}\n",
      "train");
  task.inputs["sales"].artifact = world_.Store("price\n1\n2\n");
  const core::Outcome outcome = world_.Perform(task);
  EXPECT_EQ(outcome.state, core::AttemptState::kSucceeded) << outcome.message;
  std::map<std::string, bool> profiled;
  for (const core::ProducedOutput& output : outcome.outputs) profiled[output.name] = output.profile.has_value();
  EXPECT_EQ(profiled, (std::map<std::string, bool>{{"gate-report", false}, {"more", true}, {"pictures", false}, {"notes", false}, {"sales", true}}));
  EXPECT_THAT(world_.daemon.Log(id_), HasSubstr("output \"pictures\" gets no profile: "));
}

// A gate that puts bad rows of its material `sales` and of its output `clean` into quarantine.
std::string QuarantiningGate(const std::string& script, const std::string& rules) {
  return std::string(kHead) + "materials: {sales: {data: sales.csv}}\nstages:\n  train:\n    kind: data_gate\n" +
         "    inputs: {sales: sales}\n    run: " + ToJson(Value(script)) +
         "\n    outputs:\n      clean: {path: clean.csv, type: dataset}\n      report: {path: report.txt, when: always}\n"
         "      bad-in: {path: bad/in.csv, type: dataset, when: always, quarantine: sales}\n"
         "      bad-out: {path: bad/out.csv, type: dataset, when: always, quarantine: clean}\n    rules:\n"
         "      in: {of: sales, column: price, min: 0, severity: warn}\n"
         "      out: {of: clean, sql: \"price > 0\", severity: warn}\n" + rules;
}

TEST_F(AttemptTest, AGateThatPassesKeepsItsBadRowsWithoutAProfile) {
  Task task = world_.TaskOf(QuarantiningGate("cp inputs/sales clean.csv; echo fine > report.txt", ""), "train");
  task.inputs["sales"].artifact = world_.Store("price\n1\n2\n");
  const core::Outcome outcome = world_.Perform(task);
  EXPECT_EQ(outcome.state, core::AttemptState::kSucceeded) << outcome.message;
  std::map<std::string, std::string> kept;
  for (const core::ProducedOutput& output : outcome.outputs) {
    kept[output.name] = world_.Bytes(output.artifact);
    EXPECT_EQ(output.profile.has_value(), output.name == "clean" || output.name == "sales") << output.name;
  }
  EXPECT_EQ(kept.at("bad-in"), "sales 2 rows, 2 rules\n");
  EXPECT_EQ(kept.at("bad-out"), "clean 2 rows, 2 rules\n");
  EXPECT_EQ(kept.size(), 6u);   // With the page, and the profile of the material.
}

TEST_F(AttemptTest, AMaterialThatIsRejectedLeavesItsBadRowsAndNothingOfTheRepository) {
  world_.repos.files = {{"report.txt", "from git\n"}};
  Task task = world_.TaskOf(QuarantiningGate("exit 1", "      many: {of: sales, rows: {min: 3}}\n"), "train");
  task.inputs["sales"].artifact = world_.Store("price\n1\n2\n");
  const core::Outcome outcome = world_.Perform(task);
  EXPECT_EQ(outcome.reason, core::Reason::kGateRejected) << outcome.message;
  ASSERT_EQ(outcome.outputs.size(), 2u);
  EXPECT_EQ(outcome.outputs[1].name, "gate-report");
  EXPECT_EQ(outcome.outputs[0].name, "bad-in");
  EXPECT_EQ(world_.Bytes(outcome.outputs[0].artifact), "sales 2 rows, 3 rules\n");
}

TEST_F(AttemptTest, AGateWhoseCommandFailsKeepsTheBadRowsOfWhatItWasGiven) {
  Task task = world_.TaskOf(QuarantiningGate("exit 7", ""), "train");
  task.inputs["sales"].artifact = world_.Store("price\n1\n2\n");
  const core::Outcome outcome = world_.Perform(task);
  EXPECT_EQ(outcome.reason, core::Reason::kExitCode);
  EXPECT_EQ(outcome.exit_code, 7);
  ASSERT_EQ(outcome.outputs.size(), 1u);
  EXPECT_EQ(outcome.outputs[0].name, "bad-in");
}

TEST_F(AttemptTest, AMaterialThatIsRejectedKeepsTheCommandFromRunning) {
  const std::string ran = world_.dir.At("ran");
  Task task = world_.TaskOf(DataGate("touch " + ran, "{in: {of: sales, rows: {min: 3}}}"), "train");
  task.inputs["sales"].artifact = world_.Store("price\n1\n2\n");
  EXPECT_EQ(world_.Perform(task).reason, core::Reason::kGateRejected);
  EXPECT_FALSE(fs::exists(ran));
}

TEST_F(AttemptTest, AnEmptyDataFileIsAVerdictOfErrorThatNamesIt) {
  Task task = world_.TaskOf(DataGate("true", "{in: {of: sales, rows: {min: 3}}}"), "train");
  task.inputs["sales"].artifact = world_.Store("");
  const core::Outcome outcome = world_.Perform(task);
  EXPECT_EQ(outcome.reason, core::Reason::kGateError);
  EXPECT_THAT(outcome.message, HasSubstr("is empty"));
}

TEST_F(AttemptTest, WithoutATableEngineAGateSaysWhatIsMissing) {
  world_.no_tables = absl::UnavailableError("libduckdb.so was not found; run scripts/setup");
  Task task = world_.TaskOf(DataGate("true", "{in: {of: sales, rows: {min: 3}}}"), "train");
  task.inputs["sales"].artifact = world_.Store("price\n");
  EXPECT_THAT(world_.Perform(task).message, HasSubstr("run scripts/setup"));
}

std::string ModelGate(const std::string& script, const std::string& rules) {
  return std::string(kHead) +
         "stages:\n  train:\n    kind: model_gate\n    run: " + ToJson(Value(script)) +
         "\n    metrics: [m.json]\n    rules: " + rules + "\n";
}

TEST_F(AttemptTest, AMetricThatIsNaNIsAVerdictOfError) {
  const core::Outcome outcome =
      Run(ModelGate("echo '{\"mae\": NaN}' > m.json", "{mae: {metric: mae, max: 5}}"));
  EXPECT_EQ(outcome.state, core::AttemptState::kFailed);
  EXPECT_EQ(outcome.reason, core::Reason::kGateError);
  EXPECT_THAT(outcome.message, HasSubstr("mae"));
  EXPECT_TRUE(std::isnan(outcome.metrics.at("mae")));
}

TEST_F(AttemptTest, MetricsThatCannotBeReadAreAVerdictOfErrorThatMayBeOverridden) {
  for (const std::string script : {"true", "echo '{' > m.json", "mkfifo m.json"}) {
    Task task = world_.TaskOf(ModelGate(script, "{mae: {metric: mae, max: 5}}"), "train", ++number_);
    const core::Outcome outcome = world_.Perform(task);
    EXPECT_EQ(outcome.reason, core::Reason::kGateError) << script;
    ASSERT_TRUE(outcome.verdict) << script;
    EXPECT_THAT(outcome.verdict->rules.at(0).message, HasSubstr("m.json")) << script;
    task = world_.TaskOf(ModelGate(script, "{mae: {metric: mae, max: 5}}"), "train", ++number_);
    task.overrides = {{.rule = "mae", .by = "ana", .reason = "first", .at = UtcTime{5}, .expires = UtcTime{9}}};
    EXPECT_EQ(world_.Perform(task).state, core::AttemptState::kSucceeded) << script;
  }
}

TEST_F(AttemptTest, JudgingThatTakesTooLongIsATimeout) {
  for (const std::string table : {"sales", "clean"}) {
    Task task = world_.TaskOf(DataGate("cp inputs/sales clean.csv; touch r.csv", "{slow: {of: " + table + ", sql: endless}}"),
                              "train", ++number_);
    task.inputs["sales"].artifact = world_.Store("price\n1\n");
    task.timeout = Duration(3'000);   // The command must be done by then.
    const core::Outcome outcome = world_.Perform(task);
    EXPECT_EQ(outcome.reason, core::Reason::kTimeout) << outcome.message;
    EXPECT_THAT(outcome.message, HasSubstr("judging stage \"train\" took longer than 3.0s"));
    EXPECT_FALSE(outcome.verdict);
  }
}

TEST_F(AttemptTest, ACancelEndsJudging) {
  world_.Start();
  Task task = world_.TaskOf(DataGate("cp inputs/sales clean.csv; touch r.csv", "{slow: {of: clean, sql: endless}}"), "train");
  task.inputs["sales"].artifact = world_.Store("price\n1\n");
  world_.daemon.Want(task);
  ASSERT_TRUE(world_.WaitForFile(AttemptDir() + "/room/work/clean.csv.asked"));
  world_.daemon.Unwant(id_);
  EXPECT_EQ(world_.daemon.Outcome(id_).message, "cancelled while it was judged");
}

TEST_F(AttemptTest, AModelGateComparesMetricsAndExpressions) {
  const std::string rules = "{mae: {metric: mae, max: 5}, fit: {check: 'r2.train - r2 <= 0.1'}}";
  EXPECT_EQ(Run(ModelGate("echo '{\"mae\": 4, \"r2\": {\"train\": 0.9}}' > m.json; echo '{\"r2\": "
                          "0.85}' > $CD4ML_METRICS",
                          rules))
                .message,
            "");
  const core::Outcome bad =
      world_.Perform(world_.TaskOf(ModelGate("echo '{\"mae\": 6, \"r2\": {\"train\": 0.9}}' > "
                                             "m.json; echo '{\"r2\": 0.85}' > $CD4ML_METRICS",
                                             rules),
                                   "train", 2));
  EXPECT_EQ(bad.reason, core::Reason::kGateRejected);
  EXPECT_THAT(bad.message, HasSubstr("mae: 6, must be <= 5"));
}

TEST_F(AttemptTest, AModelGateComparesWithWhatWasRecorded) {
  const std::string gate = ModelGate("echo '{\"mae\": 6}' > m.json",
                                     "{since: {metric: mae, versus: last_passed, worse_by: {abs: 1}, first: fail}}");
  Task task = world_.TaskOf(gate, "train");
  EXPECT_THAT(world_.Perform(task).message, HasSubstr("since: no baseline"));
  task = world_.TaskOf(gate, "train", 2);
  task.baselines["last_passed"] = {"shop/7", {}, {{"mae", 5}}};
  const core::Outcome passed = world_.Perform(task);
  EXPECT_EQ(passed.message, "");
  EXPECT_EQ(passed.verdict->rules[0].baseline, "shop/7");
  EXPECT_EQ(passed.verdict->rules[0].baseline_number, 5);
  task = world_.TaskOf(gate, "train", 3);
  task.baselines["last_passed"] = {"shop/7", {}, {{"mae", 4}}};
  EXPECT_THAT(world_.Perform(task).message, HasSubstr("since: 6, 2 worse, must be at most 1 worse than 4 (mae, versus shop/7)"));
}

TEST_F(AttemptTest, AModelGateJudgesFairnessFromSlicesOfTheStagesOwn) {
  const std::string gate = std::string(kHead) + "stages:\n  train:\n    kind: model_gate\n    run: " +
                           ToJson(Value("printf 'seller,n,recall\\ndealer,400,0.5\\nprivate,300,0.4\\n' > by.csv")) +
                           "\n    metrics: [{file: by.csv, slice: seller, count: n}]\n    rules: {fair: {fairness: "
                           "{slice: seller, metric: recall, min_ratio: 0.9}}}\n";
  EXPECT_THAT(Run(gate).message, HasSubstr("fair: ratio 0.8, must be ratio >= 0.9"));
}

TEST_F(AttemptTest, AnOverriddenRuleOnlyWarnsAndTheLogSaysWhoseDoingThatIs) {
  const core::Override override{.rule = "mae", .by = "ana", .reason = "a new tax", .at = UtcTime{5}, .expires = UtcTime{9}};
  Task task = world_.TaskOf(ModelGate("echo '{\"mae\": 6, \"r2\": 1}' > m.json", "{mae: {metric: mae, max: 5}, fit: {metric: r2, min: 0}}"), "train");
  task.overrides = {override, {.rule = "fit", .by = "bo", .reason = "not needed", .at = UtcTime{5}, .expires = UtcTime{9}}};

  const core::Outcome outcome = world_.Perform(task);

  EXPECT_EQ(outcome.state, core::AttemptState::kSucceeded);
  EXPECT_EQ(outcome.verdict->outcome, core::VerdictOutcome::kWarn);
  EXPECT_EQ(outcome.verdict->overrides, std::vector<core::Override>{override});
  EXPECT_THAT(world_.daemon.Log(id_), HasSubstr("rule mae is overridden by ana until"));
}

TEST_F(AttemptTest, AMaterialWhoseRuleIsOverriddenLetsTheCommandRun) {
  const std::string ran = world_.dir.At("ran");
  Task task = world_.TaskOf(DataGate("touch " + ran + "; cp inputs/sales clean.csv; cp inputs/sales r.csv", "{in: {of: sales, rows: {min: 3}}}"), "train");
  task.inputs["sales"].artifact = world_.Store("price\n1\n2\n");
  task.overrides = {{.rule = "in", .by = "ana", .reason = "holidays", .at = UtcTime{5}, .expires = UtcTime{9}}};

  EXPECT_EQ(world_.Perform(task).verdict->overrides, task.overrides);
  EXPECT_TRUE(fs::exists(ran));
}

TEST_F(AttemptTest, ManyAttemptsAtOnceEachEndOnce) {
  world_.Start();
  std::vector<core::AttemptId> ids;
  for (int i = 1; i <= 30; ++i) {
    ids.push_back({"shop/1", "train", i});
    world_.daemon.Want(world_.TaskOf(Stage("echo " + std::to_string(i)), "train", i));
  }
  for (const core::AttemptId& id : ids) {
    EXPECT_EQ(world_.daemon.Outcome(id).message, "");
    EXPECT_EQ(world_.daemon.Log(id), std::to_string(id.number) + "\n");
    EXPECT_EQ(world_.daemon.Finishes(id), 1);
  }
}

TEST(Agent, RefusesAConfigurationThatMakesNoSense) {
  World world;
  const auto keeper = os::ConnectKeeper(world.dir.At("keeper"), CD4ML_KEEPER);
  ASSERT_TRUE(keeper.ok()) << keeper.status();
  world.config.name = "No Name";
  AgentPorts ports{.daemon = world.daemon,
                   .daemon_blobs = *world.blobs,
                   .processes = **keeper,
                   .repos = world.repos,
                   .parser = *world.parser,
                   .clock = *world.clock,
                   .open_blobs = nullptr,
                   .table_engine = nullptr,
                   .http_client = nullptr,
                   .load_client = nullptr,
                   .compile_schema = nullptr,
                   .grpc_method = nullptr,
                   .unpack = nullptr,
                   .free_port = nullptr,
                   .random = nullptr};
  EXPECT_TRUE(absl::IsFailedPrecondition(Agent::Open(world.config, ports).status()));
  world.config.name = "a";
  world.config.slots = 0;
  EXPECT_TRUE(absl::IsFailedPrecondition(Agent::Open(world.config, ports).status()));
  world.config.slots = 1;
  world.config.state_dir = "relative";
  EXPECT_TRUE(absl::IsFailedPrecondition(Agent::Open(world.config, ports).status()));
}

}  // namespace
}  // namespace cd4ml::agent
