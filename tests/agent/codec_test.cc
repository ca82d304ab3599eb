// Records of the agent on its disk: what is written reads back, whatever else is there is refused.
#include "agent/codec.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "cd4ml/base/status.h"

namespace cd4ml::agent {
namespace {

ArtifactRef Artifact(std::string_view bytes) { return {Sha256(bytes), true, 12, 3}; }

// Through the text, as on disk.
template <typename T>
Value OnDisk(const T& thing) {
  return *ParseJson(ToJson(ToValue(thing)));
}

TEST(Codec, ATaskReadsBackAsItWasWritten) {
  Task task;
  task.attempt = {"shop/12", "train", 2};
  task.pipeline = "shop";
  task.lane = "production";
  task.repo = "/srv/shop";
  task.commit = std::string(40, 'a');
  task.definition = Sha256("definition");
  task.params = Value::Map{{"train", Value::Map{{"depth", 3}, {"rate", 0.1}, {"name", "x"}}}};
  task.timeout = Duration(90'000);
  task.inputs["listings"] = {Artifact("a"), "", "data:shop/listings@1", std::nullopt};
  task.inputs["train.model"] = {Artifact("b"), "model/m.bin", "id", Artifact("c")};
  task.baselines["champion.train_data"] = {"shop/1 data", Artifact("d"), {}};
  task.baselines["last_passed"] = {"shop/2 judge", {}, {{"mae", 0.1 + 0.2}, {"r2", std::nan("")}}};
  task.overrides = {{.rule = "mae", .by = "ana", .reason = "a new tax", .at = UtcTime{5}, .expires = UtcTime{9}}};
  task.created_at = UtcTime{3};
  task.champion = Artifact("e");
  task.champion_deployment = "shop/1/release";
  task.deployment = "shop/12/release";
  task.environment = "production";
  task.target = "http://127.0.0.1:1";
  task.model_digest = "0123";

  const absl::StatusOr<Task> read = TaskFromValue(OnDisk(task));

  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(ToJson(ToValue(*read)), ToJson(ToValue(task)));
  EXPECT_EQ(read->attempt, task.attempt);
  EXPECT_EQ(read->timeout, task.timeout);
  EXPECT_EQ(read->inputs.at("train.model").profile, Artifact("c"));
  EXPECT_EQ(read->champion, Artifact("e"));
  EXPECT_EQ(read->baselines.at("last_passed").metrics.at("mae"), 0.1 + 0.2);
  EXPECT_TRUE(std::isnan(read->baselines.at("last_passed").metrics.at("r2")));
  EXPECT_EQ(read->overrides, task.overrides);
  EXPECT_EQ(read->created_at, task.created_at);
}

TEST(Codec, AnOutcomeReadsBackWithNaNMetricsAndItsVerdict) {
  core::Outcome outcome;
  outcome.state = core::AttemptState::kFailed;
  outcome.reason = core::Reason::kGateError;
  outcome.message = "mae: no number \"x\"\n";
  outcome.exit_code = 3;
  outcome.outputs.push_back(
      {"clean", "data/clean.csv", core::OutputType::kDataset, Artifact("a"), Artifact("p")});
  outcome.metrics = {{"mae", std::nan("")},
                     {"r2.train", 0.1 + 0.2},
                     {"up", std::numeric_limits<double>::infinity()},
                     {"down", -std::numeric_limits<double>::infinity()}};
  outcome.verdict =
      core::Verdict{core::VerdictOutcome::kError, {core::RuleResult{"mae", "metric"}}, {"golf"}};
  outcome.verdict->rules[0].observed_number = std::nan("");
  outcome.service = core::StartedService{"http://127.0.0.1:2", "agent-a"};
  outcome.environment = Value::Map{{"cpu", 2}};
  outcome.log_bytes = 77;
  outcome.cpu_seconds = 1.5;
  outcome.max_rss_bytes = int64_t{1} << 40;

  const absl::StatusOr<core::Outcome> read = OutcomeFromValue(OnDisk(outcome));

  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(ToJson(ToValue(*read)), ToJson(ToValue(outcome)));
  EXPECT_TRUE(std::isnan(read->metrics.at("mae")));
  EXPECT_EQ(read->metrics.at("r2.train"), 0.1 + 0.2);
  EXPECT_EQ(read->outputs, outcome.outputs);
}

TEST(Codec, AServiceReadsBackAsItWasWritten) {
  const ServiceTask service{"shop/3/release", "production", "shop",       "release", Sha256("d"),
                            Artifact("p"),    "dist.tar",   "http://h:1", "abc"};
  const absl::StatusOr<ServiceTask> read = ServiceFromValue(OnDisk(service));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(ToJson(ToValue(*read)), ToJson(ToValue(service)));
}

TEST(Codec, WhatIsNoRecordIsRefusedAndNamesTheField) {
  EXPECT_TRUE(absl::IsInvalidArgument(TaskFromValue(Value()).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(TaskFromValue(Value::Map{}).status()));
  Value task = ToValue(Task{.attempt = {"shop/1", "train", 1}});
  SetPath(task, "definition", "no digest");
  EXPECT_EQ(Message(TaskFromValue(task).status()), "unreadable record: definition is not a digest");
  Value outcome = ToValue(core::Outcome{});
  SetPath(outcome, "reason", "bad_luck");
  EXPECT_EQ(Message(OutcomeFromValue(outcome).status()),
            "unreadable record: reason is an unknown word");
  SetPath(outcome, "reason", "none");
  SetPath(outcome, "metrics.mae", "high");
  EXPECT_EQ(Message(OutcomeFromValue(outcome).status()), "unreadable record: mae is not a number");
}

}  // namespace
}  // namespace cd4ml::agent
