// From a checked definition to the order in which stages can run.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "cd4ml/core/pipeline.h"
#include "cd4ml/core/run.h"

namespace cd4ml::core {

// Defaults that the daemon's settings give to stages that say nothing.
struct PlanDefaults {
  Duration timeout{3'600'000};
  Duration assign_timeout{600'000};
};

// Returns the stages in topological order (ties in the order of the file), with `needs` completed by the
// producers of everything that a stage reads. REQUIRES: Validate found no error.
std::vector<StagePlan> MakePlan(const PipelineSpec& pipeline, const PlanDefaults& defaults);

}  // namespace cd4ml::core
