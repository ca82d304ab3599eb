// Finds the verdict that a gate's own command has left, as its `verdict:` says.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "cd4ml/core/own_verdict.h"
#include "cd4ml/core/pipeline.h"

namespace cd4ml::agent {

using XmlParser = std::function<absl::StatusOr<core::XmlElement>(std::string_view text)>;

// Reads the file of `spec` below `dir`. An error names the file: it was not written, or is not what it should be.
// REQUIRES: the kind is not kExitCode.
absl::StatusOr<std::vector<core::RuleResult>> ReadVerdictFile(const std::string& dir, const core::VerdictSpec& spec,
                                                              const XmlParser& parse_xml);

// Reads what a command wrote to $CD4ML_VERDICT, in cd4ml's own form.
absl::StatusOr<std::vector<core::RuleResult>> ReadVerdictVariable(const std::string& path);

// Removes what lies at the file of `spec` before the command runs, so that only its own verdict is read.
absl::Status ClearVerdictFile(const std::string& dir, const core::VerdictSpec& spec);

}  // namespace cd4ml::agent
