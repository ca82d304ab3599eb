// Windows of predictions.
#include "watcher.h"

#include <set>
#include <utility>

#include "cd4ml/base/status.h"

namespace cd4ml::daemon {
namespace {

constexpr int kPredictionsMax = 100'000;      // The newest of the window; enough for any histogram.
constexpr int64_t kProfileSizeMax = 64 << 20;

std::set<std::string> ColumnsOf(const core::MonitorSpec& spec) {
  std::set<std::string> columns;
  for (const core::CheckSpec& check : spec.checks) {
    if (const auto* drift = std::get_if<core::DriftRule>(&check.rule)) {
      columns.insert(drift->columns.begin(), drift->columns.end());
    }
  }
  return columns;
}

absl::StatusOr<core::MonitorReference> ReadReference(const std::optional<TaskBaseline>& train_data,
                                                     BlobStore& blobs) {
  core::MonitorReference reference;
  if (!train_data.has_value()) return reference;
  reference.identity = train_data->identity;
  CD4ML_ASSIGN_OR_RETURN(const std::string text, ReadBlob(blobs, train_data->profile.digest, kProfileSizeMax));
  CD4ML_ASSIGN_OR_RETURN(const Value value, ParseJson(text));
  CD4ML_ASSIGN_OR_RETURN(reference.profile, core::ProfileFromValue(value));
  return reference;
}

core::ColumnProfile CountColumn(const std::string& column, const core::ColumnProfile& reference,
                                const std::vector<PredictionRecord>& predictions) {
  std::vector<Value> values;
  values.reserve(predictions.size());
  for (const PredictionRecord& prediction : predictions) {
    const Value* value = prediction.input.Find(column);
    values.push_back(value == nullptr ? Value() : *value);
  }
  return core::CountLike(reference, values);
}

}  // namespace

absl::StatusOr<JudgedCheck> MeasureMonitor(const core::MonitorState& monitor,
                                           const std::optional<TaskBaseline>& train_data, const Ports& ports,
                                           Definitions& definitions) {
  CD4ML_ASSIGN_OR_RETURN(const std::shared_ptr<const core::PipelineSpec> spec, definitions.Get(monitor.definition));
  const core::StageSpec* stage = spec->FindStage(monitor.stage);
  if (stage == nullptr || !stage->monitor.has_value()) {
    return absl::DataLossError("the recorded definition of " + monitor.id() + " has no such monitor");
  }
  CD4ML_ASSIGN_OR_RETURN(const core::MonitorReference reference, ReadReference(train_data, ports.blobs));
  core::MonitorWindow window;
  window.to = ports.clock.Now();
  window.from = window.to + -stage->monitor->window;
  CD4ML_ASSIGN_OR_RETURN(
      const std::vector<PredictionRecord> predictions,
      ports.history.Predictions(monitor.deployment, window.from, window.to + Duration(1), kPredictionsMax));
  window.requests = static_cast<int64_t>(predictions.size());
  for (const std::string& column : ColumnsOf(*stage->monitor)) {
    const auto known = reference.profile.columns.find(column);
    if (known != reference.profile.columns.end()) {
      window.columns[column] = CountColumn(column, known->second, predictions);
    }
  }
  JudgedCheck check;
  check.monitor = monitor.id();
  check.deployment = monitor.deployment;
  check.spec = *stage->monitor;
  check.verdict = core::JudgeWindow(check.spec, window, reference);
  check.requests = window.requests;
  return check;
}

}  // namespace cd4ml::daemon
