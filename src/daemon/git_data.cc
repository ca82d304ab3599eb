// A file or folder of a git repository at a revision.
#include <atomic>

#include "cd4ml/base/status.h"
#include "data_source.h"

namespace cd4ml::daemon {
namespace {

// How the file begins that Git LFS puts in the place of a large one, and how large that can be.
constexpr std::string_view kLfsPointer = "version https://git-lfs.github.com/spec/v1\noid ";
constexpr int64_t kPointerSizeMax = 1'024;

class GitData final : public DataSource {
 public:
  GitData(const Settings& settings, const Ports& ports) : settings_(settings), ports_(ports) {}

  absl::StatusOr<ArtifactRef> Read(const core::MaterialSpec& material, const DataContext& context) const override {
    if (material.location == "." && material.ref.empty()) return Store(context.repo, context.commit, material, context);
    CD4ML_ASSIGN_OR_RETURN(const std::unique_ptr<SourceRepo> repo,
                           ports_.repos.Open(material.location == "." ? context.location : material.location));
    CD4ML_ASSIGN_OR_RETURN(const CommitFacts commit, repo->Resolve(material.ref.empty() ? "HEAD" : material.ref));
    return Store(*repo, commit.id, material, context);
  }

 private:
  absl::StatusOr<ArtifactRef> Store(SourceRepo& repo, const std::string& commit, const core::MaterialSpec& material,
                                    const DataContext& context) const {
    // The state folder is ours alone, so a number is enough; a daemon that died may have left one behind.
    const std::string dir = settings_.state_dir + "/tmp/git-" + std::to_string(next_.fetch_add(1));
    CD4ML_RETURN_IF_ERROR(ports_.files.RemoveAll(dir));
    CD4ML_RETURN_IF_ERROR(ports_.files.MakeDirs(dir));
    auto stored = StoreFrom(dir, repo, commit, material, context);
    ports_.files.RemoveAll(dir).IgnoreError();
    return stored;
  }

  absl::StatusOr<ArtifactRef> StoreFrom(const std::string& dir, SourceRepo& repo, const std::string& commit,
                                        const core::MaterialSpec& material, const DataContext& context) const {
    CD4ML_RETURN_IF_ERROR(repo.Export(commit, dir));
    const std::string path = material.path == "." ? dir : dir + "/" + material.path;
    if (!ports_.files.Exists(path)) {
      return absl::NotFoundError("commit " + commit.substr(0, 12) + " of " + material.location + " has no " + material.path);
    }
    CD4ML_ASSIGN_OR_RETURN(const FileStat stat, ports_.files.Stat(path));
    if (stat.kind == FileKind::kLink) {
      return absl::InvalidArgumentError('"' + material.path + "\" is a symbolic link; give the path that it leads to");
    }
    CD4ML_RETURN_IF_ERROR(CheckIsData(path, material.path));
    return PutArtifact(ports_.blobs, path, /*may_link=*/false, context.stop);
  }

  // Refuses what stands in git for bytes that are elsewhere. `shown` is its name in the repository.
  absl::Status CheckIsData(const std::string& path, const std::string& shown) const {
    CD4ML_ASSIGN_OR_RETURN(const FileStat stat, ports_.files.Stat(path));
    if (stat.kind == FileKind::kFile && stat.size < kPointerSizeMax) {
      CD4ML_ASSIGN_OR_RETURN(const std::string text, ports_.files.ReadFile(path, kPointerSizeMax));
      if (!text.starts_with(kLfsPointer)) return absl::OkStatus();
      return absl::FailedPreconditionError(
          '"' + shown + "\" is a pointer of Git LFS, whose bytes are not in git; give the folder of the checked out files as {data: PATH}");
    }
    if (stat.kind != FileKind::kFolder) return absl::OkStatus();
    CD4ML_ASSIGN_OR_RETURN(const std::vector<std::string> names, ports_.files.ListDir(path));
    // git knows no other folder without files.
    if (names.empty()) {
      return absl::FailedPreconditionError(
          '"' + shown + "\" is a submodule or empty: its files are not in this repository; name that repository, {git: URL, path: PATH}");
    }
    for (const std::string& name : names) {
      CD4ML_RETURN_IF_ERROR(CheckIsData(path + '/' + name, shown == "." ? name : shown + '/' + name));
    }
    return absl::OkStatus();
  }

  const Settings& settings_;
  const Ports& ports_;
  mutable std::atomic<int64_t> next_ = 0;
};

}  // namespace

std::unique_ptr<DataSource> MakeGitData(const Settings& settings, const Ports& ports) {
  return std::make_unique<GitData>(settings, ports);
}

}  // namespace cd4ml::daemon
