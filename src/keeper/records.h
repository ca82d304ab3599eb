// What the keeper knows of its processes, on disk, so that results outlive it.
//
// One file per process, <state>/processes/<id>, which only grows: the spec, then the status after
// each change. A record is written before its process starts, so nothing runs without one. A write
// is whole once it has begun (only a power cut can tear it, and that ends the process too), so
// nothing is renamed or synced.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "cd4ml/ports/process_runner.h"

namespace cd4ml::keeper {

struct Record {
  ProcessSpec spec;
  std::string cgroup;        // Its control group, or "".
  std::string boot_id;       // Of the machine's start that it belongs to.
  ProcessStatus status;      // The last one written.
  uint64_t start_ticks = 0;  // Of status.pid.
};

class Records {
 public:
  // Keeps them in `folder`, an absolute path.
  explicit Records(std::string folder) : folder_(std::move(folder)) {}

  // Returns all records; nothing for an id whose file cannot be read as one.
  absl::StatusOr<std::map<std::string, std::optional<Record>>> Load() const;

  absl::Status Create(const Record& record) const;
  // Logs when it fails: the keeper still knows, and only its own death would lose the fact.
  void Append(const ProcessStatus& status, uint64_t start_ticks) const;
  void Remove(const std::string& id) const;

  std::string Path(const std::string& id) const { return folder_ + "/" + id; }

 private:
  std::string folder_;
};

// Returns whether `id` can name a process, and thus a file.
bool IsProcessId(const std::string& id);

}  // namespace cd4ml::keeper
