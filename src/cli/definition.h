// Pipeline files on this machine, read without a daemon.
#pragma once

#include <string>
#include <vector>

#include "cli/invocation.h"

namespace cd4ml::cli {

// Returns the files that the operand names, or else all *.cd4ml.yaml of the working directory.
// NOT_FOUND: there are none.
absl::StatusOr<std::vector<std::string>> DefinitionFiles(const Invocation& invocation,
                                                         const std::string& operand);

// Returns the definition in `file`, with its findings. Errors: the file cannot be read.
absl::StatusOr<ParsedPipeline> ReadDefinition(const Invocation& invocation,
                                              const std::string& file);

// Returns "2 errors, 1 warning in 3 files".
std::string FindingsText(const core::Diagnostics& findings, size_t files);

}  // namespace cd4ml::cli
