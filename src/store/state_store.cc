// Writes changes: the events of a run as they are, and every table that follows from them.
#include "state_store.h"

#include <algorithm>
#include <cmath>

#include "cd4ml/base/log.h"
#include "cd4ml/core/recipe.h"
#include "encode.h"
#include "read.h"

namespace cd4ml::store {

constexpr int kCheckpointFrames =
    1'000;  // A small log that is overwritten in place is the fastest.
constexpr size_t kVersionsKept = 100'000;

// --- events
// ----------------------------------------------------------------------------------------

constexpr char kInsertEvent[] = R"sql(
INSERT INTO run_event (id, at_ms, kind, payload, digest)
VALUES (?1 << 24 | ?2, ?3, ?4, ?5, ?6))sql";

constexpr char kInsertRun[] = R"sql(
INSERT INTO run (pipeline, number, lane, state, reason, trigger_kind, trigger_key, trigger_by, trigger_reason,
  commit_id, commit_subject, created_ms, stages_total)
VALUES (?1, ?2, ?3, ?12, 'none', ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11))sql";

constexpr char kInsertStage[] = R"sql(
INSERT INTO stage_run (run, position, name, kind, state, reason)
VALUES (?1, ?2, ?3, ?4, 'blocked', 'none'))sql";

constexpr char kStageReady[] = R"sql(
UPDATE stage_run
SET state = 'ready', ready_ms = ?2, not_before_ms = ?3, first_ready_ms = CASE first_ready_ms WHEN 0 THEN ?2 ELSE first_ready_ms END
WHERE id = ?1)sql";

// The next attempt follows the latest one, which has ended.
constexpr char kStageLeased[] = R"sql(
UPDATE stage_run
SET state = 'leased', attempts = ?2
WHERE id = ?1 AND attempts = ?2 - 1 AND state = 'ready')sql";

constexpr char kInsertAttempt[] = R"sql(
INSERT INTO attempt (stage_run, number, agent, state, granted_ms, recipe_key, recipe, reuse_note)
VALUES (?1, ?2, ?3, 'granted', ?4, ?5, ?6, ?7))sql";

// The fence: only the latest attempt of a leased stage can start.
constexpr char kStageRunning[] = R"sql(
UPDATE stage_run
SET state = 'running'
WHERE id = ?1 AND attempts = ?2 AND state = 'leased')sql";

constexpr char kAttemptStarted[] = R"sql(
UPDATE attempt
SET state = 'started', started_ms = ?3
WHERE stage_run = ?1 AND number = ?2 AND state = 'granted')sql";

// The fence: only the latest attempt has a result that counts, and only one.
constexpr char kAttemptEnded[] = R"sql(
UPDATE attempt
SET state = ?3, ended_ms = ?4, ended_seq = ?5
WHERE stage_run = ?1 AND number = ?2 AND ended_ms = 0
  AND number = (SELECT attempts FROM stage_run WHERE id = ?1))sql";

constexpr char kInsertMetric[] = R"sql(
INSERT INTO metric (stage_run, attempt, name, value)
VALUES (?1, ?2, ?3, ?4))sql";

constexpr char kInsertVerdict[] = R"sql(
INSERT INTO verdict (stage_run, attempt, rule, outcome, observed, bound)
VALUES (?1, ?2, ?3, ?4, ?5, ?6)
ON CONFLICT DO NOTHING)sql";

// The last attempt that came to a verdict is what counts.
constexpr char kPutGateResult[] = R"sql(
INSERT INTO gate_result (pipeline, gate, number, lane, event, passed, counts, at_ms)
SELECT run.pipeline, ?2, run.number, run.lane, run.id << 24 | ?3, ?4, ?4 AND run.trigger_kind <> 'reproduce', ?5
FROM run
WHERE run.id = ?1
ON CONFLICT (pipeline, gate, number)
  DO UPDATE SET event = excluded.event, passed = excluded.passed, counts = excluded.counts, at_ms = excluded.at_ms)sql";

constexpr char kInsertEdge[] = R"sql(
INSERT INTO lineage_edge (stage_run, attempt, role, version)
VALUES (?1, ?2, ?3, ?4)
ON CONFLICT DO NOTHING)sql";

constexpr char kInsertVersion[] = R"sql(
INSERT INTO version (kind, name, digest, artifact, is_tree, size, files, summary, first_seen_ms)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
ON CONFLICT (digest, kind, name) DO NOTHING)sql";

constexpr char kDeleteTombstone[] = R"sql(
DELETE FROM tombstone
WHERE digest = ?1)sql";

constexpr char kSelectVersion[] = R"sql(
SELECT id
FROM version
WHERE digest = ?1 AND kind = ?2 AND name = ?3
ORDER BY id
LIMIT 1)sql";

constexpr char kSelectLive[] = R"sql(
SELECT id
FROM deployment
WHERE pipeline = (SELECT pipeline FROM run WHERE id = ?1) AND environment = ?2 AND ended_ms IS NULL
ORDER BY id
LIMIT 1)sql";

constexpr char kEndDeployment[] = R"sql(
UPDATE deployment
SET ended_ms = ?2
WHERE id = ?1)sql";

constexpr char kInsertDeployment[] = R"sql(
INSERT INTO deployment (name, pipeline, environment, run, stage_run, attempt, package, model, agent, endpoint,
  started_ms, replaced)
VALUES (?1, (SELECT pipeline FROM run WHERE id = ?3), ?2, ?3, ?4, (SELECT attempts FROM stage_run WHERE id = ?4), ?5, ?6, ?7, ?8, ?9, ?10))sql";

constexpr char kStageEnded[] = R"sql(
UPDATE stage_run
SET state = ?2, reason = ?3, message = ?4, ended_ms = ?5
WHERE id = ?1 AND ended_ms = 0)sql";

constexpr char kCountStages[] = R"sql(
UPDATE run
SET stages_done = stages_done + ?2, gates_judged = gates_judged + ?3, gates_passed = gates_passed + ?4,
  gates_overridden = gates_overridden + ?5
WHERE id = ?1)sql";

constexpr char kCancelRequested[] = R"sql(
UPDATE run
SET cancel_requested = 1, cancel_reason = ?2, superseded_by = ?3
WHERE id = ?1)sql";

constexpr char kRunAdmitted[] = R"sql(
UPDATE run
SET state = 'running'
WHERE id = ?1 AND state = 'queued')sql";

constexpr char kStageCarried[] = R"sql(
UPDATE stage_run
SET state = 'succeeded', ended_ms = ?2, carried_seq = ?3
WHERE id = ?1 AND (state = 'blocked' OR state = 'ready'))sql";

constexpr char kStopRequested[] = R"sql(
UPDATE stage_run
SET stop_seq = ?2
WHERE id = ?1 AND stop_seq = 0 AND ended_ms = 0)sql";

constexpr char kRunEnded[] = R"sql(
UPDATE run
SET state = ?2, reason = ?3, message = ?4, ended_ms = ?5
WHERE id = ?1 AND (state = 'queued' OR state = 'running'))sql";

// Writes what follows from each event of one run; `std::visit` makes the compiler list this place.
class RunProjector {
 public:
  RunProjector(SqliteStateStore& store, OpenRun& run, const RunChange& change)
      : store_(store), database_(*store.database_), run_(run), id_(change.run), at_(change.at) {}

  // Writes the event and what follows from it.
  absl::Status Write(const core::Event& event) {
    CD4ML_ASSIGN_OR_RETURN(const std::string payload, EncodeEvent(event));
    seq_ = run_.next_seq++;
    // A run has no row before it is started.
    if (seq_ == 1) CD4ML_RETURN_IF_ERROR(std::visit(*this, event));
    CD4ML_RETURN_IF_ERROR(
        database_.Run(kInsertEvent, run_.row, seq_, at_, core::EventName(event), payload,
                      EventSum(run_.row, seq_, at_, core::EventName(event), payload)));
    return seq_ == 1 ? absl::OkStatus() : std::visit(*this, event);
  }

  absl::Status operator()(const core::RunStarted& event);
  absl::Status operator()(const core::StageReady& event) {
    CD4ML_ASSIGN_OR_RETURN(const OpenRun::Stage* stage, Find(event.stage));
    return database_.Run(kStageReady, stage->row, at_, event.not_before);
  }
  absl::Status operator()(const core::LeaseGranted& event) {
    CD4ML_ASSIGN_OR_RETURN(const OpenRun::Stage* stage, Find(event.stage));
    CD4ML_RETURN_IF_ERROR(One(event, database_.Run(kStageLeased, stage->row, event.number)));
    if (event.recipe.empty())
      return database_.Run(kInsertAttempt, stage->row, event.number, event.agent, at_, "", "", event.reuse_note);
    CD4ML_ASSIGN_OR_RETURN(const std::string recipe, Encode(event.recipe));
    return database_.Run(kInsertAttempt, stage->row, event.number, event.agent, at_, core::KeyOf(event.recipe).hex(),
                         recipe, event.reuse_note);
  }
  absl::Status operator()(const core::AttemptStarted& event) {
    CD4ML_ASSIGN_OR_RETURN(const OpenRun::Stage* stage, Find(event.stage));
    CD4ML_RETURN_IF_ERROR(One(event, database_.Run(kStageRunning, stage->row, event.number)));
    return One(event, database_.Run(kAttemptStarted, stage->row, event.number, at_));
  }
  absl::Status operator()(const core::AttemptEnded& event);
  absl::Status operator()(const core::VersionsProduced& event);
  absl::Status operator()(const core::Deployed& event);
  absl::Status operator()(const core::MonitorArmed&) {
    return absl::OkStatus();
  }  // A MonitorChange says more.
  absl::Status operator()(const core::StageEnded& event);
  absl::Status operator()(const core::CancelRequested& event) {
    return database_.Run(kCancelRequested, run_.row, event.reason, event.superseded_by);
  }
  absl::Status operator()(const core::RunAdmitted&) {
    CD4ML_RETURN_IF_ERROR(database_.Run(kRunAdmitted, run_.row));
    if (database_.changes() == 1) return absl::OkStatus();
    return absl::InvalidArgumentError("run " + id_ + " is not queued");
  }
  absl::Status operator()(const core::StageCarried& event);
  absl::Status operator()(const core::StopRequested& event) {
    CD4ML_ASSIGN_OR_RETURN(const OpenRun::Stage* stage, Find(event.stage));
    CD4ML_RETURN_IF_ERROR(database_.Run(kStopRequested, stage->row, seq_));
    if (database_.changes() == 1) return absl::OkStatus();
    return absl::InvalidArgumentError("stage " + id_ + "/" + event.stage + " cannot be stopped again");
  }
  absl::Status operator()(const core::RunEnded& event) {
    CD4ML_RETURN_IF_ERROR(database_.Run(kRunEnded, run_.row, core::ToText(event.state),
                                        core::ToText(event.reason), event.message, at_));
    if (database_.changes() != 1)
      return absl::InvalidArgumentError("run " + id_ + " has ended already");
    store_.ended_.push_back(id_);
    return absl::OkStatus();
  }

 private:
  absl::StatusOr<const OpenRun::Stage*> Find(const std::string& name) const {
    const auto found = run_.stages.find(name);
    if (found == run_.stages.end())
      return absl::InvalidArgumentError("run " + id_ + " has no stage \"" + name + "\"");
    return &found->second;
  }

  // Passes `status` on; refuses when nothing was changed, because the attempt is not the one that
  // counts.
  // Notes what a gate has found: in this event is its outcome.
  absl::Status PutGateResult(const std::string& stage, const core::Outcome& outcome) {
    const bool passed = outcome.state == core::AttemptState::kSucceeded;
    if (passed && !outcome.verdict->overrides.empty()) ++store_.counts_[run_.row].overridden;
    return database_.Run(kPutGateResult, run_.row, stage, seq_, passed, at_);
  }

  template <typename AttemptEvent>
  absl::Status One(const AttemptEvent& event, const absl::Status& status) const {
    CD4ML_RETURN_IF_ERROR(status);
    if (database_.changes() == 1) return absl::OkStatus();
    return absl::InvalidArgumentError(std::string(core::EventName(event)) +
                                      " does not fit attempt " +
                                      ToText(core::AttemptId{id_, event.stage, event.number}) +
                                      ": it is not the latest, or has gone further already");
  }

  SqliteStateStore& store_;
  Database& database_;
  OpenRun& run_;
  const core::RunId& id_;
  const UtcTime at_;
  int64_t seq_ = 0;
};

absl::Status RunProjector::operator()(const core::RunStarted& event) {
  if (seq_ != 1 || event.id != id_ ||
      event.id != event.pipeline + "/" + std::to_string(event.number)) {
    return absl::InvalidArgumentError("run_started of \"" + event.id + "\" cannot be event " +
                                      std::to_string(seq_) + " of run \"" + id_ + "\"");
  }
  CD4ML_ASSIGN_OR_RETURN(const int64_t pipeline, store_.PipelineRow(event.pipeline));
  const std::optional<std::string> key =
      event.trigger.key.empty() ? std::nullopt : std::optional<std::string>(event.trigger.key);
  CD4ML_RETURN_IF_ERROR(database_.Run(
      kInsertRun, pipeline, event.number, event.lane, core::ToText(event.trigger.kind), key,
      event.trigger.by, event.trigger.reason, event.pins.commit, event.pins.commit_subject, at_,
      static_cast<int64_t>(event.stages.size()), event.queued ? "queued" : "running"));
  run_.row = database_.last_insert_id();
  int position = 0;
  for (const core::StagePlan& plan : event.stages) {
    CD4ML_RETURN_IF_ERROR(
        database_.Run(kInsertStage, run_.row, position++, plan.name, core::ToText(plan.kind)));
    if (!run_.stages.emplace(plan.name, OpenRun::Stage{database_.last_insert_id(), plan.kind})
             .second) {
      return absl::InvalidArgumentError("run " + id_ + " has two stages \"" + plan.name + "\"");
    }
  }
  return absl::OkStatus();
}

absl::Status RunProjector::operator()(const core::AttemptEnded& event) {
  CD4ML_ASSIGN_OR_RETURN(const OpenRun::Stage* stage, Find(event.stage));
  CD4ML_RETURN_IF_ERROR(One(event, database_.Run(kAttemptEnded, stage->row, event.number,
                                                 core::ToText(event.state), at_, seq_)));
  for (const auto& [name, value] : event.outcome.metrics) {
    CD4ML_RETURN_IF_ERROR(database_.Run(kInsertMetric, stage->row, event.number, name, value));
  }
  if (!event.outcome.verdict.has_value()) return absl::OkStatus();
  for (const core::RuleResult& rule : event.outcome.verdict->rules) {
    CD4ML_RETURN_IF_ERROR(database_.Run(kInsertVerdict, stage->row, event.number, rule.name,
                                        core::ToText(rule.outcome), rule.observed, rule.bound));
  }
  return core::IsGate(stage->kind) ? PutGateResult(event.stage, event.outcome) : absl::OkStatus();
}

absl::Status RunProjector::operator()(const core::VersionsProduced& event) {
  CD4ML_ASSIGN_OR_RETURN(const OpenRun::Stage* stage, Find(event.stage));
  const auto write = [&](const std::vector<core::Version>& versions,
                         const char* role) -> absl::Status {
    for (const core::Version& version : versions) {
      CD4ML_ASSIGN_OR_RETURN(const std::optional<int64_t> row, store_.VersionRow(version, at_));
      if (!row.has_value())
        return absl::InvalidArgumentError("a version of stage \"" + event.stage + "\" has no name");
      CD4ML_RETURN_IF_ERROR(database_.Run(kInsertEdge, stage->row, event.number, role, *row));
    }
    return absl::OkStatus();
  };
  CD4ML_RETURN_IF_ERROR(write(event.used, "used"));
  return write(event.produced, "produced");
}

absl::Status RunProjector::operator()(const core::Deployed& event) {
  const core::Deployment& deployment = event.deployment;
  CD4ML_ASSIGN_OR_RETURN(const OpenRun::Stage* stage, Find(event.stage));
  CD4ML_ASSIGN_OR_RETURN(const std::optional<int64_t> package,
                         store_.VersionRow(deployment.package, at_));
  CD4ML_ASSIGN_OR_RETURN(const std::optional<int64_t> model,
                         store_.VersionRow(deployment.model, at_));
  std::optional<int64_t> replaced;
  {
    CD4ML_ASSIGN_OR_RETURN(Rows rows,
                           database_.Query(kSelectLive, run_.row, deployment.environment));
    if (rows.Next()) replaced = rows.Integer(0);
    CD4ML_RETURN_IF_ERROR(rows.status());
  }
  if (replaced.has_value()) CD4ML_RETURN_IF_ERROR(database_.Run(kEndDeployment, *replaced, at_));
  return database_.Run(kInsertDeployment, deployment.id, deployment.environment, run_.row,
                       stage->row, package, model, deployment.agent, deployment.endpoint, at_,
                       replaced);
}

absl::Status RunProjector::operator()(const core::StageCarried& event) {
  CD4ML_ASSIGN_OR_RETURN(const OpenRun::Stage* stage, Find(event.stage));
  CD4ML_RETURN_IF_ERROR(database_.Run(kStageCarried, stage->row, at_, seq_));
  if (database_.changes() != 1) {
    return absl::InvalidArgumentError("stage " + id_ + "/" + event.stage + " has gone further already");
  }
  Counts& counts = store_.counts_[run_.row];
  ++counts.done;
  counts.judged += core::IsGate(stage->kind);
  counts.passed += core::IsGate(stage->kind);
  const bool is_judged = core::IsGate(stage->kind) && event.carried.outcome.verdict.has_value();
  return is_judged ? PutGateResult(event.stage, event.carried.outcome) : absl::OkStatus();
}

absl::Status RunProjector::operator()(const core::StageEnded& event) {
  CD4ML_ASSIGN_OR_RETURN(const OpenRun::Stage* stage, Find(event.stage));
  CD4ML_RETURN_IF_ERROR(database_.Run(kStageEnded, stage->row, core::ToText(event.state),
                                      core::ToText(event.reason), event.message, at_));
  if (database_.changes() != 1) {
    return absl::InvalidArgumentError("stage " + id_ + "/" + event.stage + " has ended already");
  }
  Counts& counts = store_.counts_[run_.row];
  ++counts.done;
  if (!core::IsGate(stage->kind)) return absl::OkStatus();
  const bool passed = event.state == core::StageState::kSucceeded;
  counts.passed += passed;
  counts.judged += passed || event.reason == core::Reason::kGateRejected ||
             event.reason == core::Reason::kGateError;
  return absl::OkStatus();
}

// --- changes
// ---------------------------------------------------------------------------------------

constexpr char kSelectRunState[] = R"sql(
SELECT state, (SELECT MAX(run_event.id) & 0xffffff FROM run_event WHERE run_event.id > run.id << 24 AND run_event.id < (run.id + 1) << 24)
FROM run
WHERE id = ?1
ORDER BY id
LIMIT 1)sql";

constexpr char kSelectStageRows[] = R"sql(
SELECT id, name, kind
FROM stage_run
WHERE run = ?1
ORDER BY position
LIMIT 1000000)sql";

constexpr char kSelectPipelineRow[] = R"sql(
SELECT id
FROM pipeline
WHERE name = ?1
ORDER BY id
LIMIT 1)sql";

constexpr char kUpsertPipeline[] = R"sql(
INSERT INTO pipeline (name, repo, branch, file, description, good_commit, bad_commit, problems, registered_ms,
  checked_ms)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
ON CONFLICT (name) DO UPDATE SET repo = ?2, branch = ?3, file = ?4, description = ?5, good_commit = ?6,
  bad_commit = ?7, problems = ?8, registered_ms = ?9, checked_ms = ?10)sql";

constexpr char kUpsertAgent[] = R"sql(
INSERT INTO agent (name, instance, host, version, labels, slots, facts, first_seen_ms, last_seen_ms, cpu_millis,
  memory_bytes, gpus, drained, drain_reason)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
ON CONFLICT (name) DO UPDATE SET instance = ?2, host = ?3, version = ?4, labels = ?5, slots = ?6, facts = ?7,
  first_seen_ms = ?8, last_seen_ms = ?9, cpu_millis = ?10, memory_bytes = ?11, gpus = ?12, drained = ?13,
  drain_reason = ?14)sql";

constexpr char kUpsertMonitor[] = R"sql(
INSERT INTO monitor (pipeline, stage, environment, deployment, definition, armed_ms, next_check_ms, checks, broken,
  retrains, retrains_without_recovery, given_up)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
ON CONFLICT (pipeline, stage) DO UPDATE SET environment = ?3, deployment = ?4, definition = ?5, armed_ms = ?6,
  next_check_ms = ?7, checks = ?8, broken = ?9, retrains = ?10, retrains_without_recovery = ?11, given_up = ?12)sql";

constexpr char kInsertCheck[] = R"sql(
INSERT INTO monitor_check (monitor, number, at_ms, deployment, requests, verdict, breach, held_back, retrain_run)
VALUES ((SELECT id FROM monitor WHERE pipeline = ?1 AND stage = ?2), ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10))sql";

constexpr char kSelectDeploymentRow[] = R"sql(
SELECT id
FROM deployment
WHERE name = ?1
ORDER BY id
LIMIT 1)sql";

constexpr char kInsertPrediction[] = R"sql(
INSERT INTO prediction (deployment, key, at_ms, input, prediction)
VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT (key, deployment) DO NOTHING)sql";

absl::Status SqliteStateStore::Commit(const std::vector<Change>& changes) {
  CD4ML_RETURN_IF_ERROR(broken_);
  absl::Status status = CommitOnce(changes);
  if (absl::IsResourceExhausted(status) && GiveUpBallast()) status = CommitOnce(changes);
  CD4ML_RETURN_IF_ERROR(status);
  return database_->wal_frames() >= kCheckpointFrames ? Checkpoint() : absl::OkStatus();
}

absl::Status SqliteStateStore::CommitOnce(const std::vector<Change>& changes) {
  Transaction transaction(*database_);
  absl::Status status = transaction.Begin();
  for (size_t i = 0; status.ok() && i < changes.size(); ++i) {
    status = std::visit([this](const auto& change) { return Write(change); }, changes[i]);
  }
  if (status.ok()) status = WriteCounts();
  if (status.ok()) status = transaction.Commit();
  if (!status.ok()) {
    Forget();
    // SQLite has undone the transaction, or does so now; a failed read or write leaves its end
    // unknown.
    const bool undone = absl::IsInvalidArgument(status) || absl::IsResourceExhausted(status);
    if (!undone || !transaction.RollBack().ok()) return Break(status);
    return status;
  }
  for (const core::RunId& run : ended_) runs_.erase(run);
  ended_.clear();
  return absl::OkStatus();
}

absl::Status SqliteStateStore::WriteCounts() {
  for (const auto& [run, counts] : std::exchange(counts_, {})) {
    CD4ML_RETURN_IF_ERROR(database_->Run(kCountStages, run, counts.done, counts.judged, counts.passed,
                                         counts.overridden));
  }
  return absl::OkStatus();
}

absl::Status SqliteStateStore::Write(const RunChange& change) {
  if (change.events.empty()) return absl::OkStatus();
  const bool starts = std::holds_alternative<core::RunStarted>(change.events.front());
  OpenRun* run = nullptr;
  if (starts) {
    const auto [place, is_new] = runs_.try_emplace(change.run);
    if (!is_new)
      return absl::InvalidArgumentError("run " + change.run + " has been started already");
    run = &place->second;
  } else {
    CD4ML_ASSIGN_OR_RETURN(run, FindOpenRun(change.run));
  }
  if (change.first_seq != run->next_seq) {
    return absl::InvalidArgumentError("the next event of run " + change.run + " is number " +
                                      std::to_string(run->next_seq) + ", not " +
                                      std::to_string(change.first_seq));
  }
  RunProjector projector(*this, *run, change);
  for (const core::Event& event : change.events) CD4ML_RETURN_IF_ERROR(projector.Write(event));
  return absl::OkStatus();
}

absl::StatusOr<OpenRun*> SqliteStateStore::FindOpenRun(const core::RunId& id) {
  const auto found = runs_.find(id);
  if (found != runs_.end()) return &found->second;
  absl::StatusOr<int64_t> row = FindRunRow(*database_, id);
  if (absl::IsNotFound(row.status())) return absl::InvalidArgumentError(Message(row.status()));
  CD4ML_RETURN_IF_ERROR(row.status());
  OpenRun run;
  run.row = *row;
  {
    CD4ML_ASSIGN_OR_RETURN(Rows rows, database_->Query(kSelectRunState, run.row));
    const bool open = rows.Next() && (rows.Text(0) == "running" || rows.Text(0) == "queued");
    CD4ML_RETURN_IF_ERROR(rows.status());
    if (!open) return absl::InvalidArgumentError("run " + id + " has ended already");
    run.next_seq = rows.Integer(1) + 1;
  }
  CD4ML_ASSIGN_OR_RETURN(Rows rows, database_->Query(kSelectStageRows, run.row));
  while (rows.Next()) {
    OpenRun::Stage& stage = run.stages[rows.String(1)];
    stage.row = rows.Integer(0);
    CD4ML_RETURN_IF_ERROR(ReadWord(rows, 2, core::ParseStageKind, stage.kind));
  }
  CD4ML_RETURN_IF_ERROR(rows.status());
  return &(runs_[id] = std::move(run));
}

absl::StatusOr<std::optional<int64_t>> SqliteStateStore::VersionRow(const core::Version& version,
                                                                    UtcTime at) {
  if (version.name.empty()) return std::nullopt;
  std::string id = core::VersionId(version);
  const auto found = versions_.find(id);
  if (found != versions_.end()) return found->second;
  // Made again after it was removed: it is to be there from now on.
  CD4ML_RETURN_IF_ERROR(database_->Run(kDeleteTombstone, version.artifact.digest.hex()));
  CD4ML_RETURN_IF_ERROR(database_->Run(kInsertVersion, core::ToText(version.kind), version.name,
                                       version.digest, version.artifact.digest.hex(),
                                       version.artifact.is_tree, version.artifact.size,
                                       version.artifact.files, version.summary, at));
  int64_t row = database_->last_insert_id();
  if (database_->changes() == 0) {
    CD4ML_ASSIGN_OR_RETURN(Rows rows, database_->Query(kSelectVersion, version.digest,
                                                       core::ToText(version.kind), version.name));
    if (!rows.Next())
      return rows.status().ok() ? absl::InternalError("version " + id + " is gone") : rows.status();
    row = rows.Integer(0);
  }
  if (versions_.size() >= kVersionsKept) versions_.clear();
  versions_.emplace(std::move(id), row);
  return row;
}

absl::StatusOr<int64_t> SqliteStateStore::PipelineRow(const std::string& name) {
  CD4ML_ASSIGN_OR_RETURN(Rows rows, database_->Query(kSelectPipelineRow, name));
  if (rows.Next()) return rows.Integer(0);
  CD4ML_RETURN_IF_ERROR(rows.status());
  return absl::InvalidArgumentError("pipeline \"" + name + "\" is not registered");
}

absl::Status SqliteStateStore::Write(const PipelineChange& change) {
  const PipelineRecord& pipeline = change.pipeline;
  CD4ML_ASSIGN_OR_RETURN(const std::string problems, Encode(pipeline.problems));
  return database_->Run(kUpsertPipeline, pipeline.name, pipeline.repo, pipeline.branch,
                        pipeline.file, pipeline.description, pipeline.good_commit,
                        pipeline.bad_commit, problems, pipeline.registered, pipeline.checked);
}

absl::Status SqliteStateStore::Write(const AgentChange& change) {
  const AgentRecord& agent = change.agent;
  CD4ML_ASSIGN_OR_RETURN(const std::string labels, Encode(agent.labels));
  CD4ML_ASSIGN_OR_RETURN(const std::string facts, Encode(agent.facts));
  return database_->Run(kUpsertAgent, agent.name, agent.instance, agent.host, agent.version, labels,
                        agent.slots, facts, agent.first_seen, agent.last_seen,
                        agent.resources.cpu_millis, agent.resources.memory_bytes,
                        agent.resources.gpus, agent.drained, agent.drain_reason);
}

absl::Status SqliteStateStore::Write(const MonitorChange& change) {
  const core::MonitorState& monitor = change.monitor;
  CD4ML_ASSIGN_OR_RETURN(const int64_t pipeline, PipelineRow(monitor.pipeline));
  CD4ML_ASSIGN_OR_RETURN(const std::string broken, Encode(monitor.broken));
  CD4ML_ASSIGN_OR_RETURN(const std::string retrains, Encode(monitor.retrains));
  CD4ML_RETURN_IF_ERROR(database_->Run(kUpsertMonitor, pipeline, monitor.stage, monitor.environment,
                                       monitor.deployment, monitor.definition.hex(), monitor.armed,
                                       monitor.next_check, monitor.checks, broken, retrains,
                                       monitor.retrains_without_recovery, monitor.given_up));
  if (!change.check.has_value()) return absl::OkStatus();
  const MonitorCheckRecord& check = *change.check;
  if (check.monitor != monitor.id()) {
    return absl::InvalidArgumentError("a check of monitor " + check.monitor +
                                      " came with monitor " + monitor.id());
  }
  CD4ML_ASSIGN_OR_RETURN(const std::string verdict, Encode(check.verdict));
  return database_->Run(kInsertCheck, pipeline, monitor.stage, check.number, check.at,
                        check.deployment, check.requests, verdict, check.breach, check.held_back,
                        check.retrain_run);
}

absl::Status SqliteStateStore::Write(const PredictionChange& change) {
  int64_t added = 0;
  std::string deployment;
  int64_t row = 0;
  for (const PredictionRecord& prediction : change.predictions) {
    if (row == 0 || prediction.deployment != deployment) {
      deployment = prediction.deployment;
      CD4ML_ASSIGN_OR_RETURN(Rows rows, database_->Query(kSelectDeploymentRow, deployment));
      const bool found = rows.Next();
      CD4ML_RETURN_IF_ERROR(rows.status());
      if (!found)
        return absl::InvalidArgumentError("there is no deployment \"" + deployment + "\"");
      row = rows.Integer(0);
    }
    CD4ML_ASSIGN_OR_RETURN(const std::string input, Encode(prediction.input));
    CD4ML_RETURN_IF_ERROR(database_->Run(kInsertPrediction, row, prediction.key, prediction.at,
                                         input, prediction.prediction));
    added += database_->changes();
  }
  if (change.added != nullptr) *change.added = added;
  return absl::OkStatus();
}

constexpr char kUpsertClockMark[] = R"sql(
INSERT INTO clock_mark (id, at_ms, boot, steady_ms)
VALUES (1, ?1, ?2, ?3)
ON CONFLICT (id) DO UPDATE SET at_ms = ?1, boot = ?2, steady_ms = ?3)sql";

absl::Status SqliteStateStore::Write(const ClockChange& change) {
  return database_->Run(kUpsertClockMark, change.mark.at, change.mark.boot, int64_t{change.mark.steady.count()});
}

constexpr char kSelectByKey[] = R"sql(
SELECT pipeline.name || '/' || run.number
FROM run JOIN pipeline ON pipeline.id = run.pipeline
WHERE run.trigger_key = ?1
ORDER BY run.id
LIMIT 1)sql";

absl::StatusOr<std::optional<core::RunId>> SqliteStateStore::FindByKey(const std::string& key) {
  CD4ML_RETURN_IF_ERROR(broken_);
  CD4ML_ASSIGN_OR_RETURN(Rows rows, database_->Query(kSelectByKey, key));
  if (rows.Next()) return rows.String(0);
  if (!rows.status().ok()) return Break(rows.status());
  return std::nullopt;
}

void SqliteStateStore::Idle() {
  if (broken_.ok() && database_->wal_frames() > 0)
    (void)Checkpoint();  // A failure breaks the store: Commit tells.
}

void SqliteStateStore::Forget() {
  runs_.clear();
  versions_.clear();
  ended_.clear();
  counts_.clear();
}

absl::Status SqliteStateStore::Checkpoint() {
  const absl::Status status = database_->Checkpoint();
  if (status.ok()) return status;
  if (!absl::IsResourceExhausted(status)) return Break(status);
  if (GiveUpBallast()) return Checkpoint();
  // What is committed is durable in the log, which goes on growing.
  LogWarn("the database's log cannot be emptied because the disk is full",
          {{"why", Message(status)}});
  return absl::OkStatus();
}

bool SqliteStateStore::GiveUpBallast() {
  is_short_ = true;
  return ballast_.Release();
}

absl::Status SqliteStateStore::CheckSpace() {
  if (!is_short_) return absl::OkStatus();
  CD4ML_RETURN_IF_ERROR(broken_);
  CD4ML_RETURN_IF_ERROR(ballast_.Restore());
  // Only writing shows that there is space: this changes the first page, but nothing in it.
  CD4ML_ASSIGN_OR_RETURN(const std::string version, database_->Ask("PRAGMA user_version"));
  const absl::Status written = database_->Execute("PRAGMA user_version=" + version);
  if (absl::IsResourceExhausted(written)) {
    ballast_.Release();
    return absl::ResourceExhaustedError("the disk of the database is full (" + Message(written) +
                                        "); free some space");
  }
  if (!written.ok()) return Break(written);
  is_short_ = false;
  return absl::OkStatus();
}

absl::Status SqliteStateStore::Break(const absl::Status& status) {
  broken_ = absl::DataLossError(
      "the store has failed and what it holds is known only after a restart: " + Message(status));
  return broken_;
}

// --- loading
// ---------------------------------------------------------------------------------------

// Also those whose state is no word, which ReadRun then refuses. Every part is a range of one index; of terms
// joined by OR the planner makes a scan.
constexpr char kSelectOpenRuns[] = R"sql(
SELECT id FROM run WHERE state = 'queued'
UNION ALL SELECT id FROM run WHERE state = 'running'
UNION ALL SELECT id FROM run WHERE state < 'cancelled'
UNION ALL SELECT id FROM run WHERE state > 'cancelled' AND state < 'failed'
UNION ALL SELECT id FROM run WHERE state > 'failed' AND state < 'queued'
UNION ALL SELECT id FROM run WHERE state > 'queued' AND state < 'running'
UNION ALL SELECT id FROM run WHERE state > 'running' AND state < 'succeeded'
UNION ALL SELECT id FROM run WHERE state > 'succeeded'
ORDER BY id
LIMIT 1000000)sql";

// What is no number sorts behind all numbers, so the highest one is sought below those that cannot be.
constexpr char kSelectPipelines[] = R"sql(
SELECT id, name, repo, branch, file, description, good_commit, bad_commit, problems, registered_ms, checked_ms,
  (SELECT number FROM run WHERE run.pipeline = pipeline.id AND number < 9007199254740992 ORDER BY number DESC LIMIT 1)
FROM pipeline
ORDER BY name
LIMIT 1000000)sql";

constexpr char kSelectAgents[] = R"sql(
SELECT id, name, instance, host, version, labels, slots, facts, first_seen_ms, last_seen_ms, cpu_millis, memory_bytes,
  gpus, drained, drain_reason
FROM agent
ORDER BY name
LIMIT 1000000)sql";

constexpr char kSelectMonitors[] = R"sql(
SELECT monitor.id, pipeline.name, monitor.stage, monitor.environment, monitor.deployment, monitor.definition,
  monitor.armed_ms, monitor.next_check_ms, monitor.checks, monitor.broken, monitor.retrains,
  monitor.retrains_without_recovery, monitor.given_up
FROM monitor LEFT JOIN pipeline ON pipeline.id = monitor.pipeline
ORDER BY monitor.id
LIMIT 1000000)sql";

constexpr char kQuarantine[] = R"sql(
INSERT INTO quarantine (source, id, why)
VALUES (?1, ?2, ?3)
ON CONFLICT (source, id) DO UPDATE SET why = ?3)sql";

constexpr char kSelectIdentity[] = R"sql(
SELECT id
FROM identity
ORDER BY rowid
LIMIT 1)sql";

constexpr char kSelectClockMark[] = R"sql(
SELECT at_ms, boot, steady_ms
FROM clock_mark
ORDER BY id
LIMIT 1)sql";

absl::StatusOr<StoredState> SqliteStateStore::Load() {
  CD4ML_RETURN_IF_ERROR(broken_);
  StoredState state;
  {
    CD4ML_ASSIGN_OR_RETURN(Rows rows, database_->Query(kSelectIdentity));
    if (rows.Next()) state.id = rows.String(0);
    CD4ML_RETURN_IF_ERROR(rows.status());
  }
  {
    CD4ML_ASSIGN_OR_RETURN(Rows rows, database_->Query(kSelectClockMark));
    if (rows.Next()) state.clock = ClockMark{rows.Time(0), rows.String(1), Duration(rows.Integer(2))};
    CD4ML_RETURN_IF_ERROR(rows.status());
  }
  CD4ML_RETURN_IF_ERROR(LoadPipelines(state));
  CD4ML_RETURN_IF_ERROR(LoadAgents(state));
  CD4ML_RETURN_IF_ERROR(LoadRuns(state));
  CD4ML_RETURN_IF_ERROR(LoadDeployments(state));
  CD4ML_RETURN_IF_ERROR(LoadMonitors(state));
  return state;
}

absl::Status SqliteStateStore::Quarantine(StoredState& state, const char* table, int64_t row,
                                          const absl::Status& why) {
  if (why.ok() || !absl::IsInvalidArgument(why)) return why;
  LogError("a record cannot be read and is left out",
           {{"table", table}, {"row", std::to_string(row)}, {"why", Message(why)}});
  state.quarantined.push_back("row " + std::to_string(row) + " of table " + table + ": " + MakeUtf8(Message(why)));
  const absl::Status noted = database_->Run(kQuarantine, table, row, Message(why));
  if (!noted.ok()) LogWarn("the quarantine could not be written", {{"why", Message(noted)}});
  return absl::OkStatus();
}

absl::Status SqliteStateStore::LoadRuns(StoredState& state) {
  std::vector<int64_t> open;
  {
    CD4ML_ASSIGN_OR_RETURN(Rows rows, database_->Query(kSelectOpenRuns));
    while (rows.Next()) open.push_back(rows.Integer(0));
    CD4ML_RETURN_IF_ERROR(rows.status());
  }
  for (const int64_t row : open) {
    absl::StatusOr<core::Run> run = ReadRun(*database_, row);
    if (run.ok()) state.open_runs.push_back(*std::move(run));
    CD4ML_RETURN_IF_ERROR(Quarantine(state, "run", row, run.status()));
  }
  return absl::OkStatus();
}

absl::Status SqliteStateStore::LoadPipelines(StoredState& state) {
  CD4ML_ASSIGN_OR_RETURN(Rows rows, database_->Query(kSelectPipelines));
  while (rows.Next()) {
    PipelineRecord pipeline;
    pipeline.name = rows.String(1);
    pipeline.repo = rows.String(2);
    pipeline.branch = rows.String(3);
    pipeline.file = rows.String(4);
    pipeline.description = rows.String(5);
    pipeline.good_commit = rows.String(6);
    pipeline.bad_commit = rows.String(7);
    pipeline.registered = rows.Time(9);
    pipeline.checked = rows.Time(10);
    if (rows.Integer(11) > 0) state.last_run_number[pipeline.name] = rows.Integer(11);
    absl::Status status = rows.Check();
    status.Update(Decode(rows.Text(8), pipeline.problems));
    if (status.ok()) state.pipelines.push_back(std::move(pipeline));
    CD4ML_RETURN_IF_ERROR(Quarantine(state, "pipeline", rows.Integer(0), status));
  }
  return rows.status();
}

absl::Status SqliteStateStore::LoadAgents(StoredState& state) {
  CD4ML_ASSIGN_OR_RETURN(Rows rows, database_->Query(kSelectAgents));
  while (rows.Next()) {
    AgentRecord agent;
    agent.name = rows.String(1);
    agent.instance = rows.String(2);
    agent.host = rows.String(3);
    agent.version = rows.String(4);
    agent.slots = static_cast<int>(rows.Integer(6));
    agent.first_seen = rows.Time(8);
    agent.last_seen = rows.Time(9);
    agent.resources = {rows.Integer(10), rows.Integer(11), rows.Integer(12)};
    agent.drained = rows.Integer(13) != 0;
    agent.drain_reason = rows.String(14);
    absl::Status status = rows.Check();
    status.Update(Decode(rows.Text(5), agent.labels));
    status.Update(Decode(rows.Text(7), agent.facts));
    if (status.ok()) state.agents.push_back(std::move(agent));
    CD4ML_RETURN_IF_ERROR(Quarantine(state, "agent", rows.Integer(0), status));
  }
  return rows.status();
}

// Who takes up a deployment reads its run too.
absl::Status CheckRun(Database& database, const core::RunId& id) {
  const absl::StatusOr<int64_t> row = FindRunRow(database, id);
  if (absl::IsNotFound(row.status())) return absl::InvalidArgumentError(Message(row.status()));
  CD4ML_RETURN_IF_ERROR(row.status());
  return ReadRun(database, *row).status();
}

absl::Status SqliteStateStore::LoadDeployments(StoredState& state) {
  static const std::string kSelect =
      std::string(kDeploymentColumns) +
      "WHERE deployment.ended_ms IS NULL\nORDER BY deployment.environment\nLIMIT 100000";
  CD4ML_ASSIGN_OR_RETURN(Rows rows, database_->Query(kSelect.c_str()));
  while (rows.Next()) {
    absl::StatusOr<core::Deployment> deployment = ReadDeployment(rows);
    absl::Status status = deployment.status();
    if (status.ok()) status = CheckRun(*database_, deployment->run);
    if (status.ok()) state.live.push_back(*std::move(deployment));
    CD4ML_RETURN_IF_ERROR(Quarantine(state, "deployment", rows.Integer(26), status));
  }
  return rows.status();
}

absl::Status SqliteStateStore::LoadMonitors(StoredState& state) {
  CD4ML_ASSIGN_OR_RETURN(Rows rows, database_->Query(kSelectMonitors));
  while (rows.Next()) {
    core::MonitorState monitor;
    monitor.pipeline = rows.String(1);
    monitor.stage = rows.String(2);
    monitor.environment = rows.String(3);
    monitor.deployment = rows.String(4);
    monitor.armed = rows.Time(6);
    monitor.next_check = rows.Time(7);
    monitor.checks = rows.Integer(8);
    monitor.retrains_without_recovery = static_cast<int>(rows.Integer(11));
    monitor.given_up = rows.Integer(12) != 0;
    absl::Status status = rows.Check();
    if (rows.IsNull(1)) status.Update(absl::InvalidArgumentError("its pipeline is not there"));
    if (monitor.stage.empty()) status.Update(absl::InvalidArgumentError("it has no stage"));
    if (!rows.Text(5).empty()) {
      absl::StatusOr<Digest> definition = Digest::Parse(rows.Text(5));
      status.Update(definition.status());
      if (definition.ok()) monitor.definition = *std::move(definition);
    }
    status.Update(Decode(rows.Text(9), monitor.broken));
    status.Update(Decode(rows.Text(10), monitor.retrains));
    if (status.ok()) state.monitors.push_back(std::move(monitor));
    CD4ML_RETURN_IF_ERROR(Quarantine(state, "monitor", rows.Integer(0), status));
  }
  return rows.status();
}

}  // namespace cd4ml::store
