// What DVC writes into a repository, as values: pointers, lists of folders, remotes. No I/O.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "cd4ml/base/value.h"

namespace cd4ml::core {

// One output that DVC tracks.
struct DvcOut {
  std::string path;               // Relative to the repository.
  std::string md5;                // 32 hexadecimal digits; of the list, for a folder.
  bool is_dir = false;
  bool is_old = false;            // Written before DVC 3: other folders, and text files hashed with plain line ends.
  std::string remote;             // Empty: the default one.

  bool operator==(const DvcOut&) const = default;
};

// Returns the path of the dvc.yaml beside a dvc.lock; "" for any other pointer.
std::string DvcPipelineOf(const std::string& pointer);

// Reads a .dvc file or a dvc.lock (told by its name) at `path` of the repository. The paths of a dvc.lock are relative to folders
// that only `pipeline`, the dvc.yaml beside it, names; stages that it does not have are passed over. Null: all run beside it.
absl::StatusOr<std::vector<DvcOut>> ReadDvcPointer(const Value& file, const std::string& path, const Value* pipeline);

// Returns the tracked path `wanted`, or the only one when it is empty.
absl::StatusOr<DvcOut> ChooseDvcOut(const std::vector<DvcOut>& outs, const std::string& wanted, const std::string& file);

// A file of a folder that DVC tracks.
struct DvcFile {
  std::string path;               // Relative to the folder.
  std::string md5;
};
absl::StatusOr<std::vector<DvcFile>> ParseDvcDir(std::string_view json);

// Returns where an object lies below a cache or a remote: "files/md5/ab/cdef…", or "ab/cdef…" of old.
std::string DvcObjectPath(const DvcOut& out, const std::string& md5, bool is_list);

struct DvcRemote {
  std::string url;                // A path, relative to the folder of the config, or a URL.
  std::string endpoint, region;   // s3.
};
struct DvcConfig {
  std::string cache = "cache";    // Relative to the folder of the config, or absolute.
  std::string default_remote;
  std::map<std::string, DvcRemote> remotes;
};
DvcConfig ParseDvcConfig(std::string_view text);

}  // namespace cd4ml::core
