// Blobs in the database: who wants them, pins, tombstones.
#include <algorithm>
#include <mutex>

#include "cd4ml/store/open_store.h"
#include "database.h"
#include "state_store.h"

namespace cd4ml::store {
namespace {

constexpr size_t kHexSize = 64;

// --- what is wanted
// ----------------------------------------------------------------------------------

// Runs whose every result stays, with the reason. Deployments are counted back from the newest per
// pipeline and environment, of which the first is live or was the last to be.
constexpr char kWantedRuns[] = R"sql(
SELECT run, MIN(why)
FROM (
  SELECT run.id AS run, '1 open run ' || pipeline.name || '/' || run.number AS why
  FROM run JOIN pipeline ON pipeline.id = run.pipeline
  WHERE run.state = 'queued' OR run.state = 'running'
  UNION ALL
  SELECT run, CASE WHEN ended_ms IS NULL THEN '2 live deployment ' ELSE '4 former deployment ' END || name
  FROM (
    SELECT run, name, ended_ms,
      ROW_NUMBER() OVER (PARTITION BY pipeline, environment ORDER BY started_ms DESC, id DESC) AS age
    FROM deployment)
  WHERE ended_ms IS NULL OR age <= ?1 + 1
  UNION ALL
  SELECT run.id, '3 pin of ' || pin.target
  FROM pin JOIN pipeline ON pin.target LIKE pipeline.name || '/%'
  JOIN run ON run.pipeline = pipeline.id AND pin.target = pipeline.name || '/' || run.number)
GROUP BY run
ORDER BY run
LIMIT 1000000)sql";

constexpr char kEventsOfRun[] = R"sql(
SELECT payload
FROM run_event
WHERE run = ?1
ORDER BY seq
LIMIT 10000000)sql";

// A version and everything that it was made from, over all attempts that ever made the same.
constexpr char kAncestry[] = R"sql(
WITH RECURSIVE wanted (version) AS (
  SELECT version.id FROM version WHERE kind || ':' || name || '@' || digest = ?1
  UNION
  SELECT lineage_edge.version
  FROM stage_run JOIN lineage_edge ON lineage_edge.stage_run = stage_run.id
  WHERE stage_run.run = ?2
  UNION
  SELECT used.version
  FROM wanted
  JOIN lineage_edge AS made ON made.version = wanted.version AND made.role = 'produced'
  JOIN lineage_edge AS used
    ON used.stage_run = made.stage_run AND used.attempt = made.attempt AND used.role = 'used')
SELECT version.artifact
FROM wanted JOIN version ON version.id = wanted.version
WHERE version.artifact <> ''
ORDER BY version.id
LIMIT 10000000)sql";

constexpr char kDefinitions[] = R"sql(
SELECT DISTINCT json_extract(payload, '$.pins.definition')
FROM run_event
WHERE seq = 1 AND json_extract(payload, '$.pins.definition') IS NOT NULL
ORDER BY 1
LIMIT 10000000)sql";

// What the next runs of gates are compared with: the tables' profiles of the newest pass in each lane.
constexpr char kBaselineProfiles[] = R"sql(
SELECT json_extract(output.value, '$.profile.digest')
FROM gate_result
CROSS JOIN run_event ON run_event.id = gate_result.event
CROSS JOIN json_each(COALESCE(json_extract(payload, '$.outcome.outputs'),
  json_extract(payload, '$.carried.outcome.outputs'))) AS output
WHERE gate_result.counts = 1 AND gate_result.number = (
  SELECT MAX(newest.number)
  FROM gate_result AS newest
  WHERE newest.pipeline = gate_result.pipeline AND newest.gate = gate_result.gate AND newest.lane = gate_result.lane
    AND newest.counts = 1)
ORDER BY 1
LIMIT 1000000)sql";

constexpr char kMonitorDefinitions[] = R"sql(
SELECT definition
FROM monitor
ORDER BY id
LIMIT 1000000)sql";

constexpr char kNames[] = R"sql(
SELECT CASE artifact WHEN '' THEN digest ELSE artifact END AS blob, kind || ':' || name
FROM version
ORDER BY blob, id DESC
LIMIT 10000000)sql";

constexpr char kArtifact[] = R"sql(
SELECT artifact
FROM version
WHERE kind || ':' || name || '@' || digest = ?1
ORDER BY id
LIMIT 1)sql";

constexpr char kPins[] = R"sql(
SELECT target, reference, reason, by, at_ms
FROM pin
ORDER BY at_ms DESC, target
LIMIT 1000)sql";

constexpr char kTombstone[] = R"sql(
SELECT size, what, why, by, at_ms
FROM tombstone
WHERE digest = ?1
ORDER BY digest
LIMIT 1)sql";

using Wanted = std::map<Digest, std::string>;

bool IsHex(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); }

// Takes whatever may be a digest: one too many keeps a blob, one too few would lose it.
void TakeDigests(std::string_view text, const std::string& why, Wanted& wanted) {
  for (size_t i = 0; i < text.size();) {
    size_t end = i;
    while (end < text.size() && IsHex(text[end])) ++end;
    if (end - i == kHexSize) {
      if (auto digest = Digest::Parse(text.substr(i, kHexSize)); digest.ok()) {
        wanted.emplace(*std::move(digest), why);
      }
    }
    i = end + 1;
  }
}

template <typename... Args>
absl::Status TakeColumn(Database& database, const std::string& why, Wanted& wanted, const char* sql,
                        const Args&... args) {
  CD4ML_ASSIGN_OR_RETURN(Rows rows, database.Query(sql, args...));
  while (rows.Next()) TakeDigests(rows.Text(0), why, wanted);
  return rows.status();
}

absl::StatusOr<std::vector<Pin>> ReadPins(Database& database) {
  std::vector<Pin> pins;
  CD4ML_ASSIGN_OR_RETURN(Rows rows, database.Query(kPins));
  while (rows.Next()) {
    pins.push_back({rows.String(0), rows.String(1), rows.String(2), rows.String(3), rows.Time(4)});
  }
  CD4ML_RETURN_IF_ERROR(rows.status());
  return pins;
}

absl::StatusOr<Wanted> ReadWanted(Database& database, int former) {
  std::vector<std::pair<int64_t, std::string>> runs;
  {
    CD4ML_ASSIGN_OR_RETURN(Rows rows, database.Query(kWantedRuns, former));
    while (rows.Next()) runs.emplace_back(rows.Integer(0), rows.String(1));
    CD4ML_RETURN_IF_ERROR(rows.status());
  }
  // What is live is named as the reason before what was.
  std::sort(runs.begin(), runs.end(),
            [](const auto& a, const auto& b) { return a.second < b.second; });
  Wanted wanted;
  for (const auto& [run, why] : runs) {
    const std::string words = why.substr(2);
    CD4ML_RETURN_IF_ERROR(TakeColumn(database, words, wanted, kEventsOfRun, run));
    CD4ML_RETURN_IF_ERROR(TakeColumn(database, words, wanted, kAncestry, "", run));
  }
  CD4ML_ASSIGN_OR_RETURN(const std::vector<Pin> pins, ReadPins(database));
  for (const Pin& pin : pins) {
    CD4ML_RETURN_IF_ERROR(
        TakeColumn(database, "pin of " + pin.reference, wanted, kAncestry, pin.target, 0));
  }
  CD4ML_RETURN_IF_ERROR(TakeColumn(database, "definition of a run", wanted, kDefinitions));
  CD4ML_RETURN_IF_ERROR(TakeColumn(database, "definition of a monitor", wanted, kMonitorDefinitions));
  CD4ML_RETURN_IF_ERROR(TakeColumn(database, "baseline of a gate", wanted, kBaselineProfiles));
  return wanted;
}

absl::StatusOr<std::map<Digest, std::string>> ReadNames(Database& database) {
  constexpr size_t kNamesMax = 200;  // Of one blob, in characters.
  std::map<Digest, std::string> names;
  CD4ML_ASSIGN_OR_RETURN(Rows rows, database.Query(kNames));
  while (rows.Next()) {
    auto digest = Digest::Parse(rows.Text(0));
    if (!digest.ok()) continue;
    std::string& text = names[*std::move(digest)];
    if (text.size() < kNamesMax) text += (text.empty() ? "" : ", ") + rows.String(1);
  }
  CD4ML_RETURN_IF_ERROR(rows.status());
  return names;
}

absl::StatusOr<std::optional<Tombstone>> ReadTombstone(Database& database, const Digest& digest) {
  CD4ML_ASSIGN_OR_RETURN(Rows rows, database.Query(kTombstone, digest.hex()));
  std::optional<Tombstone> found;
  if (rows.Next()) {
    found = {digest, rows.Integer(0), rows.String(1), rows.String(2), rows.String(3), rows.Time(4)};
  }
  CD4ML_RETURN_IF_ERROR(rows.status());
  return found;
}

class SqliteStorageRecords final : public StorageRecords {
 public:
  SqliteStorageRecords(const StoreOptions& options, std::unique_ptr<Database> database)
      : database_(std::move(database)) {
    database_->OnFailure(options.fail_stop);
  }

  absl::StatusOr<Wanted> WantedBlobs(int former) override {
    return InTransaction<Wanted>([&] { return ReadWanted(*database_, former); });
  }
  absl::StatusOr<std::map<Digest, std::string>> NamesOfBlobs() override {
    return InTransaction<std::map<Digest, std::string>>([&] { return ReadNames(*database_); });
  }
  absl::StatusOr<Digest> ArtifactOf(const std::string& version) override {
    return InTransaction<Digest>([&]() -> absl::StatusOr<Digest> {
      CD4ML_ASSIGN_OR_RETURN(Rows rows, database_->Query(kArtifact, version));
      if (rows.Next() && !rows.Text(0).empty()) return Digest::Parse(rows.Text(0));
      CD4ML_RETURN_IF_ERROR(rows.status());
      return Digest();
    });
  }
  absl::StatusOr<std::vector<Pin>> ListPins() override {
    return InTransaction<std::vector<Pin>>([&] { return ReadPins(*database_); });
  }
  absl::StatusOr<std::optional<Tombstone>> FindTombstone(const Digest& digest) override {
    return InTransaction<std::optional<Tombstone>>([&] { return ReadTombstone(*database_, digest); });
  }

 private:
  template <typename Result, typename Read>
  absl::StatusOr<Result> InTransaction(Read read) {
    const std::lock_guard lock(mutex_);
    CD4ML_RETURN_IF_ERROR(database_->Run("BEGIN"));
    absl::StatusOr<Result> result = read();
    CD4ML_RETURN_IF_ERROR(database_->Run("ROLLBACK"));
    return result;
  }

  std::mutex mutex_;
  const std::unique_ptr<Database> database_;  // Used under mutex_.
};

// --- writing
// -----------------------------------------------------------------------------------------

constexpr char kUpsertPin[] = R"sql(
INSERT INTO pin (target, reference, reason, by, at_ms)
VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT (target) DO UPDATE SET reference = ?2, reason = ?3, by = ?4, at_ms = ?5)sql";

constexpr char kDeletePin[] = R"sql(
DELETE FROM pin
WHERE target = ?1)sql";

constexpr char kUpsertTombstone[] = R"sql(
INSERT INTO tombstone (digest, size, what, why, by, at_ms)
VALUES (?1, ?2, ?3, ?4, ?5, ?6)
ON CONFLICT (digest) DO UPDATE SET size = ?2, what = CASE WHEN ?3 = '' THEN what ELSE ?3 END, why = ?4, by = ?5,
  at_ms = ?6)sql";

}  // namespace

absl::Status SqliteStateStore::Write(const PinChange& change) {
  const Pin& pin = change.pin;
  if (change.is_removed) return database_->Run(kDeletePin, pin.target);
  return database_->Run(kUpsertPin, pin.target, pin.reference, pin.reason, pin.by, pin.at);
}

absl::Status SqliteStateStore::Write(const TombstoneChange& change) {
  versions_.clear();  // So that a version that is made again is written, and its tombstone goes.
  for (const Tombstone& stone : change.tombstones) {
    CD4ML_RETURN_IF_ERROR(database_->Run(kUpsertTombstone, stone.digest.hex(), stone.size,
                                         stone.what, stone.why, stone.by, stone.at));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<StorageRecords>> OpenStorageRecords(const StoreOptions& options) {
  CD4ML_ASSIGN_OR_RETURN(std::unique_ptr<Database> database,
                         Database::Open(options.path, options.vfs, Database::Access::kRead));
  return std::make_unique<SqliteStorageRecords>(options, std::move(database));
}

}  // namespace cd4ml::store
