// What is said about copies of a daemon's state and about damage in it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cd4ml/ports/inspector.h"

namespace cd4ml {

struct BackupReport {
  std::string dir, name;
  int64_t database_bytes = 0;
  int64_t blobs = 0;                   // That the copy refers to, those inside of folders included.
  int64_t blobs_copied = 0, bytes_copied = 0;   // The others were there already.
  std::vector<Damage> damage;          // Of what was copied, and what could not be because it is damaged or gone.
};

struct ScrubReport {
  int64_t runs = 0, events = 0;
  int64_t blobs = 0, bytes = 0;        // Read and hashed.
  std::vector<Damage> damage;
};

}  // namespace cd4ml
