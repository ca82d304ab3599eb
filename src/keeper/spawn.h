// Starting one process of a stage or service.
#pragma once

#include <sys/types.h>

#include <string>

#include "cd4ml/ports/process_runner.h"

namespace cd4ml::keeper {

inline constexpr const char* kMarker = "CD4ML_PROCESS";

struct SpawnResult {
  pid_t pid = -1;       // -1: the kernel gave no process.
  std::string message;  // Why; or why the process that there is ends with exit code 127.
};

// Starts `spec` in a session of its own with `marker` ("NAME=value") added to its environment, in
// the control group at `cgroup` unless that is "". Returns when the program is running.
SpawnResult Spawn(const ProcessSpec& spec, const std::string& marker, const std::string& cgroup);

}  // namespace cd4ml::keeper
