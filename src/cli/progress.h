// The live view of a run: a block that repaints, plain lines, or JSON objects.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cli/follow.h"

namespace cd4ml::cli {

// Returns the observer that --progress, CD4ML_PROGRESS or the terminal ask for; it writes to
// `screen`.
std::unique_ptr<RunObserver> MakeProgress(Invocation& invocation, const Terminal& screen);

// One that shows nothing.
std::unique_ptr<RunObserver> MakeSilence();

// One change of a run, as a line shows it.
struct Transition {
  UtcTime at;
  std::string key;    // The same change has the same key.
  std::string stage;  // Empty: of the run itself.
  int attempt = 0;    // 0: of no attempt.
  std::string word;
  std::string time;  // How long it took; may be empty.
  std::string detail;
};

// Returns all changes that can be told from the run as it is now, oldest first: changes close
// together come as one view, and none of them may be missed.
std::vector<Transition> TransitionsOf(const RunView& view, UtcTime now);

}  // namespace cd4ml::cli
