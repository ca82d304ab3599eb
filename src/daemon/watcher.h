// Measures what a monitor looks at: the predictions of its window against the profile of the training data.
#pragma once

#include <optional>

#include "cd4ml/daemon/daemon.h"
#include "definitions.h"
#include "orchestrator.h"

namespace cd4ml::daemon {

// Blocking; runs in the background. Errors are those of reading what has been recorded.
absl::StatusOr<JudgedCheck> MeasureMonitor(const core::MonitorState& monitor,
                                           const std::optional<TaskBaseline>& train_data, const Ports& ports,
                                           Definitions& definitions);

}  // namespace cd4ml::daemon
