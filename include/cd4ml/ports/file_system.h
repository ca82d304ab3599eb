// Files as an agent needs them for its workspaces.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cd4ml/base/time.h"

namespace cd4ml {

enum class FileKind { kFile, kFolder, kLink, kOther };

struct FileStat {
  FileKind kind = FileKind::kFile;
  int64_t size = 0;
  int64_t modified_ns =
      0;  // Since 1970. With size and inode it tells whether a file is the one seen before.
  int64_t changed_ns = 0;  // The same of its inode, which nobody can set.
  uint64_t inode = 0;
  uint64_t device = 0;
  bool executable = false;

  bool operator==(const FileStat&) const = default;
};

// Follows a file that grows. One thread reads and waits; any thread may call Wake.
class FileTail {
 public:
  virtual ~FileTail() = default;

  // Returns the next at most `size_max` bytes, "" when there are none now.
  virtual absl::StatusOr<std::string> Read(size_t size_max) = 0;

  // Returns when the file may have grown since the last Read, or Wake was called since the last
  // Wait, or `timeout` has passed.
  virtual void Wait(Duration timeout) = 0;

  // Makes the present or the next Wait return.
  virtual void Wake() = 0;
};

// Plain files. Paths are absolute. Errors name the path. Thread-safe.
class FileSystem {
 public:
  virtual ~FileSystem() = default;

  // NOT_FOUND when there is no such file; RESOURCE_EXHAUSTED when it is larger than `size_max`;
  // FAILED_PRECONDITION when it is no regular file.
  virtual absl::StatusOr<std::string> ReadFile(const std::string& path, int64_t size_max) = 0;

  // Replaces the file as a whole; whoever reads it sees the old or the new bytes, also when we are
  // killed.
  virtual absl::Status WriteFileAtomically(const std::string& path, std::string_view bytes) = 0;

  // Makes a folder and those above it. What is there already is fine.
  virtual absl::Status MakeDirs(const std::string& path) = 0;

  // Removes a file or a folder with all that is in it, however deep and whatever its modes. Never
  // follows a link. What is not there is fine.
  virtual absl::Status RemoveAll(const std::string& path) = 0;

  // Describes a link itself, not what it leads to. NOT_FOUND when there is nothing.
  virtual absl::StatusOr<FileStat> Stat(const std::string& path) = 0;
  bool Exists(const std::string& path) { return Stat(path).ok(); }

  // Returns the names in a folder, sorted.
  virtual absl::StatusOr<std::vector<std::string>> ListDir(const std::string& path) = 0;

  // Moves within one file system; replaces a file at `to`.
  virtual absl::Status Rename(const std::string& from, const std::string& to) = 0;

  // Returns how many bytes the caller may still write to the file system that `path` is on.
  virtual absl::StatusOr<int64_t> FreeBytes(const std::string& path) = 0;

  // Follows the file from `offset`; makes it, empty, when there is none yet.
  virtual absl::StatusOr<std::unique_ptr<FileTail>> Tail(const std::string& path,
                                                         int64_t offset) = 0;
};

}  // namespace cd4ml
