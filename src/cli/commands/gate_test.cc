// `cd4ml gate test`: judges the rules of a gate on local files, without a daemon.
#include <algorithm>

#include "cd4ml/base/status.h"
#include "cd4ml/base/text.h"
#include "cd4ml/core/params.h"
#include "cd4ml/core/run.h"
#include "cd4ml/ports/diagnostic_payload.h"
#include "cd4ml/ports/gate_tester.h"
#include "cli/commands/commands.h"
#include "cli/definition.h"
#include "cli/gate_text.h"
#include "cli/text.h"

namespace cd4ml::cli {
namespace {

using Texts = std::map<std::string, std::string>;

// Returns the K=V pairs of a repeated flag.
absl::StatusOr<Texts> Pairs(const Invocation& invocation, const std::string& flag, const std::string& form) {
  Texts pairs;
  for (const std::string& text : invocation.arguments.Many(flag)) {
    const size_t equals = text.find('=');
    if (equals == 0 || equals == std::string::npos)
      return absl::InvalidArgumentError("--" + flag + " takes " + form + ", not \"" + text + '"');
    if (!pairs.emplace(text.substr(0, equals), text.substr(equals + 1)).second) {
      return absl::InvalidArgumentError("--" + flag + " says " + text.substr(0, equals) + " twice");
    }
  }
  return pairs;
}

absl::Status Refused(const std::string& file, const ParsedPipeline& parsed) {
  return DiagnosticsError("the definition in " + file + " has errors", parsed.diagnostics);
}

// Returns the definition as a run in the lane `production` would have it now, with the parameter files that are here.
absl::StatusOr<ParsedPipeline> Resolved(const Invocation& invocation, const std::string& file) {
  CD4ML_ASSIGN_OR_RETURN(const ParsedPipeline draft, ReadDefinition(invocation, file));
  if (core::HasErrors(draft.diagnostics)) return Refused(file, draft);
  std::vector<std::pair<std::string, Value>> contents;
  for (const std::string& name : draft.spec.params.files) {
    CD4ML_ASSIGN_OR_RETURN(const std::string text, invocation.ports.read_file(name));
    CD4ML_ASSIGN_OR_RETURN(Value content, invocation.ports.parser.ParseParams(text, name));
    contents.emplace_back(name, std::move(content));
  }
  CD4ML_ASSIGN_OR_RETURN(const Texts given, Pairs(invocation, "param", "NAME=VALUE"));
  std::map<std::string, Value> overrides;
  for (const auto& [name, text] : given) overrides[name] = core::ParseParamText(text);
  constexpr char kLane[] = "production";
  // Whoever tries something out may set anything: the file's word about lanes is for runs.
  core::ParamsSpec params = draft.spec.params;
  params.experiment_only = false;
  CD4ML_ASSIGN_OR_RETURN(const core::EffectiveParams effective,
                         core::ResolveParams(params, contents, overrides, kLane));
  const core::Scope scope = core::ScopeOfRun(effective.values, kLane, core::TriggerKind::kDispatch);
  CD4ML_ASSIGN_OR_RETURN(const std::string text, invocation.ports.read_file(file));
  ParsedPipeline parsed = invocation.ports.parser.Parse(text, file, &scope);
  if (core::HasErrors(parsed.diagnostics)) return Refused(file, parsed);
  return parsed;
}

bool IsTestable(const core::StageSpec& stage) {
  return stage.kind == core::StageKind::kDataGate || stage.kind == core::StageKind::kModelGate;
}

// Returns the gate that was named, or the only one that can be tested.
absl::StatusOr<const core::StageSpec*> ChooseGate(const core::PipelineSpec& pipeline, const std::string& name) {
  std::vector<std::string> names;
  const core::StageSpec* only = nullptr;
  for (const core::StageSpec& stage : pipeline.stages) {
    if (!IsTestable(stage)) continue;
    names.push_back(stage.name);
    only = &stage;
  }
  if (name.empty()) {
    if (names.size() == 1) return only;
    return absl::InvalidArgumentError(names.empty()
                                          ? "the file has no data gate and no model gate"
                                          : "the file has several gates; say which with --stage: " + Join(names, ", "));
  }
  const core::StageSpec* stage = pipeline.FindStage(name);
  if (stage == nullptr) return absl::NotFoundError("the file has no stage \"" + name + '"' + DidYouMean(name, names));
  if (IsTestable(*stage)) return stage;
  if (stage->kind == core::StageKind::kContractGate) {
    return absl::InvalidArgumentError(
        "stage \"" + name + "\" is a contract gate: it starts a service, which takes an agent; run the pipeline");
  }
  return absl::InvalidArgumentError("stage \"" + name + "\" is no gate" +
                                    (names.empty() ? "" : "; the gates are " + Join(names, ", ")));
}

// Returns the names that a table of the gate may be given by: as rules call it, and where inputs come from.
std::vector<std::string> TableNames(const core::StageSpec& stage) {
  std::vector<std::string> names = core::ReferencesOf(stage);
  for (const core::OutputSpec& output : stage.outputs) names.push_back(output.name);
  for (const core::InputSpec& input : stage.inputs) names.push_back(input.name);
  return names;
}

absl::StatusOr<GateTest> Request(Invocation& invocation, ParsedPipeline parsed) {
  GateTest test{
      .pipeline = std::move(parsed.spec), .stage = "", .dir = invocation.ports.working_dir, .data = {}, .metrics = {}};
  CD4ML_ASSIGN_OR_RETURN(const core::StageSpec* stage, ChooseGate(test.pipeline, invocation.arguments.One("stage")));
  test.stage = stage->name;
  CD4ML_ASSIGN_OR_RETURN(test.data, Pairs(invocation, "data", "NAME=PATH"));
  const std::vector<std::string> names = TableNames(*stage);
  for (const auto& [name, path] : test.data) {
    if (std::find(names.begin(), names.end(), name) != names.end()) continue;
    return absl::InvalidArgumentError("gate \"" + stage->name + "\" has no table \"" + name + "\"" +
                                      (names.empty() ? "" : "; there are: " + Join(names, ", ")));
  }
  test.metrics = invocation.arguments.Many("metrics");
  test.predictions = invocation.arguments.One("predictions");
  if (!test.predictions.empty() && !stage->predictions) {
    return absl::InvalidArgumentError("gate \"" + stage->name +
                                      "\" says nothing of predictions; add `predictions` to it");
  }
  test.baseline = invocation.arguments.One("baseline");
  test.now = invocation.ports.clock.Now();
  test.with_evidence = invocation.arguments.Has("report");
  return test;
}

int Answer(Invocation& invocation, const GateTest& test, const TestedGate& tested) {
  const core::Verdict& verdict = tested.verdict;
  if (const std::string file = invocation.arguments.One("report"); !file.empty()) {
    const core::StageSpec& stage = *test.pipeline.FindStage(test.stage);
    const core::GateReport report{.title = test.pipeline.name + ", tested on files",
                                  .gate = test.stage,
                                  .kind = std::string(core::ToText(stage.kind)),
                                  .verdict = verdict,
                                  .evidence = tested.evidence};
    const absl::Status written = invocation.ports.write_file(file, core::GateReportHtml(report));
    if (!written.ok()) return invocation.Fail(written);
    invocation.Note("report written to " + SafeLine(file));
  }
  if (invocation.is_json()) {
    invocation.PrintJson(invocation.ports.json.verdict(verdict));
  } else if (invocation.format == OutputFormat::kName) {
    invocation.out.Line(core::ToText(verdict.outcome));
  } else {
    const StateWord word = WordOf(verdict.outcome);
    invocation.out.Line(invocation.out.Paint(SafeLine("GATE " + test.stage + "  " + word.text()), word.style));
    PrintRules(invocation.out, verdict, invocation.format == OutputFormat::kWide);
  }
  return core::Blocks(verdict.outcome) ? kExitGateRejected : kExitOk;
}

int Perform(Invocation& invocation) {
  absl::StatusOr<ParsedPipeline> parsed = Resolved(invocation, invocation.arguments.One("FILE"));
  if (!parsed.ok()) return invocation.Fail(parsed.status());
  const absl::StatusOr<GateTest> test = Request(invocation, *std::move(parsed));
  if (!test.ok()) return invocation.Fail(test.status());
  const absl::StatusOr<TestedGate> tested = invocation.ports.test_gate(*test);
  return tested.ok() ? Answer(invocation, *test, *tested) : invocation.Fail(tested.status());
}

}  // namespace

Command GateTestCommand() {
  return {
      .path = "gate test",
      .group = "Gates",
      .summary = "judge a gate's rules on local files; needs no daemon",
      .examples = {"gate test cars.cd4ml.yaml --stage data-gate --data listings=autos.csv",
                   "gate test cars.cd4ml.yaml --stage error-gate --metrics metrics.json"},
      .operands = {{"FILE", "a pipeline file"}},
      .options = {{"--stage", "GATE", "a data or model gate; without it the only one"},
                  {"--data", "NAME=PATH", "a table that rules speak of: a file or a folder", true},
                  {"--metrics", "FILE", "metrics in place of the files that the gate names", true},
                  {"--predictions", "FILE", "predictions in place of the file that the gate names"},
                  {"--baseline", "FILE", "what is compared with: a profile, a table, or metrics (JSON); without it there is none yet"},
                  {"-p,--param", "NAME=VALUE", "a parameter in place of what the files say", true},
                  {"--report", "FILE", "also write the verdict as a page for a browser"}},
      .perform = Perform,
      .details =
          "Rules are judged as an agent judges them; the gate's command is not run. Files that are not given are "
          "looked for where the gate names them, below the working directory. Exit code 11: the verdict blocks."};
}

}  // namespace cd4ml::cli
