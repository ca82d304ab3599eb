// Header first, then the object.
#include "git/objects.h"

#include "cd4ml/base/status.h"
#include "cd4ml/base/time.h"
#include "git/names.h"

namespace cd4ml::git {

absl::Status GitError(const std::string& what) {
  const git_error* error = git_error_last();
  return absl::InternalError("cannot " + what + ": " +
                             Printable(error == nullptr ? "unknown reason" : error->message));
}

std::string Hex(const git_oid& id) {
  std::string hex(GIT_OID_HEXSZ, '\0');
  git_oid_fmt(hex.data(), &id);
  return hex;
}

absl::StatusOr<Objects> Objects::Open(git_repository* repository) {
  git_odb* odb = nullptr;
  if (git_repository_odb(&odb, repository) != 0) return GitError("open the objects");
  return Objects(repository, Odb(odb));
}

absl::Status Objects::Check(const git_oid& id, git_object_t type, int64_t size_max) const {
  size_t size = 0;
  git_object_t actual = GIT_OBJECT_INVALID;
  if (git_odb_read_header(&size, &actual, odb_.get(), &id) != 0) {
    return absl::DataLossError(
        "the repository lacks object " + Hex(id) +
        "; it is damaged or a shallow or partial clone: make a full clone, or "
        "see what `git fsck` says");
  }
  const std::string name = std::string(git_object_type2string(type)) + ' ' + Hex(id);
  if (type != GIT_OBJECT_ANY && actual != type) {
    return absl::DataLossError("the repository is damaged: " + name + " is a " +
                               git_object_type2string(actual) + "; see what `git fsck` says");
  }
  if (static_cast<uint64_t>(size) > static_cast<uint64_t>(size_max)) {
    return absl::ResourceExhaustedError(name + " has " + FormatSize(static_cast<int64_t>(size)) +
                                        ", more than the " + FormatSize(size_max) +
                                        " that are read");
  }
  return absl::OkStatus();
}

absl::StatusOr<git_object_t> Objects::TypeOf(const git_oid& id) const {
  CD4ML_RETURN_IF_ERROR(Check(id, GIT_OBJECT_ANY, INT64_MAX));
  size_t size = 0;
  git_object_t type = GIT_OBJECT_INVALID;
  if (git_odb_read_header(&size, &type, odb_.get(), &id) != 0) return GitError("read " + Hex(id));
  return type;
}

absl::StatusOr<Commit> Objects::ReadCommit(const git_oid& id) const {
  CD4ML_RETURN_IF_ERROR(Check(id, GIT_OBJECT_COMMIT, kCommitSizeMax));
  git_commit* commit = nullptr;
  if (git_commit_lookup(&commit, repository_, &id) != 0) return GitError("read commit " + Hex(id));
  return Commit(commit);
}

absl::StatusOr<Tree> Objects::ReadTree(const git_oid& id) const {
  CD4ML_RETURN_IF_ERROR(Check(id, GIT_OBJECT_TREE, kTreeSizeMax));
  git_tree* tree = nullptr;
  if (git_tree_lookup(&tree, repository_, &id) != 0) return GitError("read tree " + Hex(id));
  return Tree(tree);
}

absl::StatusOr<Tag> Objects::ReadTag(const git_oid& id) const {
  CD4ML_RETURN_IF_ERROR(Check(id, GIT_OBJECT_TAG, kCommitSizeMax));
  git_tag* tag = nullptr;
  if (git_tag_lookup(&tag, repository_, &id) != 0) return GitError("read tag " + Hex(id));
  return Tag(tag);
}

absl::StatusOr<std::string> Objects::ReadBlob(const git_oid& id, std::string_view path,
                                              int64_t size_max) const {
  CD4ML_RETURN_IF_ERROR(
      Annotate(Check(id, GIT_OBJECT_BLOB, size_max), "file \"" + Printable(path) + '"'));
  git_odb_object* object = nullptr;
  if (git_odb_read(&object, odb_.get(), &id) != 0) return GitError("read blob " + Hex(id));
  const OdbObject owned(object);
  return std::string(static_cast<const char*>(git_odb_object_data(object)),
                     git_odb_object_size(object));
}

}  // namespace cd4ml::git
