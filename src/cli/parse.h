// Command lines to commands with arguments; the only header of the module that stands before CLI11.
#pragma once

#include <string>
#include <vector>

#include "cli/command.h"

namespace cd4ml::cli {

struct ParsedLine {
  const Command* command = nullptr;  // Null: only a group ("run"), or nothing, was named.
  std::string group;                 // Its word, when no command was named.
  bool help = false;                 // -h or --help.
  bool version = false;              // --version.
  Arguments arguments;
  std::string error;  // What cannot be understood; empty: nothing.
};

// Understands `words`, the command line without the program's name.
ParsedLine ParseLine(const std::vector<std::string>& words);

}  // namespace cd4ml::cli
