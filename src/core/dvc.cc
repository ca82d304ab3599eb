// What DVC writes into a repository. Keys that change nothing about the bytes are passed over.
#include "cd4ml/core/dvc.h"

#include <algorithm>
#include <optional>

#include "cd4ml/base/ini.h"
#include "cd4ml/base/status.h"
#include "cd4ml/base/text.h"

namespace cd4ml::core {
namespace {

constexpr std::string_view kDirSuffix = ".dir";

absl::Status Bad(const std::string& file, const std::string& what) {
  return absl::InvalidArgumentError(file + ": " + what);
}

std::string TextAt(const Value& map, std::string_view key) {
  const Value* value = map.Find(key);
  return value == nullptr || !value->is_string() ? "" : value->string();
}

bool IsMd5(std::string_view text) {
  return text.size() == 32 && std::all_of(text.begin(), text.end(), [](unsigned char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

// Returns `folder`/`path` without "." and ".." parts; nullopt when it leads out of the repository.
std::optional<std::string> Join(std::string_view folder, std::string_view path) {
  if (path.starts_with('/') || path.find("://") != std::string_view::npos) return std::nullopt;
  std::vector<std::string_view> parts;
  for (std::string_view rest : {folder, path}) {
    while (!rest.empty()) {
      const std::string_view part = rest.substr(0, rest.find('/'));
      rest.remove_prefix(std::min(rest.size(), part.size() + 1));
      if (part.empty() || part == ".") continue;
      if (part != "..") {
        parts.push_back(part);
      } else if (parts.empty()) {
        return std::nullopt;
      } else {
        parts.pop_back();
      }
    }
  }
  std::string joined;
  for (const std::string_view part : parts) joined += (joined.empty() ? "" : "/") + std::string(part);
  return joined;
}

absl::StatusOr<DvcOut> ReadOut(const Value& entry, const std::string& file, std::string_view folder) {
  const std::string path = TextAt(entry, "path");
  const auto full = Join(folder, path);
  if (path.empty() || !full) return Bad(file, "the output \"" + path + "\" does not lie in the repository");
  DvcOut out{.path = *full};
  out.md5 = TextAt(entry, "md5");
  out.remote = TextAt(entry, "remote");
  const std::string hash = TextAt(entry, "hash");
  // DVC 3 says which hash it is; before, there was one.
  out.is_old = hash.empty();
  if (out.md5.ends_with(kDirSuffix)) {
    out.is_dir = true;
    out.md5.resize(out.md5.size() - kDirSuffix.size());
  }
  if ((!hash.empty() && hash != "md5") || !IsMd5(out.md5)) {
    return Bad(file, "output \"" + path + "\" has no md5: outputs of other clouds and versions of buckets cannot be read; "
                     "run `dvc import-url` without --no-download, or `dvc add` a copy");
  }
  return out;
}

// Returns what dvc.yaml says of a stage of dvc.lock, "train@us" for one of several; null: nothing.
const Value* FindStage(const Value& pipeline, const std::string& name) {
  const Value* stages = pipeline.Find("stages");
  const Value* stage = stages == nullptr ? nullptr : stages->Find(name.substr(0, name.find('@')));
  const Value* each = stage == nullptr ? nullptr : stage->Find("do");
  return each == nullptr ? stage : each;
}

absl::Status ReadOuts(const Value& holder, const std::string& file, std::string_view folder, std::vector<DvcOut>& outs) {
  const Value* list = holder.Find("outs");
  if (list == nullptr) return absl::OkStatus();
  if (!list->is_list()) return Bad(file, "`outs` is no list");
  for (const Value& entry : list->list()) {
    CD4ML_ASSIGN_OR_RETURN(DvcOut out, ReadOut(entry, file, folder));
    outs.push_back(std::move(out));
  }
  return absl::OkStatus();
}

}  // namespace

std::string DvcPipelineOf(const std::string& pointer) {
  if (!pointer.ends_with(".lock")) return "";
  return pointer.substr(0, pointer.rfind('/') + 1) + "dvc.yaml";
}

absl::StatusOr<std::vector<DvcOut>> ReadDvcPointer(const Value& file, const std::string& path, const Value* pipeline) {
  const size_t slash = path.rfind('/');
  std::string folder = slash == std::string::npos ? "" : path.substr(0, slash);
  std::vector<DvcOut> outs;
  if (path.ends_with(".lock")) {
    if (TextAt(file, "schema") != "2.0") {
      return Bad(path, "it is not a dvc.lock of schema 2.0; run `dvc commit` with DVC 2 or later");
    }
    const Value* stages = file.Find("stages");
    if (stages == nullptr || !stages->is_map()) return Bad(path, "it has no stages; run `dvc repro`");
    for (const auto& [name, stage] : stages->map()) {
      const Value* said = pipeline == nullptr ? &stage : FindStage(*pipeline, name);
      if (said == nullptr) continue;
      const auto joined = Join(folder, TextAt(*said, "wdir"));
      if (!joined) return Bad(path, "`wdir` of stage \"" + name + "\" leads out of the repository");
      CD4ML_RETURN_IF_ERROR(ReadOuts(stage, path, *joined, outs));
    }
    return outs;
  }
  if (const std::string wdir = TextAt(file, "wdir"); !wdir.empty()) {
    const auto joined = Join(folder, wdir);
    if (!joined) return Bad(path, "its `wdir` leads out of the repository");
    folder = *joined;
  }
  CD4ML_RETURN_IF_ERROR(ReadOuts(file, path, folder, outs));
  return outs;
}

absl::StatusOr<DvcOut> ChooseDvcOut(const std::vector<DvcOut>& outs, const std::string& wanted, const std::string& file) {
  if (wanted.empty() && outs.size() == 1) return outs.front();
  std::vector<std::string> paths;
  for (const DvcOut& out : outs) paths.push_back(out.path);
  const auto found = std::find(paths.begin(), paths.end(), wanted);
  if (found != paths.end()) {
    if (std::find(found + 1, paths.end(), wanted) == paths.end()) return outs[static_cast<size_t>(found - paths.begin())];
    return Bad(file, "two of its stages make \"" + wanted + "\"; remove the one that is out of use with `dvc remove`");
  }
  if (outs.empty()) return Bad(file, "it has no outputs");
  if (wanted.empty()) return Bad(file, "it has several outputs; say which with `out`");
  const bool is_templated = std::any_of(paths.begin(), paths.end(), [](const std::string& path) { return path.find("${") != path.npos; });
  return absl::NotFoundError(file + " has no output \"" + wanted + "\"" + DidYouMean(wanted, paths) +
                             (is_templated ? "; a `wdir` with ${} in it is not computed here" : ""));
}

absl::StatusOr<std::vector<DvcFile>> ParseDvcDir(std::string_view json) {
  const absl::StatusOr<Value> parsed = ParseJson(json);
  if (!parsed.ok()) return parsed.status();
  const auto* list = std::get_if<Value::List>(&parsed->data);
  if (list == nullptr) return absl::DataLossError("the list of the folder is no list");
  std::vector<DvcFile> files;
  for (const Value& entry : *list) {
    DvcFile file{.path = TextAt(entry, "relpath"), .md5 = TextAt(entry, "md5")};
    if (file.path.empty() || !IsMd5(file.md5)) return absl::DataLossError("an entry of the folder has no path or no md5");
    files.push_back(std::move(file));
  }
  return files;
}

std::string DvcObjectPath(const DvcOut& out, const std::string& md5, bool is_list) {
  return (out.is_old ? "" : "files/md5/") + md5.substr(0, 2) + '/' + md5.substr(2) + (is_list ? ".dir" : "");
}

DvcConfig ParseDvcConfig(std::string_view text) {
  DvcConfig config;
  for (auto& [section, keys] : ParseIni(text)) {
    if (section == "core") config.default_remote = keys["remote"];
    if (section == "cache" && !keys["dir"].empty()) config.cache = keys["dir"];
    if (!section.starts_with("remote ")) continue;
    std::string name = section.substr(7);
    std::erase(name, '"');
    config.remotes[name] = {.url = keys["url"], .endpoint = keys["endpointurl"], .region = keys["region"]};
  }
  return config;
}

}  // namespace cd4ml::core
