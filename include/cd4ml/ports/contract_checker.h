// Looks at the files that contract gates name, before there is a service to ask.
#pragma once

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "cd4ml/core/diagnostic.h"
#include "cd4ml/core/pipeline.h"

namespace cd4ml {

// Returns the text of a file of the repository. NOT_FOUND: there is none.
using RepoReader = std::function<absl::StatusOr<std::string>(const std::string& path)>;

// Returns what is wrong with the contracts and protocols that the rules of `pipeline` name: files that are missing or cannot be
// used, and contracts that ask for less than they seem to. Findings have still to be located. Thread-safe.
using ContractChecker = std::function<core::Diagnostics(const core::PipelineSpec& pipeline, const RepoReader& read)>;

}  // namespace cd4ml
