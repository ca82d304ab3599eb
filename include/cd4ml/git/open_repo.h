// git repositories on this host, read by libgit2.
#pragma once

#include <memory>

#include "cd4ml/ports/source_repo.h"

namespace cd4ml {

// Returns the opener of repositories. No configuration (of the system, the user or the repository), hook,
// filter or program takes part in anything it does, so it does not matter who owns a repository:
// file permissions alone decide what may be read.
std::unique_ptr<SourceRepoOpener> MakeRepoOpener();

}  // namespace cd4ml
