// Origins to documents.
#include "documents.h"

#include <set>

#include "cd4ml/base/status.h"
#include "cd4ml/core/envelope.h"
#include "cd4ml/core/origin.h"

namespace cd4ml::daemon {
namespace {

constexpr int kLedgerMax = 1'000;
constexpr size_t kJudgesMax = 20;   // Runs that are asked how they judged a model.

absl::StatusOr<std::string> SignAll(Signer* signer, const std::vector<core::Origin>& origins) {
  if (signer == nullptr) return absl::FailedPreconditionError("this daemon has no key to sign with");
  std::string lines;
  for (const core::Origin& origin : origins) {
    CD4ML_ASSIGN_OR_RETURN(const core::Envelope envelope,
                           SignEnvelope(*signer, core::kInTotoPayload, core::ProvenanceStatement(origin)));
    lines += core::FormatEnvelope(envelope) + "\n";
  }
  return lines;
}

}  // namespace

absl::StatusOr<std::string> MakeDocument(History& history, Signer* signer, const std::string& reference,
                                         DocumentKind kind) {
  CD4ML_ASSIGN_OR_RETURN(const std::vector<core::Origin> origins,
                         history.FindOrigins(reference, kind != DocumentKind::kProvenance));
  if (kind == DocumentKind::kProvenance || kind == DocumentKind::kUpstream) return SignAll(signer, origins);
  CD4ML_ASSIGN_OR_RETURN(core::ModelRecord record, core::FindModelRecord(origins));
  CD4ML_ASSIGN_OR_RETURN(const core::Run run, history.GetRun(record.origin.run));
  core::AddJudgements(run, record);
  CD4ML_ASSIGN_OR_RETURN(const std::vector<core::Deployment> ledger, history.ListDeployments("", {}, kLedgerMax));
  core::AddDeployments(ledger, record);
  // A retry, or another run that took the model over, may have judged it again before it was deployed.
  std::set<core::RunId> runs = {record.origin.run};
  for (const core::Deployment& deployment : record.deployments) {
    if (runs.size() >= kJudgesMax || !runs.insert(deployment.run).second) continue;
    const absl::StatusOr<core::Run> deployed = history.GetRun(deployment.run);
    if (deployed.ok()) core::AddJudgements(*deployed, record);
  }
  return kind == DocumentKind::kModelCard ? core::ModelCard(record) : core::ModelBom(record) + "\n";
}

}  // namespace cd4ml::daemon
