// Who lives in a world, what they ask for, what goes wrong, and when it is over.
#include "tests/sim/world.h"

#include <algorithm>

#include <deque>
#include <map>
#include <memory>
#include <set>

#include "tests/sim/agent_host.h"
#include "tests/sim/daemon_host.h"
#include "tests/sim/network.h"
#include "tests/sim/oracle.h"

namespace cd4ml::sim {
namespace {

constexpr int64_t kPatience = 3'600'000;  // Until everything must have ended after the last fault.
constexpr int64_t kQuiet = 60'000;        // Until nothing may be left of what has ended.
constexpr int kRerunsMax = 3;
constexpr int kTriesMax = 20;
// What the largest agent has to give.
constexpr int64_t kCpuMax = 4'000, kMemoryMax = 8'000'000'000, kGpusMax = 2;

// The disk and what is on it at first: the same for all histories of this process.
CrashVfs& Disk() {
  static CrashVfs vfs("sim");
  return vfs;
}
const CrashVfs::Image& FirstImage() {
  static const CrashVfs::Image image = MakeImage(Disk());
  return image;
}

Faults DrawFaults(Random& random) {
  Faults faults;
  // How bad a history is differs, too: in some nothing but one thing goes wrong.
  constexpr int64_t kChances[] = {0, 10, 30, 50, 70};
  const int64_t chance = kChances[random.Between(0, 4)];
  for (bool* fault :
       {&faults.drop, &faults.delay, &faults.duplicate, &faults.partition, &faults.agent_kill,
        &faults.agent_power, &faults.agent_wipe, &faults.agent_pause, &faults.keeper_kill,
        &faults.agent_silent, &faults.daemon_kill, &faults.daemon_power, &faults.daemon_pause,
        &faults.die_in_commit, &faults.die_after_commit, &faults.disk_full, &faults.sync_fails,
        &faults.wall_jump, &faults.cancel, &faults.command_fails, &faults.command_hangs,
        &faults.drain, &faults.retries, &faults.reruns, &faults.scarce, &faults.twin, &faults.outage}) {
    *fault = random.Percent(chance);
  }
  return faults;
}

class World {
 public:
  explicit World(const Options& options);
  Lived Run();

 private:
  struct Client {  // One wish for a run.
    std::string key;
    core::StartRun command;
    core::RunId run;  // Once answered.
    int tries = 0;
    bool cancels = false;
    const Rerun* rerun = nullptr;  // Of a run that does another one again.
  };

  Facts MakeFacts();
  void MakeAgents();
  Machine DrawMachine(int64_t position);
  void MakeClients();
  core::StartRun DrawRun(const std::string& pipeline, const std::string& key);
  core::StagePlan DrawStage(int position, const std::vector<core::StagePlan>& before);
  void Ask(Client& client);
  void AtDaemon(const Client& client, const Reply& reply);
  void Answer_(Client& client, const core::RunId& run);
  void AskToCancel(Client& client, int tries);
  void AskAgain();
  Client* FindClient(const core::Run& run);
  bool PrepareAgain(Client& client, core::StartRun& command);

  void Trouble();
  void TroubleAgents();
  void TroubleDaemon();
  void Drain(size_t agent, bool drained);
  void Heal();
  void Settle();
  bool IsQuiet() const;
  std::string WrongServices(const AgentHost& agent) const;

  const Options options_;
  Room room_;
  Oracle oracle_;
  DaemonHost daemon_;
  std::unique_ptr<Network> network_;
  std::vector<std::unique_ptr<AgentHost>> agents_;
  std::deque<Client> clients_;
  bool healed_ = false;
  bool only_the_daemon_fails_ = false;
  int grouped_ = 0;      // How runs of a pipeline share; 0: they do not.
  bool patient_ = true;  // Stages wait for an agent for ever.
};

World::World(const Options& options)
    : options_(options),
      room_(options.seed * 2 + (options.mode == Mode::kLiveness ? 1 : 0), options.plant, options.traced),
      oracle_(MakeFacts()),
      daemon_(room_, Disk(), oracle_) {
  Disk().Restore(FirstImage());
  Disk().Heal();
  Disk().SetIgnoresSyncs(options.plant == Plant::kSyncsIgnored);
  room_.faults = DrawFaults(room_.random);
  const Faults& faults = room_.faults;
  only_the_daemon_fails_ = !(faults.drop || faults.delay || faults.partition || faults.agent_kill || faults.agent_power ||
                             faults.agent_pause || faults.agent_silent || faults.daemon_pause || faults.twin);
  if (room_.random.Percent(40)) grouped_ = static_cast<int>(room_.random.Between(1, 6));
  patient_ = !room_.faults.agent_silent && room_.random.Percent(50);
}

Facts World::MakeFacts() {
  Facts facts;
  facts.now = [this] { return room_.kernel.now(); };
  facts.heard = [this](const std::string& agent) { return daemon_.LastHeard(agent); };
  facts.naps = [this](int64_t from) { return daemon_.NapsSince(from); };
  facts.ttl = 30'000;
  facts.heartbeat = 5'000;
  const auto find = [this](const std::string& name) {
    return agents_[static_cast<size_t>(std::stoi(name.substr(1)))].get();
  };
  facts.machine = [find](const std::string& agent) -> const Machine& { return find(agent)->machine(); };
  facts.only_the_daemon_fails = [this] { return only_the_daemon_fails_; };
  facts.processes = [this](const core::RunId& run) {
    std::vector<core::AttemptId> of_run;
    for (const auto& agent : agents_) {
      for (const core::AttemptId& attempt : agent->Processes()) {
        if (attempt.run == run) of_run.push_back(attempt);
      }
    }
    return of_run;
  };
  return facts;
}

// The first agent can take every stage, the others perhaps not.
Machine World::DrawMachine(int64_t position) {
  Random& random = room_.random;
  Machine machine;
  machine.name = "a" + std::to_string(position);
  machine.state = machine.name + "-";
  machine.slots = static_cast<int>(random.Between(1, 3));
  if (position == 0 || random.Percent(50)) machine.labels.push_back("gpu");
  machine.resources.cpu_millis = position == 0 ? kCpuMax : random.Between(0, kCpuMax);
  machine.resources.memory_bytes = position == 0 ? kMemoryMax : random.Between(0, kMemoryMax);
  machine.resources.gpus = position == 0 ? kGpusMax : random.Between(0, kGpusMax);
  return machine;
}

void World::MakeAgents() {
  std::vector<Machine> machines(static_cast<size_t>(room_.random.Between(1, 3)));
  for (size_t i = 0; i < machines.size(); ++i) machines[i] = DrawMachine(static_cast<int64_t>(i));
  if (room_.faults.twin) {
    machines.push_back(machines.front());
    machines.back().state = "twin-";
  }
  // One more host is where the clients are.
  network_ = std::make_unique<Network>(room_, machines.size() + 1);
  for (size_t i = 0; i < machines.size(); ++i) {
    const bool twin = machines[i].state == "twin-";
    agents_.push_back(
        std::make_unique<AgentHost>(AgentHost::Parts{room_, *network_, daemon_, oracle_}, i, std::move(machines[i])));
    room_.kernel.After(room_.random.Between(0, twin ? 60'000 : 3'000), [agent = agents_.back().get()] { agent->Boot(); });
  }
}

core::StagePlan World::DrawStage(int position, const std::vector<core::StagePlan>& before) {
  Random& random = room_.random;
  core::StagePlan plan;
  plan.name = "s" + std::to_string(position);
  for (const core::StagePlan& other : before) {
    if (random.Percent(40)) plan.needs.push_back(other.name);
  }
  const int64_t kind = random.Between(0, 9);
  plan.kind = kind < 2   ? core::StageKind::kDeploy
              : kind < 4 ? core::StageKind::kTrain
              : kind < 5 ? core::StageKind::kModelGate
                         : core::StageKind::kCommand;
  if (plan.kind == core::StageKind::kDeploy) plan.environment = "production";
  if (!plan.needs.empty() && random.Percent(10)) plan.condition = "always()";
  // A deploy must go where the service is, whatever that agent's labels are.
  const bool free = plan.kind != core::StageKind::kDeploy;
  if (free && random.Percent(20)) plan.labels.push_back("gpu");
  if (free && room_.faults.scarce && random.Percent(70)) {
    plan.resources = {random.Between(0, kCpuMax), random.Between(0, kMemoryMax), random.Between(0, kGpusMax)};
  }
  plan.timeout = Duration(room_.faults.command_hangs || random.Percent(50) ? random.Between(1'000, 30'000) : 0);
  if (!patient_) plan.assign_timeout = Duration(random.Between(10'000, 120'000));
  if (random.Percent(20)) plan.total_timeout = Duration(random.Between(5'000, 60'000));
  plan.environment_policy = static_cast<core::ConcurrencyPolicy>(random.Between(0, 2));
  plan.retry.limit = static_cast<int>(random.Between(0, 2));
  plan.retry.error_limit = static_cast<int>(random.Between(0, 2));
  if (random.Percent(50)) plan.retry.when.push_back("timeout");
  if (random.Percent(50)) plan.retry.when.push_back("exit_code");
  if (random.Percent(50)) plan.retry.backoff = Duration(random.Between(1, 10'000));
  return plan;
}

core::StartRun World::DrawRun(const std::string& pipeline, const std::string& key) {
  core::StartRun command;
  command.pipeline = pipeline;
  command.lane = "production";
  command.trigger.key = key;
  command.trigger.by = "sim";
  command.pins.commit = std::string(40, 'a');
  static const Digest kDefinition = Sha256("definition"), kParams = Sha256("{}");
  command.pins.definition = kDefinition;
  command.pins.params_digest = kParams;
  command.pins.params = Value(Value::Map());
  command.priority = static_cast<int>(room_.random.Between(-1, 1));
  if (grouped_ > 0) {  // The same for all runs: what a change of it means is left to the core's own tests.
    command.concurrency.group = pipeline;
    command.concurrency.limit = 1 + grouped_ / 4;
    command.concurrency.policy = static_cast<core::ConcurrencyPolicy>(grouped_ % 3);
  }
  const int64_t stages = room_.random.Between(1, 4);
  for (int64_t i = 0; i < stages; ++i) {
    command.stages.push_back(DrawStage(static_cast<int>(i), command.stages));
  }
  const core::StageKind last = command.stages.back().kind;
  if (last == core::StageKind::kDeploy && room_.random.Percent(30)) {
    core::StagePlan watch;
    watch.name = "watch";
    watch.kind = core::StageKind::kMonitor;
    watch.environment = "production";
    watch.needs = {command.stages.back().name};
    command.stages.push_back(std::move(watch));
  }
  return command;
}

void World::MakeClients() {
  const int64_t count = room_.random.Between(1, 4);
  clients_.resize(static_cast<size_t>(count));
  for (size_t i = 0; i < clients_.size(); ++i) {
    Client& client = clients_[i];
    client.key = "k" + std::to_string(i);
    client.command = DrawRun(room_.random.Percent(70) ? "p" : "q", client.key);
    client.cancels = room_.faults.cancel && room_.random.Percent(40);
    oracle_.Asked(client.key, client.command.stages);
    room_.kernel.After(room_.random.Between(0, 60'000), [this, &client] { Ask(client); });
  }
}

// Asks until there is an answer, and in some histories once more.
void World::Ask(Client& client) {
  if (!client.run.empty() && !(room_.faults.retries && room_.random.Percent(30))) return;
  if (++client.tries > kTriesMax) return;
  room_.Say("client asks for " + client.key);
  network_->Call(agents_.size(), [this, &client](const Reply& reply) { AtDaemon(client, reply); },
                 [](const Answer&) {});
  room_.kernel.After(room_.random.Between(500, 8'000), [this, &client] { Ask(client); });
}

// As the daemon's door does it: known keys are answered, others are prepared for a while.
void World::AtDaemon(const Client& client, const Reply& reply) {
  Client* const self = const_cast<Client*>(&client);
  daemon_.Post([this, self](daemon::Orchestrator& core) {
    const bool plant = room_.plant == Plant::kNoIdempotency;
    const auto answer = [this, self](const absl::StatusOr<core::Run>& run) {
      if (!daemon_.is_silent() && run.ok()) Answer_(*self, run->id);
    };
    if (!plant && core.AnswerRepeated({self->key, self->command.pipeline, {}, {}}, answer)) return;
    daemon_.Later(room_.random.Between(1, 300), [this, self, plant, answer] {
      daemon_.Post([this, self, plant, answer](daemon::Orchestrator& later) {
        daemon::PreparedRun prepared{self->command};
        if (plant) prepared.command.trigger.key += "#" + std::to_string(room_.kernel.steps());
        for (core::StagePlan& stage : prepared.command.stages) {
          if (room_.plant == Plant::kNoLock && stage.kind == core::StageKind::kDeploy) {
            stage.environment += "#" + self->key;
          }
          if (room_.plant == Plant::kNeedsIgnored) stage.needs.clear();
          if (room_.plant == Plant::kLabelsIgnored) stage.labels.clear();
          if (room_.plant == Plant::kResourcesIgnored) stage.resources = {};
        }
        if (self->rerun != nullptr && !PrepareAgain(*self, prepared.command)) return;
        later.StartRun(std::move(prepared), answer);
      });
    });
  });
  reply({});
}

void World::Answer_(Client& client, const core::RunId& run) {
  oracle_.Acknowledged(client.key, run);
  if (!std::exchange(client.run, run).empty() || !client.cancels) return;
  room_.kernel.After(room_.random.Between(0, 40'000), [this, &client] { AskToCancel(client, 0); });
}

void World::AskToCancel(Client& client, int tries) {
  if (tries == 5) return;
  room_.Say("client cancels " + client.run);
  const auto ask = [this, &client](const Reply& reply) {
    daemon_.Post([this, &client, reply](daemon::Orchestrator& core) {
      core.CancelRun(client.run, "not needed", [this, reply](const absl::StatusOr<core::Run>& run) {
        if (!daemon_.is_silent()) reply({run.status()});
      });
    });
  };
  network_->Call(agents_.size(), ask, [this, &client, tries](const Answer& answer) {
    if (!answer.status.ok() && !absl::IsFailedPrecondition(answer.status)) AskToCancel(client, tries + 1);
  });
}

World::Client* World::FindClient(const core::Run& run) {
  const auto found = std::find_if(clients_.begin(), clients_.end(),
                                  [&](const Client& client) { return client.key == run.trigger.key; });
  return found == clients_.end() ? nullptr : &*found;
}

// Somebody wants a run that has ended once more, or a part of it.
void World::AskAgain() {
  Random& random = room_.random;
  const auto reruns = std::count_if(clients_.begin(), clients_.end(),
                                    [](const Client& client) { return client.rerun != nullptr; });
  if (healed_ || reruns == kRerunsMax) return;
  room_.kernel.After(random.Between(2'000, 30'000), [this] { AskAgain(); });
  std::vector<const core::Run*> ended;
  for (const auto& [id, run] : oracle_.runs()) {
    if (core::IsTerminal(run.state) && FindClient(run) != nullptr) ended.push_back(&run);
  }
  if (ended.empty()) return;
  const core::Run& run = *random.OneOf(ended);
  const std::vector<core::StagePlan>& stages = FindClient(run)->command.stages;
  Rerun rerun{.of = run.id, .scope = static_cast<core::RetryScope>(random.Between(0, 2)), .stage = {}, .changed = {}, .expected = {}};
  if (rerun.scope != core::RetryScope::kFailed) rerun.stage = random.OneOf(stages).name;
  if (random.Percent(25)) rerun.changed.insert(random.OneOf(stages).name);
  Client& client = clients_.emplace_back();
  client.key = "r" + std::to_string(reruns);
  client.command = FindClient(run)->command;
  client.command.trigger.key = client.key;
  client.command.trigger.kind = core::TriggerKind::kRetry;
  client.cancels = room_.faults.cancel && random.Percent(20);
  client.rerun = &oracle_.AskedAgain(client.key, std::move(rerun));
  Ask(client);
}

// As the daemon does it: with what the store says of the run. Returns whether there is a run to start.
bool World::PrepareAgain(Client& client, core::StartRun& command) {
  const Rerun& rerun = *client.rerun;
  const absl::StatusOr<core::Run> ended = daemon_.history().GetRun(rerun.of);
  if (!ended.ok()) {  // The disk may have just failed; what was committed must be known.
    if (absl::IsNotFound(ended.status())) oracle_.Fail("run " + rerun.of + " is to be done again and is gone");
    return false;
  }
  absl::StatusOr<core::RetrySelection> selection =
      core::SelectForRetry(*ended, command.stages, rerun.scope, rerun.stage, rerun.changed);
  if (selection.ok() != rerun.expected.has_value()) {
    oracle_.Fail("to do " + rerun.of + " again: " + selection.status().ToString());
  }
  if (!selection.ok()) {
    client.tries = kTriesMax;
    return false;
  }
  command.retry_of = rerun.of;
  command.carried = std::move(selection->carried);
  command.left_out = std::move(selection->left_out);
  if (room_.plant == Plant::kRetryGoesOn) command.left_out.clear();
  for (const core::StageRun& stage : ended->stages) {
    const bool succeeded = stage.state == core::StageState::kSucceeded && stage.result() != nullptr;
    if (room_.plant != Plant::kRetryTakesAll || !succeeded || stage.attempts.empty()) continue;
    command.carried[stage.plan.name] = {{ended->id, stage.plan.name, stage.latest()->number}, *stage.result()};
  }
  return true;
}

// --- what goes wrong ---

void World::Trouble() {
  if (healed_) return;
  TroubleAgents();
  TroubleDaemon();
  room_.kernel.After(room_.random.Between(500, 12'000), [this] { Trouble(); });
}

void World::TroubleAgents() {
  Random& random = room_.random;
  const Faults& faults = room_.faults;
  const auto happens = [&random](bool fault) { return fault && random.Percent(12); };
  for (size_t i = 0; i < agents_.size(); ++i) {
    AgentHost& agent = *agents_[i];
    const int64_t down = random.Percent(70) ? random.Between(1, 5'000) : random.Between(1, 80'000);
    if (happens(faults.partition)) {
      const int64_t ways = random.Between(1, 3);
      network_->Cut(i, (ways & 1) != 0, (ways & 2) != 0);
      room_.Say(agent.name() + " is cut off, ways " + std::to_string(ways));
      room_.kernel.After(down, [this, i] { network_->Mend(i); });
    }
    if (happens(faults.drop)) agent.BreakStream();
    if (happens(faults.agent_kill)) agent.Kill(down);
    if (happens(faults.keeper_kill)) agent.KillKeeper();
    if (happens(faults.agent_wipe)) agent.Wipe();
    if (happens(faults.agent_power)) agent.CutPower(down);
    if (happens(faults.agent_pause)) agent.Pause(down);
    if (happens(faults.drain)) {
      Drain(i, true);
      room_.kernel.After(down, [this, i] { Drain(i, false); });
    }
    if (faults.agent_silent && agents_.size() > 1 && random.Percent(3)) agent.GoSilent();
  }
}

void World::Drain(size_t agent, bool drained) {
  daemon_.Post([name = agents_[agent]->name(), drained](daemon::Orchestrator& core) {
    core.DrainAgent(name, drained, "maintenance", [](const absl::StatusOr<AgentRecord>&) {});
  });
}

void World::TroubleDaemon() {
  Random& random = room_.random;
  const Faults& faults = room_.faults;
  const auto happens = [&random](bool fault) { return fault && random.Percent(12); };
  if (happens(faults.daemon_kill)) daemon_.Crash(DaemonHost::Death::kKill);
  if (happens(faults.daemon_power)) daemon_.Crash(DaemonHost::Death::kPower);
  if (happens(faults.daemon_pause)) daemon_.Nap(random.Between(1, random.Percent(50) ? 5'000 : 90'000));
  if (happens(faults.die_in_commit)) daemon_.CrashAtCommit(false);
  if (happens(faults.die_after_commit)) daemon_.CrashAtCommit(true);
  if (happens(faults.disk_full)) Disk().FailWrite(random.Between(1, 20), CrashVfs::Times::kOnce);
  if (happens(faults.sync_fails)) {
    Disk().FailSync(random.Between(1, 4), CrashVfs::Times::kOnce, [this] { return room_.random.Next(); });
  }
  if (happens(faults.wall_jump)) {
    const int64_t decade = int64_t{10} * 365 * 86'400'000;
    const int64_t to = random.Percent(50) ? random.Between(-decade, decade) : random.Between(-100'000, 100'000);
    room_.Say("the wall clock jumps to " + std::to_string(to));
    daemon_.JumpWall(to);
  }
}

void World::Heal() {
  room_.Say("all faults end");
  healed_ = true;
  const bool hangs = room_.faults.command_hangs;
  room_.faults = Faults{};
  room_.faults.command_hangs = hangs;  // What hangs has a timeout.
  Disk().Heal();
  Disk().SetIgnoresSyncs(room_.plant == Plant::kSyncsIgnored);
  for (size_t i = 0; i < agents_.size(); ++i) network_->Mend(i);
  // Somebody has found out that there are two of a name.
  if (agents_.back()->machine().state == "twin-") agents_.back()->GoSilent();
}

bool World::IsQuiet() const {
  for (const auto& agent : agents_) {
    if (!agent->holds_nothing() || !WrongServices(*agent).empty()) return false;
  }
  return true;
}

std::string World::WrongServices(const AgentHost& agent) const {
  return agent.is_silent() ? "" : oracle_.CompareServices(agent.name(), agent.Services());
}

// Lives on without faults until everything has ended.
void World::Settle() {
  bool drained = room_.faults.drain;
  Heal();
  Kernel& kernel = room_.kernel;
  const int64_t end = kernel.now() + kPatience;
  int64_t look = 0, ended = 0;
  while (oracle_.violation().empty() && kernel.Step(end)) {
    if (kernel.now() < look) continue;
    look = kernel.now() + 1'000;
    // Whoever drained an agent takes it back, once there is a daemon to be told.
    if (drained && daemon_.up()) {
      for (size_t i = 0; i < agents_.size(); ++i) Drain(i, false);
      drained = false;
    }
    bool asked = true;
    for (const Client& client : clients_) asked &= client.tries > 0;
    if (!asked || !oracle_.OpenRuns().empty()) continue;
    // Whoever is down or stopped has not been told yet, and such a daemon tells nobody.
    const bool all_up = std::all_of(agents_.begin(), agents_.end(),
                                    [](const auto& agent) { return (agent->up() && !agent->paused()) || agent->is_silent(); });
    if (ended == 0 || !all_up || !daemon_.up() || daemon_.paused()) ended = kernel.now();
    if (IsQuiet()) return;
    if (kernel.now() <= ended + kQuiet) continue;
    for (const auto& agent : agents_) {
      if (const std::string wrong = WrongServices(*agent); !wrong.empty()) oracle_.Fail(wrong);
    }
    return oracle_.Fail("an agent still holds something of what has ended");
  }
  if (!oracle_.OpenRuns().empty()) {
    const core::Run& run = *oracle_.FindRun(oracle_.OpenRuns().front());
    oracle_.Fail("never ends: " + Describe(run));
  }
}

Lived World::Run() {
  daemon_.on_crash = [this] {
    for (const auto& agent : agents_) agent->BreakStream();
  };
  MakeAgents();
  MakeClients();
  daemon_.Boot();
  room_.kernel.After(room_.random.Between(1'000, 10'000), [this] { Trouble(); });
  if (room_.faults.reruns) AskAgain();
  const int64_t end = room_.random.Between(20'000, 150'000);
  while (oracle_.violation().empty() && room_.kernel.Step(end)) {
  }
  if (options_.mode == Mode::kLiveness && oracle_.violation().empty()) Settle();
  if (oracle_.violation().empty()) daemon_.CompareAll();
  Lived history;
  history.violation = oracle_.violation();
  history.trace = room_.trace.lines();
  history.hash = room_.trace.hash();
  history.steps = room_.kernel.steps();
  history.events = oracle_.events();
  history.crashes = daemon_.boots() - 1;
  history.runs = static_cast<int64_t>(oracle_.runs().size());
  return history;
}

}  // namespace

Lived Live(const Options& options) { return World(options).Run(); }

const std::vector<PlantName>& Plants() {
  static const std::vector<PlantName> kPlants = {
      {Plant::kNoFence, "no-fence"},
      {Plant::kAckBeforeCommit, "ack-before-commit"},
      {Plant::kSyncsIgnored, "syncs-ignored"},
      {Plant::kFailedSyncIgnored, "failed-sync-ignored"},
      {Plant::kNoIdempotency, "no-idempotency"},
      {Plant::kNoGrace, "no-grace"},
      {Plant::kWallExpiry, "wall-expiry"},
      {Plant::kSilenceUnnoticed, "silence-unnoticed"},
      {Plant::kSleepCounted, "sleep-counted"},
      {Plant::kNoLock, "no-lock"},
      {Plant::kNeedsIgnored, "needs-ignored"},
      {Plant::kCancelledTooEarly, "cancelled-too-early"},
      {Plant::kDroppedResult, "dropped-result"},
      {Plant::kLabelsIgnored, "labels-ignored"},
      {Plant::kResourcesIgnored, "resources-ignored"},
      {Plant::kRetryTakesAll, "retry-takes-all"},
      {Plant::kRetryGoesOn, "retry-goes-on"},
      {Plant::kRetryEditsHistory, "retry-edits-history"},
      {Plant::kTwinAdmitted, "twin-admitted"},
      {Plant::kGivesUpAlone, "gives-up-alone"},
      {Plant::kSlowReturn, "slow-return"},
      {Plant::kOldServiceStays, "old-service-stays"},
  };
  return kPlants;
}

}  // namespace cd4ml::sim
