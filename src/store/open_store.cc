// Where a store may live, who may open it, and whether it is sound.
#include "cd4ml/store/open_store.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sqlite3.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "cd4ml/base/log.h"
#include "history.h"
#include "migrate.h"
#include "state_store.h"

namespace cd4ml::store {
namespace {

constexpr int64_t kCheckedBytesMax = 256 << 20;  // Reading more at every start would take seconds.

absl::Status Refuse(const std::string& what) { return absl::FailedPreconditionError(what); }
std::string SystemError() { return std::strerror(errno); }

// Returns the name of a file system on which locks or memory maps do not hold, or "".
std::string NetworkFileSystem(int64_t magic) {
  switch (magic) {
    case NFS_SUPER_MAGIC:
      return "NFS";
    case SMB_SUPER_MAGIC:
    case 0xff534d42:  // CIFS
    case 0xfe534d42:
      return "SMB";
    case V9FS_MAGIC:
      return "9p";
    case CEPH_SUPER_MAGIC:
      return "Ceph";
    case AFS_SUPER_MAGIC:
      return "AFS";
    case CODA_SUPER_MAGIC:
      return "Coda";
    default:
      return "";
  }
}

absl::Status CheckFolder(const StoreOptions& options) {
  const std::string folder = FolderOf(options.path);
  struct statfs facts {};
  if (statfs(folder.c_str(), &facts) != 0) {
    return Refuse("folder " + folder + " of the database: " + SystemError() + "; create it first");
  }
  const std::string name = NetworkFileSystem(static_cast<int64_t>(facts.f_type) & 0xffffffff);
  if (name.empty() || options.allow_network_file_system) return absl::OkStatus();
  return Refuse("folder " + folder + " is on " + name +
                ", where two daemons could destroy the database; use a local disk, or allow it in "
                "the settings");
}

// Makes the file before SQLite does, so that only its owner can read it.
absl::Status CreateFile(const std::string& path) {
  const int descriptor = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (descriptor < 0) return Refuse("database " + path + ": " + SystemError());
  close(descriptor);
  return absl::OkStatus();
}

// Reads the whole database, if it is small. Senseless rows are reported and left to Load; damage is
// refused.
absl::Status CheckSoundness(Database& database) {
  CD4ML_ASSIGN_OR_RETURN(const std::string pages, database.Ask("PRAGMA page_count"));
  CD4ML_ASSIGN_OR_RETURN(const std::string page_size, database.Ask("PRAGMA page_size"));
  if (std::atoll(pages.c_str()) * std::atoll(page_size.c_str()) > kCheckedBytesMax)
    return absl::OkStatus();
  CD4ML_ASSIGN_OR_RETURN(Rows rows, database.Query("PRAGMA quick_check(20)"));
  while (rows.Next()) {
    const std::string finding = rows.String(0);
    if (finding == "ok") continue;
    const bool in_a_row =
        finding.find(" value in ") != std::string::npos || finding.starts_with("CHECK constraint");
    if (!in_a_row) return absl::DataLossError("it is damaged (" + finding + ")");
    LogError("the database holds a senseless record", {{"finding", finding}});
  }
  return rows.status();
}

absl::StatusOr<std::unique_ptr<Database>> OpenWriter(const StoreOptions& options) {
  CD4ML_ASSIGN_OR_RETURN(std::unique_ptr<Database> database,
                         Database::Open(options.path, options.vfs, Database::Access::kWrite));
  CD4ML_RETURN_IF_ERROR(CheckSoundness(*database));
  // Without this nothing that is read may be shown to anybody. It takes no space, save where files are never
  // overwritten in place; there the ballast is given up for it.
  CD4ML_RETURN_IF_ERROR(database->Harden());
  const absl::Status copied = database->Checkpoint();
  if (!copied.ok() && !absl::IsResourceExhausted(copied)) return copied;  // A full disk is no reason to stay away.
  CD4ML_RETURN_IF_ERROR(Migrate(*database, Migrations(), [&](int version) {
    return options.vfs.empty() ? BackUp(*database, options.path, version) : absl::OkStatus();
  }));
  return database;
}

}  // namespace

LockFile::~LockFile() {
  if (descriptor_ >= 0) close(descriptor_);
}

absl::StatusOr<LockFile> LockFile::Take(const std::string& path) {
  LockFile lock;
  lock.descriptor_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (lock.descriptor_ < 0) return Refuse("lock file " + path + ": " + SystemError());
  char pid[32] = {};
  if (flock(lock.descriptor_, LOCK_EX | LOCK_NB) != 0) {
    const bool known = pread(lock.descriptor_, pid, sizeof pid - 1, 0) > 0;
    return Refuse(std::string("it is in use by ") +
                  (known ? "process " + std::to_string(std::atol(pid)) : "another process") +
                  "; stop that one, or use another database");
  }
  const std::string text = std::to_string(getpid()) + "\n";
  if (ftruncate(lock.descriptor_, 0) != 0 ||
      pwrite(lock.descriptor_, text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
    LogWarn("the lock file does not tell who holds it", {{"file", path}, {"why", SystemError()}});
  }
  return lock;
}

absl::StatusOr<std::unique_ptr<StateStore>> OpenStateStore(const StoreOptions& options) {
  LockFile lock;
  Ballast ballast;
  const bool on_disk = options.vfs.empty() && options.path != ":memory:";
  if (on_disk) {
    CD4ML_RETURN_IF_ERROR(CheckFolder(options));
    absl::StatusOr<LockFile> taken = LockFile::Take(options.path + ".lock");
    if (!taken.ok()) return Annotate(taken.status(), "database " + options.path);
    lock = *std::move(taken);
    CD4ML_RETURN_IF_ERROR(CreateFile(options.path));
    ballast = Ballast(options.path + ".ballast", options.ballast);
  }
  absl::StatusOr<std::unique_ptr<Database>> database = OpenWriter(options);
  // Whatever a full disk makes of opening, SQLite's shared memory included.
  if (!database.ok() && !absl::IsFailedPrecondition(database.status()) && ballast.Release()) {
    database = OpenWriter(options);
  }
  if (absl::IsDataLoss(database.status())) {
    return Annotate(database.status(), "database " + options.path +
                                           " cannot be used; move it away and restore a backup");
  }
  if (!database.ok()) return Annotate(database.status(), "database " + options.path);
  LogDebug("store opened", {{"path", options.path}, {"sqlite", sqlite3_libversion()}});
  (*database)->OnFailure(options.fail_stop);
  return std::make_unique<SqliteStateStore>(std::move(lock), *std::move(database),
                                            std::move(ballast));
}

absl::StatusOr<std::unique_ptr<History>> OpenHistory(const StoreOptions& options) {
  if (options.path == ":memory:") return Refuse("a store in memory cannot be read by others");
  auto history = std::make_unique<SqliteHistory>(options);
  CD4ML_RETURN_IF_ERROR(history->Probe());
  return history;
}

}  // namespace cd4ml::store
