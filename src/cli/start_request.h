// What `run start`, `run retry` and `plan` have in common: the flags that say what a run is started
// with, and what follows when it has been.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cli/invocation.h"

namespace cd4ml::cli {

// --lane, --ref and --param.
std::vector<Option> StartOptions();
Option ParamOption();
// --priority, --reason, --key, --wait and --watch.
std::vector<Option> NewRunOptions();

// Each reads its flags. INVALID_ARGUMENT: a parameter without "=", or given twice; a priority that
// is none.
absl::StatusOr<StartRequest> ReadStartRequest(const Invocation& invocation,
                                              const std::string& pipeline);
absl::StatusOr<std::map<std::string, std::string>> ReadParams(const Invocation& invocation);
absl::StatusOr<std::optional<int>> ReadPriority(const Invocation& invocation);

// Prints why there is no new run, and how to repeat `command` when that is not certain; returns the
// exit code.
int FailStart(const Invocation& invocation, const absl::Status& status, const Hint& if_not_found,
              const std::string& command, const std::string& key);

// Prints the new run, follows it with --wait and --watch, and returns the exit code.
int FinishStart(Invocation& invocation, const StartedRun& run);

}  // namespace cd4ml::cli
