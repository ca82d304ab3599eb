// A BlobStore in memory, for tests of those who use one.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "cd4ml/ports/blob_store.h"

namespace cd4ml {

class MemoryBlobStore final : public BlobStore {
 public:
  absl::StatusOr<std::unique_ptr<BlobWriter>> Create() override;
  absl::StatusOr<std::unique_ptr<BlobReader>> Open(const Digest& digest, int64_t offset) override;
  absl::StatusOr<int64_t> Size(const Digest& digest) override;
  absl::Status Remove(const Digest& digest) override;
  absl::StatusOr<Digest> PutFile(const std::string& path, bool may_link,
                                 const std::stop_token& stop) override;
  absl::Status Materialize(const Digest& digest, const std::string& path, bool executable,
                           bool may_link, const std::stop_token& stop) override;

  // Stores `bytes` under `digest`, whether they hash to it or not: damage, for tests.
  void Overwrite(const Digest& digest, std::string bytes);
  size_t count() const;

 private:
  absl::StatusOr<std::string> Find(const Digest& digest) const;

  mutable std::mutex mutex_;  // Guards blobs_.
  std::map<Digest, std::string> blobs_;
};

}  // namespace cd4ml
