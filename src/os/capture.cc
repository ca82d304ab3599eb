// posix_spawn, which is cheap and safe in a large process with threads.
#include "capture.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>

#include <csignal>

#include "fd.h"

namespace cd4ml::os {
namespace {

constexpr size_t kOutputMax = 4096;

// Starts `argv` with nothing to read and its output going to `output`.
absl::StatusOr<pid_t> Spawn(const std::vector<std::string>& argv, int output) {
  std::vector<char*> pointers;
  for (const std::string& argument : argv) pointers.push_back(const_cast<char*>(argument.c_str()));
  pointers.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, output, STDERR_FILENO);
  posix_spawnattr_t attributes;  // StopSignal blocks signals in this process; not in others.
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  pid_t pid = 0;
  errno = posix_spawn(&pid, pointers[0], &actions, &attributes, pointers.data(), environ);
  const int error = errno;
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  errno = error;
  if (error != 0) return SystemError("cannot start \"" + argv[0] + "\"");
  return pid;
}

}  // namespace

absl::StatusOr<Captured> Capture(const std::vector<std::string>& argv) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return SystemError("cannot make a pipe");
  const Fd output(ends[0]);
  Fd input(ends[1]);
  const auto pid = Spawn(argv, input.get());
  if (!pid.ok()) return pid.status();
  input = Fd();

  Captured captured;
  char buffer[kOutputMax];
  for (ssize_t got; (got = read(output.get(), buffer, sizeof buffer)) > 0;) {
    captured.output.append(buffer, static_cast<size_t>(got));
    if (captured.output.size() > kOutputMax) captured.output.resize(kOutputMax);
  }
  while (!captured.output.empty() && captured.output.back() == '\n') captured.output.pop_back();
  int status = 0;
  while (waitpid(*pid, &status, 0) < 0 && errno == EINTR) continue;
  captured.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return captured;
}

}  // namespace cd4ml::os
