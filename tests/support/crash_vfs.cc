// Files as bytes with an undo log back to the last sync, and the locks and shared memory that WAL wants.
#include "tests/support/crash_vfs.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <new>
#include <utility>
#include <vector>

namespace cd4ml {
namespace {

constexpr size_t kSector = 512;

}  // namespace

// What a change of bytes since the last sync did away with.
struct Undo {
  size_t offset = 0;
  size_t length = 0;      // Of what was written; 0 for a truncation.
  std::string old_bytes;  // From `offset` on, as far as there were any.
  size_t old_size = 0;
};

// The wal-index and the locks on it: gone with the last process that has it mapped.
struct CrashVfs::Shared {
  std::vector<std::unique_ptr<char[]>> regions;
  std::array<int, SQLITE_SHM_NLOCK> locks{};  // -1: exclusive; else how many share it.
};

struct CrashVfs::File {
  std::string name;
  std::string bytes;
  std::vector<Undo> undo;
  std::map<size_t, std::string> stale;  // Sectors whose sync failed: what the disk holds instead.
  int readers = 0;                      // Handles that hold SHARED or more.
  Handle* writer = nullptr;             // Holds RESERVED or more.
  std::shared_ptr<Shared> shared;
};

struct CrashVfs::Handle {
  sqlite3_file base;
  CrashVfs* vfs;
  std::shared_ptr<File> file;
  std::shared_ptr<Shared> shared;
  int64_t life;
  int level;
  int open_flags;
  uint32_t shared_locks, exclusive_locks;  // Bits of the wal-index's locks.

  bool dead() const { return life != vfs->life_ || vfs->dying_; }
};

bool CrashVfs::Fault::Strikes() {
  if (in == 0 || --in > 0) return false;
  if (times == Times::kForGood) in = 1;
  return true;
}

struct CrashVfs::Methods {
  static CrashVfs& Vfs(sqlite3_vfs* vfs) { return *static_cast<CrashVfs*>(vfs->pAppData); }
  static Handle& Of(sqlite3_file* file) { return *reinterpret_cast<Handle*>(file); }

  static int Open(sqlite3_vfs* vfs, const char* name, sqlite3_file* out, int flags,
                  int* out_flags) {
    CrashVfs& self = Vfs(vfs);
    const std::lock_guard lock(self.mutex_);
    out->pMethods = nullptr;
    if (self.dying_) return SQLITE_CANTOPEN;
    std::shared_ptr<File> file;
    if (name != nullptr) {
      const auto found = self.names_.find(name);
      if (found != self.names_.end()) file = found->second;
    }
    if (file == nullptr) {
      if (name != nullptr && (flags & SQLITE_OPEN_CREATE) == 0) return SQLITE_CANTOPEN;
      file = std::make_shared<File>();
      if (name != nullptr) {
        file->name = name;
        self.names_[name] = file;
      }
    }
    if (out_flags != nullptr) *out_flags = flags;
    new (out) Handle{{&kFileMethods}, &self, std::move(file), nullptr, self.life_, 0, flags, 0, 0};
    return SQLITE_OK;
  }

  static int Delete(sqlite3_vfs* vfs, const char* name, int sync_folder) {
    CrashVfs& self = Vfs(vfs);
    const std::lock_guard lock(self.mutex_);
    if (!self.Changes()) return SQLITE_IOERR_DELETE;
    if (self.names_.erase(name) == 0) return SQLITE_IOERR_DELETE_NOENT;
    if (sync_folder != 0) self.durable_.erase(name);
    return SQLITE_OK;
  }

  static int Access(sqlite3_vfs* vfs, const char* name, int, int* out) {
    CrashVfs& self = Vfs(vfs);
    const std::lock_guard lock(self.mutex_);
    *out = self.names_.contains(name) ? 1 : 0;
    return SQLITE_OK;
  }

  static int FullPathname(sqlite3_vfs*, const char* name, int size, char* out) {
    return sqlite3_snprintf(size, out, "%s", name) != nullptr ? SQLITE_OK : SQLITE_CANTOPEN;
  }

  static int Randomness(sqlite3_vfs* vfs, int size, char* out) {
    CrashVfs& self = Vfs(vfs);
    const std::lock_guard lock(self.mutex_);
    for (int i = 0; i < size; ++i) {
      self.noise_ = self.noise_ * 6364136223846793005u + 1442695040888963407u;
      out[i] = static_cast<char>(self.noise_ >> 56);
    }
    return size;
  }

  // Whoever waits for a lock here waits for another connection of the same process.
  static int Sleep(sqlite3_vfs*, int microseconds) { return microseconds; }

  static int CurrentTime(sqlite3_vfs*, sqlite3_int64* out) {
    *out = 212'000'000'000'000;  // Milliseconds of a Julian day of this century.
    return SQLITE_OK;
  }

  static int GetLastError(sqlite3_vfs*, int, char*) { return 0; }

  // --- one file ---

  static int Close(sqlite3_file* file) {
    Handle& self = Of(file);
    CrashVfs& vfs = *self.vfs;
    const std::lock_guard lock(vfs.mutex_);
    if (self.life == vfs.life_) {
      Release(self, 0);
      if ((self.open_flags & SQLITE_OPEN_DELETEONCLOSE) != 0) vfs.names_.erase(self.file->name);
    }
    self.~Handle();
    return SQLITE_OK;
  }

  static int Read(sqlite3_file* file, void* out, int size, sqlite3_int64 at) {
    Handle& self = Of(file);
    const std::lock_guard lock(self.vfs->mutex_);
    if (self.dead() || self.vfs->read_fault_.Strikes()) return SQLITE_IOERR_READ;
    const std::string& bytes = self.file->bytes;
    const size_t offset = static_cast<size_t>(at), wanted = static_cast<size_t>(size);
    const size_t there = offset < bytes.size() ? std::min(wanted, bytes.size() - offset) : 0;
    std::memcpy(out, bytes.data() + std::min(offset, bytes.size()), there);
    if (there == wanted) return SQLITE_OK;
    std::memset(static_cast<char*>(out) + there, 0, wanted - there);
    return SQLITE_IOERR_SHORT_READ;
  }

  static int Write(sqlite3_file* file, const void* from, int size, sqlite3_int64 at) {
    Handle& self = Of(file);
    CrashVfs& vfs = *self.vfs;
    const std::lock_guard lock(vfs.mutex_);
    if (self.life != vfs.life_ || !vfs.Changes()) return SQLITE_IOERR_WRITE;
    std::string& bytes = self.file->bytes;
    const size_t offset = static_cast<size_t>(at), length = static_cast<size_t>(size);
    const size_t end = offset + length;
    const size_t growth = end > bytes.size() ? end - bytes.size() : 0;
    const bool too_many = growth > 0 && vfs.bytes_max_.has_value() &&
                          vfs.Bytes() + static_cast<int64_t>(growth) > *vfs.bytes_max_;
    ++vfs.writes_;
    if (vfs.write_fault_.Strikes()) return vfs.write_code_;
    if (too_many) return SQLITE_FULL;
    Undo undo{offset, length, "", bytes.size()};
    if (offset < bytes.size()) undo.old_bytes = bytes.substr(offset, length);
    if (growth > 0) bytes.resize(end);
    std::memcpy(bytes.data() + offset, from, length);
    self.file->undo.push_back(std::move(undo));
    return SQLITE_OK;
  }

  static int Truncate(sqlite3_file* file, sqlite3_int64 size) {
    Handle& self = Of(file);
    const std::lock_guard lock(self.vfs->mutex_);
    if (self.life != self.vfs->life_ || !self.vfs->Changes()) return SQLITE_IOERR_TRUNCATE;
    std::string& bytes = self.file->bytes;
    const size_t wanted = static_cast<size_t>(size);
    if (wanted < bytes.size()) {
      self.file->undo.push_back({wanted, 0, bytes.substr(wanted), bytes.size()});
      bytes.resize(wanted);
    }
    return SQLITE_OK;
  }

  static int Sync(sqlite3_file* file, int) {
    Handle& self = Of(file);
    CrashVfs& vfs = *self.vfs;
    File& of = *self.file;
    const std::lock_guard lock(vfs.mutex_);
    if (self.life != vfs.life_ || !vfs.Changes()) return SQLITE_IOERR_FSYNC;
    ++vfs.syncs_;
    if (vfs.ignores_syncs_) return SQLITE_OK;
    const auto named = vfs.names_.find(of.name);
    if (named != vfs.names_.end() && named->second == self.file) vfs.durable_[of.name] = self.file;
    if (vfs.sync_fault_.Strikes()) {
      // The process goes on seeing what it wrote; the disk holds what has become of it.
      const std::string seen = of.bytes;
      const std::string kept = vfs.Settle(of, vfs.sync_random_);
      for (size_t at = 0; at < seen.size(); at += kSector) {
        std::string sector = at < kept.size() ? kept.substr(at, kSector) : "";
        sector.resize(std::min(kSector, seen.size() - at));
        if (seen.compare(at, kSector, sector) != 0) of.stale[at / kSector] = std::move(sector);
      }
      of.bytes = seen;
      return SQLITE_IOERR_FSYNC;
    }
    for (const Undo& undo : of.undo) {
      of.stale.erase(of.stale.lower_bound(undo.offset / kSector),
                     of.stale.lower_bound((undo.offset + undo.length + kSector - 1) / kSector));
    }
    of.undo.clear();
    return SQLITE_OK;
  }

  static int FileSize(sqlite3_file* file, sqlite3_int64* out) {
    Handle& self = Of(file);
    const std::lock_guard lock(self.vfs->mutex_);
    if (self.dead()) return SQLITE_IOERR_FSTAT;
    *out = static_cast<sqlite3_int64>(self.file->bytes.size());
    return SQLITE_OK;
  }

  static int Lock(sqlite3_file* file, int level) {
    Handle& self = Of(file);
    const std::lock_guard lock(self.vfs->mutex_);
    if (self.dead()) return SQLITE_IOERR_LOCK;
    if (self.level >= level) return SQLITE_OK;
    File& of = *self.file;
    const bool other = of.writer != nullptr && of.writer != &self;
    if (level == SQLITE_LOCK_SHARED) {
      if (other && of.writer->level >= SQLITE_LOCK_PENDING) return SQLITE_BUSY;
      ++of.readers;
    } else {
      if (other) return SQLITE_BUSY;
      of.writer = &self;
      if (level == SQLITE_LOCK_EXCLUSIVE && of.readers > 1) {
        self.level = SQLITE_LOCK_PENDING;
        return SQLITE_BUSY;
      }
    }
    self.level = level;
    return SQLITE_OK;
  }

  static void Release(Handle& self, int level) {
    if (self.level <= level) return;
    if (self.file->writer == &self && level <= SQLITE_LOCK_SHARED) self.file->writer = nullptr;
    if (level == SQLITE_LOCK_NONE) --self.file->readers;
    self.level = level;
  }

  static int Unlock(sqlite3_file* file, int level) {
    Handle& self = Of(file);
    const std::lock_guard lock(self.vfs->mutex_);
    if (self.life == self.vfs->life_) Release(self, level);
    return SQLITE_OK;
  }

  static int CheckReservedLock(sqlite3_file* file, int* out) {
    Handle& self = Of(file);
    const std::lock_guard lock(self.vfs->mutex_);
    *out = self.file->writer != nullptr ? 1 : 0;
    return SQLITE_OK;
  }

  static int FileControl(sqlite3_file*, int, void*) { return SQLITE_NOTFOUND; }
  // What SQLite believes of a disk on Linux.
  static int SectorSize(sqlite3_file*) { return 4096; }
  static int Characteristics(sqlite3_file*) { return SQLITE_IOCAP_POWERSAFE_OVERWRITE; }

  // --- the wal-index ---

  static int ShmMap(sqlite3_file* file, int region, int size, int extend, void volatile** out) {
    Handle& self = Of(file);
    const std::lock_guard lock(self.vfs->mutex_);
    *out = nullptr;
    if (self.dead()) return SQLITE_IOERR_SHMMAP;
    if (self.file->shared == nullptr) self.file->shared = std::make_shared<Shared>();
    self.shared = self.file->shared;
    auto& regions = self.shared->regions;
    const size_t wanted = static_cast<size_t>(region);
    if (wanted >= regions.size() && extend == 0) return SQLITE_OK;
    while (wanted >= regions.size()) {
      regions.push_back(std::make_unique<char[]>(static_cast<size_t>(size)));
    }
    *out = regions[wanted].get();
    return SQLITE_OK;
  }

  static int ShmLock(sqlite3_file* file, int offset, int count, int flags) {
    Handle& self = Of(file);
    const std::lock_guard lock(self.vfs->mutex_);
    const bool exclusive = (flags & SQLITE_SHM_EXCLUSIVE) != 0;
    const bool dead = self.dead();
    if (self.shared == nullptr) return SQLITE_IOERR_SHMLOCK;
    auto& locks = self.shared->locks;
    for (int i = offset; i < offset + count; ++i) {
      const uint32_t bit = 1u << i;
      int& held = locks[static_cast<size_t>(i)];
      if ((flags & SQLITE_SHM_UNLOCK) != 0) {
        if ((self.exclusive_locks & bit) != 0) held = 0;
        if ((self.shared_locks & bit) != 0) --held;
        self.exclusive_locks &= ~bit;
        self.shared_locks &= ~bit;
      } else if (dead) {
        return SQLITE_IOERR_SHMLOCK;
      } else if ((self.exclusive_locks | self.shared_locks) & bit) {
        continue;
      } else if (exclusive ? held != 0 : held < 0) {
        Unlock(self, offset, i);  // Only exclusive ones come several at once.
        return SQLITE_BUSY;
      } else {
        held = exclusive ? -1 : held + 1;
        (exclusive ? self.exclusive_locks : self.shared_locks) |= bit;
      }
    }
    return SQLITE_OK;
  }

  static void Unlock(Handle& self, int from, int to) {
    for (int i = from; i < to; ++i) {
      self.shared->locks[static_cast<size_t>(i)] = 0;
      self.exclusive_locks &= ~(1u << i);
    }
  }

  static void ShmBarrier(sqlite3_file*) { std::atomic_thread_fence(std::memory_order_seq_cst); }

  static int ShmUnmap(sqlite3_file* file, int) {
    Handle& self = Of(file);
    const std::lock_guard lock(self.vfs->mutex_);
    self.shared.reset();
    if (self.file->shared.use_count() == 1) self.file->shared.reset();
    return SQLITE_OK;
  }

  static constexpr sqlite3_io_methods kFileMethods = {
      2,         Close,        Read,       Write,           Truncate, Sync,
      FileSize,  Lock,         Unlock,     CheckReservedLock, FileControl, SectorSize,
      Characteristics, ShmMap, ShmLock,    ShmBarrier,      ShmUnmap, nullptr,
      nullptr};
};

CrashVfs::CrashVfs(std::string name) : name_(std::move(name)) {
  vfs_.iVersion = 2;
  vfs_.szOsFile = sizeof(Handle);
  vfs_.mxPathname = 512;
  vfs_.zName = name_.c_str();
  vfs_.pAppData = this;
  vfs_.xOpen = Methods::Open;
  vfs_.xDelete = Methods::Delete;
  vfs_.xAccess = Methods::Access;
  vfs_.xFullPathname = Methods::FullPathname;
  vfs_.xRandomness = Methods::Randomness;
  vfs_.xSleep = Methods::Sleep;
  vfs_.xGetLastError = Methods::GetLastError;
  vfs_.xCurrentTimeInt64 = Methods::CurrentTime;
  sqlite3_vfs_register(&vfs_, 0);
}

CrashVfs::~CrashVfs() { sqlite3_vfs_unregister(&vfs_); }

bool CrashVfs::Changes() {
  if (dying_) return false;
  if (die_in_ > 0 && --die_in_ == 0) dying_ = true;
  if (!dying_) ++changes_;
  return !dying_;
}

int64_t CrashVfs::Bytes() const {
  int64_t bytes = 0;
  for (const auto& [name, file] : names_) bytes += static_cast<int64_t>(file->bytes.size());
  return bytes;
}

// Decides what the disk holds of a file, forgets what led to it, and returns the bytes.
std::string CrashVfs::Settle(File& file, const Random& random) const {
  std::map<size_t, std::vector<std::string>> contents;  // By sector, newest first.
  std::vector<size_t> sizes = {file.bytes.size()};
  std::string bytes = file.bytes;
  const auto sector = [&bytes](size_t number) {
    std::string content = number * kSector < bytes.size() ? bytes.substr(number * kSector, kSector)
                                                          : std::string();
    content.resize(kSector);
    return content;
  };
  for (size_t i = file.undo.size(); i-- > 0;) {
    const Undo& undo = file.undo[i];
    const size_t first = undo.offset / kSector;
    const size_t last = (undo.offset + undo.length + kSector - 1) / kSector;
    for (size_t number = first; number < last; ++number) {
      contents[number].push_back(sector(number));
    }
    bytes.resize(undo.old_size);
    bytes.replace(undo.offset, undo.old_bytes.size(), undo.old_bytes);
    sizes.push_back(undo.old_size);
  }
  for (auto& [number, versions] : contents) {
    const auto stale = file.stale.find(number);
    versions.push_back(stale == file.stale.end() ? sector(number) : stale->second);
  }
  const uint64_t kind = random() % 3;  // 0: none; 1: all; 2: any.
  const auto pick = [&](const auto& versions) {
    return kind == 0 ? versions.back()
           : kind == 1 ? versions.front() : versions[random() % versions.size()];
  };
  const size_t size = pick(sizes);
  bytes.resize(std::max(size, bytes.size()));
  const auto put = [&bytes](size_t number, const std::string& content) {
    const size_t offset = number * kSector;
    if (offset >= bytes.size()) return;
    bytes.replace(offset, std::min(kSector, bytes.size() - offset), content, 0,
                  std::min(content.size(), bytes.size() - offset));
  };
  for (const auto& [number, content] : file.stale) put(number, content);
  for (const auto& [number, versions] : contents) put(number, pick(versions));
  bytes.resize(size);
  file.undo.clear();
  file.stale.clear();
  return bytes;
}

void CrashVfs::Crash() {
  ++life_;
  dying_ = false;
  die_in_ = 0;
  for (const auto& [name, file] : names_) {
    file->readers = 0;
    file->writer = nullptr;
    file->shared.reset();
  }
}

void CrashVfs::KillProcess() {
  const std::lock_guard lock(mutex_);
  Crash();
}

void CrashVfs::PowerCut(const Random& random) {
  const std::lock_guard lock(mutex_);
  Crash();
  std::map<std::string, std::shared_ptr<File>> names;
  const auto survives = [&](const std::string& name) {
    const auto now = names_.find(name), before = durable_.find(name);
    const std::shared_ptr<File> none;
    const auto& newer = now == names_.end() ? none : now->second;
    const auto& older = before == durable_.end() ? none : before->second;
    return newer == older || random() % 2 == 0 ? newer : older;
  };
  std::map<std::string, bool> all;
  for (const auto& [name, file] : names_) all[name] = true;
  for (const auto& [name, file] : durable_) all[name] = true;
  for (const auto& [name, known] : all) {
    std::shared_ptr<File> file = survives(name);
    if (file == nullptr) continue;
    auto copy = std::make_shared<File>();  // Dead handles keep the old one.
    copy->name = name;
    copy->bytes = Settle(*file, random);
    names[name] = std::move(copy);
  }
  names_ = durable_ = std::move(names);
}

void CrashVfs::DieAtChange(int64_t nth) {
  const std::lock_guard lock(mutex_);
  die_in_ = nth;
}

bool CrashVfs::is_dying() const {
  const std::lock_guard lock(mutex_);
  return dying_;
}

void CrashVfs::FailWrite(int64_t nth, Times times, int code) {
  const std::lock_guard lock(mutex_);
  write_code_ = code;
  write_fault_ = {nth, times};
}

void CrashVfs::FailSync(int64_t nth, Times times, Random random) {
  const std::lock_guard lock(mutex_);
  sync_fault_ = {nth, times};
  sync_random_ = std::move(random);
}

void CrashVfs::FailRead(int64_t nth, Times times) {
  const std::lock_guard lock(mutex_);
  read_fault_ = {nth, times};
}

void CrashVfs::SetBytesMax(std::optional<int64_t> bytes) {
  const std::lock_guard lock(mutex_);
  bytes_max_ = bytes;
}

void CrashVfs::SetIgnoresSyncs(bool ignores) {
  const std::lock_guard lock(mutex_);
  ignores_syncs_ = ignores;
}

void CrashVfs::Heal() {
  const std::lock_guard lock(mutex_);
  write_fault_ = sync_fault_ = read_fault_ = {};
  bytes_max_.reset();
  ignores_syncs_ = false;
  die_in_ = 0;
}

int64_t CrashVfs::changes() const {
  const std::lock_guard lock(mutex_);
  return changes_;
}
int64_t CrashVfs::writes() const {
  const std::lock_guard lock(mutex_);
  return writes_;
}
int64_t CrashVfs::syncs() const {
  const std::lock_guard lock(mutex_);
  return syncs_;
}

CrashVfs::Image CrashVfs::Save() const {
  const std::lock_guard lock(mutex_);
  Image image;
  for (const auto& [name, file] : names_) image[name] = file->bytes;
  return image;
}

void CrashVfs::Restore(const Image& image) {
  const std::lock_guard lock(mutex_);
  Crash();
  names_.clear();
  for (const auto& [name, bytes] : image) {
    auto file = std::make_shared<File>();
    file->name = name;
    file->bytes = bytes;
    names_[name] = std::move(file);
  }
  durable_ = names_;
}

}  // namespace cd4ml
