// SQLite as this store wants it: one connection with cached statements, transactions that roll back
// by themselves.
#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "absl/status/statusor.h"
#include "cd4ml/base/status.h"
#include "cd4ml/base/time.h"

struct sqlite3;
struct sqlite3_stmt;

namespace cd4ml::store {

class Database;

// The rows of a query. Resets its statement when destroyed; at most one per SQL text at a time.
class Rows {
 public:
  Rows(Database& database, sqlite3_stmt* statement) : database_(&database), statement_(statement) {}
  Rows(Rows&& other) noexcept
      : database_(other.database_),
        statement_(std::exchange(other.statement_, nullptr)),
        status_(std::move(other.status_)) {}
  Rows(const Rows&) = delete;
  ~Rows();

  // Goes to the next row; false at the end and on failure, which `status` tells.
  bool Next();
  const absl::Status& status() const { return status_; }

  // INVALID_ARGUMENT when the present row holds what this store never writes: values of another
  // type, bytes that are no text, a number that is no time, count or row, or NULL in one of the
  // first `needed` columns.
  absl::Status Check(int needed = 0) const;

  // Columns of the present row. Text is valid until Next.
  bool IsNull(int column) const;
  int64_t Integer(int column) const;
  double Real(int column) const;  // NULL is NaN.
  std::string_view Text(int column) const;
  std::string String(int column) const { return std::string(Text(column)); }
  UtcTime Time(int column) const { return UtcTime{Integer(column)}; }

 private:
  Database* database_;
  sqlite3_stmt* statement_;
  absl::Status status_;
};

// One connection. Not thread-safe.
class Database {
 public:
  // kInspect: kRead for statements that may take as long as they need.
  enum class Access { kWrite, kRead, kInspect };

  // Opens a connection with every setting that durability and safety rest on, each read back.
  static absl::StatusOr<std::unique_ptr<Database>> Open(const std::string& path,
                                                        const std::string& vfs, Access access);
  ~Database();
  Database(const Database&) = delete;

  // Calls `on_failure` at once whenever reading, writing or syncing fails from now on.
  void OnFailure(std::function<void(const absl::Status&)> on_failure) {
    on_failure_ = std::move(on_failure);
  }

  // Executes a statement that gives no rows. `sql` is a constant: its address names the cached
  // statement.
  template <typename... Args>
  absl::Status Run(const char* sql, const Args&... args) {
    CD4ML_ASSIGN_OR_RETURN(sqlite3_stmt * statement, Prepare(sql));
    int column = 0;
    (Bind(statement, ++column, args, Text::kInPlace), ...);
    return Step(statement);
  }

  // Executes a query. Failure shows in the rows' status.
  template <typename... Args>
  absl::StatusOr<Rows> Query(const char* sql, const Args&... args) {
    CD4ML_ASSIGN_OR_RETURN(sqlite3_stmt * statement, Prepare(sql));
    int column = 0;
    (Bind(statement, ++column, args, Text::kCopied), ...);
    return Rows(*this, statement);
  }

  // Executes a script of any number of statements.
  absl::Status Execute(const std::string& script);
  // Returns the first column of the first row of a statement that is not worth caching.
  absl::StatusOr<std::string> Ask(const std::string& sql);

  int64_t last_insert_id() const;
  int64_t changes() const;  // Rows that the last Run changed.
  bool in_transaction() const;
  int wal_frames() const { return wal_frames_; }

  // Makes durable what this connection sees. An earlier process may have failed to sync it: the system then shows
  // what was written without ever writing it again, and what is added to the log later would go with it.
  absl::Status Harden();  // RESOURCE_EXHAUSTED: even what is there could not be written over.

  // Copies what this connection's transaction sees into the empty file at `path`, durably.
  absl::Status CopyTo(const std::string& path, const std::stop_token& stop);

  // Moves what it can from the log into the database file without waiting for anybody.
  absl::Status Checkpoint();

  // Turns what SQLite reported last into a status: INVALID_ARGUMENT for a violated constraint,
  // RESOURCE_EXHAUSTED for a full disk, DATA_LOSS for failed or senseless reads and writes.
  absl::Status Error(int code) const;

 private:
  explicit Database(sqlite3* handle) : handle_(handle) {}
  absl::StatusOr<sqlite3_stmt*> Prepare(const char* sql);
  absl::Status Step(sqlite3_stmt* statement);
  absl::Status Configure(Access access, bool in_memory);

  // Text is used in place by Run, which ends before its arguments do, and copied by Query. What is
  // not well-formed UTF-8 is made so. NaN is NULL, and so is an unset optional: bindings are
  // cleared after use.
  enum class Text { kInPlace, kCopied };
  static void Bind(sqlite3_stmt* statement, int column, int64_t value, Text);
  static void Bind(sqlite3_stmt* statement, int column, double value, Text);
  static void Bind(sqlite3_stmt* statement, int column, std::string_view value, Text text);
  template <typename T>
  static void Bind(sqlite3_stmt* statement, int column, const T& value, Text text) {
    if constexpr (std::integral<T>) {
      Bind(statement, column, static_cast<int64_t>(value), text);
    } else if constexpr (std::same_as<T, UtcTime>) {
      Bind(statement, column, value.ms, text);
    } else if constexpr (requires { value.has_value(); }) {
      if (value.has_value()) Bind(statement, column, *value, text);
    } else {
      Bind(statement, column, std::string_view(value), text);
    }
  }

  sqlite3* handle_;
  std::function<void(const absl::Status&)> on_failure_;
  int wal_frames_ = 0;
  int read_ops_ = 0;  // Of the present statement, in millions of instructions.
  std::unordered_map<const char*, sqlite3_stmt*> statements_;
};

// A write transaction; rolled back unless committed.
class Transaction {
 public:
  explicit Transaction(Database& database) : database_(database) {}
  ~Transaction();
  Transaction(const Transaction&) = delete;
  absl::Status Begin();
  absl::Status Commit();
  absl::Status RollBack();

 private:
  Database& database_;
  bool open_ = false;
};

// Returns `text` with every byte that is not part of well-formed UTF-8 replaced by U+FFFD.
std::string MakeUtf8(std::string_view text);

}  // namespace cd4ml::store
