// Reading /proc: entries vanish at any moment, so every failure means "not there".
#include "process_table.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <sstream>

namespace cd4ml::keeper {
namespace {

// Returns the entries of a folder that are numbers.
std::vector<pid_t> NumberedEntries(const std::string& path) {
  std::vector<pid_t> numbers;
  DIR* folder = opendir(path.c_str());
  if (folder == nullptr) return numbers;
  while (const dirent* entry = readdir(folder)) {
    const std::string_view name = entry->d_name;
    pid_t number = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
    if (error == std::errc() && end == name.data() + name.size()) numbers.push_back(number);
  }
  closedir(folder);
  return numbers;
}

// Returns the number of kB in the line of a file of /proc that begins with `name`, as bytes; 0 when there is none.
int64_t KilobytesOf(const std::string& path, const std::string& name) {
  std::istringstream lines(ReadSmallFile(path));
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(name)) return std::strtoll(line.c_str() + name.size(), nullptr, 10) * 1024;
  }
  return 0;
}

}  // namespace

int64_t MemoryOf(pid_t pid) {
  const std::string folder = "/proc/" + std::to_string(pid);
  const int64_t share = KilobytesOf(folder + "/smaps_rollup", "Pss:");
  return share > 0 ? share : KilobytesOf(folder + "/status", "VmRSS:");
}

int64_t PeakMemoryOf(pid_t pid) { return KilobytesOf("/proc/" + std::to_string(pid) + "/status", "VmHWM:"); }

std::string ReadSmallFile(const std::string& path) {
  std::string bytes;
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return bytes;
  char buffer[4096];
  for (ssize_t got; (got = read(fd, buffer, sizeof buffer)) > 0;) {
    bytes.append(buffer, static_cast<size_t>(got));
  }
  close(fd);
  return bytes;
}

std::optional<ProcessEntry> ReadEntry(pid_t pid) {
  const std::string stat = ReadSmallFile("/proc/" + std::to_string(pid) + "/stat");
  const size_t name_end = stat.rfind(')');  // The name may hold anything, parentheses too.
  if (name_end == std::string::npos) return std::nullopt;
  ProcessEntry entry{.pid = pid};
  char state = 0;
  int threads = 0;
  unsigned long long start_ticks = 0;
  const int fields = std::sscanf(stat.c_str() + name_end + 1,
                                 " %c %*d %*d %d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d "
                                 "%*d %d %*d %llu",
                                 &state, &entry.session, &threads, &start_ticks);
  if (fields != 4) return std::nullopt;
  entry.start_ticks = start_ticks;
  entry.is_dead =
      (state == 'Z' || state == 'X') && threads <= 1;  // Else only its first thread has ended.
  return entry;
}

uint64_t StartTicks(pid_t pid) {
  const auto entry = ReadEntry(pid);
  return entry ? entry->start_ticks : 0;
}

std::vector<pid_t> AllPids() { return NumberedEntries("/proc"); }

std::vector<pid_t> Children(pid_t pid) {
  std::vector<pid_t> children;
  const std::string threads = "/proc/" + std::to_string(pid) + "/task";
  for (const pid_t thread : NumberedEntries(threads)) {
    std::istringstream list(ReadSmallFile(threads + "/" + std::to_string(thread) + "/children"));
    for (pid_t child; list >> child;) children.push_back(child);
  }
  return children;
}

std::string Variable(pid_t pid, std::string_view name) {
  const std::string environment = ReadSmallFile("/proc/" + std::to_string(pid) + "/environ");
  const std::string wanted = std::string(name) + "=";
  size_t at = environment.starts_with(wanted) ? 0 : environment.find('\0' + wanted);
  if (at == std::string::npos) return "";
  if (at != 0) ++at;
  return environment.c_str() + at + wanted.size();  // Up to its NUL.
}

void Signal(const ProcessEntry& entry, int signal) {
  const int fd = static_cast<int>(syscall(SYS_pidfd_open, entry.pid, 0));
  if (fd < 0) return;
  const auto now = ReadEntry(entry.pid);
  if (now && now->start_ticks == entry.start_ticks) {
    syscall(SYS_pidfd_send_signal, fd, signal, nullptr, 0);
  }
  close(fd);
}

std::string BootId() {
  std::string id = ReadSmallFile("/proc/sys/kernel/random/boot_id");
  while (!id.empty() && id.back() == '\n') id.pop_back();
  return id;
}

}  // namespace cd4ml::keeper
