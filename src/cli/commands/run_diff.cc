// `cd4ml run diff`: what differs between two runs.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "cli/commands/commands.h"
#include "cli/invocation.h"
#include "cli/text.h"

namespace cd4ml::cli {
namespace {

using core::DifferenceKind;

constexpr size_t kPathsMax = 10;
constexpr size_t kBrief = 12;  // Digits of a digest.

std::string NumberText(double number) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", number);
  return text;
}

// Returns "8 (trigger)", "sha256:3fa100000000", "4m10s"; empty: that run has none.
std::string SideText(DifferenceKind kind, const core::Side& side) {
  if (side.value.is_null()) return kind == DifferenceKind::kTime ? side.note : "";
  const std::string text = ToText(side.value);
  switch (kind) {
    case DifferenceKind::kCode:
      return side.note.empty() ? text : CommitText(text, side.note);
    case DifferenceKind::kData:
    case DifferenceKind::kOutput:
      return "sha256:" + text.substr(0, kBrief);
    case DifferenceKind::kMetric:
      return side.value.is_number() ? NumberText(side.value.number()) : text;
    case DifferenceKind::kTime:
      return FormatDuration(Duration(static_cast<int64_t>(side.value.number()))) +
             (side.note.empty() ? "" : " (" + side.note + ")");
    case DifferenceKind::kParams:
      return text + (side.note.empty() ? "" : " (" + side.note + ")");
    default:
      return text + (side.note.empty() ? "" : ": " + side.note);
  }
}

// Returns the second side, of metrics with the change: "1580.1, +66.9 (+4.4 %) worse".
Cell AfterOf(const core::Difference& difference) {
  std::string text = SideText(difference.kind, difference.after);
  const Value &before = difference.before.value, &after = difference.after.value;
  if (difference.kind != DifferenceKind::kMetric || !before.is_number() || !after.is_number()) return text;
  const double change = after.number() - before.number();
  if (!std::isfinite(change) || change == 0) return text;
  char part[64];
  std::snprintf(part, sizeof part, ", %+.6g", change);
  text += part;
  if (before.number() != 0) {
    std::snprintf(part, sizeof part, " (%+.1f %%)", 100 * change / std::abs(before.number()));
    text += part;
  }
  if (difference.trend == core::Trend::kBetter) return {text + " better", Style::kGood};
  if (difference.trend == core::Trend::kWorse) return {text + " worse", Style::kBad};
  return text;
}

std::string NameOf(const core::Difference& difference) {
  return std::string(core::ToText(difference.kind)) + " " + difference.name;
}

void PrintPaths(const Invocation& invocation, const RunComparison& comparison) {
  const auto& paths = comparison.changed_paths;
  const bool is_wide = invocation.format == OutputFormat::kWide;
  if (!comparison.paths_unknown.empty()) {
    invocation.out.Line(SafeLine("changed files are not known: " + comparison.paths_unknown));
  }
  if (paths.empty()) return;
  const size_t shown = is_wide ? paths.size() : std::min(kPathsMax, paths.size());
  invocation.out.Line(Count(static_cast<int64_t>(paths.size()), "file", "files") + " changed between the commits");
  for (size_t i = 0; i < shown; ++i) {
    const std::string line = SafeLine("  " + paths[i]);
    invocation.out.Line(is_wide ? line : Fit(line, invocation.out.width()));
  }
  if (shown < paths.size()) {
    invocation.out.Line("  and " + std::to_string(paths.size() - shown) + " more (-o wide shows all)");
  }
}

void Print(const Invocation& invocation, const RunComparison& comparison, bool everything) {
  Table table({{"", 0}, {comparison.before, 0}, {comparison.after, 0}});
  int rows = 0;
  for (const core::Difference& difference : comparison.differences) {
    const std::string before = SideText(difference.kind, difference.before);
    // Milliseconds always differ.
    const bool is_time = difference.kind == DifferenceKind::kTime;
    if (is_time && before == SideText(difference.kind, difference.after) && !everything) continue;
    table.Add({NameOf(difference), before, AfterOf(difference)});
    ++rows;
  }
  if (rows == 0 && comparison.changed_paths.empty()) {
    return invocation.out.Line(SafeLine(comparison.before + " and " + comparison.after + " do not differ"));
  }
  invocation.PrintTable(table);
  PrintPaths(invocation, comparison);
  if (!everything) {
    invocation.Hints({{"Also what is the same", "cd4ml diff " + comparison.before + " " + comparison.after + " --all"}});
  }
}

int Perform(Invocation& invocation) {
  const bool everything = invocation.arguments.Has("all");
  const auto comparison = invocation.Query().CompareRuns(
      invocation.arguments.One("BEFORE"), invocation.arguments.One("AFTER"),
      everything ? core::Compared::kEverything : core::Compared::kDifferences);
  if (!comparison.ok()) {
    return invocation.Fail(comparison.status(), IfNotFound(comparison.status(), {"Runs", "cd4ml run list"}));
  }
  if (invocation.is_json()) {
    invocation.PrintJson(invocation.ports.json.comparison(*comparison));
  } else if (invocation.format == OutputFormat::kName) {
    for (const core::Difference& difference : comparison->differences)
      invocation.out.Line(SafeLine(NameOf(difference)));
  } else {
    Print(invocation, *comparison, everything);
  }
  return kExitOk;
}

}  // namespace

Command RunDiff() {
  return {.path = "run diff",
          .group = "Runs",
          .summary = "say what differs between two runs",
          .examples = {"run diff used-car-price/1 used-car-price/latest",
                       "run diff used-car-price/1 used-car-price/2 --all -o json"},
          .operands = {{"BEFORE", "a run, like used-car-price/1 (cd4ml help refs)"},
                       {"AFTER", "the run that it is compared with"}},
          .options = {{"--all", "", "also what is the same"}},
          .perform = Perform,
          .details = "Compared are code, data, effective parameters with the source of each, what the stages ran with, "
                     "how they ended, what they made, metrics and times.",
          .alias = "diff"};
}

}  // namespace cd4ml::cli
