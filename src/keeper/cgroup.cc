// The few files of cgroup2 that matter here.
#include "cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sstream>

#include "process_table.h"

namespace cd4ml::keeper {
namespace {

// Returns where cgroup2 is mounted, with what part of it, or "".
std::string MountPoint() {
  std::istringstream mounts(ReadSmallFile("/proc/self/mounts"));
  std::string device, folder, type, rest;
  while (mounts >> device >> folder >> type && std::getline(mounts, rest)) {
    if (type == "cgroup2") return folder;
  }
  return "";
}

// Returns the keeper's own group, "/" for the topmost.
std::string OwnGroup() {
  std::istringstream groups(ReadSmallFile("/proc/self/cgroup"));
  for (std::string line; std::getline(groups, line);) {
    if (line.starts_with("0::/")) return line.substr(3);
  }
  return "/..";
}

}  // namespace

std::string MakeCgroupRoot(const std::string& name) {
  const std::string mount = MountPoint();
  const std::string own = OwnGroup();
  if (mount.empty() || own.find("/..") != std::string::npos) return "";
  const std::string folder = mount + (own == "/" ? "" : own) + "/" + name;
  if (mkdir(folder.c_str(), 0755) != 0 && errno != EEXIST) return "";
  return access((folder + "/cgroup.kill").c_str(), W_OK) == 0 ? folder : "";
}

std::string MakeCgroup(const std::string& root, const std::string& id) {
  if (root.empty()) return "";
  const std::string folder =
      root + "/process-" + id;  // The kernel's own files begin with "cgroup."
  return mkdir(folder.c_str(), 0755) == 0 || errno == EEXIST ? folder : "";
}

bool IsPopulated(const std::string& folder) {
  return !folder.empty() &&
         ReadSmallFile(folder + "/cgroup.events").find("populated 1") != std::string::npos;
}

std::vector<pid_t> CgroupPids(const std::string& folder) {
  std::vector<pid_t> pids;
  if (folder.empty()) return pids;
  std::istringstream list(ReadSmallFile(folder + "/cgroup.procs"));
  for (pid_t pid; list >> pid;) pids.push_back(pid);
  return pids;
}

void KillCgroup(const std::string& folder) {
  if (folder.empty()) return;
  const int fd = open((folder + "/cgroup.kill").c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;
  [[maybe_unused]] const ssize_t written = write(fd, "1", 1);
  close(fd);
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
