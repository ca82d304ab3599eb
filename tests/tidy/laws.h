// The laws of ARCHITECTURE.md as functions over the text of one file, so that each has a test of its own.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace cd4ml::tidy {

// One broken law: `src/core/run.cc:12: core may not include "cd4ml/store/open_store.h": ...`.
using Findings = std::vector<std::string>;

// Returns the module that a path belongs to: "core" for src/core/x.cc and include/cd4ml/core/x.h, or "".
std::string ModuleOf(std::string_view path);

// Includes that cross a layer, and third-party headers outside of the one module that may know them.
Findings CheckIncludes(std::string_view path, std::string_view text);

// Calls that belong to one module: clocks, sleeping, randomness, the environment, other libraries' names.
Findings CheckCalls(std::string_view path, std::string_view text);

// The first line says what the file is for.
Findings CheckFirstLine(std::string_view path, std::string_view text);

// Files named in prose (`src/core/decide.cc`) must exist in `known`.
Findings CheckNamedFiles(std::string_view path, std::string_view text, const std::vector<std::string>& known);

}  // namespace cd4ml::tidy
