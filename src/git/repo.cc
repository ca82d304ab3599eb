// Refs, files and differences, by bounded walks over trees.
#include "git/repo.h"

#include <fnmatch.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <functional>
#include <map>
#include <optional>
#include <set>

#include "cd4ml/base/digest.h"
#include "cd4ml/base/status.h"
#include "cd4ml/base/text.h"
#include "git/export.h"
#include "git/names.h"

namespace cd4ml::git {
namespace {

constexpr int64_t kEntriesMax = 100'000;
constexpr size_t kListedMax = 1'000;
constexpr size_t kSuggestedMax = 10'000;  // Names looked at for a suggestion.
constexpr int kTagChainMax = 16;
constexpr size_t kHexMin = 4;

using RefIterator = Handle<git_reference_iterator, git_reference_iterator_free>;

bool IsHex(std::string_view text) {
  return text.size() >= kHexMin && text.size() <= GIT_OID_HEXSZ &&
         std::all_of(text.begin(), text.end(),
                     [](unsigned char c) { return std::isxdigit(c) != 0; });
}

// Returns whether `ref` is a plain name. Git's expressions (HEAD~1, main^{tree}, @{-1}, a..b) are
// not.
bool IsPlainRef(const std::string& ref) {
  int is_valid = 0;
  return !ref.empty() && ref.size() <= 250 && ref[0] != '-' && IsUtf8(ref) &&
         ref.find('\0') == ref.npos && ref.find("//") == ref.npos &&
         git_reference_name_is_valid(&is_valid, ("refs/heads/" + ref).c_str()) == 0 &&
         is_valid != 0;
}

// Splits a path into its parts; empty when it is not relative and clean.
std::vector<std::string> Parts(std::string_view path) {
  std::vector<std::string> parts;
  while (path.size() <= 4'096 && path.find('\0') == path.npos) {
    const size_t end = path.find('/');
    const std::string_view part = path.substr(0, end);
    if (part.empty() || part == "." || part == "..") break;
    parts.emplace_back(part);
    if (end == path.npos) return parts;
    path.remove_prefix(end + 1);
  }
  return {};
}

bool IsTree(const git_tree_entry* entry) {
  return entry != nullptr && git_tree_entry_filemode(entry) == GIT_FILEMODE_TREE;
}

bool IsSame(const git_tree_entry* a, const git_tree_entry* b) {
  return a != nullptr && b != nullptr &&
         git_oid_equal(git_tree_entry_id(a), git_tree_entry_id(b)) != 0 &&
         git_tree_entry_filemode(a) == git_tree_entry_filemode(b);
}

std::vector<std::string> NamesIn(const git_tree* tree) {
  std::vector<std::string> names;
  const size_t count = std::min(git_tree_entrycount(tree), kSuggestedMax);
  for (size_t i = 0; i < count; ++i) {
    names.push_back(Printable(git_tree_entry_name(git_tree_entry_byindex(tree, i))));
  }
  return names;
}

class Repo final : public SourceRepo {
 public:
  Repo(Repository repository, Objects objects, std::string location)
      : repository_(std::move(repository)),
        objects_(std::move(objects)),
        location_(std::move(location)) {}

  absl::StatusOr<CommitFacts> Resolve(std::string_view ref) override;
  absl::StatusOr<std::string> ReadFile(std::string_view commit, std::string_view path,
                                       int64_t size_max) override;
  absl::StatusOr<std::vector<std::string>> ListFiles(std::string_view commit,
                                                     std::string_view suffix) override;
  absl::StatusOr<std::string> IdentifyFiles(std::string_view commit,
                                            const std::vector<std::string>& patterns) override;
  absl::StatusOr<std::vector<std::string>> ChangedPaths(std::string_view from,
                                                        std::string_view to) override;
  absl::Status Export(std::string_view commit, const std::string& dir) override;

 private:
  // Returns the object that a full ref name points to, through symbolic refs.
  std::optional<git_oid> Target(const std::string& name);
  absl::StatusOr<git_oid> Find(const std::string& ref);
  absl::StatusOr<git_oid> FindByPrefix(const std::string& hex);
  // Follows tags to the commit.
  absl::StatusOr<git_oid> Peel(git_oid id, const std::string& ref);
  absl::Status NoSuchRef(const std::string& ref);
  std::vector<std::string> RefNames();

  absl::StatusOr<Tree> RootOf(std::string_view commit);
  absl::StatusOr<Tree> ReadRoot(std::string_view commit);
  absl::Status List(const git_tree* tree, const std::string& prefix, int depth,
                    const std::function<void(std::string, const git_tree_entry*)>& found);
  absl::Status Compare(const git_tree* from, const git_tree* to, const std::string& prefix,
                       int depth, std::vector<std::string>& changed);
  absl::StatusOr<Tree> Below(const git_tree_entry* entry);
  absl::Status Spend(int depth);

  Repository repository_;
  Objects objects_;
  const std::string location_;
  int64_t entries_left_ = 0;  // Of the walk under way.
  std::string last_commit_;   // Asked for again and again, as stages of one run are.
  Tree last_root_;            // Its root.
};

absl::StatusOr<CommitFacts> Repo::Resolve(std::string_view given) {
  const std::string ref(given);
  if (!IsPlainRef(ref)) {
    return absl::NotFoundError(
        "\"" + Printable(ref, 100) +
        "\" is not the name of a branch, a tag or a commit; expressions such "
        "as HEAD~1 are not taken, give the commit id");
  }
  CD4ML_ASSIGN_OR_RETURN(const git_oid found, Find(ref));
  CD4ML_ASSIGN_OR_RETURN(const git_oid id, Peel(found, ref));
  CD4ML_ASSIGN_OR_RETURN(const Commit commit, objects_.ReadCommit(id));
  const std::string_view message = git_commit_message(commit.get());
  const git_signature* author = git_commit_author(commit.get());
  // A year that no calendar holds would overflow as milliseconds.
  constexpr git_time_t kTimeMax = 253'402'300'799;
  return CommitFacts{
      .id = Hex(id),
      .subject = Printable(message.substr(0, message.find('\n')), 200),
      .author = Printable(author == nullptr ? "" : author->name, 200),
      .time = {std::clamp<git_time_t>(git_commit_time(commit.get()), 0, kTimeMax) * 1'000}};
}

std::optional<git_oid> Repo::Target(const std::string& name) {
  git_oid id;
  if (git_reference_name_to_id(&id, repository_.get(), name.c_str()) != 0) return std::nullopt;
  return id;
}

absl::StatusOr<git_oid> Repo::Find(const std::string& ref) {
  git_oid id;
  if (ref.size() == GIT_OID_HEXSZ && IsHex(ref) && git_oid_fromstr(&id, ref.c_str()) == 0) {
    if (git_odb_exists(objects_.odb(), &id) != 0) return id;
    return NoSuchRef(ref);
  }
  if (ref == "HEAD" || ref.starts_with("refs/")) {
    if (const auto target = Target(ref)) return *target;
    return NoSuchRef(ref);
  }
  const auto branch = Target("refs/heads/" + ref);
  const auto tag = Target("refs/tags/" + ref);
  if (branch && tag && git_oid_equal(&*branch, &*tag) == 0) {
    return absl::InvalidArgumentError("\"" + ref + "\" is both a branch and a tag of " + location_ +
                                      "; give \"refs/heads/" + ref + "\" or \"refs/tags/" + ref +
                                      '"');
  }
  if (branch) return *branch;
  if (tag) return *tag;
  if (const auto remote = Target("refs/remotes/" + ref)) return *remote;
  return IsHex(ref) ? FindByPrefix(ref) : NoSuchRef(ref);
}

absl::StatusOr<git_oid> Repo::FindByPrefix(const std::string& hex) {
  git_oid prefix, id;
  if (git_oid_fromstrn(&prefix, hex.c_str(), hex.size()) != 0) return NoSuchRef(hex);
  const int error = git_odb_exists_prefix(&id, objects_.odb(), &prefix, hex.size());
  if (error == GIT_EAMBIGUOUS) {
    return absl::InvalidArgumentError("more than one object of " + location_ + " begins with \"" +
                                      hex + "\"; give more digits");
  }
  if (error != 0) return NoSuchRef(hex);
  return id;
}

absl::StatusOr<git_oid> Repo::Peel(git_oid id, const std::string& ref) {
  for (int i = 0; i < kTagChainMax; ++i) {
    CD4ML_ASSIGN_OR_RETURN(const git_object_t type, objects_.TypeOf(id));
    if (type == GIT_OBJECT_COMMIT) return id;
    if (type != GIT_OBJECT_TAG) break;
    CD4ML_ASSIGN_OR_RETURN(const Tag tag, objects_.ReadTag(id));
    id = *git_tag_target_id(tag.get());
  }
  return absl::InvalidArgumentError("\"" + ref + "\" of " + location_ +
                                    " does not lead to a commit");
}

std::vector<std::string> Repo::RefNames() {
  std::vector<std::string> names;
  git_reference_iterator* raw = nullptr;
  if (git_reference_iterator_new(&raw, repository_.get()) != 0) return names;
  const RefIterator refs(raw);
  for (const char* name;
       names.size() < kSuggestedMax && git_reference_next_name(&name, raw) == 0;) {
    for (const std::string_view prefix : {"refs/heads/", "refs/tags/", "refs/remotes/"}) {
      if (std::string_view(name).starts_with(prefix))
        names.push_back(Printable(name + prefix.size()));
    }
  }
  return names;
}

absl::Status Repo::NoSuchRef(const std::string& ref) {
  const std::vector<std::string> names = RefNames();
  if (names.empty()) {
    return absl::NotFoundError("there is no \"" + ref + "\" in " + location_ +
                               ": it has no branch with a commit yet; commit something first");
  }
  std::string hint = DidYouMean(ref, names);
  if (hint.empty()) {
    hint = "; it has ";
    for (size_t i = 0; i < std::min<size_t>(names.size(), 5); ++i) {
      hint += (i == 0 ? "\"" : ", \"") + names[i] + '"';
    }
    if (names.size() > 5) hint += " and others";
  }
  return absl::NotFoundError("there is no branch, tag or commit \"" + ref + "\" in " + location_ +
                             hint);
}

absl::StatusOr<Tree> Repo::RootOf(std::string_view commit) {
  if (commit == last_commit_) {
    git_tree* tree = nullptr;
    if (git_tree_dup(&tree, last_root_.get()) == 0) return Tree(tree);
  }
  CD4ML_ASSIGN_OR_RETURN(Tree root, ReadRoot(commit));
  git_tree* copy = nullptr;
  if (git_tree_dup(&copy, root.get()) == 0) {
    last_root_.reset(copy);
    last_commit_ = commit;
  }
  return root;
}

absl::StatusOr<Tree> Repo::ReadRoot(std::string_view commit) {
  git_oid id;
  if (commit.size() != GIT_OID_HEXSZ || !IsHex(commit) ||
      git_oid_fromstrn(&id, commit.data(), commit.size()) != 0) {
    return absl::InvalidArgumentError("\"" + Printable(commit, 100) +
                                      "\" is not a commit id of 40 digits; resolve it first");
  }
  if (git_odb_exists(objects_.odb(), &id) == 0) {
    return absl::NotFoundError("there is no commit " + std::string(commit) + " in " + location_ +
                               "; fetch it there");
  }
  CD4ML_ASSIGN_OR_RETURN(const Commit found, objects_.ReadCommit(id));
  return objects_.ReadTree(*git_commit_tree_id(found.get()));
}

absl::StatusOr<std::string> Repo::ReadFile(std::string_view commit, std::string_view path,
                                           int64_t size_max) {
  const std::string shown = '"' + Printable(path) + '"';
  const std::vector<std::string> parts = Parts(path);
  if (parts.empty()) {
    return absl::InvalidArgumentError(shown +
                                      " is not a path in a repository; give one without a leading "
                                      "\"/\" and without \"..\"");
  }
  CD4ML_ASSIGN_OR_RETURN(Tree tree, RootOf(commit));
  const std::string place = " at commit " + std::string(commit.substr(0, 12)) + " of " + location_;
  std::string folder;
  for (size_t i = 0; i < parts.size(); ++i) {
    const git_tree_entry* entry = git_tree_entry_byname(tree.get(), parts[i].c_str());
    const bool is_last = i + 1 == parts.size();
    if (entry == nullptr || (!is_last && !IsTree(entry))) {
      std::vector<std::string> names = NamesIn(tree.get());
      for (std::string& name : names) name.insert(0, folder);
      return absl::NotFoundError("there is no file " + shown + place +
                                 DidYouMean(folder + Printable(parts[i]), names));
    }
    if (is_last) {
      const git_filemode_t mode = git_tree_entry_filemode(entry);
      if (mode != GIT_FILEMODE_BLOB && mode != GIT_FILEMODE_BLOB_EXECUTABLE) {
        const std::string kind = IsTree(entry)               ? "a folder"
                                 : mode == GIT_FILEMODE_LINK ? "a symbolic link"
                                                             : "a submodule";
        return absl::InvalidArgumentError(shown + place + " is " + kind + "; give a regular file");
      }
      return objects_.ReadBlob(*git_tree_entry_id(entry), path, size_max);
    }
    folder += parts[i] + '/';
    CD4ML_ASSIGN_OR_RETURN(tree, objects_.ReadTree(*git_tree_entry_id(entry)));
  }
  return absl::InternalError("unreachable");
}

// Counts one entry of a walk.
absl::Status Repo::Spend(int depth) {
  if (--entries_left_ < 0) {
    return absl::ResourceExhaustedError("more than " + std::to_string(kEntriesMax) +
                                        " files and folders to look at in " + location_ +
                                        "; keep data out of git");
  }
  if (depth > kDepthMax) {
    return absl::ResourceExhaustedError("more than " + std::to_string(kDepthMax) +
                                        " folders within folders in " + location_);
  }
  return absl::OkStatus();
}

absl::Status Repo::List(const git_tree* tree, const std::string& prefix, int depth,
                        const std::function<void(std::string, const git_tree_entry*)>& found) {
  for (size_t i = 0; i < git_tree_entrycount(tree); ++i) {
    CD4ML_RETURN_IF_ERROR(Spend(depth));
    const git_tree_entry* entry = git_tree_entry_byindex(tree, i);
    const std::string path = prefix + git_tree_entry_name(entry);
    if (IsTree(entry)) {
      CD4ML_ASSIGN_OR_RETURN(const Tree below, objects_.ReadTree(*git_tree_entry_id(entry)));
      CD4ML_RETURN_IF_ERROR(List(below.get(), path + '/', depth + 1, found));
    } else {
      found(path, entry);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> Repo::ListFiles(std::string_view commit,
                                                         std::string_view suffix) {
  CD4ML_ASSIGN_OR_RETURN(const Tree root, RootOf(commit));
  std::vector<std::string> paths;
  entries_left_ = kEntriesMax;
  CD4ML_RETURN_IF_ERROR(List(root.get(), "", 0, [&](std::string path, const git_tree_entry*) {
    if (path.ends_with(suffix) && IsUtf8(path)) paths.push_back(std::move(path));
  }));
  std::sort(paths.begin(), paths.end());
  paths.resize(std::min(paths.size(), kListedMax));
  return paths;
}

absl::StatusOr<std::string> Repo::IdentifyFiles(std::string_view commit,
                                                const std::vector<std::string>& patterns) {
  CD4ML_ASSIGN_OR_RETURN(const Tree root, RootOf(commit));
  if (patterns.empty()) return Hex(*git_tree_id(root.get()));
  std::set<std::string> unmatched(patterns.begin(), patterns.end());
  std::string lines;
  entries_left_ = kEntriesMax;
  CD4ML_RETURN_IF_ERROR(List(root.get(), "", 0, [&](const std::string& path, const git_tree_entry* entry) {
    bool matches = false;
    for (const std::string& pattern : patterns) {
      if (fnmatch(pattern.c_str(), path.c_str(), 0) != 0 && !path.starts_with(pattern + "/")) continue;
      unmatched.erase(pattern);
      matches = true;
    }
    if (!matches) return;
    lines += Hex(*git_tree_entry_id(entry)) + " " + std::to_string(git_tree_entry_filemode(entry)) + " " + path + "\n";
  }));
  if (unmatched.empty()) return Sha256(lines).hex();
  return absl::NotFoundError("no file of commit " + std::string(commit.substr(0, 7)) + " matches \"" +
                             *unmatched.begin() + "\"");
}

// Returns the tree that `entry` names, or none when it names none.
absl::StatusOr<Tree> Repo::Below(const git_tree_entry* entry) {
  if (!IsTree(entry)) return Tree();
  return objects_.ReadTree(*git_tree_entry_id(entry));
}

// Collects what differs between two trees, either of which may be missing.
absl::Status Repo::Compare(const git_tree* from, const git_tree* to, const std::string& prefix,
                           int depth, std::vector<std::string>& changed) {
  std::map<std::string, std::array<const git_tree_entry*, 2>> sides;
  for (const size_t side : {0, 1}) {
    const git_tree* tree = side == 0 ? from : to;
    for (size_t i = 0; tree != nullptr && i < git_tree_entrycount(tree); ++i) {
      const git_tree_entry* entry = git_tree_entry_byindex(tree, i);
      sides[git_tree_entry_name(entry)][side] = entry;
    }
  }
  for (const auto& [name, entries] : sides) {
    CD4ML_RETURN_IF_ERROR(Spend(depth));
    const auto& [old_entry, new_entry] = entries;
    if (IsSame(old_entry, new_entry)) continue;
    const auto is_file = [](const git_tree_entry* entry) {
      return entry != nullptr && !IsTree(entry);
    };
    if (is_file(old_entry) || is_file(new_entry)) changed.push_back(Printable(prefix + name));
    CD4ML_ASSIGN_OR_RETURN(const Tree old_tree, Below(old_entry));
    CD4ML_ASSIGN_OR_RETURN(const Tree new_tree, Below(new_entry));
    CD4ML_RETURN_IF_ERROR(
        Compare(old_tree.get(), new_tree.get(), prefix + name + '/', depth + 1, changed));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> Repo::ChangedPaths(std::string_view from,
                                                            std::string_view to) {
  CD4ML_ASSIGN_OR_RETURN(const Tree old_root, RootOf(from));
  CD4ML_ASSIGN_OR_RETURN(const Tree new_root, RootOf(to));
  std::vector<std::string> changed;
  entries_left_ = kEntriesMax;
  CD4ML_RETURN_IF_ERROR(Compare(old_root.get(), new_root.get(), "", 0, changed));
  std::sort(changed.begin(), changed.end());
  return changed;
}

absl::Status Repo::Export(std::string_view commit, const std::string& dir) {
  CD4ML_ASSIGN_OR_RETURN(const Tree root, RootOf(commit));
  return Annotate(ExportTree(objects_, root.get(), dir),
                  "commit " + std::string(commit.substr(0, 12)) + " of " + location_);
}

}  // namespace

absl::StatusOr<std::unique_ptr<SourceRepo>> MakeRepo(Repository repository, std::string location) {
  CD4ML_ASSIGN_OR_RETURN(Objects objects, Objects::Open(repository.get()));
  return std::make_unique<Repo>(std::move(repository), std::move(objects), std::move(location));
}

}  // namespace cd4ml::git
