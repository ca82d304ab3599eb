// The operating system: the only place that reads clocks, starts processes and touches plain files.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "cd4ml/ports/clock.h"
#include "cd4ml/ports/process_runner.h"

namespace cd4ml::os {

std::unique_ptr<Clock> MakeClock();

// Returns the agent's side of the keeper that serves `state_dir`, which must exist and be the
// caller's alone. Starts the program `keeper_binary` when none answers, and again whenever it dies;
// its processes are then reported as lost. Any number of runners and agents may share a keeper.
absl::StatusOr<std::unique_ptr<ProcessRunner>> ConnectKeeper(const std::string& state_dir,
                                                             const std::string& keeper_binary);

}  // namespace cd4ml::os
