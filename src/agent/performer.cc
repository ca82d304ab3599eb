// One attempt, from its task to its outcome.
#include "agent/performer.h"

#include "agent/codec.h"
#include "agent/crew.h"
#include "agent/definitions.h"
#include "agent/executors/executor.h"
#include "agent/files.h"
#include "agent/gpus.h"
#include "agent/reads.h"
#include "cd4ml/base/log.h"
#include "cd4ml/base/status.h"

namespace cd4ml::agent {
namespace {

using core::Reason;
using core::StageKind;

core::Outcome Execute(Attempt& attempt, const core::PipelineSpec& pipeline,
                      const core::StageSpec& stage) {
  switch (stage.kind) {
    case StageKind::kContractGate:
      return PerformContractGate(attempt, pipeline, stage);
    case StageKind::kDeploy:
      return PerformDeploy(attempt, pipeline, stage);
    case StageKind::kMonitor:
      return Failed(Reason::kNotAvailable,
                    "a monitor is armed by the daemon and not performed by an agent");
    case StageKind::kDataGate:
    case StageKind::kTrain:
    case StageKind::kModelGate:
    case StageKind::kPackage:
    case StageKind::kCommand:
      return PerformCommand(attempt, pipeline, stage);
  }
  return Failed(Reason::kNotAvailable, "this kind of stage is not available");
}

}  // namespace

absl::Status Save(const AttemptRecord& record, const AttemptPaths& paths) {
  Value::List gpus;
  for (const std::string& gpu : record.gpus) gpus.emplace_back(gpu);
  return WriteText(paths.record(), ToJson(Value::Map{{"task", ToValue(record.task)},
                                                     {"port", record.port},
                                                     {"gpus", std::move(gpus)},
                                                     {"store", record.store}}));
}

absl::StatusOr<AttemptRecord> LoadRecord(const AttemptPaths& paths) {
  CD4ML_ASSIGN_OR_RETURN(const Value value, ReadJson(paths.record()));
  const Value* task = value.Find("task");
  const Value* port = value.Find("port");
  if (task == nullptr || port == nullptr || !port->is_number()) {
    return absl::InvalidArgumentError(paths.record() + " is no record of an attempt");
  }
  AttemptRecord record;
  CD4ML_ASSIGN_OR_RETURN(record.task, TaskFromValue(*task));
  record.port = static_cast<int>(port->number());
  if (const Value* gpus = value.Find("gpus"); gpus != nullptr && gpus->is_list()) {
    for (const Value& gpu : gpus->list()) record.gpus.push_back(ToText(gpu));
  }
  if (const Value* store = value.Find("store")) record.store = ToText(*store);
  return record;
}

Performer::Performer(const Tools& tools, AttemptRecord record, bool is_new, AttemptPaths paths,
                     Listener listener)
    : record_(std::move(record)),
      is_new_(is_new),
      listener_(std::move(listener)),
      attempt_(tools, record_.task, std::move(paths), quit_.get_token(), listener_.on_began),
      done_(tools.crew.Start([this] { Run(); })) {}

Performer::~Performer() {
  quit_.request_stop();
  done_.wait();
}

void Performer::Run() {
  attempt_.Lap(attempt_.tools().steps.begin);
  core::Outcome outcome = Perform();
  if (attempt_.quitting()) return;
  const AttemptPaths& paths = attempt_.paths();
  const Tools& tools = attempt_.tools();
  if (attempt_.cancelled()) {
    attempt_.EndProcesses();
    if (attempt_.quitting()) return;
    if (outcome.state != core::AttemptState::kCancelled)
      outcome = Failed(Reason::kCancelled, "cancelled");
  }
  Value::Map facts = tools.config.facts.is_map() ? tools.config.facts.map() : Value::Map();
  facts["agent"] = tools.config.name;
  facts["cd4ml"] = tools.config.build;
  facts["runtime"] = attempt_.runtime().facts;
  if (Value::List reads = KeptUndeclaredReads(paths.room()); !reads.empty()) facts["undeclared_reads"] = std::move(reads);
  outcome.environment = std::move(facts);
  outcome.log_bytes = FileSize(paths.log());
  if (absl::Status saved = WriteText(paths.outcome(), ToJson(ToValue(outcome))); !saved.ok()) {
    // It is told from memory. Should the agent be restarted before the answer, the next one finds it
    // again in what its processes left, which therefore stays.
    LogError("an outcome could not be written down",
             {{"attempt", core::ToText(record_.task.attempt)}, {"why", Message(saved)}});
  } else {
    is_saved_ = true;
  }
  attempt_.Lap(tools.steps.conclude);
  tools.gpus.Release(record_.gpus);
  listener_.on_ended(std::move(outcome));
  if (!is_saved_) return;
  attempt_.ForgetProcesses();
  tools.sweeper.Retire(paths.room(), kRoomMould);
}

void Performer::Forget() {
  done_.wait();
  if (!is_saved_) attempt_.ForgetProcesses();
}

absl::Status Performer::Prepare() {
  if (!is_new_) {
    attempt_.FindProcesses();
  } else {
    CD4ML_ASSIGN_OR_RETURN(record_.port, attempt_.tools().ports.free_port());
    CD4ML_ASSIGN_OR_RETURN(
        record_.gpus, attempt_.tools().gpus.Take(record_.task.resources.gpus, attempt_.halt()));
    const std::string& dir = attempt_.paths().dir;
    if (!attempt_.tools().sweeper.Reuse(kAttemptMould, dir)) CD4ML_RETURN_IF_ERROR(MakeDirs(dir));
    CD4ML_RETURN_IF_ERROR(Save(record_, attempt_.paths()));
  }
  attempt_.set_port(record_.port);
  attempt_.set_gpus(record_.gpus);
  return absl::OkStatus();
}

std::string DiskTrouble(const AgentConfig& config) {
  const int64_t free = FreeBytes(config.state_dir);
  if (free >= config.disk_reserve) return "";
  return "the disk of agent \"" + config.name + "\" is full: " + FormatSize(free) + " are free in " +
         config.state_dir + ", " + FormatSize(config.disk_reserve) +
         " are needed to begin; free some space there";
}

core::Outcome Performer::Perform() {
  const Tools& tools = attempt_.tools();
  if (is_new_) {
    if (const std::string trouble = DiskTrouble(tools.config); !trouble.empty()) return Failed(Reason::kInfra, trouble);
  }
  if (absl::Status ready = Prepare(); !ready.ok()) return Failed(Reason::kInfra, ready);
  const auto pipeline = tools.definitions.Get(record_.task.definition, attempt_.halt());
  if (!pipeline.ok()) return Failed(Reason::kInfra, pipeline.status());
  const std::string& name = record_.task.attempt.stage;
  const core::StageSpec* stage = (*pipeline)->FindStage(name);
  if (stage == nullptr) {
    return Failed(Reason::kInfra, "the run's definition has no stage \"" + name + "\"");
  }
  return Execute(attempt_, **pipeline, *stage);
}

}  // namespace cd4ml::agent
