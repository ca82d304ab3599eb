// `cd4ml pipeline list` and `show`: what is registered, and whether its newest commit is good.
#include "cli/commands/commands.h"
#include "cli/invocation.h"
#include "cli/text.h"

namespace cd4ml::cli {
namespace {

Cell StateOf(const PipelineRecord& pipeline) {
  if (pipeline.problems.empty()) return {"✔ good", Style::kGood};
  return {"✗ " + Count(static_cast<int64_t>(pipeline.problems.size()), "problem", "problems"),
          Style::kBad};
}

int List(Invocation& invocation) {
  const auto pipelines = invocation.Query().ListPipelines();
  if (!pipelines.ok()) return invocation.Fail(pipelines.status());
  Table table({{"PIPELINE", 0},
               {"STATE", 0},
               {"COMMIT", 1},
               {"BRANCH", 2},
               {"CHECKED", 4},
               {"FILE", 3},
               {"REPOSITORY", kOnlyWide},
               {"DESCRIPTION", kOnlyWide}});
  for (const PipelineRecord& pipeline : *pipelines) {
    table.Add({pipeline.name, StateOf(pipeline), BriefCommit(pipeline.good_commit), pipeline.branch,
               AgeText(pipeline.checked, invocation.ports.clock.Now()), pipeline.file,
               pipeline.repo, pipeline.description});
  }
  invocation.PrintList(
      *pipelines, [](const PipelineRecord& pipeline) { return SafeLine(pipeline.name); },
      invocation.ports.json.pipeline, table,
      "no pipelines; register some:  cd4ml pipeline add REPO");
  return kExitOk;
}

void Print(const Invocation& invocation, const PipelineRecord& pipeline) {
  const auto line = [&](const std::string& name, const std::string& value) {
    if (!value.empty()) invocation.out.Line("  " + Pad(name, 13) + SafeLine(value));
  };
  const Cell state = StateOf(pipeline);
  invocation.out.Line(SafeLine(pipeline.name) + "  " +
                      invocation.out.Paint(state.text, state.style));
  line("description", pipeline.description);
  line("file", pipeline.file);
  line("repository", pipeline.repo);
  line("branch", pipeline.branch);
  line("good commit", pipeline.good_commit);
  line("registered", AgeText(pipeline.registered, invocation.ports.clock.Now()) + " ago");
  line("bad commit", pipeline.bad_commit);
  for (const core::Diagnostic& problem : pipeline.problems) {
    invocation.out.Write("\n" + SafeLines(core::Format(problem)));
  }
  if (!invocation.quiet) invocation.err.Line();
  invocation.Hints({{"Its runs", "cd4ml run list --pipeline " + pipeline.name},
                    {"Start one", "cd4ml run start " + pipeline.name}});
}

int Show(Invocation& invocation) {
  const auto pipeline = invocation.Query().GetPipeline(invocation.arguments.One("PIPELINE"));
  if (!pipeline.ok())
    return invocation.Fail(pipeline.status(),
                           IfNotFound(pipeline.status(), {"Pipelines", "cd4ml pipeline list"}));
  if (invocation.is_json()) {
    invocation.PrintJson(invocation.ports.json.pipeline(*pipeline));
  } else {
    Print(invocation, *pipeline);
  }
  return kExitOk;
}

}  // namespace

Command PipelineList() {
  return {.path = "pipeline list",
          .group = "Pipelines",
          .summary = "list registered pipelines",
          .examples = {"pipeline list", "pipeline list -o wide"},
          .perform = List};
}

Command PipelineShow() {
  return {.path = "pipeline show",
          .group = "Pipelines",
          .summary = "show where a pipeline comes from, and its problems",
          .examples = {"pipeline show used-car-price"},
          .operands = {{"PIPELINE", "name of a registered pipeline"}},
          .perform = Show};
}

}  // namespace cd4ml::cli
