// What is known of a model, put together from what is recorded.
#include <algorithm>

#include "cd4ml/base/status.h"
#include "cd4ml/core/origin.h"

namespace cd4ml::core {

absl::StatusOr<ModelRecord> FindModelRecord(const std::vector<Origin>& origins) {
  for (size_t i = 0; i < origins.size(); ++i) {
    for (const Version& version : origins[i].produced) {
      if (version.kind != VersionKind::kModel) continue;
      ModelRecord record;
      record.origin = origins[i];
      record.model = version;
      // Nearest first: whatever the model was made from stands behind it.
      record.upstream.assign(origins.begin() + static_cast<std::ptrdiff_t>(i) + 1, origins.end());
      return record;
    }
  }
  return absl::FailedPreconditionError("there is no model in it, and none that it was made from");
}

void AddJudgements(const Run& run, ModelRecord& record) {
  for (const StageRun& stage : run.stages) {
    const bool looks = std::any_of(stage.plan.references.begin(), stage.plan.references.end(), [&](const auto& reference) {
      const std::optional<Version> version = FindVersion(run, reference);
      return version.has_value() && version->digest == record.model.digest;
    });
    const Outcome* result = stage.result();
    if (!looks || result == nullptr || (result->metrics.empty() && !result->verdict.has_value())) continue;
    const AttemptId attempt =
        stage.carried.has_value() ? stage.carried->from : AttemptId{run.id, stage.plan.name, stage.latest()->number};
    const bool is_known = std::any_of(record.judgements.begin(), record.judgements.end(),
                                      [&](const ModelRecord::Judgement& one) { return one.attempt == attempt; });
    if (!is_known) record.judgements.push_back({attempt, result->metrics, result->verdict});
  }
}

void AddDeployments(const std::vector<Deployment>& ledger, ModelRecord& record) {
  for (const Deployment& deployment : ledger) {
    if (deployment.model.digest == record.model.digest) record.deployments.push_back(deployment);
  }
}

}  // namespace cd4ml::core
