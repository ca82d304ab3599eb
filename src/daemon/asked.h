// What a request for a run asked for, to tell whether another one under the same idempotency key asks for the same.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "cd4ml/core/command.h"
#include "cd4ml/core/run.h"

namespace cd4ml::daemon {

// The lane of a request that names none.
inline constexpr char kDefaultLane[] = "production";

struct Asked {
  std::string key;
  std::string pipeline;
  std::optional<std::string> lane;                            // Absent: not said by this kind of request; so is the next.
  std::optional<std::map<std::string, std::string>> params;   // Those that the request gives, as it writes them.
};

// Returns what a run that is ready to be started was asked for.
Asked AskedFor(const core::StartRun& command);

// Returns how the request that started `run` differs from `asked`, as in "with train.depth = 3 where this request says 4", or ""
// when it asked for the same. Numbers are compared by what they are worth, lists and maps only by their names.
std::string Difference(const Asked& asked, const core::Run& run);

}  // namespace cd4ml::daemon
