// What `run start` and `plan` have in common: the flags that say what a run is started with.
#pragma once

#include <vector>

#include "cli/invocation.h"

namespace cd4ml::cli {

// --lane, --ref and --param.
std::vector<Option> StartOptions();

// Reads them. INVALID_ARGUMENT: a parameter without "=", or given twice.
absl::StatusOr<StartRequest> ReadStartRequest(const Invocation& invocation,
                                              const std::string& pipeline);

}  // namespace cd4ml::cli
