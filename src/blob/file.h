// Open files and what is done with their bytes: hash, write, copy, each with a telling error.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "cd4ml/base/digest.h"

namespace cd4ml::blob {

// Owns a file descriptor.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Fd();

  int get() const { return fd_; }
  bool is_open() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

// Bytes read or written at a time.
inline constexpr size_t kPieceSize = 256 << 10;

// Returns the error of the last system call: "cannot `what`: No such file or directory".
absl::Status SystemError(std::string_view what);

// Like SystemError for a write of `size` bytes; a full disk is RESOURCE_EXHAUSTED with the numbers.
absl::Status WriteError(int fd, int64_t size);

absl::StatusOr<struct stat> Stat(int fd);

// Reads from `offset` until `bytes` is full or the file ends; returns how many it read.
absl::StatusOr<size_t> ReadAt(int fd, int64_t offset, std::string& bytes);

absl::Status WriteAll(int fd, std::string_view bytes);

// Returns the digest of the file from its first byte to its end.
// CANCELLED at `stop`.
absl::StatusOr<Digest> HashFile(int fd, const std::stop_token& stop);

// Makes the empty file `to` share the bytes of `from`, where the file system can do that.
bool Clone(int from, int to);

// Writes the bytes of `from` into the empty file `to`, inside of the kernel where it can.
// CANCELLED at `stop`.
absl::Status Copy(int from, int to, const std::stop_token& stop);

}  // namespace cd4ml::blob
