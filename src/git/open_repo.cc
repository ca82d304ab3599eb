// From a location to a repository, past everything that could configure git.
#include "cd4ml/git/open_repo.h"

#include <git2.h>
#include <git2/sys/config.h>
#include <git2/sys/repository.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "cd4ml/base/check.h"
#include "cd4ml/base/status.h"
#include "git/names.h"
#include "git/repo.h"

namespace cd4ml {
namespace git {
namespace {

namespace fs = std::filesystem;
using Config = Handle<git_config, git_config_free>;

// Starts libgit2 with no configuration files but those it is told, which are none. Once per
// process.
bool StartLibrary() {
  if (git_libgit2_init() < 0) return false;
  for (const int level : {GIT_CONFIG_LEVEL_PROGRAMDATA, GIT_CONFIG_LEVEL_SYSTEM,
                          GIT_CONFIG_LEVEL_XDG, GIT_CONFIG_LEVEL_GLOBAL}) {
    git_libgit2_opts(GIT_OPT_SET_SEARCH_PATH, level, "");
  }
  // git refuses repositories of other users because their configuration could run programs. Here no
  // configuration is read, and a root daemon has to read the repositories of its users.
  git_libgit2_opts(GIT_OPT_SET_OWNER_VALIDATION, 0);
  // Who keeps a repository open reads small files once, also those that libgit2 would not remember by itself.
  git_libgit2_opts(GIT_OPT_SET_CACHE_OBJECT_LIMIT, GIT_OBJECT_BLOB, size_t{64} << 10);
  git_libgit2_opts(GIT_OPT_SET_CACHE_MAX_SIZE, ssize_t{64} << 20);
  return git_libgit2_opts(GIT_OPT_ENABLE_STRICT_HASH_VERIFICATION, 1) == 0;
}

// Returns the path that follows "file://" with %41 decoded; empty when it names another host.
std::string PathOfUrl(std::string_view rest) {
  if (rest.starts_with("localhost/")) rest.remove_prefix(9);
  std::string path;
  for (size_t i = 0; i < rest.size(); ++i) {
    const std::string hex(rest.substr(i + 1 > rest.size() ? rest.size() : i + 1, 2));
    if (rest[i] == '%' && hex.size() == 2 &&
        hex.find_first_not_of("0123456789abcdefABCDEF") == hex.npos) {
      path.push_back(static_cast<char>(std::stoi(hex, nullptr, 16)));
      i += 2;
    } else {
      path.push_back(rest[i]);
    }
  }
  return path.starts_with('/') ? path : "";
}

absl::StatusOr<fs::path> ParseLocation(const std::string& location) {
  const std::string shown = '"' + Printable(location, 300) + '"';
  std::string path = location;
  if (location.starts_with("file://")) {
    path = PathOfUrl(std::string_view(location).substr(7));
  } else if (location.find("://") != location.npos ||
             location.substr(0, location.find('/')).find(':') != location.npos) {
    return absl::UnimplementedError(
        "cannot open " + shown +
        ": remote repositories are not available yet; clone it on this host "
        "and give the path");
  }
  const auto is_control = [](unsigned char c) { return c < ' ' || c == 0x7F; };
  if (!path.starts_with('/') || path.size() > 4'000 ||
      std::any_of(path.begin(), path.end(), is_control)) {
    return absl::InvalidArgumentError(
        shown + " is not the location of a repository; give an absolute path");
  }
  return fs::path(path);
}

// Returns the folder with the objects and refs of the repository at `path`: itself when it is bare,
// .git in it, or where the file .git of a linked work tree points.
fs::path GitFolder(const fs::path& path) {
  const fs::path inner = path / ".git";
  std::error_code error;
  if (fs::is_directory(inner, error)) return inner;
  if (!fs::is_regular_file(inner, error)) return path;
  std::string line(4'096, '\0');
  std::ifstream file(inner);
  file.read(line.data(), static_cast<std::streamsize>(line.size()));
  line.resize(static_cast<size_t>(file.gcount()));
  line.resize(std::min(line.size(), line.find('\n')));
  constexpr std::string_view kKey = "gitdir: ";
  return line.starts_with(kKey) ? path / line.substr(kKey.size()) : path;
}

// Returns why there is no repository at `path`.
absl::Status NoRepository(const fs::path& path) {
  const std::string shown = '"' + path.string() + '"';
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (status.type() == fs::file_type::not_found) {
    return absl::NotFoundError("there is no folder " + shown +
                               "; give the path of a git repository");
  }
  if (error) return absl::PermissionDeniedError("cannot read " + shown + ": " + error.message());
  std::string hint = "; give the folder that holds .git, or run `git init` there";
  for (fs::path above = path; above.has_relative_path(); above = above.parent_path()) {
    if (fs::exists(above.parent_path() / ".git", error)) {
      hint = "; did you mean \"" + above.parent_path().string() + "\"?";
      break;
    }
  }
  return absl::NotFoundError(shown + " is not a git repository" + hint);
}

class Opener final : public SourceRepoOpener {
 public:
  absl::StatusOr<std::unique_ptr<SourceRepo>> Open(const std::string& location) override {
    CD4ML_ASSIGN_OR_RETURN(const fs::path path, ParseLocation(location));
    git_repository* raw = nullptr;
    // Opening as bare reads no configuration: no work tree is looked for.
    if (git_repository_open_bare(&raw, GitFolder(path).c_str()) != 0) return NoRepository(path);
    Repository repository(raw);
    git_config* config = nullptr;
    if (git_config_new(&config) != 0) return GitError("make an empty configuration");
    const Config owned(config);
    git_repository_set_config(raw, config);
    return MakeRepo(std::move(repository), path.string());
  }
};

}  // namespace
}  // namespace git

std::unique_ptr<SourceRepoOpener> MakeRepoOpener() {
  static const bool is_started = git::StartLibrary();
  CD4ML_CHECK(is_started, "libgit2 does not start");
  return std::make_unique<git::Opener>();
}

}  // namespace cd4ml
