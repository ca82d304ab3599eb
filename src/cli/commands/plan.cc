// `cd4ml plan`: what a run would do, from a file here or from the daemon; changes nothing.
#include "cd4ml/core/plan.h"

#include <algorithm>

#include "cd4ml/base/status.h"
#include "cd4ml/ports/diagnostic_payload.h"
#include "cli/commands/commands.h"
#include "cli/definition.h"
#include "cli/start_request.h"
#include "cli/text.h"

namespace cd4ml::cli {
namespace {

std::string KindText(core::StageKind kind) {
  std::string text(core::ToText(kind));
  std::replace(text.begin(), text.end(), '_', ' ');
  return text;
}

// Returns the graph in one line: "a ─ (b, c) ─ d"; stages in brackets may run at the same time.
std::string ChainText(const std::vector<core::StagePlan>& stages) {
  std::map<std::string, size_t> level_of;
  std::vector<std::vector<std::string>> levels;
  for (const core::StagePlan& stage : stages) {
    size_t level = 0;
    for (const std::string& need : stage.needs) level = std::max(level, level_of[need] + 1);
    level_of[stage.name] = level;
    if (levels.size() <= level) levels.resize(level + 1);
    levels[level].push_back(stage.name);
  }
  std::vector<std::string> texts;
  for (const auto& level : levels) {
    texts.push_back(level.size() == 1 ? level.front() : "(" + Join(level, ", ") + ")");
  }
  return Join(texts, " ─ ");
}

void PrintStages(const Invocation& invocation, const PlannedRun& plan) {
  for (const std::string& line :
       Wrap(SafeLine(ChainText(plan.stages)), invocation.out.width() - 2)) {
    invocation.out.Line("  " + line);
  }
  invocation.out.Line();
  const bool knows_agents = !plan.agents.empty();
  if (!plan.reuse.empty()) {
    for (const core::StagePlan& stage : plan.stages) {
      const auto would = plan.reuse.find(stage.name);
      if (would == plan.reuse.end()) continue;
      for (const std::string& line : Wrap(SafeLine(stage.name + " " + would->second), invocation.out.width() - 2))
        invocation.out.Line("  " + line);
    }
    invocation.out.Line();
  }
  Table table({{"STAGE", 0},
               {"KIND", 2},
               {"NEEDS", 3},
               {knows_agents ? "AGENT" : "LABELS", 1},
               {"TIMEOUT", 4},
               {"READS", kOnlyWide},
               {"IF", kOnlyWide}});
  for (const core::StagePlan& stage : plan.stages) {
    const auto agent = plan.agents.find(stage.name);
    table.Add(
        {stage.name, KindText(stage.kind), Join(stage.needs, ", "),
         knows_agents ? (agent == plan.agents.end() ? "" : agent->second) : Join(stage.labels, ","),
         stage.matrix ? "" : FormatDuration(stage.timeout), Join(stage.references, ", "), stage.condition});
  }
  invocation.PrintTable(table);
}

void Print(const Invocation& invocation, const PlannedRun& plan) {
  const auto line = [&](const std::string& text) { invocation.out.Line(SafeLine(text)); };
  line(plan.pipeline + "  " +
       (plan.commit.empty() ? "" : CommitText(plan.commit, plan.commit_subject) + "  ") +
       plan.file);
  for (const auto& [name, version] : plan.materials)
    line("  data    " + name + " " + DataText(version));
  if (!plan.mixed.empty()) line("  mixed   " + plan.mixed);
  for (const std::string& warning : plan.warnings) line("  warning " + warning);
  for (const auto& [name, value] : Flatten(plan.params)) {
    const auto source = plan.param_sources.find(name);
    line("  param   " + name + " = " + cd4ml::ToText(value) +
         (source == plan.param_sources.end() ? "" : "  (" + source->second + ")"));
  }
  for (const core::StagePlan& stage : plan.stages) {
    for (const auto& [name, value] : stage.cell_params) {
      line("  param   " + stage.name + ": " + name + " = " + cd4ml::ToText(value) + "  (matrix cell)");
    }
  }
  invocation.out.Line();
  PrintStages(invocation, plan);
}

absl::StatusOr<PlannedRun> PlanFile(const Invocation& invocation, const std::string& file) {
  CD4ML_ASSIGN_OR_RETURN(const ParsedPipeline parsed, ReadDefinition(invocation, file));
  if (core::HasErrors(parsed.diagnostics)) {
    return DiagnosticsError(FindingsText(parsed.diagnostics, 1), parsed.diagnostics);
  }
  PlannedRun plan;
  plan.pipeline = parsed.spec.name;
  plan.file = file;
  plan.stages = core::MakePlan(parsed.spec, {});
  for (const core::Diagnostic& warning : parsed.diagnostics) plan.warnings.push_back(core::Brief(warning));
  return plan;
}

absl::StatusOr<PlannedRun> PlanPipeline(Invocation& invocation, const std::string& pipeline) {
  CD4ML_ASSIGN_OR_RETURN(const StartRequest request, ReadStartRequest(invocation, pipeline));
  return invocation.Await<PlannedRun>(
      [&](Done<PlannedRun> done) { invocation.Control().PlanRun(request, std::move(done)); });
}

int Perform(Invocation& invocation) {
  const auto names = DefinitionFiles(invocation, "PIPELINE");
  if (!names.ok()) return invocation.Fail(names.status());
  if (names->size() > 1) {
    return invocation.FailUsage("there are " + Join(*names, ", ") + "; say which one to plan");
  }
  const std::string& name = names->front();
  const bool is_file =
      name.find_first_of("./") != std::string::npos;  // Names of pipelines have neither.
  for (const Option& option : StartOptions()) {
    if (is_file && invocation.arguments.Has(option.name())) {
      return invocation.FailUsage("--" + option.name() + " is for a registered pipeline, and \"" +
                                  SafeLine(name) + "\" is a file");
    }
  }
  const auto plan = is_file ? PlanFile(invocation, name) : PlanPipeline(invocation, name);
  if (!plan.ok()) {
    const auto hints = IfNotFound(plan.status(), {"Pipelines", "cd4ml pipeline list"});
    return invocation.Fail(plan.status(), is_file ? std::vector<Hint>{} : hints);
  }
  if (invocation.is_json()) {
    invocation.PrintJson(invocation.ports.json.plan(*plan));
  } else {
    Print(invocation, *plan);
    if (!is_file)
      invocation.Note("\nNothing was started. Start it:  cd4ml run start " + SafeLine(name));
  }
  return kExitOk;
}

}  // namespace

Command Plan() {
  return {
      .path = "plan",
      .group = "Pipelines",
      .summary = "show what a run would do; changes nothing",
      .examples = {"plan used-car-price.cd4ml.yaml",
                   "plan used-car-price -p train.max_depth=8 --ref main"},
      .operands = {{"PIPELINE",
                    "a registered pipeline, or a file (with . or / in its name), which needs no "
                    "daemon; without it: the one *.cd4ml.yaml here",
                    false}},
      .options = StartOptions(),
      .perform = Perform};
}

}  // namespace cd4ml::cli
