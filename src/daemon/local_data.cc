// Files and folders of the daemon's own machine.
#include <algorithm>
#include <filesystem>
#include <thread>

#include "cd4ml/base/glob.h"
#include "cd4ml/base/status.h"
#include "data_source.h"
#include "ranges.h"
#include "seen_files.h"

namespace cd4ml::daemon {
namespace {

// Files that one thread takes at a time: enough for the store to make them durable together.
constexpr size_t kRangeMax = 1'024;

std::string Quoted(const std::string& path) { return '"' + path + '"'; }

bool IsWithin(std::string_view path, std::string_view folder) {
  return path.starts_with(folder) && (path.size() == folder.size() || path[folder.size()] == '/');
}

// Stores the files at `paths` and notes each in `seen`, whose entries have their names.
class Reading {
 public:
  Reading(BlobStore& blobs, FileSystem& files, const Clock& clock, const SeenFiles& known,
          std::vector<std::string> names, std::vector<std::string> paths, bool anew)
      : blobs_(blobs), files_(files), clock_(clock), paths_(std::move(paths)), records_(known.Match(names)), seen_(names.size()),
        anew_(anew) {
    for (size_t i = 0; i < names.size(); ++i) seen_[i].entry.path = std::move(names[i]);
  }

  absl::Status ReadAll(const std::stop_token& stop) {
    const absl::Status read = ForRanges(paths_.size(), kRangeMax, HashThreads(), [&](size_t begin, size_t end) {
      return ReadRange(begin, end, stop);
    });
    if (!read.ok()) KeepKnown(records_, seen_);
    return read;
  }

  std::vector<SeenFile>& seen() { return seen_; }

 private:
  absl::Status ReadRange(size_t begin, size_t end, const std::stop_token& stop) {
    if (stop.stop_requested()) return absl::CancelledError("cancelled while it was read");
    std::vector<FileStat> stats(end - begin);
    std::vector<size_t> unknown;
    std::vector<std::string> paths;
    const UtcTime now = clock_.Now();
    for (size_t i = begin; i < end; ++i) {
      CD4ML_ASSIGN_OR_RETURN(stats[i - begin], files_.Stat(paths_[i]));
      const FileStat& stat = stats[i - begin];
      seen_[i].entry.size = stat.size;
      seen_[i].entry.executable = stat.executable;
      std::string stamp = StampOf(stat, now);
      if (!anew_ && records_[i] != nullptr && records_[i]->stamp == stamp && TakeStored(*records_[i], blobs_, seen_[i].entry)) {
        seen_[i].stamp = std::move(stamp);
      } else {
        unknown.push_back(i);
        paths.push_back(paths_[i]);
      }
    }
    if (paths.empty()) return absl::OkStatus();
    CD4ML_ASSIGN_OR_RETURN(std::vector<Digest> digests, blobs_.PutFiles(paths, /*may_link=*/false, stop));
    for (size_t k = 0; k < unknown.size(); ++k) {
      const size_t i = unknown[k];
      const FileStat& before = stats[i - begin];
      CD4ML_ASSIGN_OR_RETURN(const FileStat after, files_.Stat(paths_[i]));
      if (after != before) {
        return absl::AbortedError(Quoted(paths_[i]) +
                                  " changed while it was read; start the run again when nothing writes to it");
      }
      CD4ML_ASSIGN_OR_RETURN(const int64_t size, blobs_.Size(digests[k]));
      if (size != before.size) {
        return absl::FailedPreconditionError(Quoted(paths_[i]) + " is said to have " + FormatSize(before.size) + ", but " +
                                             FormatSize(size) + " were read: nobody can tell whether that is all");
      }
      seen_[i].entry.digest = std::move(digests[k]);
      seen_[i].stamp = StampOf(before, now);
    }
    return absl::OkStatus();
  }

  BlobStore& blobs_;
  FileSystem& files_;
  const Clock& clock_;
  const std::vector<std::string> paths_;
  const std::vector<const SeenFiles::Record*> records_;
  std::vector<SeenFile> seen_;
  const bool anew_;
};

class LocalData final : public DataSource {
 public:
  LocalData(const Settings& settings, BlobStore& blobs, FileSystem& files, const Clock& clock)
      : settings_(settings), blobs_(blobs), files_(files), clock_(clock) {}

  absl::StatusOr<ArtifactRef> Read(const core::MaterialSpec& material, const DataContext& context) const override {
    CD4ML_ASSIGN_OR_RETURN(const std::string path, Find(material.location));
    const std::string state_dir = RealPath(settings_.state_dir), data_root = RealPath(settings_.data_root);
    std::vector<std::string> secrets;
    for (const std::string& file : settings_.secret_files) secrets.push_back(RealPath(file));
    CD4ML_RETURN_IF_ERROR(CheckFree(path, state_dir, data_root, secrets));
    CD4ML_ASSIGN_OR_RETURN(const FileStat stat, files_.Stat(path));
    const bool is_folder = stat.kind == FileKind::kFolder;
    if (!is_folder && !material.pattern.empty()) {
      return absl::InvalidArgumentError("it has a pattern, but " + Quoted(path) + " is not a folder");
    }
    if (!is_folder && stat.kind != FileKind::kFile) {
      return absl::InvalidArgumentError("cannot store " + Quoted(path) + ": it is a socket, a pipe or a device");
    }
    std::vector<std::string> names = {path.substr(path.rfind('/') + 1)}, paths = {path};
    if (is_folder) {
      CD4ML_ASSIGN_OR_RETURN(std::vector<FoundFile> found, FindFiles(path, Wanted(material.pattern)));
      if (found.empty()) {
        return absl::NotFoundError(material.pattern.empty()
                                       ? Quoted(path) + " holds no file"
                                       : "no file in " + Quoted(path) + " matches \"" + material.pattern + '"');
      }
      names.clear(), paths.clear();
      for (FoundFile& file : found) {
        CD4ML_RETURN_IF_ERROR(CheckFree(file.path, state_dir, data_root, secrets));
        names.push_back(std::move(file.name)), paths.push_back(std::move(file.path));
      }
    }
    const SeenFiles known(files_, SeenFolder(settings_), "local " + path + '\n' + material.pattern);
    Reading reading(blobs_, files_, clock_, known, std::move(names), std::move(paths), context.anew);
    const absl::Status read = reading.ReadAll(context.stop);
    known.Save(reading.seen());
    CD4ML_RETURN_IF_ERROR(read);
    if (is_folder) return PutTree(blobs_, Entries(std::move(reading.seen())));
    const TreeEntry& entry = reading.seen().front().entry;
    return ArtifactRef{.digest = entry.digest, .is_tree = false, .size = entry.size, .files = 1};
  }

 private:
  // A link is only a name of the data; what is stored is what it leads to.
  absl::StatusOr<std::string> Find(const std::string& location) const {
    std::string path = location;
    if (path.starts_with("file://")) path = path.substr(7);
    if (!path.starts_with('/')) path = settings_.data_root + "/" + path;
    std::error_code error;
    const std::filesystem::path real = std::filesystem::canonical(path, error);
    if (!error) return real.string();
    if (error == std::errc::no_such_file_or_directory) {
      const std::string hint = PatternHint(location);
      return absl::NotFoundError("there is no file or folder " + path +
                                 (hint.empty() ? "; relative paths are looked up in the daemon's data root" : hint));
    }
    return absl::FailedPreconditionError("cannot reach " + Quoted(path) + ": " + error.message());
  }

  // Whoever writes a definition is not whoever may see the daemon's keys and what is in its process. `path`: links resolved.
  static absl::Status CheckFree(const std::string& path, const std::string& state_dir, const std::string& data_root,
                                const std::vector<std::string>& secrets) {
    if (std::find(secrets.begin(), secrets.end(), path) != secrets.end()) {
      return absl::PermissionDeniedError(Quoted(path) + " holds credentials of the daemon, which are no data; choose a folder "
                                         "or a pattern without it");
    }
    // The data root may be in it, and is there by default.
    const bool is_data = data_root != state_dir && IsWithin(data_root, state_dir) && IsWithin(path, data_root);
    if (IsWithin(path, state_dir) && !is_data) {
      return absl::PermissionDeniedError(Quoted(path) + " is in the daemon's own folder " + Quoted(state_dir) +
                                         ", which is no data; choose a folder or a pattern without it");
    }
    for (const char* folder : {"/proc", "/sys", "/dev"}) {
      if (!IsWithin(path, folder)) continue;
      return absl::PermissionDeniedError(Quoted(path) + " is no data: " + folder + " shows the machine and its processes");
    }
    return absl::OkStatus();
  }

  // A pattern without a slash is about the files of the folder itself.
  static FileFilter Wanted(const std::string& pattern) {
    if (pattern.empty()) return {};
    return {.is_deep = pattern.find('/') != std::string::npos,
            .wants = [pattern](std::string_view name) { return MatchesGlob(pattern, name); }};
  }

  static std::vector<TreeEntry> Entries(std::vector<SeenFile> seen) {
    std::vector<TreeEntry> entries;
    entries.reserve(seen.size());
    for (SeenFile& file : seen) entries.push_back(std::move(file.entry));
    return entries;
  }

  const Settings& settings_;
  BlobStore& blobs_;
  FileSystem& files_;
  const Clock& clock_;
};

}  // namespace

std::string RealPath(const std::string& path) {
  std::error_code error;
  const std::filesystem::path whole = std::filesystem::absolute(path, error);
  const std::filesystem::path real = std::filesystem::weakly_canonical(whole, error);
  std::string text = error ? whole.lexically_normal().string() : real.string();
  while (text.size() > 1 && text.ends_with('/')) text.pop_back();
  return text;
}

std::string PatternHint(const std::string& location) {
  const size_t star = location.find_first_of("*?[");
  if (star == std::string::npos) return "";
  const size_t slash = location.rfind('/', star);
  const std::string folder = slash == std::string::npos ? "." : location.substr(0, slash);
  return "; a pattern stands by itself: {data: \"" + folder + "\", pattern: \"" +
         location.substr(slash == std::string::npos ? 0 : slash + 1) + "\"}";
}

size_t HashThreads() { return std::clamp<size_t>(std::thread::hardware_concurrency(), 1, 16); }

std::unique_ptr<DataSource> MakeLocalData(const Settings& settings, BlobStore& blobs, FileSystem& files,
                                          const Clock& clock) {
  return std::make_unique<LocalData>(settings, blobs, files, clock);
}

}  // namespace cd4ml::daemon
