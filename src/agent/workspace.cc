// Builds work directories and captures outputs.
#include "agent/workspace.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "agent/blobs.h"
#include "agent/files.h"
#include "agent/gpus.h"
#include "agent/repos.h"
#include "agent/sweeper.h"
#include "cd4ml/base/status.h"
#include "cd4ml/base/text.h"

namespace cd4ml::agent {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kParamsMax = 8 << 20;
constexpr int64_t kProfileMax = 64 << 20;

int64_t ChangedAt(const fs::path& path) {
  std::error_code error;
  return static_cast<int64_t>(fs::last_write_time(path, error).time_since_epoch().count());
}

bool IsShared(const fs::path& path) {
  std::error_code error;
  const auto links = fs::hard_link_count(path, error);
  return !error && links > 1;
}

Value LinkOf(const std::string& path, const Digest& digest) {
  return Value::Map{{"path", path},
                    {"digest", digest.hex()},
                    {"size", FileSize(path)},
                    {"changed", ChangedAt(path)}};
}

// A trace identity that all attempts of a run share, and a span identity of this attempt.
std::string TraceParent(const core::AttemptId& attempt) {
  return "00-" + Sha256(attempt.run).hex().substr(0, 32) + "-" +
         Sha256(core::ToText(attempt)).hex().substr(0, 16) + "-01";
}

bool IsArchiveName(std::string_view path) {
  return path.ends_with(".zip") || path.ends_with(".tgz") || path.ends_with(".tar") ||
         path.find(".tar.") != std::string_view::npos;
}

absl::Status NotInside(std::string_view what, std::string_view name, const std::string& path) {
  return absl::InvalidArgumentError(std::string(what) + " \"" + std::string(name) + "\" at " +
                                    path + " would lie outside of the work directory");
}

}  // namespace

Workspace::Workspace(const Attempt& attempt, const core::PipelineSpec& pipeline,
                     const core::StageSpec& stage)
    : attempt_(attempt),
      pipeline_(pipeline),
      stage_(stage),
      room_(attempt.paths().room()),
      dir_(attempt.paths().work()) {
  for (const core::OutputSpec& output : stage.outputs)
    places_[output.name] = dir_ + "/" + output.path;
  for (const core::InputSpec& input : stage.inputs) {
    const std::string path = dir_ + "/" + InputPath(input);
    places_.try_emplace(input.name, path);
    places_.try_emplace(input.from, path);
  }
  for (const auto& [reference, input] : attempt.task().inputs) {
    places_.try_emplace(reference, room_ + "/read/" + reference);
  }
}

std::string Workspace::InputPath(const core::InputSpec& input) const {
  if (!input.at.empty()) return input.at;
  const auto found = attempt_.task().inputs.find(input.from);
  if (found != attempt_.task().inputs.end() && !found->second.path.empty())
    return found->second.path;
  const core::MaterialSpec* material = pipeline_.FindMaterial(input.from);
  return material != nullptr && !material->at.empty() ? material->at : "inputs/" + input.from;
}

std::string Workspace::PathOf(const std::string& reference) const {
  const auto found = places_.find(reference);
  return found != places_.end() ? found->second : "";
}

absl::Status Workspace::Build() {
  Sweeper& sweeper = attempt_.tools().sweeper;
  sweeper.Take(room_);
  if (!sweeper.Reuse(kRoomMould, room_)) CD4ML_RETURN_IF_ERROR(MakeDirs(dir_));
  CD4ML_RETURN_IF_ERROR(ExportCode());
  CD4ML_RETURN_IF_ERROR(PlaceInputs());
  CD4ML_RETURN_IF_ERROR(WriteParams());
  CD4ML_RETURN_IF_ERROR(MakeOutputFolders());
  CD4ML_RETURN_IF_ERROR(PlaceChampion());
  CD4ML_RETURN_IF_ERROR(WriteSegments());
  if (links_.empty()) return absl::OkStatus();
  return WriteText(room_ + "/links.json", ToJson(links_));
}

absl::Status Workspace::TakeUp() {
  if (!Exists(dir_)) return absl::NotFoundError("its work directory is gone");
  absl::StatusOr<Value> links = ReadJson(room_ + "/links.json");
  if (links.ok() && links->is_list()) links_ = links->list();
  return absl::OkStatus();
}

absl::Status Workspace::ExportCode() {
  const Task& task = attempt_.task();
  return Annotate(attempt_.tools().repos.Export(task.repo, task.commit, dir_), "checkout");
}

absl::Status Workspace::PlaceInputs() {
  const Task& task = attempt_.task();
  std::set<std::string> placed;
  for (const core::InputSpec& input : stage_.inputs) {
    const std::string path = InputPath(input);
    if (!IsInside(path)) return NotInside("input", input.name, path);
    CD4ML_RETURN_IF_ERROR(PlaceInput(input.from, dir_ + "/" + path));
    placed.insert(input.from);
  }
  for (const auto& [reference, input] : task.inputs) {
    // A deploy's hooks see the package where it was packed; a gate's rules read theirs beside the
    // work directory.
    if (reference == stage_.package && stage_.kind == core::StageKind::kDeploy) {
      if (!IsInside(input.path)) return NotInside("package", reference, input.path);
      places_[reference] = dir_ + "/" + input.path;
    }
    if (placed.contains(reference)) continue;
    CD4ML_RETURN_IF_ERROR(PlaceInput(reference, places_[reference]));
  }
  return absl::OkStatus();
}

absl::Status Workspace::PlaceInput(const std::string& reference, const std::string& path) {
  const auto found = attempt_.task().inputs.find(reference);
  if (found == attempt_.task().inputs.end()) {
    return absl::InternalError("the daemon named no artifact for \"" + reference + "\"");
  }
  // What the repository has at this place gives way.
  if (Exists(path)) CD4ML_RETURN_IF_ERROR(RemoveAll(path));
  CD4ML_RETURN_IF_ERROR(MakeDirs(fs::path(path).parent_path().string()));
  if (!ResolvesInside(path, room_)) return NotInside("input", reference, path);
  const ArtifactRef& artifact = found->second.artifact;
  CD4ML_RETURN_IF_ERROR(Annotate(
      attempt_.tools().blobs.Place(artifact, path, /*may_link=*/true, attempt_.halt()), reference));
  return NoteLinks(artifact, path);
}

absl::Status Workspace::NoteLinks(const ArtifactRef& artifact, const std::string& path) {
  if (!artifact.is_tree) {
    if (IsShared(path)) links_.push_back(LinkOf(path, artifact.digest));
    return absl::OkStatus();
  }
  CD4ML_ASSIGN_OR_RETURN(
      const std::string text,
      attempt_.tools().blobs.Read(artifact.digest, kTreeTextMax, attempt_.halt()));
  CD4ML_ASSIGN_OR_RETURN(const std::vector<TreeEntry> entries, ParseTree(text));
  for (const TreeEntry& entry : entries) {
    const std::string file = path + "/" + entry.path;
    if (IsShared(file)) links_.push_back(LinkOf(file, entry.digest));
  }
  return absl::OkStatus();
}

Value ParamsOfFile(const Value& params, const std::vector<Value>& files, size_t index) {
  if (!params.is_map()) return params;
  const auto is_map = [](const Value& file) { return file.is_map(); };
  const auto first_map = std::find_if(files.begin(), files.end(), is_map);
  const size_t first =
      first_map != files.end() ? static_cast<size_t>(first_map - files.begin()) : 0;
  Value::Map share;
  for (const auto& [key, value] : params.map()) {
    std::vector<Value> inner;
    bool anywhere = false;
    for (const Value& file : files) {
      const Value* own = file.Find(key);
      anywhere |= own != nullptr;
      inner.push_back(own != nullptr ? *own : Value());
    }
    const bool own = files[index].Find(key) != nullptr;
    if (!own && (anywhere || index != first)) continue;
    share[key] =
        own && value.is_map() && inner[index].is_map() ? ParamsOfFile(value, inner, index) : value;
  }
  return share;
}

Value Workspace::Params() const {
  const Value& all = attempt_.task().params;
  if (stage_.params.empty()) return all;
  Value chosen = Value::Map();
  const auto take = [&](const std::string& name) {
    if (const Value* value = all.FindPath(name)) SetPath(chosen, name, *value);
  };
  for (const std::string& name : stage_.params) take(name);
  for (const auto& [name, value] : stage_.cell_params) take(name);
  return chosen;
}

absl::Status Workspace::WriteParams() {
  const Value params = Params();
  CD4ML_RETURN_IF_ERROR(
      WriteText(room_ + "/params.json", ToJson(params.is_map() ? params : Value::Map())));
  const PipelineParser& parser = attempt_.tools().ports.parser;
  const std::vector<std::string>& names = pipeline_.params.files;
  std::vector<std::string> texts;
  std::vector<Value> contents;
  for (const std::string& name : names) {
    if (!IsInside(name)) return NotInside("parameter file", name, name);
    CD4ML_ASSIGN_OR_RETURN(std::string text, ReadText(dir_ + "/" + name, kParamsMax));
    CD4ML_ASSIGN_OR_RETURN(Value content, parser.ParseParams(text, name));
    texts.push_back(std::move(text));
    contents.push_back(std::move(content));
  }
  for (size_t i = 0; i < names.size(); ++i) {
    CD4ML_ASSIGN_OR_RETURN(const std::string text,
                           parser.WriteParams(ParamsOfFile(params, contents, i), texts[i], names[i]));
    if (text != texts[i]) CD4ML_RETURN_IF_ERROR(WriteText(dir_ + "/" + names[i], text));
  }
  return absl::OkStatus();
}

absl::Status Workspace::MakeOutputFolders() const {
  for (const core::OutputSpec& output : stage_.outputs) {
    if (!IsInside(output.path)) return NotInside("output", output.name, output.path);
    CD4ML_RETURN_IF_ERROR(MakeDirs(fs::path(dir_ + "/" + output.path).parent_path().string()));
  }
  return absl::OkStatus();
}

absl::Status Workspace::PlaceChampion() {
  const Task& task = attempt_.task();
  if (!task.champion) return absl::OkStatus();
  return Annotate(PlacePackage(attempt_.tools(), *task.champion, "package", room_ + "/champion",
                               attempt_.halt()),
                  "champion");
}

std::string Workspace::SegmentsFile(const core::InputSpec& input) const {
  return room_ + "/segments/" + input.name + ".json";
}

absl::Status Workspace::WriteSegments() const {
  for (const core::InputSpec& input : stage_.inputs) {
    const auto found = attempt_.task().inputs.find(input.from);
    if (found == attempt_.task().inputs.end() || !found->second.profile) continue;
    CD4ML_ASSIGN_OR_RETURN(const std::string text,
                           attempt_.tools().blobs.Read(found->second.profile->digest, kProfileMax,
                                                       attempt_.halt()));
    CD4ML_ASSIGN_OR_RETURN(const Value profile, ParseJson(text));
    const Value* segments = profile.Find("segments");
    if (segments == nullptr) continue;
    CD4ML_RETURN_IF_ERROR(MakeDirs(room_ + "/segments"));
    CD4ML_RETURN_IF_ERROR(WriteText(SegmentsFile(input), ToJson(*segments)));
  }
  return absl::OkStatus();
}

std::map<std::string, std::string> Workspace::Env() const {
  const Task& task = attempt_.task();
  std::map<std::string, std::string> env = attempt_.tools().config.env;
  for (const auto& [name, value] : stage_.env) env[name] = value;
  for (const core::InputSpec& input : stage_.inputs) {
    env["CD4ML_IN_" + VariableName(input.name)] = dir_ + "/" + InputPath(input);
    if (const std::string file = SegmentsFile(input); Exists(file))
      env["CD4ML_SEGMENTS_" + VariableName(input.name)] = file;
  }
  if (stage_.kind == core::StageKind::kDeploy && !stage_.package.empty()) {
    const std::string output(core::ParseReference(stage_.package).output);
    env["CD4ML_IN_" + VariableName(output)] = PathOf(stage_.package);
  }
  for (const core::OutputSpec& output : stage_.outputs) {
    env["CD4ML_OUT_" + VariableName(output.name)] = dir_ + "/" + output.path;
  }
  for (const auto& [name, value] : Flatten(Params())) {
    if (value.is_scalar()) env["CD4ML_PARAM_" + VariableName(name)] = ToText(value);
  }
  env["CD4ML_PARAMS"] = room_ + "/params.json";
  env["CD4ML_RUN"] = task.attempt.run;
  env["CD4ML_STAGE"] = task.attempt.stage;
  env["CD4ML_ATTEMPT"] = std::to_string(task.attempt.number);
  env["CD4ML_METRICS"] = metrics_file();
  env["CD4ML_VERDICT"] = verdict_file();
  env["CD4ML_PORT"] = std::to_string(attempt_.port());
  env["TRACEPARENT"] = TraceParent(task.attempt);
  if (task.champion) env["CD4ML_CHAMPION"] = room_ + "/champion";
  if (!task.deployment.empty()) {
    env["CD4ML_DEPLOYMENT"] = task.deployment;
    env["CD4ML_ENVIRONMENT"] = task.environment;
    env["CD4ML_TARGET"] = task.target;
  }
  ShowGpus(attempt_.gpus(), attempt_.tools().config.gpus, env);
  return env;
}

absl::Status Workspace::CheckInputs() {
  std::vector<std::string> changed;
  for (const Value& link : links_) {
    const std::string path = ToText(*link.Find("path"));
    // A file that the command replaced is its own; only writing into the shared one is wrong.
    if (!IsShared(path)) continue;
    if (Value(FileSize(path)) == *link.Find("size") &&
        Value(ChangedAt(path)) == *link.Find("changed"))
      continue;
    if (absl::StatusOr<Digest> digest = Digest::Parse(ToText(*link.Find("digest"))); digest.ok()) {
      attempt_.tools().blobs.Quarantine(*digest);
    }
    changed.push_back(path.substr(path.compare(0, dir_.size(), dir_) == 0 ? dir_.size() + 1 : 0));
  }
  if (changed.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      "stage \"" + stage_.name + "\" changed its input " + changed.front() +
      (changed.size() > 1 ? " and " + std::to_string(changed.size() - 1) + " more" : "") +
      "; inputs are shared with other stages, so write to a copy or to an output");
}

absl::Status Workspace::CheckOutputs() const {
  for (const core::OutputSpec& output : stage_.outputs) {
    // What cd4ml writes itself comes after the rules.
    if (!output.quarantine.empty() || Exists(dir_ + "/" + output.path)) continue;
    return absl::NotFoundError("stage \"" + stage_.name + "\" did not write its output \"" +
                               output.name + "\": there is nothing at " + output.path +
                               " in the work directory");
  }
  return absl::OkStatus();
}

void Workspace::SayWhatIsLost(const core::OutputSpec& output, const std::string& path) const {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  const std::string what = "output \"" + output.name + "\": ";
  if (fs::is_regular_file(status) && (status.permissions() & fs::perms::owner_exec) != fs::perms::none) {
    attempt_.Say(what + output.path + " may be executed, which is not kept of a single file; make a folder the output, or chmod +x "
                 "where it is used");
  }
  if (!fs::is_directory(status)) return;
  int count = 0;
  std::string first;
  for (auto at = fs::recursive_directory_iterator(path, error); !error && at != fs::end(at); at.increment(error)) {
    std::error_code unknown;
    if (at->is_symlink(unknown) || !at->is_directory(unknown) || !fs::is_empty(at->path(), unknown)) continue;
    if (++count == 1) first = at->path().string().substr(dir_.size() + 1);
  }
  if (count == 0) return;
  attempt_.Say(what + "the empty folder " + first + (count > 1 ? " and " + std::to_string(count - 1) + " more are" : " is") +
               " not kept; put a file there if it is needed");
}

absl::StatusOr<std::vector<core::ProducedOutput>> Workspace::Capture(bool succeeded) const {
  Blobs& blobs = attempt_.tools().blobs;
  std::vector<core::ProducedOutput> outputs;
  for (const core::OutputSpec& output : stage_.outputs) {
    const std::string path = dir_ + "/" + output.path;
    if (!succeeded && (!output.always || !Exists(path))) continue;
    const std::string what = "output \"" + output.name + "\"";
    if (!ResolvesInside(path, dir_)) {
      return absl::InvalidArgumentError(what + " at " + output.path +
                                        " leads out of the work directory through a symbolic link");
    }
    absl::StatusOr<ArtifactRef> artifact = blobs.Put(path, attempt_.halt());
    if (absl::IsResourceExhausted(artifact.status())) {
      const int64_t needed = TreeSize(path), free = FreeBytes(blobs.dir());
      // Where the disk has room, the store knows why there is none: a limit, or somebody else's disk.
      if (needed <= free) return Annotate(artifact.status(), what + " could not be kept");
      return absl::ResourceExhaustedError(what + " could not be kept: it needs " + FormatSize(needed) + ", and " +
                                          FormatSize(free) + " are free in " + blobs.dir() + " (" +
                                          Message(artifact.status()) + ")");
    }
    if (!artifact.ok()) return Annotate(artifact.status(), what);
    SayWhatIsLost(output, path);
    outputs.push_back({output.name, output.path, output.type, *artifact, std::nullopt});
  }
  return outputs;
}

absl::Status PlacePackage(const Tools& tools, const ArtifactRef& package,
                          const std::string& package_path, const std::string& dir,
                          const std::stop_token& stop) {
  if (package.is_tree) return tools.blobs.Place(package, dir, /*may_link=*/false, stop);
  const std::string file = dir + ".package";
  CD4ML_RETURN_IF_ERROR(RemoveAll(file));
  CD4ML_RETURN_IF_ERROR(tools.blobs.Place(package, file, /*may_link=*/false, stop));
  CD4ML_RETURN_IF_ERROR(MakeDirs(dir));
  const absl::Status unpacked = tools.ports.unpack(file, dir);
  if (!absl::IsInvalidArgument(unpacked) || IsArchiveName(package_path)) {
    CD4ML_RETURN_IF_ERROR(RemoveAll(file));
    return Annotate(unpacked, "package " + package_path);
  }
  // No archive: the file itself is the package.
  CD4ML_RETURN_IF_ERROR(RemoveAll(dir));
  CD4ML_RETURN_IF_ERROR(MakeDirs(dir));
  std::error_code error;
  fs::rename(file, dir + "/" + fs::path(package_path).filename().string(), error);
  return error ? absl::InternalError("the package could not be placed: " + error.message())
               : absl::OkStatus();
}

std::vector<std::string> Argv(const core::CommandSpec& command) {
  if (!command.argv.empty()) return command.argv;
  return {"bash", "-euo", "pipefail", "-c", command.script};
}

}  // namespace cd4ml::agent
