// Writing the files of a commit into a folder, without git's checkout machinery.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "git/objects.h"

namespace cd4ml::git {

// Writes `tree` below the existing, empty folder `dir`. See SourceRepo::Export.
absl::Status ExportTree(const Objects& objects, const git_tree* tree, const std::string& dir);

}  // namespace cd4ml::git
