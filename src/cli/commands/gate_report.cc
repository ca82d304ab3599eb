// `cd4ml gate report`: the page that was kept with a gate's verdict.
#include "cd4ml/core/gate_report.h"

#include <algorithm>

#include "cd4ml/base/status.h"
#include "cli/commands/commands.h"
#include "cli/invocation.h"
#include "cli/text.h"

namespace cd4ml::cli {
namespace {

constexpr int64_t kPageMax = 64 << 20;

// Returns the page of a gate's result, or null.
const core::ProducedOutput* PageOf(const core::StageRun& stage) {
  const core::Outcome* result = stage.result();
  if (result == nullptr) return nullptr;
  const auto page =
      std::find_if(result->outputs.begin(), result->outputs.end(), [](const core::ProducedOutput& output) {
        return output.name == core::kGateReportOutput && !output.artifact.is_tree;
      });
  return page == result->outputs.end() ? nullptr : &*page;
}

// Returns the gate that was named, else the one that rejected, else the only one that was judged.
absl::StatusOr<const core::StageRun*> ChooseGate(const core::Run& run, const std::string& name) {
  if (!name.empty()) {
    const core::StageRun* stage = run.FindStage(name);
    if (stage == nullptr) return absl::NotFoundError("run " + run.id + " has no stage \"" + name + '"');
    if (!core::IsGate(stage->plan.kind)) return absl::InvalidArgumentError("stage \"" + name + "\" is no gate");
    return stage;
  }
  std::vector<const core::StageRun*> judged;
  for (const core::StageRun& stage : run.stages) {
    if (PageOf(stage) == nullptr) continue;
    if (core::Blocks(stage.result()->verdict.value_or(core::Verdict{.outcome = core::VerdictOutcome::kPass}).outcome))
      return &stage;
    judged.push_back(&stage);
  }
  if (judged.size() == 1) return judged.front();
  if (judged.empty()) return absl::NotFoundError("no gate of run " + run.id + " has been judged");
  std::vector<std::string> names;
  for (const core::StageRun* stage : judged) names.push_back(stage->plan.name);
  return absl::InvalidArgumentError("all gates of run " + run.id + " have passed; say which: " + Join(names, ", "));
}

absl::StatusOr<std::string> ReadPage(Invocation& invocation, const core::Run& run, const core::StageRun& stage) {
  const core::ProducedOutput* page = PageOf(stage);
  if (page == nullptr) {
    return absl::NotFoundError("gate \"" + stage.plan.name + "\" of run " + run.id +
                               " has no report: it has not been judged");
  }
  absl::StatusOr<std::string> text = invocation.ReadArtifact(page->artifact.digest, kPageMax);
  if (absl::IsNotFound(text.status())) {
    return absl::NotFoundError("the report of gate \"" + stage.plan.name + "\" of run " + run.id +
                               " is no longer kept; `cd4ml run show` tells its verdict");
  }
  return text;
}

int Perform(Invocation& invocation) {
  const std::string file = invocation.arguments.One("out");
  if (file.empty() && invocation.out.is_terminal()) {
    return invocation.FailUsage("a report is a page for a browser: write it to a file with --out FILE");
  }
  const absl::StatusOr<RunView> view = invocation.Query().GetRun(invocation.arguments.One("RUN"));
  if (!view.ok()) return invocation.Fail(view.status(), IfNotFound(view.status(), {"Runs", "cd4ml run list"}));
  const auto gate = ChooseGate(view->run, invocation.arguments.One("GATE"));
  if (!gate.ok())
    return invocation.Fail(gate.status(), IfNotFound(gate.status(), {"Its stages", "cd4ml run show " + view->run.id}));
  const absl::StatusOr<std::string> page = ReadPage(invocation, view->run, **gate);
  if (!page.ok()) return invocation.Fail(page.status());
  if (file.empty()) {
    invocation.out.Write(*page);
    return kExitOk;
  }
  const absl::Status written = invocation.ports.write_file(file, *page);
  if (!written.ok()) return invocation.Fail(written);
  invocation.Note("report of gate " + SafeLine((*gate)->plan.name) + " written to " + SafeLine(file));
  return kExitOk;
}

}  // namespace

Command GateReport() {
  return {.path = "gate report",
          .group = "Gates",
          .summary = "write a gate's verdict as a page for a browser",
          .examples = {"gate report used-car-price/2 --out gate.html",
                       "gate report used-car-price/latest error-gate --out g.html"},
          .operands = {{"RUN", "a run, like used-car-price/2 (cd4ml help refs)"},
                       {"GATE", "a gate of it; without it the one that rejected, else the only one", false}},
          .options = {{"--out", "FILE", "where the page goes; without it, to standard output"}},
          .perform = Perform,
          .details = "The page holds everything in itself: it opens without a network and can be sent to others."};
}

}  // namespace cd4ml::cli
