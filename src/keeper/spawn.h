// Starting one process of a stage or service.
#pragma once

#include <sys/types.h>

#include <string>

#include "cd4ml/ports/process_runner.h"
#include "reaper.h"

namespace cd4ml::keeper {

inline constexpr const char* kMarker = "CD4ML_PROCESS";

struct SpawnResult {
  pid_t pid = -1;       // Of the command; -1: the kernel gave no process.
  pid_t reaper = -1;    // Its parent, a child of the calling process.
  std::string message;  // Why.
};

// Starts `spec` below a reaper of its own (reaper.h), in a session of its own, with kMarker=`marker` added to its
// environment, in the control group at `cgroup` unless that is "". Its reaper tells of its end through the pipe `ended`.
// Returns when there is a process, which tells at its end why it could not become its program. Not thread-safe: the calling process must have one thread only.
SpawnResult Spawn(const ProcessSpec& spec, const std::string& marker, const std::string& cgroup, int ended);

// Returns `failure` of `spec` in words; "" for none.
std::string Explain(const Failure& failure, const ProcessSpec& spec);

}  // namespace cd4ml::keeper
