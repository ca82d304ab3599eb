// dvc.yaml, stage by stage. What DVC computes when it runs (foreach, matrix, vars) is computed here; scalars of parameter
// files in a command become the variables that a stage sees, so that an override reaches the command.
#include "cli/import_dvc.h"

#include <algorithm>
#include <optional>
#include <set>

#include "cd4ml/base/status.h"
#include "cd4ml/base/text.h"
#include "cd4ml/core/dvc.h"

namespace cd4ml::cli {
namespace {

using Map = Value::Map;
using List = Value::List;

constexpr std::string_view kParamsFile = "params.yaml";

// Returns JSON text, which YAML reads as the same.
std::string Quoted(const std::string& text) { return ToJson(Value(text)); }

// Returns `text` as a name: "train@US.v1" becomes "train-us-v1".
std::string NameOf(std::string_view text) {
  std::string name;
  for (const char c : text) {
    const char lower = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    const bool is_kept = std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
    if (is_kept) name.push_back(lower);
    if (!is_kept && !name.empty() && name.back() != '-') name.push_back('-');
  }
  while (name.ends_with('-') || name.ends_with('_')) name.pop_back();
  if (name.size() > 60) name.resize(60);
  return name.empty() ? "x" : name;
}

// Returns a name for `path` that is not in `taken`, and adds it.
std::string FreshName(const std::string& path, std::set<std::string>& taken) {
  const std::string base = NameOf(path.substr(path.rfind('/') + 1));
  std::string name = base;
  for (int i = 2; !taken.insert(VariableName(name)).second; ++i) name = base + "-" + std::to_string(i);
  return name;
}

bool IsExternal(std::string_view path) { return path.starts_with('/') || path.find("://") != std::string_view::npos; }

// Returns `wdir`/`path` without "." and ".."; nullopt when it leads out of the repository.
std::optional<std::string> JoinPath(const std::string& wdir, const std::string& path) {
  if (IsExternal(path)) return std::nullopt;
  std::vector<std::string> parts;
  std::string rest = wdir + "/" + path;
  for (size_t begin = 0; begin <= rest.size();) {
    const size_t end = std::min(rest.find('/', begin), rest.size());
    const std::string part = rest.substr(begin, end - begin);
    begin = end + 1;
    if (part.empty() || part == ".") continue;
    if (part == ".." && parts.empty()) return std::nullopt;
    part == ".." ? parts.pop_back() : parts.push_back(part);
  }
  std::string joined;
  for (const std::string& part : parts) joined += (joined.empty() ? "" : "/") + part;
  return joined;
}

bool IsWithin(std::string_view path, std::string_view folder) {
  return path.size() > folder.size() && path.starts_with(folder) && path[folder.size()] == '/';
}

struct Out {
  std::string path, name;
  bool is_metric = false, is_cached = true, is_report = false;
};

struct Stage {
  std::string dvc_name, name, desc, wdir, run;
  std::vector<std::string> deps, params;
  std::vector<Out> outs;
  bool is_frozen = false, is_always_changed = false;
};

class Importer {
 public:
  Importer(const PipelineParser& parser, const ReadRepoFile& read) : parser_(parser), read_(read) {}

  absl::StatusOr<DvcImport> Import(const std::string& pipeline) {
    CD4ML_ASSIGN_OR_RETURN(Value file, ReadYaml("dvc.yaml"));
    if (absl::StatusOr<Value> params = ReadYaml(std::string(kParamsFile)); params.ok()) {
      params_[std::string(kParamsFile)] = *std::move(params);
    } else if (!absl::IsNotFound(params.status())) {
      return params.status();
    }
    if (!file.is_map()) return absl::InvalidArgumentError("dvc.yaml is no map");
    for (const auto& [key, value] : file.map()) {
      if (key == "stages" || key == "vars") continue;
      if (key == "metrics" || key == "plots" || key == "params" || key == "artifacts") {
        Note("`" + key + "` at the top only shows files; the stages that write them keep them");
      } else {
        Refuse("`" + key + "`", "it has no equal here; make it a stage or a material");
      }
    }
    if (const Value* vars = file.Find("vars")) ReadVars(*vars, vars_, "`vars`");
    if (const Value* stages = file.Find("stages"); stages != nullptr && stages->is_map()) {
      for (const auto& [name, stage] : stages->map()) Expand(name, stage);
    }
    if (stages_.empty() && result_.refused.empty()) Refuse("dvc.yaml", "it has no stages");
    std::set<std::string> names;
    for (const Stage& stage : stages_) {
      if (!names.insert(VariableName(stage.name)).second) {
        Refuse("stage `" + stage.dvc_name + "`", "another one is also called " + stage.name + " here; rename one");
      }
    }
    if (result_.refused.empty()) Write(pipeline);
    return std::move(result_);
  }

 private:
  void Refuse(const std::string& what, const std::string& why) { result_.refused.push_back(what + ": " + why); }
  void Note(const std::string& text) { result_.notes.push_back(text); }

  absl::StatusOr<Value> ReadYaml(const std::string& path) {
    CD4ML_ASSIGN_OR_RETURN(const std::string text, read_(path));
    return parser_.ParseParams(text, path);
  }

  // --- values that DVC puts into text ---

  // Adds what a list of `vars` says: maps, or files with parameters.
  void ReadVars(const Value& vars, Map& into, const std::string& where) {
    if (!vars.is_list()) return Refuse(where, "it is no list");
    for (const Value& entry : vars.list()) {
      if (entry.is_map()) {
        for (const auto& [name, value] : entry.map()) into[name] = value;
        continue;
      }
      std::string path = ToText(entry);
      if (path.find(':') != std::string::npos) {
        Refuse(where, "parts of a file (" + path + ") are not read; name the whole file");
        continue;
      }
      const absl::StatusOr<Value> file = ReadYaml(path);
      if (!file.ok() || !file->is_map()) {
        Refuse(where, path + " cannot be read" + (file.ok() ? "" : ": " + Message(file.status())));
        continue;
      }
      for (const auto& [name, value] : file->map()) into[name] = value;
    }
  }

  struct Context {
    Map local;                          // item, key, and the stage's own vars.
    std::string stage;
    std::set<std::string> used;         // Parameters that became variables.
  };

  // Returns the value of `${name}`; `is_param`: it comes from params.yaml.
  const Value* Find(const Context& context, const std::string& name, bool& is_param) const {
    is_param = false;
    std::string path;
    // item[0] is not read; item.x is.
    for (const Map* map : {&context.local, &vars_}) {
      const Value* const found = FindIn(*map, name);
      if (found != nullptr) return found;
    }
    const auto params = params_.find(kParamsFile);
    if (params == params_.end()) return nullptr;
    is_param = true;
    return params->second.FindPath(name);
  }
  static const Value* FindIn(const Map& map, const std::string& name) {
    const size_t dot = name.find('.');
    const auto found = map.find(name.substr(0, dot));
    if (found == map.end()) return nullptr;
    return dot == std::string::npos ? &found->second : found->second.FindPath(name.substr(dot + 1));
  }

  // Replaces every ${name}. In a command, scalars of params.yaml become variables.
  std::string Fill(const std::string& text, Context& context, bool is_command) {
    std::string filled;
    for (size_t i = 0; i < text.size(); ++i) {
      if (text.compare(i, 3, "\\${") == 0) {
        filled += "${";
        i += 2;
        continue;
      }
      if (text.compare(i, 2, "${") != 0) {
        filled.push_back(text[i]);
        continue;
      }
      const size_t end = text.find('}', i);
      std::string name = end == std::string::npos ? "" : text.substr(i + 2, end - i - 2);
      std::erase(name, ' ');
      bool is_param = false;
      const Value* value = Find(context, name, is_param);
      if (value == nullptr || !value->is_scalar()) {
        Refuse("stage `" + context.stage + "`", "${" + name + "} is " +
               (value == nullptr ? "not known" : "a list or a map, which has no text of its own here") + "; write it out");
        return filled;
      }
      if (is_param && is_command) {
        context.used.insert(name);
        filled += "${CD4ML_PARAM_" + VariableName(name) + "}";
      } else {
        if (is_param) Note("stage `" + context.stage + "`: ${" + name + "} in a path was replaced by what params.yaml says now");
        filled += ToText(*value);
      }
      i = end;
    }
    return filled;
  }

  // Returns what `foreach` or a dimension of `matrix` goes over, which may be a name: "${models}".
  const Value* Resolve(const Value& value, const Context& context) {
    if (!value.is_string()) return &value;
    const std::string& text = value.string();
    if (!text.starts_with("${") || !text.ends_with('}')) return &value;
    bool is_param = false;
    const Value* found = Find(context, text.substr(2, text.size() - 3), is_param);
    if (found == nullptr) Refuse("stage `" + context.stage + "`", text + " is not known; write it out");
    return found;
  }

  // --- stages ---

  void Expand(const std::string& name, const Value& stage) {
    Context context{.local = {}, .stage = name, .used = {}};
    if (!stage.is_map()) return Refuse("stage `" + name + "`", "it is no map");
    if (const Value* foreach = stage.Find("foreach")) {
      const Value* each = Resolve(*foreach, context);
      const Value* body = stage.Find("do");
      if (each == nullptr) return;
      if (body == nullptr) return Refuse("stage `" + name + "`", "`foreach` without `do`");
      if (each->is_list()) {
        for (const Value& item : each->list()) {
          // DVC numbers entries that have no text of their own.
          const std::string key = item.is_scalar() ? ToText(item) : std::to_string(&item - each->list().data());
          ReadOne(name + "@" + key, *body, {{"item", item}});
        }
      } else if (each->is_map()) {
        for (const auto& [key, item] : each->map()) ReadOne(name + "@" + key, *body, {{"key", key}, {"item", item}});
      } else {
        Refuse("stage `" + name + "`", "`foreach` needs a list or a map");
      }
      return;
    }
    if (const Value* matrix = stage.Find("matrix")) return ExpandMatrix(name, stage, *matrix, context);
    ReadOne(name, stage, {});
  }

  void ExpandMatrix(const std::string& name, const Value& stage, const Value& matrix, Context& context) {
    if (!matrix.is_map()) return Refuse("stage `" + name + "`", "`matrix` is no map");
    std::vector<std::pair<std::string, Map>> cells = {{"", {}}};
    for (const auto& [dimension, asked] : matrix.map()) {
      const Value* values = Resolve(asked, context);
      if (values == nullptr) return;
      if (!values->is_list()) return Refuse("stage `" + name + "`", "`matrix." + dimension + "` is no list");
      std::vector<std::pair<std::string, Map>> more;
      for (const auto& [suffix, cell] : cells) {
        for (const Value& value : values->list()) {
          const std::string key = value.is_scalar() ? ToText(value)
                                                    : dimension + std::to_string(&value - values->list().data());
          Map next = cell;
          next[dimension] = value;
          more.emplace_back(suffix + (suffix.empty() ? "" : "-") + key, std::move(next));
        }
      }
      cells = std::move(more);
    }
    Map body = stage.map();
    body.erase("matrix");
    for (auto& [suffix, cell] : cells) ReadOne(name + "@" + suffix, Value(body), {{"item", Value(std::move(cell))}});
  }

  void ReadOne(const std::string& name, const Value& body, Map local) {
    Context context{.local = std::move(local), .stage = name, .used = {}};
    if (!body.is_map()) return Refuse("stage `" + name + "`", "it is no map");
    if (const Value* vars = body.Find("vars")) ReadVars(*vars, context.local, "`vars` of stage `" + name + "`");
    Stage stage{.dvc_name = name, .name = NameOf(name)};
    if (const Value* wdir = body.Find("wdir")) {
      const auto joined = JoinPath("", Fill(ToText(*wdir), context, false));
      if (!joined) return Refuse("`wdir` of stage `" + name + "`", "it lies outside of the repository");
      stage.wdir = *joined;
    }
    for (const auto& [key, value] : body.map()) ReadKey(key, value, context, stage);
    if (stage.run.empty()) Refuse("stage `" + name + "`", "it has no `cmd`");
    for (const std::string& param : context.used) AddOnce(stage.params, param);
    stages_.push_back(std::move(stage));
  }

  static void AddOnce(std::vector<std::string>& list, const std::string& text) {
    const bool is_there = std::any_of(list.begin(), list.end(), [&](const std::string& known) {
      return known == text || (text.starts_with(known) && text[known.size()] == '.');
    });
    if (!is_there) list.push_back(text);
  }

  void ReadKey(const std::string& key, const Value& value, Context& context, Stage& stage) {
    const std::string where = "`" + key + "` of stage `" + context.stage + "`";
    if (key == "vars" || key == "wdir") return;
    if (key == "cmd") {
      if (value.is_list()) {
        for (const Value& line : value.list()) stage.run += Fill(ToText(line), context, true) + '\n';
      } else {
        stage.run = Fill(ToText(value), context, true) + '\n';
      }
    } else if (key == "desc") {
      stage.desc = ToText(value);
    } else if (key == "deps") {
      ReadDeps(value, where, context, stage);
    } else if (key == "outs" || key == "metrics" || key == "plots") {
      ReadOuts(key, value, where, context, stage);
    } else if (key == "params") {
      ReadParams(value, where, context, stage);
    } else if (key == "frozen") {
      stage.is_frozen = value == Value(true);
    } else if (key == "always_changed") {
      stage.is_always_changed = value == Value(true);
    } else if (key == "meta") {
      Note(where + " says nothing about how it runs and was left out");
    } else {
      Refuse(where, "it has no equal here");
    }
  }

  void ReadDeps(const Value& value, const std::string& where, Context& context, Stage& stage) {
    if (!value.is_list()) return Refuse(where, "it is no list");
    for (const Value& entry : value.list()) {
      const std::string text = Fill(entry.is_map() && !entry.map().empty() ? entry.map().begin()->first : ToText(entry), context, false);
      const auto path = JoinPath(stage.wdir, text);
      if (path) {
        stage.deps.push_back(*path);
      } else if (text.find("://") != std::string::npos) {
        Refuse(where, text + " is no file of the repository; add it to the definition as a material: {data: \"" + text + "\"}");
      } else {
        Refuse(where, text + " lies outside of the repository; add it to the definition as a material: {data: PATH}");
      }
    }
  }

  void ReadOuts(const std::string& key, const Value& value, const std::string& where, Context& context, Stage& stage) {
    if (!value.is_list()) return Refuse(where, "it is no list");
    for (const Value& entry : value.list()) {
      const bool has_flags = entry.is_map() && !entry.map().empty();
      const std::string text = Fill(has_flags ? entry.map().begin()->first : ToText(entry), context, false);
      const Value flags = has_flags ? entry.map().begin()->second : Value();
      const auto path = JoinPath(stage.wdir, text);
      if (!path || path->empty()) {
        Refuse(where, text + " lies outside of the repository; a stage writes below its work directory");
        continue;
      }
      Out out{.path = *path, .name = {}, .is_metric = key == "metrics"};
      out.is_report = key != "outs";
      if (const Value* cache = flags.Find("cache")) out.is_cached = *cache != Value(false);
      if (flags.Find("persist") != nullptr && *flags.Find("persist") != Value(false)) {
        Refuse(where, text + " has `persist`: what a stage writes would depend on what an earlier run left behind, and a work "
                      "directory here is always clean; read the old result as an input of its own, or drop `persist`");
      }
      if (out.is_metric && !out.path.ends_with(".json")) {
        Refuse(where, text + " is no JSON file, the one form of metrics that is read as it is; write JSON, or declare it as an "
                      "out and give the stage {file, name, pattern}");
      }
      stage.outs.push_back(std::move(out));
    }
  }

  void ReadParams(const Value& value, const std::string& where, Context& context, Stage& stage) {
    if (!value.is_list()) return Refuse(where, "it is no list");
    for (const Value& entry : value.list()) {
      if (!entry.is_map()) {
        NeedParams(std::string(kParamsFile), where);
        AddOnce(stage.params, Fill(ToText(entry), context, false));
        continue;
      }
      for (const auto& [file, names] : entry.map()) {
        const std::string path = Fill(file, context, false);
        NeedParams(path, where);
        if (names.is_list()) {
          for (const Value& name : names.list()) AddOnce(stage.params, Fill(ToText(name), context, false));
        } else if (const auto known = params_.find(path); known != params_.end() && known->second.is_map()) {
          for (const auto& [name, ignored] : known->second.map()) AddOnce(stage.params, name);
        }
      }
    }
  }

  // Makes `path` one of the parameter files.
  void NeedParams(const std::string& path, const std::string& where) {
    needed_params_.insert(path);
    if (params_.contains(path)) return;
    const absl::StatusOr<Value> file = ReadYaml(path);
    if (!file.ok()) return Refuse(where, path + " cannot be a parameter file here: " + Message(file.status()));
    for (const auto& [other, values] : params_) {
      for (const auto& [name, value] : Flatten(*file)) {
        const Value* theirs = needed_params_.contains(other) ? values.FindPath(name) : nullptr;
        if (theirs != nullptr && *theirs != value) {
          Refuse(where, name + " is in " + path + " and, with another value, in " + other + "; a name has one value here");
        }
      }
    }
    params_[path] = *file;
  }

  // --- writing ---

  struct Material {
    std::string name, text;
  };

  void Line(int indent, const std::string& text) {
    result_.definition += std::string(static_cast<size_t>(indent), ' ') + text + '\n';
  }

  // Returns the name of the material at `path` of the repository, which `source` gives.
  std::string AddMaterial(const std::string& path, const std::string& source) {
    const auto known = materials_.find(path);
    if (known != materials_.end()) return known->second.name;
    const std::string name = FreshName(path, material_names_);
    materials_[path] = {name, "{dvc: " + source + ", at: " + Quoted(path) + "}"};
    return name;
  }

  // Finds the .dvc file that `path`, or a folder that it lies in, is tracked by; "" when git has it.
  std::string TrackedBy(const std::string& path) {
    for (std::string above = path; !above.empty();) {
      if (read_(above + ".dvc").ok()) return above;
      const size_t slash = above.rfind('/');
      above = slash == std::string::npos ? "" : above.substr(0, slash);
    }
    return "";
  }

  // What a frozen stage made stands in dvc.lock: it becomes data.
  bool UseLocked(const Stage& stage) {
    absl::StatusOr<Value> lock = ReadYaml("dvc.lock");
    const auto outs = lock.ok() ? core::ReadDvcPointer(*lock, "dvc.lock")
                                : absl::StatusOr<std::vector<core::DvcOut>>(lock.status());
    for (const Out& out : stage.outs) {
      if (!out.is_cached) continue;   // git has it.
      const auto locked = outs.ok() ? core::ChooseDvcOut(*outs, out.path, "dvc.lock")
                                    : absl::StatusOr<core::DvcOut>(outs.status());
      if (!locked.ok()) {
        Refuse("`frozen` of stage `" + stage.dvc_name + "`", Message(locked.status()) + "; run `dvc repro` once, or unfreeze it");
        return false;
      }
      AddMaterial(out.path, "dvc.lock, out: " + Quoted(out.path));
    }
    Note("stage `" + stage.dvc_name + "` is frozen: what dvc.lock says of it is data here, and its command is not run");
    return true;
  }

  void Write(const std::string& pipeline) {
    std::vector<Stage> active;
    for (Stage& stage : stages_) {
      if (!stage.is_frozen) {
        active.push_back(std::move(stage));
      } else if (!UseLocked(stage)) {
        return;
      }
    }
    std::map<std::string, std::string> sources;     // Path -> "stage.output".
    for (Stage& stage : active) {
      std::set<std::string> names;
      for (Out& out : stage.outs) {
        out.name = FreshName(out.path, names);
        if (!sources.emplace(out.path, stage.name + "." + out.name).second) {
          Refuse("stage `" + stage.dvc_name + "`", out.path + " is written by another stage too");
        }
      }
    }
    std::string stages;
    std::swap(stages, result_.definition);
    for (const Stage& stage : active) WriteStage(stage, sources);
    std::swap(stages, result_.definition);
    Line(0, "# Made by `cd4ml import dvc` from dvc.yaml. Commands run under `bash -euo pipefail` in a clean checkout.");
    Line(0, "format: 1");
    Line(0, "pipeline: " + pipeline);
    if (!needed_params_.empty()) {
      std::vector<std::string> files;
      for (const std::string& file : needed_params_) files.push_back(Quoted(file));
      Line(0, "params:");
      Line(2, "file: [" + Joined(files) + "]");
    }
    if (!materials_.empty()) {
      Line(0, "materials:");
      for (const auto& [path, material] : materials_) Line(2, material.name + ": " + material.text);
    }
    Line(0, "stages:");
    result_.definition += stages;
  }

  static std::string Joined(const std::vector<std::string>& parts) {
    std::string joined;
    for (const std::string& part : parts) joined += (joined.empty() ? "" : ", ") + part;
    return joined;
  }

  void WriteStage(const Stage& stage, const std::map<std::string, std::string>& sources) {
    if (!stage.desc.empty()) {
      std::string desc = stage.desc;
      std::replace(desc.begin(), desc.end(), '\n', ' ');
      Line(2, "# " + desc);
    }
    Line(2, stage.name + ":");
    std::map<std::string, std::string> inputs;     // Source -> name.
    std::vector<std::string> code;
    std::set<std::string> names;
    const auto add = [&](const std::string& source, const std::string& path) {
      if (!inputs.contains(source)) inputs[source] = FreshName(path, names);
    };
    for (const std::string& dep : stage.deps) {
      bool is_found = false;
      for (const auto& [path, source] : sources) {
        if (path == dep || IsWithin(dep, path) || IsWithin(path, dep)) {
          add(source, path);
          is_found = is_found || path == dep || IsWithin(dep, path);
        }
      }
      for (const auto& [path, material] : materials_) {
        if (path == dep || IsWithin(dep, path)) {
          add(material.name, path);
          is_found = true;
        }
      }
      if (is_found) continue;
      if (const std::string tracked = TrackedBy(dep); !tracked.empty()) {
        add(AddMaterial(tracked, Quoted(tracked + ".dvc")), tracked);
      } else {
        code.push_back(Quoted(read_(dep).ok() ? dep : dep + "/**"));
      }
    }
    if (!inputs.empty()) {
      Line(4, "inputs:");
      for (const auto& [source, name] : inputs) Line(6, name + ": " + source);
    }
    if (!code.empty()) Line(4, "code: [" + Joined(code) + "]");
    if (!stage.params.empty()) {
      std::vector<std::string> params;
      for (const std::string& param : stage.params) params.push_back(Quoted(param));
      Line(4, "params: [" + Joined(params) + "]");
    }
    WriteRun(stage);
    if (stage.outs.empty()) return;
    Line(4, "outputs:");
    std::vector<std::string> metrics;
    for (const Out& out : stage.outs) {
      Line(6, out.name + ": {path: " + Quoted(out.path) + (out.is_report ? ", type: report}" : "}"));
      if (out.is_metric) metrics.push_back(Quoted(out.path));
    }
    if (!metrics.empty()) Line(4, "metrics: [" + Joined(metrics) + "]");
  }

  void WriteRun(const Stage& stage) {
    if (stage.is_always_changed) Line(4, "cache: never");
    Line(4, "run: |");
    for (const Out& out : stage.outs) {
      // git has an old one, which must not pass for a new one; DVC removes it too.
      if (!out.is_cached) Line(6, "rm -rf -- " + Quoted(out.path));
    }
    if (!stage.wdir.empty()) Line(6, "cd -- " + Quoted(stage.wdir));
    std::string rest = stage.run.substr(stage.run.find_first_not_of(" \t\n"));
    while (!rest.empty()) {
      const size_t end = std::min(rest.find('\n'), rest.size());
      if (end > 0) Line(6, rest.substr(0, end));
      rest.erase(0, end + 1);
    }
  }

  const PipelineParser& parser_;
  const ReadRepoFile& read_;
  DvcImport result_;
  Map vars_;
  std::map<std::string, Value, std::less<>> params_;   // By file; params.yaml whenever there is one.
  std::set<std::string> needed_params_;                // Of them, what a stage depends on.
  std::vector<Stage> stages_;
  std::map<std::string, Material> materials_;          // By where they lie.
  std::set<std::string> material_names_;
};

}  // namespace

absl::StatusOr<DvcImport> ImportDvc(const std::string& pipeline, const PipelineParser& parser, const ReadRepoFile& read) {
  return Importer(parser, read).Import(pipeline);
}

}  // namespace cd4ml::cli
