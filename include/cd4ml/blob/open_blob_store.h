// The content-addressed store on a file system.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "cd4ml/ports/blob_store.h"

namespace cd4ml {

// Opens the store in the folder `dir` and makes it when it is missing. Several processes may have
// the same folder open. Each blob is one read-only file, objects/ab/cdef… after its digest; files
// found damaged are moved to quarantine/.
absl::StatusOr<std::unique_ptr<BlobStore>> OpenBlobStore(const std::string& dir);

}  // namespace cd4ml
