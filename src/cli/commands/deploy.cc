// `cd4ml deploy list` and `history`: what is live where, and what was live when.
#include <algorithm>

#include "cli/commands/commands.h"
#include "cli/invocation.h"
#include "cli/text.h"

namespace cd4ml::cli {
namespace {

enum class Scope { kLive, kHistory };

// Returns by which overrides gates of its run passed: "error-gate.mae by ana".
std::string OverridesText(const core::Deployment& deployment) {
  std::string text;
  for (const core::Override& one : deployment.overrides) text += (text.empty() ? "" : ", ") + one.rule + " by " + one.by;
  return text;
}

int PrintDeployments(Invocation& invocation, Scope scope, UtcTime at, int limit,
                     const std::string& when_empty) {
  const auto deployments =
      invocation.Query().ListDeployments(invocation.arguments.One("ENVIRONMENT"), at, limit);
  if (!deployments.ok()) return invocation.Fail(deployments.status());
  const int past =
      scope == Scope::kHistory ? 0 : kOnlyWide;  // What is the same for all that is live.
  const bool any = std::any_of(deployments->begin(), deployments->end(),
                               [](const core::Deployment& deployment) { return !deployment.overrides.empty(); });
  Table table({{"ENVIRONMENT", 0},
               {"STATE", past},
               {"RUN", 1},
               {"SINCE (UTC)", 2},
               {"UNTIL (UTC)", past + 3},
               {"ENDPOINT", 4},
               {"MODEL", 5},
               {"OVERRIDES", any ? 1 : kOnlyWide},
               {"DEPLOYMENT", kOnlyWide},
               {"PACKAGE", kOnlyWide},
               {"AGENT", kOnlyWide},
               {"REPLACED", kOnlyWide}});
  for (const core::Deployment& deployment : *deployments) {
    const bool is_live = !deployment.ended.is_set();
    table.Add({deployment.environment,
               is_live ? Cell("✔ live", Style::kGood) : Cell("– ended", Style::kDim),
               deployment.run, MinuteText(deployment.started), MinuteText(deployment.ended),
               deployment.endpoint, VersionText(deployment.model), OverridesText(deployment), deployment.id,
               VersionText(deployment.package), deployment.agent, deployment.replaced});
  }
  invocation.PrintList(
      *deployments, [](const core::Deployment& deployment) { return SafeLine(deployment.id); },
      invocation.ports.json.deployment, table, when_empty);
  return kExitOk;
}

int List(Invocation& invocation) {
  // What is live is live tomorrow, too; today this clock may be behind the daemon's.
  const UtcTime tomorrow = invocation.ports.clock.Now() + Duration(86'400'000);
  return PrintDeployments(invocation, Scope::kLive, tomorrow, 1000,
                          "nothing is live; the deploy stage of a run makes it so");
}

int ListHistory(Invocation& invocation) {
  UtcTime at;
  if (invocation.arguments.Has("at")) {
    const absl::StatusOr<UtcTime> time = ParseTime(invocation.arguments.One("at"));
    if (!time.ok()) return invocation.Fail(time.status());
    at = *time;
  }
  const absl::StatusOr<int> limit = invocation.Number("limit", 50, 1, 1000);
  if (!limit.ok()) return invocation.Fail(limit.status());
  return PrintDeployments(
      invocation, Scope::kHistory, at, *limit,
      at.is_set() ? "nothing was live then" : "nothing was ever deployed there");
}

}  // namespace

Command DeployList() {
  return {.path = "deploy list",
          .group = "Deployments and monitors",
          .summary = "list what is live",
          .examples = {"deploy list", "deploy list -o json"},
          .perform = List};
}

Command DeployHistory() {
  return {.path = "deploy history",
          .group = "Deployments and monitors",
          .summary = "list what was live when, newest first",
          .examples = {"deploy history production",
                       "deploy history production --at 2026-03-02T12:00:00Z"},
          .operands = {{"ENVIRONMENT", "an environment; without it: all", false}},
          .options = {{"--at", "TIME", "only what was live then (UTC, like 2026-03-02T12:00:00Z)"},
                      {"--limit", "N", "at most so many (1 to 1000); without it: 50"}},
          .perform = ListHistory};
}

}  // namespace cd4ml::cli
