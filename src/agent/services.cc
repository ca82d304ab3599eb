// Keeps services as they should be.
#include "agent/services.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "agent/attempt.h"
#include "agent/codec.h"
#include "agent/definitions.h"
#include "agent/exits.h"
#include "agent/files.h"
#include "agent/gpus.h"
#include "agent/runtimes.h"
#include "agent/service_process.h"
#include "agent/sweeper.h"
#include "agent/workspace.h"
#include "cd4ml/base/log.h"
#include "cd4ml/base/status.h"
#include "cd4ml/core/runtime.h"

namespace cd4ml::agent {
namespace {

constexpr Duration kLook{2'000};  // How often services are looked at when nothing changes.
constexpr const char* kProcess = "service.";  // Begins the ids of their processes.
constexpr int64_t kLogMax = int64_t{64} << 20;

bool Runs(const absl::StatusOr<ProcessStatus>& status) {
  return status.ok() && status->state == ProcessState::kRunning;
}

}  // namespace

std::string EnvironmentKey(const std::string& pipeline, const std::string& environment) {
  return pipeline + "/" + environment;
}

std::string Services::ProcessOf(const std::string& deployment) {
  return kProcess + KeyOf(deployment);
}

bool Services::IsProcess(const std::string& id) { return id.starts_with(kProcess); }

ServicePaths Services::PathsOf(const std::string& deployment) const {
  return {tools_.config.state_dir + "/services/" + KeyOf(deployment)};
}

Services::Services(const Tools& tools, std::function<void()> on_change)
    : tools_(tools), on_change_(std::move(on_change)) {
  Load();
  thread_ = std::jthread([this](std::stop_token stop) { Run(stop); });
}

Services::~Services() = default;

void Services::Load() {
  const std::string dir = tools_.config.state_dir + "/services";
  for (const std::string& name : ListNames(dir)) {
    const ServicePaths paths{dir + "/" + name};
    absl::StatusOr<Value> value = ReadJson(paths.record());
    absl::StatusOr<ServiceTask> task = value.ok() ? ServiceFromValue(*value) : value.status();
    if (!task.ok() || KeyOf(task->deployment) != name) {
      // Written last when a service is placed: without it the folder is half done.
      tools_.sweeper.Take(paths.dir);
      continue;
    }
    Service& service = services_[task->deployment];
    service.held.deployment = task->deployment;
    service.retired = Exists(paths.retired());
    service.task = *std::move(task);
  }
  Refresh();
}

void Services::SetDesired(int64_t revision, std::vector<ServiceTask> services) {
  std::lock_guard lock(mutex_);
  revision_ = revision;
  desired_ = std::move(services);
  std::erase_if(claims_, [&](const auto& claim) {
    return claim.second.until && revision >= *claim.second.until;
  });
  Change();
}

void Services::Claim(const core::AttemptId& deploy, const std::string& environment) {
  std::lock_guard lock(mutex_);
  claims_[deploy] = {environment, std::nullopt};
}

void Services::Release(const core::AttemptId& deploy, int64_t revision) {
  std::lock_guard lock(mutex_);
  const auto found = claims_.find(deploy);
  if (found == claims_.end()) return;
  found->second.until = revision;
  // The desired state is still to come. For a deploy that was given up (0), any of this session will do: there may be
  // nothing more to say for long.
  if (revision_ == 0 || revision_ < revision) return;
  claims_.erase(found);
  Change();
}

bool Services::IsClaimed(const std::string& environment) const {
  return std::any_of(claims_.begin(), claims_.end(),
                     [&](const auto& claim) { return claim.second.environment == environment; });
}

void Services::OnSession() {
  std::lock_guard lock(mutex_);
  revision_ = 0;
  for (auto& [deploy, claim] : claims_) {
    if (claim.until) claim.until = 0;
  }
}

std::vector<HeldService> Services::Held() {
  std::lock_guard lock(mutex_);
  std::vector<HeldService> held;
  for (const auto& [deployment, service] : services_) {
    if (!service.retired) held.push_back(service.held);
  }
  return held;
}

void Services::AwaitTurn(const std::string& environment, const std::stop_token& quit) {
  std::unique_lock lock(mutex_);
  wake_.wait(lock, quit, [&] { return busy_ != environment; });
}

std::optional<ServiceTask> Services::Find(const std::string& deployment) {
  std::lock_guard lock(mutex_);
  const auto found = services_.find(deployment);
  if (found == services_.end()) return std::nullopt;
  return found->second.task;
}

std::optional<ServiceTask> Services::Other(const std::string& environment,
                                           const std::string& deployment) {
  std::lock_guard lock(mutex_);
  for (const ServiceTask& wanted : desired_.value_or(std::vector<ServiceTask>{})) {
    if (EnvironmentKey(wanted) == environment && wanted.deployment != deployment) return wanted;
  }
  for (const auto& [other, service] : services_) {
    if (EnvironmentKey(service.task) == environment && other != deployment && !service.retired)
      return service.task;
  }
  return std::nullopt;
}

absl::Status Services::Place(const ServiceTask& service, const std::stop_token& halt) {
  const ServicePaths paths = PathsOf(service.deployment);
  {
    std::lock_guard lock(mutex_);
    const auto found = services_.find(service.deployment);
    if (found != services_.end()) {
      if (found->second.retired) CD4ML_RETURN_IF_ERROR(RemoveAll(paths.retired()));
      found->second.retired = false;
      return absl::OkStatus();
    }
  }
  tools_.sweeper.Take(paths.dir);
  CD4ML_RETURN_IF_ERROR(MakeDirs(paths.dir));
  CD4ML_RETURN_IF_ERROR(
      PlacePackage(tools_, service.package, service.package_path, paths.package(), halt));
  CD4ML_RETURN_IF_ERROR(WriteText(paths.record(), ToJson(ToValue(service))));
  std::lock_guard lock(mutex_);
  services_[service.deployment] = {service, false, {service.deployment, false, 0}};
  return absl::OkStatus();
}

std::map<std::string, std::string> Services::EnvOf(const ServiceTask& service,
                                                   const core::StageSpec& stage) const {
  std::map<std::string, std::string> env = tools_.config.env;
  for (const auto& [name, value] : stage.env) env[name] = value;
  env["CD4ML_STAGE"] = service.stage;
  env["CD4ML_PORT"] = std::to_string(PortOf(service.endpoint));
  env["CD4ML_ENVIRONMENT"] = service.environment;
  env["CD4ML_TARGET"] = service.endpoint;
  env["CD4ML_DEPLOYMENT"] = service.deployment;
  env["CD4ML_MODEL_DIGEST"] = service.model_digest;
  env["CD4ML_PREDICTIONS"] = PathsOf(service.deployment).predictions();
  ShowGpus({}, tools_.config.gpus, env);  // They belong to attempts, and services outlive theirs.
  return env;
}

absl::StatusOr<core::StageSpec> Services::StageOf(const ServiceTask& service,
                                                  const std::stop_token& halt) const {
  CD4ML_ASSIGN_OR_RETURN(const auto pipeline, tools_.definitions.Get(service.definition, halt));
  const core::StageSpec* stage = pipeline->FindStage(service.stage);
  if (stage != nullptr && stage->service) return *stage;
  return absl::InternalError("the definition of " + service.deployment + " has no service");
}

absl::Status Services::Start(const ServiceTask& service, const std::stop_token& halt) {
  const std::string id = ProcessOf(service.deployment);
  const absl::StatusOr<ProcessStatus> status = tools_.ports.processes.Status(id);
  if (Runs(status)) return absl::OkStatus();
  if (status.ok()) tools_.exits.Forget(id);
  CD4ML_ASSIGN_OR_RETURN(const core::StageSpec stage, StageOf(service, halt));
  CD4ML_ASSIGN_OR_RETURN(const auto pipeline, tools_.definitions.Get(service.definition, halt));
  const ServicePaths paths = PathsOf(service.deployment);
  // Usually there since the deploy; not after a move to this host.
  const RuntimeUser user{.who = service.deployment,
                         .process = id + ".runtime",
                         .log = paths.log(),
                         .timeout = stage.timeout,
                         .halt = halt,
                         .start = [this](const ProcessSpec& process) { return tools_.ports.processes.Start(process); },
                         .say = [&](const std::string& line) { LogInfo(line, {{"deployment", service.deployment}}); }};
  CD4ML_ASSIGN_OR_RETURN(const Runtime runtime,
                         tools_.runtimes.Get(core::RuntimeOf(*pipeline, stage), pipeline->files, user));
  ProcessSpec spec;
  spec.id = id;
  spec.argv = Argv(stage.service->run);
  spec.env = EnvOf(service, stage);
  spec.dir = paths.package();
  spec.log = paths.log();
  spec.keep_alive = true;
  spec.grace = stage.grace;
  Enter(runtime, paths.dir, spec);
  return tools_.ports.processes.Start(spec);
}

void Services::Stop(const std::string& deployment, const std::stop_token& halt) {
  tools_.exits.End(ProcessOf(deployment), halt);
  const std::optional<ServiceTask> service = Find(deployment);
  if (!service) return;
  const auto pipeline = tools_.definitions.Get(service->definition, halt);
  const core::StageSpec* stage = pipeline.ok() ? (*pipeline)->FindStage(service->stage) : nullptr;
  if (stage == nullptr) return;
  const Runtime runtime = tools_.runtimes.Known(core::RuntimeOf(**pipeline, *stage), (*pipeline)->files);
  tools_.runtimes.Clear(runtime, ProcessOf(deployment));
}

void Services::Retire(const std::string& deployment) {
  (void)WriteText(PathsOf(deployment).retired(), "");
  std::lock_guard lock(mutex_);
  const auto found = services_.find(deployment);
  if (found != services_.end()) found->second.retired = true;
}

std::vector<Services::Feed> Services::Feeds() {
  std::lock_guard lock(mutex_);
  std::vector<Feed> feeds;
  for (const auto& [deployment, service] : services_) {
    feeds.push_back({deployment, PathsOf(deployment), service.retired});
  }
  return feeds;
}

void Services::Remove(const std::string& deployment) {
  std::lock_guard lock(mutex_);
  const auto found = services_.find(deployment);
  if (found == services_.end() || !found->second.retired) return;
  services_.erase(found);
  tools_.sweeper.Take(PathsOf(deployment).dir);
}

void Services::Run(std::stop_token stop) {
  std::unique_lock lock(mutex_);
  while (!stop.stop_requested()) {
    wake_.wait_for(lock, stop, kLook, [this] { return changed_; });
    changed_ = false;
    std::set<std::string> environments;
    for (const auto& [deployment, service] : services_)
      environments.insert(EnvironmentKey(service.task));
    for (const ServiceTask& wanted : desired_.value_or(std::vector<ServiceTask>{})) {
      environments.insert(EnvironmentKey(wanted));
    }
    for (const std::string& environment : environments) {
      // Without a word of the daemon nothing is started or stopped.
      if (!desired_ || IsClaimed(environment) || stop.stop_requested()) continue;
      busy_ = environment;
      lock.unlock();
      Reconcile(environment, stop);
      lock.lock();
      busy_.clear();
      wake_.notify_all();
    }
    lock.unlock();
    Refresh();
    lock.lock();
  }
}

void Services::Reconcile(const std::string& environment, const std::stop_token& stop) {
  std::optional<ServiceTask> wanted;
  std::vector<std::string> others;
  {
    std::lock_guard lock(mutex_);
    for (const ServiceTask& service : *desired_) {
      if (EnvironmentKey(service) == environment) wanted = service;
    }
    for (const auto& [deployment, service] : services_) {
      if (EnvironmentKey(service.task) != environment || service.retired) continue;
      if (!wanted || deployment != wanted->deployment) others.push_back(deployment);
    }
  }
  for (const std::string& deployment : others) {
    Stop(deployment, stop);
    if (stop.stop_requested()) return;
    Retire(deployment);
  }
  if (!wanted) return;
  absl::Status up = Place(*wanted, stop);
  if (up.ok()) up = Start(*wanted, stop);
  if (!up.ok() && !stop.stop_requested()) {
    LogWarn("a service could not be started; it is tried again",
            {{"deployment", wanted->deployment}, {"why", Message(up)}});
  }
}

void Services::Refresh() {
  bool changed = false;
  for (const Feed& feed : Feeds()) {
    if (feed.retired) continue;
    const absl::StatusOr<ProcessStatus> status =
        tools_.ports.processes.Status(ProcessOf(feed.deployment));
    HeldService held{feed.deployment, Runs(status) && status->pid != 0,
                     status.ok() ? status->restarts : 0};
    if (FileSize(feed.paths.log()) > kLogMax) {
      std::error_code error;  // The service appends, so that it goes on at the new end.
      std::filesystem::resize_file(feed.paths.log(), 0, error);
    }
    std::lock_guard lock(mutex_);
    const auto found = services_.find(feed.deployment);
    if (found == services_.end()) continue;
    changed |=
        found->second.held.running != held.running || found->second.held.restarts != held.restarts;
    found->second.held = std::move(held);
  }
  if (changed) on_change_();
}

}  // namespace cd4ml::agent
