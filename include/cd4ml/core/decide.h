// The rules: what follows from a command in the present state of a run.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cd4ml/base/time.h"
#include "cd4ml/core/command.h"
#include "cd4ml/core/event.h"
#include "cd4ml/core/run.h"

namespace cd4ml::core {

// Returns the events that `command` leads to; none when it repeats what has happened already.
//
// FAILED_PRECONDITION: the state does not allow it (message says which). ABORTED: a report of an attempt that is
// not the latest or was lost: the agent drops it. NOT_FOUND: no such stage or attempt. Changes nothing.
absl::StatusOr<std::vector<Event>> Decide(const Run& run, const Command& command, UtcTime now);

// Changes `run` by a committed event. Total: an event that does not fit is a bug and crashes.
void Apply(const Event& event, UtcTime at, Run& run);

// Returns whether a stage with this condition may run after something that it needs has failed.
bool ConditionLooksAtFailures(const std::string& condition);

// Returns when Tick must be decided next, or nullopt when nothing waits for time.
std::optional<UtcTime> NextDeadline(const Run& run);

}  // namespace cd4ml::core
