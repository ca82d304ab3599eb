// The only place that speaks to SQLite's C interface.
#include "database.h"

#include <sqlite3.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "cd4ml/base/text.h"

namespace cd4ml::store {
namespace {

// A setting and what it must read back as; null: not read back.
struct Setting {
  const char* set;
  const char* read;
  const char* expected;
};

constexpr Setting kSettings[] = {
    {"PRAGMA foreign_keys=ON", "PRAGMA foreign_keys", "1"},
    {"PRAGMA trusted_schema=OFF", "PRAGMA trusted_schema", "0"},
    {"PRAGMA cell_size_check=ON", "PRAGMA cell_size_check", "1"},
    {"PRAGMA busy_timeout=5000", "PRAGMA busy_timeout", "5000"},
    {"PRAGMA temp_store=MEMORY", "PRAGMA temp_store", "2"},
    {"PRAGMA mmap_size=0", nullptr, nullptr},
};
// The writer checkpoints by itself, so that a failed one is seen: SQLite's own hook swallows the
// error.
//
// EXTRA is FULL that also syncs the deletion of a rollback journal: the one of the switch to WAL must
// not come back after a power cut and undo what was acknowledged since.
constexpr Setting kWriterSettings[] = {
    {"PRAGMA synchronous=EXTRA", "PRAGMA synchronous", "3"},
    {"PRAGMA journal_mode=WAL", "PRAGMA journal_mode", "wal"},
    {"PRAGMA wal_autocheckpoint=0", "PRAGMA wal_autocheckpoint", "0"},
    {"PRAGMA secure_delete=ON", "PRAGMA secure_delete", "1"},
    {"PRAGMA cache_size=-32768", "PRAGMA cache_size", "-32768"},
};
constexpr Setting kReaderSettings[] = {
    {"PRAGMA query_only=ON", "PRAGMA query_only", "1"},
};
constexpr double kNumberMax = 1LL << 53;  // Adding a few of these does not overflow.
constexpr int kCopyPages = 1'000;      // Between two looks at whether to stop.
constexpr int kStatementBytesMax = 100'000;
constexpr int kReadOpsMax = 500;  // In millions of SQLite's instructions: some seconds.

int AfterCommit(void* frames, sqlite3*, const char*, int count) {
  *static_cast<int*>(frames) = count;
  return SQLITE_OK;
}

// Nearly all text is; the loop is a few instructions per 16 bytes.
bool IsAscii(std::string_view text) {
  unsigned char bits = 0;
  for (const char c : text) bits |= static_cast<unsigned char>(c);
  return bits < 0x80;
}

// Ends a reader's transaction that would keep the log from being checkpointed.
int CountReadOps(void* statement_ops) { return ++*static_cast<int*>(statement_ops) > kReadOpsMax; }

}  // namespace

Rows::~Rows() {
  if (statement_ == nullptr) return;
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

bool Rows::Next() {
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code != SQLITE_DONE) status_ = database_->Error(code);
  return false;
}

absl::Status Rows::Check(int needed) const {
  for (int i = 0; i < sqlite3_column_count(statement_); ++i) {
    const int type = sqlite3_column_type(statement_, i);
    const char* declared = sqlite3_column_decltype(statement_, i);  // Null for an expression.
    const bool is_number = declared != nullptr && declared != std::string_view("TEXT");
    const bool is_odd =
        type == SQLITE_BLOB || (type == SQLITE_NULL && i < needed) ||
        (type == SQLITE_TEXT && (is_number || !IsUtf8(Text(i)))) ||
        (type == SQLITE_INTEGER && std::abs(sqlite3_column_double(statement_, i)) > kNumberMax);
    if (!is_odd) continue;
    return absl::InvalidArgumentError("its " + std::string(sqlite3_column_name(statement_, i)) +
                                      " is senseless");
  }
  return absl::OkStatus();
}

bool Rows::IsNull(int column) const {
  return sqlite3_column_type(statement_, column) == SQLITE_NULL;
}
int64_t Rows::Integer(int column) const { return sqlite3_column_int64(statement_, column); }
double Rows::Real(int column) const {
  return IsNull(column) ? std::numeric_limits<double>::quiet_NaN()
                        : sqlite3_column_double(statement_, column);
}
std::string_view Rows::Text(int column) const {
  const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
  if (text == nullptr) return "";
  return {text, static_cast<size_t>(sqlite3_column_bytes(statement_, column))};
}

absl::StatusOr<std::unique_ptr<Database>> Database::Open(const std::string& path,
                                                         const std::string& vfs, Access access) {
  const int flags =
      access == Access::kWrite ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY;
  sqlite3* handle = nullptr;
  const int code =
      sqlite3_open_v2(path.c_str(), &handle, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
                      vfs.empty() ? nullptr : vfs.c_str());
  if (handle == nullptr) return absl::ResourceExhaustedError("no memory for a database connection");
  std::unique_ptr<Database> database(new Database(handle));
  absl::Status status =
      code == SQLITE_OK ? database->Configure(access, path == ":memory:") : database->Error(code);
  if (!status.ok()) return status;
  return database;
}

absl::Status Database::Configure(Access access, bool in_memory) {
  sqlite3_db_config(handle_, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  sqlite3_db_config(handle_, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0, nullptr);
  sqlite3_limit(handle_, SQLITE_LIMIT_SQL_LENGTH, kStatementBytesMax);
  sqlite3_limit(handle_, SQLITE_LIMIT_ATTACHED,
                access == Access::kWrite ? 1 : 0);  // VACUUM INTO attaches.
  const auto apply = [this](const Setting& setting) -> absl::Status {
    CD4ML_RETURN_IF_ERROR(Execute(setting.set));
    if (setting.read == nullptr) return absl::OkStatus();
    CD4ML_ASSIGN_OR_RETURN(const std::string actual, Ask(setting.read));
    if (actual == setting.expected) return absl::OkStatus();
    return absl::FailedPreconditionError(std::string(setting.set) +
                                         " was not accepted: it reads back as " + actual);
  };
  for (const Setting& setting : kSettings) CD4ML_RETURN_IF_ERROR(apply(setting));
  if (access != Access::kWrite) {
    for (const Setting& setting : kReaderSettings) CD4ML_RETURN_IF_ERROR(apply(setting));
    if (access == Access::kInspect) return absl::OkStatus();
    sqlite3_progress_handler(handle_, 1'000'000, CountReadOps, &read_ops_);
    return absl::OkStatus();
  }
  for (const Setting& setting : kWriterSettings) {
    if (in_memory && setting.expected == std::string_view("wal")) continue;
    CD4ML_RETURN_IF_ERROR(apply(setting));
  }
  sqlite3_wal_hook(handle_, AfterCommit, &wal_frames_);
  return absl::OkStatus();
}

Database::~Database() {
  for (const auto& [sql, statement] : statements_) sqlite3_finalize(statement);
  sqlite3_close(handle_);
}

absl::StatusOr<sqlite3_stmt*> Database::Prepare(const char* sql) {
  read_ops_ = 0;
  sqlite3_stmt*& statement = statements_[sql];
  if (statement != nullptr) return statement;
  const int code =
      sqlite3_prepare_v3(handle_, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
  if (code != SQLITE_OK) return Error(code);
  return statement;
}

absl::Status Database::Step(sqlite3_stmt* statement) {
  int code = sqlite3_step(statement);
  while (code == SQLITE_ROW) code = sqlite3_step(statement);
  absl::Status status = code == SQLITE_DONE ? absl::OkStatus() : Error(code);
  sqlite3_reset(statement);
  sqlite3_clear_bindings(statement);
  return status;
}

void Database::Bind(sqlite3_stmt* statement, int column, int64_t value, Text) {
  sqlite3_bind_int64(statement, column, value);
}

void Database::Bind(sqlite3_stmt* statement, int column, double value, Text) {
  if (!std::isnan(value)) sqlite3_bind_double(statement, column, value);
}

void Database::Bind(sqlite3_stmt* statement, int column, std::string_view value, Text text) {
  const auto bind = [&](std::string_view good, sqlite3_destructor_type copies) {
    sqlite3_bind_text64(statement, column, good.empty() ? "" : good.data(), good.size(), copies,
                        SQLITE_UTF8);
  };
  if (IsAscii(value) || IsUtf8(value)) {
    bind(value, text == Text::kInPlace ? SQLITE_STATIC : SQLITE_TRANSIENT);
  } else {
    bind(MakeUtf8(value), SQLITE_TRANSIENT);
  }
}

absl::Status Database::Execute(const std::string& script) {
  const int code = sqlite3_exec(handle_, script.c_str(), nullptr, nullptr, nullptr);
  return code == SQLITE_OK ? absl::OkStatus() : Error(code);
}

absl::StatusOr<std::string> Database::Ask(const std::string& sql) {
  sqlite3_stmt* statement = nullptr;
  const int code = sqlite3_prepare_v2(handle_, sql.c_str(), -1, &statement, nullptr);
  if (code != SQLITE_OK) return Error(code);
  std::string answer;
  absl::Status status;
  {
    Rows rows(*this, statement);
    if (rows.Next()) answer = rows.String(0);
    status = rows.status();
  }
  sqlite3_finalize(statement);
  if (!status.ok()) return status;
  return answer;
}

int64_t Database::last_insert_id() const { return sqlite3_last_insert_rowid(handle_); }
bool Database::in_transaction() const { return sqlite3_get_autocommit(handle_) == 0; }
int64_t Database::changes() const { return sqlite3_changes64(handle_); }

absl::Status Database::Checkpoint() {
  wal_frames_ = 0;
  const int code =
      sqlite3_wal_checkpoint_v2(handle_, nullptr, SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr);
  return code == SQLITE_OK || (code & 0xff) == SQLITE_BUSY ? absl::OkStatus() : Error(code);
}

absl::Status Database::Harden() {
  sqlite3_file* log = nullptr;
  sqlite3_file_control(handle_, "main", SQLITE_FCNTL_JOURNAL_POINTER, static_cast<void*>(&log));
  if (log == nullptr || log->pMethods == nullptr) return absl::OkStatus();
  sqlite3_int64 size = 0;
  int code = log->pMethods->xFileSize(log, &size);
  std::array<char, 65'536> piece;
  for (sqlite3_int64 at = 0; code == SQLITE_OK && at < size; at += static_cast<int>(piece.size())) {
    const int length = static_cast<int>(std::min<sqlite3_int64>(size - at, piece.size()));
    code = log->pMethods->xRead(log, piece.data(), length, at);
    if (code == SQLITE_OK) code = log->pMethods->xWrite(log, piece.data(), length, at);
  }
  if (code == SQLITE_OK && size > 0) code = log->pMethods->xSync(log, SQLITE_SYNC_NORMAL);
  return code == SQLITE_OK ? absl::OkStatus() : Error(code);
}

absl::Status Database::CopyTo(const std::string& path, const std::stop_token& stop) {
  sqlite3* opened = nullptr;
  int code = sqlite3_open_v2(path.c_str(), &opened, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, nullptr);
  if (opened == nullptr) return absl::ResourceExhaustedError("no memory for a database connection");
  Database copy(opened);
  if (code != SQLITE_OK) return copy.Error(code);
  // Whoever reads the file before all of it is synced has not been given its name.
  CD4ML_RETURN_IF_ERROR(copy.Execute("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF"));
  sqlite3_backup* backup = sqlite3_backup_init(opened, "main", handle_, "main");
  if (backup == nullptr) return copy.Error(sqlite3_errcode(opened));
  do {
    code = stop.stop_requested() ? SQLITE_INTERRUPT : sqlite3_backup_step(backup, kCopyPages);
  } while (code == SQLITE_OK);
  sqlite3_backup_finish(backup);
  if (code == SQLITE_INTERRUPT) return absl::CancelledError("the copy was stopped");
  if (code != SQLITE_DONE) return (code & 0xff) == SQLITE_CORRUPT ? Error(code) : copy.Error(code);
  // A file of its own: what reads it needs no log beside it.
  return copy.Execute("PRAGMA synchronous=EXTRA; PRAGMA journal_mode=DELETE");
}

absl::Status Database::Error(int code) const {
  const std::string message =
      std::string(sqlite3_errmsg(handle_)) + " (SQLite error " + std::to_string(code) + ")";
  switch (code & 0xff) {
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
    case SQLITE_TOOBIG:
      return absl::InvalidArgumentError(message);
    case SQLITE_FULL:
      return absl::ResourceExhaustedError(message);
    case SQLITE_IOERR:
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      if (on_failure_) on_failure_(absl::DataLossError(message));
      return absl::DataLossError(message);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return absl::UnavailableError(message);
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_READONLY:
      return absl::FailedPreconditionError(message);
    case SQLITE_INTERRUPT:
      return absl::DeadlineExceededError("the query was too long and has been stopped");
    default:
      return absl::InternalError(message);
  }
}

Transaction::~Transaction() { (void)RollBack(); }

absl::Status Transaction::RollBack() {
  // SQLite may have rolled back by itself.
  if (!std::exchange(open_, false) || !database_.in_transaction()) return absl::OkStatus();
  return database_.Run("ROLLBACK");
}

absl::Status Transaction::Begin() {
  CD4ML_RETURN_IF_ERROR(database_.Run("BEGIN IMMEDIATE"));
  open_ = true;
  return absl::OkStatus();
}

absl::Status Transaction::Commit() {
  CD4ML_RETURN_IF_ERROR(database_.Run("COMMIT"));
  open_ = false;
  return absl::OkStatus();
}

std::string MakeUtf8(std::string_view text) {
  std::string clean;
  while (!text.empty()) {
    size_t length = 1;
    while (length < 4 && length < text.size() && !IsUtf8(text.substr(0, length))) ++length;
    const bool good = IsUtf8(text.substr(0, length));
    if (good) {
      clean += text.substr(0, length);
    } else {
      clean += "\xEF\xBF\xBD";
      length = 1;
    }
    text.remove_prefix(length);
  }
  return clean;
}

}  // namespace cd4ml::store
