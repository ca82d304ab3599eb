// The port FileSystem on POSIX calls.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <atomic>

#include "cd4ml/base/status.h"
#include "cd4ml/os/os.h"
#include "fd.h"
#include "file_tail.h"

namespace cd4ml::os {
namespace {

std::string Quoted(const std::string& path) { return "\"" + path + "\""; }

// Returns the names in an open folder, without "." and "..".
absl::StatusOr<std::vector<std::string>> Names(int folder) {
  const int copy = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* const entries = copy < 0 ? nullptr : fdopendir(copy);
  if (entries == nullptr) return SystemError("cannot list a folder");
  std::vector<std::string> names;
  while (const dirent* entry = readdir(entries)) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  closedir(entries);
  return names;
}

// Opens a folder for emptying it, whatever its mode is.
Fd OpenFolder(int parent, const std::string& name) {
  fchmodat(parent, name.c_str(), 0700, 0);
  return Fd(openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
}

// Removes everything in the folder `root`. A folder in it that is not empty gives its own folders
// to `root` first, so that neither the stack nor open files grow with the depth of a tree.
absl::Status Empty(int root) {
  int64_t moved = 0;
  while (true) {
    CD4ML_ASSIGN_OR_RETURN(const std::vector<std::string> names, Names(root));
    if (names.empty()) return absl::OkStatus();
    for (const std::string& name : names) {
      if (unlinkat(root, name.c_str(), 0) == 0) continue;
      if (unlinkat(root, name.c_str(), AT_REMOVEDIR) == 0) continue;
      const Fd folder = OpenFolder(root, name);
      if (!folder.is_open()) return SystemError("cannot open " + Quoted(name));
      CD4ML_ASSIGN_OR_RETURN(const std::vector<std::string> inner, Names(folder.get()));
      for (const std::string& file : inner) {
        if (unlinkat(folder.get(), file.c_str(), 0) == 0) continue;
        if (unlinkat(folder.get(), file.c_str(), AT_REMOVEDIR) == 0) continue;
        fchmodat(folder.get(), file.c_str(), 0700, 0);  // Else it could not be moved.
        std::string next;
        do {
          next = "cd4ml-removed-" + std::to_string(++moved);
        } while (faccessat(root, next.c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0);
        if (renameat(folder.get(), file.c_str(), root, next.c_str()) != 0) {
          return SystemError("cannot remove " + Quoted(file));
        }
      }
      if (unlinkat(root, name.c_str(), AT_REMOVEDIR) != 0) {
        return SystemError("cannot remove " + Quoted(name));
      }
    }
  }
}

absl::Status WriteAll(int fd, std::string_view bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t written = write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return SystemError("cannot write " + Quoted(path));
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

class PosixFileSystem final : public FileSystem {
 public:
  absl::StatusOr<std::string> ReadFile(const std::string& path, int64_t size_max) override {
    const Fd fd(open(path.c_str(), O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
    struct stat facts {};
    if (!fd.is_open() || fstat(fd.get(), &facts) != 0)
      return SystemError("cannot open " + Quoted(path));
    if (!S_ISREG(facts.st_mode)) {
      return absl::FailedPreconditionError(Quoted(path) + " is no regular file");
    }
    std::string bytes;
    char buffer[65536];
    while (true) {
      const ssize_t got = read(fd.get(), buffer, sizeof buffer);
      if (got < 0) return SystemError("cannot read " + Quoted(path));
      if (got == 0) return bytes;
      bytes.append(buffer, static_cast<size_t>(got));
      if (static_cast<int64_t>(bytes.size()) > size_max) {
        return absl::ResourceExhaustedError(Quoted(path) + " is larger than " +
                                            std::to_string(size_max) + " bytes");
      }
    }
  }

  absl::Status WriteFileAtomically(const std::string& path, std::string_view bytes) override {
    static std::atomic<int64_t> count = 0;
    const std::string next =
        path + ".new-" + std::to_string(getpid()) + "-" + std::to_string(++count);
    Fd fd(open(next.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644));
    if (!fd.is_open()) return SystemError("cannot make " + Quoted(next));
    absl::Status status = WriteAll(fd.get(), bytes, next);
    if (status.ok()) status = Rename(next, path);
    if (!status.ok()) unlink(next.c_str());
    return status;
  }

  absl::Status MakeDirs(const std::string& path) override {
    for (size_t end = path.find('/', 1); true; end = path.find('/', end + 1)) {
      const std::string folder = path.substr(0, end);
      struct stat facts {};
      if (mkdir(folder.c_str(), 0755) != 0 &&
          (errno != EEXIST || stat(folder.c_str(), &facts) != 0 || !S_ISDIR(facts.st_mode))) {
        return SystemError("cannot make the folder " + Quoted(folder));
      }
      if (end == std::string::npos) return absl::OkStatus();
    }
  }

  absl::Status RemoveAll(const std::string& path) override {
    if (unlink(path.c_str()) == 0 || errno == ENOENT) return absl::OkStatus();
    if (errno != EISDIR && errno != EPERM) return SystemError("cannot remove " + Quoted(path));
    const Fd folder = OpenFolder(AT_FDCWD, path);
    if (!folder.is_open()) return SystemError("cannot open " + Quoted(path));
    CD4ML_RETURN_IF_ERROR(Annotate(Empty(folder.get()), "in " + Quoted(path)));
    if (rmdir(path.c_str()) != 0) return SystemError("cannot remove " + Quoted(path));
    return absl::OkStatus();
  }

  absl::StatusOr<FileStat> Stat(const std::string& path) override {
    struct stat facts {};
    if (lstat(path.c_str(), &facts) != 0) return SystemError("cannot find " + Quoted(path));
    FileStat result;
    result.kind = S_ISREG(facts.st_mode)   ? FileKind::kFile
                  : S_ISDIR(facts.st_mode) ? FileKind::kFolder
                  : S_ISLNK(facts.st_mode) ? FileKind::kLink
                                           : FileKind::kOther;
    result.size = facts.st_size;
    result.modified_ns = int64_t{facts.st_mtim.tv_sec} * 1'000'000'000 + facts.st_mtim.tv_nsec;
    result.changed_ns = int64_t{facts.st_ctim.tv_sec} * 1'000'000'000 + facts.st_ctim.tv_nsec;
    result.inode = facts.st_ino;
    result.device = facts.st_dev;
    result.executable = (facts.st_mode & S_IXUSR) != 0;
    return result;
  }

  absl::StatusOr<std::vector<std::string>> ListDir(const std::string& path) override {
    const Fd folder(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!folder.is_open()) return SystemError("cannot open the folder " + Quoted(path));
    CD4ML_ASSIGN_OR_RETURN(std::vector<std::string> names, Names(folder.get()));
    std::sort(names.begin(), names.end());
    return names;
  }

  absl::Status Rename(const std::string& from, const std::string& to) override {
    if (rename(from.c_str(), to.c_str()) == 0) return absl::OkStatus();
    return SystemError("cannot rename " + Quoted(from) + " to " + Quoted(to));
  }

  absl::StatusOr<int64_t> FreeBytes(const std::string& path) override {
    struct statvfs facts {};
    if (statvfs(path.c_str(), &facts) != 0) {
      return SystemError("cannot find out how much room there is at " + Quoted(path));
    }
    return static_cast<int64_t>(facts.f_bavail) * static_cast<int64_t>(facts.f_frsize);
  }

  absl::StatusOr<std::unique_ptr<FileTail>> Tail(const std::string& path, int64_t offset) override {
    return OpenFileTail(path, offset);
  }
};

}  // namespace

std::unique_ptr<FileSystem> MakeFileSystem() { return std::make_unique<PosixFileSystem>(); }

}  // namespace cd4ml::os
