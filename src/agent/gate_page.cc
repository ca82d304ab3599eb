// Makes the page and puts it into the blob store.
#include "agent/gate_page.h"

#include <algorithm>

#include "agent/blobs.h"
#include "cd4ml/base/status.h"

namespace cd4ml::agent {

void AttachGatePage(const Attempt& attempt, const core::StageSpec& stage, core::GateEvidence evidence,
                    core::Outcome& outcome) {
  const bool is_taken = std::any_of(stage.outputs.begin(), stage.outputs.end(), [](const core::OutputSpec& output) {
    return output.name == core::kGateReportOutput;
  });
  if (!outcome.verdict || is_taken) return;
  const core::GateReport report{.title = attempt.task().attempt.run,
                                .gate = stage.name,
                                .kind = std::string(core::ToText(stage.kind)),
                                .verdict = *outcome.verdict,
                                .evidence = std::move(evidence)};
  const absl::StatusOr<ArtifactRef> page = attempt.tools().blobs.PutText(core::GateReportHtml(report), attempt.halt());
  if (!page.ok()) return attempt.Say("the report of the gate could not be kept: " + Message(page.status()));
  outcome.outputs.push_back({std::string(core::kGateReportOutput), "", core::OutputType::kReport, *page, std::nullopt});
}

}  // namespace cd4ml::agent
