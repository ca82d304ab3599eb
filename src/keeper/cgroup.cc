// The few files of control groups that matter here.
#include "cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <sstream>

#include "process_table.h"

namespace cd4ml::keeper {
namespace {

// How often a freezing group is looked at, which also moves it on; what is not frozen by then is
// found again in the next round of killing.
constexpr int kFreezeLooks = 1'000;

// Returns where the hierarchy is mounted, with what part of it, or "". `controller` is "" for
// cgroup2.
std::string MountPoint(const std::string& controller) {
  std::istringstream mounts(ReadSmallFile("/proc/self/mounts"));
  std::string device, folder, type, options, rest;
  while (mounts >> device >> folder >> type >> options && std::getline(mounts, rest)) {
    if (controller.empty() ? type == "cgroup2"
                           : type == "cgroup" && ("," + options + ",").find("," + controller + ",") !=
                                                     std::string::npos) {
      return folder;
    }
  }
  return "";
}

// Returns the keeper's own group in that hierarchy, "/" for the topmost.
std::string OwnGroup(const std::string& controller) {
  const std::string wanted = ":" + controller + ":/";
  std::istringstream groups(ReadSmallFile("/proc/self/cgroup"));
  for (std::string line; std::getline(groups, line);) {
    const size_t at = line.find(wanted);
    if (at != std::string::npos) return line.substr(at + wanted.size() - 1);
  }
  return "/..";
}

// Makes the group and returns its folder, if the file that kills it may be written.
std::string MakeRoot(const std::string& controller, const std::string& name, const char* killer) {
  const std::string mount = MountPoint(controller);
  const std::string own = OwnGroup(controller);
  if (mount.empty() || own.find("/..") != std::string::npos) return "";
  const std::string folder = mount + (own == "/" ? "" : own) + "/" + name;
  if (mkdir(folder.c_str(), 0755) != 0 && errno != EEXIST) return "";
  if (access((folder + killer).c_str(), W_OK) == 0) return folder;
  rmdir(folder.c_str());
  return "";
}

bool WriteSmallFile(const std::string& path, std::string_view text) {
  const int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const ssize_t written = write(fd, text.data(), text.size());
  close(fd);
  return written == static_cast<ssize_t>(text.size());
}

}  // namespace

std::string MakeCgroupRoot(const std::string& name, CgroupUse use) {
  std::string folder;
  if (use == CgroupUse::kBest) folder = MakeRoot("", name, "/cgroup.kill");
  if (folder.empty() && use != CgroupUse::kNone) folder = MakeRoot("freezer", name, "/freezer.state");
  return folder;
}

std::string MakeCgroup(const std::string& root, const std::string& id) {
  if (root.empty()) return "";
  const std::string folder =
      root + "/process-" + id;  // The kernel's own files begin with "cgroup."
  return mkdir(folder.c_str(), 0755) == 0 || errno == EEXIST ? folder : "";
}

bool IsPopulated(const std::string& folder) {
  if (folder.empty()) return false;
  const std::string events = ReadSmallFile(folder + "/cgroup.events");
  // The freezer has no such file.
  return events.empty() ? !CgroupPids(folder).empty()
                        : events.find("populated 1") != std::string::npos;
}

std::vector<pid_t> CgroupPids(const std::string& folder) {
  std::vector<pid_t> pids;
  if (folder.empty()) return pids;
  std::istringstream list(ReadSmallFile(folder + "/cgroup.procs"));
  for (pid_t pid; list >> pid;) pids.push_back(pid);
  return pids;
}

void KillCgroup(const std::string& folder) {
  if (folder.empty() || WriteSmallFile(folder + "/cgroup.kill", "1")) return;
  const std::string state = folder + "/freezer.state";
  if (!WriteSmallFile(state, "FROZEN")) return;
  for (int look = 0; look < kFreezeLooks && ReadSmallFile(state) != "FROZEN\n"; ++look) continue;
  for (const pid_t pid : CgroupPids(folder)) kill(pid, SIGKILL);
  WriteSmallFile(state, "THAWED");
}

void RemoveCgroup(const std::string& folder) {
  if (folder.empty() || rmdir(folder.c_str()) == 0) return;
  DIR* groups = opendir(folder.c_str());  // A stage with the right to do so may have made groups.
  if (groups == nullptr) return;
  while (const dirent* entry = readdir(groups)) {
    const std::string name = entry->d_name;
    if (entry->d_type == DT_DIR && name != "." && name != "..") RemoveCgroup(folder + "/" + name);
  }
  closedir(groups);
  rmdir(folder.c_str());
}

}  // namespace cd4ml::keeper
