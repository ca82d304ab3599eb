// Opens the SQLite store: once for the one writer, as often as wanted for readers.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "cd4ml/ports/history.h"
#include "cd4ml/ports/inspector.h"
#include "cd4ml/ports/state_store.h"
#include "cd4ml/ports/storage_records.h"

namespace cd4ml::store {

struct StoreOptions {
  std::string path;  // Its folder must exist. ":memory:" is a store without History.
  std::string vfs;   // A registered SQLite VFS; then no lock file is taken. Empty: the default.
  bool allow_network_file_system =
      false;  // SQLite's locks do not hold there; two daemons would destroy the store.
  int64_t ballast = 0;  // Bytes kept in "PATH.ballast" for when the disk is full; at most 1/16 of it.
  // Told, on any thread, when reading, writing or syncing has failed on any connection of a store
  // that is open: ends the process at once, because the truth is on disk only.
  std::function<void(const absl::Status&)> fail_stop;
};

// Opens, creates or migrates the store and locks it. Everything that Load will need has been
// checked.
//
// FAILED_PRECONDITION: in use by another process, of a newer version, no store of cd4ml, folder
// missing, not writable or on a network file system. DATA_LOSS: damaged. Each message says what to
// do.
absl::StatusOr<std::unique_ptr<StateStore>> OpenStateStore(const StoreOptions& options);

// Opens the read side of a store that OpenStateStore has opened in this process. Destroy it first.
absl::StatusOr<std::unique_ptr<History>> OpenHistory(const StoreOptions& options);
// Like OpenHistory, for what is recorded about blobs.
absl::StatusOr<std::unique_ptr<StorageRecords>> OpenStorageRecords(const StoreOptions& options);

// Opens any store for reading alone, also a copy, also one that a daemon uses. NOT_FOUND: there is none. DATA_LOSS: it is
// damaged so far that nothing can be read. Needs `path` and `vfs` only.
absl::StatusOr<std::unique_ptr<Inspector>> OpenInspector(const StoreOptions& options);

}  // namespace cd4ml::store
