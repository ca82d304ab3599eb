// Checks what one part of a definition says about another: references, cycles, paths, limits.
#pragma once

#include "cd4ml/core/diagnostic.h"
#include "cd4ml/core/pipeline.h"

namespace cd4ml::core {

constexpr size_t kStagesMax = 10'000;
constexpr size_t kEdgesMax = 100'000;

// Returns what is wrong with `pipeline` as a whole, at most a bounded number of findings. Linear in
// the size of the pipeline, but for sorting. The findings have places and no text: see Locate. A
// parser calls this itself, so that everything about a file is said at once.
Diagnostics Validate(const PipelineSpec& pipeline);

}  // namespace cd4ml::core
