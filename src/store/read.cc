// Puts runs and deployments together from their rows and events.
#include "read.h"

#include <charconv>
#include <limits>
#include <set>
#include <vector>

#include "encode.h"

namespace cd4ml::store {
namespace {

constexpr char kSelectRunRow[] = R"sql(
SELECT run.id
FROM pipeline JOIN run ON run.pipeline = pipeline.id
WHERE pipeline.name = ?1 AND run.number = ?2
ORDER BY run.id
LIMIT 1)sql";

constexpr char kSelectRun[] = R"sql(
SELECT pipeline.name || '/' || run.number, run.state, run.reason, run.message, run.cancel_requested,
  run.cancel_reason, run.created_ms, run.ended_ms,
  (SELECT MAX(run_event.id) & 0xffffff FROM run_event WHERE run_event.id > run.id << 24 AND run_event.id < (run.id + 1) << 24), run.superseded_by,
  run_event.id, run_event.at_ms, run_event.kind, run_event.payload, run_event.digest
FROM run
LEFT JOIN pipeline ON pipeline.id = run.pipeline
LEFT JOIN run_event ON run_event.id = run.id << 24 | 1
WHERE run.id = ?1
ORDER BY run.id
LIMIT 1)sql";

// Bounded by the run's plan.
constexpr char kSelectStages[] = R"sql(
SELECT position, name, state, reason, message, ready_ms, not_before_ms, ended_ms, attempts, first_ready_ms,
  stage_run.kind, carried.id, carried.at_ms, carried.kind, carried.payload, carried.digest,
  stop.id, stop.at_ms, stop.kind, stop.payload, stop.digest
FROM stage_run
LEFT JOIN run_event AS carried ON carried_seq > 0 AND carried.id = stage_run.run << 24 | carried_seq
LEFT JOIN run_event AS stop ON stop_seq > 0 AND stop.id = stage_run.run << 24 | stop_seq
WHERE stage_run.run = ?1
ORDER BY position
LIMIT 1000000)sql";

constexpr char kSelectAttempts[] = R"sql(
SELECT stage_run.position, attempt.number, attempt.agent, attempt.state, attempt.granted_ms, attempt.started_ms,
  attempt.ended_ms, attempt.recipe, attempt.reuse_note,
  run_event.id, run_event.at_ms, run_event.kind, run_event.payload, run_event.digest
FROM stage_run
CROSS JOIN attempt ON attempt.stage_run = stage_run.id
LEFT JOIN run_event ON run_event.id = stage_run.run << 24 | attempt.ended_seq
WHERE stage_run.run = ?1
ORDER BY stage_run.position, attempt.number
LIMIT 10000000)sql";

absl::Status Unreadable(const std::string& what) { return absl::InvalidArgumentError(what); }

absl::Status ReadFacts(Database& database, int64_t row, core::Run& run) {
  CD4ML_ASSIGN_OR_RETURN(Rows rows, database.Query(kSelectRun, row));
  if (!rows.Next()) return rows.status().ok() ? absl::NotFoundError("no such run") : rows.status();
  CD4ML_RETURN_IF_ERROR(rows.Check());
  CD4ML_ASSIGN_OR_RETURN(const core::Event event, ReadEvent(rows, 10, "run_started"));
  const auto& started = std::get<core::RunStarted>(event);
  if (started.id != rows.Text(0)) return Unreadable("its events are of run \"" + started.id + "\"");
  CD4ML_RETURN_IF_ERROR(ReadWord(rows, 1, core::ParseRunState, run.state));
  CD4ML_RETURN_IF_ERROR(ReadWord(rows, 2, core::ParseReason, run.reason));
  run.id = started.id;
  run.pipeline = started.pipeline;
  run.number = started.number;
  run.lane = started.lane;
  run.trigger = started.trigger;
  run.pins = started.pins;
  for (const core::StagePlan& plan : started.stages) run.stages.emplace_back().plan = plan;
  run.message = rows.String(3);
  run.cancel_requested = rows.Integer(4) != 0;
  run.cancel_reason = rows.String(5);
  run.created = rows.Time(6);
  run.ended = rows.Time(7);
  run.next_seq = rows.Integer(8) + 1;
  run.superseded_by = rows.String(9);
  run.priority = started.priority;
  run.concurrency = started.concurrency;
  run.retry_of = started.retry_of;
  return absl::OkStatus();
}

// `attempts` becomes how many each stage has had.
absl::Status ReadStages(Database& database, int64_t row, core::Run& run,
                        std::vector<int64_t>& attempts) {
  CD4ML_ASSIGN_OR_RETURN(Rows rows, database.Query(kSelectStages, row));
  size_t count = 0;
  while (rows.Next()) {
    CD4ML_RETURN_IF_ERROR(rows.Check(9));
    if (count == run.stages.size() || rows.Integer(0) != static_cast<int64_t>(count) ||
        rows.Text(1) != run.stages[count].plan.name ||
        rows.Text(10) != core::ToText(run.stages[count].plan.kind)) {
      return Unreadable("its stages are not those of its plan");
    }
    core::StageRun& stage = run.stages[count++];
    CD4ML_RETURN_IF_ERROR(ReadWord(rows, 2, core::ParseStageState, stage.state));
    CD4ML_RETURN_IF_ERROR(ReadWord(rows, 3, core::ParseReason, stage.reason));
    stage.message = rows.String(4);
    stage.ready = rows.Time(5);
    stage.not_before = rows.Time(6);
    stage.ended = rows.Time(7);
    attempts.push_back(rows.Integer(8));
    stage.first_ready = rows.Time(9);
    if (!rows.IsNull(11)) {
      CD4ML_ASSIGN_OR_RETURN(core::Event event, ReadEvent(rows, 11, "stage_carried"));
      stage.carried = std::move(std::get<core::StageCarried>(event).carried);
    }
    if (!rows.IsNull(16)) {
      CD4ML_ASSIGN_OR_RETURN(core::Event event, ReadEvent(rows, 16, "stop_requested"));
      stage.stop = std::move(std::get<core::StopRequested>(event).stop);
    }
  }
  CD4ML_RETURN_IF_ERROR(rows.status());
  if (count != run.stages.size()) return Unreadable("some of its stages are missing");
  return absl::OkStatus();
}

absl::Status ReadAttempts(Database& database, int64_t row, core::Run& run) {
  CD4ML_ASSIGN_OR_RETURN(Rows rows, database.Query(kSelectAttempts, row));
  while (rows.Next()) {
    CD4ML_RETURN_IF_ERROR(rows.Check(7));
    core::StageRun& stage = run.stages[static_cast<size_t>(rows.Integer(0))];
    core::Attempt& attempt = stage.attempts.emplace_back();
    if (rows.Integer(1) != static_cast<int64_t>(stage.attempts.size()))
      return Unreadable("an attempt is missing");
    attempt.number = static_cast<int>(rows.Integer(1));
    attempt.agent = rows.String(2);
    CD4ML_RETURN_IF_ERROR(ReadWord(rows, 3, core::ParseAttemptState, attempt.state));
    attempt.granted = rows.Time(4);
    attempt.started = rows.Time(5);
    attempt.ended = rows.Time(6);
    if (!rows.Text(7).empty()) CD4ML_RETURN_IF_ERROR(Decode(rows.Text(7), attempt.recipe));
    attempt.reuse_note = rows.String(8);
    if (!core::IsTerminal(attempt.state)) continue;
    CD4ML_ASSIGN_OR_RETURN(core::Event event, ReadEvent(rows, 9, "attempt_ended"));
    attempt.outcome = std::move(std::get<core::AttemptEnded>(event).outcome);
  }
  return rows.status();
}

// Reindex crashes on what is no plan, and a commit is refused that contradicts the rows; a damaged row must not
// lead there.
absl::Status CheckPlan(const core::Run& run, const std::vector<int64_t>& attempts) {
  std::set<std::string, std::less<>> names;
  size_t position = 0;
  for (const core::StageRun& stage : run.stages) {
    if (!names.insert(stage.plan.name).second)
      return Unreadable("its plan has two stages \"" + stage.plan.name + "\"");
    for (const std::string& need : stage.plan.needs) {
      if (!names.contains(need)) return Unreadable("its plan lacks stage \"" + need + "\"");
    }
    if (attempts[position++] != static_cast<int64_t>(stage.attempts.size()))
      return Unreadable("some attempts of stage \"" + stage.plan.name + "\" are missing");
    const core::Attempt* latest = stage.latest();
    const bool is_granted = latest != nullptr && latest->state == core::AttemptState::kGranted;
    const bool is_started = latest != nullptr && latest->state == core::AttemptState::kStarted;
    if (is_granted != (stage.state == core::StageState::kLeased) ||
        is_started != (stage.state == core::StageState::kRunning) ||
        ((is_granted || is_started) && latest->ended.is_set()) ||
        (!core::IsTerminal(stage.state) && stage.ended.is_set())) {
      return Unreadable("stage \"" + stage.plan.name + "\" is not as far as its latest attempt");
    }
  }
  return absl::OkStatus();
}

}  // namespace

RunName ParseRunName(std::string_view text) {
  RunName name;
  const size_t slash = text.rfind('/');
  if (slash == std::string_view::npos) return name;
  const auto [end, error] =
      std::from_chars(text.data() + slash + 1, text.data() + text.size(), name.number);
  if (error != std::errc() || end != text.data() + text.size() || name.number < 1) return RunName();
  name.pipeline = text.substr(0, slash);
  return name;
}

absl::Status CheckEvent(const Rows& rows, int column) {
  const int64_t id = rows.Integer(column);
  if (rows.IsNull(column)) return Unreadable("one of its events is not there");
  const int64_t run = id >> 24, seq = id & 0xffffff;
  if (EventSum(run, seq, rows.Time(column + 1), rows.Text(column + 2), rows.Text(column + 3)) == rows.Text(column + 4)) {
    return absl::OkStatus();
  }
  return Unreadable("its event " + std::to_string(seq) + " is not as it was written");
}

absl::StatusOr<core::Event> ReadEvent(const Rows& rows, int column, std::string_view kind) {
  CD4ML_RETURN_IF_ERROR(CheckEvent(rows, column));
  if (rows.Text(column + 2) != kind) {
    return Unreadable("an event of it is " + rows.String(column + 2) + " and not " + std::string(kind));
  }
  return DecodeEvent(kind, rows.Text(column + 3));
}

absl::StatusOr<int64_t> FindRunRow(Database& database, const core::RunId& id) {
  const RunName name = ParseRunName(id);
  CD4ML_ASSIGN_OR_RETURN(Rows rows, database.Query(kSelectRunRow, name.pipeline, name.number));
  if (rows.Next()) return rows.Integer(0);
  CD4ML_RETURN_IF_ERROR(rows.status());
  return absl::NotFoundError("there is no run \"" + id + "\"");
}

absl::StatusOr<core::Run> ReadRun(Database& database, int64_t row) {
  core::Run run;
  CD4ML_RETURN_IF_ERROR(ReadFacts(database, row, run));
  std::vector<int64_t> attempts;
  CD4ML_RETURN_IF_ERROR(ReadStages(database, row, run, attempts));
  CD4ML_RETURN_IF_ERROR(ReadAttempts(database, row, run));
  CD4ML_RETURN_IF_ERROR(CheckPlan(run, attempts));
  core::Reindex(run);
  return run;
}

const char kDeploymentColumns[] = R"sql(
SELECT deployment.name, deployment.environment, pipeline.name, run.number, stage_run.name, deployment.agent,
  deployment.endpoint, deployment.started_ms, deployment.ended_ms, earlier.name,
  package.kind, package.name, package.digest, package.artifact, package.is_tree, package.size, package.files,
  package.summary,
  model.kind, model.name, model.digest, model.artifact, model.is_tree, model.size, model.files, model.summary,
  deployment.id, deployment.attempt
FROM deployment
LEFT JOIN run ON run.id = deployment.run
LEFT JOIN pipeline ON pipeline.id = run.pipeline
LEFT JOIN stage_run ON stage_run.id = deployment.stage_run
LEFT JOIN deployment AS earlier ON earlier.id = deployment.replaced
LEFT JOIN version AS package ON package.id = deployment.package
LEFT JOIN version AS model ON model.id = deployment.model
)sql";

absl::StatusOr<core::Version> ReadVersion(const Rows& rows, int column) {
  core::Version version;
  if (rows.IsNull(column)) return version;
  CD4ML_RETURN_IF_ERROR(ReadWord(rows, column, core::ParseVersionKind, version.kind));
  version.name = rows.String(column + 1);
  version.digest = rows.String(column + 2);
  if (!rows.Text(column + 3).empty()) {
    CD4ML_ASSIGN_OR_RETURN(version.artifact.digest, Digest::Parse(rows.Text(column + 3)));
  }
  version.artifact.is_tree = rows.Integer(column + 4) != 0;
  version.artifact.size = rows.Integer(column + 5);
  version.artifact.files = rows.Integer(column + 6);
  version.summary = rows.String(column + 7);
  return version;
}

absl::StatusOr<core::Deployment> ReadDeployment(const Rows& rows) {
  core::Deployment deployment;
  CD4ML_RETURN_IF_ERROR(rows.Check());
  if (rows.Text(0).empty() || rows.IsNull(2) || rows.IsNull(4))
    return Unreadable("its run is not there");
  deployment.id = rows.String(0);
  deployment.environment = rows.String(1);
  deployment.pipeline = rows.String(2);
  deployment.run = rows.String(2) + "/" + std::to_string(rows.Integer(3));
  deployment.stage = rows.String(4);
  deployment.agent = rows.String(5);
  deployment.endpoint = rows.String(6);
  deployment.started = rows.Time(7);
  deployment.ended = rows.Time(8);
  deployment.replaced = rows.String(9);
  CD4ML_ASSIGN_OR_RETURN(deployment.package, ReadVersion(rows, 10));
  CD4ML_ASSIGN_OR_RETURN(deployment.model, ReadVersion(rows, 18));
  return deployment;
}

}  // namespace cd4ml::store
