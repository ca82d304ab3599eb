// The live view on a terminal: a block that repaints in place and never outgrows the screen.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cli/follow.h"

namespace cd4ml::cli {

std::unique_ptr<RunObserver> MakeLiveBlock(Invocation& invocation, const Terminal& screen);

// What the block shows at one moment.
struct BlockContent {
  const RunView& view;
  UtcTime now;
  std::string log_stage;               // Whose output is shown; empty: none.
  std::vector<std::string> log_lines;  // Its last lines, safe to print.
  bool is_final = false;               // No more footer and log.
};

// Returns the lines of the block: at most `height`, each at most `width` columns wide.
std::vector<std::string> LayOutBlock(const BlockContent& content, const Terminal& screen,
                                     size_t width, size_t height);

}  // namespace cd4ml::cli
