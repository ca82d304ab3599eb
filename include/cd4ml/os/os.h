// The operating system: the only place that reads clocks, starts processes and touches plain files.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cd4ml/base/value.h"
#include "cd4ml/core/resources.h"
#include "cd4ml/ports/clock.h"
#include "cd4ml/ports/file_system.h"
#include "cd4ml/ports/log_store.h"
#include "cd4ml/ports/process_runner.h"
#include "cd4ml/ports/read_watch.h"

namespace cd4ml::os {

std::unique_ptr<Clock> MakeClock();

// Names the time since the machine was started, within which Clock::Steady goes on for all processes; "" when not known.
std::string BootId();

std::unique_ptr<FileSystem> MakeFileSystem();

// Keeps logs as files below `folder`, each cut off at `size_max` bytes.
std::unique_ptr<LogStore> MakeLogStore(const std::string& folder,
                                       int64_t size_max = kLogSizeMax);

// Returns the agent's side of the keeper that serves `state_dir`, which must exist and be the
// caller's alone. Starts the program `keeper_binary` when none answers, and again whenever it dies;
// its processes are then reported as lost. Any number of runners and agents may share a keeper.
absl::StatusOr<std::unique_ptr<ProcessRunner>> ConnectKeeper(const std::string& state_dir,
                                                             const std::string& keeper_binary);

// Waits for the signals that ask a program to end. To be made in main before the first thread: it
// blocks SIGTERM, SIGINT, SIGHUP and SIGCHLD in all later ones, and makes broken pipes errors
// instead of signals.
class StopSignal {
 public:
  StopSignal();
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  // Returns the signal, or 0 when `timeout` has passed without one.
  int Wait(Duration timeout);

 private:
  int fd_;
};

// Becomes a new process of the same program with the arguments `argv`. Returns only when that fails.
absl::Status StartAnew(char* const* argv);

// Makes a file's bytes, or the names in a folder, durable.
absl::Status SyncPath(const std::string& path);

// Held for as long as the process may use a state folder; let go of with its destruction or its
// process.
class DirLock {
 public:
  virtual ~DirLock() = default;
};
// UNAVAILABLE, naming the pid, when another process holds the folder.
absl::StatusOr<std::unique_ptr<DirLock>> LockDir(const std::string& path);

// Returns a TCP port of 127.0.0.1 that nothing listens on. Another process may take it before the
// caller does.
absl::StatusOr<int> FreePort();

// Makes a new folder for the caller alone below TMPDIR, else /tmp.
absl::StatusOr<std::string> MakeTempDir();

// Implements ReadWatcher of ports/read_watch.h.
absl::StatusOr<std::unique_ptr<ReadWatch>> WatchReads(const std::string& dir, std::set<std::string> files);

// Returns `bytes` bytes that nobody can guess, as hexadecimal digits: for ids, keys and jitter.
std::string RandomHex(int bytes);

// Returns the value of an environment variable, or "".
std::string Environment(const std::string& name);

std::string HostName();

// Returns what of this machine may change a result: {os, kernel, machine, cpus, memory_bytes,
// python, python_packages}, for the records of versions. Takes some milliseconds.
Value HostFacts();

// Returns the cores and the memory that this process and its children may use: what affinity and
// control groups leave of the machine.
core::Resources HostResources();
// Returns the numbers of this machine's GPUs as nvidia-smi lists them; none without it.
std::vector<std::string> HostGpus();

}  // namespace cd4ml::os
