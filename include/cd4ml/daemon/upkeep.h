// Copies of a daemon's state, their check and their return, and the search for damage.
//
// A backup folder holds blobs/, a store of blobs like the daemon's own, and backups/NAME.json, one signed manifest for
// each backup. The copy of the database is itself a blob, and what it refers to is all that the backup needs: blobs that
// are there already are not copied again. The manifest comes last; without it there is no backup.
#pragma once

#include <functional>
#include <memory>
#include <stop_token>
#include <string>

#include "absl/status/statusor.h"
#include "cd4ml/ports/blob_store.h"
#include "cd4ml/ports/clock.h"
#include "cd4ml/ports/file_system.h"
#include "cd4ml/ports/inspector.h"
#include "cd4ml/ports/signer.h"
#include "cd4ml/ports/upkeep.h"

namespace cd4ml::daemon {

// What upkeep asks of the world. The references outlive its use.
struct UpkeepPorts {
  FileSystem& files;
  const Clock& clock;
  std::function<absl::StatusOr<std::unique_ptr<BlobStore>>(const std::string& dir)> open_blobs;
  std::function<absl::StatusOr<std::unique_ptr<Inspector>>(const std::string& database)> open_records;
  // Keeps others out of a folder for as long as the answer lives.
  std::function<absl::StatusOr<std::shared_ptr<void>>(const std::string& dir)> lock_dir;
  std::function<absl::Status(const std::string& path)> sync;   // Makes a file, or a folder's names, durable.
  std::function<absl::StatusOr<std::string>()> make_temp_dir;  // Elsewhere, for a backup that cannot be written to.
  Signer* signer = nullptr;             // CreateBackup only.
  SignatureCheck check_signature;       // VerifyBackup and Restore only.
};

// How fast, and until when. CANCELLED at `stop`.
struct Pace {
  int64_t bytes_per_second = 0;         // 0: as fast as it goes.
  std::stop_token stop;
};

// Reads every record and every blob that one refers to. Damage is in the report, not in the status.
absl::StatusOr<ScrubReport> Scrub(Inspector& records, BlobStore& blobs, const Clock& clock, const Pace& pace);

// Copies what `records` and `blobs` hold, while they are used, into the folder `dir`, which is made when it is missing.
// RESOURCE_EXHAUSTED: its disk is full. Whenever it fails, the backups that were there before are as they were.
absl::StatusOr<BackupReport> CreateBackup(Inspector& records, BlobStore& blobs, const std::string& dir,
                                          const UpkeepPorts& ports, const std::stop_token& stop);

struct BackupChoice {
  std::string dir;
  std::string name;                     // Empty: the newest.
  std::string public_key;               // As PEM text; empty: the signature is not checked.
};

// Reads all of a backup. NOT_FOUND: there is no such backup. DATA_LOSS: its manifest or its database is damaged or not
// signed by the key. Whatever else is wrong is in the report.
absl::StatusOr<ScrubReport> VerifyBackup(const BackupChoice& choice, const UpkeepPorts& ports, const Pace& pace);

// Makes the state folder `target` of a backup: verified as a whole beside it, then renamed. Stopped at any moment it
// leaves no `target`, and the next call goes on with what is there. ALREADY_EXISTS: something is at `target`. DATA_LOSS:
// the backup is damaged; the report of VerifyBackup says where. What was damaged when the backup was made is in the
// report.
absl::StatusOr<ScrubReport> Restore(const BackupChoice& choice, const std::string& target, const UpkeepPorts& ports,
                                    const std::stop_token& stop);

}  // namespace cd4ml::daemon
