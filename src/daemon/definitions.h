// Parsed definitions by digest: a definition is read and parsed once, whoever asks.
#pragma once

#include <map>
#include <memory>
#include <mutex>

#include "cd4ml/ports/blob_store.h"
#include "cd4ml/ports/pipeline_parser.h"

namespace cd4ml::daemon {

// Thread-safe.
class Definitions {
 public:
  Definitions(BlobStore& blobs, const PipelineParser& parser) : blobs_(blobs), parser_(parser) {}

  // Returns the definition that a run was started with.
  absl::StatusOr<std::shared_ptr<const core::PipelineSpec>> Get(const Digest& digest);

 private:
  BlobStore& blobs_;
  const PipelineParser& parser_;
  std::mutex mutex_;  // Guards known_.
  std::map<Digest, std::shared_ptr<const core::PipelineSpec>> known_;
};

constexpr int64_t kDefinitionSizeMax = 64 << 20;   // Expanded; the file itself is at most 8 MiB.

}  // namespace cd4ml::daemon
