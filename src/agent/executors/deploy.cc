// Performs deploys: replaces an environment's service by a new one, or runs the hooks that do so
// elsewhere.
#include "agent/executors/executor.h"
#include "agent/files.h"
#include "agent/service_process.h"
#include "agent/services.h"
#include "agent/workspace.h"
#include "cd4ml/base/status.h"

namespace cd4ml::agent {
namespace {

using core::Reason;

core::Outcome Succeeded() {
  core::Outcome outcome;
  outcome.state = core::AttemptState::kSucceeded;
  return outcome;
}

core::Outcome DeployByHooks(Attempt& attempt, const core::PipelineSpec& pipeline,
                            const core::StageSpec& stage) {
  Workspace workspace(attempt, pipeline, stage);
  const bool is_known = attempt.HasStarted(attempt.ProcessId("apply"));
  if (absl::Status ready = is_known ? workspace.TakeUp() : workspace.Build(); !ready.ok()) {
    return Failed(Reason::kInfra, ready);
  }
  if (absl::Status there = EnterRuntime(attempt, pipeline, stage, is_known); !there.ok()) {
    return FailedWithoutRuntime(there);
  }
  core::Outcome outcome =
      RunCommand(attempt, stage, stage.hooks.apply, "apply", workspace.dir(), workspace.Env());
  if (attempt.quitting()) return outcome;
  if (outcome.state == core::AttemptState::kSucceeded) {
    const absl::Status there = workspace.CheckOutputs();
    const auto outputs = there.ok() ? workspace.Capture(/*succeeded=*/true) : there;
    if (outputs.ok()) {
      outcome.outputs = *outputs;
      outcome.service = core::StartedService{attempt.task().target, ""};
      return outcome;
    }
    outcome = Failed(there.ok() ? Reason::kInfra : Reason::kOutputMissing, outputs.status());
  }
  if (stage.hooks.rollback.empty()) return outcome;
  // Also after a cancellation: what was applied by half is worse than either.
  attempt.Say("apply did not succeed; running rollback");
  const core::Outcome rollback =
      RunRegardless(attempt, stage, stage.hooks.rollback, "rollback", workspace.dir(), workspace.Env());
  outcome.message += rollback.state == core::AttemptState::kSucceeded
                         ? "; rolled back"
                         : "; rollback failed too: " + rollback.message;
  return outcome;
}

// A deploy that replaces one service by another and puts the old one back when the new one is not
// ready.
class Replacement {
 public:
  Replacement(Attempt& attempt, const core::PipelineSpec& pipeline, const core::StageSpec& stage)
      : attempt_(attempt), pipeline_(pipeline), stage_(stage), tools_(attempt.tools()), services_(tools_.services) {}

  core::Outcome Perform() {
    const Task& task = attempt_.task();
    services_.AwaitTurn(EnvironmentKey(task), attempt_.quit());
    if (attempt_.quitting()) return {};
    old_ = services_.Other(EnvironmentKey(task), task.deployment);
    if (absl::Status named = Name(); !named.ok()) return Failed(Reason::kInfra, named);
    // The bytes first: as long as they are on their way, the old one serves.
    if (absl::Status placed = services_.Place(next_, attempt_.halt()); !placed.ok()) {
      return Failed(Reason::kInfra, placed);
    }
    if (absl::Status there = EnterRuntime(attempt_, pipeline_, stage_, /*is_known=*/false); !there.ok()) {
      services_.Retire(next_.deployment);
      return FailedWithoutRuntime(there);
    }
    attempt_.Began();
    if (attempt_.halted()) return GiveUp(absl::CancelledError("cancelled"));
    if (old_) services_.Stop(old_->deployment, attempt_.quit());
    if (attempt_.quitting()) return {};
    absl::Status up = services_.Start(next_, attempt_.halt());
    if (!up.ok()) return GiveUp(up);
    attempt_.Say("service " + next_.deployment + " started at " + next_.endpoint);
    up = AwaitReady(tools_, Services::ProcessOf(next_.deployment), *stage_.service, next_.endpoint,
                    attempt_.halt());
    if (!up.ok()) return GiveUp(up);
    attempt_.Say("service is ready");
    core::Outcome outcome = Succeeded();
    outcome.service = core::StartedService{next_.endpoint, tools_.config.name};
    return outcome;
  }

 private:
  // Says what the new service is and where it listens.
  absl::Status Name() {
    const Task& task = attempt_.task();
    if (std::optional<ServiceTask> known = services_.Find(task.deployment)) {
      next_ = *std::move(known);
      return absl::OkStatus();
    }
    const auto package = task.inputs.find(stage_.package);
    if (package == task.inputs.end()) {
      return absl::InternalError("the daemon named no artifact for \"" + stage_.package + "\"");
    }
    next_ = {task.deployment,      task.environment, task.pipeline,
             stage_.name,          task.definition,  package->second.artifact,
             package->second.path, task.target,      task.model_digest};
    if (!next_.endpoint.empty()) {
      if (PortOf(next_.endpoint) == 0) {
        return absl::InvalidArgumentError(
            "the target " + next_.endpoint + " of environment \"" + task.environment +
            "\" names no port; write one, as in http://127.0.0.1:8080");
      }
    } else if (old_ && !old_->endpoint.empty()) {
      next_.endpoint = old_->endpoint;
    } else {
      next_.endpoint =
          "http://" + tools_.config.service_host + ":" + std::to_string(attempt_.port());
    }
    return absl::OkStatus();
  }

  // Puts the old service back and says why.
  core::Outcome GiveUp(const absl::Status& why) {
    if (attempt_.quitting()) return {};
    const std::stop_token& quit = attempt_.quit();
    const std::vector<std::string> lines = LastLines(services_.PathsOf(next_.deployment).log(), 5);
    services_.Stop(next_.deployment, quit);
    services_.Retire(next_.deployment);
    for (const std::string& line : lines) attempt_.Say("service: " + line);
    std::string message = "service of \"" + stage_.name + "\" " + Message(why);
    if (!lines.empty()) message += "; its last line: " + lines.back();
    message += PutBack();
    attempt_.Say(message);
    return Failed(attempt_.cancelled() ? Reason::kCancelled : Reason::kNotReady, message);
  }

  std::string PutBack() {
    if (!old_) return "; nothing was live before";
    absl::Status back = services_.Place(*old_, attempt_.quit());
    if (back.ok()) back = services_.Start(*old_, attempt_.quit());
    const absl::StatusOr<core::StageSpec> stage = services_.StageOf(*old_, attempt_.quit());
    if (back.ok()) back = stage.status();
    if (back.ok()) {
      const std::string process = Services::ProcessOf(old_->deployment);
      back = AwaitReady(tools_, process, *stage->service, old_->endpoint, attempt_.quit());
    }
    return back.ok() ? "; " + old_->deployment + " was put back"
                     : "; " + old_->deployment + " could not be put back: it " + Message(back);
  }

  Attempt& attempt_;
  const core::PipelineSpec& pipeline_;
  const core::StageSpec& stage_;
  const Tools& tools_;
  Services& services_;
  std::optional<ServiceTask> old_;
  ServiceTask next_;
};

}  // namespace

core::Outcome PerformDeploy(Attempt& attempt, const core::PipelineSpec& pipeline,
                            const core::StageSpec& stage) {
  if (stage.service) return Replacement(attempt, pipeline, stage).Perform();
  if (!stage.hooks.apply.empty()) return DeployByHooks(attempt, pipeline, stage);
  return Failed(Reason::kNotAvailable,
                "a deploy needs a service or an apply hook; another way is not available");
}

}  // namespace cd4ml::agent
