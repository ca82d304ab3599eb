// What is live in an environment, with everything that later stages and agents need to know of it.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "cd4ml/core/deployment.h"
#include "cd4ml/core/run.h"
#include "cd4ml/ports/agent_api.h"

namespace cd4ml::daemon {

// A live deployment and what its run knows about it.
struct LiveDeployment {
  core::Deployment deployment;
  int64_t number = 0;                         // Of the run that made it.
  Digest definition;                          // Of the run that made it.
  std::string package_path;                   // Where the package's producer wrote it.
  std::optional<TaskBaseline> train_data;     // Profile of the data its model was trained on.
  std::map<std::string, TaskBaseline> model_gates;   // What its run's model gates measured, by stage.
};

// The live deployments by EnvironmentKey.
using LiveMap = std::map<std::string, LiveDeployment>;

// Environments belong to a pipeline: two pipelines may both have a "production".
std::string EnvironmentKey(const std::string& pipeline, const std::string& environment);

// Returns what the stage is compared with or replaces: what is live in its environment, or in that of the run's last
// deploy; null when nothing is.
const LiveDeployment* FindChampion(const core::Run& run, const core::StageRun& stage, const LiveMap& live);

LiveDeployment DescribeDeployment(const core::Run& run, const core::Deployment& deployment);

// Tells a task what is live where the stage's run deploys, and what that was judged by.
void AddChampion(const core::Run& run, const core::StageRun& stage, const LiveMap& live, Task& task);

// Composes what an agent needs for one attempt. REQUIRES: the stage has a granted attempt.
Task MakeTask(const core::Run& run, const core::StageRun& stage, const LiveMap& live);

ServiceTask MakeServiceTask(const LiveDeployment& live);

}  // namespace cd4ml::daemon
