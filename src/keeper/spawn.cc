// clone3 rather than posix_spawn: it puts the child into its control group without a race, and is
// quick about it. Where it is denied, as the usual seccomp profiles of containers do, or the group is
// of version 1, the child moves there itself before it becomes its program.
#include "spawn.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include "process_table.h"
#include "reaper.h"

namespace cd4ml::keeper {
namespace {

constexpr size_t kIdleMax = 16;
constexpr int kOrderBuffer = 200 << 10;   // Doubled by the kernel: one order, and what it counts beside it.

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
Born StartCommand(const Order& order, int output, int to_tell) {
  std::vector<std::string> variables = {std::string(kMarker) + "=" + order.marker};
  for (const auto& [name, value] : order.spec.env) variables.push_back(name + "=" + value);
  std::vector<char*> env = Pointers(variables), argv = Pointers(order.spec.argv);
  char** const own = std::exchange(environ, env.data());
  Born born{-1, {}};
  born.pid = Clone(order.cgroup, {&order.spec, argv.data(), output, to_tell, -1, &born.failure});
  if (born.pid < 0) born.failure = {Failure::kClone, errno};
  environ = own;
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

Reapers::Reapers() {
  if (pipe2(reports_, O_CLOEXEC) == 0) fcntl(reports_[0], F_SETFL, O_NONBLOCK);
}

Reapers::~Reapers() {
  for (const int fd : reports_) close(fd);
  for (const auto& [pid, reaper] : reapers_) close(reaper.orders);
}

std::optional<Ended> Reapers::TakeReport() {
  Ended ended{};
  if (read(reports_[0], &ended, sizeof ended) != sizeof ended) return std::nullopt;
  return ended;
}

SpawnResult Reapers::Spawn(const ProcessSpec& spec, const std::string& marker, const std::string& cgroup) {
  const Order order{spec, marker, cgroup};
  while (!idle_.empty()) {
    const pid_t reaper = idle_.back();
    idle_.pop_back();
    kill(reaper, SIGCONT);   // Another command may have stopped it.
    if (const auto result = Ask(reaper, order)) return *result;
    End(reaper);   // A command has killed it.
  }
  const pid_t reaper = Fork();
  if (reaper > 0) {
    if (const auto result = Ask(reaper, order)) return *result;
    End(reaper);
  }
  return {-1, -1, 0, Explain({Failure::kClone, errno}, spec)};
}

pid_t Reapers::Fork() {
  int orders[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, orders) != 0) return -1;
  setsockopt(orders[0], SOL_SOCKET, SO_SNDBUF, &kOrderBuffer, sizeof kOrderBuffer);
  const pid_t pid = fork();
  if (pid == 0) RunReaper(orders[1], StartCommand, reports_[1]);
  const int error = errno;
  close(orders[1]);
  if (pid > 0) {
    reapers_[pid] = {orders[0], StartTicks(pid)};
  } else {
    close(orders[0]);
  }
  errno = error;
  return pid;
}

std::optional<SpawnResult> Reapers::Ask(pid_t reaper, const Order& order) {
  int born[2];
  if (pipe2(born, O_CLOEXEC) != 0) return std::nullopt;
  const bool sent = SendOrder(reapers_.at(reaper).orders, order, born[1]);
  int error = errno;
  close(born[1]);
  Born told{-1, {}};
  const bool is_told = sent && read(born[0], &told, sizeof told) == sizeof told;
  if (sent && !is_told) error = ECHILD;
  close(born[0]);
  errno = error;
  if (!is_told) return std::nullopt;
  if (told.pid >= 0) return SpawnResult{told.pid, reaper, reapers_.at(reaper).start_ticks, ""};
  Return(reaper);
  return SpawnResult{-1, -1, 0, Explain(told.failure, order.spec)};
}

void Reapers::Return(pid_t reaper) {
  if (idle_.size() < kIdleMax) return idle_.push_back(reaper);
  close(std::exchange(reapers_.at(reaper).orders, -1));   // It ends by itself.
}

void Reapers::End(pid_t reaper) {
  const int error = errno;
  kill(reaper, SIGKILL);
  waitpid(reaper, nullptr, 0);
  Forget(reaper);
  errno = error;
}

void Reapers::Forget(pid_t reaper) {
  const auto found = reapers_.find(reaper);
  if (found == reapers_.end()) return;
  close(found->second.orders);
  reapers_.erase(found);
  std::erase(idle_, reaper);
}

}  // namespace cd4ml::keeper
