// Walks from predictions, deployments, attempts and versions to what they came from, or to what
// became of them.
#include <algorithm>
#include <deque>
#include <limits>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "encode.h"
#include "history.h"
#include "read.h"

namespace cd4ml::store {
namespace {

using Kind = LineageNode::Kind;

constexpr size_t kNodesMax = 2'000;
constexpr int kDepthMax = 100;
constexpr int64_t kNoConsumer = std::numeric_limits<int64_t>::max();
constexpr size_t kPrefixMin = 6;
constexpr size_t kResultsMax = 1'000;  // As the queries below are limited.

// A node as the tables know it.
struct Thing {
  Kind kind = Kind::kVersion;
  int64_t row = 0;     // Of version, deployment or prediction; of the stage run for an attempt.
  int64_t number = 0;  // kAttempt.
  // kVersion: the stage run through which it was reached. Equal bytes may have been produced many
  // times; the producer that counts is the latest one before this stage run, which is that of the
  // same run wherever there is one.
  int64_t consumer = kNoConsumer;
  // The other way round: the attempt (row and number) that made it; 0: the version itself was asked about. What others
  // made of equal bytes that they got elsewhere is not of its making.
  int64_t maker = 0, maker_number = 0;
};

// --- neighbours
// ------------------------------------------------------------------------------------

constexpr char kUsedVersions[] = R"sql(
SELECT version
FROM lineage_edge
WHERE stage_run = ?1 AND attempt = ?2 AND role = ?3
ORDER BY version
LIMIT 1000)sql";

constexpr char kProducer[] = R"sql(
SELECT stage_run, attempt
FROM lineage_edge
WHERE version = ?1 AND role = 'produced' AND stage_run < ?2
ORDER BY stage_run DESC, attempt DESC
LIMIT 1)sql";

// With a maker (?2, ?3) those whose producer it is.
constexpr char kConsumers[] = R"sql(
SELECT stage_run, attempt
FROM lineage_edge AS consumer
WHERE version = ?1 AND role = 'used' AND (?2 = 0 OR (?2, ?3) = (
  SELECT stage_run, attempt
  FROM lineage_edge
  WHERE version = ?1 AND role = 'produced' AND stage_run < consumer.stage_run
  ORDER BY stage_run DESC, attempt DESC
  LIMIT 1))
ORDER BY stage_run DESC, attempt DESC
LIMIT 1000)sql";

// What was deployed is normally among what the deploying attempt used; where it is not, the ledger
// itself tells.
constexpr char kDeployedVersions[] = R"sql(
SELECT version.id
FROM deployment JOIN version ON version.id = deployment.package OR version.id = deployment.model
WHERE deployment.id = ?1 AND NOT EXISTS (
  SELECT 1
  FROM lineage_edge
  WHERE stage_run = deployment.stage_run AND attempt = deployment.attempt AND role = 'used'
    AND version = deployment.package)
ORDER BY version.id
LIMIT 2)sql";

constexpr char kDeploymentsOfVersion[] = R"sql(
SELECT id
FROM deployment
WHERE (package = ?1 OR model = ?1) AND NOT EXISTS (
  SELECT 1
  FROM lineage_edge
  WHERE stage_run = deployment.stage_run AND attempt = deployment.attempt AND role = 'used'
    AND version = deployment.package)
ORDER BY id DESC
LIMIT 1000)sql";

constexpr char kDeploymentsOfAttempt[] = R"sql(
SELECT id
FROM deployment
WHERE run = (SELECT run FROM stage_run WHERE id = ?1) AND stage_run = ?1 AND attempt = ?2
ORDER BY id
LIMIT 10)sql";

constexpr char kDeploymentOrigin[] = R"sql(
SELECT stage_run, attempt
FROM deployment
WHERE id = ?1
ORDER BY id
LIMIT 1)sql";

constexpr char kPredictionOrigin[] = R"sql(
SELECT deployment
FROM prediction
WHERE id = ?1
ORDER BY id
LIMIT 1)sql";

constexpr char kPredictionsOfDeployment[] = R"sql(
SELECT id
FROM prediction
WHERE deployment = ?1
ORDER BY at_ms DESC
LIMIT 100)sql";

// Appends the things that a query names: its first column is the row, its second an attempt's
// number.
template <typename... Args>
absl::Status Append(Database& database, std::vector<Thing>& things, Thing like, const char* sql,
                    const Args&... args) {
  CD4ML_ASSIGN_OR_RETURN(Rows rows, database.Query(sql, args...));
  while (rows.Next()) {
    like.row = rows.Integer(0);
    if (like.kind == Kind::kAttempt) like.number = rows.Integer(1);
    things.push_back(like);
  }
  return rows.status();
}

Thing Like(Kind kind, int64_t consumer = kNoConsumer) {
  return Thing{.kind = kind, .consumer = consumer};
}

absl::StatusOr<std::vector<Thing>> Origins(Database& database, const Thing& thing) {
  std::vector<Thing> found;
  switch (thing.kind) {
    case Kind::kPrediction:
      CD4ML_RETURN_IF_ERROR(
          Append(database, found, Like(Kind::kDeployment), kPredictionOrigin, thing.row));
      break;
    case Kind::kDeployment:
      CD4ML_RETURN_IF_ERROR(
          Append(database, found, Like(Kind::kAttempt), kDeploymentOrigin, thing.row));
      CD4ML_RETURN_IF_ERROR(Append(database, found,
                                   Like(Kind::kVersion, found.empty() ? kNoConsumer : found[0].row),
                                   kDeployedVersions, thing.row));
      break;
    case Kind::kAttempt:
      CD4ML_RETURN_IF_ERROR(Append(database, found, Like(Kind::kVersion, thing.row), kUsedVersions,
                                   thing.row, thing.number, "used"));
      break;
    case Kind::kVersion:
      CD4ML_RETURN_IF_ERROR(
          Append(database, found, Like(Kind::kAttempt), kProducer, thing.row, thing.consumer));
      break;
  }
  return found;
}

absl::StatusOr<std::vector<Thing>> Results(Database& database, const Thing& thing) {
  std::vector<Thing> found;
  switch (thing.kind) {
    case Kind::kPrediction:
      break;
    case Kind::kDeployment:
      CD4ML_RETURN_IF_ERROR(
          Append(database, found, Like(Kind::kPrediction), kPredictionsOfDeployment, thing.row));
      break;
    case Kind::kAttempt: {
      Thing made = Like(Kind::kVersion);
      made.maker = thing.row;
      made.maker_number = thing.number;
      CD4ML_RETURN_IF_ERROR(
          Append(database, found, made, kUsedVersions, thing.row, thing.number, "produced"));
      CD4ML_RETURN_IF_ERROR(Append(database, found, Like(Kind::kDeployment), kDeploymentsOfAttempt,
                                   thing.row, thing.number));
      break;
    }
    case Kind::kVersion:
      CD4ML_RETURN_IF_ERROR(Append(database, found, Like(Kind::kAttempt), kConsumers, thing.row,
                                   thing.maker, thing.maker_number));
      CD4ML_RETURN_IF_ERROR(
          Append(database, found, Like(Kind::kDeployment), kDeploymentsOfVersion, thing.row));
      break;
  }
  return found;
}

// --- descriptions
// ----------------------------------------------------------------------------------

constexpr char kVersionFacts[] = R"sql(
SELECT kind, name, digest, artifact, is_tree, size, files, summary, first_seen_ms
FROM version
WHERE id = ?1
ORDER BY id
LIMIT 1)sql";

// The values behind a digest of parameters or of an environment, as the consuming attempt's run
// recorded them.
constexpr char kParams[] = R"sql(
SELECT json_extract(run_event.payload, '$.pins.params'),
  json_extract(run_event.payload, '$.stages[' || stage_run.position || '].cell_params'),
  run_event.id, run_event.at_ms, run_event.kind, run_event.payload, run_event.digest
FROM stage_run JOIN run_event ON run_event.id = stage_run.run << 24 | 1
WHERE stage_run.id = COALESCE(
  NULLIF(?2, 9223372036854775807),
  (SELECT MAX(stage_run) FROM lineage_edge WHERE version = ?1 AND role = 'used'))
ORDER BY stage_run.id
LIMIT 1)sql";

constexpr char kEnvironment[] = R"sql(
SELECT json_extract(run_event.payload, '$.outcome.environment'), NULL,
  run_event.id, run_event.at_ms, run_event.kind, run_event.payload, run_event.digest
FROM lineage_edge
CROSS JOIN stage_run ON stage_run.id = lineage_edge.stage_run
CROSS JOIN attempt ON attempt.stage_run = lineage_edge.stage_run AND attempt.number = lineage_edge.attempt
CROSS JOIN run_event ON run_event.id = stage_run.run << 24 | attempt.ended_seq
WHERE lineage_edge.version = ?1 AND lineage_edge.role = 'used' AND lineage_edge.stage_run <= ?2
ORDER BY lineage_edge.stage_run DESC
LIMIT 1)sql";

constexpr char kAttemptFacts[] = R"sql(
SELECT pipeline.name || '/' || run.number, stage_run.name, stage_run.kind, attempt.state, attempt.agent,
  attempt.granted_ms, attempt.ended_ms, run.lane, run.commit_id
FROM attempt
JOIN stage_run ON stage_run.id = attempt.stage_run
JOIN run ON run.id = stage_run.run
JOIN pipeline ON pipeline.id = run.pipeline
WHERE attempt.stage_run = ?1 AND attempt.number = ?2
ORDER BY attempt.number
LIMIT 1)sql";

constexpr char kPredictionFacts[] = R"sql(
SELECT prediction.key, prediction.at_ms, prediction.input, prediction.prediction, deployment.name
FROM prediction JOIN deployment ON deployment.id = prediction.deployment
WHERE prediction.id = ?1
ORDER BY prediction.id
LIMIT 1)sql";

constexpr char kRunName[] = R"sql(
SELECT pipeline.name || '/' || run.number
FROM run JOIN pipeline ON pipeline.id = run.pipeline
WHERE run.id = ?1
ORDER BY run.id
LIMIT 1)sql";

absl::Status Gone(const absl::Status& status) {
  return status.ok() ? absl::DataLossError("a record that lineage leads to is not there") : status;
}

// What cannot be read of a record is damage to whoever asks for it.
absl::Status Damaged(const absl::Status& status, const std::string& what) {
  if (!absl::IsInvalidArgument(status)) return status;
  return absl::DataLossError(what + " cannot be read: " + Message(status));
}

absl::StatusOr<core::Run> ReadSoundRun(Database& database, int64_t row) {
  absl::StatusOr<core::Run> run = ReadRun(database, row);
  if (run.ok()) return run;
  CD4ML_ASSIGN_OR_RETURN(Rows rows, database.Query(kRunName, row));
  return Damaged(run.status(), "run " + (rows.Next() ? rows.String(0) : ""));
}

absl::StatusOr<LineageNode> DescribeVersion(Database& database, const Thing& thing) {
  LineageNode node;
  core::Version version;
  {
    CD4ML_ASSIGN_OR_RETURN(Rows rows, database.Query(kVersionFacts, thing.row));
    if (!rows.Next()) return Gone(rows.status());
    CD4ML_ASSIGN_OR_RETURN(version, ReadVersion(rows, 0));
    node.at = rows.Time(8);
  }
  node.kind = Kind::kVersion;
  node.id = core::VersionId(version);
  node.label = std::string(core::ToText(version.kind)) + " " + version.name + " " +
               version.digest.substr(0, 12);
  if (!version.summary.empty()) node.label += " (" + version.summary + ")";
  Value::Map facts = {
      {"kind", core::ToText(version.kind)}, {"name", version.name}, {"digest", version.digest}};
  if (!version.summary.empty()) facts["summary"] = version.summary;
  if (version.artifact.digest.is_set()) {
    facts["size"] = version.artifact.size;
    facts["files"] = version.artifact.files;
  }
  if (version.kind == core::VersionKind::kParams ||
      version.kind == core::VersionKind::kEnvironment) {
    const char* query = version.kind == core::VersionKind::kParams ? kParams : kEnvironment;
    CD4ML_ASSIGN_OR_RETURN(Rows rows, database.Query(query, thing.row, thing.consumer));
    Value values;
    const bool is_there = rows.Next();
    if (is_there) CD4ML_RETURN_IF_ERROR(Damaged(CheckEvent(rows, 2), "what is recorded of " + node.id));
    if (is_there && Decode(rows.Text(0), values).ok()) {
      Value own;   // A cell's.
      const bool is_cell = version.kind == core::VersionKind::kParams && !rows.IsNull(1) && Decode(rows.Text(1), own).ok();
      for (const auto& [name, value] : is_cell && own.is_map() ? own.map() : Value::Map()) SetPath(values, name, value);
      facts["values"] = std::move(values);
    }
    CD4ML_RETURN_IF_ERROR(rows.status());
  }
  node.facts = std::move(facts);
  return node;
}

absl::StatusOr<LineageNode> DescribeAttempt(Database& database, const Thing& thing) {
  CD4ML_ASSIGN_OR_RETURN(Rows rows, database.Query(kAttemptFacts, thing.row, thing.number));
  if (!rows.Next()) return Gone(rows.status());
  const std::string run = rows.String(0), stage = rows.String(1), state = rows.String(3),
                    agent = rows.String(4);
  LineageNode node;
  node.kind = Kind::kAttempt;
  node.id = core::ToText(core::AttemptId{run, stage, static_cast<int>(thing.number)});
  node.label = stage + " of " + run +
               (thing.number > 1 ? ", attempt " + std::to_string(thing.number) : "") + ", " +
               state + " on " + agent;
  node.at = rows.Integer(6) != 0 ? rows.Time(6) : rows.Time(5);
  node.facts = Value::Map{
      {"run", run},     {"stage", stage},         {"kind", rows.String(2)},  {"state", state},
      {"agent", agent}, {"lane", rows.String(7)}, {"commit", rows.String(8)}};
  return node;
}

constexpr char kRunOfDeployment[] = R"sql(
SELECT run
FROM deployment
WHERE id = ?1
ORDER BY id
LIMIT 1)sql";

// Returns the overrides by which gates of the deployment's run passed, and adds their rules to `label`.
absl::StatusOr<Value::List> OverridesBehind(Database& database, const Thing& deployment, std::string& label) {
  int64_t row = 0;
  {
    CD4ML_ASSIGN_OR_RETURN(Rows rows, database.Query(kRunOfDeployment, deployment.row));
    if (!rows.Next()) return Gone(rows.status());
    row = rows.Integer(0);
  }
  CD4ML_ASSIGN_OR_RETURN(const core::Run run, ReadSoundRun(database, row));
  Value::List overrides;
  for (const core::StageRun& stage : run.stages) {
    const core::Outcome* result = stage.result();
    if (result == nullptr || !result->verdict) continue;
    for (const core::Override& one : result->verdict->overrides) {
      const std::string rule = stage.plan.name + "." + one.rule;
      label += (overrides.empty() ? ", overridden: " : ", ") + rule + " by " + one.by;
      overrides.emplace_back(
          Value::Map{{"rule", rule}, {"by", one.by}, {"reason", one.reason}, {"expires", FormatTime(one.expires)}});
    }
  }
  return overrides;
}

absl::StatusOr<LineageNode> DescribeDeployment(Database& database, const Thing& thing) {
  static const std::string kSelect =
      std::string(kDeploymentColumns) + "WHERE deployment.id = ?1\nORDER BY deployment.id\nLIMIT 1";
  CD4ML_ASSIGN_OR_RETURN(Rows rows, database.Query(kSelect.c_str(), thing.row));
  if (!rows.Next()) return Gone(rows.status());
  CD4ML_ASSIGN_OR_RETURN(const core::Deployment deployment, ReadDeployment(rows));
  LineageNode node;
  node.kind = Kind::kDeployment;
  node.id = deployment.id;
  node.at = deployment.started;
  node.label = "deployment " + deployment.id + " to " + deployment.environment +
               (deployment.ended.is_set() ? ", ended" : ", live");
  Value::Map facts = {{"environment", deployment.environment},
                      {"run", deployment.run},
                      {"package", deployment.package.digest},
                      {"started", FormatTime(deployment.started)}};
  if (!deployment.model.name.empty()) facts["model"] = deployment.model.digest;
  if (!deployment.endpoint.empty()) facts["endpoint"] = deployment.endpoint;
  if (!deployment.replaced.empty()) facts["replaced"] = deployment.replaced;
  if (deployment.ended.is_set()) facts["ended"] = FormatTime(deployment.ended);
  CD4ML_ASSIGN_OR_RETURN(Value::List overrides, OverridesBehind(database, thing, node.label));
  if (!overrides.empty()) facts["overrides"] = std::move(overrides);
  node.facts = std::move(facts);
  return node;
}

absl::StatusOr<LineageNode> DescribePrediction(Database& database, const Thing& thing) {
  CD4ML_ASSIGN_OR_RETURN(Rows rows, database.Query(kPredictionFacts, thing.row));
  if (!rows.Next()) return Gone(rows.status());
  LineageNode node;
  node.kind = Kind::kPrediction;
  node.id = rows.String(0);
  node.at = rows.Time(1);
  node.label = "prediction " + node.id + " = " + ToText(Value(rows.Real(3)));
  Value input;
  CD4ML_RETURN_IF_ERROR(Decode(rows.Text(2), input));
  node.facts = Value::Map{
      {"input", std::move(input)}, {"prediction", rows.Real(3)}, {"deployment", rows.String(4)}};
  return node;
}

absl::StatusOr<LineageNode> Describe(Database& database, const Thing& thing) {
  switch (thing.kind) {
    case Kind::kVersion:
      return DescribeVersion(database, thing);
    case Kind::kAttempt:
      return DescribeAttempt(database, thing);
    case Kind::kDeployment:
      return DescribeDeployment(database, thing);
    case Kind::kPrediction:
      return DescribePrediction(database, thing);
  }
  return absl::InternalError("no such kind of node");
}

// --- references
// ------------------------------------------------------------------------------------

constexpr char kRunByWord[] = R"sql(
SELECT run.id
FROM run
WHERE pipeline = (SELECT id FROM pipeline WHERE name = ?1)
ORDER BY number DESC
LIMIT 1)sql";

constexpr char kPassedRun[] = R"sql(
SELECT run.id
FROM run
WHERE pipeline = (SELECT id FROM pipeline WHERE name = ?1) AND state = 'succeeded'
ORDER BY number DESC
LIMIT 1)sql";

constexpr char kDeploymentOfRun[] = R"sql(
SELECT id
FROM deployment
WHERE run = ?1
ORDER BY id DESC
LIMIT 1)sql";

// Not of a cell that lost to another one.
constexpr char kLastAttemptOfRun[] = R"sql(
SELECT id, attempts
FROM stage_run
WHERE run = ?1 AND attempts > 0 AND NOT EXISTS (
  SELECT 1
  FROM stage_run AS matrix JOIN run_event ON run_event.id = matrix.run << 24 | matrix.carried_seq
  WHERE matrix.run = ?1 AND matrix.carried_seq > 0
    AND substr(stage_run.name, 1, length(matrix.name) + 1) = matrix.name || '@'
    AND json_extract(run_event.payload, '$.carried.cell') <> stage_run.name)
ORDER BY position DESC
LIMIT 1)sql";

constexpr char kFirstAttemptOfRun[] = R"sql(
SELECT id, attempts
FROM stage_run
WHERE run = ?1 AND attempts > 0
ORDER BY position
LIMIT 1)sql";

// Stages of a run whose results were taken over, the last first.
constexpr char kTakenOverOfRun[] = R"sql(
SELECT name
FROM stage_run
WHERE run = ?1 AND carried_seq > 0
ORDER BY position DESC
LIMIT 10000)sql";

constexpr char kAttemptByName[] = R"sql(
SELECT id, CASE ?3 WHEN 0 THEN attempts ELSE ?3 END
FROM stage_run
WHERE run = ?1 AND name = ?2 AND attempts >= MAX(?3, 1)
ORDER BY id
LIMIT 1)sql";

// Which attempt made what a stage has taken over: of another run, or of the cell that won.
constexpr char kTakenOverByName[] = R"sql(
SELECT run_event.id, run_event.at_ms, run_event.kind, run_event.payload, run_event.digest
FROM stage_run JOIN run_event ON run_event.id = stage_run.run << 24 | stage_run.carried_seq
WHERE stage_run.run = ?1 AND stage_run.name = ?2 AND stage_run.carried_seq > 0
ORDER BY stage_run.id
LIMIT 1)sql";

constexpr char kCellOfStage[] = R"sql(
SELECT name
FROM stage_run
WHERE run = ?1 AND substr(name, 1, length(?2) + 1) = ?2 || '@'
ORDER BY position
LIMIT 1)sql";

constexpr char kDeploymentByName[] = R"sql(
SELECT id
FROM deployment
WHERE name = ?1
ORDER BY id
LIMIT 1)sql";

// Of every pipeline that has such an environment: its live deployment.
constexpr char kLiveByEnvironment[] = R"sql(
SELECT deployment.id, pipeline.name || '/' || deployment.environment
FROM deployment CROSS JOIN pipeline ON pipeline.id = deployment.pipeline
WHERE deployment.ended_ms IS NULL
  AND (deployment.environment = ?1 OR pipeline.name || '/' || deployment.environment = ?1)
ORDER BY pipeline.name
LIMIT 6)sql";

constexpr char kPredictionByKey[] = R"sql(
SELECT id
FROM prediction
WHERE key = ?1
ORDER BY at_ms DESC
LIMIT 1)sql";

// Hexadecimal digits end before "g".
constexpr char kVersionsByPrefix[] = R"sql(
SELECT id, kind || ':' || name || '@' || digest
FROM version
WHERE digest >= ?1 AND digest < ?1 || 'g' AND (?2 = '' OR kind || ':' || name = ?2)
ORDER BY digest, kind, name
LIMIT ?3)sql";

// The code of runs of a commit that performed nothing, so that no attempt has recorded it as used.
constexpr char kUnusedCommits[] = R"sql(
SELECT run.id, pipeline.name || '/' || run.number, pipeline.name, run.commit_id, run.commit_subject
FROM run CROSS JOIN pipeline ON pipeline.id = run.pipeline
WHERE run.commit_id >= ?1 AND run.commit_id < ?1 || 'g' AND (?2 = '' OR 'code:' || pipeline.name = ?2)
  AND EXISTS (SELECT 1 FROM stage_run WHERE stage_run.run = run.id AND carried_seq > 0)
  AND NOT EXISTS (SELECT 1 FROM stage_run WHERE stage_run.run = run.id AND attempts > 0)
ORDER BY run.id
LIMIT ?3)sql";

// The prefix of a digest, and "kind:name" where that is said too; nullopt: the text is neither.
struct VersionText {
  std::string name, prefix;
};
std::optional<VersionText> ParseVersionText(const std::string& reference) {
  const size_t at = reference.rfind('@');
  VersionText text{at == std::string::npos ? "" : reference.substr(0, at),
                   at == std::string::npos ? reference : reference.substr(at + 1)};
  if (text.prefix.starts_with("sha256:")) text.prefix.erase(0, 7);
  const bool is_digest = text.prefix.find_first_not_of("0123456789abcdef") == std::string::npos;
  if (text.prefix.size() < kPrefixMin || !is_digest) return std::nullopt;
  return text;
}

// Data by the name of its material, or by where it was read from: summaries end with that.
constexpr char kVersionsOfData[] = R"sql(
SELECT id, kind || ':' || name || '@' || digest
FROM version
WHERE kind = 'data' AND (name = ?1 OR substr(summary, -length(?2)) = ?2)
ORDER BY id
LIMIT ?3)sql";

std::string SummaryEnd(const std::string& source) { return " from " + source; }

class Resolver {
 public:
  Resolver(Database& database, LineageDirection direction)
      : database_(database), direction_(direction) {}

  absl::StatusOr<Thing> Resolve(const std::string& reference) {
    for (const auto attempt : {&Resolver::TryRun, &Resolver::TryDeployment, &Resolver::TryStage,
                               &Resolver::TryPrediction, &Resolver::TryVersion, &Resolver::TryData}) {
      CD4ML_RETURN_IF_ERROR((this->*attempt)(reference));
      if (!found_.empty()) return found_.front();
    }
    return absl::NotFoundError(
        "nothing is known of \"" + reference +
        "\": it is no run, environment, deployment, stage of a run, prediction, version, data or prefix "
        "(6 digits or more) of a digest or commit");
  }

 private:
  absl::Status TryRun(const std::string& reference) {
    const size_t slash = reference.rfind('/');
    if (slash == std::string::npos) return absl::OkStatus();
    const std::string word = reference.substr(slash + 1);
    CD4ML_ASSIGN_OR_RETURN(const int64_t run, word == "latest" || word == "latest-passed"
                                                  ? ByWord(reference.substr(0, slash), word)
                                                  : ByNumber(reference));
    if (run == 0) return absl::OkStatus();
    if (direction_ == LineageDirection::kUp) {
      CD4ML_RETURN_IF_ERROR(
          Append(database_, found_, Like(Kind::kDeployment), kDeploymentOfRun, run));
    }
    if (found_.empty()) {
      CD4ML_RETURN_IF_ERROR(Append(
          database_, found_, Like(Kind::kAttempt),
          direction_ == LineageDirection::kUp ? kLastAttemptOfRun : kFirstAttemptOfRun, run));
    }
    if (found_.empty()) CD4ML_RETURN_IF_ERROR(TryAllTakenOver(run));
    if (!found_.empty()) return absl::OkStatus();
    return absl::FailedPreconditionError("no stage of run \"" + reference +
                                         "\" has been attempted yet");
  }

  absl::Status TryDeployment(const std::string& reference) {
    CD4ML_RETURN_IF_ERROR(
        Append(database_, found_, Like(Kind::kDeployment), kDeploymentByName, reference));
    if (!found_.empty()) return absl::OkStatus();
    return FindOne(reference, Kind::kDeployment, kLiveByEnvironment, reference);
  }

  // "pipeline/12/train/1", or "pipeline/12/train" for the latest attempt.
  absl::Status TryStage(const std::string& reference) {
    const std::optional<core::AttemptId> id = core::ParseAttemptId(reference);
    const size_t slash = reference.rfind('/');
    const std::string run = id.has_value() ? id->run : reference.substr(0, slash);
    if (slash == std::string::npos) return absl::OkStatus();
    CD4ML_ASSIGN_OR_RETURN(const int64_t row, ByNumber(run));
    if (row == 0) return absl::OkStatus();
    const std::string stage = id.has_value() ? id->stage : reference.substr(slash + 1);
    const int number = id.has_value() ? id->number : 0;
    CD4ML_RETURN_IF_ERROR(Append(database_, found_, Like(Kind::kAttempt), kAttemptByName, row, stage, number));
    if (!found_.empty() || number > 0) return absl::OkStatus();
    CD4ML_RETURN_IF_ERROR(TryTakenOver(row, stage));
    if (!found_.empty()) return absl::OkStatus();
    // A matrix made nothing itself.
    CD4ML_ASSIGN_OR_RETURN(Rows rows, database_.Query(kCellOfStage, row, stage));
    if (!rows.Next()) return rows.status();
    return absl::FailedPreconditionError("no cell of stage \"" + stage + "\" of run " + run +
                                         " was chosen; trace one of them, like " + run + "/" + rows.String(0));
  }

  // A run that performed nothing is what made the results that it took over.
  absl::Status TryAllTakenOver(int64_t row) {
    std::vector<std::string> stages;
    {
      CD4ML_ASSIGN_OR_RETURN(Rows rows, database_.Query(kTakenOverOfRun, row));
      while (rows.Next()) stages.push_back(rows.String(0));
      CD4ML_RETURN_IF_ERROR(rows.status());
    }
    if (direction_ == LineageDirection::kDown) std::reverse(stages.begin(), stages.end());
    for (const std::string& stage : stages) {
      CD4ML_RETURN_IF_ERROR(TryTakenOver(row, stage));
      if (!found_.empty()) break;
    }
    return absl::OkStatus();
  }

  absl::Status TryTakenOver(int64_t row, const std::string& stage) {
    core::AttemptId from;
    {
      CD4ML_ASSIGN_OR_RETURN(Rows rows, database_.Query(kTakenOverByName, row, stage));
      if (!rows.Next()) return rows.status();
      absl::StatusOr<core::Event> event = ReadEvent(rows, 0, "stage_carried");
      CD4ML_RETURN_IF_ERROR(Damaged(event.status(), "what stage \"" + stage + "\" took over"));
      from = std::get<core::StageCarried>(*event).carried.from;
    }
    CD4ML_ASSIGN_OR_RETURN(const int64_t made_in, ByNumber(from.run));
    return Append(database_, found_, Like(Kind::kAttempt), kAttemptByName, made_in, from.stage, from.number);
  }

  absl::Status TryPrediction(const std::string& reference) {
    return Append(database_, found_, Like(Kind::kPrediction), kPredictionByKey, reference);
  }

  // "model:used-car-price/train.model@91bc…" or a prefix of the digest alone.
  absl::Status TryVersion(const std::string& reference) {
    const std::optional<VersionText> text = ParseVersionText(reference);
    if (!text.has_value()) return absl::OkStatus();
    CD4ML_RETURN_IF_ERROR(FindOne(reference, Kind::kVersion, kVersionsByPrefix, text->prefix, text->name, 6));
    if (!found_.empty()) return absl::OkStatus();
    CD4ML_ASSIGN_OR_RETURN(Rows rows, database_.Query(kUnusedCommits, text->prefix, text->name, 1));
    if (!rows.Next()) return rows.status();
    return absl::FailedPreconditionError("nothing was made from commit " + rows.String(3).substr(0, 12) + ": run " +
                                         rows.String(1) + " took over every result; trace that run");
  }

  absl::Status TryData(const std::string& reference) {
    return FindOne(reference, Kind::kVersion, kVersionsOfData, reference, SummaryEnd(reference), 6);
  }

  // Finds what a query names by row and name, if it is one; several are refused with their names.
  template <typename... Args>
  absl::Status FindOne(const std::string& reference, Kind kind, const char* sql,
                       const Args&... args) {
    CD4ML_ASSIGN_OR_RETURN(Rows rows, database_.Query(sql, args...));
    std::string names;
    while (rows.Next()) {
      found_.push_back(Like(kind));
      found_.back().row = rows.Integer(0);
      names += (names.empty() ? "" : ", ") + rows.String(1);
    }
    CD4ML_RETURN_IF_ERROR(rows.status());
    if (found_.size() < 2) return absl::OkStatus();
    return absl::InvalidArgumentError("\"" + reference + "\" may mean " + names +
                                      "; give more of it");
  }

  absl::StatusOr<int64_t> ByNumber(const std::string& run) {
    absl::StatusOr<int64_t> row = FindRunRow(database_, run);
    return absl::IsNotFound(row.status()) ? 0 : row;
  }
  absl::StatusOr<int64_t> ByWord(const std::string& pipeline, const std::string& word) {
    CD4ML_ASSIGN_OR_RETURN(Rows rows,
                           database_.Query(word == "latest" ? kRunByWord : kPassedRun, pipeline));
    const int64_t row = rows.Next() ? rows.Integer(0) : 0;
    CD4ML_RETURN_IF_ERROR(rows.status());
    return row;
  }

  Database& database_;
  const LineageDirection direction_;
  std::vector<Thing> found_;
};

// What an accepted attempt used and produced, with the run that it belongs to. The event follows the attempt's end.
constexpr char kVersionsEvent[] = R"sql(
SELECT run.id, pipeline.name || '/' || run.number, stage_run.position, (SELECT id FROM identity),
  run_event.id, run_event.at_ms, run_event.kind, run_event.payload, run_event.digest
FROM attempt
CROSS JOIN stage_run ON stage_run.id = attempt.stage_run
CROSS JOIN run ON run.id = stage_run.run
CROSS JOIN pipeline ON pipeline.id = run.pipeline
CROSS JOIN run_event ON run_event.id > (run.id << 24 | attempt.ended_seq) AND run_event.id < (run.id + 1) << 24
WHERE attempt.stage_run = ?1 AND attempt.number = ?2 AND run_event.kind = 'versions_produced'
  AND json_extract(run_event.payload, '$.stage') = stage_run.name
ORDER BY run_event.id
LIMIT 1)sql";

absl::StatusOr<core::Origin> ReadOrigin(Database& database, const Thing& attempt,
                                        std::map<int64_t, core::Run>& runs) {
  core::Origin origin;
  int64_t row = 0, position = 0;
  core::Event event;
  {
    CD4ML_ASSIGN_OR_RETURN(Rows rows, database.Query(kVersionsEvent, attempt.row, attempt.number));
    if (!rows.Next()) return Gone(rows.status());
    row = rows.Integer(0);
    origin.run = rows.String(1);
    position = rows.Integer(2);
    absl::StatusOr<core::Event> read = ReadEvent(rows, 4, "versions_produced");
    CD4ML_RETURN_IF_ERROR(Damaged(read.status(), "run " + origin.run));
    event = *std::move(read);
    origin.recorder = rows.String(3);
  }
  if (!runs.contains(row)) {
    CD4ML_ASSIGN_OR_RETURN(runs[row], ReadSoundRun(database, row));
  }
  const core::Run& run = runs[row];
  const core::StageRun& stage = run.stages[static_cast<size_t>(position)];
  auto& versions = std::get<core::VersionsProduced>(event);
  origin.retry_of = run.retry_of;
  origin.pipeline = run.pipeline;
  origin.lane = run.lane;
  origin.trigger = run.trigger;
  origin.pins = run.pins;
  if (!stage.plan.cell_of.empty()) {
    origin.pins.params = core::ParamsOf(run.pins, stage.plan);
    origin.pins.params_digest = Sha256(ToJson(origin.pins.params));
    for (const auto& [name, value] : stage.plan.cell_params) origin.pins.param_sources[name] = "matrix cell";
  }
  origin.stage = stage.plan.name;
  origin.kind = stage.plan.kind;
  origin.attempt = stage.attempts[static_cast<size_t>(attempt.number) - 1];
  origin.used = std::move(versions.used);
  origin.produced = std::move(versions.produced);
  return origin;
}

// --- impact -------------------------------------------------------------------------------------

constexpr int kRootsMax = 1'000;
constexpr size_t kWalkedMax = 100'000;

constexpr char kPredictionsCounted[] = R"sql(
SELECT COUNT(*), MIN(at_ms), MAX(at_ms)
FROM prediction
WHERE deployment = ?1)sql";

absl::StatusOr<core::Version> ReadVersionAt(Database& database, int64_t row) {
  CD4ML_ASSIGN_OR_RETURN(Rows rows, database.Query(kVersionFacts, row));
  if (!rows.Next()) return Gone(rows.status());
  return ReadVersion(rows, 0);
}

// Runs that took over what an attempt made, by a stage of theirs; ?1 is the attempt as payloads have it.
constexpr char kTakers[] = R"sql(
SELECT stage_run.id, pipeline.name || '/' || run.number
FROM run_event
CROSS JOIN stage_run ON stage_run.run = run_event.run AND stage_run.carried_seq = run_event.seq
CROSS JOIN run ON run.id = run_event.run
CROSS JOIN pipeline ON pipeline.id = run.pipeline
WHERE run_event.kind = 'stage_carried'
  AND substr(payload, instr(payload, '"from":{') + 8, 300) >= substr(?1, 1, 300)
  AND substr(payload, instr(payload, '"from":{') + 8, 300) < substr(?1, 1, 300) || '~'
  AND instr(payload, '"from":{' || ?1) > 0
ORDER BY stage_run.id
LIMIT 1000)sql";

absl::Status AddTakers(Database& database, const core::AttemptId& attempt, std::map<int64_t, core::RunId>& runs,
                       Impact& impact) {
  const std::string text = "\"run\":" + ToJson(Value(attempt.run)) + ",\"stage\":" + ToJson(Value(attempt.stage)) +
                           ",\"number\":" + std::to_string(attempt.number) + "}";
  CD4ML_ASSIGN_OR_RETURN(Rows rows, database.Query(kTakers, text));
  size_t count = 0;
  for (; rows.Next(); ++count) runs[rows.Integer(0)] = rows.String(1);
  impact.truncated = impact.truncated || count >= kResultsMax;
  return rows.status();
}

constexpr char kFirstStageOfRun[] = R"sql(
SELECT id
FROM stage_run
WHERE run = ?1
ORDER BY position
LIMIT 1)sql";

absl::Status AddUnusedCommits(Database& database, const VersionText& text, Impact& impact,
                              std::map<int64_t, core::RunId>& runs) {
  std::map<int64_t, core::RunId> found;
  {
    CD4ML_ASSIGN_OR_RETURN(Rows rows, database.Query(kUnusedCommits, text.prefix, text.name, kRootsMax));
    while (rows.Next()) {
      found[rows.Integer(0)] = rows.String(1);
      core::Version code;
      code.kind = core::VersionKind::kCode;
      code.name = rows.String(2);
      code.digest = rows.String(3);
      code.summary = rows.String(4);
      const auto same = [&](const core::Version& one) { return core::VersionId(one) == core::VersionId(code); };
      if (std::none_of(impact.versions.begin(), impact.versions.end(), same)) impact.versions.push_back(std::move(code));
    }
    CD4ML_RETURN_IF_ERROR(rows.status());
  }
  for (const auto& [row, run] : found) {
    CD4ML_ASSIGN_OR_RETURN(Rows rows, database.Query(kFirstStageOfRun, row));
    if (rows.Next()) runs[rows.Integer(0)] = run;
    CD4ML_RETURN_IF_ERROR(rows.status());
  }
  return absl::OkStatus();
}

// Finds the versions that are meant: all of one digest, or all of one data. Notes them in `impact`, and with their `runs`
// commits of which nothing was made.
absl::StatusOr<std::vector<Thing>> FindRoots(Database& database, const std::string& reference, Impact& impact,
                                             std::map<int64_t, core::RunId>& runs) {
  std::vector<Thing> roots;
  if (const std::optional<VersionText> text = ParseVersionText(reference)) {
    CD4ML_RETURN_IF_ERROR(Append(database, roots, Like(Kind::kVersion), kVersionsByPrefix,
                                 text->prefix, text->name, kRootsMax));
    std::set<std::string> digests;
    for (const Thing& root : roots) {
      CD4ML_ASSIGN_OR_RETURN(impact.versions.emplace_back(), ReadVersionAt(database, root.row));
      digests.insert(impact.versions.back().digest);
    }
    CD4ML_RETURN_IF_ERROR(AddUnusedCommits(database, *text, impact, runs));
    for (const core::Version& version : impact.versions) digests.insert(version.digest);
    if (digests.size() > 1) {
      return absl::InvalidArgumentError("\"" + reference + "\" may mean " + *digests.begin() + " or " +
                                        *digests.rbegin() + "; give more of it");
    }
  }
  if (!impact.versions.empty()) return roots;
  CD4ML_RETURN_IF_ERROR(Append(database, roots, Like(Kind::kVersion), kVersionsOfData, reference,
                               SummaryEnd(reference), kRootsMax));
  for (const Thing& root : roots) {
    CD4ML_ASSIGN_OR_RETURN(impact.versions.emplace_back(), ReadVersionAt(database, root.row));
  }
  if (!roots.empty()) return roots;
  return absl::NotFoundError("no data and no commit is known as \"" + reference +
                             "\": it is no material (pipeline/name), no path or address that data was read from, no "
                             "version and no prefix (6 digits or more) of a digest or commit");
}

// `runs` is by the rows of their stages, which follow one another.
absl::Status AddImpact(Database& database, const Thing& thing, std::map<int64_t, core::RunId>& runs,
                       Impact& impact) {
  if (thing.kind == Kind::kDeployment) {
    static const std::string kSelect =
        std::string(kDeploymentColumns) + "WHERE deployment.id = ?1\nORDER BY deployment.id\nLIMIT 1";
    ImpactedDeployment& found = impact.deployments.emplace_back();
    {
      CD4ML_ASSIGN_OR_RETURN(Rows rows, database.Query(kSelect.c_str(), thing.row));
      if (!rows.Next()) return Gone(rows.status());
      CD4ML_ASSIGN_OR_RETURN(found.deployment, ReadDeployment(rows));
    }
    CD4ML_ASSIGN_OR_RETURN(Rows rows, database.Query(kPredictionsCounted, thing.row));
    if (!rows.Next()) return rows.status();
    found.predictions = rows.Integer(0);
    if (found.predictions > 0) {
      found.first_prediction = rows.Time(1);
      found.last_prediction = rows.Time(2);
    }
  } else if (thing.kind == Kind::kVersion && thing.maker != 0) {
    CD4ML_ASSIGN_OR_RETURN(core::Version version, ReadVersionAt(database, thing.row));
    if (version.kind != core::VersionKind::kModel) return absl::OkStatus();
    const Thing attempt{.kind = Kind::kAttempt, .row = thing.maker, .number = thing.maker_number};
    CD4ML_ASSIGN_OR_RETURN(const LineageNode maker, DescribeAttempt(database, attempt));
    impact.models.push_back({std::move(version), *core::ParseAttemptId(maker.id), maker.at});
  } else if (thing.kind == Kind::kAttempt) {
    CD4ML_ASSIGN_OR_RETURN(const LineageNode attempt, DescribeAttempt(database, thing));
    const core::AttemptId id = *core::ParseAttemptId(attempt.id);
    runs[thing.row] = id.run;
    return AddTakers(database, id, runs, impact);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Impact> FindImpactIn(Database& database, const std::string& reference) {
  Impact impact;
  std::map<int64_t, core::RunId> runs;
  CD4ML_ASSIGN_OR_RETURN(const std::vector<Thing> roots, FindRoots(database, reference, impact, runs));
  std::set<std::tuple<Kind, int64_t, int64_t, int64_t>> seen;
  for (std::deque<Thing> open(roots.begin(), roots.end()); !open.empty(); open.pop_front()) {
    const Thing thing = open.front();
    if (!seen.insert({thing.kind, thing.row, thing.number, thing.maker}).second) continue;
    if (seen.size() > kWalkedMax) {
      impact.truncated = true;
      break;
    }
    CD4ML_RETURN_IF_ERROR(AddImpact(database, thing, runs, impact));
    if (thing.kind == Kind::kDeployment) continue;  // Its predictions are counted.
    CD4ML_ASSIGN_OR_RETURN(const std::vector<Thing> next, Results(database, thing));
    impact.truncated = impact.truncated || next.size() >= kResultsMax;
    open.insert(open.end(), next.begin(), next.end());
  }
  for (const auto& [stage, run] : runs) {
    if (impact.runs.empty() || impact.runs.back() != run) impact.runs.push_back(run);
  }
  std::sort(impact.models.begin(), impact.models.end(),
            [](const ImpactedModel& a, const ImpactedModel& b) { return a.at < b.at; });
  std::sort(impact.deployments.begin(), impact.deployments.end(),
            [](const ImpactedDeployment& a, const ImpactedDeployment& b) {
              return a.deployment.started < b.deployment.started;
            });
  return impact;
}

absl::StatusOr<std::vector<core::Origin>> FindOriginsIn(Database& database,
                                                        const std::string& reference,
                                                        bool upstream) {
  CD4ML_ASSIGN_OR_RETURN(const Thing root, Resolver(database, LineageDirection::kUp).Resolve(reference));
  std::vector<core::Origin> origins;
  std::map<int64_t, core::Run> runs;
  std::set<std::pair<int64_t, int64_t>> seen;  // Attempts, and versions as {0, row}.
  for (std::deque<Thing> open = {root}; !open.empty(); open.pop_front()) {
    const Thing thing = open.front();
    const bool is_attempt = thing.kind == Kind::kAttempt;
    if (is_attempt || thing.kind == Kind::kVersion) {
      if (!seen.insert({is_attempt ? thing.row : 0, is_attempt ? thing.number : thing.row}).second) continue;
    }
    if (is_attempt) {
      std::vector<Thing> made;
      CD4ML_RETURN_IF_ERROR(
          Append(database, made, Like(Kind::kVersion), kUsedVersions, thing.row, thing.number, "produced"));
      if (!made.empty()) {
        if (origins.size() == kOriginsMax) {
          return absl::ResourceExhaustedError("more than " + std::to_string(kOriginsMax) +
                                              " attempts lead to \"" + reference + "\"; ask for its parts");
        }
        CD4ML_ASSIGN_OR_RETURN(origins.emplace_back(), ReadOrigin(database, thing, runs));
        if (!upstream) continue;
      }
    }
    CD4ML_ASSIGN_OR_RETURN(const std::vector<Thing> next, Origins(database, thing));
    open.insert(open.end(), next.begin(), next.end());
  }
  if (!origins.empty()) return origins;
  return absl::FailedPreconditionError("no stage made \"" + reference + "\" or what it was made from");
}

absl::StatusOr<LineageGraph> TraceLineageIn(Database& database, const std::string& reference,
                                            LineageDirection direction, int depth_max) {
  CD4ML_ASSIGN_OR_RETURN(const Thing root, Resolver(database, direction).Resolve(reference));
  const bool up = direction == LineageDirection::kUp;
  const int depth_limit = depth_max <= 0 ? kDepthMax : std::min(depth_max, kDepthMax);
  LineageGraph graph;
  CD4ML_ASSIGN_OR_RETURN(LineageNode node, Describe(database, root));
  graph.root = node.id;
  std::set<std::string> seen = {node.id};
  std::set<std::tuple<std::string, int64_t, int64_t>> walked;   // A version goes on from each that made it.
  graph.nodes.push_back(std::move(node));
  struct Pending {
    Thing thing;
    std::string id;
    int depth = 0;
  };
  // Breadth first, so that what is left out is what is farthest.
  for (std::deque<Pending> open = {{root, graph.root, 0}}; !open.empty(); open.pop_front()) {
    const Pending& from = open.front();
    CD4ML_ASSIGN_OR_RETURN(const std::vector<Thing> next,
                           up ? Origins(database, from.thing) : Results(database, from.thing));
    if (from.depth == depth_limit) {
      graph.truncated = graph.truncated || !next.empty();
      continue;
    }
    for (const Thing& thing : next) {
      CD4ML_ASSIGN_OR_RETURN(node, Describe(database, thing));
      if (!seen.contains(node.id) && graph.nodes.size() == kNodesMax) {
        graph.truncated = true;
        continue;
      }
      graph.edges.push_back(up ? LineageEdge{node.id, from.id} : LineageEdge{from.id, node.id});
      if (walked.insert({node.id, thing.maker, thing.maker_number}).second) {
        open.push_back({thing, node.id, from.depth + 1});
      }
      if (seen.insert(node.id).second) graph.nodes.push_back(std::move(node));
    }
  }
  return graph;
}

}  // namespace cd4ml::store
