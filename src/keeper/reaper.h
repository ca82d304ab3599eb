// One small process above each command, which does for it what init does for a machine.
//
// It is a subreaper: whatever the command starts stays below it, however often it forks, changes its session or wipes
// its environment, so that the keeper knows whose it is. It copies what they print from a pipe to the log: a command may
// open /dev/stdout and /dev/stderr anew, and does not cut off the log by that as it would a file.
#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include <string>

#include "cd4ml/ports/process_runner.h"

namespace cd4ml::keeper {

// Why there is no process, or why the one that there is ends with exit code 127.
struct Failure {
  enum Step { kNone, kLog, kLogKind, kPipe, kClone, kDir, kExec } step;
  int error;
};

// Told once, by the command's process before it becomes its program, which might stop or kill its reaper; or by the
// reaper.
struct Born {
  pid_t pid;  // -1: there is no process.
  Failure failure;
};

// Told once through the pipe that all reapers of a keeper share: shorter than PIPE_BUF, so they do not mix.
struct Ended {
  pid_t reaper;
  Failure failure;
  int wait_status;
  rusage usage;
  bool is_all;  // Nothing else is left below the reaper, which ends too.
};

// Starts a program as a child of the calling process with `output` as its standard output and errors, in the control
// group at `cgroup` unless that is "". Returns when the program runs, or has failed, as it does without an output (-1).
// The process itself tells `born` when there is one.
using CommandStarter = Born (*)(const ProcessSpec& spec, const std::string& cgroup, int output, int born);

// The life of a reaper, after a fork of the keeper: starts the command of `spec`, tells `born`, and later `ended`. It
// hears no signal but SIGKILL and SIGSTOP.
[[noreturn]] void RunReaper(const ProcessSpec& spec, const std::string& cgroup, CommandStarter start, int born, int ended);

}  // namespace cd4ml::keeper
