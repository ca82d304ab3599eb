// The content-addressed store, on a file system or in a folder of objects.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "cd4ml/ports/blob_upkeep.h"
#include "cd4ml/ports/clock.h"
#include "cd4ml/ports/object_store.h"

namespace cd4ml {

// Opens the store in the folder `dir` and makes it when it is missing. Several processes may have
// the same folder open. A blob that is used is one read-only file, objects/ab/cdef… after its digest, which
// can be linked to; a folded one is a list of chunks, recipes/ab/cdef…, with its chunks below chunks/. Files
// found damaged are moved to quarantine/. `on_lost_writes` is told, on any thread, when a sync found
// that the disk has not kept what was written; a later sync would not say so again.
absl::StatusOr<std::unique_ptr<KeptBlobStore>> OpenBlobStore(
    const std::string& dir, std::function<void(const absl::Status&)> on_lost_writes = nullptr);

// Opens the store in a folder of objects, which one process of one `owner` has open at a time. FAILED_PRECONDITION: it
// is somebody else's. That a blob was used is noted there at most every `touch_after`, and blobs stay as much longer.
absl::StatusOr<std::unique_ptr<KeptBlobStore>> OpenObjectBlobStore(ObjectStoreOpener objects, const Clock& clock,
                                                                   const std::string& owner, Duration touch_after);

}  // namespace cd4ml
