// A SQLite VFS in memory: it loses what was not synced, as a power cut does, and fails on demand.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

namespace cd4ml {

// Give `name()` to whoever opens a database. All methods may be called from any thread.
class CrashVfs {
 public:
  using Random = std::function<uint64_t()>;

  explicit CrashVfs(std::string name);  // Registers itself; the name must be unused.
  ~CrashVfs();                          // Every connection must have been closed.
  CrashVfs(const CrashVfs&) = delete;

  const std::string& name() const { return name_; }

  // --- crashes ---
  // Whatever is open when the process or the power goes is dead afterwards: its calls fail and
  // change nothing. It must still be closed, at any time.

  // Keeps everything that was written.
  void KillProcess();
  // Keeps none, all, or of each 512-byte sector any one of its contents since the last sync. The
  // sizes and names of files that were not synced are as uncertain.
  void PowerCut(const Random& random);
  // Dies at the `nth` change from now on (1 is the next: a write, truncation, deletion or sync),
  // before it is made; every call fails from then on until KillProcess or PowerCut. 0: never.
  void DieAtChange(int64_t nth);
  bool is_dying() const;

  // --- faults ---
  enum class Times { kOnce, kForGood };
  // Fails the `nth` write from now on with `code`; nothing of it is written.
  void FailWrite(int64_t nth, Times times, int code = SQLITE_FULL);
  // Fails the `nth` sync from now on with SQLITE_IOERR_FSYNC. Of each sector that was to be synced
  // any content may be durable, and no later sync changes that unless it is written again.
  void FailSync(int64_t nth, Times times, Random random);
  // Fails the `nth` read from now on with SQLITE_IOERR_READ.
  void FailRead(int64_t nth, Times times);
  // Fails every write that would let all files together grow beyond this; nullopt: unbounded.
  void SetBytesMax(std::optional<int64_t> bytes);
  // Syncs that do nothing: what a store that asks for too few of them would get.
  void SetIgnoresSyncs(bool ignores);
  // Ends all faults; keeps what they have done.
  void Heal();

  int64_t changes() const;  // Writes, truncations, deletions and syncs so far.
  int64_t writes() const;
  int64_t syncs() const;

  // --- files ---
  // What all files hold, everything synced. No connection may be open when it is restored.
  using Image = std::map<std::string, std::string>;
  Image Save() const;
  void Restore(const Image& image);

 private:
  struct File;
  struct Shared;
  struct Handle;
  struct Methods;
  struct Fault {
    int64_t in = 0;  // Calls until it strikes; 0: not armed.
    Times times = Times::kOnce;
    bool Strikes();
  };

  bool Changes();  // Counts a change; false: the process has died.
  std::string Settle(File& file, const Random& random) const;
  int64_t Bytes() const;
  void Crash();

  const std::string name_;
  sqlite3_vfs vfs_{};
  mutable std::mutex mutex_;
  std::map<std::string, std::shared_ptr<File>> names_;    // As the process sees them.
  std::map<std::string, std::shared_ptr<File>> durable_;  // As they are after a power cut.
  int64_t life_ = 1;                                      // Handles of earlier ones are dead.
  bool dying_ = false;
  int64_t die_in_ = 0;
  Fault write_fault_, sync_fault_, read_fault_;
  int write_code_ = SQLITE_FULL;
  Random sync_random_;
  std::optional<int64_t> bytes_max_;
  bool ignores_syncs_ = false;
  int64_t changes_ = 0, writes_ = 0, syncs_ = 0;
  uint64_t noise_ = 0;  // What SQLite gets for random.
};

}  // namespace cd4ml
