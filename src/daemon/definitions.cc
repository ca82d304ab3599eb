// Reading definitions back from the blob store.
#include "definitions.h"

#include "cd4ml/base/status.h"

namespace cd4ml::daemon {
namespace {

constexpr size_t kKnownMax = 256;

}  // namespace

absl::StatusOr<std::shared_ptr<const core::PipelineSpec>> Definitions::Get(const Digest& digest) {
  {
    std::lock_guard lock(mutex_);
    const auto found = known_.find(digest);
    if (found != known_.end()) return found->second;
  }
  CD4ML_ASSIGN_OR_RETURN(const std::string text, ReadBlob(blobs_, digest, kDefinitionSizeMax));
  ParsedPipeline parsed = parser_.Parse(text, "definition " + digest.brief(), nullptr);
  if (core::HasErrors(parsed.diagnostics)) {
    return absl::DataLossError("the recorded definition " + digest.hex() +
                               " does not parse: " + core::Brief(parsed.diagnostics.front()));
  }
  auto spec = std::make_shared<const core::PipelineSpec>(std::move(parsed.spec));
  std::lock_guard lock(mutex_);
  if (known_.size() >= kKnownMax) known_.clear();
  known_[digest] = spec;
  return spec;
}

}  // namespace cd4ml::daemon
