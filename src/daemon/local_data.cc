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

// Stores the files at `paths` and notes each in `seen`, whose entries have their names.
class Reading {
 public:
  Reading(BlobStore& blobs, FileSystem& files, const Clock& clock, const SeenFiles& known,
          std::vector<std::string> names, std::vector<std::string> paths)
      : blobs_(blobs), files_(files), clock_(clock), paths_(std::move(paths)), records_(known.Match(names)), seen_(names.size()) {
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
      if (records_[i] != nullptr && records_[i]->stamp == stamp && TakeStored(*records_[i], blobs_, seen_[i].entry)) {
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
};

class LocalData final : public DataSource {
 public:
  LocalData(const Settings& settings, BlobStore& blobs, FileSystem& files, const Clock& clock)
      : settings_(settings), blobs_(blobs), files_(files), clock_(clock) {}

  absl::StatusOr<ArtifactRef> Read(const core::MaterialSpec& material, const DataContext& context) const override {
    CD4ML_ASSIGN_OR_RETURN(const std::string path, Find(material.location));
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
      for (FoundFile& file : found) names.push_back(std::move(file.name)), paths.push_back(std::move(file.path));
    }
    const SeenFiles known(files_, SeenFolder(settings_), "local " + path + '\n' + material.pattern);
    Reading reading(blobs_, files_, clock_, known, std::move(names), std::move(paths));
    const absl::Status read = reading.ReadAll(context.stop);
    known.Save(reading.seen());
    CD4ML_RETURN_IF_ERROR(read);
    if (is_folder) return PutTree(blobs_, Entries(std::move(reading.seen())));
    const TreeEntry& entry = reading.seen().front().entry;
    return ArtifactRef{.digest = entry.digest, .is_tree = false, .size = entry.size, .files = 1};
  }

 private:
  // A link is only a name of the data; what is stored is what it leads to.
  absl::StatusOr<std::string> Find(std::string path) const {
    if (path.starts_with("file://")) path = path.substr(7);
    if (!path.starts_with('/')) path = settings_.data_root + "/" + path;
    std::error_code error;
    const std::filesystem::path real = std::filesystem::canonical(path, error);
    if (!error) return real.string();
    if (error == std::errc::no_such_file_or_directory) {
      return absl::NotFoundError("there is no file or folder " + path +
                                 "; relative paths are looked up in the daemon's data root");
    }
    return absl::FailedPreconditionError("cannot reach " + Quoted(path) + ": " + error.message());
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

size_t HashThreads() { return std::clamp<size_t>(std::thread::hardware_concurrency(), 1, 16); }

std::unique_ptr<DataSource> MakeLocalData(const Settings& settings, BlobStore& blobs, FileSystem& files,
                                          const Clock& clock) {
  return std::make_unique<LocalData>(settings, blobs, files, clock);
}

}  // namespace cd4ml::daemon
