// The store in memory. It verifies when a blob is opened: all bytes are at hand.
#include "tests/support/memory_blob_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "cd4ml/base/status.h"
#include "tests/support/temp_dir.h"

namespace cd4ml {
namespace {

class Reader final : public BlobReader {
 public:
  Reader(std::string bytes, size_t position) : bytes_(std::move(bytes)), position_(position) {}

  absl::StatusOr<std::string> Read(size_t size_max) override {
    std::string piece = bytes_.substr(position_, size_max);
    position_ += piece.size();
    return piece;
  }
  int64_t size() const override { return static_cast<int64_t>(bytes_.size()); }

 private:
  const std::string bytes_;
  size_t position_;
};

class Writer final : public BlobWriter {
 public:
  explicit Writer(MemoryBlobStore& store) : store_(store) {}

  absl::Status Append(std::string_view bytes) override {
    bytes_ += bytes;
    return absl::OkStatus();
  }
  absl::StatusOr<Digest> Commit(const Digest& expected) override {
    Digest digest = Sha256(bytes_);
    if (expected.is_set() && digest != expected) {
      return absl::DataLossError("the bytes do not hash to sha256:" + expected.hex());
    }
    store_.Overwrite(digest, std::move(bytes_));
    return digest;
  }

 private:
  MemoryBlobStore& store_;
  std::string bytes_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<BlobWriter>> MemoryBlobStore::Create() {
  return std::make_unique<Writer>(*this);
}

absl::StatusOr<std::string> MemoryBlobStore::Find(const Digest& digest) const {
  const std::lock_guard lock(mutex_);
  const auto at = blobs_.find(digest);
  if (at == blobs_.end()) return absl::NotFoundError("there is no blob sha256:" + digest.hex());
  return at->second;
}

absl::StatusOr<std::unique_ptr<BlobReader>> MemoryBlobStore::Open(const Digest& digest,
                                                                  int64_t offset) {
  CD4ML_ASSIGN_OR_RETURN(std::string bytes, Find(digest));
  if (offset < 0 || offset > static_cast<int64_t>(bytes.size())) {
    return absl::OutOfRangeError("offset " + std::to_string(offset) + " is outside of the blob");
  }
  if (Sha256(bytes) != digest)
    return absl::DataLossError("blob sha256:" + digest.hex() + " is damaged");
  return std::make_unique<Reader>(std::move(bytes), static_cast<size_t>(offset));
}

absl::StatusOr<int64_t> MemoryBlobStore::Size(const Digest& digest) {
  CD4ML_ASSIGN_OR_RETURN(const std::string bytes, Find(digest));
  return static_cast<int64_t>(bytes.size());
}

absl::Status MemoryBlobStore::Remove(const Digest& digest) {
  const std::lock_guard lock(mutex_);
  blobs_.erase(digest);
  return absl::OkStatus();
}

absl::StatusOr<Digest> MemoryBlobStore::PutFile(const std::string& path, bool /*may_link*/,
                                                const std::stop_token& /*stop*/) {
  std::error_code error;
  const auto status = std::filesystem::symlink_status(path, error);
  if (!std::filesystem::exists(status))
    return absl::NotFoundError("there is no file \"" + path + '"');
  if (!std::filesystem::is_regular_file(status)) {
    return absl::InvalidArgumentError("not a regular file: \"" + path + '"');
  }
  return PutBytes(*this, FileBytes(path));
}

absl::Status MemoryBlobStore::Materialize(const Digest& digest, const std::string& path,
                                          bool executable, bool /*may_link*/,
                                          const std::stop_token& /*stop*/) {
  CD4ML_ASSIGN_OR_RETURN(const auto reader, Open(digest, 0));
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) {
    return errno == EEXIST ? absl::AlreadyExistsError(path + " exists") : absl::NotFoundError(path);
  }
  const std::string bytes = reader->Read(static_cast<size_t>(reader->size()) + 1).value();
  const bool is_written =
      write(fd, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size());
  fchmod(fd, executable ? 0555 : 0444);
  close(fd);
  return is_written ? absl::OkStatus() : absl::InternalError("cannot write " + path);
}

void MemoryBlobStore::Overwrite(const Digest& digest, std::string bytes) {
  const std::lock_guard lock(mutex_);
  blobs_[digest] = std::move(bytes);
}

size_t MemoryBlobStore::count() const {
  const std::lock_guard lock(mutex_);
  return blobs_.size();
}

}  // namespace cd4ml
