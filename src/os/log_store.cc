// Logs as files: <folder>/<pipeline>/<run>/<stage>/<attempt>.log.
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <functional>
#include <mutex>

#include "cd4ml/base/status.h"
#include "cd4ml/base/time.h"
#include "cd4ml/os/os.h"
#include "fd.h"

namespace cd4ml::os {
namespace {

constexpr int kPartsMax = 8;
constexpr size_t kPartSizeMax = 200;

bool IsPart(std::string_view part) {
  const auto is_fine = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '.' ||
           c == '_' || c == '-' || c == '+' || c == ',' || c == '@' || c == '~';
  };
  return !part.empty() && part.size() <= kPartSizeMax && part[0] != '.' &&
         std::all_of(part.begin(), part.end(), is_fine);
}

class FileLogStore final : public LogStore {
 public:
  FileLogStore(std::string folder, int64_t size_max)
      : folder_(std::move(folder)),
        size_max_(size_max),
        marker_("\n[cd4ml: the log is cut off here, at " + FormatSize(size_max) + "]\n") {}

  absl::StatusOr<int64_t> Append(const std::string& attempt_id, int64_t offset,
                                 std::string_view bytes) override {
    CD4ML_ASSIGN_OR_RETURN(const std::string path, Path(attempt_id));
    if (offset < 0) return absl::InvalidArgumentError("a log has no place before its beginning");
    const std::lock_guard lock(mutexes_[std::hash<std::string>()(path) % mutexes_.size()]);
    CD4ML_ASSIGN_OR_RETURN(const Fd fd, Open(path));
    CD4ML_ASSIGN_OR_RETURN(const int64_t size, SizeOf(fd, path));
    const int64_t end = offset + static_cast<int64_t>(bytes.size());
    if (size > size_max_) return end;  // Cut off before.
    if (offset > size) {
      return absl::FailedPreconditionError("the log of " + attempt_id + " has " +
                                           std::to_string(size) + " bytes, so none can follow at " +
                                           std::to_string(offset));
    }
    if (end <= size) return size;
    bytes.remove_prefix(static_cast<size_t>(size - offset));
    if (end <= size_max_) {
      CD4ML_RETURN_IF_ERROR(WriteAt(fd, size, bytes, path));
    } else {
      const auto room = static_cast<size_t>(size_max_ - size);
      CD4ML_RETURN_IF_ERROR(WriteAt(fd, size, std::string(bytes.substr(0, room)) + marker_, path));
    }
    return end;
  }

  absl::StatusOr<std::string> Read(const std::string& attempt_id, int64_t offset,
                                   int64_t size_max) override {
    CD4ML_ASSIGN_OR_RETURN(const std::string path, Path(attempt_id));
    if (offset < 0 || size_max < 0)
      return absl::InvalidArgumentError("a log has no negative places");
    const Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd.is_open()) return MissingIsEmpty(path, std::string());
    CD4ML_ASSIGN_OR_RETURN(const int64_t size, SizeOf(fd, path));
    std::string bytes(static_cast<size_t>(std::clamp<int64_t>(size - offset, 0, size_max)), '\0');
    const ssize_t got = pread(fd.get(), bytes.data(), bytes.size(), offset);
    if (got < 0) return SystemError("cannot read \"" + path + "\"");
    bytes.resize(static_cast<size_t>(got));
    return bytes;
  }

  absl::StatusOr<int64_t> Size(const std::string& attempt_id) override {
    CD4ML_ASSIGN_OR_RETURN(const std::string path, Path(attempt_id));
    struct stat facts {};
    if (stat(path.c_str(), &facts) != 0) return MissingIsEmpty(path, int64_t{0});
    return facts.st_size;
  }

 private:
  absl::StatusOr<std::string> Path(const std::string& attempt_id) const {
    std::string_view rest = attempt_id;
    for (int parts = 1; parts <= kPartsMax; ++parts) {
      const size_t slash = rest.find('/');
      if (!IsPart(rest.substr(0, slash))) break;
      if (slash == std::string_view::npos) return folder_ + "/" + attempt_id + ".log";
      rest.remove_prefix(slash + 1);
    }
    return absl::InvalidArgumentError("\"" + attempt_id.substr(0, kPartSizeMax) +
                                      "\" is no id of an attempt, like used-car-price/12/train/1");
  }

  absl::StatusOr<Fd> Open(const std::string& path) {
    const int flags = O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC;
    Fd fd(open(path.c_str(), flags, 0644));
    if (!fd.is_open() && errno == ENOENT) {
      CD4ML_RETURN_IF_ERROR(files_->MakeDirs(path.substr(0, path.rfind('/'))));
      fd = Fd(open(path.c_str(), flags, 0644));
    }
    if (!fd.is_open()) return SystemError("cannot open \"" + path + "\"");
    return fd;
  }

  static absl::StatusOr<int64_t> SizeOf(const Fd& fd, const std::string& path) {
    struct stat facts {};
    if (fstat(fd.get(), &facts) != 0) return SystemError("cannot read \"" + path + "\"");
    return facts.st_size;
  }

  // What was written before an error stays: the sender goes on from there.
  static absl::Status WriteAt(const Fd& fd, int64_t place, std::string_view bytes,
                              const std::string& path) {
    while (!bytes.empty()) {
      const ssize_t written = pwrite(fd.get(), bytes.data(), bytes.size(), place);
      if (written <= 0) return SystemError("cannot write \"" + path + "\"");
      bytes.remove_prefix(static_cast<size_t>(written));
      place += written;
    }
    return absl::OkStatus();
  }

  template <typename T>
  static absl::StatusOr<T> MissingIsEmpty(const std::string& path, T empty) {
    if (errno == ENOENT) return empty;
    return SystemError("cannot open \"" + path + "\"");
  }

  const std::string folder_;
  const int64_t size_max_;
  const std::string marker_;
  const std::unique_ptr<FileSystem> files_ = MakeFileSystem();
  std::array<std::mutex, 16>
      mutexes_;  // Each guards the files whose path hashes to it, for Append.
};

}  // namespace

std::unique_ptr<LogStore> MakeLogStore(const std::string& folder, int64_t size_max) {
  return std::make_unique<FileLogStore>(folder, size_max);
}

}  // namespace cd4ml::os
