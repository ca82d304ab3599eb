// Schema versions: user_version counts them, schema_migration says which scripts they were.
#include "migrate.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "cd4ml/base/digest.h"
#include "cd4ml/base/log.h"
#include "cd4ml/base/status.h"

namespace cd4ml::store {
namespace {

constexpr char kApplicationId[] = "1667511405";  // "cd4m".

constexpr char kCreateRecord[] = R"sql(
CREATE TABLE IF NOT EXISTS schema_migration (
  version INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  script_digest TEXT NOT NULL
) STRICT;)sql";

constexpr char kInsertRecord[] = R"sql(
INSERT INTO schema_migration (version, name, script_digest)
VALUES (?1, ?2, ?3))sql";

constexpr char kSelectRecord[] = R"sql(
SELECT script_digest
FROM schema_migration
WHERE version = ?1
ORDER BY version
LIMIT 1)sql";

absl::StatusOr<int> ReadVersion(Database& database) {
  CD4ML_ASSIGN_OR_RETURN(const std::string text, database.Ask("PRAGMA user_version"));
  return std::atoi(text.c_str());
}

// Refuses a file that is some other program's database.
absl::Status CheckOwner(Database& database) {
  CD4ML_ASSIGN_OR_RETURN(const std::string id, database.Ask("PRAGMA application_id"));
  if (id == kApplicationId) return absl::OkStatus();
  CD4ML_ASSIGN_OR_RETURN(const std::string tables,
                         database.Ask("SELECT COUNT(*) FROM sqlite_schema"));
  if (id == "0" && tables == "0") return absl::OkStatus();
  return absl::FailedPreconditionError(
      "it is a database of another program; give cd4ml a file of its own");
}

// Refuses a database that has tables and says that it has none.
absl::Status CheckEmpty(Database& database) {
  CD4ML_ASSIGN_OR_RETURN(const std::string tables, database.Ask("SELECT COUNT(*) FROM sqlite_schema"));
  if (tables == "0") return absl::OkStatus();
  return absl::FailedPreconditionError(
      "its header says that it has no schema (user_version 0), and yet it has tables: another program has changed it; "
      "restore a backup (docs/reference/backup.md), or the copy beside it from before an upgrade: *.backup");
}

absl::Status CheckRecord(Database& database, const std::vector<Migration>& migrations,
                         int version) {
  for (int i = 1; i <= version; ++i) {
    const Migration& migration = migrations[static_cast<size_t>(i) - 1];
    CD4ML_ASSIGN_OR_RETURN(Rows rows, database.Query(kSelectRecord, i));
    const std::string digest = rows.Next() ? rows.String(0) : "";
    CD4ML_RETURN_IF_ERROR(rows.status());
    if (digest == Sha256(migration.script).hex()) continue;
    if (!Digest::Parse(digest).ok()) {  // A damaged record says nothing about the schema.
      LogError("the record of a schema change cannot be read", {{"version", std::to_string(i)}});
      continue;
    }
    return absl::FailedPreconditionError(
        "its schema was made by another \"" + std::string(migration.name) +
        "\" than this program's; it is of an unreleased version: use a new database");
  }
  return absl::OkStatus();
}

absl::Status ApplyOne(Database& database, const Migration& migration, int version) {
  CD4ML_RETURN_IF_ERROR(database.Execute(kCreateRecord));
  CD4ML_RETURN_IF_ERROR(database.Execute(std::string(migration.script)));
  CD4ML_RETURN_IF_ERROR(
      database.Run(kInsertRecord, version, migration.name, Sha256(migration.script).hex()));
  CD4ML_RETURN_IF_ERROR(database.Execute(std::string("PRAGMA application_id=") + kApplicationId));
  return database.Execute("PRAGMA user_version=" + std::to_string(version));
}

}  // namespace

absl::Status SyncPath(const std::string& path) {
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  const bool synced = descriptor >= 0 && fsync(descriptor) == 0;
  const std::string why = synced ? "" : std::string(std::strerror(errno));
  if (descriptor >= 0) close(descriptor);
  return synced ? absl::OkStatus() : absl::DataLossError(path + ": " + why);
}

std::string FolderOf(const std::string& path) {
  const std::string folder = std::filesystem::path(path).parent_path().string();
  return folder.empty() ? "." : folder;
}

absl::Status BackUp(Database& database, const std::string& path, int version) {
  // SQLite knows the time, so that nobody needs to pass it down to here.
  CD4ML_ASSIGN_OR_RETURN(const std::string now,
                         database.Ask("SELECT strftime('%Y%m%dT%H%M%SZ', 'now')"));
  const std::string target =
      path + ".schema-" + std::to_string(version) + "." + now + ".backup";
  const std::string draft = path + ".backup.part";
  std::error_code error;
  std::filesystem::remove(draft, error);
  absl::Status copied = database.Run("VACUUM INTO ?1", draft);
  if (copied.ok()) copied = SyncPath(draft);
  if (!copied.ok()) {
    std::filesystem::remove(draft, error);
    return copied;
  }
  std::filesystem::rename(draft, target, error);
  if (error) return absl::DataLossError(target + ": " + error.message());
  CD4ML_RETURN_IF_ERROR(SyncPath(FolderOf(path)));
  LogInfo("the database was copied before its schema is upgraded", {{"backup", target}});
  return absl::OkStatus();
}

absl::Status Migrate(Database& database, const std::vector<Migration>& migrations,
                     const std::function<absl::Status(int version)>& back_up) {
  CD4ML_RETURN_IF_ERROR(CheckOwner(database));
  CD4ML_ASSIGN_OR_RETURN(const int version, ReadVersion(database));
  const int newest = static_cast<int>(migrations.size());
  if (version > newest) {
    return absl::FailedPreconditionError(
        "it has schema " + std::to_string(version) + " of a newer cd4ml, this one knows " +
        std::to_string(newest) +
        "; use the newer program, or restore the copy beside it from before the upgrade: *.backup");
  }
  if (version == 0) CD4ML_RETURN_IF_ERROR(CheckEmpty(database));
  CD4ML_RETURN_IF_ERROR(CheckRecord(database, migrations, version));
  if (version > 0 && version < newest)
    CD4ML_RETURN_IF_ERROR(Annotate(back_up(version), "backup before migration"));
  if (version == newest) return absl::OkStatus();
  Transaction transaction(database);
  CD4ML_RETURN_IF_ERROR(transaction.Begin());
  for (int next = version + 1; next <= newest; ++next) {
    const Migration& migration = migrations[static_cast<size_t>(next) - 1];
    CD4ML_RETURN_IF_ERROR(
        Annotate(ApplyOne(database, migration, next), "migration " + std::string(migration.name)));
  }
  return transaction.Commit();
}

}  // namespace cd4ml::store
