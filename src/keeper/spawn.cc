// clone3 rather than posix_spawn: it puts the child into its control group without a race, and is
// quick about it. Where it is denied, as the usual seccomp profiles of containers do, or the group is
// of version 1, the child moves there itself before it becomes its program.
#include "spawn.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <vector>

#include "reaper.h"

namespace cd4ml::keeper {
namespace {

struct Child {
  const ProcessSpec* spec;
  char** argv;
  int output;   // -1: it can only end.
  int born;
  int move_to;  // The cgroup.procs that it must write itself into, or -1.
  Failure* failure;
};

std::vector<char*> Pointers(const std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (const std::string& text : texts) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

// The sanitizers must not follow the child, whose stack is left and used again without a return.
#define CD4ML_IN_CHILD __attribute__((no_sanitize("address", "thread", "undefined")))

// Runs in the child, which shares the reaper's memory: it may change nothing there but the failure.
// Standard input is the keeper's own: /dev/null.
[[noreturn]] CD4ML_IN_CHILD void RunChild(const Child* child) {
  // A child that cannot move is still found by its place in the process tree.
  if (child->move_to >= 0) (void)!write(child->move_to, "0", 1);
  setsid();
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  const Born born{getpid(), {}};
  (void)!write(child->born, &born, sizeof born);
  if (child->output >= 0) {
    dup2(child->output, STDOUT_FILENO);
    dup2(child->output, STDERR_FILENO);
    close_range(3, ~0U, 0);
    Failure::Step step = Failure::kDir;
    if (chdir(child->spec->dir.c_str()) == 0) {
      step = Failure::kExec;
      execvp(child->argv[0], child->argv);  // With `environ`, which is the child's by now.
    }
    *child->failure = {step, errno};
  }
  syscall(SYS_exit_group, 127);  // Not _exit, where a sanitizer has its say.
  __builtin_unreachable();
}

alignas(64) char child_stack[64 * 1024];

// Returns the id of a new process that runs RunChild, when that has become its program or has
// failed. Nothing of the reaper is copied (CLONE_VM); the child has a stack of its own, and libc
// has no function that calls clone3 so.
pid_t Clone3(int cgroup, const Child* child) {
  clone_args args{};
  args.flags = CLONE_VM | CLONE_VFORK;
  args.exit_signal = SIGCHLD;
  args.stack = reinterpret_cast<uint64_t>(child_stack);
  args.stack_size = sizeof child_stack;
  if (cgroup >= 0) {
    args.flags |= CLONE_INTO_CGROUP;
    args.cgroup = static_cast<uint64_t>(cgroup);
  }
#if defined(__x86_64__)
  long result = SYS_clone3;
  asm volatile(
      "syscall\n\t"
      "test %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "mov %[child], %%rdi\n\t"
      "call *%[run]\n\t"
      "1:"
      : "+a"(result)
      : "D"(&args), "S"(sizeof args), [child] "r"(child), [run] "r"(&RunChild)
      : "rcx", "r11", "memory", "cc");
#elif defined(__aarch64__)
  register long result asm("x0") = reinterpret_cast<long>(&args);
  register long size asm("x1") = sizeof args;
  register long number asm("x8") = SYS_clone3;
  asm volatile(
      "svc #0\n\t"
      "cbnz x0, 1f\n\t"
      "mov x0, %[child]\n\t"
      "blr %[run]\n\t"
      "1:"
      : "+r"(result)
      : "r"(size), "r"(number), [child] "r"(child), [run] "r"(&RunChild)
      : "x30", "memory", "cc");
#else
#error "the keeper needs its clone3 call for this processor"
#endif
  if (result >= 0) return static_cast<pid_t>(result);
  errno = static_cast<int>(-result);
  return -1;
}

CD4ML_IN_CHILD int RunMoved(void* child) { RunChild(static_cast<const Child*>(child)); }

// As Clone3, in the control group `cgroup` unless that is "".
pid_t Clone(const std::string& cgroup, Child child) {
  const int group = cgroup.empty() ? -1 : open(cgroup.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  pid_t pid = Clone3(group, &child);
  if (pid < 0 && (errno == ENOSYS || errno == EPERM || errno == EBADF)) {
    if (group >= 0) child.move_to = openat(group, "cgroup.procs", O_WRONLY | O_CLOEXEC);
    pid = clone(RunMoved, child_stack + sizeof child_stack, CLONE_VM | CLONE_VFORK | SIGCHLD, &child);
  }
  const int error = errno;
  if (child.move_to >= 0) close(child.move_to);
  if (group >= 0) close(group);
  errno = error;
  return pid;
}

// Runs in the reaper.
Born StartCommand(const ProcessSpec& spec, const std::string& cgroup, int output, int to_tell) {
  std::vector<char*> argv = Pointers(spec.argv);
  Born born{-1, {}};
  born.pid = Clone(cgroup, {&spec, argv.data(), output, to_tell, -1, &born.failure});
  if (born.pid < 0) born.failure = {Failure::kClone, errno};
  return born;
}

}  // namespace

std::string Explain(const Failure& failure, const ProcessSpec& spec) {
  const std::string reason = std::string(": ") + std::strerror(failure.error);
  switch (failure.step) {
    case Failure::kNone:
      return "";
    case Failure::kLog:
      return "cannot open the log \"" + spec.log + "\"" + reason;
    case Failure::kLogKind:
      return "the log \"" + spec.log + "\" is not a regular file";
    case Failure::kPipe:
      return "cannot make a pipe" + reason;
    case Failure::kClone:
      return "cannot start a process" + reason;
    case Failure::kDir:
      return "cannot enter the folder \"" + spec.dir + "\"" + reason;
    case Failure::kExec:
      return "cannot execute \"" + spec.argv[0] + "\"" + reason;
  }
  return "";
}

SpawnResult Spawn(const ProcessSpec& spec, const std::string& marker, const std::string& cgroup, int ended) {
  std::vector<std::string> variables = {std::string(kMarker) + "=" + marker};
  for (const auto& [name, value] : spec.env) variables.push_back(name + "=" + value);
  std::vector<char*> env = Pointers(variables);
  int born[2];
  const pid_t reaper = pipe2(born, O_CLOEXEC) == 0 ? fork() : -1;
  if (reaper == 0) {
    environ = env.data();
    RunReaper(spec, cgroup, StartCommand, born[1], ended);
  }
  Born told{-1, {Failure::kClone, errno}};
  if (reaper < 0) return {-1, -1, Explain(told.failure, spec)};
  close(born[1]);
  if (read(born[0], &told, sizeof told) != sizeof told) kill(reaper, SIGKILL);
  close(born[0]);
  if (told.pid >= 0) return {told.pid, reaper, ""};
  waitpid(reaper, nullptr, 0);
  return {-1, -1, Explain(told.failure, spec)};
}

}  // namespace cd4ml::keeper
