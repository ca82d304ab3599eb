// Composing tasks from committed facts.
#include "live.h"

#include <algorithm>

namespace cd4ml::daemon {
namespace {

std::optional<TaskInput> MakeInput(const core::Run& run, const std::string& reference) {
  const std::optional<core::Version> version = core::FindVersion(run, reference);
  if (!version.has_value()) return std::nullopt;
  TaskInput input;
  input.artifact = version->artifact;
  input.identity = core::VersionId(*version);
  if (const core::ProducedOutput* output = core::FindOutput(run, reference)) {
    input.path = output->path;
    input.profile = output->profile;
  }
  return input;
}

}  // namespace

std::string EnvironmentKey(const std::string& pipeline, const std::string& environment) {
  return pipeline + "/" + environment;
}

const LiveDeployment* FindChampion(const core::Run& run, const core::StageRun& stage, const LiveMap& live) {
  const std::string& environment = stage.plan.environment.empty() ? run.environment : stage.plan.environment;
  const auto champion = live.find(EnvironmentKey(run.pipeline, environment));
  return champion == live.end() ? nullptr : &champion->second;
}

LiveDeployment DescribeDeployment(const core::Run& run, const core::Deployment& deployment) {
  LiveDeployment live;
  live.deployment = deployment;
  live.number = run.number;
  live.definition = run.pins.definition;
  const core::StageRun* stage = run.FindStage(deployment.stage);
  if (stage != nullptr) {
    if (const core::ProducedOutput* package = core::FindOutput(run, stage->plan.package)) {
      live.package_path = package->path;
    }
  }
  if (const std::optional<std::string> data = core::FindTrainData(run)) {
    const core::ProducedOutput* output = core::FindOutput(run, *data);
    if (output->profile.has_value()) {
      live.train_data = TaskBaseline{run.id + " " + *data + " sha256:" + output->artifact.digest.brief(),
                                     *output->profile, {}};
    }
  }
  for (const core::StageRun& gate : run.stages) {
    const core::Outcome* result = gate.plan.kind == core::StageKind::kModelGate ? gate.result() : nullptr;
    if (result != nullptr) live.model_gates[gate.plan.name] = {run.id + " " + gate.plan.name, {}, result->metrics};
  }
  return live;
}

void AddChampion(const core::Run& run, const core::StageRun& stage, const LiveMap& live, Task& task) {
  const LiveDeployment* champion = FindChampion(run, stage, live);
  if (champion == nullptr) return;
  task.champion = champion->deployment.package.artifact;
  task.champion_deployment = champion->deployment.id;
  if (champion->train_data.has_value()) task.baselines["champion.train_data"] = *champion->train_data;
  if (stage.plan.kind != core::StageKind::kModelGate) return;
  task.champion_service = MakeServiceTask(*champion);
  // The gate of the same name; where there was and is only one, it may have been renamed.
  const auto& gates = champion->model_gates;
  const auto count = std::count_if(run.stages.begin(), run.stages.end(), [](const core::StageRun& other) {
    return other.plan.kind == core::StageKind::kModelGate;
  });
  const auto gate = gates.size() == 1 && count == 1 ? gates.begin() : gates.find(stage.plan.name);
  if (gate != gates.end()) task.baselines["champion"] = gate->second;
}

Task MakeTask(const core::Run& run, const core::StageRun& stage, const LiveMap& live) {
  Task task;
  task.attempt = {run.id, stage.plan.name, stage.latest()->number};
  task.pipeline = run.pipeline;
  task.lane = run.lane;
  task.repo = run.pins.repo;
  task.commit = run.pins.commit;
  task.definition = run.pins.definition;
  task.params = core::ParamsOf(run.pins, stage.plan);
  task.timeout = stage.plan.timeout;
  task.resources = stage.plan.resources;
  task.created_at = run.created;
  for (const std::string& reference : stage.plan.references) {
    if (std::optional<TaskInput> input = MakeInput(run, reference)) task.inputs[reference] = *std::move(input);
  }
  AddChampion(run, stage, live, task);
  if (stage.plan.kind == core::StageKind::kDeploy) {
    const LiveDeployment* champion = FindChampion(run, stage, live);
    task.deployment = run.id + "/" + stage.plan.name;
    task.environment = stage.plan.environment;
    if (champion != nullptr) task.target = champion->deployment.endpoint;
    if (const auto model = core::FindModel(run, stage.plan.package)) task.model_digest = model->digest;
  }
  return task;
}

ServiceTask MakeServiceTask(const LiveDeployment& live) {
  ServiceTask task;
  task.deployment = live.deployment.id;
  task.environment = live.deployment.environment;
  task.pipeline = live.deployment.pipeline;
  task.stage = live.deployment.stage;
  task.definition = live.definition;
  task.package = live.deployment.package.artifact;
  task.package_path = live.package_path;
  task.endpoint = live.deployment.endpoint;
  task.model_digest = live.deployment.model.digest;
  return task;
}

}  // namespace cd4ml::daemon
