// A result is found again by what its stage declares to read, so what it read besides makes it worthless for that.
#include "agent/reads.h"

#include <fnmatch.h>

#include <algorithm>
#include <atomic>
#include <filesystem>

#include "agent/files.h"
#include "cd4ml/base/log.h"
#include "cd4ml/base/status.h"
#include "cd4ml/core/recipe.h"

namespace cd4ml::agent {
namespace {

namespace fs = std::filesystem;

constexpr size_t kNamedMax = 20;

std::string KeptIn(const std::string& room) { return room + "/reads.json"; }

// As the identity of a stage's code is told, see ports/source_repo.h.
bool IsOfCode(const std::string& file, const std::vector<std::string>& code) {
  return std::any_of(code.begin(), code.end(), [&](const std::string& pattern) {
    return fnmatch(pattern.c_str(), file.c_str(), 0) == 0 || file.starts_with(pattern + "/");
  });
}

std::pair<int64_t, int64_t> StampOf(const std::string& file) {
  std::error_code error;
  const auto changed = fs::last_write_time(file, error);
  return error ? std::pair<int64_t, int64_t>(-1, 0)
               : std::pair<int64_t, int64_t>(FileSize(file), changed.time_since_epoch().count());
}

}  // namespace

std::set<std::string> UndeclaredFiles(const std::string& dir, const std::vector<std::string>& code,
                                      const std::set<std::string>& declared) {
  std::set<std::string> files;
  std::error_code error;
  for (auto at = fs::recursive_directory_iterator(dir, error); !error && at != fs::end(at); at.increment(error)) {
    std::string name = at->path().string().substr(dir.size() + 1);
    std::error_code unknown;
    const bool is_folder = at->is_directory(unknown) && !at->is_symlink(unknown);
    if (declared.contains(name)) {
      if (is_folder) at.disable_recursion_pending();
      continue;
    }
    if (!is_folder && at->is_regular_file(unknown) && !IsOfCode(name, code)) files.insert(std::move(name));
  }
  return files;
}

UndeclaredReads::UndeclaredReads(Attempt& attempt, const Workspace& workspace, const core::PipelineSpec& pipeline,
                                 const core::StageSpec& stage)
    : attempt_(attempt), stage_(stage.name), dir_(workspace.dir()) {
  const ReadWatcher& watch = attempt.tools().ports.watch_reads;
  if (watch == nullptr || stage.code.empty() || !core::IsReusable(stage)) return;
  std::set<std::string> declared(pipeline.params.files.begin(), pipeline.params.files.end());
  const auto declare = [&](const std::string& path) {
    const std::string prefix = workspace.dir() + "/";
    if (path.starts_with(prefix)) declared.insert(fs::path(path.substr(prefix.size())).lexically_normal().string());
  };
  for (const auto& [reference, input] : attempt.task().inputs) declare(workspace.PathOf(reference));
  for (const core::InputSpec& input : stage.inputs) declare(workspace.PathOf(input.from));
  // What the commit has where an output is to be is its own only once the stage has replaced it.
  std::set<std::string> old;
  for (const core::OutputSpec& output : stage.outputs) {
    const std::string path = fs::path(output.path).lexically_normal().string();
    (Exists(dir_ + "/" + path) && output.quarantine.empty() ? old : declared).insert(path);
  }
  std::set<std::string> files = UndeclaredFiles(workspace.dir(), stage.code, declared);
  if (files.empty()) return;
  for (const std::string& file : files) {
    const bool is_old = std::any_of(old.begin(), old.end(), [&](const std::string& path) {
      return file == path || file.starts_with(path + "/");
    });
    if (is_old) old_[file] = StampOf(dir_ + "/" + file);
  }
  auto begun = watch(workspace.dir(), std::move(files));
  if (begun.ok()) {
    watch_ = *std::move(begun);
    return;
  }
  static std::atomic<bool> is_said = false;
  if (is_said.exchange(true)) return;
  LogWarn("reads of files that a stage does not declare are not noticed on this machine",
          {{"why", Message(begun.status())}});
}

void UndeclaredReads::Keep() {
  if (watch_ == nullptr) return;
  NoticedReads reads = watch_->Finish();
  watch_ = nullptr;
  for (const auto& [file, stamp] : old_) {
    if (StampOf(dir_ + "/" + file) == stamp) reads.opened.insert(file);   // It has become the output.
  }
  Value::List named;
  std::string text;
  for (const std::string& file : reads.opened) {
    if (named.size() == kNamedMax) break;
    named.emplace_back(file);
    text += (text.empty() ? "" : ", ") + file;
  }
  if (const size_t more = reads.opened.size() - named.size(); more > 0) {
    named.emplace_back(std::to_string(more) + " more");
    text += " and " + std::to_string(more) + " more";
  }
  if (!reads.is_complete) named.emplace_back("others, too many at once to be noticed");
  if (named.empty()) return;
  attempt_.Say("stage \"" + stage_ + "\" read what it does not declare" + (text.empty() ? "" : ": " + text) +
               "; its result will not be reused: add them to `code` or make them inputs");
  if (absl::Status kept = WriteText(KeptIn(attempt_.paths().room()), ToJson(named)); !kept.ok()) {
    LogError("undeclared reads could not be kept", {{"stage", stage_}, {"why", Message(kept)}});
  }
}

Value::List KeptUndeclaredReads(const std::string& room) {
  const absl::StatusOr<Value> kept = ReadJson(KeptIn(room));
  return kept.ok() && kept->is_list() ? kept->list() : Value::List();
}

}  // namespace cd4ml::agent
