// What gates found in run after run, and who overrode what; each look-up costs what it returns.
#include <algorithm>

#include "encode.h"
#include "history.h"
#include "read.h"
#include "state_store.h"

namespace cd4ml::store {
namespace {

// --- results
// -----------------------------------------------------------------------------------------

// Returns a query of what ReadRecord reads. The planner thinks that a search by the primary key is as good as one by the
// index that has passes only, so the index is named.
std::string Select(const std::string& index, const std::string& rest) {
  return R"sql(
SELECT gate_result.number, gate_result.lane, gate_result.passed, gate_result.at_ms,
  run_event.id, run_event.at_ms, run_event.kind, run_event.payload, run_event.digest
FROM gate_result )sql" + index + R"sql(
CROSS JOIN run_event ON run_event.id = gate_result.event
WHERE gate_result.pipeline = (SELECT id FROM pipeline WHERE name = ?1) AND gate_result.gate = ?2
)sql" + rest;
}

constexpr char kOfLane[] = R"sql(
AND gate_result.counts = 1 AND gate_result.lane = ?5 AND gate_result.number < ?3 AND gate_result.at_ms < ?4
ORDER BY gate_result.number DESC
LIMIT 1)sql";

constexpr char kOfAnyLane[] = R"sql(
AND gate_result.counts = 1 AND gate_result.number < ?3 AND gate_result.at_ms < ?4
ORDER BY gate_result.number DESC
LIMIT 1)sql";

absl::StatusOr<GateRecord> ReadRecord(const Rows& rows, const std::string& pipeline) {
  GateRecord record;
  record.run = pipeline + "/" + std::to_string(rows.Integer(0));
  record.lane = rows.String(1);
  record.passed = rows.Integer(2) != 0;
  record.at = rows.Time(3);
  CD4ML_RETURN_IF_ERROR(rows.Check());
  CD4ML_ASSIGN_OR_RETURN(core::Event event, ReadEvent(rows, 4, rows.Text(6)));
  if (auto* ended = std::get_if<core::AttemptEnded>(&event)) {
    record.outcome = std::move(ended->outcome);
  } else if (auto* carried = std::get_if<core::StageCarried>(&event)) {
    record.outcome = std::move(carried->carried.outcome);
  } else {
    return absl::InvalidArgumentError("an event of kind " + rows.String(6) + " holds no outcome");
  }
  return record;
}

// What cannot be read is reported by a scrub; here it is as if it were not there.
absl::StatusOr<std::optional<GateRecord>> ReadOne(absl::StatusOr<Rows> queried, const std::string& pipeline) {
  CD4ML_ASSIGN_OR_RETURN(Rows rows, std::move(queried));
  std::optional<GateRecord> found;
  if (rows.Next()) {
    absl::StatusOr<GateRecord> record = ReadRecord(rows, pipeline);
    if (record.ok()) found = *std::move(record);
  }
  CD4ML_RETURN_IF_ERROR(rows.status());
  return found;
}

// --- overrides
// ---------------------------------------------------------------------------------------

constexpr char kOverrideColumns[] = R"sql(
SELECT gate_override.id, pipeline.name, gate, rule, run, by, reason, people, at_ms, expires_ms, revoked_ms, revoked_by
FROM gate_override JOIN pipeline ON pipeline.id = gate_override.pipeline
)sql";

absl::StatusOr<std::vector<core::OverrideRecord>> ReadAll(absl::StatusOr<Rows> queried) {
  CD4ML_ASSIGN_OR_RETURN(Rows rows, std::move(queried));
  std::vector<core::OverrideRecord> records;
  while (rows.Next()) {
    core::OverrideRecord& record = records.emplace_back();
    record.id = rows.Integer(0);
    record.pipeline = rows.String(1);
    record.gate = rows.String(2);
    record.rule = rows.String(3);
    record.run = rows.String(4);
    record.by = rows.String(5);
    record.reason = rows.String(6);
    record.people = static_cast<int>(rows.Integer(7));
    record.at = rows.Time(8);
    record.expires = rows.Time(9);
    record.revoked = rows.Time(10);
    record.revoked_by = rows.String(11);
  }
  CD4ML_RETURN_IF_ERROR(rows.status());
  return records;
}

constexpr char kInsertOverride[] = R"sql(
INSERT INTO gate_override (pipeline, gate, rule, run, by, reason, people, at_ms, expires_ms)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9))sql";

constexpr char kRevokeOverride[] = R"sql(
UPDATE gate_override
SET revoked_ms = ?2, revoked_by = ?3
WHERE id = ?1 AND revoked_ms = 0)sql";

}  // namespace

absl::StatusOr<std::vector<GateRecord>> ReadGateHistory(Database& database, const std::string& pipeline,
                                                        const std::string& gate, int limit) {
  static const std::string kSelect = Select("", "ORDER BY gate_result.number DESC\nLIMIT ?3");
  CD4ML_ASSIGN_OR_RETURN(Rows rows, database.Query(kSelect.c_str(), pipeline, gate, limit));
  std::vector<GateRecord> records;
  while (rows.Next()) {
    if (absl::StatusOr<GateRecord> record = ReadRecord(rows, pipeline); record.ok()) {
      records.push_back(*std::move(record));
    }
  }
  CD4ML_RETURN_IF_ERROR(rows.status());
  if (!records.empty()) return records;
  return absl::NotFoundError("no run of pipeline \"" + pipeline + "\" has judged a gate \"" + gate + "\"");
}

absl::StatusOr<std::optional<GateRecord>> ReadGate(Database& database, const core::RunId& run,
                                                   const std::string& gate) {
  static const std::string kSelect = Select("", "AND gate_result.number = ?3\nORDER BY 1\nLIMIT 1");
  const RunName name = ParseRunName(run);
  return ReadOne(database.Query(kSelect.c_str(), name.pipeline, gate, name.number), name.pipeline);
}

absl::StatusOr<std::optional<GateRecord>> ReadLastPassed(Database& database, const std::string& pipeline,
                                                         const std::string& gate, int64_t before, UtcTime at) {
  static const std::string kInLane = Select("INDEXED BY gate_result_counts_in_lane", kOfLane);
  static const std::string kAny = Select("INDEXED BY gate_result_counts", kOfAnyLane);
  CD4ML_ASSIGN_OR_RETURN(
      std::optional<GateRecord> found,
      ReadOne(database.Query(kInLane.c_str(), pipeline, gate, before, at, "production"), pipeline));
  if (found.has_value()) return found;
  return ReadOne(database.Query(kAny.c_str(), pipeline, gate, before, at), pipeline);
}

absl::StatusOr<std::vector<core::OverrideRecord>> ReadOverridesOf(Database& database, const std::string& pipeline,
                                                                  const std::string& gate, UtcTime at) {
  static const std::string kSelect = std::string(kOverrideColumns) + R"sql(
WHERE gate_override.pipeline = (SELECT id FROM pipeline WHERE name = ?1) AND gate = ?2 AND expires_ms > ?3
ORDER BY gate_override.id
LIMIT 10000)sql";
  return ReadAll(database.Query(kSelect.c_str(), pipeline, gate, at));
}

absl::StatusOr<std::vector<core::OverrideRecord>> ReadOverrides(Database& database, const std::string& pipeline,
                                                                int limit) {
  static const std::string kAll = std::string(kOverrideColumns) + "ORDER BY gate_override.id DESC\nLIMIT ?1";
  static const std::string kOfOne = std::string(kOverrideColumns) +
                                    "WHERE gate_override.pipeline = (SELECT id FROM pipeline WHERE name = ?2)\n"
                                    "ORDER BY gate_override.id DESC\nLIMIT ?1";
  if (pipeline.empty()) return ReadAll(database.Query(kAll.c_str(), limit));
  return ReadAll(database.Query(kOfOne.c_str(), limit, pipeline));
}

absl::StatusOr<std::optional<core::OverrideRecord>> ReadOverride(Database& database, int64_t id) {
  static const std::string kSelect = std::string(kOverrideColumns) + "WHERE gate_override.id = ?1\nORDER BY 1\nLIMIT 1";
  CD4ML_ASSIGN_OR_RETURN(std::vector<core::OverrideRecord> records, ReadAll(database.Query(kSelect.c_str(), id)));
  if (records.empty()) return std::nullopt;
  return std::move(records.front());
}

absl::Status SqliteStateStore::Write(const OverrideChange& change) {
  const core::OverrideRecord& record = change.record;
  if (record.id != 0) {
    CD4ML_RETURN_IF_ERROR(database_->Run(kRevokeOverride, record.id, record.revoked, record.revoked_by));
    if (database_->changes() == 1) return absl::OkStatus();
    return absl::InvalidArgumentError("override " + std::to_string(record.id) + " is not there, or was revoked already");
  }
  CD4ML_ASSIGN_OR_RETURN(const int64_t pipeline, PipelineRow(record.pipeline));
  CD4ML_RETURN_IF_ERROR(database_->Run(kInsertOverride, pipeline, record.gate, record.rule, record.run, record.by,
                                       record.reason, record.people, record.at, record.expires));
  if (change.id != nullptr) *change.id = database_->last_insert_id();
  return absl::OkStatus();
}

}  // namespace cd4ml::store
