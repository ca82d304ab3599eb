// One small process above each command, which does for it what init does for a machine. When nothing of its command is
// left, it serves another one.
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
  bool is_all;  // Nothing else is left below the reaper, which waits for another order.
};

// What a reaper is asked to do: a message of keeper_wire.h's fields (spec, marker, cgroup), with the pipe for `Born` beside it.
struct Order {
  ProcessSpec spec;
  std::string marker;   // The value of kMarker in the command's environment.
  std::string cgroup;   // "": none.
};

inline constexpr const char* kMarker = "CD4ML_PROCESS";

// Starts the command of `order` as a child of the calling process with `output` as its standard output and errors.
// Returns when the program runs, or has failed, as it does without an output (-1). The process itself tells `born` when
// there is one.
using CommandStarter = Born (*)(const Order& order, int output, int born);

// The life of a reaper, after a fork of the keeper: takes an order from the socket `orders`, starts its command, tells its
// `Born`, and later `ended`. It ends when a command has left something behind and that is gone, too, or when there will be no
// more orders. It hears no signal but SIGKILL and SIGSTOP.
[[noreturn]] void RunReaper(int orders, CommandStarter start, int ended);

// Returns false when the socket takes no order; the reaper is then of no use any more.
bool SendOrder(int orders, const Order& order, int born);

}  // namespace cd4ml::keeper
