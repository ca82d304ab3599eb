// git as a source of versions. Nothing here ever runs a hook, a filter or a program of the repository.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "cd4ml/base/time.h"

namespace cd4ml {

struct CommitFacts {
  std::string id;        // 40 hexadecimal digits.
  std::string subject;   // First line of the message, at most 200 bytes, valid UTF-8.
  std::string author;
  UtcTime time;
};

// One repository on a reachable path. Thread-compatible: one thread at a time.
class SourceRepo {
 public:
  virtual ~SourceRepo() = default;

  // Returns the commit that a branch, tag or (abbreviated) id names. NOT_FOUND lists near names.
  virtual absl::StatusOr<CommitFacts> Resolve(std::string_view ref) = 0;

  // Returns the bytes of a regular file at a commit, without checkout. NOT_FOUND names the commit
  // and the path; RESOURCE_EXHAUSTED when it is larger than `size_max`.
  virtual absl::StatusOr<std::string> ReadFile(std::string_view commit, std::string_view path,
                                               int64_t size_max) = 0;

  // Returns the paths of files in the commit's tree that end in `suffix`, sorted, at most 1,000; looks at
  // no more than 100,000 entries and says so with RESOURCE_EXHAUSTED.
  virtual absl::StatusOr<std::vector<std::string>> ListFiles(std::string_view commit,
                                                             std::string_view suffix) = 0;

  // Identifies what is in the commit's files that match one of `patterns` (as fnmatch, where '*' also matches '/');
  // all files for no patterns, which reads nothing. NOT_FOUND names a pattern that no file matches.
  virtual absl::StatusOr<std::string> IdentifyFiles(std::string_view commit,
                                                    const std::vector<std::string>& patterns) = 0;

  // Returns the paths that differ between two commits, sorted.
  virtual absl::StatusOr<std::vector<std::string>> ChangedPaths(std::string_view from,
                                                                std::string_view to) = 0;

  // Writes the files of a commit below the existing, empty directory `dir`: regular files, executables
  // and symbolic links that stay inside; submodules as empty directories. Refuses trees that would
  // write outside of it or into `.git`.
  virtual absl::Status Export(std::string_view commit, const std::string& dir) = 0;
};

// Opens the repository at `location` (a path or file:// URL, bare or not).
class SourceRepoOpener {
 public:
  virtual ~SourceRepoOpener() = default;
  virtual absl::StatusOr<std::unique_ptr<SourceRepo>> Open(const std::string& location) = 0;
};

}  // namespace cd4ml
