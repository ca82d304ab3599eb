// Pipeline definitions by digest, parsed once.
#pragma once

#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/blobs.h"
#include "cd4ml/core/pipeline.h"
#include "cd4ml/ports/pipeline_parser.h"

namespace cd4ml::agent {

// Thread-safe.
class Definitions {
 public:
  Definitions(Blobs& blobs, const PipelineParser& parser) : blobs_(blobs), parser_(parser) {}

  // Returns a definition, and waits for the daemon when only it has the bytes, until `stop`.
  // Shared, because stages of several revisions run at once and the cache lets go of old ones.
  absl::StatusOr<std::shared_ptr<const core::PipelineSpec>> Get(const Digest& digest,
                                                                const std::stop_token& stop);

 private:
  static constexpr size_t kCached = 16;
  using Entry = std::pair<Digest, std::shared_ptr<const core::PipelineSpec>>;

  Blobs& blobs_;
  const PipelineParser& parser_;
  std::mutex mutex_;
  std::vector<Entry> cache_;  // Guarded by mutex_; oldest first.
};

}  // namespace cd4ml::agent
