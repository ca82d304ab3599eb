// Two numbers in a shared mapping. What a crash lets them be wrong by is corrected by the next count.
#include "blob/usage.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "blob/file.h"
#include "cd4ml/base/status.h"
#include "cd4ml/base/time.h"

namespace cd4ml::blob {

absl::Status Usage::Open(int root) {
  const Fd fd(openat(root, "usage", O_RDWR | O_CREAT | O_CLOEXEC, 0666));
  const bool is_read_only = !fd.is_open() && errno == EROFS;
  if (!is_read_only && (!fd.is_open() || ftruncate(fd.get(), sizeof(Numbers)) != 0)) {
    return SystemError("make the file \"usage\"");
  }
  // Where nobody can write there is nothing to count.
  void* const mapped = mmap(nullptr, sizeof(Numbers), PROT_READ | PROT_WRITE,
                            is_read_only ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED, fd.get(), 0);
  if (mapped == MAP_FAILED) return SystemError("map the file \"usage\"");
  numbers_ = static_cast<Numbers*>(mapped);
  return absl::OkStatus();
}

Usage::~Usage() {
  if (numbers_ != nullptr) munmap(numbers_, sizeof(Numbers));
}

absl::Status Usage::Hold::Take(int64_t bytes) {
  CD4ML_RETURN_IF_ERROR(usage_.Admit(bytes));
  usage_.Add(bytes);
  bytes_ += bytes;
  return absl::OkStatus();
}

absl::Status Usage::Admit(int64_t bytes) const {
  const int64_t limit = numbers_->limit.load();
  if (limit == 0 || used() + bytes <= limit) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      "the artifact store is full: " + FormatSize(used()) + " of " + FormatSize(limit) +
      " are taken, " + FormatSize(bytes) +
      " more are needed; run `cd4ml gc`, unpin what is no longer wanted, or raise --blob-hard-limit");
}

}  // namespace cd4ml::blob
