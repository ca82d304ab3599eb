// Resolving and pinning everything that a run depends on.
#include "run_starter.h"

#include <algorithm>
#include <set>
#include <utility>

#include "cd4ml/base/glob.h"
#include "cd4ml/base/log.h"
#include "cd4ml/base/status.h"
#include "cd4ml/base/text.h"
#include "cd4ml/core/gate_report.h"
#include "cd4ml/core/matrix.h"
#include "cd4ml/core/plan.h"
#include "cd4ml/core/recipe.h"
#include "cd4ml/core/reproduce.h"
#include "cd4ml/core/runtime.h"
#include "cd4ml/ports/diagnostic_payload.h"
#include "definitions.h"

namespace cd4ml::daemon {
namespace {

constexpr int64_t kFileSizeMax = 8 << 20;          // A definition or a parameter file.
constexpr size_t kPieceSize = 1 << 20;
constexpr std::string_view kSuffix = ".cd4ml.yaml";
constexpr int64_t kRuntimeFileMax = 1 << 20;       // A lock file; all of a definition's together are at most
constexpr size_t kRuntimeFilesMax = 4 << 20;       // so large, because a run's definition holds them.

std::string RefOf(const PipelineRecord& pipeline) { return pipeline.branch.empty() ? "HEAD" : pipeline.branch; }

std::string Plural(size_t count, std::string_view one) {
  return std::to_string(count) + " " + std::string(one) + (count == 1 ? "" : "s");
}

size_t CountErrors(const core::Diagnostics& diagnostics) {
  return static_cast<size_t>(std::count_if(diagnostics.begin(), diagnostics.end(), [](const core::Diagnostic& d) {
    return d.severity == core::Severity::kError;
  }));
}

absl::Status CheckLane(const core::PipelineSpec& spec, const std::string& lane, core::TriggerKind trigger) {
  if (trigger == core::TriggerKind::kDispatch) {
    const std::vector<std::string>& lanes = spec.triggers.dispatch_lanes;
    if (!spec.triggers.dispatch) {
      return absl::FailedPreconditionError("pipeline \"" + spec.name +
                                           "\" cannot be started by hand: its triggers do not list dispatch");
    }
    if (!lanes.empty() && std::find(lanes.begin(), lanes.end(), lane) == lanes.end()) {
      return absl::InvalidArgumentError("pipeline \"" + spec.name + "\" cannot be started in lane \"" + lane + "\"" +
                                        DidYouMean(lane, lanes));
    }
  }
  for (const core::StageSpec& stage : spec.stages) {
    if (stage.kind != core::StageKind::kDeploy || !stage.condition.empty()) continue;
    const core::EnvironmentSpec* environment = spec.FindEnvironment(stage.environment);
    if (environment == nullptr || environment->lanes.empty()) continue;
    const std::vector<std::string>& lanes = environment->lanes;
    if (std::find(lanes.begin(), lanes.end(), lane) == lanes.end()) {
      return absl::InvalidArgumentError("stage \"" + stage.name + "\" deploys to environment \"" + stage.environment +
                                        "\", which lane \"" + lane + "\" may not enter; give the stage an if:");
    }
  }
  return absl::OkStatus();
}

// Returns what the stage is in the `stages` of an expanded definition; a cell stands within the stage of its matrix.
const Value* FindDefinition(const Value* stages, const core::StageSpec& stage) {
  if (stages == nullptr || stage.cell_of.empty()) return stages == nullptr ? nullptr : stages->Find(stage.name);
  const Value* matrix = stages->Find(stage.cell_of);
  const Value* cells = matrix == nullptr ? nullptr : matrix->Find("cells");
  return cells == nullptr ? nullptr : cells->Find(std::string_view(stage.name).substr(stage.cell_of.size() + 1));
}

// Returns what the stage runs in, as its recipe has it.
std::string RuntimeText(const core::PipelineSpec& pipeline, const core::StageSpec& stage) {
  const core::RuntimeSpec& runtime = core::RuntimeOf(pipeline, stage);
  return runtime.is_pinned() ? core::RuntimeDigest(runtime, pipeline.files).hex() : "host";
}

// Reads all bytes of a blob, which verifies them.
absl::Status CheckBlob(BlobStore& blobs, const Digest& digest) {
  CD4ML_ASSIGN_OR_RETURN(const std::unique_ptr<BlobReader> reader, blobs.Open(digest, 0));
  while (true) {
    CD4ML_ASSIGN_OR_RETURN(const std::string piece, reader->Read(kPieceSize));
    if (piece.empty()) return absl::OkStatus();
  }
}

absl::Status CheckArtifact(BlobStore& blobs, const ArtifactRef& artifact) {
  CD4ML_RETURN_IF_ERROR(UseArtifact(blobs, artifact));   // Which keeps it from being removed.
  if (!artifact.is_tree) return CheckBlob(blobs, artifact.digest);
  CD4ML_ASSIGN_OR_RETURN(const std::string text, ReadBlob(blobs, artifact.digest, kTreeTextMax));
  CD4ML_ASSIGN_OR_RETURN(const std::vector<TreeEntry> files, ParseTree(text));
  for (const TreeEntry& file : files) {
    const absl::Status checked = CheckBlob(blobs, file.digest);
    if (!checked.ok()) return Annotate(checked, file.path);
  }
  return absl::OkStatus();
}

// Returns the paths that one pattern of `key` names.
absl::StatusOr<std::vector<std::string>> PathsOf(SourceRepo& repo, const std::string& commit, const std::string& pattern) {
  if (pattern.find_first_of("*?[") == std::string::npos) return std::vector<std::string>{pattern};
  CD4ML_ASSIGN_OR_RETURN(std::vector<std::string> paths,
                         repo.ListFiles(commit, pattern.substr(pattern.find_last_of("*?[]") + 1)));
  std::erase_if(paths, [&](const std::string& path) { return !MatchesGlob(pattern, path); });
  if (paths.empty()) return absl::NotFoundError("commit " + commit.substr(0, 7) + " has no file " + pattern);
  return paths;
}

}  // namespace

RunStarter::RunStarter(const Settings& settings, const Ports& ports, const Policies& policies)
    : settings_(settings),
      ports_(ports),
      policies_(policies),
      local_(MakeLocalData(settings_, ports_.blobs, ports_.files, ports_.clock)),
      remote_(MakeRemoteData(settings_, ports_)),
      git_(MakeGitData(settings_, ports_)),
      dvc_(MakeDvcData(settings_, ports_)),
      upstream_(settings_, ports_) {}

absl::StatusOr<RegisterResult> RunStarter::Register(const RegisterRequest& request) const {
  CD4ML_ASSIGN_OR_RETURN(const std::unique_ptr<SourceRepo> repo, ports_.repos.Open(request.repo));
  CD4ML_ASSIGN_OR_RETURN(const CommitFacts commit, repo->Resolve(request.branch.empty() ? "HEAD" : request.branch));
  std::vector<std::string> files = {request.file};
  if (request.file.empty()) {
    CD4ML_ASSIGN_OR_RETURN(files, repo->ListFiles(commit.id, kSuffix));
    if (files.empty()) {
      return absl::NotFoundError("commit " + commit.id.substr(0, 7) + " of " + request.repo + " has no file *" +
                                 std::string(kSuffix) + "; commit one, or name the file");
    }
  }
  RegisterResult result;
  result.commit = commit.id;
  for (const std::string& file : files) {
    CD4ML_ASSIGN_OR_RETURN(const std::string text, repo->ReadFile(commit.id, file, kFileSizeMax));
    ParsedPipeline parsed = ports_.parser.Parse(text, file, nullptr);
    CheckContracts(*repo, commit.id, text, file, parsed);
    if (!core::HasErrors(parsed.diagnostics)) {
      core::Diagnostics lacking = core::CheckPolicies(*policies_.Get(), parsed.spec);
      core::Locate(text, file, lacking);
      parsed.diagnostics.insert(parsed.diagnostics.end(), lacking.begin(), lacking.end());
    }
    if (core::HasErrors(parsed.diagnostics)) {
      // One bad file never disables another: it is shown and the rest goes on.
      result.problems.insert(result.problems.end(), parsed.diagnostics.begin(), parsed.diagnostics.end());
      continue;
    }
    PipelineRecord record;
    record.name = parsed.spec.name;
    record.repo = request.repo;
    record.branch = request.branch;
    record.file = file;
    record.description = parsed.spec.description;
    record.good_commit = commit.id;
    result.pipelines.push_back(std::move(record));
  }
  if (result.pipelines.empty()) {
    return DiagnosticsError("no definition in " + request.repo + " can be registered", result.problems);
  }
  return result;
}

absl::StatusOr<RunStarter::Source> RunStarter::ReadDefinition(SourceRepo& repo, const PipelineRecord& pipeline,
                                                              const std::string& ref,
                                                              PipelineRecord* broken) const {
  Source source;
  CD4ML_ASSIGN_OR_RETURN(source.commit, repo.Resolve(ref.empty() ? RefOf(pipeline) : ref));
  auto text = repo.ReadFile(source.commit.id, pipeline.file, kFileSizeMax);
  if (!text.ok()) return Annotate(text.status(), "pipeline \"" + pipeline.name + "\"");
  source.text = *std::move(text);
  ParsedPipeline parsed = ports_.parser.Parse(source.text, pipeline.file, nullptr);
  CheckContracts(repo, source.commit.id, source.text, pipeline.file, parsed);
  if (core::HasErrors(parsed.diagnostics)) {
    if (ref.empty() && broken != nullptr) {
      *broken = pipeline;
      broken->bad_commit = source.commit.id;
      broken->problems = parsed.diagnostics;
    }
    std::string message = "the definition of \"" + pipeline.name + "\" at commit " + source.commit.id.substr(0, 7) +
                          " has " + Plural(CountErrors(parsed.diagnostics), "error");
    if (!pipeline.good_commit.empty() && pipeline.good_commit != source.commit.id) {
      message += "; its last good revision can be run with --ref " + pipeline.good_commit.substr(0, 12);
    }
    return DiagnosticsError(message, parsed.diagnostics);
  }
  if (parsed.spec.name != pipeline.name) {
    return absl::FailedPreconditionError("file " + pipeline.file + " now defines pipeline \"" + parsed.spec.name +
                                         "\", not \"" + pipeline.name + "\"; register the repository again");
  }
  if (!parsed.spec.files.empty()) {
    return absl::FailedPreconditionError(pipeline.file +
                                         ": `files` is written by cd4ml into what a run keeps; take it out");
  }
  if (core::HasRequiredRules(parsed.spec)) {
    return absl::FailedPreconditionError(pipeline.file +
                                         ": `required` is written by cd4ml into what a run keeps; take it out");
  }
  source.draft = std::move(parsed.spec);
  return source;
}

void RunStarter::CheckContracts(SourceRepo& repo, const std::string& commit, const std::string& text, const std::string& file,
                                ParsedPipeline& parsed) const {
  if (ports_.check_contracts == nullptr) return;
  core::Diagnostics findings = ports_.check_contracts(
      parsed.spec, [&](const std::string& path) { return repo.ReadFile(commit, path, kFileSizeMax); });
  core::Locate(text, file, findings);
  parsed.diagnostics.insert(parsed.diagnostics.end(), findings.begin(), findings.end());
}

absl::StatusOr<core::EffectiveParams> RunStarter::ReadParams(SourceRepo& repo, const Source& source,
                                                             const StartRequest& request,
                                                             const core::Run* retried) const {
  std::vector<std::pair<std::string, Value>> files;
  for (const std::string& file : source.draft.params.files) {
    CD4ML_ASSIGN_OR_RETURN(const std::string text, repo.ReadFile(source.commit.id, file, kFileSizeMax));
    CD4ML_ASSIGN_OR_RETURN(Value values, ports_.parser.ParseParams(text, file));
    files.emplace_back(file, std::move(values));
  }
  std::map<std::string, Value> overrides;
  for (const auto& [name, text] : request.params) overrides[name] = core::ParseParamText(text);
  const core::ParamsSpec& spec = source.draft.params;
  absl::StatusOr<core::EffectiveParams> params =
      core::ResolveParams(spec, files, retried != nullptr ? std::map<std::string, Value>() : overrides, request.lane);
  if (retried != nullptr) {
    // What a trigger gave then may be all of a parameter, or what no file holds.
    const Value now = params.ok() ? params->values : Value();
    params = core::ChangeParams(spec, {retried->pins.params, retried->pins.param_sources}, now, overrides, request.lane);
  }
  if (params.ok()) CD4ML_RETURN_IF_ERROR(core::CheckCells(source.draft, params->values, overrides));
  return params;
}

const DataSource& RunStarter::SourceOf(const core::MaterialSpec& material) const {
  switch (material.kind) {
    case core::MaterialSpec::Kind::kGitPath:
      return *git_;
    case core::MaterialSpec::Kind::kDvc:
      return *dvc_;
    default:
      return material.location.find("://") == std::string::npos || material.location.starts_with("file://") ? *local_
                                                                                                          : *remote_;
  }
}

absl::StatusOr<std::map<std::string, core::Version>> RunStarter::PinMaterials(
    const core::PipelineSpec& spec, const DataContext& context, const std::map<std::string, core::Version>& known) const {
  std::map<std::string, core::Version> pinned = known;
  for (const core::MaterialSpec& material : spec.materials) {
    if (material.kind == core::MaterialSpec::Kind::kGit || pinned.contains(material.name)) continue;
    const auto artifact = SourceOf(material).Read(material, context);
    if (!artifact.ok()) return Annotate(artifact.status(), "material \"" + material.name + "\"");
    core::Version& version = pinned[material.name];
    version.kind = core::VersionKind::kData;
    version.name = spec.name + "/" + material.name;
    version.digest = artifact->digest.hex();
    version.artifact = *artifact;
    version.summary = FormatSize(artifact->size) + (artifact->is_tree ? " in " + Plural(artifact->files, "file") : "") +
                      " from " + core::SourceText(material);
  }
  return pinned;
}

std::map<std::string, core::Version> RunStarter::SameMaterials(const core::Run& ended,
                                                               const core::PipelineSpec& spec) const {
  std::map<std::string, core::Version> same;
  const absl::StatusOr<std::string> text = ReadBlob(ports_.blobs, ended.pins.definition, kDefinitionSizeMax);
  if (!text.ok()) return same;
  const ParsedPipeline before = ports_.parser.Parse(*text, ended.pins.file, nullptr);
  for (const auto& [name, version] : ended.pins.materials) {
    const core::MaterialSpec* then = before.spec.FindMaterial(name);
    const core::MaterialSpec* now = spec.FindMaterial(name);
    if (then == nullptr || now == nullptr) continue;
    if (then->kind == now->kind && core::SourceText(*then) == core::SourceText(*now)) same[name] = version;
  }
  return same;
}

absl::Status RunStarter::BeginRecipes(SourceRepo& repo, const ParsedPipeline& parsed, bool reuses,
                                      core::StartRun& run) const {
  CD4ML_ASSIGN_OR_RETURN(const Value expanded, ParseJson(parsed.expanded));
  const Value* definitions = expanded.Find("stages");
  const Value* required = expanded.Find("required");
  std::map<std::vector<std::string>, std::string> code;  // By patterns: stages often share them.
  for (core::StagePlan& plan : run.stages) {
    const core::StageSpec& stage = *parsed.spec.FindStage(plan.name);
    if (!plan.reuse) continue;
    const auto [known, is_new] = code.try_emplace(stage.code);
    if (is_new) {
      absl::StatusOr<std::string> files = repo.IdentifyFiles(run.pins.commit, stage.code);
      if (!files.ok()) return Annotate(files.status(), "\"code\" of stage \"" + stage.name + "\"");
      known->second = *std::move(files);
    }
    const Value* definition = FindDefinition(definitions, stage);
    if (definition == nullptr) return absl::InternalError("the expanded definition lacks stage \"" + plan.name + "\"");
    Value whole = *definition;
    const Value* rules = required == nullptr ? nullptr : required->Find(plan.name);
    if (rules != nullptr) SetPath(whole, "required", *rules);
    plan.recipe =
        core::BeginRecipe(stage, whole, known->second, run.pins.params, RuntimeText(parsed.spec, stage));
    plan.recipe.merge(core::RecipeOfMaterials(parsed.spec, stage));
    plan.reuse = reuses;
  }
  return absl::OkStatus();
}

absl::Status RunStarter::PinRuntimes(SourceRepo& repo, const std::string& commit, ParsedPipeline& parsed) const {
  std::map<std::string, std::string>& files = parsed.spec.files;
  std::set<std::string> locks;
  size_t size = 0;
  for (const core::StageSpec& stage : parsed.spec.stages) {
    const std::string what = "the runtime of stage \"" + stage.name + "\"";
    for (const std::string& pattern : core::RuntimeFilePatterns(stage.runtime)) {
      const auto paths = PathsOf(repo, commit, pattern);
      if (!paths.ok()) return Annotate(paths.status(), what);
      for (const std::string& path : *paths) {
        if (files.contains(path)) continue;
        absl::StatusOr<std::string> text = repo.ReadFile(commit, path, kRuntimeFileMax);
        if (!text.ok()) return Annotate(text.status(), what);
        if (!IsUtf8(*text) || text->find('\0') != std::string::npos) {
          return absl::InvalidArgumentError(what + ": " + path + " is no text");
        }
        if ((size += text->size()) > kRuntimeFilesMax) {
          return absl::ResourceExhaustedError(what + ": the files of all runtimes are larger than " +
                                              FormatSize(kRuntimeFilesMax) + " together");
        }
        files[path] = *std::move(text);
      }
    }
    if (stage.runtime.kind != core::RuntimeSpec::Kind::kPython || !locks.insert(stage.runtime.requirements).second) continue;
    const absl::Status lock = core::CheckLock(files[stage.runtime.requirements]);
    if (!lock.ok()) return Annotate(lock, what + ": " + stage.runtime.requirements);
  }
  if (files.empty()) return absl::OkStatus();
  // The definition is one map of JSON; the new key comes last, as the parser would write it.
  std::string texts;
  for (const auto& [path, text] : files) texts += (texts.empty() ? "" : ", ") + ToJson(path) + ": " + ToJson(text);
  parsed.expanded.insert(parsed.expanded.size() - 1, ", \"files\": {" + texts + "}");
  return absl::OkStatus();
}

absl::Status RunStarter::Require(const core::GatePolicies& policies, const std::string& text,
                                 ParsedPipeline& parsed) const {
  core::Diagnostics lacking = core::CheckPolicies(policies, parsed.spec);
  if (!lacking.empty()) {
    core::Locate(text, parsed.spec.file, lacking);
    return DiagnosticsError("the definition of \"" + parsed.spec.name + "\" lacks what this server requires", lacking);
  }
  const Value rules = core::RequiredRules(policies, parsed.spec);
  if (rules.is_null()) return absl::OkStatus();
  parsed.expanded.insert(parsed.expanded.size() - 1, ", \"required\": " + ToJson(rules));
  ParsedPipeline whole = ports_.parser.Parse(parsed.expanded, parsed.spec.file, nullptr);
  if (core::HasErrors(whole.diagnostics)) {
    return absl::FailedPreconditionError("a rule that this server requires does not fit pipeline \"" + parsed.spec.name +
                                         "\": " + whole.diagnostics.front().message);
  }
  parsed.spec = std::move(whole.spec);
  return absl::OkStatus();
}

absl::StatusOr<std::set<std::string>> RunStarter::GatesOfOtherRules(const core::Run& ended, const core::Pins& now) const {
  const auto required = [&](const Digest& definition) -> absl::StatusOr<Value> {
    CD4ML_ASSIGN_OR_RETURN(const std::string text, ReadBlob(ports_.blobs, definition, kDefinitionSizeMax));
    CD4ML_ASSIGN_OR_RETURN(const Value value, ParseJson(text));
    const Value* rules = value.Find("required");
    return rules == nullptr ? Value(Value::Map()) : *rules;
  };
  CD4ML_ASSIGN_OR_RETURN(const Value demanded, required(now.definition));
  const Value then = required(ended.pins.definition).value_or(Value::Map());
  std::set<std::string> gates;
  for (const auto& [stage, rules] : demanded.map()) {
    const Value* before = then.Find(stage);
    if (before == nullptr || !(*before == rules)) gates.insert(stage);
  }
  return gates;
}

absl::StatusOr<std::set<std::string>> RunStarter::StagesOfOtherDefinitions(const core::Run& ended,
                                                                           const core::PipelineSpec& spec,
                                                                           const core::Pins& now) const {
  CD4ML_ASSIGN_OR_RETURN(const std::string then_text, ReadBlob(ports_.blobs, ended.pins.definition, kDefinitionSizeMax));
  CD4ML_ASSIGN_OR_RETURN(const std::string now_text, ReadBlob(ports_.blobs, now.definition, kDefinitionSizeMax));
  CD4ML_ASSIGN_OR_RETURN(const Value then_value, ParseJson(then_text));
  CD4ML_ASSIGN_OR_RETURN(const Value now_value, ParseJson(now_text));
  const ParsedPipeline then = ports_.parser.Parse(then_text, ended.pins.file, nullptr);
  const auto recipe = [](const core::PipelineSpec& pipeline, const Value& expanded, const core::StageSpec& stage) {
    const Value* definition = FindDefinition(expanded.Find("stages"), stage);
    core::Recipe made = core::BeginRecipe(stage, definition == nullptr ? Value() : *definition, "", Value(),
                                          RuntimeText(pipeline, stage));
    made.merge(core::RecipeOfMaterials(pipeline, stage));
    return made;
  };
  std::set<std::string> others;
  for (const core::StageSpec& stage : spec.stages) {
    if (stage.matrix) continue;   // Its cells are its needs.
    const core::StageSpec* before = then.spec.FindStage(stage.name);
    if (before == nullptr || recipe(then.spec, then_value, *before) != recipe(spec, now_value, stage)) {
      others.insert(stage.name);
    }
  }
  return others;
}

absl::StatusOr<PreparedRun> RunStarter::PrepareRetry(const RetryRequest& request, const core::Run& ended) const {
  StartRequest start;
  start.pipeline = ended.pipeline;
  start.lane = ended.lane;
  start.ref = ended.pins.commit;
  start.reason = request.reason.empty() ? "retry of " + ended.id : request.reason;
  start.by = request.by;
  start.key = request.key;
  start.priority = request.priority.value_or(ended.priority);
  start.params = request.params;  // Everything else is as it was.
  PipelineRecord pipeline;
  pipeline.name = ended.pipeline;
  pipeline.repo = ended.pins.repo;
  pipeline.file = ended.pins.file;
  start.no_reuse = true;  // What is retried is to be done again.
  CD4ML_ASSIGN_OR_RETURN(Prepared prepared,
                         Prepare(start, core::TriggerKind::kRetry, pipeline, nullptr, &ended));
  core::StartRun& run = prepared.run.command;
  auto others = core::StagesOfOtherParams(prepared.spec, ended.pins.params, run.pins.params);
  CD4ML_ASSIGN_OR_RETURN(const std::set<std::string> gates, GatesOfOtherRules(ended, run.pins));
  others.insert(gates.begin(), gates.end());
  if (!request.params.empty()) {
    // Expressions take parameters into a definition that no `params` names.
    CD4ML_ASSIGN_OR_RETURN(const std::set<std::string> told, StagesOfOtherDefinitions(ended, prepared.spec, run.pins));
    others.insert(told.begin(), told.end());
  }
  // What passed only because of an override is judged anew: the override may not be in force any more.
  for (const core::StageRun& stage : ended.stages) {
    const core::Outcome* result = stage.result();
    if (result != nullptr && result->verdict.has_value() && !result->verdict->overrides.empty()) others.insert(stage.plan.name);
  }
  CD4ML_ASSIGN_OR_RETURN(core::RetrySelection selection,
                         core::SelectForRetry(ended, run.stages, request.scope, request.stage, others));
  // What is about to be referred to is used, which keeps it from being removed.
  for (const auto& [name, carried] : selection.carried) {
    for (const core::ProducedOutput& output : carried.outcome.outputs) {
      if (core::IsGateReport(output)) {
        UseArtifact(ports_.blobs, output.artifact).IgnoreError();   // Without its page, the verdict is what it was.
        continue;
      }
      const std::string what = "output \"" + output.name + "\" of stage \"" + name + '"';
      CD4ML_RETURN_IF_ERROR(Annotate(UseArtifact(ports_.blobs, output.artifact), what));
      if (!output.profile) continue;
      CD4ML_RETURN_IF_ERROR(Annotate(UseArtifact(ports_.blobs, *output.profile), what));
    }
  }
  for (const auto& [name, material] : run.pins.materials) {
    CD4ML_RETURN_IF_ERROR(Annotate(UseArtifact(ports_.blobs, material.artifact), "data \"" + name + '"'));
  }
  run.retry_of = ended.id;
  run.carried = std::move(selection.carried);
  run.left_out = std::move(selection.left_out);
  return std::move(prepared.run);
}

absl::StatusOr<PreparedRun> RunStarter::PrepareReproduction(const ReproduceRequest& request,
                                                            const core::Run& ended) const {
  CD4ML_ASSIGN_OR_RETURN(core::ReproductionPlan plan, core::PlanReproduction(ended));
  CD4ML_RETURN_IF_ERROR(CheckRecord(ended));
  PreparedRun prepared;
  core::StartRun& run = prepared.command;
  run.pipeline = ended.pipeline;
  run.lane = ended.lane;
  run.priority = request.priority.value_or(ended.priority);
  run.retry_of = ended.id;
  run.trigger = {.kind = core::TriggerKind::kReproduce,
                 .key = request.key,
                 .by = request.by,
                 .reason = request.reason.empty() ? "reproduction of " + ended.id : request.reason};
  run.pins = ended.pins;
  run.stages = std::move(plan.stages);
  run.left_out = std::move(plan.left_out);
  return prepared;
}

absl::Status RunStarter::CheckRecord(const core::Run& ended) const {
  const core::Pins& pins = ended.pins;
  const auto refuse = [&](const absl::Status& status, const std::string& what) {
    return absl::FailedPreconditionError("run " + ended.id + " cannot be made again: " + what + ": " + Message(status));
  };
  const std::string code = "commit " + pins.commit + " is no longer in " + pins.repo;
  const absl::StatusOr<std::unique_ptr<SourceRepo>> repo = ports_.repos.Open(pins.repo);
  if (!repo.ok()) return refuse(repo.status(), code);
  const absl::StatusOr<CommitFacts> commit = (*repo)->Resolve(pins.commit);
  if (absl::IsNotFound(commit.status())) return refuse(absl::NotFoundError("fetch it there"), code);
  if (!commit.ok()) return refuse(commit.status(), code);
  const absl::StatusOr<std::string> definition = ReadBlob(ports_.blobs, pins.definition, kDefinitionSizeMax);
  if (!definition.ok()) return refuse(definition.status(), "its definition sha256:" + pins.definition.hex() + " is gone");
  const ParsedPipeline parsed = ports_.parser.Parse(*definition, pins.file, nullptr);
  for (const auto& [name, version] : pins.materials) {
    const absl::Status checked = CheckData(**repo, ended, parsed.spec.FindMaterial(name), version);
    if (!checked.ok()) return refuse(checked, "material \"" + name + "\" no longer matches its version " + core::VersionId(version));
  }
  return absl::OkStatus();
}

absl::Status RunStarter::CheckData(SourceRepo& repo, const core::Run& ended, const core::MaterialSpec* material,
                                   const core::Version& version) const {
  const absl::Status kept = CheckArtifact(ports_.blobs, version.artifact);
  if (kept.ok() || material == nullptr || material->kind == core::MaterialSpec::Kind::kPipeline) return kept;
  const auto now = SourceOf(*material).Read(*material, {repo, ended.pins.repo, ended.pins.commit});
  if (!now.ok()) {
    return absl::FailedPreconditionError(Message(kept) + ", and cannot be read again: " + Message(now.status()));
  }
  if (now->digest != version.artifact.digest) {
    return absl::FailedPreconditionError(Message(kept) + ", and " + core::SourceText(*material) + " is now sha256:" +
                                         now->digest.hex());
  }
  return CheckArtifact(ports_.blobs, version.artifact);
}

absl::StatusOr<RunStarter::Draft> RunStarter::ReadDraft(SourceRepo& repo, const PipelineRecord& pipeline,
                                                        const StartRequest& request, core::TriggerKind trigger,
                                                        PipelineRecord* broken, const core::Run* retried) const {
  Draft draft{.is_newest = request.ref.empty()};
  CD4ML_ASSIGN_OR_RETURN(draft.source, ReadDefinition(repo, pipeline, request.ref, broken));
  CD4ML_ASSIGN_OR_RETURN(draft.params, ReadParams(repo, draft.source, request, retried));
  const core::Scope scope = core::ScopeOfRun(draft.params.values, request.lane, trigger);
  draft.parsed = ports_.parser.Parse(draft.source.text, pipeline.file, &scope);
  if (core::HasErrors(draft.parsed.diagnostics)) {
    return DiagnosticsError("the definition of \"" + pipeline.name + "\" has " +
                                Plural(CountErrors(draft.parsed.diagnostics), "error") + " with these parameters",
                            draft.parsed.diagnostics);
  }
  return draft;
}

absl::Status RunStarter::Resolve(SourceRepo& repo, const PipelineRecord& pipeline, const StartRequest& request,
                                 core::TriggerKind trigger, PipelineRecord* broken, const core::Run* retried,
                                 Draft& draft, core::Pins& pins) const {
  CD4ML_ASSIGN_OR_RETURN(draft, ReadDraft(repo, pipeline, request, trigger, broken, retried));
  if (retried != nullptr) {
    pins.materials = SameMaterials(*retried, draft.parsed.spec);
    pins.mixed = retried->pins.mixed;
    for (const auto& [material, run] : retried->pins.upstream) {
      if (pins.materials.contains(material)) pins.upstream[material] = run;
    }
  }
  const std::string key = RepoKey(pipeline.repo);
  core::Revisions fixed;
  if (!request.ref.empty()) fixed[key] = draft.source.commit.id;
  CD4ML_ASSIGN_OR_RETURN(auto resolved, upstream_.Resolve(draft.parsed.spec, pins.materials, fixed));
  const auto commit = resolved.shared.find(key);
  if (resolved.conflict.empty() && commit != resolved.shared.end() && commit->second != draft.source.commit.id) {
    // The others were made from an older commit: so is this run, with what its definition said then.
    StartRequest then = request;
    then.ref = commit->second;
    CD4ML_ASSIGN_OR_RETURN(draft, ReadDraft(repo, pipeline, then, trigger, nullptr, retried));
    fixed[key] = commit->second;
    CD4ML_ASSIGN_OR_RETURN(resolved, upstream_.Resolve(draft.parsed.spec, pins.materials, fixed));
  }
  if (!resolved.conflict.empty() && !request.mixed) {
    return absl::FailedPreconditionError("no revisions belong together: " + resolved.conflict +
                                         "; run what is behind, or start with --mixed");
  }
  if (!resolved.mixed.empty()) pins.mixed = resolved.mixed;
  pins.upstream.merge(resolved.runs);
  pins.materials.merge(resolved.versions);
  for (const core::MaterialSpec& material : draft.parsed.spec.materials) {
    if (material.kind == core::MaterialSpec::Kind::kGit || pins.materials.contains(material.name)) continue;
    const auto shared = resolved.data.find(SourceKey(material, settings_.data_root));
    if (!resolved.conflict.empty() || shared == resolved.data.end()) continue;
    if (!UseArtifact(ports_.blobs, shared->second.artifact).ok()) {
      return absl::NotFoundError("material \"" + material.name + "\" at sha256:" + shared->second.artifact.digest.brief() +
                                 ", which the others were made from, is no longer kept; run them again");
    }
    pins.materials[material.name] = shared->second;
    pins.materials[material.name].name = draft.parsed.spec.name + "/" + material.name;
  }
  return absl::OkStatus();
}

absl::StatusOr<RunStarter::Prepared> RunStarter::Prepare(const StartRequest& asked, core::TriggerKind trigger,
                                                         const PipelineRecord& pipeline, PipelineRecord* broken,
                                                         const core::Run* retried) const {
  StartRequest request = asked;
  if (request.lane.empty()) request.lane = kDefaultLane;
  if (!IsName(request.lane)) return absl::InvalidArgumentError("\"" + request.lane + "\" is no name of a lane");
  CD4ML_ASSIGN_OR_RETURN(const std::unique_ptr<SourceRepo> repo, ports_.repos.Open(pipeline.repo));
  Draft draft;
  core::Pins pins;
  CD4ML_RETURN_IF_ERROR(Resolve(*repo, pipeline, request, trigger, broken, retried, draft, pins));
  auto& [source, params, parsed, is_newest] = draft;
  CD4ML_RETURN_IF_ERROR(CheckLane(parsed.spec, request.lane, trigger));

  Prepared prepared;
  core::StartRun& run = prepared.run.command;
  run.pipeline = pipeline.name;
  run.lane = request.lane;
  run.priority = request.priority.value_or(parsed.spec.priority);
  if (run.priority < -100 || run.priority > 100) {
    return absl::InvalidArgumentError("priority " + std::to_string(run.priority) + " is not within -100 and 100");
  }
  run.concurrency = parsed.spec.concurrency;
  run.trigger = {.kind = trigger, .key = request.key, .by = request.by, .reason = request.reason};
  run.pins = std::move(pins);
  run.pins.repo = pipeline.repo;
  run.pins.commit = source.commit.id;
  run.pins.commit_subject = source.commit.subject;
  run.pins.file = pipeline.file;
  CD4ML_ASSIGN_OR_RETURN(run.pins.materials,
                         PinMaterials(parsed.spec, {*repo, pipeline.repo, source.commit.id, {}, request.no_reuse},
                                      run.pins.materials));
  const std::shared_ptr<const core::GatePolicies> policies = policies_.Get();
  CD4ML_RETURN_IF_ERROR(Require(*policies, source.text, parsed));
  CD4ML_RETURN_IF_ERROR(PinRuntimes(*repo, source.commit.id, parsed));
  CD4ML_ASSIGN_OR_RETURN(run.pins.definition, PutBytes(ports_.blobs, parsed.expanded));
  run.pins.params = params.values;
  run.pins.param_sources = params.sources;
  CD4ML_ASSIGN_OR_RETURN(run.pins.params_digest, PutBytes(ports_.blobs, ToJson(params.values)));
  run.stages = core::MakePlan(parsed.spec, settings_.plan);
  const int people = core::OverridePeople(*policies, parsed.spec);
  for (core::StagePlan& stage : run.stages) {
    if (core::IsGate(stage.kind)) stage.override_people = people;
  }
  CD4ML_RETURN_IF_ERROR(BeginRecipes(*repo, parsed, !request.no_reuse, run));
  for (const core::Diagnostic& finding : parsed.diagnostics) prepared.run.warnings.push_back(core::Brief(finding));
  prepared.spec = std::move(parsed.spec);
  prepared.pipeline = pipeline;
  if (is_newest) {
    prepared.pipeline.good_commit = source.commit.id;
    prepared.pipeline.description = prepared.spec.description;
    prepared.pipeline.bad_commit.clear();
    prepared.pipeline.problems.clear();
  }
  return prepared;
}

}  // namespace cd4ml::daemon
