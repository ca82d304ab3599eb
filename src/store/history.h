// The reader's side of the store: a few read-only connections, one query at a time on each.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "cd4ml/ports/history.h"
#include "cd4ml/store/open_store.h"
#include "database.h"

namespace cd4ml::store {

class SqliteHistory : public History {
 public:
  explicit SqliteHistory(StoreOptions options) : options_(std::move(options)) {}

  // Opens the first connection.
  absl::Status Probe();

  absl::StatusOr<core::Run> GetRun(const core::RunId& id) override;
  absl::StatusOr<std::vector<RunSummary>> ListRuns(const RunFilter& filter) override;
  absl::StatusOr<std::vector<core::Deployment>> ListDeployments(const std::string& environment,
                                                                UtcTime at, int limit) override;
  absl::StatusOr<std::optional<ReusableResult>> FindResult(const Digest& recipe) override;
  absl::StatusOr<std::optional<ReusableResult>> LastResult(const std::string& pipeline,
                                                           const std::string& stage) override;
  absl::StatusOr<LineageGraph> TraceLineage(const std::string& reference,
                                            LineageDirection direction, int depth_max) override;
  absl::StatusOr<Impact> FindImpact(const std::string& reference) override;
  absl::StatusOr<std::vector<core::Origin>> FindOrigins(const std::string& reference,
                                                        bool upstream) override;
  absl::StatusOr<std::vector<PredictionRecord>> Predictions(const std::string& deployment,
                                                            UtcTime from, UtcTime to,
                                                            int limit) override;
  absl::StatusOr<std::vector<MonitorCheckRecord>> MonitorChecks(const std::string& monitor,
                                                                int limit) override;
  absl::StatusOr<std::vector<GateRecord>> GateHistory(const std::string& pipeline,
                                                      const std::string& gate, int limit) override;
  absl::StatusOr<std::optional<GateRecord>> FindGate(const core::RunId& run,
                                                     const std::string& gate) override;
  absl::StatusOr<std::optional<GateRecord>> LastPassed(const std::string& pipeline,
                                                       const std::string& gate, int64_t before,
                                                       UtcTime at) override;
  absl::StatusOr<std::vector<core::OverrideRecord>> OverridesOf(const std::string& pipeline,
                                                                const std::string& gate,
                                                                UtcTime at) override;
  absl::StatusOr<std::vector<core::OverrideRecord>> ListOverrides(const std::string& pipeline,
                                                                  int limit) override;
  absl::StatusOr<std::optional<core::OverrideRecord>> FindOverride(int64_t id) override;

 private:
  // Calls `read` inside one read transaction on a connection of the pool.
  template <typename Result, typename Read>
  absl::StatusOr<Result> InTransaction(Read read);
  absl::StatusOr<std::unique_ptr<Database>> Take();
  void GiveBack(std::unique_ptr<Database> database);

  const StoreOptions options_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Database>> idle_;  // Guarded by mutex_.
};

// Implemented in lineage.cc. Call it inside a transaction.
absl::StatusOr<LineageGraph> TraceLineageIn(Database& database, const std::string& reference,
                                            LineageDirection direction, int depth_max);
absl::StatusOr<Impact> FindImpactIn(Database& database, const std::string& reference);
absl::StatusOr<std::vector<core::Origin>> FindOriginsIn(Database& database,
                                                        const std::string& reference, bool upstream);

// Implemented in gate_records.cc. Call these inside a transaction, too.
absl::StatusOr<std::vector<GateRecord>> ReadGateHistory(Database& database, const std::string& pipeline,
                                                        const std::string& gate, int limit);
absl::StatusOr<std::optional<GateRecord>> ReadGate(Database& database, const core::RunId& run,
                                                   const std::string& gate);
absl::StatusOr<std::optional<GateRecord>> ReadLastPassed(Database& database, const std::string& pipeline,
                                                         const std::string& gate, int64_t before, UtcTime at);
absl::StatusOr<std::vector<core::OverrideRecord>> ReadOverridesOf(Database& database, const std::string& pipeline,
                                                                  const std::string& gate, UtcTime at);
absl::StatusOr<std::vector<core::OverrideRecord>> ReadOverrides(Database& database, const std::string& pipeline,
                                                                int limit);
absl::StatusOr<std::optional<core::OverrideRecord>> ReadOverride(Database& database, int64_t id);

}  // namespace cd4ml::store
