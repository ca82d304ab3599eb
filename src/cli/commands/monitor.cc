// `cd4ml monitor list` and `show`: what watches the live models, what it saw, and what followed.
#include <algorithm>

#include "cd4ml/base/text.h"
#include "cli/commands/commands.h"
#include "cli/invocation.h"
#include "cli/text.h"

namespace cd4ml::cli {
namespace {

constexpr int kChecksMax = 20;

Cell LastCheck(const MonitorView& view) {
  if (view.monitor.given_up) return {"✗ given up", Style::kBad};
  if (view.checks.empty()) return {"○ not checked yet", Style::kDim};
  const MonitorCheckRecord& check = view.checks.front();
  if (check.breach.empty()) return {"✔ no breach", Style::kGood};
  return {"✗ breach", Style::kBad};
}

std::string ActionText(const MonitorCheckRecord& check) {
  if (!check.retrain_run.empty()) return "started " + check.retrain_run;
  return check.held_back.empty() ? "" : "held back: " + check.held_back;
}

std::string UntilText(UtcTime then, UtcTime now) {
  if (!then.is_set()) return "";
  return then <= now ? "now" : "in " + AgeText(now, then);
}

int List(Invocation& invocation) {
  const auto monitors = invocation.Query().ListMonitors(1);
  if (!monitors.ok()) return invocation.Fail(monitors.status());
  Table table({{"MONITOR", 0},
               {"LAST CHECK", 0},
               {"ENVIRONMENT", 2},
               {"DEPLOYMENT", 3},
               {"CHECKS", 4},
               {"NEXT", 1},
               {"BREACH", kOnlyWide}});
  for (const MonitorView& view : *monitors) {
    table.Add({view.monitor.id(), LastCheck(view), view.monitor.environment,
               view.monitor.deployment, std::to_string(view.monitor.checks),
               UntilText(view.monitor.next_check, invocation.ports.clock.Now()),
               view.checks.empty() ? "" : view.checks.front().breach});
  }
  invocation.PrintList(
      *monitors, [](const MonitorView& view) { return SafeLine(view.monitor.id()); },
      invocation.ports.json.monitor, table,
      "no monitor is armed; the monitor stage of a run arms one");
  return kExitOk;
}

void Print(const Invocation& invocation, const MonitorView& view) {
  const core::MonitorState& monitor = view.monitor;
  const UtcTime now = invocation.ports.clock.Now();
  const Cell last = LastCheck(view);
  invocation.out.Line(SafeLine(monitor.id()) + "  " + invocation.out.Paint(last.text, last.style));
  invocation.out.Line(SafeLine("  watches " + monitor.deployment + " in " + monitor.environment));
  invocation.out.Line(SafeLine("  armed " + AgeText(monitor.armed, now) + " ago, " +
                               Count(monitor.checks, "check", "checks") + ", next " +
                               UntilText(monitor.next_check, now)));
  if (view.checks.empty()) return;
  invocation.out.Line();
  Table table(
      {{"CHECK", 0}, {"AGE", 1}, {"REQUESTS", 2}, {"VERDICT", 0}, {"BREACH", 0}, {"ACTION", 0}});
  for (const MonitorCheckRecord& check : view.checks) {
    const StateWord word = WordOf(check.verdict.outcome);
    table.Add({std::to_string(check.number),
               AgeText(check.at, now),
               std::to_string(check.requests),
               {word.text(), word.style},
               check.breach,
               ActionText(check)});
  }
  invocation.PrintTable(table);
}

int Show(Invocation& invocation) {
  const auto monitors = invocation.Query().ListMonitors(kChecksMax);
  if (!monitors.ok()) return invocation.Fail(monitors.status());
  const std::string id = invocation.arguments.One("MONITOR");
  std::vector<std::string> ids;
  for (const MonitorView& view : *monitors) {
    ids.push_back(view.monitor.id());
    if (ids.back() != id) continue;
    if (invocation.is_json()) {
      invocation.PrintJson(invocation.ports.json.monitor(view));
    } else {
      Print(invocation, view);
    }
    return kExitOk;
  }
  return invocation.Fail(
      absl::NotFoundError("no monitor \"" + id + "\" is armed" + DidYouMean(id, ids)),
      {{"Monitors", "cd4ml monitor list"}});
}

}  // namespace

Command MonitorList() {
  return {.path = "monitor list",
          .group = "Deployments and monitors",
          .summary = "list armed monitors and their last check",
          .examples = {"monitor list"},
          .perform = List};
}

Command MonitorShow() {
  return {.path = "monitor show",
          .group = "Deployments and monitors",
          .summary = "show a monitor's checks and what followed",
          .examples = {"monitor show used-car-price/watch"},
          .operands = {{"MONITOR", "pipeline and stage, like used-car-price/watch"}},
          .perform = Show};
}

}  // namespace cd4ml::cli
