// Boots, crashes and turns of the simulated daemon.
#include "tests/sim/daemon_host.h"

#include <sqlite3.h>

#include "cd4ml/base/check.h"
#include "cd4ml/base/status.h"
#include "cd4ml/store/open_store.h"
#include "store/encode.h"

namespace cd4ml::sim {
namespace {

constexpr char kPath[] = "/cd4ml.db";
constexpr int64_t kWallStart = 1'700'000'000'000;

// The events as they are in the table, read around the store.
class RecordedEvents {
 public:
  explicit RecordedEvents(const CrashVfs& vfs) {
    sqlite3_open_v2(kPath, &handle_, SQLITE_OPEN_READONLY, vfs.name().c_str());
    sqlite3_prepare_v2(handle_,
                       "SELECT kind, payload FROM run_event WHERE run = (SELECT run.id FROM run JOIN "
                       "pipeline ON pipeline.id = run.pipeline WHERE pipeline.name || '/' || "
                       "run.number = ?1) ORDER BY seq",
                       -1, &rows_, nullptr);
  }
  ~RecordedEvents() {
    sqlite3_finalize(rows_);
    sqlite3_close(handle_);
  }
  RecordedEvents(const RecordedEvents&) = delete;

  std::vector<core::Event> Of(const core::RunId& run) const {
    std::vector<core::Event> events;
    sqlite3_reset(rows_);
    sqlite3_bind_text(rows_, 1, run.data(), static_cast<int>(run.size()), SQLITE_TRANSIENT);
    const auto text = [this](int column) {
      return std::string(reinterpret_cast<const char*>(sqlite3_column_text(rows_, column)));
    };
    while (sqlite3_step(rows_) == SQLITE_ROW) {
      absl::StatusOr<core::Event> event = store::DecodeEvent(text(0), text(1));
      if (event.ok()) events.push_back(*std::move(event));
    }
    return events;
  }

 private:
  sqlite3* handle_ = nullptr;
  sqlite3_stmt* rows_ = nullptr;
};

}  // namespace

// Opened at the first question: most lives of the daemon have none.
class DaemonHost::LazyHistory : public History {
 public:
  explicit LazyHistory(const CrashVfs& vfs) : vfs_(vfs) {}

  absl::StatusOr<core::Run> GetRun(const core::RunId& id) override {
    CD4ML_ASSIGN_OR_RETURN(History* const opened, Opened());
    return opened->GetRun(id);
  }
  absl::StatusOr<std::vector<RunSummary>> ListRuns(const RunFilter& filter) override {
    CD4ML_ASSIGN_OR_RETURN(History* const opened, Opened());
    return opened->ListRuns(filter);
  }
  absl::StatusOr<std::vector<core::Deployment>> ListDeployments(const std::string& environment,
                                                                UtcTime at, int limit) override {
    CD4ML_ASSIGN_OR_RETURN(History* const opened, Opened());
    return opened->ListDeployments(environment, at, limit);
  }
  absl::StatusOr<std::optional<ReusableResult>> FindResult(const Digest& recipe) override {
    CD4ML_ASSIGN_OR_RETURN(History* const opened, Opened());
    return opened->FindResult(recipe);
  }
  absl::StatusOr<std::optional<ReusableResult>> LastResult(const std::string& pipeline,
                                                           const std::string& stage) override {
    CD4ML_ASSIGN_OR_RETURN(History* const opened, Opened());
    return opened->LastResult(pipeline, stage);
  }
  absl::StatusOr<LineageGraph> TraceLineage(const std::string& reference, LineageDirection direction,
                                            int depth_max) override {
    CD4ML_ASSIGN_OR_RETURN(History* const opened, Opened());
    return opened->TraceLineage(reference, direction, depth_max);
  }
  absl::StatusOr<Impact> FindImpact(const std::string& reference) override {
    CD4ML_ASSIGN_OR_RETURN(History* const opened, Opened());
    return opened->FindImpact(reference);
  }
  absl::StatusOr<std::vector<core::Origin>> FindOrigins(const std::string& reference, bool upstream) override {
    CD4ML_ASSIGN_OR_RETURN(History* const opened, Opened());
    return opened->FindOrigins(reference, upstream);
  }
  absl::StatusOr<std::vector<PredictionRecord>> Predictions(const std::string& deployment, UtcTime from,
                                                            UtcTime to, int limit) override {
    CD4ML_ASSIGN_OR_RETURN(History* const opened, Opened());
    return opened->Predictions(deployment, from, to, limit);
  }
  absl::StatusOr<std::vector<MonitorCheckRecord>> MonitorChecks(const std::string& monitor,
                                                                int limit) override {
    CD4ML_ASSIGN_OR_RETURN(History* const opened, Opened());
    return opened->MonitorChecks(monitor, limit);
  }
  absl::StatusOr<std::vector<GateRecord>> GateHistory(const std::string& pipeline, const std::string& gate,
                                                      int limit) override {
    CD4ML_ASSIGN_OR_RETURN(History* const opened, Opened());
    return opened->GateHistory(pipeline, gate, limit);
  }
  absl::StatusOr<std::optional<GateRecord>> FindGate(const core::RunId& run, const std::string& gate) override {
    CD4ML_ASSIGN_OR_RETURN(History* const opened, Opened());
    return opened->FindGate(run, gate);
  }
  absl::StatusOr<std::optional<GateRecord>> LastPassed(const std::string& pipeline, const std::string& gate, int64_t before,
                                                       UtcTime at) override {
    CD4ML_ASSIGN_OR_RETURN(History* const opened, Opened());
    return opened->LastPassed(pipeline, gate, before, at);
  }
  absl::StatusOr<std::vector<core::OverrideRecord>> OverridesOf(const std::string& pipeline, const std::string& gate,
                                                                UtcTime at) override {
    CD4ML_ASSIGN_OR_RETURN(History* const opened, Opened());
    return opened->OverridesOf(pipeline, gate, at);
  }
  absl::StatusOr<std::vector<core::OverrideRecord>> ListOverrides(const std::string& pipeline, int limit) override {
    CD4ML_ASSIGN_OR_RETURN(History* const opened, Opened());
    return opened->ListOverrides(pipeline, limit);
  }
  absl::StatusOr<std::optional<core::OverrideRecord>> FindOverride(int64_t id) override {
    CD4ML_ASSIGN_OR_RETURN(History* const opened, Opened());
    return opened->FindOverride(id);
  }

 private:
  // Fails when the machine has just died: the daemon will have with it.
  absl::StatusOr<History*> Opened() {
    if (history_ == nullptr) {
      CD4ML_ASSIGN_OR_RETURN(history_, store::OpenHistory({.path = kPath, .vfs = vfs_.name()}));
    }
    return history_.get();
  }

  const CrashVfs& vfs_;
  std::unique_ptr<History> history_;
};

// Stands between the orchestrator and the store: the oracle sees every commit, and bugs of the
// store can be planted.
class DaemonHost::Recorder : public StateStore {
 public:
  explicit Recorder(DaemonHost& host) : host_(host), store_(*host.store_) {}

  absl::Status Commit(const std::vector<Change>& changes) override {
    host_.spins_ = 0;
    absl::Status status = Write(changes);
    if (host_.room_.plant == Plant::kFailedSyncIgnored) status = absl::OkStatus();
    host_.room_.Say("commit of " + std::to_string(changes.size()) + " changes: " +
                    std::string(absl::StatusCodeToString(status.code())));
    if (status.ok()) {
      Tell(changes);
      host_.oracle_.Committed(changes);
      if (host_.room_.plant == Plant::kRetryEditsHistory) EditHistory(changes);
      if (host_.die_after_commit_) host_.dying_ = true;
    } else if (absl::IsInvalidArgument(status)) {
      host_.oracle_.Fail("the store refuses what was decided: " + Message(status));
    } else if (!absl::IsResourceExhausted(status)) {
      host_.oracle_.Unknown(changes);
    }
    return status;
  }
  absl::StatusOr<StoredState> Load() override { return store_.Load(); }
  absl::StatusOr<std::optional<core::RunId>> FindByKey(const std::string& key) override {
    return store_.FindByKey(key);
  }
  absl::Status CheckSpace() override { return store_.CheckSpace(); }
  void RunShort() override { store_.RunShort(); }
  void Idle() override { store_.Idle(); }

 private:
  absl::Status Write(const std::vector<Change>& changes) {
    if (host_.room_.plant != Plant::kAckBeforeCommit) return store_.Commit(changes);
    const absl::Status status = late_.empty() ? absl::OkStatus() : store_.Commit(late_);
    late_ = changes;
    return status;
  }

  // The bug that a run is not left alone when it is done again.
  void EditHistory(const std::vector<Change>& changes) const {
    for (const Change& change : changes) {
      const auto* run = std::get_if<RunChange>(&change);
      const auto* started = run == nullptr ? nullptr : std::get_if<core::RunStarted>(&run->events.front());
      if (started == nullptr || started->retry_of.empty()) continue;
      sqlite3* handle = nullptr;
      sqlite3_open_v2(kPath, &handle, SQLITE_OPEN_READWRITE, host_.vfs_.name().c_str());
      const std::string sql =
          "UPDATE stage_run SET message = 'done again' WHERE run = (SELECT run.id FROM run JOIN pipeline ON "
          "pipeline.id = run.pipeline WHERE pipeline.name || '/' || run.number = '" + started->retry_of + "')";
      sqlite3_exec(handle, sql.c_str(), nullptr, nullptr, nullptr);
      sqlite3_close(handle);
    }
  }

  void Tell(const std::vector<Change>& changes) {
    Room& room = host_.room_;
    for (const Change& change : changes) {
      const auto* run = std::get_if<RunChange>(&change);
      if (run == nullptr) continue;
      for (const core::Event& event : run->events) {
        // The payload's words belong to the trace of a failed history only.
        std::string line = "  " + run->run + " " + std::string(core::EventName(event));
        if (room.trace.on()) line += " " + store::EncodeEvent(event).value_or("").substr(0, 300);
        room.Say(room.trace.on() ? line : "");
      }
    }
  }

  DaemonHost& host_;
  StateStore& store_;
  std::vector<Change> late_;
};

CrashVfs::Image MakeImage(CrashVfs& vfs) {
  vfs.Restore({});
  {
    auto store = store::OpenStateStore({.path = kPath, .vfs = vfs.name()});
    CD4ML_CHECK(store.ok(), store.status().ToString());
    for (const char* name : {"p", "q"}) {
      PipelineRecord pipeline;
      pipeline.name = name;
      pipeline.repo = std::string("/srv/") + name;
      pipeline.file = "p.cd4ml.yaml";
      CD4ML_CHECK((*store)->Commit({PipelineChange{pipeline}}).ok(), name);
    }
  }
  return vfs.Save();
}

DaemonHost::DaemonHost(Room& room, CrashVfs& vfs, Oracle& oracle)
    : Program(room), vfs_(vfs), oracle_(oracle) {
  settings_.session_ttl = Duration(30'000);
  settings_.heartbeat = Duration(5'000);
}

DaemonHost::~DaemonHost() { CloseStore(); }

UtcTime DaemonHost::Wall() const {
  return UtcTime{kWallStart + room_.kernel.now() + wall_offset_};
}

Duration DaemonHost::Steady() const {
  if (room_.plant == Plant::kWallExpiry) return Duration(Wall().ms);
  if (room_.plant == Plant::kSilenceUnnoticed) return Duration(steady_offset_);
  return Duration(room_.kernel.now() + steady_offset_);
}

int64_t DaemonHost::LastHeard(const std::string& agent) const {
  const auto found = heard_.find(agent);
  return found == heard_.end() ? booted_ : std::max(booted_, found->second);
}

absl::Status DaemonHost::OpenStore() {
  const store::StoreOptions options{.path = kPath, .vfs = vfs_.name()};
  CD4ML_ASSIGN_OR_RETURN(store_, store::OpenStateStore(options));
  history_ = std::make_unique<LazyHistory>(vfs_);
  recorder_ = std::make_unique<Recorder>(*this);
  return absl::OkStatus();
}

void DaemonHost::CloseStore() {
  orchestrator_.reset();
  recorder_.reset();
  history_.reset();
  store_.reset();
}

void DaemonHost::Boot() {
  if (up()) return;
  Rise();
  room_.Say("daemon boots");
  heard_.clear();
  inbox_.clear();
  naps_.clear();
  booted_ = turned_ = room_.kernel.now();
  turn_wanted_ = dying_ = die_after_commit_ = false;
  settings_.instance = "d" + std::to_string(life());
  settings_.boot = "m" + std::to_string(power_cuts_);
  absl::Status status = OpenStore();
  if (status.ok()) {
    const absl::StatusOr<StoredState> state = store_->Load();
    status = state.status();
    if (status.ok()) oracle_.Loaded(*state, *history_);
    if (!oracle_.violation().empty()) return;
  }
  if (status.ok()) {
    daemon::Orchestrator::Hooks hooks;
    hooks.committed = [](const std::set<core::RunId>&) {};
    hooks.prepare = [](const StartRequest&, core::TriggerKind, const Done<daemon::PreparedRun>& done) {
      done(absl::UnavailableError("no repository"));
    };
    hooks.check = [this](const core::MonitorState& monitor, const std::optional<TaskBaseline>&) {
      CheckMonitor(monitor);
    };
    hooks.fail_stop = [this](const absl::Status&) { dying_ = true; };
    orchestrator_ = std::make_unique<daemon::Orchestrator>(settings_, *recorder_, *history_,
                                                           std::move(hooks));
    const bool grace = room_.plant != Plant::kNoGrace;
    status = orchestrator_->Load(Wall(), grace ? Steady() : Steady() - settings_.session_ttl);
  }
  if (status.ok()) {
    failed_boots_ = 0;
    return WantTurn();
  }
  // A disk that fails just then stops it, but not for ever.
  const bool disk_fails = vfs_.is_dying() || room_.faults.sync_fails || room_.faults.disk_full;
  if (!disk_fails || ++failed_boots_ > 5) oracle_.Fail("the daemon does not start: " + status.ToString());
  Crash(Death::kKill);
}

void DaemonHost::Crash(Death death) {
  if (!up()) return;
  room_.Say(death == Death::kKill ? "daemon is killed" : "daemon's power is cut");
  Fall();
  dying_ = true;
  inbox_.clear();
  if (death == Death::kKill) {
    vfs_.KillProcess();
  } else {
    vfs_.PowerCut([this] { return room_.random.Next(); });
    steady_offset_ = room_.random.Between(0, 1'000'000);
    ++power_cuts_;
  }
  vfs_.Heal();
  vfs_.SetIgnoresSyncs(room_.plant == Plant::kSyncsIgnored);
  CloseStore();
  if (on_crash) on_crash();
  int64_t down = room_.random.Between(10, 20'000);
  if (room_.faults.outage && room_.random.Percent(30)) {
    down = room_.random.Between(settings_.session_ttl.count(), room_.random.Percent(70) ? 120'000 : 1'800'000);
  }
  room_.kernel.After(down, [this] { Boot(); });
}

void DaemonHost::CrashAtCommit(bool after) {
  if (!up()) return;
  if (after) {
    die_after_commit_ = true;
  } else {
    vfs_.DieAtChange(room_.random.Between(1, 40));
  }
}

void DaemonHost::Nap(int64_t span) {
  if (!up() || paused()) return;
  room_.Say("daemon is stopped for " + std::to_string(span) + " ms");
  naps_.push_back({room_.kernel.now(), span, room_.random.Between(1, 500)});
  Pause(span);
}

std::vector<int64_t> DaemonHost::NapsSince(int64_t from) const {
  std::vector<int64_t> spans;
  for (const OneNap& nap : naps_) {
    if (nap.begin >= from) spans.push_back(nap.span);
  }
  return spans;
}

bool DaemonHost::Post(std::function<void(daemon::Orchestrator&)> work) {
  if (!up()) return false;
  if (paused()) {
    const OneNap& nap = naps_.back();
    const int64_t wait = nap.begin + nap.span + nap.reads_after - room_.kernel.now();
    Later(wait, [this, work = std::move(work)] { Post(work); });
    return true;
  }
  inbox_.push_back(std::move(work));
  WantTurn();
  return true;
}

void DaemonHost::WantTurn() {
  if (std::exchange(turn_wanted_, true)) return;
  Later(room_.random.Between(0, 2), [this] { Turn(); });
}

void DaemonHost::Turn() {
  turn_wanted_ = false;
  ++spins_;
  const int64_t now = room_.kernel.now();
  for (int64_t at = turned_; room_.plant == Plant::kSleepCounted && at < now; at += 1'000) {
    orchestrator_->BeginTurn(Wall(), Duration(at + steady_offset_));  // As if it had listened all the time.
  }
  turned_ = now;
  orchestrator_->BeginTurn(Wall(), Steady());
  for (const auto& work : std::exchange(inbox_, {})) {
    spins_ = 0;
    work(*orchestrator_);
  }
  orchestrator_->EndTurn();
  if (!oracle_.violation().empty()) return;
  if (dying_ || vfs_.is_dying()) {
    return Crash(room_.faults.daemon_power && room_.random.Percent(50) ? Death::kPower : Death::kKill);
  }
  // On a full disk nothing can be recorded, not even that an agent is silent.
  if (orchestrator_->read_only().ok()) oracle_.TurnEnded();
  if (spins_ > 200) oracle_.Fail("the loop turns without anything to do");
  if (room_.random.Percent(5)) store_->Idle();
  WatchTime();
}

void DaemonHost::WatchTime() {
  const std::optional<Duration> wait = orchestrator_->NextWait();
  const int64_t timer = ++timer_;
  if (!wait) return;
  // A wall clock that jumps shortens no wait: the loop looks again at its next message.
  Later(std::max<int64_t>(1, wait->count()), [this, timer] {
    if (timer == timer_) WantTurn();
  });
}

void DaemonHost::CheckMonitor(const core::MonitorState& state) {
  daemon::JudgedCheck check;
  check.monitor = state.id();
  check.deployment = state.deployment;
  check.spec.every = Duration(600'000);
  Later(room_.random.Between(1, 500), [this, check] {
    Post([check](daemon::Orchestrator& orchestrator) { orchestrator.FinishCheck(check); });
  });
}

void DaemonHost::CompareAll() {
  Fall();
  vfs_.KillProcess();
  vfs_.Heal();
  CloseStore();
  history_ = std::make_unique<LazyHistory>(vfs_);
  const RecordedEvents events(vfs_);
  oracle_.CompareAll(*history_, [&events](const core::RunId& run) { return events.Of(run); });
}

}  // namespace cd4ml::sim
