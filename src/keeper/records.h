// What the keeper knows of its processes, on disk, so that results outlive it.
//
// One file that only grows, because appending costs 2 us where making a file may cost 1 ms: a frame
// for each process started, for each change of its status, and for each one forgotten. A process is
// recorded before it starts. A write is whole once it has begun (only a power cut can tear it, and
// that ends the processes too), so nothing is synced. The file is written anew, without what is
// forgotten, when it has grown.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cd4ml/ports/process_runner.h"

namespace cd4ml::keeper {

struct Record {
  ProcessSpec spec;
  std::string cgroup;        // Its control group, or "".
  std::string boot_id;       // Of the machine's start that it belongs to.
  ProcessStatus status;      // The last one written.
  uint64_t start_ticks = 0;  // Of status.pid.
  pid_t reaper = 0;          // The parent of its command, or 0: it has not begun.
  uint64_t reaper_ticks = 0;
};

using RecordMap = std::map<std::string, Record>;  // By id.

class Records {
 public:
  explicit Records(std::string path) : path_(std::move(path)) {}
  ~Records();

  // Returns what the file holds, up to the first frame that is torn or damaged.
  RecordMap Load() const;

  // Replaces the file. To be called once before the first Add, and then whenever is_large().
  absl::Status Rewrite(const RecordMap& records);
  bool is_large() const { return size_ > size_after_rewrite_ + kGrowthMax; }

  absl::Status Add(const Record& record);
  // These log when they fail: the keeper still knows, and only its own death would lose the fact.
  void Change(const Record& record);
  void Remove(const std::string& id);

 private:
  static constexpr int64_t kGrowthMax = int64_t{4} << 20;

  absl::Status Append(std::string_view frames);
  void AppendOrLog(std::string_view frames);

  const std::string path_;
  int fd_ = -1;
  int64_t size_ = 0;
  int64_t size_after_rewrite_ = 0;
};

// Returns whether `id` can name a process.
bool IsProcessId(std::string_view id);

}  // namespace cd4ml::keeper
