// Each file and folder is made new below an open parent folder, so that no name, however odd, and
// no link written before leads anywhere else.
#include "git/export.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string_view>
#include <system_error>

#include "cd4ml/base/status.h"
#include "cd4ml/base/time.h"
#include "git/names.h"

namespace cd4ml::git {
namespace {

constexpr int64_t kEntriesMax = 250'000;
constexpr int64_t kFileSizeMax = 256 << 20;  // Read into memory whole.
constexpr int64_t kExportSizeMax = int64_t{8} << 30;
constexpr int64_t kTargetSizeMax = 4'000;

class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }

 private:
  const int fd_;
};

class Export {
 public:
  Export(const Objects& objects, const std::string& dir) : objects_(objects), dir_(dir) {}

  absl::Status WriteTree(const git_tree* tree, int folder, const std::string& prefix, int depth) {
    if (depth > kDepthMax) return Refuse(prefix, "it has too many folders within folders");
    for (size_t i = 0; i < git_tree_entrycount(tree); ++i) {
      const git_tree_entry* entry = git_tree_entry_byindex(tree, i);
      const std::string name = git_tree_entry_name(entry);
      if (!IsSafeName(name))
        return Refuse(prefix + name, "that name could be taken for .git or leave it");
      if (++entries_ > kEntriesMax) {
        return absl::ResourceExhaustedError("the commit has more than " +
                                            std::to_string(kEntriesMax) +
                                            " files and folders; keep data out of git");
      }
      CD4ML_RETURN_IF_ERROR(WriteEntry(entry, name.c_str(), folder, prefix + name, depth));
    }
    return absl::OkStatus();
  }

 private:
  absl::Status WriteEntry(const git_tree_entry* entry, const char* name, int folder,
                          const std::string& path, int depth) {
    const git_oid& id = *git_tree_entry_id(entry);
    switch (git_tree_entry_filemode(entry)) {
      case GIT_FILEMODE_TREE: {
        const Fd below(MakeFolder(name, folder));
        if (below.get() < 0) return SystemError("make folder", path);
        CD4ML_ASSIGN_OR_RETURN(const Tree tree, objects_.ReadTree(id));
        return WriteTree(tree.get(), below.get(), path + '/', depth + 1);
      }
      case GIT_FILEMODE_BLOB:
        return WriteFile(id, name, folder, path, 0644);
      case GIT_FILEMODE_BLOB_EXECUTABLE:
        return WriteFile(id, name, folder, path, 0755);
      case GIT_FILEMODE_LINK: {
        CD4ML_ASSIGN_OR_RETURN(const std::string target,
                               objects_.ReadBlob(id, path, kTargetSizeMax));
        if (!IsSafeTarget(target, depth)) {
          return Refuse(path, "it is a symbolic link to \"" + Printable(target) +
                                  "\", which may lead out of the repository");
        }
        if (symlinkat(target.c_str(), folder, name) != 0) return SystemError("make link", path);
        return absl::OkStatus();
      }
      case GIT_FILEMODE_COMMIT: {
        const Fd below(MakeFolder(name, folder));
        return below.get() < 0 ? SystemError("make folder", path) : absl::OkStatus();
      }
      default:
        return Refuse(path, "git knows no such kind of file");
    }
  }

  static int MakeFolder(const char* name, int parent) {
    if (mkdirat(parent, name, 0755) != 0) return -1;
    return openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  }

  absl::Status WriteFile(const git_oid& id, const char* name, int folder, const std::string& path,
                         mode_t mode) {
    CD4ML_ASSIGN_OR_RETURN(const std::string bytes, objects_.ReadBlob(id, path, kFileSizeMax));
    size_ += static_cast<int64_t>(bytes.size());
    if (size_ > kExportSizeMax) {
      return absl::ResourceExhaustedError("the files of the commit have more than " +
                                          FormatSize(kExportSizeMax) + "; keep data out of git");
    }
    const Fd file(openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode));
    if (file.get() < 0) return SystemError("make file", path);
    for (std::string_view rest = bytes; !rest.empty();) {
      const ssize_t put = write(file.get(), rest.data(), rest.size());
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) return SystemError("write file", path);
      rest.remove_prefix(static_cast<size_t>(put));
    }
    // Whatever the umask says.
    return fchmod(file.get(), mode) == 0 ? absl::OkStatus() : SystemError("set mode of", path);
  }

  absl::Status Refuse(const std::string& path, const std::string& why) const {
    return absl::InvalidArgumentError("cannot check out \"" + Printable(path) + "\": " + why +
                                      "; remove it from the repository");
  }

  // Returns the error of the last system call. A full disk is RESOURCE_EXHAUSTED.
  absl::Status SystemError(const std::string& what, const std::string& path) const {
    const int error = errno;
    if (error == EEXIST) return Refuse(path, "the tree holds that name twice");
    std::string text = "cannot " + what + " \"" + Printable(path) + "\" in \"" + dir_ +
                       "\": " + std::generic_category().message(error);
    if (error != ENOSPC && error != EDQUOT) return absl::InternalError(text);
    struct statvfs vfs = {};
    statvfs(dir_.c_str(), &vfs);
    return absl::ResourceExhaustedError(
        text + ", " + FormatSize(static_cast<int64_t>(vfs.f_bavail * vfs.f_frsize)) +
        " free; free some space");
  }

  const Objects& objects_;
  const std::string& dir_;
  int64_t entries_ = 0;
  int64_t size_ = 0;
};

// Returns whether the open folder has no entries; takes `fd`.
bool IsEmpty(int fd) {
  const Handle<DIR, closedir> listing(fdopendir(fd));
  if (listing == nullptr) return false;
  while (const dirent* entry = readdir(listing.get())) {
    if (std::strcmp(entry->d_name, ".") != 0 && std::strcmp(entry->d_name, "..") != 0) return false;
  }
  return true;
}

}  // namespace

absl::Status ExportTree(const Objects& objects, const git_tree* tree, const std::string& dir) {
  const Fd root(open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (root.get() < 0) {
    return absl::FailedPreconditionError("cannot check out into \"" + dir +
                                         "\": " + std::generic_category().message(errno));
  }
  if (!IsEmpty(fcntl(root.get(), F_DUPFD_CLOEXEC, 0))) {
    return absl::FailedPreconditionError("cannot check out into \"" + dir +
                                         "\": it is not empty; give a new folder");
  }
  return Export(objects, dir).WriteTree(tree, root.get(), "", 0);
}

}  // namespace cd4ml::git
