// Does what the session decides, as the agent and its keeper would, in simulated time.
#include "tests/sim/agent_host.h"

#include <algorithm>
#include <utility>

namespace cd4ml::sim {

using core::AttemptId;
using core::AttemptState;
using Answered = agent::FinishAnswered::Answer;

AgentHost::AgentHost(Parts parts, size_t index, Machine machine)
    : Program(parts.room),
      network_(parts.network),
      daemon_(parts.daemon),
      oracle_(parts.oracle),
      index_(index),
      machine_(std::move(machine)),
      name_(machine_.name) {}

// --- life ---

void AgentHost::Boot() {
  if (up() || silent_) return;
  Rise();
  room_.Say(name_ + " boots");
  session_ = agent::Session();
  alone_since_ = room_.kernel.now();
  held_.clear();
  claims_.clear();
  desired_services_.reset();
  ++generation_;
  for (const auto& [attempt, record] : disk_) {
    Held& held = held_[attempt];
    held.task = record.task;
    held.ended = record.outcome.has_value();
    ClaimEnvironment(record.task);
    session_.Found(attempt, held.ended);
    if (!held.ended) Perform(attempt);
  }
  Handle(agent::TimePassed{});
  for (auto& [attempt, held] : held_) {
    if (held.ended) PumpLog(attempt);
  }
}

void AgentHost::Kill(int64_t down_ms) {
  if (!up()) return;
  room_.Say(name_ + " is killed");
  Fall();
  if (stream_ != nullptr) network_.Break(stream_, true);
  room_.kernel.After(down_ms, [this] { Boot(); });
}

void AgentHost::KillKeeper() {
  room_.Say("the keeper of " + name_ + " is killed");
  for (auto& [attempt, process] : keeper_) {
    if (process.state == Process::State::kRunning) Exit(attempt, process.serial, Process::State::kLost);
  }
}

void AgentHost::CutPower(int64_t down_ms) {
  if (!up()) return;
  room_.Say(name_ + "'s power is cut");
  KillKeeper();
  if (wipe_) {
    room_.Say(name_ + " loses its disk");
    disk_.clear();
    keeper_.clear();
    services_.clear();
    ++instance_;
    wipe_ = false;
  }
  Kill(down_ms);
}

void AgentHost::Wipe() { wipe_ = true; }

void AgentHost::GoSilent() {
  silent_ = true;
  CutPower(0);
  disk_.clear();
  keeper_.clear();
  services_.clear();
}

void AgentHost::BreakStream() {
  if (stream_ != nullptr) network_.Break(stream_, false);
}

std::vector<AttemptId> AgentHost::Processes() const {
  std::vector<AttemptId> running;
  for (const auto& [attempt, process] : keeper_) {
    if (process.state == Process::State::kRunning) running.push_back(attempt);
  }
  return running;
}

std::set<std::string> AgentHost::Services() const {
  std::set<std::string> kept;
  for (const auto& [deployment, environment] : services_) kept.insert(deployment);
  return kept;
}

// --- the session ---

void AgentHost::Handle(const agent::SessionEvent& event) {
  const std::vector<agent::SessionAction> actions =
      session_.Handle(event, Duration(room_.kernel.now()), room_.random.Unit());
  for (const agent::SessionAction& action : actions) {
    std::visit([this](const auto& one) { Do(one); }, action);
  }
  WatchTime();
}

void AgentHost::WatchTime() {
  const std::optional<Duration> deadline = session_.NextDeadline();
  const int64_t timer = ++timer_;
  if (!deadline) return;
  Later(std::max<int64_t>(1, deadline->count() - room_.kernel.now()), [this, timer] {
    if (timer == timer_) Handle(agent::TimePassed{});
  });
}

void AgentHost::Do(const agent::OpenSession&) {
  const int64_t generation = ++generation_;
  if (room_.plant == Plant::kGivesUpAlone) GiveUpAlone();
  stream_ = std::make_shared<Stream>();
  stream_->host = index_;
  stream_->on_broken = [this, life = life(), generation] {
    Deliver(life, [this, generation] {
      if (generation != generation_) return;
      room_.Say(name_ + " has lost its session");
      if (session_.is_open()) alone_since_ = room_.kernel.now();
      Handle(agent::SessionEnded{stream_->refused});
    });
  };
  const auto open = [this, stream = stream_, generation] {
    network_.Up(stream, [this, stream, generation] { OpenAtDaemon(stream, generation); });
  };
  room_.plant == Plant::kSlowReturn ? Later(room_.random.Between(0, 60'000), open) : open();
}

// The bug that agents end what they hold when nobody has asked them for a while.
void AgentHost::GiveUpAlone() {
  if (room_.kernel.now() - alone_since_ < 30'000) return;
  std::vector<AttemptId> all;
  for (const auto& [attempt, held] : held_) all.push_back(attempt);
  for (const AttemptId& attempt : all) Cancel(attempt);
}

// Of this session only.
void AgentHost::FromDaemon(const std::shared_ptr<Stream>& stream, int64_t generation,
                           std::function<void()> work) {
  if (daemon_.is_silent()) return;
  network_.Down(stream, [this, life = life(), generation, work = std::move(work)] {
    Deliver(life, [this, generation, work] {
      if (generation == generation_) work();
    });
  });
}

void AgentHost::OpenAtDaemon(const std::shared_ptr<Stream>& stream, int64_t generation) {
  AgentHello hello;
  hello.name = name_;
  const bool doubled = room_.plant == Plant::kTwinAdmitted;
  hello.instance = (doubled ? name_ : machine_.state) + std::to_string(instance_);
  hello.labels = machine_.labels;
  hello.slots = machine_.slots;
  hello.resources = machine_.resources;
  const bool reached = daemon_.Post([this, stream, generation, hello](daemon::Orchestrator& core) {
    // What comes before the grant waits for it.
    const auto early = std::make_shared<std::optional<DesiredState>>(DesiredState());
    const auto push = [this, stream, generation](const DesiredState& desired) {
      FromDaemon(stream, generation, [this, desired] {
        room_.Say(name_ + " should hold " + std::to_string(desired.leases.size()));
        Handle(agent::DesiredArrived{desired});
      });
    };
    core.OpenSession(
        hello,
        [early, push](const DesiredState& desired) {
          if (!early->has_value()) return push(desired);
          **early = desired;
        },
        [this, stream](const absl::Status&) {
          if (!daemon_.is_silent()) network_.Break(stream, true);
        },
        [this, stream, generation, early, push](const absl::StatusOr<SessionGrant>& grant) {
          stream->refused = absl::IsAlreadyExists(grant.status());
          if (!stream->refused) daemon_.Heard(name_);
          if (!grant.ok()) return network_.Break(stream, true);
          FromDaemon(stream, generation, [this, grant = *grant] {
            room_.Say(name_ + " has session " + grant.session);
            services_revision_ = 0;
            for (auto& [deploy, claim] : claims_) {
              if (claim.until) claim.until = 0;
            }
            Handle(agent::SessionOpened{grant.session, grant.heartbeat});
            std::vector<AttemptId> waiting;
            for (const auto& [attempt, held] : held_) {
              if (held.ended && !held.log_delivered) waiting.push_back(attempt);
            }
            for (const AttemptId& attempt : waiting) PumpLog(attempt);
          });
          if (const auto desired = std::exchange(*early, std::nullopt); desired->revision > 0) push(*desired);
        });
  });
  if (!reached) network_.Break(stream, true);
}

void AgentHost::Do(const agent::SendReport& action) {
  AgentReport report{action.held, {}, false, ""};
  for (HeldLease& lease : report.held) {
    const auto held = held_.find(lease.attempt);
    if (held != held_.end()) lease.resources = held->second.task.resources;
  }
  const auto stream = stream_;
  const int64_t generation = generation_;
  network_.Up(stream, [this, stream, generation, report, session = session_.session()] {
    const bool reached = daemon_.Post([=, this](daemon::Orchestrator& core) {
      core.Report(session, report, [=, this](const absl::Status& taken) {
        if (daemon_.is_silent()) return;
        if (!taken.ok()) return network_.Break(stream, true);
        daemon_.Heard(name_);
        FromDaemon(stream, generation, [this] { Handle(agent::ReportAnswered{true}); });
      });
    });
    if (!reached) network_.Break(stream, true);
  });
}

void AgentHost::Do(const agent::SendFinish& action) {
  const auto record = disk_.find(action.attempt);
  if (record == disk_.end() || !record->second.outcome) return;
  const int64_t generation = generation_;
  const auto ask = [this, session = session_.session(), attempt = action.attempt,
                    outcome = *record->second.outcome](const Reply& reply) {
    std::string by = session;
    AttemptId claimed = attempt;
    if (room_.plant == Plant::kNoFence) {
      // The report is passed off as one of the latest attempt.
      const core::Run* run = oracle_.FindRun(attempt.run);
      if (run != nullptr) claimed.number = run->FindStage(attempt.stage)->latest()->number;
    }
    if (room_.plant == Plant::kDroppedResult && attempt.stage == "s1") return reply({});
    const bool reached = daemon_.Post([=, this](daemon::Orchestrator& core) {
      core.Finish(by, claimed, outcome, [this, reply](const absl::StatusOr<int64_t>& revision) {
        if (daemon_.is_silent()) return;
        if (!absl::IsNotFound(revision.status())) daemon_.Heard(name_);  // Also what is stale or not recorded.
        reply({revision.status(), revision.value_or(0)});
      });
    });
    if (!reached) reply({absl::UnavailableError("no daemon")});
  };
  network_.Call(index_, ask, [this, life = life(), generation, attempt = action.attempt](const Answer& answer) {
    Deliver(life, [this, generation, attempt, answer] {
      if (generation != generation_) return;
      const Answered how = answer.status.ok()                   ? Answered::kAccepted
                           : absl::IsAborted(answer.status)     ? Answered::kStale
                           : absl::IsNotFound(answer.status)    ? Answered::kUnknown
                                                                : Answered::kNoAnswer;
      room_.Say(name_ + " hears of " + core::ToText(attempt) + ": " +
                std::string(absl::StatusCodeToString(answer.status.code())));
      Handle(agent::FinishAnswered{attempt, how, answer.value});
    });
  });
}

void AgentHost::Do(const agent::ForgetAttempt& action) {
  held_.erase(action.attempt);
  disk_.erase(action.attempt);
  ReleaseEnvironment(action.attempt, action.revision);
}

// --- services ---

void AgentHost::ClaimEnvironment(const Task& task) {
  if (!task.deployment.empty()) claims_[task.attempt] = {task.pipeline + "/" + task.environment, std::nullopt};
}

// The claim ends with the desired state that knows what has become of the deploy; it may be here already.
void AgentHost::ReleaseEnvironment(const AttemptId& deploy, int64_t revision) {
  const auto claim = claims_.find(deploy);
  if (claim == claims_.end()) return;
  claim->second.until = revision;
  if (services_revision_ == 0 || services_revision_ < revision) return;
  claims_.erase(claim);
  ReconcileServices();
}

void AgentHost::Do(const agent::ReconcileServices& action) {
  services_revision_ = action.revision;
  std::erase_if(claims_, [&](const auto& claim) { return claim.second.until && action.revision >= *claim.second.until; });
  desired_services_ = action.services;
  ReconcileServices();
}

// Makes the services what they should be, but for environments where a deploy is at work.
void AgentHost::ReconcileServices() {
  const auto is_claimed = [this](const std::string& environment) {
    return std::any_of(claims_.begin(), claims_.end(),
                       [&](const auto& claim) { return claim.second.environment == environment; });
  };
  std::set<std::string> wanted;
  for (const ServiceTask& service : *desired_services_) {
    wanted.insert(service.deployment);
    const std::string environment = service.pipeline + "/" + service.environment;
    if (!is_claimed(environment)) services_[service.deployment] = environment;
  }
  if (room_.plant == Plant::kOldServiceStays) return;
  std::erase_if(services_, [&](const auto& service) {
    return !wanted.contains(service.first) && !is_claimed(service.second);
  });
}

// --- performing ---

void AgentHost::Do(const agent::StartAttempt& action) {
  held_[action.task.attempt].task = action.task;
  ClaimEnvironment(action.task);
  Later(room_.random.Between(1, 50), [this, task = action.task] {
    disk_[task.attempt].task = task;
    Perform(task.attempt);
  });
}

void AgentHost::Perform(const AttemptId& attempt) {
  Later(room_.random.Between(1, 200), [this, attempt] {
    const auto held = held_.find(attempt);
    if (held == held_.end() || held->second.ended) return;
    auto process = keeper_.find(attempt);
    if (process == keeper_.end()) {
      if (held->second.cancelled) return Harvest(attempt);
      StartProcess(attempt, held->second.task);
      process = keeper_.find(attempt);
    }
    if (process->second.state != Process::State::kRunning) return Harvest(attempt);
    if (held->second.cancelled) Cancel(attempt);
    Handle(agent::AttemptBegan{attempt});
  });
}

// How a command is going to end, and when.
core::Outcome AgentHost::Plan(const AttemptId& attempt, const Task& task, int64_t& lasts) {
  core::Outcome outcome;
  outcome.environment = Oracle::Signature(attempt);
  outcome.state = AttemptState::kSucceeded;
  lasts = room_.random.Percent(70) ? room_.random.Between(1, 2'000) : room_.random.Between(1, 20'000);
  // Some go on for longer than their agent may be alone.
  if (room_.faults.outage && room_.random.Percent(40)) lasts = room_.random.Between(20'000, 200'000);
  const core::Run* run = oracle_.FindRun(attempt.run);
  const core::StageKind kind =
      run == nullptr ? core::StageKind::kCommand : run->FindStage(attempt.stage)->plan.kind;
  if (room_.faults.command_hangs && room_.random.Percent(10)) lasts = 1'000'000'000;
  if (task.timeout.count() > 0 && lasts > task.timeout.count()) {
    lasts = task.timeout.count();
    outcome.state = AttemptState::kFailed;
    outcome.reason = core::Reason::kTimeout;
    outcome.message = "took too long";
  } else if (room_.faults.command_fails && room_.random.Percent(25)) {
    outcome.state = AttemptState::kFailed;
    outcome.reason = room_.random.Percent(50) ? core::Reason::kExitCode : core::Reason::kInfra;
    outcome.message = "failed";
  } else if (kind == core::StageKind::kDeploy) {
    outcome.service = core::StartedService{"http://127.0.0.1:4000", name_};
  } else if (core::IsGate(kind)) {
    outcome.verdict = core::Verdict();
    outcome.verdict->outcome = room_.random.Percent(90) ? core::VerdictOutcome::kPass
                                                        : core::VerdictOutcome::kFail;
  } else if (kind == core::StageKind::kTrain) {
    core::ProducedOutput output;
    output.name = "model";
    output.type = core::OutputType::kModel;
    output.path = "model.bin";
    output.artifact.digest = Sha256(core::ToText(attempt));
    outcome.outputs.push_back(std::move(output));
  }
  return outcome;
}

void AgentHost::StartProcess(const AttemptId& attempt, const Task& task) {
  Process& process = keeper_[attempt];
  int64_t lasts = 0;
  process.outcome = Plan(attempt, task, lasts);
  process.serial = ++processes_;
  process.deployment = task.deployment;
  process.environment = task.pipeline + "/" + task.environment;
  room_.Say(name_ + " starts " + core::ToText(attempt));
  oracle_.Started(attempt);
  CheckRoom(attempt);
  room_.kernel.After(lasts, [this, attempt, serial = process.serial] {
    Exit(attempt, serial, Process::State::kExited);
  });
}

// What the daemon has given up is not counted: it cannot know when that ends.
void AgentHost::CheckRoom(const AttemptId& attempt) const {
  int running = 0;
  core::Resources taken;
  for (const AttemptId& other : Processes()) {
    if (!oracle_.IsLive(other)) continue;
    ++running;
    taken += oracle_.ResourcesOf(other);
  }
  if (running > machine_.slots) {
    oracle_.Fail(name_ + " performs " + std::to_string(running) + " attempts with " +
                 std::to_string(machine_.slots) + " slots, the last is " + core::ToText(attempt));
  }
  if (const std::string shortage = core::Shortage(taken, machine_.resources); !shortage.empty()) {
    oracle_.Fail(name_ + " performs more than it has room for, the last is " + core::ToText(attempt) + ": " + shortage);
  }
}

// The keeper's doing: it needs no agent.
void AgentHost::Exit(const AttemptId& attempt, int64_t serial, Process::State state) {
  const auto found = keeper_.find(attempt);
  if (found == keeper_.end() || found->second.serial != serial) return;
  if (found->second.state != Process::State::kRunning) return;
  found->second.state = state;
  const Process& process = found->second;
  const bool deploys = state == Process::State::kExited && !process.dying && !process.deployment.empty() &&
                       process.outcome.state == AttemptState::kSucceeded;
  if (deploys) services_[process.deployment] = process.environment;
  room_.Say("a process of " + core::ToText(attempt) + " is gone");
  if (!disk_.contains(attempt)) keeper_.erase(found);  // Nobody will ask for it any more.
  Deliver(life(), [this, attempt] {
    if (held_.contains(attempt)) Harvest(attempt);
  });
}

void AgentHost::Cancel(const AttemptId& attempt) {
  const auto held = held_.find(attempt);
  if (held == held_.end() || held->second.ended) return;
  held->second.cancelled = true;
  const auto process = keeper_.find(attempt);
  if (process == keeper_.end() || std::exchange(process->second.dying, true)) return;
  if (room_.plant == Plant::kCancelledTooEarly) Harvest(attempt);
  room_.kernel.After(room_.random.Between(1, 3'000), [this, attempt, serial = process->second.serial] {
    Exit(attempt, serial, Process::State::kExited);
  });
}

void AgentHost::Harvest(const AttemptId& attempt) {
  Held& held = held_[attempt];
  if (held.ended) return;
  held.ended = true;
  const auto process = keeper_.find(attempt);
  core::Outcome outcome;
  if (process != keeper_.end()) outcome = process->second.outcome;
  if (process != keeper_.end() && process->second.state == Process::State::kLost) {
    outcome = {};
    outcome.reason = core::Reason::kInfra;
    outcome.message = "its keeper was restarted";
  }
  if (held.cancelled) {
    outcome = {};
    outcome.state = AttemptState::kCancelled;
    outcome.reason = core::Reason::kCancelled;
    outcome.message = "cancelled";
  }
  outcome.environment = Oracle::Signature(attempt);
  room_.Say(core::ToText(attempt) + " is " + std::string(core::ToText(outcome.state)));
  Later(room_.random.Between(1, 20), [this, attempt, outcome] {
    const auto record = disk_.find(attempt);
    if (record != disk_.end()) record->second.outcome = outcome;
    Handle(agent::AttemptEnded{attempt});
    const auto gone = keeper_.find(attempt);
    if (gone != keeper_.end() && gone->second.state != Process::State::kRunning) keeper_.erase(gone);
    PumpLog(attempt);
  });
}

void AgentHost::PumpLog(const AttemptId& attempt) {
  if (!session_.is_open()) return;  // The next session does it.
  const auto ask = [this, session = session_.session(), attempt](const Reply& reply) {
    const bool reached = daemon_.Post([=, this](daemon::Orchestrator& core) {
      if (!daemon_.is_silent()) reply({core.MayAppend(session, attempt)});
    });
    if (!reached) reply({absl::UnavailableError("no daemon")});
  };
  network_.Call(index_, ask, [this, life = life(), attempt](const Answer& answer) {
    Deliver(life, [this, attempt, answer] {
      const auto held = held_.find(attempt);
      if (held == held_.end() || held->second.log_delivered) return;
      if (absl::IsAborted(answer.status)) return Handle(agent::AttemptStale{attempt});
      if (!answer.status.ok()) return Later(1'000, [this, attempt] { PumpLog(attempt); });
      held->second.log_delivered = true;
      Handle(agent::LogDelivered{attempt});
    });
  });
}

}  // namespace cd4ml::sim
