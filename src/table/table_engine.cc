// The port TableEngine over DuckDB.
#include "cd4ml/ports/table_engine.h"

#include "cd4ml/base/status.h"
#include "cd4ml/table/open_table_engine.h"
#include "table/duckdb.h"
#include "table/load.h"
#include "table/measure.h"
#include "table/predictions.h"
#include "table/quarantine.h"
#include "table/rules.h"

namespace cd4ml::table {
namespace {

absl::StatusOr<std::unique_ptr<Database>> OpenWithMacros(const TableEngineOptions& options) {
  CD4ML_ASSIGN_OR_RETURN(std::unique_ptr<Database> database, Database::Open(options));
  CD4ML_RETURN_IF_ERROR(DefineMacros(*database));
  return database;
}

class DuckDbTableEngine : public TableEngine {
 public:
  DuckDbTableEngine(std::unique_ptr<Database> database, TableEngineOptions options)
      : database_(std::move(database)), options_(std::move(options)) {}

  absl::Status AddTable(const TableSource& source) override {
    absl::StatusOr<Table> table = Load(source);
    if (absl::IsResourceExhausted(table.status())) CD4ML_RETURN_IF_ERROR(Reopen());
    if (!table.ok()) return Annotate(table.status(), "table \"" + source.name + "\"");
    sources_.insert_or_assign(source.name, source);
    if (const auto old = tables_.find(source.name); old != tables_.end()) {
      scans_.erase(old->second.sql);
      CD4ML_RETURN_IF_ERROR(database_->Execute(old->second.Drop()));
    }
    tables_[source.name] = *std::move(table);
    return absl::OkStatus();
  }

  void SetNow(UtcTime now) override { now_ = now; }

  core::RuleResult Judge(const core::Rule& rule,
                         const std::map<std::string, Baseline>& baselines) override {
    return JudgeRule({*database_, tables_, scans_, rule, baselines, now_, rules_});
  }

  absl::StatusOr<std::vector<std::string>> QualifyingSegments(
      const core::SegmentsRule& rule) override {
    return FindSegments(*database_, tables_, scans_, rule, rules_);
  }

  absl::StatusOr<core::TableProfile> Profile(const std::string& table) override {
    CD4ML_ASSIGN_OR_RETURN(const Table* found, FindTable(tables_, table));
    return MeasureProfile(*database_, *found);
  }

  absl::StatusOr<std::map<std::string, core::ColumnProfile>> CountLike(
      const std::string& table, const core::TableProfile& reference) override {
    CD4ML_ASSIGN_OR_RETURN(const Table* found, FindTable(tables_, table));
    return CountLikeReference(*database_, *found, reference, found->columns);
  }

  absl::Status WriteBadRows(const std::string& table, const std::vector<core::Rule>& rules,
                            const std::string& path) override {
    return table::WriteBadRows(*database_, tables_, scans_, table, rules, path);
  }

  absl::StatusOr<core::MetricSet> PredictionMetrics(const std::string& path,
                                                    const core::PredictionsSpec& spec) override {
    const std::string sql = "t" + std::to_string(loads_++);
    absl::StatusOr<core::Predictions> predictions = ReadPredictions(*database_, path, spec, sql);
    CD4ML_RETURN_IF_ERROR(database_->Execute("DROP TABLE IF EXISTS " + sql));
    if (!predictions.ok()) return Annotate(predictions.status(), "predictions");
    return core::MeasurePredictions(std::make_shared<const core::Predictions>(*std::move(predictions)));
  }

  void SetStop(std::stop_token stop) override { database_->SetStop(std::move(stop)); }

  void SetRules(std::vector<core::Rule> rules) override {
    rules_ = std::move(rules);
    scans_.clear();
  }

 private:
  // Every load gets an SQL name of its own, so that a failed one leaves nothing that a rule could
  // find.
  absl::StatusOr<Table> Load(const TableSource& source) {
    const std::string sql = "t" + std::to_string(loads_++);
    absl::StatusOr<Table> table = LoadTable(*database_, source, sql);
    if (!table.ok()) database_->Execute("DROP TABLE IF EXISTS " + sql).IgnoreError();
    return table;
  }

  // DuckDB does nothing more once a commit has found no memory. Another one is opened, with the tables of this.
  absl::Status Reopen() {
    scans_.clear();
    database_.reset();
    CD4ML_ASSIGN_OR_RETURN(database_, OpenWithMacros(options_));
    for (auto& [name, table] : tables_) {
      absl::StatusOr<Table> again = Load(sources_.at(name));
      if (!again.ok()) return Annotate(again.status(), "table \"" + name + "\", read again");
      table = *std::move(again);
    }
    return absl::OkStatus();
  }

  std::unique_ptr<Database> database_;
  const TableEngineOptions options_;
  Tables tables_;
  std::map<std::string, TableSource> sources_;   // Of `tables_`.
  Scans scans_;                                  // The same.
  int loads_ = 0;
  UtcTime now_;
  std::vector<core::Rule> rules_;  // Of the gate.
};

}  // namespace

absl::StatusOr<std::unique_ptr<TableEngine>> OpenTableEngine(const TableEngineOptions& options) {
  CD4ML_ASSIGN_OR_RETURN(std::unique_ptr<Database> database, OpenWithMacros(options));
  return std::make_unique<DuckDbTableEngine>(std::move(database), options);
}

}  // namespace cd4ml::table
