// What this process may use of the machine: the least of what there is, its affinity, and the quotas
// of its control groups.
#include "resources.h"

#include <sched.h>
#include <sys/sysinfo.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>
#include <sstream>

#include "capture.h"
#include "cd4ml/os/os.h"

namespace cd4ml::os {
namespace {

std::string ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Returns the number at the beginning of `text`, or 0: "max" and files that are not there limit
// nothing.
int64_t NumberIn(std::string_view text) {
  int64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

void Lower(int64_t& bound, int64_t other) {
  if (other > 0) bound = std::min(bound, other);
}

// The limits of one group of either version.
void LowerBy(const std::string& group, core::Resources& bound) {
  std::istringstream cpu(ReadAll(group + "/cpu.max"));
  std::string quota, period;
  if (!(cpu >> quota >> period)) {
    quota = ReadAll(group + "/cpu.cfs_quota_us");
    period = ReadAll(group + "/cpu.cfs_period_us");
  }
  if (const int64_t each = NumberIn(period); each > 0) {
    Lower(bound.cpu_millis, NumberIn(quota) * 1000 / each);
  }
  Lower(bound.memory_bytes, NumberIn(ReadAll(group + "/memory.max")));
  Lower(bound.memory_bytes, NumberIn(ReadAll(group + "/memory.limit_in_bytes")));
}

}  // namespace

core::Resources WithinCgroups(core::Resources machine, const std::string& root) {
  std::istringstream groups(ReadAll(root + "/proc/self/cgroup"));
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    // A group is bound by all above it. Inside a container its path may be that of the host, where
    // only the topmost folder is there, which is the container's own.
    const std::string own = line.substr(second + 1);
    for (const std::string& mount : {root + "/sys/fs/cgroup",
                                     root + "/sys/fs/cgroup/" +
                                         (controllers.empty() ? "unified" : controllers)}) {
      for (std::string group = own; !group.empty(); group.erase(group.rfind('/'))) {
        LowerBy(mount + group, machine);
      }
      LowerBy(mount, machine);
    }
  }
  return machine;
}

core::Resources HostResources() {
  cpu_set_t cpus;
  struct sysinfo facts {};
  sysinfo(&facts);
  const int64_t cores =
      sched_getaffinity(0, sizeof cpus, &cpus) == 0 ? CPU_COUNT(&cpus) : get_nprocs();
  core::Resources machine;
  machine.cpu_millis = cores * 1000;
  machine.memory_bytes = static_cast<int64_t>(facts.totalram) * facts.mem_unit;
  return WithinCgroups(machine, "");
}

std::vector<std::string> HostGpus() {
  const auto listed = Capture({"/usr/bin/nvidia-smi", "-L"});
  std::vector<std::string> gpus;
  if (!listed.ok() || listed->exit_code != 0) return gpus;
  std::istringstream lines(listed->output);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("GPU ")) gpus.push_back(line.substr(4, line.find(':') - 4));
  }
  return gpus;
}

}  // namespace cd4ml::os
