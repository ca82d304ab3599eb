// Lists and look-ups; each costs what it returns, however long the history is.
#include "history.h"

#include <algorithm>
#include <limits>

#include "encode.h"
#include "read.h"

namespace cd4ml::store {
namespace {

constexpr size_t kIdleConnectionsMax = 4;
constexpr int kRowsMax = 1'000;
constexpr int kPredictionsMax = 1'000'000;

constexpr char kRunColumns[] = R"sql(
SELECT pipeline.name, run.number, run.lane, run.state, run.reason, run.message, run.cancel_requested,
  run.trigger_kind, run.trigger_by, run.trigger_reason, run.commit_id, run.commit_subject, run.created_ms,
  run.ended_ms, run.stages_done, run.stages_total, run.gates_passed, run.gates_judged, run.gates_overridden
FROM run CROSS JOIN pipeline ON pipeline.id = run.pipeline
)sql";

// One query per kind of filter, so that each walks its own index backwards and stops at the limit.
const char* RunQuery(const RunFilter& filter) {
  static const std::string kAll = std::string(kRunColumns) + R"sql(WHERE run.id < ?1
ORDER BY run.id DESC
LIMIT ?2)sql";
  static const std::string kByState =
      std::string(kRunColumns) + R"sql(WHERE run.state = ?3 AND run.id < ?1
ORDER BY run.id DESC
LIMIT ?2)sql";
  static const std::string kByPipeline = std::string(kRunColumns) + R"sql(
WHERE run.pipeline = (SELECT id FROM pipeline WHERE name = ?4) AND run.number < ?1
ORDER BY run.number DESC
LIMIT ?2)sql";
  static const std::string kByBoth = std::string(kRunColumns) + R"sql(
WHERE run.pipeline = (SELECT id FROM pipeline WHERE name = ?4) AND run.state = ?3 AND run.number < ?1
ORDER BY run.number DESC
LIMIT ?2)sql";
  if (filter.pipeline.empty()) return (filter.state.has_value() ? kByState : kAll).c_str();
  return (filter.state.has_value() ? kByBoth : kByPipeline).c_str();
}

absl::StatusOr<RunSummary> ReadSummary(const Rows& rows) {
  core::Run run;
  CD4ML_RETURN_IF_ERROR(ReadWord(rows, 3, core::ParseRunState, run.state));
  CD4ML_RETURN_IF_ERROR(ReadWord(rows, 4, core::ParseReason, run.reason));
  run.cancel_requested = rows.Integer(6) != 0;
  RunSummary summary;
  CD4ML_RETURN_IF_ERROR(ReadWord(rows, 7, core::ParseTriggerKind, summary.trigger));
  summary.pipeline = rows.String(0);
  summary.id = summary.pipeline + "/" + std::to_string(rows.Integer(1));
  summary.lane = rows.String(2);
  summary.state = run.state;
  summary.word = core::Word(run);
  summary.message = rows.String(5);
  summary.trigger_by = rows.String(8);
  summary.trigger_reason = rows.String(9);
  summary.commit = rows.String(10);
  summary.commit_subject = rows.String(11);
  summary.created = rows.Time(12);
  summary.ended = rows.Time(13);
  summary.stages_done = static_cast<int>(rows.Integer(14));
  summary.stages_total = static_cast<int>(rows.Integer(15));
  summary.gates_passed = static_cast<int>(rows.Integer(16));
  summary.gates_judged = static_cast<int>(rows.Integer(17));
  summary.gates_overridden = static_cast<int>(rows.Integer(18));
  return summary;
}

absl::StatusOr<std::vector<RunSummary>> ReadRuns(Database& database, const RunFilter& filter) {
  int64_t before = std::numeric_limits<int64_t>::max();
  if (!filter.before.empty()) {
    CD4ML_ASSIGN_OR_RETURN(before, FindRunRow(database, filter.before));
    if (!filter.pipeline.empty()) before = ParseRunName(filter.before).number;
  }
  const std::string state(filter.state.has_value() ? core::ToText(*filter.state) : "");
  CD4ML_ASSIGN_OR_RETURN(
      Rows rows, database.Query(RunQuery(filter), before, std::clamp(filter.limit, 1, kRowsMax),
                                state, filter.pipeline));
  std::vector<RunSummary> runs;
  while (rows.Next()) {
    // What cannot be read was reported at start; it must not hide the others.
    if (absl::StatusOr<RunSummary> run = ReadSummary(rows); run.ok())
      runs.push_back(*std::move(run));
  }
  CD4ML_RETURN_IF_ERROR(rows.status());
  return runs;
}

// What was live at one moment. Whoever took over ended the one before, so each row knows its own
// span.
constexpr char kLiveAt[] = R"sql(
WHERE (deployment.ended_ms IS NULL OR deployment.ended_ms > ?1)
  AND deployment.started_ms <= ?1
  AND (?2 = '' OR deployment.environment = ?2)
ORDER BY deployment.started_ms DESC, deployment.id DESC
LIMIT ?3)sql";

absl::StatusOr<std::vector<core::Deployment>> ReadDeployments(Database& database,
                                                              const std::string& environment,
                                                              UtcTime at, int limit) {
  static const std::string kAll = std::string(kDeploymentColumns) + R"sql(
ORDER BY deployment.started_ms DESC, deployment.id DESC
LIMIT ?3)sql";
  static const std::string kOfOne = std::string(kDeploymentColumns) + R"sql(
WHERE deployment.environment = ?2
ORDER BY deployment.started_ms DESC, deployment.id DESC
LIMIT ?3)sql";
  static const std::string kThen = std::string(kDeploymentColumns) + kLiveAt;
  const std::string& query = at.is_set() ? kThen : environment.empty() ? kAll : kOfOne;
  CD4ML_ASSIGN_OR_RETURN(
      Rows rows, database.Query(query.c_str(), at, environment, std::clamp(limit, 1, kRowsMax)));
  std::vector<core::Deployment> deployments;
  while (rows.Next()) {
    if (auto deployment = ReadDeployment(rows); deployment.ok())
      deployments.push_back(*std::move(deployment));
  }
  CD4ML_RETURN_IF_ERROR(rows.status());
  return deployments;
}

// What cannot be read is made again.
constexpr char kSelectResult[] = R"sql(
SELECT pipeline.name || '/' || run.number, stage_run.name, attempt.number, attempt.ended_ms, attempt.recipe,
  run_event.id, run_event.at_ms, run_event.kind, run_event.payload, run_event.digest
FROM attempt
CROSS JOIN stage_run ON stage_run.id = attempt.stage_run
CROSS JOIN run ON run.id = stage_run.run
CROSS JOIN pipeline ON pipeline.id = run.pipeline
CROSS JOIN run_event ON run_event.id = run.id << 24 | attempt.ended_seq
WHERE attempt.recipe_key = ?1 AND attempt.recipe_key <> '' AND attempt.state = 'succeeded'
ORDER BY attempt.ended_ms DESC
LIMIT 1)sql";

// A longer look would cost more than the answer is worth.
constexpr char kSelectLastResult[] = R"sql(
SELECT ?1 || '/' || run.number, stage_run.name, attempt.number, attempt.ended_ms, attempt.recipe, NULL
FROM (
  SELECT id, number
  FROM run
  WHERE pipeline = (SELECT id FROM pipeline WHERE name = ?1)
  ORDER BY number DESC
  LIMIT 100) AS run
CROSS JOIN stage_run ON stage_run.run = run.id AND stage_run.name = ?2
CROSS JOIN attempt ON attempt.stage_run = stage_run.id
WHERE attempt.recipe_key <> '' AND attempt.state = 'succeeded'
ORDER BY run.number DESC, attempt.number DESC
LIMIT 1)sql";

absl::StatusOr<std::optional<ReusableResult>> ReadResult(absl::StatusOr<Rows> queried) {
  CD4ML_ASSIGN_OR_RETURN(Rows rows, std::move(queried));
  std::optional<ReusableResult> result;
  if (rows.Next()) {
    result.emplace();
    result->carried.from = {rows.String(0), rows.String(1), static_cast<int>(rows.Integer(2))};
    result->carried.reused = true;
    result->ended = rows.Time(3);
    absl::Status status = Decode(rows.Text(4), result->recipe);
    if (status.ok() && !rows.IsNull(5)) {
      absl::StatusOr<core::Event> event = ReadEvent(rows, 5, "attempt_ended");
      status = event.status();
      if (event.ok()) result->carried.outcome = std::move(std::get<core::AttemptEnded>(*event).outcome);
    }
    if (!status.ok()) result.reset();
  }
  CD4ML_RETURN_IF_ERROR(rows.status());
  return result;
}

constexpr char kSelectPredictions[] = R"sql(
SELECT key, at_ms, input, prediction
FROM prediction
WHERE deployment = (SELECT id FROM deployment WHERE name = ?1) AND at_ms >= ?2 AND at_ms < ?3
ORDER BY at_ms DESC, id DESC
LIMIT ?4)sql";

absl::StatusOr<std::vector<PredictionRecord>> ReadPredictions(Database& database,
                                                              const std::string& deployment,
                                                              UtcTime from, UtcTime to, int limit) {
  CD4ML_ASSIGN_OR_RETURN(Rows rows, database.Query(kSelectPredictions, deployment, from, to,
                                                   std::clamp(limit, 1, kPredictionsMax)));
  std::vector<PredictionRecord> predictions;
  while (rows.Next()) {
    PredictionRecord prediction;
    prediction.deployment = deployment;
    prediction.key = rows.String(0);
    prediction.at = rows.Time(1);
    prediction.prediction = rows.Real(3);
    if (Decode(rows.Text(2), prediction.input).ok()) predictions.push_back(std::move(prediction));
  }
  CD4ML_RETURN_IF_ERROR(rows.status());
  std::reverse(predictions.begin(), predictions.end());
  return predictions;
}

constexpr char kSelectChecks[] = R"sql(
SELECT number, at_ms, deployment, requests, verdict, breach, held_back, retrain_run
FROM monitor_check
WHERE monitor = (
  SELECT monitor.id
  FROM monitor JOIN pipeline ON pipeline.id = monitor.pipeline
  WHERE pipeline.name = ?1 AND monitor.stage = ?2)
ORDER BY number DESC
LIMIT ?3)sql";

absl::StatusOr<std::vector<MonitorCheckRecord>> ReadChecks(Database& database,
                                                           const std::string& monitor, int limit) {
  const size_t slash = monitor.find('/');
  if (slash == std::string::npos)
    return absl::InvalidArgumentError("a monitor is named \"pipeline/stage\"");
  CD4ML_ASSIGN_OR_RETURN(
      Rows rows, database.Query(kSelectChecks, monitor.substr(0, slash), monitor.substr(slash + 1),
                                std::clamp(limit, 1, kRowsMax)));
  std::vector<MonitorCheckRecord> checks;
  while (rows.Next()) {
    MonitorCheckRecord check;
    check.monitor = monitor;
    check.number = rows.Integer(0);
    check.at = rows.Time(1);
    check.deployment = rows.String(2);
    check.requests = rows.Integer(3);
    check.breach = rows.String(5);
    check.held_back = rows.String(6);
    check.retrain_run = rows.String(7);
    if (Decode(rows.Text(4), check.verdict).ok()) checks.push_back(std::move(check));
  }
  CD4ML_RETURN_IF_ERROR(rows.status());
  return checks;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Database>> SqliteHistory::Take() {
  {
    const std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      std::unique_ptr<Database> database = std::move(idle_.back());
      idle_.pop_back();
      return database;
    }
  }
  absl::StatusOr<std::unique_ptr<Database>> database =
      Database::Open(options_.path, options_.vfs, Database::Access::kRead);
  if (absl::IsDataLoss(database.status()) && options_.fail_stop) {
    options_.fail_stop(database.status());
  }
  if (!database.ok()) return Annotate(database.status(), "database " + options_.path);
  (*database)->OnFailure(options_.fail_stop);
  return database;
}

void SqliteHistory::GiveBack(std::unique_ptr<Database> database) {
  const std::lock_guard lock(mutex_);
  if (idle_.size() < kIdleConnectionsMax) idle_.push_back(std::move(database));
}

template <typename Result, typename Read>
absl::StatusOr<Result> SqliteHistory::InTransaction(Read read) {
  CD4ML_ASSIGN_OR_RETURN(std::unique_ptr<Database> database, Take());
  CD4ML_RETURN_IF_ERROR(database->Run("BEGIN"));
  absl::StatusOr<Result> result = read(*database);
  const absl::Status ended = database->Run("ROLLBACK");
  if (ended.ok()) GiveBack(std::move(database));
  return result;
}

absl::Status SqliteHistory::Probe() {
  return InTransaction<bool>([](Database&) { return true; }).status();
}

absl::StatusOr<core::Run> SqliteHistory::GetRun(const core::RunId& id) {
  return InTransaction<core::Run>([&](Database& database) -> absl::StatusOr<core::Run> {
    CD4ML_ASSIGN_OR_RETURN(const int64_t row, FindRunRow(database, id));
    absl::StatusOr<core::Run> run = ReadRun(database, row);
    if (!absl::IsInvalidArgument(run.status())) return run;
    return absl::DataLossError("run " + id + " cannot be read: " + Message(run.status()));
  });
}

absl::StatusOr<std::vector<RunSummary>> SqliteHistory::ListRuns(const RunFilter& filter) {
  return InTransaction<std::vector<RunSummary>>(
      [&](Database& database) { return ReadRuns(database, filter); });
}

absl::StatusOr<std::vector<core::Deployment>> SqliteHistory::ListDeployments(
    const std::string& environment, UtcTime at, int limit) {
  return InTransaction<std::vector<core::Deployment>>(
      [&](Database& database) { return ReadDeployments(database, environment, at, limit); });
}

absl::StatusOr<std::optional<ReusableResult>> SqliteHistory::FindResult(const Digest& recipe) {
  return InTransaction<std::optional<ReusableResult>>(
      [&](Database& database) { return ReadResult(database.Query(kSelectResult, recipe.hex())); });
}

absl::StatusOr<std::optional<ReusableResult>> SqliteHistory::LastResult(const std::string& pipeline,
                                                                        const std::string& stage) {
  return InTransaction<std::optional<ReusableResult>>(
      [&](Database& database) { return ReadResult(database.Query(kSelectLastResult, pipeline, stage)); });
}

absl::StatusOr<LineageGraph> SqliteHistory::TraceLineage(const std::string& reference,
                                                         LineageDirection direction,
                                                         int depth_max) {
  return InTransaction<LineageGraph>([&](Database& database) {
    return TraceLineageIn(database, reference, direction, depth_max);
  });
}

absl::StatusOr<Impact> SqliteHistory::FindImpact(const std::string& reference) {
  return InTransaction<Impact>([&](Database& database) { return FindImpactIn(database, reference); });
}

absl::StatusOr<std::vector<core::Origin>> SqliteHistory::FindOrigins(const std::string& reference,
                                                                     bool upstream) {
  return InTransaction<std::vector<core::Origin>>(
      [&](Database& database) { return FindOriginsIn(database, reference, upstream); });
}

absl::StatusOr<std::vector<PredictionRecord>> SqliteHistory::Predictions(
    const std::string& deployment, UtcTime from, UtcTime to, int limit) {
  return InTransaction<std::vector<PredictionRecord>>(
      [&](Database& database) { return ReadPredictions(database, deployment, from, to, limit); });
}

absl::StatusOr<std::vector<MonitorCheckRecord>> SqliteHistory::MonitorChecks(
    const std::string& monitor, int limit) {
  return InTransaction<std::vector<MonitorCheckRecord>>(
      [&](Database& database) { return ReadChecks(database, monitor, limit); });
}

absl::StatusOr<std::vector<GateRecord>> SqliteHistory::GateHistory(const std::string& pipeline,
                                                                   const std::string& gate, int limit) {
  return InTransaction<std::vector<GateRecord>>([&](Database& database) {
    return ReadGateHistory(database, pipeline, gate, std::clamp(limit, 1, kRowsMax));
  });
}

absl::StatusOr<std::optional<GateRecord>> SqliteHistory::FindGate(const core::RunId& run, const std::string& gate) {
  return InTransaction<std::optional<GateRecord>>(
      [&](Database& database) { return ReadGate(database, run, gate); });
}

absl::StatusOr<std::optional<GateRecord>> SqliteHistory::LastPassed(const std::string& pipeline, const std::string& gate,
                                                                    int64_t before, UtcTime at) {
  return InTransaction<std::optional<GateRecord>>(
      [&](Database& database) { return ReadLastPassed(database, pipeline, gate, before, at); });
}

absl::StatusOr<std::vector<core::OverrideRecord>> SqliteHistory::OverridesOf(const std::string& pipeline,
                                                                             const std::string& gate, UtcTime at) {
  return InTransaction<std::vector<core::OverrideRecord>>(
      [&](Database& database) { return ReadOverridesOf(database, pipeline, gate, at); });
}

absl::StatusOr<std::vector<core::OverrideRecord>> SqliteHistory::ListOverrides(const std::string& pipeline, int limit) {
  return InTransaction<std::vector<core::OverrideRecord>>([&](Database& database) {
    return ReadOverrides(database, pipeline, std::clamp(limit, 1, kRowsMax));
  });
}

absl::StatusOr<std::optional<core::OverrideRecord>> SqliteHistory::FindOverride(int64_t id) {
  return InTransaction<std::optional<core::OverrideRecord>>(
      [&](Database& database) { return ReadOverride(database, id); });
}

}  // namespace cd4ml::store
