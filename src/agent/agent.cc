// The agent's own thread: passes on what happened to the Session and does what it decides.
#include "cd4ml/agent/agent.h"

#include <algorithm>
#include <future>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "agent/attempt.h"
#include "agent/blobs.h"
#include "agent/codec.h"
#include "agent/crew.h"
#include "agent/definitions.h"
#include "agent/exits.h"
#include "agent/files.h"
#include "agent/gpus.h"
#include "agent/inbox.h"
#include "agent/log_pump.h"
#include "agent/performer.h"
#include "agent/predictions.h"
#include "agent/repos.h"
#include "agent/runtimes.h"
#include "agent/services.h"
#include "agent/session.h"
#include "agent/sweeper.h"
#include "cd4ml/base/log.h"
#include "cd4ml/base/status.h"
#include "cd4ml/base/text.h"

namespace cd4ml::agent {
namespace {

constexpr Duration kCloseMax{1'000};

using Answer = FinishAnswered::Answer;

Answer AnswerOf(const absl::Status& status) {
  if (status.ok()) return Answer::kAccepted;
  if (absl::IsAborted(status)) return Answer::kStale;
  return absl::IsNotFound(status) ? Answer::kUnknown : Answer::kNoAnswer;
}

// Only then chance plays a part, in when to come back.
bool MayEndSession(const SessionEvent& event) {
  const auto* answered = std::get_if<ReportAnswered>(&event);
  return std::holds_alternative<SessionEnded>(event) || (answered != nullptr && !answered->accepted);
}

class AgentLoop : public Agent {
 public:
  AgentLoop(AgentConfig config, AgentPorts ports, std::unique_ptr<Blobs> blobs,
            std::string instance)
      : config_(std::move(config)),
        ports_(std::move(ports)),
        instance_(std::move(instance)),
        exits_(ports_.processes),
        sweeper_(config_.state_dir + "/trash", ports_.clock.Now().ms),
        blobs_(std::move(blobs)),
        definitions_(*blobs_, ports_.parser),
        repos_(ports_.repos),
        gpus_(config_.gpus),
        tools_{config_,   ports_,   exits_, *blobs_, definitions_, services_,
               sweeper_,  repos_,   runtimes_, crew_,  gpus_,   steps_},
        runtimes_(tools_),
        services_(tools_,
                  [inbox = inbox_, this] { inbox->Post([this] { Handle(ServicesChanged{}); }); }),
        predictions_(tools_),
        logs_(
            ports_.daemon, [this](const core::AttemptId& id) { Post(LogDelivered{id}); },
            [this](const core::AttemptId& id) { Post(AttemptStale{id}); }) {}

  ~AgentLoop() override { inbox_->Close(); }

  // Finds the attempts of an earlier agent.
  void Load();
  void Run(std::stop_token stop) override;
  void Drain() override { Post(DrainAsked{}); }

 private:
  struct Held {
    Task task;
    std::string store;  // Of the daemon that gave the task.
    std::unique_ptr<Performer> performer;  // Null once there is an outcome from disk.
    std::optional<core::Outcome> outcome;
    int64_t ended_ticks = 0;
  };

  // What may come from other threads; `Handle` is for the agent's own.
  void Post(SessionEvent event) {
    inbox_->Post([this, event = std::move(event)] { Handle(event); });
  }
  void Handle(const SessionEvent& event);

  void Do(const OpenSession&);
  void Do(const StartAttempt& action);
  void Do(const StopAttempt& action) { Cancel(action.attempt); }
  void Do(const DropAttempt& action) { Cancel(action.attempt); }
  void Do(const SendFinish& action);
  void Do(const ForgetAttempt& action);
  void Do(const SendReport& action);
  void Do(const ReconcileServices& action) {
    services_.SetDesired(action.revision, action.services);
  }

  void LoadOne(const std::string& key);
  void EndOrphans();
  void Perform(AttemptRecord record, bool is_new);
  void Ended(const core::AttemptId& attempt, core::Outcome outcome, int64_t at);
  void Cancel(const core::AttemptId& attempt);
  void Granted(const SessionGrant& grant);
  bool DropForeign(const std::string& store);
  void NotGranted(const absl::Status& why);
  void CloseSession();
  AttemptPaths PathsOf(const core::AttemptId& attempt) const {
    return {config_.state_dir + "/attempts/" + KeyOf(attempt)};
  }

  const AgentConfig config_;
  const AgentPorts ports_;
  const std::string instance_;
  std::shared_ptr<Inbox> inbox_ = std::make_shared<Inbox>();
  Session session_;
  int64_t generation_ = 0;  // Of sessions: what an older one says is not listened to.
  std::string store_;       // The daemon's, in this session.
  std::string no_session_;  // Why there is none, as it was told.

  Exits exits_;
  Sweeper sweeper_;
  std::unique_ptr<Blobs> blobs_;
  Definitions definitions_;
  Repos repos_;
  Gpus gpus_;
  Steps steps_;
  const Tools tools_;
  Runtimes runtimes_;
  Services services_;
  Predictions predictions_;
  LogPump logs_;
  Crew crew_;
  std::map<core::AttemptId, Held> held_;  // Last, so that performers end before what they use.
};

void AgentLoop::Load() {
  for (const std::string& key : ListNames(config_.state_dir + "/attempts")) LoadOne(key);
  EndOrphans();
}

// Ends processes of attempts that nobody will ask for any more, and drops records of those whose
// outcome is on disk: the earlier agent died before it could.
void AgentLoop::EndOrphans() {
  std::vector<std::string> wanted;
  for (const auto& [attempt, held] : held_) {
    if (held.performer != nullptr) wanted.push_back(KeyOf(attempt));
  }
  const absl::StatusOr<std::vector<ProcessStatus>> processes = ports_.processes.List();
  for (const ProcessStatus& process : processes.value_or(std::vector<ProcessStatus>())) {
    if (Services::IsProcess(process.id)) continue;
    const auto is_its = [&](const std::string& key) {
      return process.id == key || process.id.starts_with(key + ".");
    };
    if (std::any_of(wanted.begin(), wanted.end(), is_its)) continue;
    if (process.state == ProcessState::kExited) {
      exits_.Forget(process.id);
    } else {
      LogWarn("a process of no attempt is ended", {{"process", process.id}});
      (void)ports_.processes.Kill(process.id);
    }
  }
}

void AgentLoop::LoadOne(const std::string& key) {
  const AttemptPaths paths{config_.state_dir + "/attempts/" + key};
  absl::StatusOr<AttemptRecord> record = LoadRecord(paths);
  if (!record.ok()) {
    // Without a record nothing of it was started: the record comes first.
    sweeper_.Take(paths.dir);
    return;
  }
  const core::AttemptId attempt = record->task.attempt;
  Held& held = held_[attempt];
  held.task = record->task;
  held.store = record->store;
  if (!held.task.deployment.empty()) services_.Claim(attempt, EnvironmentKey(held.task));
  const bool ended = Exists(paths.outcome());
  session_.Found(attempt, ended);
  logs_.Follow(attempt, paths.log());
  if (!ended) {
    gpus_.Claim(record->gpus);
    return Perform(*std::move(record), /*is_new=*/false);
  }
  const absl::StatusOr<Value> value = ReadJson(paths.outcome());
  absl::StatusOr<core::Outcome> outcome = value.ok() ? OutcomeFromValue(*value) : value.status();
  held.outcome =
      outcome.ok() ? *std::move(outcome) : Failed(core::Reason::kInfra, outcome.status());
  logs_.End(attempt, held.outcome->log_bytes);
}

void AgentLoop::Run(std::stop_token stop) {
  Handle(TimePassed{});
  while (!stop.stop_requested() && !session_.drained()) {
    std::optional<Duration> patience = session_.NextDeadline();
    if (patience) patience = std::max(Duration(0), *patience - ports_.clock.Steady());
    std::deque<Inbox::Work> works = inbox_->Take(patience, stop);
    for (const Inbox::Work& work : works) work();
    if (works.empty() && !stop.stop_requested()) Handle(TimePassed{});
  }
  CloseSession();
  inbox_->Close();
  LogSteps({{"hear", &steps_.hear},
            {"begin", &steps_.begin},
            {"prepare", &steps_.prepare},
            {"spawn", &steps_.spawn},
            {"process", &steps_.process},
            {"conclude", &steps_.conclude},
            {"finish", &steps_.finish}});
}

void AgentLoop::CloseSession() {
  if (!session_.is_open()) return;
  auto closed = std::make_shared<std::promise<void>>();
  std::future<void> future = closed->get_future();
  ports_.daemon.CloseSession(session_.session(), [closed](absl::Status) { closed->set_value(); });
  (void)future.wait_for(kCloseMax);
}

void AgentLoop::Handle(const SessionEvent& event) {
  const bool was_open = session_.is_open();
  const std::vector<SessionAction> actions =
      session_.Handle(event, ports_.clock.Steady(), MayEndSession(event) ? ports_.random() : 0);
  if (was_open && !session_.is_open()) logs_.SetSession("");
  for (const SessionAction& action : actions) {
    std::visit([this](const auto& one) { Do(one); }, action);
  }
}

void AgentLoop::Do(const OpenSession&) {
  const int64_t generation = ++generation_;
  // Of this session only, and only while the agent is there.
  const auto post = [inbox = inbox_, this, generation](std::function<void()> work) {
    inbox->Post([this, generation, work = std::move(work)] {
      if (generation == generation_) work();
    });
  };
  AgentHello hello{kAgentProtocol,  config_.name,   instance_,     config_.host,
                   config_.version, config_.labels, config_.slots, config_.resources,
                   config_.facts};
  ports_.daemon.OpenSession(
      std::move(hello),
      [this, post](DesiredState desired) {
        post([this, desired = std::move(desired), at = ports_.clock.Ticks()] {
          steps_.hear.Add(ports_.clock.Ticks() - at);
          Handle(DesiredArrived{desired});
        });
      },
      [this, post](absl::Status why) {
        post([this, why] {
          LogWarn("the session with the daemon ended", {{"why", Message(why)}});
          Handle(SessionEnded{});
        });
      },
      [this, post](absl::StatusOr<SessionGrant> grant) {
        post([this, grant = std::move(grant)] {
          if (grant.ok()) return Granted(*grant);
          NotGranted(grant.status());
        });
      });
}

// An agent that the daemon refuses as it is goes on trying, because the daemon may be upgraded yet, or
// another agent of its name may go.
void AgentLoop::NotGranted(const absl::Status& why) {
  const bool refused =
      absl::IsFailedPrecondition(why) || absl::IsInvalidArgument(why) || absl::IsAlreadyExists(why);
  if (Message(why) != no_session_) {
    no_session_ = Message(why);
    refused ? LogError("the daemon refuses this agent, which goes on trying", {{"why", no_session_}})
            : LogWarn("no session with the daemon yet", {{"why", no_session_}});
  }
  Handle(SessionEnded{refused});
}

// Ends and drops attempts that another database's daemon gave: this one may use their names for
// others. Returns whether there are any.
bool AgentLoop::DropForeign(const std::string& store) {
  std::vector<core::AttemptId> foreign;
  for (const auto& [attempt, held] : held_) {
    const bool known = !held.store.empty() && !store.empty();  // Not by a program before this one.
    if (known && held.store != store) foreign.push_back(attempt);
  }
  for (const core::AttemptId& attempt : foreign) {
    LogWarn("an attempt of another database is dropped", {{"attempt", core::ToText(attempt)}});
    Handle(AttemptStale{attempt});
  }
  return std::any_of(foreign.begin(), foreign.end(),
                     [this](const core::AttemptId& attempt) { return held_.contains(attempt); });
}

void AgentLoop::Granted(const SessionGrant& grant) {
  if (DropForeign(grant.store)) {
    // Nothing of this session is heard until they have ended.
    ++generation_;
    ports_.daemon.CloseSession(grant.session, [](absl::Status) {});
    return Handle(SessionEnded{});
  }
  LogInfo("session opened", {{"session", grant.session}});
  no_session_.clear();
  store_ = grant.store;
  services_.OnSession();
  blobs_->OnSession(grant);
  logs_.SetSession(grant.session);
  Handle(SessionOpened{grant.session, grant.heartbeat, grant.ttl});
}

void AgentLoop::Do(const StartAttempt& action) {
  const Task& task = action.task;
  Held& held = held_[task.attempt];
  held.task = task;
  held.store = store_;
  // Before the services of the same desired state are looked at.
  if (!task.deployment.empty()) services_.Claim(task.attempt, EnvironmentKey(task));
  logs_.Follow(task.attempt, PathsOf(task.attempt).log());
  Perform({task, 0, {}, store_}, /*is_new=*/true);
}

void AgentLoop::Perform(AttemptRecord record, bool is_new) {
  const core::AttemptId attempt = record.task.attempt;
  Performer::Listener listener;
  listener.on_began = [this, attempt] { Post(AttemptBegan{attempt}); };
  listener.on_ended = [this, attempt](core::Outcome outcome) {
    inbox_->Post([this, attempt, outcome = std::move(outcome), at = ports_.clock.Ticks()] {
      Ended(attempt, outcome, at);
    });
  };
  held_[attempt].performer = std::make_unique<Performer>(tools_, std::move(record), is_new,
                                                         PathsOf(attempt), std::move(listener));
}

void AgentLoop::Ended(const core::AttemptId& attempt, core::Outcome outcome, int64_t at) {
  const auto found = held_.find(attempt);
  if (found == held_.end()) return;
  LogInfo("attempt ended", {{"attempt", core::ToText(attempt)},
                            {"state", std::string(core::ToText(outcome.state))},
                            {"message", outcome.message}});
  const int64_t log_bytes = outcome.log_bytes;
  found->second.outcome = std::move(outcome);
  found->second.ended_ticks = at;
  Handle(AttemptEnded{attempt});
  logs_.End(attempt, log_bytes);
}

void AgentLoop::Cancel(const core::AttemptId& attempt) {
  const auto found = held_.find(attempt);
  if (found != held_.end() && found->second.performer != nullptr) found->second.performer->Cancel();
}

void AgentLoop::Do(const SendFinish& action) {
  const auto found = held_.find(action.attempt);
  if (found == held_.end() || !found->second.outcome) return;
  const int64_t generation = generation_;
  ports_.daemon.Finish(
      session_.session(), action.attempt, *found->second.outcome,
      [inbox = inbox_, this, generation,
       attempt = action.attempt](absl::StatusOr<int64_t> revision) {
        inbox->Post([this, generation, attempt, revision] {
          if (generation != generation_) return;
          const auto held = held_.find(attempt);
          if (revision.ok() && held != held_.end() && held->second.ended_ticks != 0) {
            steps_.finish.Add(ports_.clock.Ticks() - held->second.ended_ticks);
          }
          Handle(FinishAnswered{attempt, AnswerOf(revision.status()), revision.value_or(0)});
        });
      });
}

void AgentLoop::Do(const ForgetAttempt& action) {
  const auto found = held_.find(action.attempt);
  if (found == held_.end()) return;
  if (!found->second.task.deployment.empty()) {
    services_.Release(action.attempt, action.revision);
  }
  logs_.Drop(action.attempt);
  if (found->second.performer != nullptr) found->second.performer->Forget();
  held_.erase(found);
  sweeper_.Retire(PathsOf(action.attempt).dir, kAttemptMould);
}

void AgentLoop::Do(const SendReport& action) {
  const int64_t generation = generation_;
  std::vector<HeldLease> leases = action.held;
  for (HeldLease& lease : leases) {
    const auto found = held_.find(lease.attempt);
    if (found != held_.end()) lease.resources = found->second.task.resources;
  }
  ports_.daemon.Report(session_.session(), {std::move(leases), services_.Held(), action.draining, DiskTrouble(config_)},
                       [inbox = inbox_, this, generation](absl::Status status) {
                         inbox->Post([this, generation, ok = status.ok()] {
                           if (generation == generation_) Handle(ReportAnswered{ok});
                         });
                       });
}

// Returns the identity of a state folder, which is made with it.
absl::StatusOr<std::string> InstanceOf(const AgentConfig& config, const AgentPorts& ports) {
  const std::string path = config.state_dir + "/instance";
  if (Exists(path)) return ReadText(path, 1 << 10);
  const std::string seed = config.host + "\n" + config.state_dir + "\n" +
                           std::to_string(ports.clock.Now().ms) + "\n" +
                           std::to_string(ports.random());
  const std::string instance = Sha256(seed).hex().substr(0, 32);
  CD4ML_RETURN_IF_ERROR(WriteText(path, instance));
  return instance;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Agent>> Agent::Open(AgentConfig config, AgentPorts ports) {
  if (!IsName(config.name)) {
    return absl::FailedPreconditionError("agent name \"" + config.name +
                                         "\" must match [a-z0-9][a-z0-9_-]{0,62}");
  }
  if (config.slots < 1) return absl::FailedPreconditionError("an agent needs at least one slot");
  if (!config.state_dir.starts_with("/")) {
    return absl::FailedPreconditionError("the state folder \"" + config.state_dir +
                                         "\" must be an absolute path");
  }
  for (const char* folder : {"attempts", "services", "runtimes", "trash"}) {
    CD4ML_RETURN_IF_ERROR(MakeDirs(config.state_dir + "/" + folder));
  }
  CD4ML_ASSIGN_OR_RETURN(std::string instance, InstanceOf(config, ports));
  CD4ML_ASSIGN_OR_RETURN(std::unique_ptr<Blobs> blobs, Blobs::Open(config.state_dir, ports));
  config.resources.gpus = static_cast<int64_t>(config.gpus.size());
  auto agent = std::make_unique<AgentLoop>(std::move(config), std::move(ports), std::move(blobs),
                                           std::move(instance));
  agent->Load();
  return agent;
}

}  // namespace cd4ml::agent
