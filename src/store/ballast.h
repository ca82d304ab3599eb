// A file that holds disk space back for the moment when there is no more.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace cd4ml::store {

// Nothing else may write the file. Lives on the loop's thread.
class Ballast {
 public:
  Ballast() = default;  // Holds nothing, and is always complete.
  // `size` is cut to a sixteenth of the disk that `path` is on.
  Ballast(std::string path, int64_t size);

  // Gives the space back to the disk. Returns whether there was any.
  bool Release();

  // Takes the space again. RESOURCE_EXHAUSTED: there is too little yet; says how much is needed.
  absl::Status Restore();

 private:
  std::string path_;
  int64_t size_ = 0;
};

}  // namespace cd4ml::store
