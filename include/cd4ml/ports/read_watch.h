// Noticing which files of a folder somebody opens.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>

#include "absl/status/statusor.h"

namespace cd4ml {

struct NoticedReads {
  std::set<std::string> opened;   // Of the files that were asked about.
  bool is_complete = true;        // False: more was opened at once than could be noticed.
};

// Notices from its creation on. To be used by one thread.
class ReadWatch {
 public:
  virtual ~ReadWatch() = default;
  // Ends it and returns what was noticed. Call it once.
  virtual NoticedReads Finish() = 0;
};

// Watches `files`, relative to `dir`, by whatever path they are reached. An error says why the system does not let it.
using ReadWatcher = std::function<absl::StatusOr<std::unique_ptr<ReadWatch>>(const std::string& dir,
                                                                             std::set<std::string> files)>;

}  // namespace cd4ml
