// The content-addressed store on a file system.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "cd4ml/ports/blob_store.h"

namespace cd4ml {

// Opens the store in the folder `dir` and makes it when it is missing. Several processes may have
// the same folder open. Each blob is one read-only file, objects/ab/cdef… after its digest; files
// found damaged are moved to quarantine/. `on_lost_writes` is told, on any thread, when a sync found
// that the disk has not kept what was written; a later sync would not say so again.
absl::StatusOr<std::unique_ptr<BlobStore>> OpenBlobStore(
    const std::string& dir, std::function<void(const absl::Status&)> on_lost_writes = nullptr);

}  // namespace cd4ml
