// The system calls under the blob store.
#include "blob/file.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "cd4ml/base/status.h"
#include "cd4ml/base/time.h"

namespace cd4ml::blob {
namespace {

absl::StatusCode CodeOf(int error) {
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return absl::StatusCode::kNotFound;
    case EEXIST:
      return absl::StatusCode::kAlreadyExists;
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::StatusCode::kPermissionDenied;
    case ELOOP:
    case EISDIR:
    case ENAMETOOLONG:
      return absl::StatusCode::kInvalidArgument;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case EMFILE:
    case ENFILE:
      return absl::StatusCode::kResourceExhausted;
    default:
      return absl::StatusCode::kInternal;
  }
}

// Returns the bytes that the file system of `fd` has left for us, or -1.
int64_t FreeBytes(int fd) {
  struct statvfs vfs;
  if (fstatvfs(fd, &vfs) != 0) return -1;
  return static_cast<int64_t>(vfs.f_bavail) * static_cast<int64_t>(vfs.f_frsize);
}

absl::Status Cancelled() { return absl::CancelledError("cancelled while its bytes were read"); }

// Copied by the kernel between two looks at whether to go on.
constexpr size_t kKernelPiece = 64 << 20;

absl::Status NoSpace(int64_t needed, int64_t free) {
  return absl::ResourceExhaustedError("no space left on the device: " + FormatSize(needed) +
                                      " needed, " + FormatSize(free) +
                                      " free; free some or move the folder to a larger disk");
}

}  // namespace

Fd::~Fd() {
  if (fd_ >= 0) close(fd_);
}

absl::Status SystemError(std::string_view what) {
  const int error = errno;
  return absl::Status(
      CodeOf(error), "cannot " + std::string(what) + ": " + std::generic_category().message(error));
}

absl::Status WriteError(int fd, int64_t size) {
  if (errno == ENOSPC) return NoSpace(size, FreeBytes(fd));
  return SystemError("write " + FormatSize(size));
}

absl::StatusOr<struct stat> Stat(int fd) {
  struct stat facts;
  if (fstat(fd, &facts) != 0) return SystemError("stat the file");
  return facts;
}

absl::StatusOr<size_t> ReadAt(int fd, int64_t offset, std::string& bytes) {
  size_t filled = 0;
  while (filled < bytes.size()) {
    const ssize_t got = pread(fd, bytes.data() + filled, bytes.size() - filled,
                              offset + static_cast<int64_t>(filled));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return SystemError("read the file");
    if (got == 0) break;
    filled += static_cast<size_t>(got);
  }
  return filled;
}

absl::Status WriteAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t put = write(fd, bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return WriteError(fd, static_cast<int64_t>(bytes.size()));
    bytes.remove_prefix(static_cast<size_t>(put));
  }
  return absl::OkStatus();
}

absl::StatusOr<Digest> HashFile(int fd, const std::stop_token& stop) {
  Hasher hasher;
  std::string piece(kPieceSize, '\0');
  for (int64_t offset = 0;;) {
    CD4ML_ASSIGN_OR_RETURN(const size_t count, ReadAt(fd, offset, piece));
    if (count == 0) return hasher.Finish();
    if (stop.stop_requested()) return Cancelled();
    hasher.Update(std::string_view(piece).substr(0, count));
    offset += static_cast<int64_t>(count);
  }
}

bool Clone(int from, int to) { return ioctl(to, FICLONE, from) == 0; }

absl::Status Copy(int from, int to, const std::stop_token& stop) {
  CD4ML_ASSIGN_OR_RETURN(const struct stat facts, Stat(from));
  // Asked first, so that a file that cannot fit does not fill the disk before it fails.
  const int64_t free = FreeBytes(to);
  if (free >= 0 && facts.st_size > free) return NoSpace(facts.st_size, free);
  off64_t offset = 0;
  while (copy_file_range(from, &offset, to, nullptr, kKernelPiece, 0) > 0) {
    if (stop.stop_requested()) return Cancelled();
  }
  // What the kernel would not copy itself; usually nothing.
  std::string piece(kPieceSize, '\0');
  while (true) {
    CD4ML_ASSIGN_OR_RETURN(const size_t count, ReadAt(from, offset, piece));
    if (count == 0) return absl::OkStatus();
    if (stop.stop_requested()) return Cancelled();
    CD4ML_RETURN_IF_ERROR(WriteAll(to, std::string_view(piece).substr(0, count)));
    offset += static_cast<int64_t>(count);
  }
}

}  // namespace cd4ml::blob
