// One opened repository.
#pragma once

#include <memory>
#include <string>

#include "cd4ml/ports/source_repo.h"
#include "git/objects.h"

namespace cd4ml::git {

// Returns the SourceRepo over `repository`, which messages call `location`.
absl::StatusOr<std::unique_ptr<SourceRepo>> MakeRepo(Repository repository, std::string location);

}  // namespace cd4ml::git
