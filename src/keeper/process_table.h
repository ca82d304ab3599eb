// The kernel's process table, read through /proc, and signals that cannot hit the wrong process.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cd4ml::keeper {

// One process. Pid and start time together name it for as long as the machine is up.
struct ProcessEntry {
  pid_t pid = 0;
  pid_t session = 0;
  uint64_t start_ticks = 0;
  bool is_dead = false;  // A zombie: nothing of it runs.
};

std::optional<ProcessEntry> ReadEntry(pid_t pid);
// Returns when a process was started; 0 when it is gone.
uint64_t StartTicks(pid_t pid);

// Returns every process id of the machine that can be seen from here.
std::vector<pid_t> AllPids();

// Returns the children of all threads of a process.
std::vector<pid_t> Children(pid_t pid);

// Returns the bytes of memory that a process takes, where a page that several share counts in parts; all of its pages
// where the kernel does not tell that. 0 when it is gone.
int64_t MemoryOf(pid_t pid);
// Returns the most that it has ever taken, with all that it shared.
int64_t PeakMemoryOf(pid_t pid);

// Returns the value that a variable had when the program of the process was started, or "".
std::string Variable(pid_t pid, std::string_view name);

// Sends a signal unless the process is gone, even when its id is taken by another one by now.
void Signal(const ProcessEntry& entry, int signal);

// Returns what differs after each start of the machine.
std::string BootId();

// Returns the whole of a small file of /proc or /sys, "" when it cannot be read.
std::string ReadSmallFile(const std::string& path);

}  // namespace cd4ml::keeper
