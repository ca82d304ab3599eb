// Which stages of an ended run a retry does again, and which results it takes over.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cd4ml/core/run.h"

namespace cd4ml::core {

enum class RetryScope {
  kFailed,    // All that did not succeed.
  kFrom,      // One stage and everything after it, and all that did not succeed.
  kOnly,      // One stage alone.
};

struct RetrySelection {
  std::map<std::string, Carried> carried;    // Succeeded before and taken over.
  std::set<std::string> left_out;            // Neither taken over nor done again.
};

// `stages` is the plan of the new run; `stage` is empty for kFailed. NOT_FOUND: no such stage. FAILED_PRECONDITION: the
// run has not ended, or the stage needs one that did not succeed (kOnly), or nothing failed.
absl::StatusOr<RetrySelection> SelectForRetry(const Run& ended, const std::vector<StagePlan>& stages, RetryScope scope,
                                              const std::string& stage);

}  // namespace cd4ml::core
