// Backups, their return, and scrubs.
#include "cd4ml/daemon/upkeep.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <set>

#include "cd4ml/base/status.h"
#include "cd4ml/base/text.h"
#include "cd4ml/core/envelope.h"

namespace cd4ml::daemon {
namespace {

constexpr size_t kPieceSize = 256 << 10;
constexpr int64_t kManifestMax = 64 << 20;
constexpr char kManifestType[] = "application/vnd.cd4ml.backup+json";
constexpr char kDraft[] = "/draft.db";

bool IsLost(const absl::Status& status) { return absl::IsDataLoss(status) || absl::IsNotFound(status); }

// Keeps a reader from being faster than it may.
class Pacer {
 public:
  Pacer(const Clock& clock, const Pace& pace) : clock_(clock), pace_(pace), began_(clock.Steady()) {}

  absl::Status Take(size_t bytes) {
    bytes_ += static_cast<int64_t>(bytes);
    if (pace_.bytes_per_second > 0) {
      const Duration due = began_ + Duration(bytes_ * 1'000 / pace_.bytes_per_second);
      std::unique_lock lock(mutex_);
      for (Duration now = clock_.Steady(); now < due && !pace_.stop.stop_requested(); now = clock_.Steady()) {
        wake_.wait_for(lock, pace_.stop, due - now, [] { return false; });
      }
    }
    return pace_.stop.stop_requested() ? absl::CancelledError("it was stopped") : absl::OkStatus();
  }

 private:
  const Clock& clock_;
  const Pace& pace_;
  const Duration began_;
  int64_t bytes_ = 0;
  std::mutex mutex_;
  std::condition_variable_any wake_;
};

std::string NameOf(const Digest& digest, const std::string& what) { return "blob sha256:" + digest.hex() + " (" + what + ")"; }

// Goes through all that records refer to, each blob once, those inside of folders included.
class Walk {
 public:
  // Is told of a blob; NOT_FOUND and DATA_LOSS become damage, anything else ends the walk. For a tree it is also to make
  // its text readable in `trees`.
  using Visit = std::function<absl::Status(const Digest& digest)>;

  Walk(Inspector& records, BlobStore& trees, Visit visit)
      : records_(records), trees_(trees), visit_(std::move(visit)) {}

  absl::StatusOr<std::vector<Damage>> Go() {
    CD4ML_ASSIGN_OR_RETURN(const std::vector<BlobReference> references, records_.References());
    for (const BlobReference& reference : references) {
      const Digest& digest = reference.artifact.digest;
      CD4ML_ASSIGN_OR_RETURN(const bool is_there, One(digest, reference, reference.what));
      if (!is_there || !reference.artifact.is_tree) continue;
      const absl::StatusOr<std::string> text = ReadBlob(trees_, digest, kTreeTextMax);
      const auto entries = text.ok() ? ParseTree(*text) : text.status();
      if (!entries.ok()) {
        CD4ML_RETURN_IF_ERROR(Note(NameOf(digest, reference.what), entries.status(), reference));
        continue;
      }
      for (const TreeEntry& entry : *entries) {
        CD4ML_RETURN_IF_ERROR(One(entry.digest, reference, reference.what + ", file " + entry.path).status());
      }
    }
    return std::move(damage_);
  }
  int64_t blobs() const { return static_cast<int64_t>(seen_.size() - removed_.size()); }

 private:
  absl::StatusOr<bool> One(const Digest& digest, const BlobReference& reference, const std::string& what) {
    if (!seen_.insert(digest).second) {
      // Damaged for one is damaged for all who need it.
      if (!lost_.contains(digest)) return !removed_.contains(digest);
      CD4ML_RETURN_IF_ERROR(Note(NameOf(digest, what), absl::DataLossError("it is damaged or gone"), reference));
      return false;
    }
    const absl::Status status = visit_(digest);
    if (status.ok()) return true;
    if (!IsLost(status)) return status;
    if (absl::IsNotFound(status)) {
      CD4ML_ASSIGN_OR_RETURN(const bool was_removed, records_.WasRemoved(digest));
      if (was_removed) removed_.insert(digest);
      if (was_removed) return false;
    }
    lost_.insert(digest);
    CD4ML_RETURN_IF_ERROR(Note(NameOf(digest, what), status, reference));
    return false;
  }

  absl::Status Note(const std::string& what, const absl::Status& why, const BlobReference& reference) {
    if (damage_.size() >= kDamageMax) return absl::OkStatus();
    CD4ML_ASSIGN_OR_RETURN(std::vector<std::string> users, records_.UsersOf(reference.artifact.digest));
    damage_.push_back({what, Message(why), std::move(users)});
    return absl::OkStatus();
  }

  Inspector& records_;
  BlobStore& trees_;
  const Visit visit_;
  std::set<Digest> seen_, lost_, removed_;
  std::vector<Damage> damage_;
};

// Reads a blob from its first to its last byte; whoever serves it verifies it.
absl::StatusOr<int64_t> ReadThrough(BlobStore& blobs, const Digest& digest, Pacer& pacer) {
  CD4ML_ASSIGN_OR_RETURN(const auto reader, blobs.Open(digest, 0));
  int64_t bytes = 0;
  while (true) {
    CD4ML_ASSIGN_OR_RETURN(const std::string piece, reader->Read(kPieceSize));
    if (piece.empty()) return bytes;
    bytes += static_cast<int64_t>(piece.size());
    CD4ML_RETURN_IF_ERROR(pacer.Take(piece.size()));
  }
}

// --- manifests -----------------------------------------------------------------------------------

struct Manifest {
  std::string name;
  Digest database;
  Value facts;
  std::set<std::string> damaged;   // Damage::what of what was damaged when it was made.
};

std::string ManifestText(const Digest& database, const BackupReport& report, UtcTime now) {
  Value::List damage;
  for (const Damage& item : report.damage) damage.emplace_back(Value::Map{{"what", item.what}, {"why", item.why}});
  return ToJson(Value::Map{{"format", 1},
                           {"created", FormatTime(now)},
                           {"database", "sha256:" + database.hex()},
                           {"database_bytes", report.database_bytes},
                           {"blobs", report.blobs},
                           {"damage", std::move(damage)}});
}

absl::StatusOr<Manifest> ParseManifest(const std::string& name, const std::string& payload) {
  Manifest manifest;
  manifest.name = name;
  CD4ML_ASSIGN_OR_RETURN(manifest.facts, ParseJson(payload));
  const Value* format = manifest.facts.Find("format");
  const Value* database = manifest.facts.Find("database");
  if (format == nullptr || *format != Value(1) || database == nullptr) {
    return absl::FailedPreconditionError("it is of another version of cd4ml");
  }
  CD4ML_ASSIGN_OR_RETURN(manifest.database, Digest::Parse(ToText(*database)));
  const Value* damage = manifest.facts.Find("damage");
  if (damage != nullptr && damage->is_list()) {
    for (const Value& item : damage->list()) {
      if (const Value* what = item.Find("what")) manifest.damaged.insert(ToText(*what));
    }
  }
  return manifest;
}

absl::StatusOr<Manifest> ReadManifest(const BackupChoice& choice, const UpkeepPorts& ports) {
  const std::string folder = choice.dir + "/backups";
  const absl::StatusOr<std::vector<std::string>> files = ports.files.ListDir(folder);
  std::vector<std::string> names;
  for (const std::string& file : files.value_or(std::vector<std::string>())) {
    if (file.ends_with(".json")) names.push_back(file.substr(0, file.size() - 5));
  }
  if (names.empty()) return absl::NotFoundError("there is no backup in " + choice.dir);
  const std::string name = choice.name.empty() ? names.back() : choice.name;
  if (std::find(names.begin(), names.end(), name) == names.end()) {
    return absl::NotFoundError("there is no backup \"" + name + "\" in " + choice.dir + DidYouMean(name, names) +
                               "; the newest is " + names.back());
  }
  const std::string what = "manifest of backup " + name;
  CD4ML_ASSIGN_OR_RETURN(const std::string text, ports.files.ReadFile(folder + "/" + name + ".json", kManifestMax));
  absl::StatusOr<core::Envelope> envelope = core::ParseEnvelope(text);
  if (!envelope.ok() || envelope->payload_type != kManifestType) return absl::DataLossError(what + " is damaged");
  if (!choice.public_key.empty()) {
    CD4ML_RETURN_IF_ERROR(Annotate(CheckEnvelope(ports.check_signature, choice.public_key, *envelope), what));
  }
  absl::StatusOr<Manifest> manifest = ParseManifest(name, envelope->payload);
  if (!manifest.ok()) return Annotate(manifest.status(), what);
  return manifest;
}

// The copy of a database at a path of its own, for as long as it is looked at.
class Snapshot {
 public:
  // `folder` is its own, if there is one, and goes with it.
  Snapshot(FileSystem& files, std::string path, std::string folder = "")
      : files_(files), path_(std::move(path)), folder_(std::move(folder)) {}
  ~Snapshot() {
    Remove().IgnoreError();
    if (!folder_.empty()) files_.RemoveAll(folder_).IgnoreError();
  }
  absl::Status Remove() {
    for (const char* suffix : {"", "-wal", "-shm", "-journal"}) CD4ML_RETURN_IF_ERROR(files_.RemoveAll(path_ + suffix));
    return absl::OkStatus();
  }
  const std::string& path() const { return path_; }

 private:
  FileSystem& files_;
  const std::string path_, folder_;
};

// Reads the database of a backup as a whole and puts a copy where it can be looked at.
absl::StatusOr<std::unique_ptr<Inspector>> OpenSnapshot(const Manifest& manifest, BlobStore& blobs, Snapshot& snapshot,
                                                        const UpkeepPorts& ports, Pacer& pacer) {
  const absl::Status read = ReadThrough(blobs, manifest.database, pacer).status();
  if (IsLost(read)) return absl::DataLossError("the database of backup " + manifest.name + ": " + Message(read));
  CD4ML_RETURN_IF_ERROR(read);
  CD4ML_RETURN_IF_ERROR(snapshot.Remove());
  CD4ML_RETURN_IF_ERROR(blobs.Materialize(manifest.database, snapshot.path(), false, /*may_link=*/false));
  return ports.open_records(snapshot.path());
}

}  // namespace

absl::StatusOr<ScrubReport> Scrub(Inspector& records, BlobStore& blobs, const Clock& clock, const Pace& pace) {
  ScrubReport report;
  CD4ML_ASSIGN_OR_RETURN(RecordCheck check, records.CheckRecords(pace.stop));
  report.runs = check.runs;
  report.events = check.events;
  report.damage = std::move(check.damage);
  Pacer pacer(clock, pace);
  Walk walk(records, blobs, [&](const Digest& digest) -> absl::Status {
    CD4ML_ASSIGN_OR_RETURN(const int64_t bytes, ReadThrough(blobs, digest, pacer));
    report.bytes += bytes;
    return absl::OkStatus();
  });
  absl::StatusOr<std::vector<Damage>> damage = walk.Go();
  // A database that cannot be read has been reported as damage already.
  if (!damage.ok() && (!absl::IsDataLoss(damage.status()) || report.damage.empty())) return damage.status();
  if (damage.ok()) report.damage.insert(report.damage.end(), damage->begin(), damage->end());
  report.blobs = walk.blobs();
  return report;
}

absl::StatusOr<BackupReport> CreateBackup(Inspector& records, BlobStore& blobs, const std::string& dir,
                                          const UpkeepPorts& ports, const std::stop_token& stop) {
  if (ports.signer == nullptr) return absl::FailedPreconditionError("this daemon has no key to sign a backup with");
  CD4ML_RETURN_IF_ERROR(ports.files.MakeDirs(dir + "/backups"));
  CD4ML_ASSIGN_OR_RETURN(const auto lock, ports.lock_dir(dir));
  CD4ML_ASSIGN_OR_RETURN(const auto to, ports.open_blobs(dir + "/blobs"));
  Snapshot draft(ports.files, dir + kDraft);
  CD4ML_RETURN_IF_ERROR(draft.Remove());
  CD4ML_RETURN_IF_ERROR(records.CopyTo(draft.path(), stop));
  // What is copied is what this database speaks of, whatever is recorded meanwhile.
  CD4ML_ASSIGN_OR_RETURN(const auto copy, ports.open_records(draft.path()));
  BackupReport report{.dir = dir};
  CD4ML_ASSIGN_OR_RETURN(RecordCheck check, copy->CheckRecords(stop));
  Walk walk(*copy, *to, [&](const Digest& digest) -> absl::Status {
    if (stop.stop_requested()) return absl::CancelledError("the backup was stopped");
    if (to->Size(digest).ok()) return absl::OkStatus();
    CD4ML_RETURN_IF_ERROR(CopyArtifact(blobs, *to, {.digest = digest}, stop));
    CD4ML_ASSIGN_OR_RETURN(const int64_t size, to->Size(digest));
    ++report.blobs_copied;
    report.bytes_copied += size;
    return absl::OkStatus();
  });
  CD4ML_ASSIGN_OR_RETURN(report.damage, walk.Go());
  report.damage.insert(report.damage.begin(), check.damage.begin(), check.damage.end());
  report.blobs = walk.blobs();
  CD4ML_ASSIGN_OR_RETURN(const Digest database, to->PutFile(draft.path(), /*may_link=*/true, stop));
  CD4ML_ASSIGN_OR_RETURN(report.database_bytes, to->Size(database));
  const UtcTime now = ports.clock.Now();
  report.name = FormatTime(now);
  std::replace(report.name.begin(), report.name.end(), ':', '-');
  report.name += "-" + database.hex().substr(0, 6);
  CD4ML_ASSIGN_OR_RETURN(const core::Envelope envelope,
                         SignEnvelope(*ports.signer, kManifestType, ManifestText(database, report, now)));
  const std::string draft_manifest = dir + "/draft.json";
  CD4ML_RETURN_IF_ERROR(ports.files.WriteFileAtomically(draft_manifest, core::FormatEnvelope(envelope) + "\n"));
  CD4ML_RETURN_IF_ERROR(ports.sync(draft_manifest));
  CD4ML_RETURN_IF_ERROR(ports.files.Rename(draft_manifest, dir + "/backups/" + report.name + ".json"));
  CD4ML_RETURN_IF_ERROR(ports.sync(dir + "/backups"));
  return report;
}

absl::StatusOr<ScrubReport> VerifyBackup(const BackupChoice& choice, const UpkeepPorts& ports, const Pace& pace) {
  CD4ML_ASSIGN_OR_RETURN(const Manifest manifest, ReadManifest(choice, ports));
  CD4ML_ASSIGN_OR_RETURN(const auto lock, ports.lock_dir(choice.dir));
  CD4ML_ASSIGN_OR_RETURN(const auto blobs, ports.open_blobs(choice.dir + "/blobs"));
  Pacer pacer(ports.clock, pace);
  // On a medium that is read-only or full it is looked at elsewhere.
  std::string folder;
  if (!ports.files.WriteFileAtomically(choice.dir + kDraft, "").ok()) {
    CD4ML_ASSIGN_OR_RETURN(folder, ports.make_temp_dir());
  }
  Snapshot snapshot(ports.files, (folder.empty() ? choice.dir : folder) + kDraft, folder);
  CD4ML_ASSIGN_OR_RETURN(const auto records, OpenSnapshot(manifest, *blobs, snapshot, ports, pacer));
  return Scrub(*records, *blobs, ports.clock, pace);
}

absl::StatusOr<ScrubReport> Restore(const BackupChoice& choice, const std::string& target, const UpkeepPorts& ports,
                                    const std::stop_token& stop) {
  if (ports.files.Exists(target)) {
    return absl::AlreadyExistsError("there is something at " + target +
                                    "; move it away, or restore to another folder: nothing is ever overwritten");
  }
  CD4ML_ASSIGN_OR_RETURN(const Manifest manifest, ReadManifest(choice, ports));
  CD4ML_ASSIGN_OR_RETURN(const auto from, ports.open_blobs(choice.dir + "/blobs"));
  const std::string beside = target + ".restoring";
  CD4ML_RETURN_IF_ERROR(ports.files.MakeDirs(beside));
  CD4ML_ASSIGN_OR_RETURN(const auto lock, ports.lock_dir(beside));
  CD4ML_ASSIGN_OR_RETURN(const auto to, ports.open_blobs(beside + "/blobs"));
  const Pace pace{.stop = stop};
  Pacer pacer(ports.clock, pace);
  Snapshot snapshot(ports.files, beside + kDraft);
  Snapshot database(ports.files, beside + "/cd4ml.db");
  ScrubReport report;
  {
    CD4ML_ASSIGN_OR_RETURN(const auto records, OpenSnapshot(manifest, *from, snapshot, ports, pacer));
    CD4ML_ASSIGN_OR_RETURN(RecordCheck check, records->CheckRecords(stop));
    report.runs = check.runs;
    report.events = check.events;
    report.damage = std::move(check.damage);
    Walk walk(*records, *to, [&](const Digest& digest) -> absl::Status {
      // What an earlier call has brought is read, too: it lay on a disk meanwhile.
      absl::StatusOr<int64_t> bytes = ReadThrough(*to, digest, pacer);
      if (IsLost(bytes.status())) {
        CD4ML_RETURN_IF_ERROR(CopyArtifact(*from, *to, {.digest = digest}, stop));
        bytes = to->Size(digest);
      }
      CD4ML_RETURN_IF_ERROR(bytes.status());
      report.bytes += *bytes;
      return absl::OkStatus();
    });
    CD4ML_ASSIGN_OR_RETURN(const std::vector<Damage> damage, walk.Go());
    report.blobs = walk.blobs();
    report.damage.insert(report.damage.end(), damage.begin(), damage.end());
    for (const Damage& item : report.damage) {
      if (manifest.damaged.contains(item.what)) continue;
      return absl::DataLossError("backup " + manifest.name + " is damaged and was not restored: " + item.what + ": " +
                                 item.why);
    }
    CD4ML_RETURN_IF_ERROR(database.Remove());
    CD4ML_RETURN_IF_ERROR(records->CopyTo(database.path(), stop));
  }
  CD4ML_RETURN_IF_ERROR(snapshot.Remove());
  CD4ML_RETURN_IF_ERROR(ports.sync(beside));
  // Fails when a folder with something in it has come to be there.
  CD4ML_RETURN_IF_ERROR(ports.files.Rename(beside, target));
  CD4ML_RETURN_IF_ERROR(ports.sync(target.substr(0, std::max<size_t>(target.rfind('/'), 1))));
  return report;
}

}  // namespace cd4ml::daemon
