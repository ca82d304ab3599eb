// Unpacks packages: tar (also compressed) and zip.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace cd4ml::archive {

// Unpacks the file `archive` into the empty folder `dir`. Nothing is written outside of it, whatever names or
// links the archive holds; owners and special modes are not taken over.
//
// INVALID_ARGUMENT: the file is no archive, is damaged, or names something outside. RESOURCE_EXHAUSTED: more than
// 16 GiB or 1,000,000 entries.
absl::Status Unpack(const std::string& archive, const std::string& dir);

}  // namespace cd4ml::archive
