// Fetches, parses and remembers definitions.
#include "agent/definitions.h"

#include "cd4ml/base/status.h"

namespace cd4ml::agent {

absl::StatusOr<std::shared_ptr<const core::PipelineSpec>> Definitions::Get(
    const Digest& digest, const std::stop_token& stop) {
  {
    std::lock_guard lock(mutex_);
    for (const Entry& entry : cache_) {
      if (entry.first == digest) return entry.second;
    }
  }
  CD4ML_ASSIGN_OR_RETURN(const std::string text, blobs_.Read(digest, int64_t{64} << 20, stop));
  ParsedPipeline parsed = parser_.Parse(text, "definition.json", nullptr);
  for (const core::Diagnostic& diagnostic : parsed.diagnostics) {
    if (diagnostic.severity == core::Severity::kError) {
      return absl::InvalidArgumentError("the run's definition cannot be read: " +
                                        core::Brief(diagnostic));
    }
  }
  auto spec = std::make_shared<const core::PipelineSpec>(std::move(parsed.spec));
  std::lock_guard lock(mutex_);
  if (cache_.size() == kCached) cache_.erase(cache_.begin());
  cache_.emplace_back(digest, spec);
  return spec;
}

}  // namespace cd4ml::agent
