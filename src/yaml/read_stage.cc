// One stage: what all kinds share, and what each kind adds.
#include <algorithm>
#include <array>
#include <cmath>

#include "cd4ml/base/text.h"
#include "cd4ml/core/own_verdict.h"
#include "yaml/read.h"

namespace cd4ml::yaml {
namespace {

namespace code = core::code;
using core::StageKind;

// Keys that some kind of stage has; whatever else is unknown everywhere.
const Words kKeysOfKinds = {
    "inputs",   "outputs", "run",          "metrics", "goals",          "rules",   "predictions",
    "champion", "serve",   "environment",  "deploy",  "strategy",       "service", "apply",
    "rollback", "every",   "window",       "checks",  "on_breach",      "code",    "params",
    "env",      "agent",   "timeout",      "retry",   "assign_timeout", "cache",   "matrix",
    "grace",    "total_timeout",           "silence_timeout",
    "runtime",  "plots",   "reproducible", "sbom",    "verdict",        "steps",   "route",
    "observe",  "keep",    "ground_truth"};

bool IsVariable(std::string_view name) {
  if (name.empty() || (name[0] >= '0' && name[0] <= '9')) return false;
  for (char c : name) {
    if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_')) {
      return false;
    }
  }
  return true;
}

bool IsReserved(std::string_view name) {
  for (std::string_view prefix : {"CD4ML_IN_", "CD4ML_OUT_", "CD4ML_PARAM_", "CD4ML_SEGMENTS_"}) {
    if (name.starts_with(prefix)) return true;
  }
  static constexpr std::array<std::string_view, 14> kNames = {
      "CD4ML_PARAMS",      "CD4ML_RUN",     "CD4ML_STAGE",      "CD4ML_ATTEMPT",
      "CD4ML_METRICS",     "CD4ML_VERDICT", "CD4ML_PORT",       "CD4ML_CHAMPION",
      "CD4ML_ENVIRONMENT", "CD4ML_TARGET",  "CD4ML_DEPLOYMENT", "CD4ML_PREDICTIONS",
      "CD4ML_RUNTIME",     "TRACEPARENT"};
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

void ReadEnv(Reader& reader, Node& node, std::map<std::string, std::string>& env) {
  if (!CheckNamedMap(reader, node, "env")) return;
  for (size_t i = 0; i < node.member_count(); ++i) {
    const Node& key = node.key(i);
    if (!key.is_scalar()) continue;
    const std::string name(key.text);
    if (!IsVariable(name)) {
      reader.Error(code::kBadName, key.place, core::Quoted(name) + " is no name of a variable", "",
                   "names have letters, digits and _, and do not begin with a digit");
    } else if (IsReserved(name)) {
      reader.Error(code::kReservedVariable, key.place,
                   "variable " + core::Quoted(name) + " is set by cd4ml");
    }
    reader.SetKey(key.text);
    reader.ReadScalarText(node.value(i), env[name]);
  }
}

// "3.11", "3.11.2"
bool IsPythonVersion(std::string_view text) {
  const auto dots = std::count(text.begin(), text.end(), '.');
  return (dots == 1 || dots == 2) && text.find("..") == std::string_view::npos &&
         text.find_first_not_of("0123456789.") == std::string_view::npos && text.front() != '.' && text.back() != '.';
}

bool HasDigest(std::string_view image) {
  constexpr std::string_view kMark = "@sha256:";
  const size_t at = image.find(kMark);
  if (at == std::string_view::npos || at == 0) return false;
  const std::string_view digest = image.substr(at + kMark.size());
  return digest.size() == 64 && digest.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

void ReadPython(Fields& fields, core::RuntimeSpec& runtime) {
  runtime.kind = core::RuntimeSpec::Kind::kPython;
  if (fields.Read("python", runtime.python) && !fields.HasTemplate("python") && !IsPythonVersion(runtime.python)) {
    fields.reader().Error(code::kBadRuntime, fields.PlaceOf("python"),
                          core::Quoted(runtime.python) + " is no version of Python", "",
                          "write one like \"3.11\" or \"3.11.2\", in quotes");
  }
  fields.ReadNeeded("requirements", runtime.requirements);
}

void ReadImage(Fields& fields, core::RuntimeSpec& runtime) {
  runtime.kind = core::RuntimeSpec::Kind::kImage;
  if (fields.Read("image", runtime.image) && !fields.HasTemplate("image") && !HasDigest(runtime.image)) {
    fields.reader().Error(code::kBadRuntime, fields.PlaceOf("image"),
                          "image " + core::Quoted(runtime.image) + " has no digest", "",
                          "a tag may be another image tomorrow; write NAME@sha256:DIGEST");
  }
}

void ReadSetup(Fields& fields, core::RuntimeSpec& runtime) {
  runtime.kind = core::RuntimeSpec::Kind::kSetup;
  fields.Read("setup", runtime.setup);
  if (Node* key = fields.Need("key")) fields.reader().ReadLiterals(*key, runtime.key);
}

void ReadRuntime(Reader& reader, Node& node, core::RuntimeSpec& runtime) {
  runtime = {.place = node.place};
  if (!node.is_map()) {
    std::string word;
    if (reader.ReadWord(node, word, {"host"})) runtime.kind = core::RuntimeSpec::Kind::kHost;
    return;
  }
  static constexpr std::pair<const char*, void (*)(Fields&, core::RuntimeSpec&)> kForms[] = {
      {"python", ReadPython}, {"image", ReadImage}, {"setup", ReadSetup}};
  Fields fields(reader, node, "\"runtime\"");
  int forms = 0;
  for (const auto& [form, read] : kForms) {
    if (fields.Has(form) && ++forms == 1) read(fields, runtime);
  }
  if (forms != 1) {
    return reader.Error(code::kConflict, node.place, "\"runtime\" needs one of python, image and setup");
  }
  fields.Finish();
}

void ReadAgent(Reader& reader, Node& node, StageDefaults& defaults) {
  Fields fields(reader, node, "\"agent\"");
  if (Node* list = fields.Take("labels")) reader.ReadLiterals(*list, defaults.labels);
  double cpu = 0;
  fields.Read("cpu", cpu, Range{0, 10'000});
  defaults.resources.cpu_millis = std::llround(cpu * 1000);
  if (Node* memory = fields.Take("memory")) {
    reader.ReadSize(*memory, defaults.resources.memory_bytes);
  }
  fields.Read("gpu", defaults.resources.gpus, Range{0, 1'000});
  fields.Finish();
}

// A value that is not known before a run contradicts nothing yet: it is left at zero.
void ReadSpan(Fields& fields, std::string_view key, Duration& span) {
  if (fields.Read(key, span) && fields.HasTemplate(key)) span = Duration(0);
}

// Those that are counted for a process: whoever wants no end leaves them out.
void CheckShorterThanAYear(Fields& fields, std::string_view key, Duration span) {
  constexpr Duration kYear{int64_t{365} * 86'400'000};
  if (!fields.Has(key) || span <= kYear) return;
  fields.reader().Error(code::kOutOfRange, fields.PlaceOf(key),
                        core::Quoted(key) + " (" + FormatDuration(span) + ") is longer than a year", "",
                        "leave it out when nothing is to be ended, or write a year at most: 365d");
}

// Reports a span that could never be reached. What has been inherited as it is was reported there.
void CheckNotLonger(Fields& fields, std::string_view shorter_key, Duration shorter,
                    std::string_view longer_key, Duration longer) {
  if (shorter.count() == 0 || longer.count() == 0 || shorter <= longer) return;
  const bool is_here = fields.Has(shorter_key);
  if (!is_here && !fields.Has(longer_key)) return;
  fields.reader().Error(code::kTimesContradict, fields.PlaceOf(is_here ? shorter_key : longer_key),
                        core::Quoted(shorter_key) + " (" + FormatDuration(shorter) +
                            ") is longer than " + core::Quoted(longer_key) + " (" +
                            FormatDuration(longer) + ")");
}

void ReadRetry(Reader& reader, Node& node, core::RetrySpec& retry) {
  static const Words kReasons = {"agent_lost", "infra", "timeout", "exit_code"};
  Fields fields(reader, node, "\"retry\"");
  if (fields.Read("limit", retry.limit, Range{0, 100})) retry.error_limit = retry.limit;
  fields.Read("error_limit", retry.error_limit, Range{0, 100});
  if (Node* when = fields.Take("when"); when != nullptr && reader.ReadLiterals(*when, retry.when)) {
    std::string ignored;
    for (Node& word : when->children) reader.ReadWord(word, ignored, kReasons);
  }
  ReadSpan(fields, "backoff", retry.backoff);
  Duration backoff_max{0};
  ReadSpan(fields, "backoff_max", backoff_max);
  CheckNotLonger(fields, "backoff", retry.backoff, "backoff_max", backoff_max);
  if (backoff_max.count() > 0) retry.backoff_max = backoff_max;
  fields.Finish();
}

// `never`, or how old a result may be that is taken over.
void ReadCache(Reader& reader, Node& node, core::CacheSpec& cache) {
  if (!node.is_map()) {
    std::string word;
    cache.never = reader.ReadWord(node, word, {"never"});
    return;
  }
  Fields fields(reader, node, "\"cache\"");
  ReadSpan(fields, "max_age", cache.max_age);
  fields.Finish();
}

void ReadInputs(Reader& reader, Node& node, core::StageSpec& stage) {
  ForEachNamed(reader, node, "inputs", [&](const std::string& name, const Node& key, Node& value) {
    core::InputSpec input{.name = name, .place = value.place};
    reader.SetKey(key.text);
    if (value.is_map()) {
      Fields fields(reader, value, "input", name);
      if (Node* from = fields.Need("from")) {
        input.place = from->place;
        reader.ReadLiteral(*from, input.from);
      }
      fields.Read("at", input.at);
      fields.Finish();
    } else {
      reader.ReadLiteral(value, input.from);
    }
    stage.inputs.push_back(std::move(input));
  });
}

void ReadOutputs(Reader& reader, Node& node, core::StageSpec& stage) {
  static const Words kTypes = {"dataset", "model", "probe_set", "deployable", "report", "file"};
  ForEachNamed(reader, node, "outputs", [&](const std::string& name, const Node& key, Node& value) {
    core::OutputSpec output{.name = name, .place = key.place};
    Fields fields(reader, value, "output", name);
    if (fields.ReadNeeded("path", output.path)) output.place = fields.PlaceOf("path");
    std::string word;
    if (fields.ReadWord("type", word, kTypes)) output.type = *core::ParseOutputType(word);
    word.clear();
    fields.ReadWord("when", word, {"success", "always"});
    output.always = word == "always";
    if (Node* quarantine = fields.Take("quarantine")) {
      if (stage.kind != StageKind::kDataGate) {
        reader.Error(code::kKeyOfOtherKind, quarantine->place,
                     "\"quarantine\" cannot stand in a " + std::string(core::ToText(stage.kind)),
                     "", "the rules of a data_gate say which rows are bad");
      }
      reader.ReadLiteral(*quarantine, output.quarantine);
      stage.places.emplace("outputs." + name + ".quarantine", quarantine->place);
    }
    fields.Finish();
    stage.outputs.push_back(std::move(output));
  });
}

void ReadMetricsFile(Reader& reader, Node& node, core::MetricsSpec& metrics) {
  if (!node.is_map()) {
    reader.Read(node, metrics.file);
    return;
  }
  Fields fields(reader, node, "an entry of \"metrics\"");
  fields.ReadNeeded("file", metrics.file);
  const bool has_name = fields.Read("name", metrics.name);
  const bool has_pattern = fields.Read("pattern", metrics.pattern);
  const bool has_slice = fields.Read("slice", metrics.slice);
  const bool has_count = fields.Read("count", metrics.count);
  if (has_name != has_pattern || (has_name && has_slice) || (has_count && !has_slice)) {
    reader.Error(code::kConflict, node.place,
                 "an entry of \"metrics\" has name and pattern, or slice and count, or neither");
  }
  fields.Finish();
}

void ReadMetrics(Reader& reader, Node& node, core::StageSpec& stage) {
  if (!node.is_list()) return reader.WrongType(node, "a list");
  for (Node& entry : node.children) {
    core::MetricsSpec metrics{.place = entry.place};
    ReadMetricsFile(reader, entry, metrics);
    stage.metrics.push_back(std::move(metrics));
  }
}

void ReadGoals(Reader& reader, Node& node, core::StageSpec& stage) {
  if (!CheckNamedMap(reader, node, "goals")) return;
  for (size_t i = 0; i < node.member_count(); ++i) {
    reader.SetKey(node.key(i).text);
    std::string goal;
    if (reader.ReadWord(node.value(i), goal, {"min", "max"})) {
      stage.goals[std::string(node.key(i).text)] = goal == "max";
    }
  }
}

// Keeps the places of a list of references as PREFIX.NAME.
void ReadReferences(Fields& fields, std::string_view key, std::vector<std::string>& out,
                    core::StageSpec& stage) {
  Node* node = fields.Take(key);
  if (node == nullptr || !fields.reader().ReadLiterals(*node, out)) return;
  for (const Node& item : node->children) {
    stage.places.emplace(std::string(key) + "." + std::string(item.text), item.place);
  }
}

void ReadReference(Fields& fields, std::string_view key, std::string_view part, std::string& out,
                   core::StageSpec& stage) {
  Node* node = fields.Need(key);
  if (node == nullptr) return;
  fields.reader().ReadLiteral(*node, out);
  stage.places.emplace(part, node->place);
}

// Reports keys that the task has no use for, and halves of pairs.
void CheckPredictions(Fields& fields, const core::PredictionsSpec& predictions) {
  using core::PredictionTask;
  const auto refuse = [&fields](std::string_view key, const std::string& why) {
    if (fields.Has(key)) fields.reader().Error(code::kConflict, fields.PlaceOf(key), core::Quoted(key) + " " + why);
  };
  if (predictions.task != PredictionTask::kClassification) {
    for (const char* key : {"score", "champion_score", "positive"}) refuse(key, "is for `task: classification`");
  } else if (!fields.Has("score") || !fields.Has("champion")) {
    refuse("champion_score", "needs `score` and `champion`");
  }
  if (predictions.task == PredictionTask::kRanking) {
    refuse("weight", "is not for `task: ranking`, where every group counts alike");
  } else {
    refuse("group", "is for `task: ranking`");
  }
}

void ReadPredictions(Reader& reader, Node& node, core::PredictionsSpec& predictions) {
  static const Words kTasks = {"regression", "classification", "ranking"};
  predictions.place = node.place;
  Fields fields(reader, node, "\"predictions\"");
  std::string task;
  if (fields.ReadWord("task", task, kTasks)) {
    predictions.task =
        static_cast<core::PredictionTask>(std::find(kTasks.begin(), kTasks.end(), task) - kTasks.begin());
  }
  fields.ReadNeeded("file", predictions.file);
  fields.ReadNeeded("truth", predictions.truth);
  fields.ReadNeeded("prediction", predictions.prediction);
  fields.Read("slices", predictions.slices);
  fields.Read("champion", predictions.champion);
  fields.Read("weight", predictions.weight);
  fields.Read("score", predictions.score);
  fields.Read("champion_score", predictions.champion_score);
  if (Node* positive = fields.Take("positive")) reader.ReadScalarText(*positive, predictions.positive);
  if (predictions.task == core::PredictionTask::kRanking) {
    fields.ReadNeeded("group", predictions.group);
  } else {
    fields.Read("group", predictions.group);
  }
  fields.Finish();
  CheckPredictions(fields, predictions);
}

// Where the champion's answer stands in what it says: asked over HTTP, or in a line that its command writes.
void ReadChampionAnswer(Fields& champion, core::StageSpec& stage) {
  Node* node = stage.champion_request ? champion.Need("answer") : champion.Take("answer");
  if (node == nullptr) return;
  Fields answer(champion.reader(), *node, "\"answer\"");
  answer.Need("json");
  ReadPointer(answer, "json", stage.champion_answer);
  const bool has_score = ReadPointer(answer, "score", stage.champion_score);
  answer.Finish();
  if (has_score && stage.predictions && stage.predictions->score.empty()) {
    champion.reader().Error(code::kConflict, answer.PlaceOf("score"), "the champion's scores have none of the candidate beside them", "",
                            "`predictions: {task: classification, score: COLUMN}`");
  }
}

void ReadChampion(Reader& reader, Node& node, core::StageSpec& stage) {
  Fields fields(reader, node, "\"champion\"");
  ReadReference(fields, "environment", "champion", stage.champion_environment, stage);
  if (fields.Has("request")) stage.champion_request = ReadChampionRequest(fields, stage);
  fields.Read("predict", stage.champion_predict);
  if (stage.asks_champion()) ReadChampionAnswer(fields, stage);
  if (node.is_map() && fields.Has("answer") && !stage.asks_champion()) {
    fields.Take("answer");
    reader.Error(code::kMissingKey, fields.PlaceOf("answer"), "\"champion\" has an `answer` and nothing that it answers to", "",
                 "add `request`, or `predict`");
  }
  fields.Finish();
  if (!stage.asks_champion()) return;
  if (stage.champion_request && !stage.champion_predict.empty()) {
    reader.Error(code::kConflict, node.place, "a champion is either asked (`request`) or runs a command (`predict`)");
  }
  if (!stage.predictions) {
    reader.Error(code::kMissingKey, node.place, "the champion is asked about no rows", "",
                 "add `predictions`: it answers to the lines of their file");
    return;
  }
  const std::string& file = stage.predictions->file;
  if (!stage.predictions->champion.empty()) {
    reader.Error(code::kConflict, node.place, "the champion's answers are either a column of the predictions or asked of it");
  } else if (!file.ends_with(".jsonl") && !file.ends_with(".ndjson") && !file.ends_with("}}")) {
    reader.Error(code::kConflict, stage.predictions->place,
                 "the champion is asked about lines of JSON, which " + core::Quoted(file) + " does not hold by its name", "",
                 "write the predictions to a file .jsonl, with what the champion has to know in every line");
  }
}

// `ready: {http: PATH}`, or `{grpc: SERVICE}` for grpc.health.v1, where `true` is the server as a whole.
void ReadReady(Reader& reader, Node& node, core::ServiceSpec& service) {
  Fields fields(reader, node, "\"ready\"");
  if (fields.Read("http", service.ready_path) && !service.ready_path.starts_with('/')) {
    reader.Error(code::kBadPath, fields.PlaceOf("http"), "\"http\" must begin with /");
  }
  if (Node* grpc = fields.Take("grpc")) {
    std::string& name = service.ready_grpc.emplace();
    if (grpc->kind != Node::Kind::kPlain || grpc->text != "true") reader.Read(*grpc, name);
    if (fields.Has("http")) {
      reader.Error(code::kConflict, node.place, "a service is asked over HTTP whether it is ready, or over gRPC");
    }
  }
  fields.Read("within", service.ready_within);
  fields.Finish();
}

void ReadService(Fields& fields, core::ServiceSpec& service) {
  Reader& reader = fields.reader();
  service.place = fields.node().place;
  fields.ReadNeeded("run", service.run);
  if (Node* ready = fields.Take("ready")) ReadReady(reader, *ready, service);
}

void ReadServe(Reader& reader, Node& node, core::StageSpec& stage) {
  Fields fields(reader, node, "\"serve\"");
  ReadReference(fields, "package", "package", stage.package, stage);
  ReadService(fields, stage.service.emplace());
  fields.Finish();
}

void ReadDeploy(Fields& fields, core::StageSpec& stage) {
  Reader& reader = fields.reader();
  ReadReference(fields, "environment", "environment", stage.environment, stage);
  ReadReference(fields, "deploy", "package", stage.package, stage);
  std::string strategy;
  if (fields.ReadWord("strategy", strategy,
                      {"replace", "blue_green", "canary", "shadow", "champion_challenger"}) &&
      strategy != "replace") {
    reader.NotYet(code::kNoStrategy, fields.PlaceOf("strategy"), "strategy: " + strategy);
  }
  fields.NotYet("steps", code::kNoStrategy);
  fields.NotYet("route", code::kNoHook);
  fields.NotYet("observe", code::kNoHook);
  fields.NotYet("keep", code::kNoKeep);
  if (fields.Has("retry")) {
    reader.Error(code::kKeyOfOtherKind, fields.PlaceOf("retry"),
                 "\"retry\" cannot stand in " + fields.where() +
                     ": a deploy is never tried again by itself",
                 "", "half of it may have happened; `cd4ml run retry` is for people");
  }
  if (Node* service = fields.Take("service")) {
    Fields inner(reader, *service, "\"service\"");
    ReadService(inner, stage.service.emplace());
    inner.Finish();
  }
  fields.Read("apply", stage.hooks.apply);
  fields.Read("rollback", stage.hooks.rollback);
  if (fields.node().is_map() && fields.Has("service") == fields.Has("apply")) {
    reader.Error(code::kConflict, stage.place,
                 fields.where() + " needs `service`, or the hook `apply`, and not both");
  } else if (fields.Has("rollback") && !fields.Has("apply")) {
    reader.Error(code::kConflict, fields.PlaceOf("rollback"), "`rollback` needs the hook `apply`");
  }
}

// `exit_code`, or one key that says what the file is.
void ReadVerdict(Reader& reader, Node& node, core::StageSpec& stage) {
  using Kind = core::VerdictSpec::Kind;
  core::VerdictSpec& verdict = stage.verdict.emplace();
  verdict.place = node.place;
  if (!node.is_map()) {
    std::string word;
    reader.ReadWord(node, word, {"exit_code"});
    return;
  }
  Fields fields(reader, node, "\"verdict\"");
  int forms = 0;
  for (const Kind kind : {Kind::kFile, Kind::kJunit, Kind::kGreatExpectations, Kind::kPandera, Kind::kEvidently}) {
    std::string file;
    if (!fields.Read(core::ToText(kind), file) || ++forms > 1) continue;
    verdict.kind = kind;
    verdict.file = std::move(file);
  }
  fields.Finish();
  if (forms != 1) {
    reader.Error(code::kConflict, node.place,
                 "\"verdict\" is exit_code, or has one of file, junit, great_expectations, pandera and evidently");
  }
}

void ReadGate(Fields& fields, core::StageSpec& stage) {
  Reader& reader = fields.reader();
  if (stage.kind == StageKind::kContractGate) {
    if (Node* serve = fields.Need("serve")) ReadServe(reader, *serve, stage);
    if (fields.Has("runtime")) {
      reader.Error(code::kKeyOfOtherKind, fields.PlaceOf("runtime"),
                   "\"runtime\" cannot stand in " + fields.where() + ": a package is served in the one that it was made in",
                   "", "say it in the stage that makes the package");
    }
  }
  if (stage.kind == StageKind::kModelGate) {
    if (Node* predictions = fields.Take("predictions")) {
      ReadPredictions(reader, *predictions, stage.predictions.emplace());
    }
    if (Node* champion = fields.Take("champion")) {
      ReadChampion(reader, *champion, stage);
    }
  }
  if (Node* verdict = fields.Take("verdict")) {
    ReadVerdict(reader, *verdict, stage);
    if (!fields.Has("run")) {
      reader.Error(code::kConflict, stage.verdict->place,
                   "\"verdict\" needs `run` in " + fields.where() + ": it is what the stage's command has found");
    }
  }
  Node* rules = fields.Take("rules");
  if (rules != nullptr && (!rules->is_map() || !rules->children.empty())) {
    ReadRules(reader, *rules, stage);
  } else if (fields.node().is_map() && !fields.Has("verdict")) {
    reader.Error(code::kGateWithoutRules, stage.place,
                 "gate " + core::Quoted(stage.name) + " has no rules");
  }
}

// What stages have that an agent performs.
void ReadWork(Fields& fields, core::StageSpec& stage, const StageDefaults& defaults) {
  StageDefaults own = defaults;
  ReadStageDefaults(fields, own);
  stage.labels = std::move(own.labels);
  stage.resources = own.resources;
  stage.runtime = std::move(own.runtime);
  stage.env = std::move(own.env);
  stage.timeout = own.timeout;
  stage.assign_timeout = own.assign_timeout;
  stage.total_timeout = own.total_timeout;
  stage.silence_timeout = own.silence_timeout;
  stage.grace = own.grace;
  stage.retry = std::move(own.retry);
  if (Node* inputs = fields.Take("inputs")) ReadInputs(fields.reader(), *inputs, stage);
  if (Node* code = fields.Take("code")) fields.reader().ReadLiterals(*code, stage.code);
  ReadReferences(fields, "params", stage.params, stage);
  if (Node* cache = fields.Take("cache")) ReadCache(fields.reader(), *cache, stage.cache);
}

// What stages have that run a command of their own.
void ReadCommand(Fields& fields, core::StageSpec& stage) {
  Reader& reader = fields.reader();
  if (core::IsGate(stage.kind)) {
    fields.Read("run", stage.run);
  } else {
    fields.ReadNeeded("run", stage.run);
  }
  if (Node* outputs = fields.Take("outputs")) ReadOutputs(reader, *outputs, stage);
  if (Node* metrics = fields.Take("metrics")) ReadMetrics(reader, *metrics, stage);
  if (Node* goals = fields.Take("goals")) ReadGoals(reader, *goals, stage);
  if (!core::IsGate(stage.kind)) {
    // That of the stage itself has been read by ReadMatrix.
    if (Node* matrix = fields.Take("matrix")) reader.Error(code::kBadMatrix, matrix->place, "a cell has no matrix of its own");
  }
  fields.NotYet("plots", code::kNoPlots);
  fields.NotYet("reproducible", code::kNoReproducible);
  fields.NotYet("sbom", code::kNoSbom);
}

}  // namespace

void ReadStageDefaults(Fields& fields, StageDefaults& defaults) {
  Reader& reader = fields.reader();
  if (Node* agent = fields.Take("agent")) {
    defaults.labels.clear();
    defaults.resources = {};
    ReadAgent(reader, *agent, defaults);
  }
  if (Node* runtime = fields.Take("runtime")) ReadRuntime(reader, *runtime, defaults.runtime);
  if (Node* env = fields.Take("env")) ReadEnv(reader, *env, defaults.env);
  ReadSpan(fields, "timeout", defaults.timeout);
  ReadSpan(fields, "assign_timeout", defaults.assign_timeout);
  ReadSpan(fields, "total_timeout", defaults.total_timeout);
  ReadSpan(fields, "silence_timeout", defaults.silence_timeout);
  CheckNotLonger(fields, "silence_timeout", defaults.silence_timeout, "timeout", defaults.timeout);
  CheckNotLonger(fields, "timeout", defaults.timeout, "total_timeout", defaults.total_timeout);
  fields.Read("grace", defaults.grace);
  CheckShorterThanAYear(fields, "timeout", defaults.timeout);
  CheckShorterThanAYear(fields, "assign_timeout", defaults.assign_timeout);
  CheckShorterThanAYear(fields, "total_timeout", defaults.total_timeout);
  CheckShorterThanAYear(fields, "silence_timeout", defaults.silence_timeout);
  CheckShorterThanAYear(fields, "grace", defaults.grace);
  if (Node* retry = fields.Take("retry")) {
    defaults.retry = {};
    ReadRetry(reader, *retry, defaults.retry);
  }
}

core::StageSpec ReadStage(Reader& reader, const std::string& name, const Node& key, Node& value,
                          const StageDefaults& defaults) {
  static const Words kKinds = {"data_gate",     "train",  "model_gate", "package",
                               "contract_gate", "deploy", "monitor",    "command"};
  core::StageSpec stage;
  stage.name = name;
  stage.place = key.place;
  Fields fields(reader, value, "stage", name);
  if (!value.is_map()) return stage;
  std::string kind = "command";
  const bool kind_is_known = !fields.Has("kind") || fields.ReadWord("kind", kind, kKinds);
  stage.kind = core::ParseStageKind(kind).value_or(StageKind::kCommand);
  ReadReferences(fields, "needs", stage.needs, stage);
  if (Node* condition = fields.Take("if")) {
    reader.ReadCondition(*condition, stage.condition);
    stage.places.emplace("if", condition->place);
  }
  fields.NotYet("for_each", code::kNoForEach);
  if (!kind_is_known) return stage;  // What belongs in it cannot be said.

  if (stage.kind != StageKind::kMonitor) ReadWork(fields, stage, defaults);
  switch (stage.kind) {
    case StageKind::kDataGate:
    case StageKind::kModelGate:
    case StageKind::kContractGate:
      ReadCommand(fields, stage);
      ReadGate(fields, stage);
      break;
    case StageKind::kTrain:
    case StageKind::kPackage:
    case StageKind::kCommand:
      ReadCommand(fields, stage);
      break;
    case StageKind::kDeploy:
      ReadDeploy(fields, stage);
      break;
    case StageKind::kMonitor:
      ReadReference(fields, "environment", "environment", stage.environment, stage);
      ReadMonitor(fields, stage);
      break;
  }
  fields.Finish(kKeysOfKinds, core::ToText(stage.kind));
  return stage;
}

}  // namespace cd4ml::yaml
