// Running a short command and taking what it says.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace cd4ml::os {

struct Captured {
  int exit_code = 0;   // 128 + n after signal n.
  std::string output;  // Standard output and error, the first 4 KiB, without line ends at its end.
};

// Runs `argv` with the environment of this process and waits until nobody holds its output any
// more.
absl::StatusOr<Captured> Capture(const std::vector<std::string>& argv);

}  // namespace cd4ml::os
