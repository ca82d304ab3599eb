// Fills a new database with ended runs, as a daemon would have: through the rules and the store.
//
//   bench_history STATE_DIR RUNS
//
// Ten pipelines, three stages a run (train, gate, deploy); every tenth run fails at its gate. Prints one line of JSON.
#include <cstdlib>
#include <filesystem>

#include "cd4ml/core/decide.h"
#include "cd4ml/store/open_store.h"
#include "driver.h"

namespace cd4ml::bench {
namespace {

constexpr int kPipelines = 10;
constexpr int kRunsPerCommit = 200;
constexpr UtcTime kBegin{1'700'000'000'000};

Digest DigestOf(const std::string& what, int64_t number) { return Sha256(what + std::to_string(number)); }

core::StagePlan Plan(const std::string& name, core::StageKind kind, std::vector<std::string> needs) {
  core::StagePlan plan;
  plan.name = name;
  plan.kind = kind;
  plan.needs = std::move(needs);
  return plan;
}

core::StartRun Start(int64_t index) {
  core::StartRun start;
  start.pipeline = "p" + std::to_string(index % kPipelines);
  start.number = index / kPipelines + 1;
  start.id = start.pipeline + "/" + std::to_string(start.number);
  start.lane = "production";
  start.trigger = {.kind = core::TriggerKind::kDispatch, .by = "bench@example", .reason = "the market has moved"};
  start.pins.repo = "/srv/" + start.pipeline;
  start.pins.commit = DigestOf("commit", index / 50).hex().substr(0, 40);
  start.pins.commit_subject = "a change";
  start.pins.file = "price.cd4ml.yaml";
  start.pins.definition = DigestOf("definition", index / 50);
  core::Version data{.kind = core::VersionKind::kData, .name = start.pipeline + "/listings"};
  data.artifact.digest = DigestOf("data", index / 5);
  data.digest = data.artifact.digest.hex();
  start.pins.materials["listings"] = data;
  start.pins.params = Value::Map{{"trees", static_cast<double>(index % 7)}};
  start.pins.params_digest = DigestOf("params", index % 7);
  start.stages = {Plan("train", core::StageKind::kTrain, {}), Plan("check", core::StageKind::kModelGate, {"train"}),
                  Plan("release", core::StageKind::kDeploy, {"check"})};
  start.stages[0].references = {"listings"};
  start.stages[2].environment = "production";
  start.stages[2].package = "train.model";
  start.stages[2].references = {"train.model"};
  return start;
}

core::Outcome OutcomeOf(const std::string& stage, int64_t index) {
  core::Outcome outcome;
  outcome.state = core::AttemptState::kSucceeded;
  outcome.environment = Value::Map{{"agent", "bench"}, {"runtime", "host"}};
  if (stage == "train") {
    core::ProducedOutput model{.name = "model", .path = "model.bin", .type = core::OutputType::kModel};
    model.artifact = {.digest = DigestOf("model", index), .size = 1'000'000};
    outcome.outputs = {model};
    outcome.metrics = {{"mae", 400.0 + static_cast<double>(index % 100)}};
  } else if (stage == "release") {
    outcome.service = core::StartedService{"http://127.0.0.1:8000", "bench"};
  } else if (index % 10 == 9) {
    outcome.state = core::AttemptState::kFailed;
    outcome.reason = core::Reason::kGateRejected;
    outcome.message = "rule error: mae 499, must be <= 480";
  }
  return outcome;
}

// Lives one run to its end; everything of it is one change.
absl::StatusOr<RunChange> Live(int64_t index) {
  core::Run run;
  const UtcTime at = kBegin + Duration(index * 30'000);
  const core::StartRun start = Start(index);
  RunChange change{.run = start.id, .first_seq = 1, .at = at, .events = {}};
  const auto handle = [&](const core::Command& command) -> absl::Status {
    CD4ML_ASSIGN_OR_RETURN(const std::vector<core::Event> events, core::Decide(run, command, at));
    for (const core::Event& event : events) {
      core::Apply(event, at, run);
      change.events.push_back(event);
    }
    return absl::OkStatus();
  };
  CD4ML_RETURN_IF_ERROR(handle(start));
  for (const core::StagePlan& plan : start.stages) {
    if (run.FindStage(plan.name)->state != core::StageState::kReady) continue;
    CD4ML_RETURN_IF_ERROR(handle(core::GrantLease{plan.name, "bench"}));
    CD4ML_RETURN_IF_ERROR(handle(core::ReportStarted{plan.name, 1, "bench"}));
    CD4ML_RETURN_IF_ERROR(handle(core::ReportFinished{plan.name, 1, "bench", OutcomeOf(plan.name, index)}));
  }
  return change;
}

absl::Status Fill(const std::string& folder, int64_t runs) {
  std::filesystem::create_directories(folder);
  CD4ML_ASSIGN_OR_RETURN(const std::unique_ptr<StateStore> store,
                         store::OpenStateStore({.path = folder + "/cd4ml.db"}));
  std::vector<Change> changes;
  for (int i = 0; i < kPipelines; ++i) {
    PipelineRecord pipeline{.name = "p" + std::to_string(i), .repo = "/srv/p" + std::to_string(i), .branch = "main"};
    pipeline.file = "price.cd4ml.yaml";
    pipeline.registered = pipeline.checked = kBegin;
    changes.push_back(PipelineChange{pipeline});
  }
  for (int64_t index = 0; index < runs; ++index) {
    CD4ML_ASSIGN_OR_RETURN(RunChange change, Live(index));
    changes.push_back(std::move(change));
    if (changes.size() < kRunsPerCommit && index + 1 < runs) continue;
    CD4ML_RETURN_IF_ERROR(store->Commit(changes));
    changes.clear();
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace cd4ml::bench

int main(int argc, char** argv) {
  using namespace cd4ml;
  if (argc != 3) {
    std::fprintf(stderr, "usage: bench_history STATE_DIR RUNS\n");
    return 2;
  }
  const double began = bench::NowMs();
  const absl::Status filled = bench::Fill(argv[1], std::atoll(argv[2]));
  if (!filled.ok()) return bench::Fail("bench_history", filled);
  std::printf(R"({"runs": %lld, "seconds": %.3f})" "\n", std::atoll(argv[2]), (bench::NowMs() - began) / 1e3);
  return 0;
}
