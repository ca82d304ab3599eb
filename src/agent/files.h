// The few things that an agent does with files, as statuses that name the path.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "cd4ml/base/value.h"

namespace cd4ml::agent {

// Returns the bytes of a regular file; nothing else is ever waited for. NOT_FOUND; RESOURCE_EXHAUSTED when it is larger
// than `size_max`.
absl::StatusOr<std::string> ReadText(const std::string& path, int64_t size_max);
// Returns at most so many bytes of it from `offset`; "" behind its end.
absl::StatusOr<std::string> ReadPiece(const std::string& path, int64_t offset, int64_t bytes_max);
absl::StatusOr<Value> ReadJson(const std::string& path);

// Writes a file as a whole: readers see the old bytes or the new ones. Not synced: after a power
// cut the attempt is lost anyway, and after any other death the page cache is still there.
absl::Status WriteText(const std::string& path, std::string_view text);
absl::Status AppendText(const std::string& path, std::string_view text);

absl::Status MakeDirs(const std::string& path);
absl::Status RemoveAll(const std::string& path);
bool Exists(const std::string& path);
int64_t FileSize(const std::string& path);  // 0 when there is none.
// Returns the bytes of a file, or of all files below a folder.
int64_t TreeSize(const std::string& path);
// Returns the names inside a folder, sorted; none when there is no such folder.
std::vector<std::string> ListNames(const std::string& dir);
// Returns the free bytes of the file system that holds `path`.
int64_t FreeBytes(const std::string& path);

// Returns whether `path`, relative and without "..", stays below the folder that it is joined to.
bool IsInside(std::string_view path);
// Returns whether `path`, with every symbolic link followed, lies below `dir`.
bool ResolvesInside(const std::string& path, const std::string& dir);

// Returns the last non-empty lines of a text file, oldest first, each cut to 200 bytes of valid
// UTF-8.
std::vector<std::string> LastLines(const std::string& path, size_t lines_max);

}  // namespace cd4ml::agent
