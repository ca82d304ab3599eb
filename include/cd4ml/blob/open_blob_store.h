// The content-addressed store on a file system.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "cd4ml/ports/blob_upkeep.h"

namespace cd4ml {

// Opens the store in the folder `dir` and makes it when it is missing. Several processes may have
// the same folder open. A blob that is used is one read-only file, objects/ab/cdef… after its digest, which
// can be linked to; a folded one is a list of chunks, recipes/ab/cdef…, with its chunks below chunks/. Files
// found damaged are moved to quarantine/. `on_lost_writes` is told, on any thread, when a sync found
// that the disk has not kept what was written; a later sync would not say so again.
absl::StatusOr<std::unique_ptr<KeptBlobStore>> OpenBlobStore(
    const std::string& dir, std::function<void(const absl::Status&)> on_lost_writes = nullptr);

}  // namespace cd4ml
