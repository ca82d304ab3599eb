// Objects of a repository, asked for their size before they are read.
#pragma once

#include <git2.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace cd4ml::git {

template <auto free>
struct Freer {
  template <typename T>
  void operator()(T* handle) const {
    free(handle);
  }
};
template <typename T, auto free>
using Handle = std::unique_ptr<T, Freer<free>>;

using Repository = Handle<git_repository, git_repository_free>;
using Odb = Handle<git_odb, git_odb_free>;
using Commit = Handle<git_commit, git_commit_free>;
using Tree = Handle<git_tree, git_tree_free>;
using Tag = Handle<git_tag, git_tag_free>;
using OdbObject = Handle<git_odb_object, git_odb_object_free>;

// Reads no more than this of one object; larger ones are refused before.
inline constexpr int64_t kCommitSizeMax = 4 << 20;
inline constexpr int64_t kTreeSizeMax = 32 << 20;

// Folders within folders.
inline constexpr int kDepthMax = 200;

// Returns the last error of libgit2: "cannot `what`: …".
absl::Status GitError(const std::string& what);

std::string Hex(const git_oid& id);

// The object store of one repository. Thread-compatible.
class Objects {
 public:
  static absl::StatusOr<Objects> Open(git_repository* repository);

  git_odb* odb() const { return odb_.get(); }

  absl::StatusOr<git_object_t> TypeOf(const git_oid& id) const;
  absl::StatusOr<Commit> ReadCommit(const git_oid& id) const;
  absl::StatusOr<Tree> ReadTree(const git_oid& id) const;
  absl::StatusOr<Tag> ReadTag(const git_oid& id) const;
  // RESOURCE_EXHAUSTED, naming `path`, when the blob is larger than `size_max`.
  absl::StatusOr<std::string> ReadBlob(const git_oid& id, std::string_view path,
                                       int64_t size_max) const;

 private:
  Objects(git_repository* repository, Odb odb) : repository_(repository), odb_(std::move(odb)) {}
  // Returns OK when the object is there, of this type and not larger.
  absl::Status Check(const git_oid& id, git_object_t type, int64_t size_max) const;

  git_repository* repository_;
  Odb odb_;
};

}  // namespace cd4ml::git
