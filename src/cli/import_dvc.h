// From a DVC repository to a definition that runs its scripts unchanged, in their own folders.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cd4ml/ports/pipeline_parser.h"

namespace cd4ml::cli {

struct DvcImport {
  std::string definition;              // Meaningful only when nothing is refused.
  std::vector<std::string> refused;    // What has no equal here: which key, why, what to do.
  std::vector<std::string> notes;      // What was left out without harm, or means a little more than before.
};

// A repository. Paths are relative to its top.
struct DvcRepo {
  std::string folder;                  // Of the dvc.yaml; "": the top.
  // Returns the text of a file; NOT_FOUND when there is none.
  std::function<absl::StatusOr<std::string>(const std::string& path)> read;
  // Returns the paths of the files in a folder whose names end in `suffix`, relative to it.
  std::function<absl::StatusOr<std::vector<std::string>>(const std::string& folder, const std::string& suffix)> find;
};

// Reads dvc.yaml and all that it refers to. An error is a file that cannot be read at all.
absl::StatusOr<DvcImport> ImportDvc(const std::string& pipeline, const PipelineParser& parser, const DvcRepo& repo);

}  // namespace cd4ml::cli
