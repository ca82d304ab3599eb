// Names that come out of a repository, none of which can be trusted.
#pragma once

#include <string>
#include <string_view>

namespace cd4ml::git {

// Returns whether a file system that folds names could take `name` for ".git": other case, HFS+'s
// ignored characters, NTFS's short names, streams and trailing dots.
bool IsDotGit(std::string_view name);

// Returns whether an entry of a tree with this name may be written to disk.
bool IsSafeName(std::string_view name);

// Returns whether a symbolic link `depth` folders below the root stays below the root. It may climb
// only at its start, where the folders are known to be real.
bool IsSafeTarget(std::string_view target, int depth);

// Returns `text` with everything that is not UTF-8 or not printable replaced by '?', at most
// `size_max` bytes of it.
std::string Printable(std::string_view text, size_t size_max = 4'096);

}  // namespace cd4ml::git
