// dvc.yaml, stage by stage. What DVC computes when it runs (foreach, matrix, vars) is computed here; scalars of parameter
// files in a command become the variables that a stage sees, so that an override reaches the command.
#include "cli/import_dvc.h"

#include <algorithm>
#include <optional>
#include <set>

#include "cd4ml/base/status.h"
#include "cd4ml/base/text.h"
#include "cd4ml/core/dvc.h"
#include "cli/shell_text.h"

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

std::string Folder(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

bool IsWithin(std::string_view path, std::string_view folder) {
  return path.size() > folder.size() && path.starts_with(folder) && path[folder.size()] == '/';
}

bool Touches(std::string_view a, std::string_view b) { return a == b || IsWithin(a, b) || IsWithin(b, a); }

// Returns a pattern that only `path` matches.
std::string Literal(const std::string& path) {
  std::string pattern;
  for (const char c : path) pattern += (std::string_view("*?[\\").find(c) == std::string_view::npos ? "" : "\\") + std::string(1, c);
  return pattern;
}

// Returns a command without the blank lines around it.
std::string Trimmed(const std::string& text) {
  const size_t begin = text.find_first_not_of(" \t\n");
  return begin == std::string::npos ? "" : text.substr(begin, text.find_last_not_of('\n') + 1 - begin);
}

struct Out {
  std::string path, name;
  bool is_metric = false, is_cached = true, is_report = false;
};

struct Stage {
  std::string dvc_name, name, desc, wdir, run;
  std::vector<std::string> deps, params, metrics;
  std::vector<Out> outs;
  bool is_frozen = false, is_always_changed = false;
};

class Importer {
 public:
  Importer(const PipelineParser& parser, const DvcRepo& repo, std::string folder)
      : parser_(parser), repo_(repo), folder_(std::move(folder)) {}

  absl::StatusOr<DvcImport> Import(const std::string& pipeline) {
    CD4ML_RETURN_IF_ERROR(ReadStages());
    CD4ML_RETURN_IF_ERROR(ReadPointers());
    CD4ML_RETURN_IF_ERROR(ReadOthers());
    if (result_.refused.empty()) Write(pipeline);
    return std::move(result_);
  }

  absl::Status ReadStages() {
    CD4ML_ASSIGN_OR_RETURN(file_, ReadYaml(Here("dvc.yaml")));
    if (const absl::Status read = Load(Here(kParamsFile)); !read.ok() && !absl::IsNotFound(read)) return read;
    if (!file_.is_map()) return absl::InvalidArgumentError("dvc.yaml is no map");
    for (const auto& [key, value] : file_.map()) {
      if (key == "stages" || key == "vars" || key == "metrics") continue;
      if (key == "plots" || key == "params" || key == "artifacts") {
        Note("`" + key + "` at the top only shows files; the stages that write them keep them");
      } else {
        Refuse("`" + key + "`", "it has no equal here; make it a stage or a material");
      }
    }
    if (const Value* vars = file_.Find("vars")) ReadVars(*vars, vars_, folder_, vars_files_, "`vars`");
    vars_files_.push_back(Here(kParamsFile));
    if (const Value* stages = file_.Find("stages"); stages != nullptr && stages->is_map()) {
      for (const auto& [name, stage] : stages->map()) Expand(name, stage);
    }
    if (const Value* metrics = file_.Find("metrics")) GiveMetrics(*metrics);
    if (stages_.empty() && result_.refused.empty()) Refuse("dvc.yaml", "it has no stages");
    std::set<std::string> names;
    for (const Stage& stage : stages_) {
      if (!names.insert(VariableName(stage.name)).second) {
        Refuse("stage `" + stage.dvc_name + "`", "another one is also called " + stage.name + " here; rename one");
      }
    }
    return absl::OkStatus();
  }

 private:
  // Returns the path of what lies beside dvc.yaml.
  std::string Here(std::string_view name) const { return (folder_.empty() ? "" : folder_ + "/") + std::string(name); }

  void Refuse(const std::string& what, const std::string& why) { result_.refused.push_back(what + ": " + why); }
  void Note(const std::string& text) { result_.notes.push_back(text); }

  absl::StatusOr<Value> ReadYaml(const std::string& path) {
    CD4ML_ASSIGN_OR_RETURN(const std::string text, repo_.read(path));
    return parser_.ParseParams(text, path);
  }

  // Reads a file of parameters unless it is known.
  absl::Status Load(const std::string& path) {
    if (params_.contains(path)) return absl::OkStatus();
    CD4ML_ASSIGN_OR_RETURN(params_[path], ReadYaml(path));
    return absl::OkStatus();
  }

  // --- values that DVC puts into text ---

  // Adds what a list of `vars` says: maps, or files with parameters, which lie in `folder`.
  void ReadVars(const Value& vars, Map& into, const std::string& folder, std::vector<std::string>& files, const std::string& where) {
    if (!vars.is_list()) return Refuse(where, "it is no list");
    for (const Value& entry : vars.list()) {
      if (entry.is_map()) {
        for (const auto& [name, value] : entry.map()) into[name] = value;
        continue;
      }
      const std::string text = ToText(entry);
      if (text.find(':') != std::string::npos) {
        Refuse(where, "parts of a file (" + text + ") are not read; name the whole file");
        continue;
      }
      const auto path = JoinPath(folder, text);
      const absl::Status read = path ? Load(*path) : absl::InvalidArgumentError("it lies outside of the repository");
      if (read.ok()) {
        files.push_back(*path);
      } else {
        Refuse(where, text + " cannot be read: " + Message(read));
      }
    }
  }

  struct Context {
    Map local;                          // item, key, and the stage's own vars.
    std::vector<std::string> files;     // Of its vars.
    std::string stage;
    std::set<std::string> used;         // Parameters that became variables.
  };

  // Returns the value of `${name}`; `from`: the file of parameters that says it, "" for none.
  const Value* Find(const Context& context, const std::string& name, std::string& from) const {
    from.clear();
    // item[0] is not read; item.x is.
    for (const Map* map : {&context.local, &vars_}) {
      const Value* const found = FindIn(*map, name);
      if (found != nullptr) return found;
    }
    for (const std::vector<std::string>* files : {&context.files, &vars_files_}) {
      for (const std::string& file : *files) {
        const auto params = params_.find(file);
        const Value* const found = params == params_.end() ? nullptr : params->second.FindPath(name);
        if (found == nullptr) continue;
        from = file;
        return found;
      }
    }
    return nullptr;
  }
  static const Value* FindIn(const Map& map, const std::string& name) {
    const size_t dot = name.find('.');
    const auto found = map.find(name.substr(0, dot));
    if (found == map.end()) return nullptr;
    return dot == std::string::npos ? &found->second : found->second.FindPath(name.substr(dot + 1));
  }

  // Replaces every ${name}. In a command, scalars of parameter files become variables.
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
      std::string from;
      const Value* value = Find(context, name, from);
      if (value == nullptr || !value->is_scalar()) {
        Refuse("stage `" + context.stage + "`", "${" + name + "} is " +
               (value == nullptr ? "not known" : "a list or a map, which has no text of its own here") + "; write it out");
        return filled;
      }
      // What only this stage sees may be something else to another one; then it is no parameter.
      const bool is_own = std::find(context.files.begin(), context.files.end(), from) != context.files.end();
      if (!from.empty() && is_command && !(is_own && !WhyNoParams(from).empty())) {
        NeedParams(from, "stage `" + context.stage + "`");
        context.used.insert(name);
        filled += Variable(name, QuotingAtEnd(filled), context);
      } else {
        if (!from.empty()) {
          Note("stage `" + context.stage + "`: ${" + name + "} was replaced by what " + from + " says now; no override reaches it");
        }
        filled += ToText(*value);
      }
      i = end;
    }
    return filled;
  }

  // Returns a variable that a shell replaces, whatever the quotes in which it comes to stand.
  std::string Variable(const std::string& name, Quoting quoting, const Context& context) {
    const std::string variable = "${CD4ML_PARAM_" + VariableName(name) + "}";
    if (quoting == Quoting::kSingle) return "'\"" + variable + "\"'";
    if (quoting == Quoting::kEscapes) return "'\"" + variable + "\"$'";
    if (quoting == Quoting::kDocument) {
      Refuse("`cmd` of stage `" + context.stage + "`", "${" + name + "} stands in a here-document whose word is in quotes, where a "
             "shell replaces nothing; leave these quotes out, or let the command read the parameter file");
    }
    return variable;
  }

  // Returns what `foreach` or a dimension of `matrix` goes over, which may be a name: "${models}".
  const Value* Resolve(const Value& value, const Context& context) {
    if (!value.is_string()) return &value;
    const std::string& text = value.string();
    if (!text.starts_with("${") || !text.ends_with('}')) return &value;
    std::string from;
    const Value* found = Find(context, text.substr(2, text.size() - 3), from);
    if (found == nullptr) Refuse("stage `" + context.stage + "`", text + " is not known; write it out");
    return found;
  }

  // --- stages ---

  void Expand(const std::string& name, const Value& stage) {
    Context context{.local = {}, .files = {}, .stage = name, .used = {}};
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
    Context context{.local = std::move(local), .files = {}, .stage = name, .used = {}};
    if (!body.is_map()) return Refuse("stage `" + name + "`", "it is no map");
    Stage stage{.dvc_name = name, .name = NameOf(name), .wdir = folder_};
    if (const Value* wdir = body.Find("wdir")) {
      const auto joined = JoinPath(folder_, Fill(ToText(*wdir), context, false));
      if (!joined) return Refuse("`wdir` of stage `" + name + "`", "it lies outside of the repository");
      stage.wdir = *joined;
    }
    if (const Value* vars = body.Find("vars")) {
      ReadVars(*vars, context.local, stage.wdir, context.files, "`vars` of stage `" + name + "`");
    }
    for (const auto& [key, value] : body.map()) ReadKey(key, value, context, stage);
    if (stage.run.empty() && !stage.is_frozen) Refuse("stage `" + name + "`", "it has no `cmd`");
    for (const std::string& param : context.used) AddOnce(stage.params, param);
    stages_.push_back(std::move(stage));
  }

  // `metrics` at the top name files that stages write, also within folders.
  void GiveMetrics(const Value& metrics) {
    for (const Value& entry : metrics.is_list() ? metrics.list() : List{metrics}) {
      const std::string path = JoinPath(folder_, ToText(entry)).value_or("");
      const auto stage = std::find_if(stages_.begin(), stages_.end(), [&](const Stage& one) {
        return std::any_of(one.outs.begin(), one.outs.end(), [&](const Out& out) { return path == out.path || IsWithin(path, out.path); });
      });
      if (stage != stages_.end() && path.ends_with(".json")) {
        stage->metrics.push_back(path);
      } else {
        Note("`metrics` at the top: " + ToText(entry) + " was left out; it is no JSON file that a stage here writes");
      }
    }
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
      ReadCommand(value, context, stage);
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

  // DVC gives each entry of a list a shell of its own.
  void ReadCommand(const Value& value, Context& context, Stage& stage) {
    std::vector<std::string> commands;
    for (const Value& entry : value.is_list() ? value.list() : List{value}) {
      std::string command = Trimmed(Fill(ToText(entry), context, true));
      if (!command.empty()) commands.push_back(std::move(command));
    }
    if (commands.size() == 1) stage.run = commands.front();
    if (commands.size() == 1) return;
    for (const std::string& command : commands) stage.run += (stage.run.empty() ? "(\n" : "\n(\n") + command + "\n)";
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
      for (const char* flag : {"remote", "push"}) {
        if (flags.Find(flag) == nullptr) continue;
        Note(where + ": `" + flag + "` of " + text + " was left out; what a stage writes here is kept by cd4ml, and not by DVC");
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
        NeedParams(JoinPath(stage.wdir, std::string(kParamsFile)), where);
        AddOnce(stage.params, Fill(ToText(entry), context, false));
        continue;
      }
      for (const auto& [file, names] : entry.map()) {
        const auto path = JoinPath(stage.wdir, Fill(file, context, false));
        NeedParams(path, where);
        if (!path) continue;
        if (names.is_list()) {
          for (const Value& name : names.list()) AddOnce(stage.params, Fill(ToText(name), context, false));
        } else if (const auto known = params_.find(*path); known != params_.end() && known->second.is_map()) {
          for (const auto& [name, ignored] : known->second.map()) AddOnce(stage.params, name);
        }
      }
    }
  }

  // Makes `path` one of the parameter files; nullopt: it lies outside.
  void NeedParams(const std::optional<std::string>& path, const std::string& where) {
    if (!path) return Refuse(where, "a parameter file lies outside of the repository");
    if (needed_params_.contains(*path)) return;
    if (const absl::Status read = Load(*path); !read.ok()) {
      return Refuse(where, *path + " cannot be a parameter file here: " + Message(read));
    }
    if (const std::string why = WhyNoParams(*path); !why.empty()) Refuse(where, why);
    needed_params_.insert(*path);
  }

  // Returns why a file that is read cannot be a parameter file beside the others; "": it can.
  std::string WhyNoParams(const std::string& path) {
    for (const std::string& other : needed_params_) {
      for (const auto& [name, value] : Flatten(params_[path])) {
        const Value* theirs = params_[other].FindPath(name);
        if (theirs == nullptr || *theirs == value) continue;
        return name + " is in " + path + " and, with another value, in " + other + "; a name has one value here";
      }
    }
    return "";
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

  absl::Status ReadPointers() {
    CD4ML_ASSIGN_OR_RETURN(const std::vector<std::string> pointers, repo_.find("", ".dvc"));
    for (const std::string& pointer : pointers) {
      const absl::StatusOr<Value> value = ReadYaml(pointer);
      const auto outs = value.ok() ? core::ReadDvcPointer(*value, pointer, nullptr)
                                   : absl::StatusOr<std::vector<core::DvcOut>>(value.status());
      if (!outs.ok()) {
        tracked_[pointer.substr(0, pointer.size() - 4)].problem = Message(outs.status());
        continue;
      }
      for (const core::DvcOut& out : *outs) {
        tracked_[out.path] = {Quoted(pointer) + (outs->size() == 1 ? "" : ", out: " + Quoted(out.path)), ""};
      }
    }
    return absl::OkStatus();
  }

  // DVC joins all dvc.yaml of a repository; here each is a pipeline.
  absl::Status ReadOthers() {
    CD4ML_ASSIGN_OR_RETURN(const std::vector<std::string> pipelines, repo_.find("", "dvc.yaml"));
    for (const std::string& path : pipelines) {
      if (path == Here("dvc.yaml") || path.substr(path.rfind('/') + 1) != "dvc.yaml") continue;
      Importer other(parser_, repo_, Folder(path));
      const absl::Status read = other.ReadStages();
      Note(path + " is a pipeline of its own and was not imported" + (read.ok() ? "" : ": " + Message(read)));
      for (const Stage& stage : other.stages_) {
        for (const Out& out : stage.outs) others_[out.path] = path;
      }
    }
    return absl::OkStatus();
  }

  // What a frozen stage made stands in dvc.lock: it becomes data.
  bool UseLocked(const Stage& stage) {
    const std::string file = Here("dvc.lock");
    absl::StatusOr<Value> lock = ReadYaml(file);
    const auto outs = lock.ok() ? core::ReadDvcPointer(*lock, file, &file_)
                                : absl::StatusOr<std::vector<core::DvcOut>>(lock.status());
    for (const Out& out : stage.outs) {
      if (!out.is_cached) continue;   // git has it.
      const auto locked = outs.ok() ? core::ChooseDvcOut(*outs, out.path, file)
                                    : absl::StatusOr<core::DvcOut>(outs.status());
      if (!locked.ok()) {
        Refuse("`frozen` of stage `" + stage.dvc_name + "`", Message(locked.status()) + "; run `dvc repro` once, or unfreeze it");
        return false;
      }
      AddMaterial(out.path, Quoted(file) + ", out: " + Quoted(out.path));
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

  // Returns whether git has something of `path`: not when it is a folder of nothing but what stages and DVC bring.
  bool IsCode(const std::string& path, const std::map<std::string, std::string>& sources) const {
    const auto files = repo_.find(path, "");
    if (!files.ok() || files->empty()) return true;
    const auto is_brought = [&](const std::string& file) {
      const auto holds = [&](const auto& brought) { return brought.first == file || IsWithin(file, brought.first); };
      return std::any_of(sources.begin(), sources.end(), holds) || std::any_of(materials_.begin(), materials_.end(), holds);
    };
    return !std::all_of(files->begin(), files->end(), [&](const std::string& file) { return is_brought(path + "/" + file); });
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
    for (const std::string& dep : stage.deps) {
      bool is_found = false;
      const auto add = [&](const std::string& source, const std::string& path) {
        if (!inputs.contains(source)) inputs[source] = FreshName(path, names);
        is_found = is_found || path == dep || IsWithin(dep, path);
      };
      for (const auto& [path, tracked] : tracked_) {
        if (!Touches(path, dep)) continue;
        if (!tracked.problem.empty()) Refuse("`deps` of stage `" + stage.dvc_name + "`", tracked.problem);
        AddMaterial(path, tracked.source);
      }
      for (const auto& [path, source] : sources) {
        if (Touches(path, dep)) add(source, path);
      }
      for (const auto& [path, material] : materials_) {
        if (Touches(path, dep)) add(material.name, path);
      }
      for (const auto& [path, pipeline] : others_) {
        if (!Touches(path, dep)) continue;
        Refuse("`deps` of stage `" + stage.dvc_name + "`", path + " is made by " + pipeline + ", another pipeline; import that too and "
               "take its result as a material: {pipeline: NAME, stage: NAME}");
      }
      if (!is_found && IsCode(dep, sources)) code.push_back(Quoted(Literal(dep) + (repo_.read(dep).ok() ? "" : "/**")));
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
    std::set<std::string> metrics;
    for (const std::string& path : stage.metrics) metrics.insert(Quoted(path));
    for (const Out& out : stage.outs) {
      Line(6, out.name + ": {path: " + Quoted(out.path) + (out.is_report ? ", type: report}" : "}"));
      if (out.is_metric) metrics.insert(Quoted(out.path));
    }
    if (!metrics.empty()) Line(4, "metrics: [" + Joined({metrics.begin(), metrics.end()}) + "]");
  }

  void WriteRun(const Stage& stage) {
    if (stage.is_always_changed) Line(4, "cache: never");
    Line(4, "run: |");
    for (const Out& out : stage.outs) {
      // git has an old one, which must not pass for a new one; DVC removes it too.
      if (!out.is_cached) Line(6, "rm -rf -- " + ShellQuoted(out.path));
    }
    if (!stage.wdir.empty()) Line(6, "cd -- " + ShellQuoted(stage.wdir));
    std::string rest = stage.run;
    while (!rest.empty()) {
      const size_t end = std::min(rest.find('\n'), rest.size());
      Line(end > 0 ? 6 : 0, rest.substr(0, end));
      rest.erase(0, end + 1);
    }
  }

  const PipelineParser& parser_;
  const DvcRepo& repo_;
  const std::string folder_;                           // Of dvc.yaml.
  DvcImport result_;
  Value file_;                                         // dvc.yaml.
  Map vars_;
  std::vector<std::string> vars_files_;                // Where else values are looked for.
  std::map<std::string, Value> params_;                // By file.
  std::set<std::string> needed_params_;                // Of them, what a stage depends on.
  std::vector<Stage> stages_;
  struct Tracked {
    std::string source, problem;
  };
  std::map<std::string, Tracked> tracked_;             // By where it lies: what .dvc files say.
  std::map<std::string, std::string> others_;          // By where it lies: which other dvc.yaml makes it.
  std::map<std::string, Material> materials_;          // By where they lie.
  std::set<std::string> material_names_;
};

}  // namespace

absl::StatusOr<DvcImport> ImportDvc(const std::string& pipeline, const PipelineParser& parser, const DvcRepo& repo) {
  return Importer(parser, repo, repo.folder).Import(pipeline);
}

}  // namespace cd4ml::cli
