// Following a run to its end: one loop that `watch`, `wait` and `logs -f` share.
#pragma once

#include <memory>
#include <string>

#include "cli/invocation.h"

namespace cd4ml::cli {

// Sees a run while it goes on. Called from one thread.
class RunObserver {
 public:
  virtual ~RunObserver() = default;
  // The run as it is now; after every change.
  virtual void Update(const RunView& view) = 0;
  // About ten times a second, and right after an update.
  virtual void Tick() = 0;
  // Nothing more will be called: the run has ended, or is no longer followed.
  virtual void Finish() = 0;
  // Whether it has told how the run ended, so that nobody else needs to.
  virtual bool tells_end() const { return false; }
};

// Returns the run when it has ended. Outlives restarts of the daemon for half a minute.
// DEADLINE_EXCEEDED: it takes longer than --timeout. CANCELLED: Ctrl-C, or the reader of the output
// has gone.
absl::StatusOr<core::Run> Follow(Invocation& invocation, const std::string& run,
                                 RunObserver& observer);

// Follows a run with `observer`, which shows it on `screen`, says how it ended, and returns the
// exit code.
int FollowToEnd(Invocation& invocation, const std::string& run, RunObserver& observer,
                const Terminal& screen);

// Says why a run ended as it did and ends with the verdict line; returns the exit code.
int ReportEnd(const Invocation& invocation, const Terminal& screen, const core::Run& run);

// Returns what to do next about a run, with the ids filled in.
std::vector<Hint> NextSteps(const core::Run& run);

}  // namespace cd4ml::cli
