// Control groups as a net that no process falls through: of version 2, which is killed at one
// stroke, or the freezer of version 1, which keeps still while it is killed.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace cd4ml::keeper {

enum class CgroupUse { kBest, kFreezer, kNone };

// Makes a group `name` below the keeper's own and returns its folder: of cgroup2, else, or when
// `use` says so, of the freezer; "" where neither is possible: not mounted, no right to write, and a
// kernel before 5.14 lacks cgroup.kill.
std::string MakeCgroupRoot(const std::string& name, CgroupUse use);

// Makes the group of one process below `root`; "" when that fails.
std::string MakeCgroup(const std::string& root, const std::string& id);

// These do nothing, and find nothing, when `folder` is "" or gone.
bool IsPopulated(const std::string& folder);
std::vector<pid_t> CgroupPids(const std::string& folder);
void KillCgroup(const std::string& folder);
void RemoveCgroup(const std::string& folder);

}  // namespace cd4ml::keeper
