// Control groups, version 2, as a net that no process falls through and that is killed at one
// stroke.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace cd4ml::keeper {

// Makes a group `name` below the keeper's own and returns its folder, or "" where that is not
// possible: no cgroup2, no right to write, or a kernel before 5.14, which lacks cgroup.kill.
std::string MakeCgroupRoot(const std::string& name);

// Makes the group of one process below `root`; "" when that fails.
std::string MakeCgroup(const std::string& root, const std::string& id);

// These do nothing, and find nothing, when `folder` is "" or gone.
bool IsPopulated(const std::string& folder);
std::vector<pid_t> CgroupPids(const std::string& folder);
void KillCgroup(const std::string& folder);
void RemoveCgroup(const std::string& folder);

}  // namespace cd4ml::keeper
