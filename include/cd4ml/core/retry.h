// Which stages of an ended run a retry does again, and which results it takes over.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cd4ml/core/pipeline.h"
#include "cd4ml/core/run.h"

namespace cd4ml::core {

enum class RetryScope {
  kFailed,    // All that did not succeed.
  kFrom,      // One stage and everything after it, and all that did not succeed.
  kOnly,      // One stage alone, with the results that it needs.
};

// Returns the stages that depend on a parameter which is not what it was: one that they name in `params` or `if`, or any.
std::set<std::string> StagesOfOtherParams(const PipelineSpec& spec, const Value& before, const Value& now);

struct RetrySelection {
  std::map<std::string, Carried> carried;    // Succeeded before and taken over.
  std::set<std::string> left_out;            // Neither taken over nor done again.
};

// `stages` is the plan of the new run; `stage` is empty for kFailed. Results of `changed` stages, which have other
// parameters now, and of those after them are not taken over. NOT_FOUND: no such stage. FAILED_PRECONDITION: the run has
// not ended, the stage needs one that did not succeed or has changed (kOnly), nothing is to be done, or it is a reproduction.
absl::StatusOr<RetrySelection> SelectForRetry(const Run& ended, const std::vector<StagePlan>& stages, RetryScope scope,
                                              const std::string& stage, const std::set<std::string>& changed = {});

}  // namespace cd4ml::core
