// clone3 rather than posix_spawn: it puts the child into its control group without a race and for
// nothing.
#include "spawn.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <vector>

namespace cd4ml::keeper {
namespace {

// What the child could not do. Shared with the parent, which reads it when the child runs or has
// failed.
struct Failure {
  enum Step { kNone, kLog, kLogKind, kDir, kExec } step;
  int error;
};

Failure* SharedFailure() {
  static void* const page =
      mmap(nullptr, sizeof(Failure), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  return static_cast<Failure*>(page);
}

std::vector<char*> Pointers(const std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (const std::string& text : texts) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

// Opens the log without waiting for anybody: a FIFO in its place must not stop the keeper.
Failure::Step RedirectOutput(const char* log) {
  const int fd = open(log, O_WRONLY | O_APPEND | O_CREAT | O_NOCTTY | O_NONBLOCK, 0644);
  struct stat facts;
  if (fd < 0 || fstat(fd, &facts) != 0) return Failure::kLog;
  if (!S_ISREG(facts.st_mode) && !S_ISCHR(facts.st_mode)) return Failure::kLogKind;
  fcntl(fd, F_SETFL, O_APPEND);
  dup2(fd, STDOUT_FILENO);
  dup2(fd, STDERR_FILENO);
  return Failure::kNone;
}

// Standard input is the keeper's own: /dev/null.
[[noreturn]] void RunChild(const ProcessSpec& spec, char** argv, char** env, Failure* failure) {
  setsid();
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  Failure::Step step = RedirectOutput(spec.log.c_str());
  close_range(3, ~0U, 0);
  if (step == Failure::kNone) {
    step = Failure::kDir;
    if (chdir(spec.dir.c_str()) == 0) {
      step = Failure::kExec;
      environ = env;  // For execvp, which looks for PATH there.
      execvp(argv[0], argv);
    }
  }
  *failure = {step, errno};
  _exit(127);
}

pid_t Clone(int cgroup) {
  clone_args args{};
  args.flags =
      CLONE_VFORK;  // Go on when the child has become its program, so that `failure` is known.
  args.exit_signal = SIGCHLD;
  if (cgroup >= 0) {
    args.flags |= CLONE_INTO_CGROUP;
    args.cgroup = static_cast<uint64_t>(cgroup);
  }
  return static_cast<pid_t>(syscall(SYS_clone3, &args, sizeof args));
}

std::string Explain(const Failure& failure, const ProcessSpec& spec) {
  const std::string reason = std::string(": ") + std::strerror(failure.error);
  switch (failure.step) {
    case Failure::kNone:
      return "";
    case Failure::kLog:
      return "cannot open the log \"" + spec.log + "\"" + reason;
    case Failure::kLogKind:
      return "the log \"" + spec.log + "\" is not a regular file";
    case Failure::kDir:
      return "cannot enter the folder \"" + spec.dir + "\"" + reason;
    case Failure::kExec:
      return "cannot execute \"" + spec.argv[0] + "\"" + reason;
  }
  return "";
}

}  // namespace

SpawnResult Spawn(const ProcessSpec& spec, const std::string& marker, const std::string& cgroup) {
  std::vector<std::string> variables = {marker};
  for (const auto& [name, value] : spec.env) variables.push_back(name + "=" + value);
  const std::vector<char*> argv = Pointers(spec.argv);
  const std::vector<char*> env = Pointers(variables);
  Failure* const failure = SharedFailure();
  *failure = {};

  const int group = cgroup.empty() ? -1 : open(cgroup.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  const pid_t pid = Clone(group);
  if (pid == 0)
    RunChild(spec, const_cast<char**>(argv.data()), const_cast<char**>(env.data()), failure);
  const int error = errno;
  if (group >= 0) close(group);
  if (pid < 0) return {-1, std::string("cannot start a process: ") + std::strerror(error)};
  return {pid, Explain(*failure, spec)};
}

}  // namespace cd4ml::keeper
