// `cd4ml impact`: which models and deployments came of some data or a commit.
#include <algorithm>

#include "cli/commands/commands.h"
#include "cli/invocation.h"
#include "cli/text.h"

namespace cd4ml::cli {
namespace {

constexpr size_t kVersionsMax = 5;

// Returns "data used-car-price/listings sha256:3fa100000000 (12,000 rows)".
std::string TitleOf(const core::Version& version) {
  const bool is_code = version.kind == core::VersionKind::kCode;
  return std::string(core::ToText(version.kind)) + " " + version.name + " " +
         (is_code ? CommitText(version.digest, version.summary) : DataText(version));
}

void PrintModels(const Invocation& invocation, const Impact& impact) {
  if (impact.models.empty()) return;
  Table table({{"MODEL", 0}, {"MADE BY", 1}, {"WHEN (UTC)", 2}, {"DIGEST", kOnlyWide}});
  for (const ImpactedModel& found : impact.models) {
    table.Add({VersionText(found.model), found.made_by.run + "/" + found.made_by.stage, MinuteText(found.at),
               found.model.digest});
  }
  invocation.out.Line();
  invocation.PrintTable(table);
}

void PrintDeployments(const Invocation& invocation, const Impact& impact) {
  if (impact.deployments.empty()) return;
  Table table({{"DEPLOYMENT", 0},
               {"ENVIRONMENT", 1},
               {"STATE", 0},
               {"SINCE (UTC)", 2},
               {"UNTIL (UTC)", 4},
               {"PREDICTIONS", 1},
               {"FIRST (UTC)", kOnlyWide},
               {"LAST (UTC)", kOnlyWide}});
  for (const ImpactedDeployment& found : impact.deployments) {
    const core::Deployment& deployment = found.deployment;
    const bool is_live = !deployment.ended.is_set();
    table.Add({deployment.id, deployment.environment,
               is_live ? Cell("✔ live", Style::kGood) : Cell("– ended", Style::kDim), MinuteText(deployment.started),
               MinuteText(deployment.ended), std::to_string(found.predictions), MinuteText(found.first_prediction),
               MinuteText(found.last_prediction)});
  }
  invocation.out.Line();
  invocation.PrintTable(table);
}

void Print(const Invocation& invocation, const Impact& impact) {
  const Terminal& out = invocation.out;
  const auto live = std::count_if(impact.deployments.begin(), impact.deployments.end(), [](const auto& found) {
    return !found.deployment.ended.is_set();
  });
  int64_t predictions = 0;
  for (const ImpactedDeployment& found : impact.deployments) predictions += found.predictions;
  for (size_t i = 0; i < std::min(kVersionsMax, impact.versions.size()); ++i) {
    out.Line(Fit(SafeLine(TitleOf(impact.versions[i])), out.width()));
  }
  if (impact.versions.size() > kVersionsMax) {
    out.Line("and " + Count(static_cast<int64_t>(impact.versions.size() - kVersionsMax), "other version", "other versions"));
  }
  const auto size = [](const auto& list) { return static_cast<int64_t>(list.size()); };
  const std::string summary = "went into " + Count(size(impact.runs), "run", "runs") + ", " +
                              Count(size(impact.models), "model", "models") + ", " +
                              Count(size(impact.deployments), "deployment", "deployments") + " (" + std::to_string(live) +
                              " live), " + Count(predictions, "recorded prediction", "recorded predictions");
  for (const std::string& line : Wrap(summary, out.width())) out.Line(line);
  if (impact.truncated) out.Line(out.Paint("there is more than could be looked at", Style::kWarn));
  PrintModels(invocation, impact);
  PrintDeployments(invocation, impact);
  if (!impact.deployments.empty()) {
    invocation.Hints({{"The whole way", "cd4ml lineage " + core::VersionId(impact.versions.front()) + " --down"}});
  }
}

int Perform(Invocation& invocation) {
  const auto impact = invocation.Query().FindImpact(invocation.arguments.One("REF"));
  if (!impact.ok()) {
    return invocation.Fail(impact.status(), IfNotFound(impact.status(), {"How things are named", "cd4ml help refs"}));
  }
  if (invocation.is_json()) {
    invocation.PrintJson(invocation.ports.json.impact(*impact));
  } else if (invocation.format == OutputFormat::kName) {
    for (const ImpactedDeployment& found : impact->deployments) invocation.out.Line(SafeLine(found.deployment.id));
  } else {
    Print(invocation, *impact);
  }
  return kExitOk;
}

}  // namespace

Command ImpactCommand() {
  return {.path = "impact",
          .group = "Deployments and monitors",
          .summary = "say which models and deployments came of some data or a commit",
          .examples = {"impact used-car-price/listings", "impact listings.csv -o json", "impact 9f2c1aa"},
          .operands = {{"REF",
                        "all versions of a material (pipeline/name, or the path or address that it was read from), one "
                        "version, or the beginning of a digest or commit"}},
          .perform = Perform,
          .details = "Also what used it through something that was made of it counts, in other pipelines too. Equal bytes "
                     "that were made elsewhere do not."};
}

}  // namespace cd4ml::cli
