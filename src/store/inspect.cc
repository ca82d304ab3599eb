// Copies of a store, what it refers to, and whether it is as it was written.
//
// Events carry a sum of their own bytes. Everything else about a run follows from its events, so it is made again from
// them, in a store in memory, and compared: that finds what no rule of the schema can.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>
#include <set>

#include "cd4ml/base/status.h"
#include "cd4ml/ports/inspector.h"
#include "cd4ml/store/open_store.h"
#include "encode.h"
#include "migrate.h"
#include "read.h"
#include "state_store.h"

namespace cd4ml::store {
namespace {

constexpr int kRunsPerReplay = 200;  // Then its store is made anew, so that memory stays small.

constexpr char kSelectArtifacts[] = R"sql(
SELECT kind, name, digest, artifact, is_tree, size, files, summary
FROM version
WHERE artifact <> ''
ORDER BY id
LIMIT 100000000)sql";

constexpr char kSelectSpeaking[] = R"sql(
SELECT kind, payload
FROM run_event
WHERE kind = 'run_started' OR kind = 'attempt_ended'
ORDER BY id
LIMIT 1000000000)sql";

constexpr char kSelectMonitors[] = R"sql(
SELECT definition, stage
FROM monitor
ORDER BY id
LIMIT 1000000)sql";

constexpr char kSelectUsers[] = R"sql(
SELECT DISTINCT 'run ' || pipeline.name || '/' || run.number, 1, run.id
FROM version
JOIN lineage_edge ON lineage_edge.version = version.id
JOIN stage_run ON stage_run.id = lineage_edge.stage_run
JOIN run ON run.id = stage_run.run
JOIN pipeline ON pipeline.id = run.pipeline
WHERE version.artifact = ?1
UNION
SELECT 'deployment ' || deployment.name || CASE WHEN ended_ms IS NULL THEN ', live in ' || environment ELSE '' END, 0,
  deployment.id
FROM deployment JOIN version ON version.id = package OR version.id = model
WHERE version.artifact = ?1
UNION
SELECT 'run ' || pipeline.name || '/' || run.number, 1, run.id
FROM run_event JOIN run ON run.id = run_event.run JOIN pipeline ON pipeline.id = run.pipeline
WHERE (run_event.kind = 'run_started' OR run_event.kind = 'attempt_ended') AND instr(run_event.payload, ?1) > 0
ORDER BY 2, 3 DESC
LIMIT 20)sql";

constexpr char kSelectTombstone[] = R"sql(
SELECT digest
FROM tombstone
WHERE digest = ?1
ORDER BY digest
LIMIT 1)sql";

constexpr char kSelectEvents[] = R"sql(
SELECT run_event.run, seq, at_ms, kind, payload, digest, pipeline.name, run.number
FROM run_event LEFT JOIN run ON run.id = run_event.run LEFT JOIN pipeline ON pipeline.id = run.pipeline
ORDER BY run_event.id
LIMIT 1000000000)sql";

constexpr char kSelectFirstSeen[] = R"sql(
SELECT summary, first_seen_ms
FROM version
WHERE digest = ?1 AND kind = ?2 AND name = ?3
ORDER BY id
LIMIT 1)sql";

// Two runs may have seen a version in the same millisecond, under two summaries.
constexpr char kSelectSaidAt[] = R"sql(
SELECT id
FROM run_event
WHERE kind = 'versions_produced' AND at_ms = ?1 AND instr(payload, ?2) > 0
ORDER BY id
LIMIT 1)sql";

constexpr char kSelectSilent[] = R"sql(
SELECT pipeline.name || '/' || run.number
FROM run LEFT JOIN pipeline ON pipeline.id = run.pipeline
WHERE NOT EXISTS (SELECT 1 FROM run_event WHERE run_event.id = (run.id << 24 | 1))
ORDER BY run.id
LIMIT 1000)sql";

// What follows from a run's events, table by table, under names instead of row numbers. A version's summary is that of
// whoever saw it first, see CheckSummary, and a deployment's end belongs to the next run.
struct Followed {
  const char* table;
  const char* sql;
};
constexpr Followed kFollowed[] = {
    {"run", R"sql(
SELECT json_array(lane, state, reason, message, cancel_requested, cancel_reason, superseded_by, trigger_kind, trigger_key,
  trigger_by, trigger_reason, commit_id, commit_subject, created_ms, ended_ms, stages_total, stages_done, gates_judged,
  gates_passed, gates_overridden)
FROM run JOIN pipeline ON pipeline.id = run.pipeline
WHERE pipeline.name = ?1 AND run.number = ?2
ORDER BY run.id
LIMIT 2)sql"},
    {"stage_run", R"sql(
SELECT json_array(position, stage_run.name, kind, stage_run.state, stage_run.reason, stage_run.message, first_ready_ms,
  ready_ms, not_before_ms, stage_run.ended_ms, attempts, carried_seq, stop_seq)
FROM pipeline JOIN run ON run.pipeline = pipeline.id JOIN stage_run ON stage_run.run = run.id
WHERE pipeline.name = ?1 AND run.number = ?2
ORDER BY position
LIMIT 1000000)sql"},
    {"attempt", R"sql(
SELECT json_array(position, attempt.number, agent, attempt.state, granted_ms, started_ms, attempt.ended_ms, ended_seq,
  recipe_key, recipe, reuse_note)
FROM pipeline JOIN run ON run.pipeline = pipeline.id JOIN stage_run ON stage_run.run = run.id
JOIN attempt ON attempt.stage_run = stage_run.id
WHERE pipeline.name = ?1 AND run.number = ?2
ORDER BY position, attempt.number
LIMIT 10000000)sql"},
    {"metric", R"sql(
SELECT json_array(position, attempt, metric.name, quote(value))
FROM pipeline JOIN run ON run.pipeline = pipeline.id JOIN stage_run ON stage_run.run = run.id
JOIN metric ON metric.stage_run = stage_run.id
WHERE pipeline.name = ?1 AND run.number = ?2
ORDER BY position, attempt, metric.name
LIMIT 10000000)sql"},
    {"verdict", R"sql(
SELECT json_array(position, attempt, rule, outcome, observed, bound)
FROM pipeline JOIN run ON run.pipeline = pipeline.id JOIN stage_run ON stage_run.run = run.id
JOIN verdict ON verdict.stage_run = stage_run.id
WHERE pipeline.name = ?1 AND run.number = ?2
ORDER BY position, attempt, rule
LIMIT 10000000)sql"},
    {"gate_result", R"sql(
SELECT json_array(gate, gate_result.lane, event & 0xffffff, passed, counts, at_ms)
FROM pipeline JOIN gate_result ON gate_result.pipeline = pipeline.id
WHERE pipeline.name = ?1 AND gate_result.number = ?2
ORDER BY gate
LIMIT 1000000)sql"},
    {"lineage", R"sql(
SELECT json_array(position, attempt, role, version.kind, version.name, digest, artifact, is_tree, size, files)
FROM pipeline JOIN run ON run.pipeline = pipeline.id JOIN stage_run ON stage_run.run = run.id
JOIN lineage_edge ON lineage_edge.stage_run = stage_run.id JOIN version ON version.id = lineage_edge.version
WHERE pipeline.name = ?1 AND run.number = ?2
ORDER BY position, attempt, role, version.kind, version.name, digest
LIMIT 10000000)sql"},
    {"deployment", R"sql(
SELECT json_array(deployment.name, environment, stage_run.name, attempt, package.name, package.digest, model.name,
  model.digest, agent, endpoint, started_ms)
FROM pipeline JOIN run ON run.pipeline = pipeline.id JOIN deployment ON deployment.run = run.id
LEFT JOIN stage_run ON stage_run.id = deployment.stage_run
LEFT JOIN version AS package ON package.id = deployment.package
LEFT JOIN version AS model ON model.id = deployment.model
WHERE pipeline.name = ?1 AND run.number = ?2
ORDER BY deployment.name
LIMIT 1000000)sql"},
};

absl::StatusOr<std::vector<std::string>> List(Database& database, const char* sql, const auto&... args) {
  CD4ML_ASSIGN_OR_RETURN(Rows rows, database.Query(sql, args...));
  std::vector<std::string> list;
  while (rows.Next()) list.push_back(rows.String(0));
  CD4ML_RETURN_IF_ERROR(rows.status());
  return list;
}

// A store in memory that the events of runs are put into once more.
class Replay {
 public:
  // Returns the name of a table that does not follow from the events, "" when all do.
  absl::StatusOr<std::string> Compare(Database& original, const std::string& pipeline, int64_t number,
                                      const std::vector<RunChange>& changes) {
    if (store_ == nullptr || ++runs_ > kRunsPerReplay) CD4ML_RETURN_IF_ERROR(Open());
    PipelineRecord record;
    record.name = pipeline;
    absl::Status written = store_->Commit({PipelineChange{record}});
    for (const RunChange& change : changes) {
      if (written.ok()) written = store_->Commit({change});
    }
    if (!written.ok()) {
      store_ = nullptr;
      return "events (" + Message(written) + ")";
    }
    for (const Followed& followed : kFollowed) {
      CD4ML_ASSIGN_OR_RETURN(const auto is, List(original, followed.sql, pipeline, number));
      CD4ML_ASSIGN_OR_RETURN(const auto should, List(*replayed_, followed.sql, pipeline, number));
      if (is != should) return followed.table;
    }
    return "";
  }

 private:
  absl::Status Open() {
    CD4ML_ASSIGN_OR_RETURN(auto database, Database::Open(":memory:", "", Database::Access::kWrite));
    CD4ML_RETURN_IF_ERROR(Migrate(*database, Migrations(), [](int) { return absl::OkStatus(); }));
    replayed_ = database.get();
    store_ = std::make_unique<SqliteStateStore>(LockFile(), std::move(database), Ballast());
    runs_ = 1;
    return absl::OkStatus();
  }

  std::unique_ptr<SqliteStateStore> store_;
  Database* replayed_ = nullptr;  // Inside of store_.
  int runs_ = 0;
};

// Goes through all events in order, a run at a time.
class RecordChecker {
 public:
  RecordChecker(Database& database, RecordCheck& check) : database_(database), check_(check) {}

  absl::Status CheckDatabase() {
    CD4ML_ASSIGN_OR_RETURN(const auto findings, List(database_, "PRAGMA integrity_check(1000)"));
    for (const std::string& finding : findings) {
      if (finding != "ok") Add("database", finding);
    }
    CD4ML_ASSIGN_OR_RETURN(Rows rows, database_.Query("PRAGMA foreign_key_check"));
    while (rows.Next()) {
      Add("table " + rows.String(0) + (rows.IsNull(1) ? "" : " row " + rows.String(1)),
          "it refers to a row of " + rows.String(2) + " that is not there");
    }
    return rows.status();
  }

  absl::Status CheckEvents(const std::stop_token& stop) {
    CD4ML_ASSIGN_OR_RETURN(Rows rows, database_.Query(kSelectEvents));
    while (rows.Next()) {
      if (stop.stop_requested()) return absl::CancelledError("the check was stopped");
      if (rows.Integer(0) != row_) {
        CD4ML_RETURN_IF_ERROR(FinishRun());
        StartRun(rows);
      }
      Take(rows);
    }
    CD4ML_RETURN_IF_ERROR(rows.status());
    CD4ML_RETURN_IF_ERROR(FinishRun());
    CD4ML_ASSIGN_OR_RETURN(const auto silent, List(database_, kSelectSilent));
    for (const std::string& run : silent) Add("run " + run, "it has no events");
    return absl::OkStatus();
  }

  void Add(const std::string& what, const std::string& why) {
    if (check_.damage.size() < kDamageMax) check_.damage.push_back({what, why, {}});
  }

 private:
  void StartRun(const Rows& rows) {
    row_ = rows.Integer(0);
    pipeline_ = rows.String(6);
    number_ = rows.Integer(7);
    is_sound_ = !rows.IsNull(6);
    name_ = is_sound_ ? pipeline_ + "/" + std::to_string(number_) : "in row " + std::to_string(row_);
    if (!is_sound_) Add("run " + name_, "there are events of it, but no run");
    next_seq_ = 1;
    changes_.clear();
    ++check_.runs;
  }

  void Take(const Rows& rows) {
    ++check_.events;
    const int64_t seq = rows.Integer(1);
    if (seq != next_seq_) Spoil("its event " + std::to_string(next_seq_) + " is missing");
    next_seq_ = seq + 1;
    const UtcTime at = rows.Time(2);
    if (EventSum(row_, seq, at, rows.Text(3), rows.Text(4)) != rows.Text(5)) {
      return Spoil("its event " + std::to_string(seq) + " is not as it was written");
    }
    absl::StatusOr<core::Event> event = DecodeEvent(rows.Text(3), rows.Text(4));
    if (!event.ok()) {
      return Spoil("its event " + std::to_string(seq) + " cannot be read: " + Message(event.status()));
    }
    CheckNamed(*event);
    if (const auto* versions = std::get_if<core::VersionsProduced>(&*event)) CheckSummaries(*versions, at);
    // Counters are per change, which is what was decided at one time.
    if (changes_.empty() || changes_.back().at != at) changes_.push_back({name_, seq, at, {}});
    changes_.back().events.push_back(*std::move(event));
  }

  // What a run takes and what it makes have a digest, or nobody can tell what it was.
  void CheckNamed(const core::Event& event) {
    const auto check = [this](const ArtifactRef& artifact, const std::string& what) {
      if (!artifact.digest.is_set()) Add("run " + name_, "its " + what + " has no digest");
    };
    if (const auto* started = std::get_if<core::RunStarted>(&event)) {
      for (const auto& [name, material] : started->pins.materials) check(material.artifact, "data \"" + name + '"');
    } else if (const auto* ended = std::get_if<core::AttemptEnded>(&event)) {
      for (const core::ProducedOutput& output : ended->outcome.outputs) {
        check(output.artifact, "output \"" + ended->stage + "." + output.name + '"');
      }
    }
  }

  // A version's summary, which says where it was read from, is that of the event that saw it first.
  void CheckSummaries(const core::VersionsProduced& event, UtcTime at) {
    for (const auto* versions : {&event.used, &event.produced}) {
      for (const core::Version& version : *versions) {
        if (absl::Status checked = CheckSummary(version, at); !checked.ok()) Add("table version", Message(checked));
      }
    }
  }

  absl::Status CheckSummary(const core::Version& version, UtcTime at) {
    std::string summary;
    {
      CD4ML_ASSIGN_OR_RETURN(Rows rows, database_.Query(kSelectFirstSeen, version.digest, core::ToText(version.kind), version.name));
      if (!rows.Next() || rows.Time(1) != at || rows.Text(0) == version.summary) return rows.status();
      summary = rows.String(0);
    }
    const std::string id = core::VersionId(version);
    if (spoiled_versions_.contains(id) || check_.damage.size() >= kDamageMax) return absl::OkStatus();
    CD4ML_ASSIGN_OR_RETURN(const auto others, List(database_, kSelectSaidAt, at, ToJson(Value(summary))));
    if (others.empty() && spoiled_versions_.insert(id).second) Add("version " + id, "its summary is not what was recorded of it");
    return absl::OkStatus();
  }

  void Spoil(const std::string& why) {
    is_sound_ = false;
    Add("run " + name_, why);
  }

  absl::Status FinishRun() {
    if (row_ == 0 || !is_sound_) return absl::OkStatus();
    CD4ML_ASSIGN_OR_RETURN(const std::string table, replay_.Compare(database_, pipeline_, number_, changes_));
    if (!table.empty()) Spoil("its " + table + " is not what follows from its events");
    return absl::OkStatus();
  }

  Database& database_;
  RecordCheck& check_;
  Replay replay_;
  int64_t row_ = 0, number_ = 0, next_seq_ = 1;
  std::string pipeline_, name_;
  bool is_sound_ = false;
  std::vector<RunChange> changes_;
  std::set<std::string> spoiled_versions_;
};

class SqliteInspector final : public Inspector {
 public:
  explicit SqliteInspector(StoreOptions options) : options_(std::move(options)) {}

  absl::Status CopyTo(const std::string& path, const std::stop_token& stop) override {
    const int file = open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (file < 0) {
      const absl::Status refused = absl::FailedPreconditionError("cannot make " + path + ": " + std::strerror(errno));
      return errno == ENOSPC ? absl::ResourceExhaustedError(refused.message()) : refused;
    }
    close(file);
    // A transaction that is open keeps the copy to one moment, however many pieces it is made in.
    absl::Status copied = Reading([&](Database& database) -> absl::Status {
      CD4ML_RETURN_IF_ERROR(database.Ask("SELECT id FROM identity").status());
      return database.CopyTo(path, stop);
    });
    if (copied.ok()) copied = SyncPath(path);
    if (copied.ok()) copied = SyncPath(FolderOf(path));
    if (copied.ok()) return copied;
    std::error_code ignored;
    for (const char* suffix : {"", "-wal", "-shm", "-journal"}) std::filesystem::remove(path + suffix, ignored);
    return Annotate(copied, "copying the database to " + path);
  }

  absl::StatusOr<std::vector<BlobReference>> References() override {
    std::map<Digest, BlobReference> found;
    const auto add = [&](const ArtifactRef& artifact, const std::string& what) {
      if (!artifact.digest.is_set()) return;
      const auto [place, is_new] = found.try_emplace(artifact.digest, BlobReference{artifact, what});
      if (!is_new && artifact.is_tree) place->second.artifact = artifact;
    };
    CD4ML_RETURN_IF_ERROR(Reading([&](Database& database) { return Collect(database, add); }));
    std::vector<BlobReference> references;
    for (auto& [digest, reference] : found) references.push_back(std::move(reference));
    return references;
  }

  absl::StatusOr<std::vector<std::string>> UsersOf(const Digest& digest) override {
    std::vector<std::string> users;
    CD4ML_RETURN_IF_ERROR(Reading([&](Database& database) -> absl::Status {
      CD4ML_ASSIGN_OR_RETURN(users, List(database, kSelectUsers, digest.hex()));
      return absl::OkStatus();
    }));
    return users;
  }

  absl::StatusOr<bool> WasRemoved(const Digest& digest) override {
    bool was_removed = false;
    CD4ML_RETURN_IF_ERROR(Reading([&](Database& database) -> absl::Status {
      CD4ML_ASSIGN_OR_RETURN(const auto found, List(database, kSelectTombstone, digest.hex()));
      was_removed = !found.empty();
      return absl::OkStatus();
    }));
    return was_removed;
  }

  absl::StatusOr<RecordCheck> CheckRecords(const std::stop_token& stop) override {
    RecordCheck check;
    const absl::Status checked = Reading([&](Database& database) -> absl::Status {
      RecordChecker checker(database, check);
      CD4ML_RETURN_IF_ERROR(checker.CheckDatabase());
      return checker.CheckEvents(stop);
    });
    // What cannot be read at all is damage, too.
    if (absl::IsDataLoss(checked)) {
      check.damage.push_back({"database", Message(checked), {}});
    } else if (!checked.ok()) {
      return checked;
    }
    return check;
  }

 private:
  absl::Status Collect(Database& database, const auto& add) {
    {
      CD4ML_ASSIGN_OR_RETURN(Rows rows, database.Query(kSelectArtifacts));
      while (rows.Next()) {
        CD4ML_ASSIGN_OR_RETURN(const core::Version version, ReadVersion(rows, 0));
        add(version.artifact, std::string(core::ToText(version.kind)) + " " + version.name);
      }
      CD4ML_RETURN_IF_ERROR(rows.status());
    }
    {
      CD4ML_ASSIGN_OR_RETURN(Rows rows, database.Query(kSelectSpeaking));
      while (rows.Next()) {
        const absl::StatusOr<core::Event> event = DecodeEvent(rows.Text(0), rows.Text(1));
        if (!event.ok()) continue;  // CheckRecords tells of it.
        if (const auto* started = std::get_if<core::RunStarted>(&*event)) {
          add({.digest = started->pins.definition}, "definition of " + started->id);
          for (const auto& [name, material] : started->pins.materials) add(material.artifact, "data " + material.name);
        } else if (const auto* ended = std::get_if<core::AttemptEnded>(&*event)) {
          for (const core::ProducedOutput& output : ended->outcome.outputs) {
            add(output.artifact, "output " + ended->stage + "." + output.name);
            if (output.profile.has_value()) add(*output.profile, "profile of " + ended->stage + "." + output.name);
          }
        }
      }
      CD4ML_RETURN_IF_ERROR(rows.status());
    }
    CD4ML_ASSIGN_OR_RETURN(Rows rows, database.Query(kSelectMonitors));
    while (rows.Next()) {
      const absl::StatusOr<Digest> digest = Digest::Parse(rows.Text(0));
      if (digest.ok()) add({.digest = *digest}, "definition of monitor " + rows.String(1));
    }
    return rows.status();
  }

  // Calls `read` in one read transaction on a connection of its own.
  absl::Status Reading(const auto& read) {
    if (options_.vfs.empty() && !std::filesystem::exists(options_.path)) {
      return absl::NotFoundError("there is no database " + options_.path);
    }
    absl::StatusOr<std::unique_ptr<Database>> database =
        Database::Open(options_.path, options_.vfs, Database::Access::kInspect);
    if (!database.ok()) return Annotate(database.status(), "database " + options_.path);
    CD4ML_RETURN_IF_ERROR((*database)->Run("BEGIN"));
    return read(**database);
  }

  const StoreOptions options_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Inspector>> OpenInspector(const StoreOptions& options) {
  return std::make_unique<SqliteInspector>(options);
}

}  // namespace cd4ml::store
