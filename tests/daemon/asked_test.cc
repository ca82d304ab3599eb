// When two requests under one idempotency key ask for the same.
#include "daemon/asked.h"

#include <gtest/gtest.h>

namespace cd4ml::daemon {
namespace {

// A run that was asked for with depth = 1 and name = "a", while seed came from the file.
core::Run Started() {
  core::Run run;
  run.pipeline = "p";
  run.lane = "production";
  run.pins.params = *ParseJson(R"({"depth": 1, "name": "a", "seed": 7})");
  run.pins.param_sources = {{"depth", "trigger"}, {"name", "trigger"}, {"seed", "params.yaml"}};
  return run;
}

std::string Ask(std::map<std::string, std::string> params, const std::string& lane = "production") {
  return Difference({"key", "p", lane, std::move(params)}, Started());
}

TEST(Asked, IsTheSameHoweverANumberIsWritten) {
  EXPECT_EQ(Ask({{"depth", "1"}, {"name", "a"}}), "");
  EXPECT_EQ(Ask({{"depth", "1.0"}, {"name", "a"}}), "");
}

TEST(Asked, IsAnotherWithOtherMoreOrFewerParameters) {
  EXPECT_EQ(Ask({{"depth", "2"}, {"name", "a"}}), "with depth = 1 where this request says 2");
  EXPECT_EQ(Ask({{"depth", "1"}, {"name", "b"}}), "with name = a where this request says b");
  EXPECT_EQ(Ask({{"depth", "1"}}), "with name, which this request does not give");
  EXPECT_EQ(Ask({{"depth", "1"}, {"name", "a"}, {"seed", "7"}}), "without seed, which this request gives");
}

TEST(Asked, IsAnotherOfAnotherPipelineOrLane) {
  EXPECT_EQ(Ask({{"depth", "1"}, {"name", "a"}}, "experiment"),
            "with lane production where this request says experiment");
  EXPECT_EQ(Difference({"key", "q", {}, {}}, Started()), "with pipeline p where this request says q");
}

TEST(Asked, OfWhichNeitherLaneNorParametersAreKnownIsTheSame) { EXPECT_EQ(Difference({"key", "p", {}, {}}, Started()), ""); }

// A retry of p/1 that took over "load" and left out "deploy".
core::Run Retried() {
  core::Run run = Started();
  run.trigger.kind = core::TriggerKind::kRetry;
  run.retry_of = "p/1";
  for (const char* name : {"load", "train", "deploy"}) {
    core::StageRun stage;
    stage.plan.name = name;
    run.stages.push_back(stage);
  }
  run.stages[0].carried.emplace();
  run.stages[2].reason = core::Reason::kNotSelected;
  return run;
}

core::StartRun AgainAs(std::set<std::string> carried, std::set<std::string> left_out, const core::RunId& of = "p/1") {
  const core::Run run = Retried();
  core::StartRun command;
  command.pipeline = run.pipeline;
  command.lane = run.lane;
  command.pins = run.pins;
  command.trigger.kind = core::TriggerKind::kRetry;
  command.retry_of = of;
  for (const core::StageRun& stage : run.stages) command.stages.push_back(stage.plan);
  for (const std::string& name : carried) command.carried[name];
  command.left_out = std::move(left_out);
  return command;
}

TEST(Asked, IsTheSameRetryWithTheSameStagesOfTheSameRun) {
  EXPECT_EQ(Difference(AskedFor(AgainAs({"load"}, {"deploy"})), Retried()), "");
}

TEST(Asked, IsTheSameRetryAlsoWhenAMatrixHasChosenMeanwhile) {
  core::Run run = Retried();
  run.stages[1].plan.matrix.emplace();
  run.stages[1].carried.emplace().cell = "train@a";
  core::StartRun command = AgainAs({"load"}, {"deploy"});
  command.stages[1].matrix.emplace();

  EXPECT_EQ(Difference(AskedFor(command), run), "");
}

TEST(Asked, IsAnotherRetryOfAnotherRunOrWithOtherStages) {
  EXPECT_EQ(Difference(AskedFor(AgainAs({"load"}, {"deploy"}, "p/2")), Retried()),
            "as a retry of p/1 where this request is for a retry of p/2");
  EXPECT_EQ(Difference(AskedFor(AgainAs({"load"}, {})), Retried()),
            "with stages train where this request says deploy, train");
  EXPECT_EQ(Difference(AskedFor(AgainAs({}, {"deploy"})), Retried()),
            "with stages train where this request says load, train");
}

TEST(Asked, IsAnotherRetryWithOtherParameters) {
  core::StartRun command = AgainAs({"load"}, {"deploy"});
  command.pins.params = *ParseJson(R"({"depth": 2, "name": "a", "seed": 7})");
  EXPECT_EQ(Difference(AskedFor(command), Retried()), "with depth = 1 where this request says 2");

  // Also when it could not be prepared.
  core::Run ended = Started();
  ended.id = "p/1";
  EXPECT_EQ(Difference(AskedFor(RetryRequest{.run = "p/1"}, ended), Retried()), "");
  EXPECT_EQ(Difference(AskedFor(RetryRequest{.run = "p/1", .params = {{"depth", "2"}}}, ended), Retried()),
            "with depth = 1 where this request says 2");
}

TEST(Asked, IsAnotherThanAStartWhenItIsARetryAndTheOtherWayRound) {
  EXPECT_EQ(Difference(AskedFor(AgainAs({"load"}, {"deploy"})), Started()),
            "as a new run where this request is for a retry of p/1");
  EXPECT_EQ(Difference({"key", "p", {}, {}}, Retried()), "as a retry of p/1 where this request is for a new run");
  core::Run ended = Started();
  ended.id = "p/1";
  EXPECT_EQ(Difference(AskedFor(ReproduceRequest{.run = "p/1"}, ended), Retried()),
            "as a retry of p/1 where this request is for a reproduction of p/1");
}

TEST(Asked, WithAKeyThatNobodyCouldReadIsRefused) {
  EXPECT_TRUE(CheckKey("").ok());
  EXPECT_TRUE(CheckKey("nightly 2026-03-02 ~x").ok());
  EXPECT_TRUE(CheckKey(std::string(200, 'k')).ok());
  EXPECT_EQ(CheckKey(std::string(201, 'k')),
            absl::InvalidArgumentError("an idempotency key is at most 200 printable ASCII characters; this one has 201"));
  for (const char* bad : {"a\nb", "\x1b[2J", "\xff", "schl\xc3\xbcssel", "a\x7f"}) {
    EXPECT_EQ(CheckKey(bad).code(), absl::StatusCode::kInvalidArgument) << bad;
  }
}

TEST(Asked, WithMoreThanIsKeptIsRefused) {
  EXPECT_TRUE(CheckSizes(StartRequest{.params = {{"a", std::string(65'535, 'x')}}, .reason = std::string(4'096, 'r')}).ok());
  const absl::Status params = CheckSizes(StartRequest{.params = {{"a", std::string(65'536, 'x')}}});
  EXPECT_EQ(params.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(params.message().find("parameters of a request are at most 64.0 KiB"), std::string::npos) << params;
  const absl::Status reason = CheckSizes(RetryRequest{.reason = std::string(4'097, 'r')});
  EXPECT_NE(reason.message().find("a reason is at most 4.0 KiB"), std::string::npos) << reason;
  EXPECT_FALSE(CheckSizes(ReproduceRequest{.key = "a\nb"}).ok());
}

}  // namespace
}  // namespace cd4ml::daemon
