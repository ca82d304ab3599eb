// Repositories that stay open between checkouts: opening one costs more than checking out a small commit.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "agent/files.h"
#include "cd4ml/base/status.h"
#include "cd4ml/ports/source_repo.h"

namespace cd4ml::agent {

// Thread-safe. Each thread that checks out has a repository of its own for that time.
class Repos {
 public:
  explicit Repos(SourceRepoOpener& opener) : opener_(opener) {}

  // Writes the files of a commit into the empty folder `dir`.
  absl::Status Export(const std::string& location, const std::string& commit, const std::string& dir) {
    std::unique_ptr<SourceRepo> repo = Take(location);
    const bool was_open = repo != nullptr;
    if (was_open) {
      absl::Status exported = repo->Export(commit, dir);
      if (exported.ok()) return Keep(location, std::move(repo));
      // It may have been replaced since: look again before complaining.
      CD4ML_RETURN_IF_ERROR(RemoveAll(dir));
      CD4ML_RETURN_IF_ERROR(MakeDirs(dir));
    }
    CD4ML_ASSIGN_OR_RETURN(repo, opener_.Open(location));
    CD4ML_RETURN_IF_ERROR(repo->Export(commit, dir));
    return Keep(location, std::move(repo));
  }

 private:
  static constexpr size_t kIdleMax = 16;

  std::unique_ptr<SourceRepo> Take(const std::string& location) {
    std::lock_guard lock(mutex_);
    for (size_t i = idle_.size(); i-- > 0;) {
      if (idle_[i].first != location) continue;
      std::unique_ptr<SourceRepo> repo = std::move(idle_[i].second);
      idle_.erase(idle_.begin() + static_cast<std::ptrdiff_t>(i));
      return repo;
    }
    return nullptr;
  }

  absl::Status Keep(const std::string& location, std::unique_ptr<SourceRepo> repo) {
    std::lock_guard lock(mutex_);
    if (idle_.size() == kIdleMax) idle_.erase(idle_.begin());
    idle_.emplace_back(location, std::move(repo));
    return absl::OkStatus();
  }

  SourceRepoOpener& opener_;
  std::mutex mutex_;
  std::vector<std::pair<std::string, std::unique_ptr<SourceRepo>>> idle_;  // Guarded by mutex_; newest last.
};

}  // namespace cd4ml::agent
