// What the commands of a stage run in: which files it is made from, and what it is known by.
//
// A pinned runtime is a function of what its definition says and of the texts of its files. Daemon and agent
// find the same digest for it, under which agents keep what they have built.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "cd4ml/base/digest.h"
#include "cd4ml/core/pipeline.h"

namespace cd4ml::core {

// Returns the patterns of repository paths that the runtime is made from; none for one that needs no files.
std::vector<std::string> RuntimeFilePatterns(const RuntimeSpec& runtime);

// Returns those of `files` that the runtime is made from, by path.
std::map<std::string, std::string> FilesOf(const RuntimeSpec& runtime, const std::map<std::string, std::string>& files);

// Returns what the runtime is known by. `files` may hold more than those of this runtime.
Digest RuntimeDigest(const RuntimeSpec& runtime, const std::map<std::string, std::string>& files);

// Returns the runtime in words: "python 3.11 with requirements.lock".
std::string ToText(const RuntimeSpec& runtime);

// Returns the runtime that the stage's commands run in. A package is served in the one that it was made in.
const RuntimeSpec& RuntimeOf(const PipelineSpec& pipeline, const StageSpec& stage);

// INVALID_ARGUMENT names the first line of a lock file that does not say exactly what is to be installed, or that
// needs other files.
absl::Status CheckLock(std::string_view text);

}  // namespace cd4ml::core
