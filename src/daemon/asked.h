// What a request for a run asked for, to tell whether another one under the same idempotency key asks for the same.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>

#include "cd4ml/core/command.h"
#include "cd4ml/core/run.h"
#include "cd4ml/ports/control_api.h"

namespace cd4ml::daemon {

// The lane of a request that names none.
inline constexpr char kDefaultLane[] = "production";

struct Asked {
  std::string key;
  std::string pipeline;
  std::optional<std::string> lane;                            // Absent: not known; so are the next and `performed`.
  std::optional<std::map<std::string, std::string>> params;   // Those that the request gives, as it writes them.
  core::TriggerKind kind = core::TriggerKind::kDispatch;
  core::RunId of = {};                                        // The run that is retried or made again.
  std::optional<std::set<std::string>> performed = {};        // The stages that a retry does again.
};

// Returns what a run that is ready to be started was asked for.
Asked AskedFor(const core::StartRun& command);

// The same of a retry that could not be prepared: which stages it would do again is not known.
Asked AskedFor(const RetryRequest& request, const core::Run& ended);
Asked AskedFor(const ReproduceRequest& request, const core::Run& ended);

// Refuses what is too long to be kept with a run, and keys that nobody could read. INVALID_ARGUMENT.
absl::Status CheckKey(const std::string& key);
absl::Status CheckReason(const std::string& reason);
absl::Status CheckParams(const std::map<std::string, std::string>& params);
template <typename Request>
absl::Status CheckSizes(const Request& request) {
  absl::Status status = CheckKey(request.key);
  status.Update(CheckReason(request.reason));
  if constexpr (requires { request.params; }) status.Update(CheckParams(request.params));
  return status;
}

// Returns how the request that started `run` differs from `asked`, as in "with train.depth = 3 where this request says 4", or ""
// when it asked for the same. Numbers are compared by what they are worth, lists and maps only by their names.
std::string Difference(const Asked& asked, const core::Run& run);

}  // namespace cd4ml::daemon
