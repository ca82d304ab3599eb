// A store in a temporary folder, and runs that go through the real rules into it.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cd4ml/base/status.h"
#include "cd4ml/core/decide.h"
#include "cd4ml/store/open_store.h"

namespace cd4ml::store {

#define ASSERT_OK(expression)                                      \
  do {                                                             \
    const absl::Status checked_status = (expression);              \
    ASSERT_TRUE(checked_status.ok()) << checked_status.ToString(); \
  } while (false)

class TempFolder {
 public:
  TempFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "cd4ml-store-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline core::StagePlan Plan(std::string name, core::StageKind kind, std::vector<std::string> needs,
                            std::vector<std::string> references) {
  core::StagePlan plan;
  plan.name = std::move(name);
  plan.kind = kind;
  plan.needs = std::move(needs);
  plan.references = std::move(references);
  return plan;
}

// validate -> train -> evaluate -> package -> release, watched by watch.
inline std::vector<core::StagePlan> CarPlan() {
  using core::StageKind;
  std::vector<core::StagePlan> stages = {
      Plan("validate", StageKind::kDataGate, {}, {"listings"}),
      Plan("train", StageKind::kTrain, {"validate"}, {"validate.clean"}),
      Plan("evaluate", StageKind::kModelGate, {"train"}, {"train.model"}),
      Plan("package", StageKind::kPackage, {"evaluate", "train"}, {"train.model"}),
      Plan("release", StageKind::kDeploy, {"package"}, {"package.service"}),
      Plan("watch", StageKind::kMonitor, {"release"}, {})};
  stages[1].retry.limit = 1;
  stages[4].environment = stages[5].environment = "production";
  stages[4].package = "package.service";
  return stages;
}

inline core::Version DataVersion(const std::string& content) {
  core::Version version;
  version.kind = core::VersionKind::kData;
  version.name = "car/listings";
  version.artifact.digest = Sha256(content);
  version.digest = version.artifact.digest.hex();
  version.artifact.size = 1'234;
  version.summary = "12,000 rows";
  return version;
}

inline core::StartRun CarRun(int64_t number) {
  core::StartRun start;
  start.pipeline = "car";
  start.number = number;
  start.id = "car/" + std::to_string(number);
  start.lane = "production";
  start.trigger.by = "ada@host";
  start.pins.repo = "/srv/car.git";
  start.pins.commit = Sha256("commit " + std::to_string(number)).hex().substr(0, 40);
  start.pins.commit_subject = "Use gradient boosting";
  start.pins.definition = Sha256("definition");
  start.pins.materials["listings"] = DataVersion("listings " + std::to_string(number));
  start.pins.params = Value::Map{{"train", Value::Map{{"max_depth", 6}}}};
  start.pins.params_digest = Sha256(ToJson(start.pins.params));
  start.stages = CarPlan();
  return start;
}

inline core::ProducedOutput Output(const std::string& name, core::OutputType type,
                                   const std::string& content) {
  core::ProducedOutput output;
  output.name = name;
  output.path = "out/" + name;
  output.type = type;
  output.artifact.digest = Sha256(content);
  output.artifact.size = static_cast<int64_t>(content.size());
  return output;
}

inline core::Outcome Success() {
  core::Outcome outcome;
  outcome.state = core::AttemptState::kSucceeded;
  outcome.environment = Value::Map{{"python", "3.11.2"}};
  return outcome;
}

inline core::Verdict Judged(core::VerdictOutcome outcome) {
  core::Verdict verdict;
  verdict.outcome = outcome;
  core::RuleResult& rule = verdict.rules.emplace_back();
  rule.name = "mae";
  rule.form = "metric";
  rule.outcome = outcome;
  rule.subject = "mae";
  rule.observed = "1100";
  rule.bound = "<= 1200";
  return verdict;
}

// What each stage of CarPlan produces when all goes well.
inline core::Outcome GoodOutcome(const std::string& stage, const std::string& salt) {
  core::Outcome outcome = Success();
  if (stage == "validate") {
    outcome.outputs = {Output("clean", core::OutputType::kDataset, "clean " + salt)};
    outcome.verdict = Judged(core::VerdictOutcome::kPass);
  } else if (stage == "train") {
    outcome.outputs = {Output("model", core::OutputType::kModel, "model " + salt)};
    outcome.metrics = {{"mae", 1100.5}, {"r2", 0.83}};
  } else if (stage == "evaluate") {
    outcome.verdict = Judged(core::VerdictOutcome::kPass);
  } else if (stage == "package") {
    outcome.outputs = {Output("service", core::OutputType::kDeployable, "service " + salt)};
  } else if (stage == "release") {
    outcome.service = core::StartedService{"http://127.0.0.1:40123", "agent-1"};
  }
  return outcome;
}

// A store and the runs in it, as the loop would hold them.
class StoreTest : public testing::Test {
 protected:
  void SetUp() override {
    options_.path = folder_ / "cd4ml.db";
    Open();
    ASSERT_OK(store_->Commit({PipelineChange{Pipeline("car")}}));
  }

  void Open() {
    store_.reset();
    auto store = OpenStateStore(options_);
    ASSERT_TRUE(store.ok()) << store.status().ToString();
    store_ = *std::move(store);
  }

  History& history() {
    if (history_ == nullptr) {
      auto history = OpenHistory(options_);
      EXPECT_TRUE(history.ok()) << history.status().ToString();
      history_ = *std::move(history);
    }
    return *history_;
  }

  static PipelineRecord Pipeline(const std::string& name) {
    PipelineRecord pipeline;
    pipeline.name = name;
    pipeline.repo = "/srv/" + name + ".git";
    pipeline.registered = pipeline.checked = UtcTime{1};
    return pipeline;
  }

  UtcTime Tick() { return now_ = now_ + Duration(1'000); }

  // Decides a command, commits what follows and applies it.
  absl::Status Do(core::Run& run, const core::Command& command) {
    const UtcTime now = Tick();
    auto events = core::Decide(run, command, now);
    if (!events.ok()) return events.status();
    if (events->empty()) return absl::OkStatus();
    const auto* started = std::get_if<core::RunStarted>(&events->front());
    RunChange change{started != nullptr ? started->id : run.id, run.next_seq, now, *events};
    CD4ML_RETURN_IF_ERROR(store_->Commit({change}));
    for (const core::Event& event : *events) core::Apply(event, now, run);
    return absl::OkStatus();
  }

  absl::Status Perform(core::Run& run, const std::string& stage, const core::Outcome& outcome) {
    CD4ML_RETURN_IF_ERROR(Do(run, core::GrantLease{stage, "agent-1"}));
    const int number = run.FindStage(stage)->latest()->number;
    CD4ML_RETURN_IF_ERROR(Do(run, core::ReportStarted{stage, number, "agent-1"}));
    return Do(run, core::ReportFinished{stage, number, "agent-1", outcome});
  }

  // Takes a run of CarPlan through all stages.
  core::Run RunCar(int64_t number, const std::string& salt) {
    core::Run run;
    EXPECT_TRUE(Do(run, CarRun(number)).ok());
    for (const char* stage : {"validate", "train", "evaluate", "package", "release"}) {
      const absl::Status status = Perform(run, stage, GoodOutcome(stage, salt));
      EXPECT_TRUE(status.ok()) << status.ToString();
    }
    EXPECT_EQ(run.state, core::RunState::kSucceeded);
    return run;
  }

  TempFolder folder_;
  StoreOptions options_;
  UtcTime now_{1'700'000'000'000};
  std::unique_ptr<StateStore> store_;
  std::unique_ptr<History> history_;  // Destroyed before the store.
};

}  // namespace cd4ml::store
