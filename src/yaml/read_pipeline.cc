// The top level of a definition: what is not a stage.
#include <algorithm>

#include "cd4ml/base/text.h"
#include "cd4ml/core/params.h"
#include "yaml/read.h"

namespace cd4ml::yaml {
namespace {

namespace code = core::code;

void ReadFormat(Fields& top) {
  Node* node = top.Take("format");
  if (node == nullptr) {
    top.reader().Error(code::kFormat, top.node().place, "the definition needs `format: 1`");
  } else if (ScalarValue(*node) != Value(1)) {
    top.reader().Error(code::kFormat, node->place, "\"format\" must be 1");
  }
}

void ReadTriggers(Reader& reader, Node& node, core::TriggersSpec& triggers) {
  Fields fields(reader, node, "\"triggers\"");
  triggers.dispatch = fields.Has("dispatch");
  for (const char* trigger : {"git", "pull_request", "data", "schedule"}) {
    fields.NotYet(trigger, code::kNoTrigger);
  }
  if (Node* dispatch = fields.Take("dispatch")) {
    Fields inner(reader, *dispatch, "\"dispatch\"");
    if (Node* lanes = inner.Take("lanes")) reader.ReadLiterals(*lanes, triggers.dispatch_lanes);
    inner.NotYet("roles", code::kNoRoles);
    inner.Finish();
  }
  if (Node* monitor = fields.Take("monitor")) {
    Fields inner(reader, *monitor, "\"monitor\"");
    if (Node* stage = inner.Need("stage")) {
      reader.ReadLiteral(*stage, triggers.monitor);
      triggers.monitor_place = stage->place;
    }
    inner.Finish();
  }
  fields.Finish();
}

// --- params ---

bool IsParamName(std::string_view name) {
  bool part_is_empty = true;
  for (char c : name) {
    const bool is_letter =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (c == '.' ? part_is_empty : !is_letter && c != '_' && c != '-') return false;
    part_is_empty = c == '.';
  }
  return !part_is_empty && name.size() <= 200;
}

core::ParamSchema ReadParam(Reader& reader, const Node& key, Node& node) {
  using Type = core::ParamSchema::Type;
  static const Words kTypes = {"int", "float", "bool", "string", "enum", "list", "map"};
  core::ParamSchema param{.name = std::string(key.text), .place = key.place};
  if (!IsParamName(key.text)) {
    reader.Error(code::kBadName, key.place, core::Quoted(param.name) + " is no name of a parameter",
                 "", "names have letters, digits, - and _, with dots between the parts");
  }
  Fields fields(reader, node, "parameter", param.name);
  std::string type;
  if (Node* word = fields.Need("type"); word != nullptr && reader.ReadWord(*word, type, kTypes)) {
    param.type = static_cast<Type>(std::find(kTypes.begin(), kTypes.end(), type) - kTypes.begin());
  }
  if (type == "enum") {
    if (Node* values = fields.Need("values")) reader.ReadScalarTexts(*values, param.values);
  }
  if (type == "int" || type == "float") ReadBounds(fields, param.bounds);
  std::string for_people;
  fields.Read("unit", for_people);
  fields.Read("description", for_people);
  if (Node* fallback = fields.Take("default")) {
    Value value;
    if (reader.Read(*fallback, value)) {
      if (param.type == Type::kEnum && value.is_scalar())
        value = Value(std::string(fallback->text));
      const std::string problem = core::CheckParam(param, value);
      if (problem.empty()) {
        param.fallback = std::move(value);
      } else {
        reader.Error(code::kBadDefault, fallback->place, "\"default\" " + problem);
      }
    }
  }
  fields.Finish();
  return param;
}

void ReadParamFiles(Reader& reader, Node& node, core::ParamsSpec& params) {
  if (node.is_list()) {
    reader.ReadLiterals(node, params.files);
  } else if (std::string file; reader.ReadLiteral(node, file)) {
    params.files.push_back(std::move(file));
  }
}

void ReadParams(Reader& reader, Node& node, core::ParamsSpec& params) {
  Fields fields(reader, node, "\"params\"");
  if (Node* file = fields.Take("file")) ReadParamFiles(reader, *file, params);
  std::string overrides;
  fields.ReadWord("overrides", overrides, {"any", "experiment"});
  params.experiment_only = overrides == "experiment";
  if (Node* schema = fields.Take("schema")) {
    if (CheckNamedMap(reader, *schema, "schema")) {
      for (size_t i = 0; i < schema->member_count(); ++i) {
        params.schema.push_back(ReadParam(reader, schema->key(i), schema->value(i)));
      }
    }
  }
  fields.Finish();
}

// --- materials ---

void ReadCsv(Reader& reader, Node& node, core::CsvFormat& csv) {
  Fields fields(reader, node, "\"csv\"");
  fields.ReadWord("encoding", csv.encoding, {"utf-8", "latin-1", "windows-1252", "utf-16"});
  if (fields.Read("delimiter", csv.delimiter) && csv.delimiter.size() != 1) {
    reader.Error(code::kOutOfRange, fields.PlaceOf("delimiter"),
                 "\"delimiter\" must be one character");
  }
  fields.Read("header", csv.header);
  if (Node* columns = fields.Take("columns");
      columns != nullptr && CheckNamedMap(reader, *columns, "columns")) {
    for (size_t i = 0; i < columns->member_count(); ++i) {
      const std::string column(columns->key(i).text);
      reader.SetKey(columns->key(i).text);
      reader.ReadWord(columns->value(i), csv.columns[column],
                      {"int", "float", "text", "bool", "date", "timestamp"});
    }
  }
  fields.Finish();
}

void ReadGit(Fields& fields, core::MaterialSpec& material) {
  std::string repo;
  fields.Read("git", repo);
  if (fields.Read("path", material.path)) {
    material.kind = core::MaterialSpec::Kind::kGitPath;
    material.location = repo;
    fields.Read("ref", material.ref);
    return;
  }
  material.kind = core::MaterialSpec::Kind::kGit;
  if (!repo.empty() && repo != ".") {
    fields.reader().Error(code::kMissingKey, fields.PlaceOf("git"),
                          fields.where() + " is in another repository and needs `path`", "",
                          "`path` is a file or a folder of it; `path: .` is all of it");
  }
  fields.Read("branch", material.branch);
}

// Says what is wrong with a place that data comes from, or "".
std::string ProblemOfPlace(const core::MaterialSpec& material) {
  const std::string& location = material.location;
  const size_t scheme = location.find("://");
  if (scheme == std::string::npos) return "";
  const std::string kind = location.substr(0, scheme);
  static const Words kSchemes = {"file", "http", "https", "s3"};
  if (std::find(kSchemes.begin(), kSchemes.end(), kind) == kSchemes.end()) {
    return "data cannot come from " + kind + "://" +
           DidYouMean(kind, std::vector<std::string>(kSchemes.begin(), kSchemes.end()));
  }
  if (kind == "file") return "";
  if (location.substr(0, location.find_first_of("/?#", scheme + 3)).find('@') != std::string::npos) {
    return "the URL holds a user or a password; credentials belong to the daemon";
  }
  if (kind != "s3" && !material.pattern.empty()) return "a URL is one file and has no `pattern`";
  return "";
}

void ReadData(Fields& fields, core::MaterialSpec& material) {
  fields.Read("data", material.location);
  fields.Read("pattern", material.pattern);
  if (const std::string problem = ProblemOfPlace(material); !problem.empty() && !core::HasTemplate(material.location)) {
    fields.reader().Error(code::kBadSource, fields.PlaceOf("data"), problem);
  }
  fields.NotYet("keep", code::kNoReference);
}

void ReadDvc(Fields& fields, core::MaterialSpec& material) {
  material.kind = core::MaterialSpec::Kind::kDvc;
  fields.Read("dvc", material.location);
  fields.Read("out", material.output);
  const bool is_lock = material.location == "dvc.lock" || material.location.ends_with("/dvc.lock");
  if (core::HasTemplate(material.location)) return;
  if (!is_lock && !material.location.ends_with(".dvc")) {
    fields.reader().Error(code::kBadSource, fields.PlaceOf("dvc"), "\"dvc\" names a .dvc file or a dvc.lock");
  } else if (is_lock && material.output.empty()) {
    fields.reader().Error(code::kMissingKey, fields.PlaceOf("dvc"), fields.where() + " needs `out`: a dvc.lock has many");
  }
}

void ReadUpstream(Fields& fields, core::MaterialSpec& material) {
  material.kind = core::MaterialSpec::Kind::kPipeline;
  fields.Read("pipeline", material.location);
  fields.ReadNeeded("stage", material.output);
  if (std::string output; fields.Read("output", output)) material.output += "." + output;
  fields.Read("environment", material.environment);
  fields.Read("consistent", material.consistent);
}

core::MaterialSpec ReadMaterial(Reader& reader, const std::string& name, const Node& key,
                                Node& node) {
  core::MaterialSpec material{.name = name, .place = key.place};
  Fields fields(reader, node, "material", name);
  static constexpr std::pair<const char*, void (*)(Fields&, core::MaterialSpec&)> kForms[] = {
      {"git", ReadGit}, {"data", ReadData}, {"dvc", ReadDvc}, {"pipeline", ReadUpstream}};
  int forms = 0;
  for (const auto& [form, read] : kForms) {
    if (!fields.Has(form)) continue;
    if (++forms == 1) read(fields, material);
  }
  if (node.is_map() && forms != 1) {
    reader.Error(code::kConflict, key.place,
                 fields.where() + " needs one of git, data, dvc and pipeline");
    return material;
  }
  if (material.kind != core::MaterialSpec::Kind::kGit) {
    if (Node* csv = fields.Take("csv")) ReadCsv(reader, *csv, material.csv.emplace());
  }
  fields.Read("at", material.at);
  fields.Finish();
  return material;
}

void ReadPolicy(Reader& reader, Node& node, core::ConcurrencyPolicy& policy) {
  std::string word;
  if (reader.ReadWord(node, word, {"queue", "latest", "cancel"})) {
    policy = *core::ParseConcurrencyPolicy(word);
  }
}

void ReadConcurrency(Reader& reader, Node& node, core::ConcurrencySpec& concurrency) {
  if (!node.is_map()) return ReadPolicy(reader, node, concurrency.policy);
  Fields fields(reader, node, "\"concurrency\"");
  fields.Read("group", concurrency.group);
  if (Node* policy = fields.Take("policy")) ReadPolicy(reader, *policy, concurrency.policy);
  fields.Read("limit", concurrency.limit, Range{1, 10'000});
  fields.Finish();
}

core::EnvironmentSpec ReadEnvironment(Reader& reader, const std::string& name, const Node& key,
                                      Node& node) {
  core::EnvironmentSpec environment{.name = name, .place = key.place};
  Fields fields(reader, node, "environment", name);
  fields.Read("target", environment.target);
  if (Node* lanes = fields.Take("lanes")) reader.ReadLiterals(*lanes, environment.lanes);
  bool locks = true;
  if (fields.Read("lock", locks) && !locks) {
    reader.NotYet(code::kNoUnlocked, fields.PlaceOf("lock"), "lock: false");
  }
  if (Node* approval = fields.Take("approval"); approval != nullptr && approval->text != "never") {
    reader.NotYet(code::kNoApproval, approval->place, "approval");
  }
  if (Node* policy = fields.Take("concurrency")) {
    ReadPolicy(reader, *policy, environment.concurrency);
  }
  std::string mixed;
  fields.ReadWord("mixed", mixed, {"allow", "refuse"});
  environment.refuses_mixed = mixed == "refuse";
  fields.NotYet("windows", code::kNoWindows);
  fields.Finish();
  return environment;
}

// Texts as they are: empty ones too, and without templates.
void ReadFiles(Reader& reader, Node& node, std::map<std::string, std::string>& files) {
  if (!CheckNamedMap(reader, node, "files")) return;
  for (size_t i = 0; i < node.member_count(); ++i) {
    const Node& text = node.value(i);
    if (text.kind != Node::Kind::kQuoted) reader.WrongType(text, "a text in quotes");
    files.emplace(node.key(i).text, text.text);
  }
}

// Rules that a policy of the server added to gates, in what a run keeps.
void ReadRequired(Reader& reader, Node& node, std::vector<core::StageSpec>& stages) {
  if (!CheckNamedMap(reader, node, "required")) return;
  for (size_t i = 0; i < node.member_count(); ++i) {
    const auto stage = std::find_if(stages.begin(), stages.end(),
                                    [&](const core::StageSpec& one) { return one.name == node.key(i).text; });
    if (stage == stages.end() || !core::IsGate(stage->kind)) {
      reader.Error(code::kUnknownStage, node.key(i).place, core::Quoted(node.key(i).text) + " is no gate of this pipeline");
      continue;
    }
    ReadRules(reader, node.value(i), *stage, true);
  }
}

void ReadDefaults(Reader& reader, Node& node, StageDefaults& defaults) {
  Fields fields(reader, node, "\"defaults\"");
  reader.NoteNames(&defaults.names);
  ReadStageDefaults(fields, defaults);
  reader.NoteNames(nullptr);
  fields.Finish();
}

}  // namespace

core::PipelineSpec ReadPipeline(Reader& reader, Node& root) {
  core::PipelineSpec spec;
  StageDefaults defaults;
  Fields top(reader, root, "the definition");
  ReadFormat(top);
  if (Node* name = top.Need("pipeline")) reader.ReadName(*name, spec.name);
  top.Read("group", spec.group);
  top.Read("description", spec.description);
  if (Node* labels = top.Take("labels")) reader.ReadLiterals(*labels, spec.labels);
  if (Node* triggers = top.Take("triggers")) ReadTriggers(reader, *triggers, spec.triggers);
  if (Node* params = top.Take("params")) ReadParams(reader, *params, spec.params);
  reader.SetParams(spec.params);
  top.Read("priority", spec.priority, Range{-100, 100});
  if (Node* concurrency = top.Take("concurrency")) {
    spec.concurrency.group = spec.name;
    ReadConcurrency(reader, *concurrency, spec.concurrency);
  }
  if (Node* materials = top.Take("materials")) {
    ForEachNamed(reader, *materials, "materials",
                 [&](const std::string& name, const Node& key, Node& value) {
                   spec.materials.push_back(ReadMaterial(reader, name, key, value));
                 });
  }
  if (Node* environments = top.Take("environments")) {
    ForEachNamed(reader, *environments, "environments",
                 [&](const std::string& name, const Node& key, Node& value) {
                   spec.environments.push_back(ReadEnvironment(reader, name, key, value));
                 });
  }
  if (Node* node = top.Take("defaults")) ReadDefaults(reader, *node, defaults);
  if (Node* stages = top.Need("stages")) {
    ForEachNamed(reader, *stages, "stages",
                 [&](const std::string& name, const Node& key, Node& value) {
                   spec.stages.push_back(ReadMatrix(reader, name, key, value, defaults));
                 });
  }
  if (Node* files = top.Take("files")) ReadFiles(reader, *files, spec.files);
  if (Node* required = top.Take("required")) ReadRequired(reader, *required, spec.stages);
  top.NotYet("for_each", code::kNoForEach);
  top.NotYet("secrets", code::kNoSecrets);
  top.NotYet("retention", code::kNoRetention);
  top.NotYet("notify", code::kNoNotify);
  top.Finish();
  return spec;
}

}  // namespace cd4ml::yaml
