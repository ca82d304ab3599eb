// `cd4ml run list`: runs in one line each, newest first.
#include "cli/commands/commands.h"
#include "cli/invocation.h"
#include "cli/text.h"

namespace cd4ml::cli {
namespace {

std::string Fraction(int part, int whole) {
  return std::to_string(part) + "/" + std::to_string(whole);
}

std::string TriggerText(const RunSummary& run) {
  return run.trigger == core::TriggerKind::kMonitor ? "monitor " + run.trigger_by : run.trigger_by;
}

Table TableOf(const std::vector<RunSummary>& runs, UtcTime now) {
  Table table({{"RUN", 0},
               {"STATE", 0},
               {"STAGES", 3},
               {"GATES", 4},
               {"TRIGGER", 6},
               {"COMMIT", 5},
               {"AGE", 1},
               {"TIME", 2},
               {"LANE", kOnlyWide},
               {"SUBJECT", kOnlyWide},
               {"WHY", kOnlyWide}});
  for (const RunSummary& run : runs) {
    const StateWord word = WordOf(run.word);
    const UtcTime end = run.ended.is_set() ? run.ended : now;
    table.Add({run.id,
               {word.text() + (run.gates_overridden > 0 ? ", overridden" : ""), word.style},
               Fraction(run.stages_done, run.stages_total),
               Fraction(run.gates_passed, run.gates_judged),
               TriggerText(run),
               BriefCommit(run.commit),
               AgeText(run.created, now),
               FormatDuration(std::max(Duration(0), end - run.created)),
               run.lane,
               run.commit_subject,
               run.message.empty() ? run.trigger_reason : run.message});
  }
  return table;
}

absl::StatusOr<RunFilter> ReadFilter(const Invocation& invocation) {
  const absl::StatusOr<int> limit = invocation.Number("limit", 20, 1, 1000);
  if (!limit.ok()) return limit.status();
  RunFilter filter{.pipeline = invocation.arguments.One("pipeline"),
                   .state = std::nullopt,
                   .limit = *limit,
                   .before = invocation.arguments.One("before")};
  const std::string state = invocation.arguments.One("state");
  if (!state.empty()) filter.state = core::ParseRunState(state == "passed" ? "succeeded" : state);
  return filter;
}

int Perform(Invocation& invocation) {
  const absl::StatusOr<RunFilter> filter = ReadFilter(invocation);
  if (!filter.ok()) return invocation.Fail(filter.status());
  const auto runs = invocation.Query().ListRuns(*filter);
  if (!runs.ok())
    return invocation.Fail(runs.status(),
                           IfNotFound(runs.status(), {"Pipelines", "cd4ml pipeline list"}));
  invocation.PrintList(
      *runs, [](const RunSummary& run) { return SafeLine(run.id); },
      invocation.ports.json.run_summary, TableOf(*runs, invocation.ports.clock.Now()),
      "no runs; start one:  cd4ml run start " +
          (filter->pipeline.empty() ? "PIPELINE" : filter->pipeline));
  if (!invocation.is_json() && static_cast<int>(runs->size()) == filter->limit) {
    invocation.Note("older ones:  cd4ml run list --before " + SafeLine(runs->back().id));
  }
  return kExitOk;
}

}  // namespace

Command RunList() {
  return {.path = "run list",
          .group = "Runs",
          .summary = "list runs, newest first",
          .examples = {"run list", "run list --pipeline used-car-price --state failed",
                       "run list --limit 100 -o jsonl"},
          .options = {{"--pipeline", "NAME", "only of this pipeline"},
                      {"--state",
                       "STATE",
                       "only in this state",
                       false,
                       {"queued", "running", "passed", "failed", "cancelled"}},
                      {"--limit", "N", "at most so many (1 to 1000); without it: 20"},
                      {"--before", "RUN", "only runs older than this one"}},
          .perform = Perform};
}

}  // namespace cd4ml::cli
