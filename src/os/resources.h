// What control groups leave of a machine.
#pragma once

#include <string>

#include "cd4ml/core/resources.h"

namespace cd4ml::os {

// Returns `machine`, lowered to the quotas of cpu and memory of this process's control groups as the
// file system below `root` ("": the real one) tells them.
core::Resources WithinCgroups(core::Resources machine, const std::string& root);

}  // namespace cd4ml::os
