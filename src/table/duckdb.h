// DuckDB behind three verbs: execute, query, append. The library is opened when the program runs.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "cd4ml/table/open_table_engine.h"

namespace cd4ml::table {

struct DuckDbApi;
struct Result;

// One row of a result, every value as text.
using Row = std::vector<std::optional<std::string>>;

// A column of a result as numbers, or as numbers of its distinct texts.
struct ColumnData {
  static constexpr uint32_t kNull = UINT32_MAX;

  std::vector<double> numbers;      // Of a DOUBLE; NaN where it is NULL.
  std::vector<uint32_t> codes;      // Of a VARCHAR: into `texts`, or kNull.
  std::vector<std::string> texts;   // In the order of their first row.
};

// An open database, in memory unless KeepOnDisk was called. Not thread-safe. Never loads an extension, so it has no network
// code.
class Database {
 public:
  static absl::StatusOr<std::unique_ptr<Database>> Open(const TableEngineOptions& options);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  absl::Status Execute(const std::string& sql);
  // Returns all rows of a SELECT. REQUIRES: it bounds their number itself, and its columns are
  // BIGINT, DOUBLE or VARCHAR.
  absl::StatusOr<std::vector<Row>> Query(const std::string& select);
  // The same for many rows. REQUIRES: every column is DOUBLE or VARCHAR.
  absl::StatusOr<std::vector<ColumnData>> QueryColumns(const std::string& select);

  // Lets tables that are made from now on be kept in a file of the work folder, where they are compressed: what does not fit
  // into memory would be written there anyway, at many times the size. Idempotent.
  absl::Status KeepOnDisk();
  int64_t memory_max() const { return options_.memory_max; }

  // Lets the statement under way and all later ones be CANCELLED once `stop` is requested.
  void SetStop(std::stop_token stop);
  absl::Status Stopped() const;

 private:
  friend class Appender;
  friend class SingleThread;
  Database(const DuckDbApi& api, const TableEngineOptions& options) : api_(api), options_(options) {}
  absl::Status Run(const std::string& sql, Result& result);
  // What the engine itself does not hold its file to: RESOURCE_EXHAUSTED when that takes more of the disk than it may.
  absl::Status CheckDisk() const;
  void ReadRows(const Result& result, std::vector<Row>& rows);
  void ReadColumns(const Result& result, std::vector<ColumnData>& columns);

  const DuckDbApi& api_;
  const TableEngineOptions options_;
  int64_t disk_max_ = 0;
  std::string disk_folder_;   // "": tables are in memory.
  // A statement that is only about to begin forgets that it was interrupted, so it is told again.
  void Interrupt(std::stop_token ended);

  void* database_ = nullptr;
  void* connection_ = nullptr;
  std::mutex mutex_;
  std::condition_variable_any ended_;
  std::stop_token stop_;
  std::jthread interrupter_;  // Once `stop_` is requested.
  std::optional<std::stop_callback<std::function<void()>>> on_stop_;  // Last: it starts that.
};

// Adding up floating-point numbers on several threads gives other last digits each time; what is
// recorded must not. While one of these lives, queries use one.
class SingleThread {
 public:
  explicit SingleThread(Database& database)
      : database_(database), status_(database.Execute("SET threads = 1")) {}
  // Not RESET, after which it would be as many as the machine has processors.
  ~SingleThread() { database_.Execute("SET threads = " + std::to_string(database_.options_.threads)).IgnoreError(); }
  SingleThread(const SingleThread&) = delete;
  SingleThread& operator=(const SingleThread&) = delete;
  const absl::Status& status() const { return status_; }

 private:
  Database& database_;
  const absl::Status status_;
};

// Appends rows to a table whose first `numbers` columns are BIGINT and whose others are VARCHAR.
class Appender {
 public:
  Appender(Database& database, std::string table, size_t numbers, size_t texts);
  ~Appender();
  Appender(const Appender&) = delete;
  Appender& operator=(const Appender&) = delete;

  // Sets a value of the current row; what is not set is NULL. `text` must be UTF-8, which is not looked at again.
  void Set(size_t column, int64_t number);
  void Set(size_t column, std::string_view text);
  absl::Status EndRow();
  // Writes everything. Call once; without it, what is left over is dropped.
  absl::Status Finish();

 private:
  absl::Status Flush();
  absl::Status Write();   // What the last Flush has handed over is in the table when this returns.
  absl::Status Failed() const;

  const DuckDbApi& api_;
  const Database& database_;
  const std::string table_;
  size_t columns_;
  size_t row_ = 0;
  size_t row_max_;
  void* appender_ = nullptr;
  void* chunk_ = nullptr;        // What is being filled, …
  void* handed_over_ = nullptr;  // … and what a thread writes meanwhile; of wide tables there is only the first.
  std::future<absl::Status> written_;
  std::vector<void*> vectors_;
  std::vector<bool> set_;
};

// Returns `text` as an SQL string literal, and `name` as a quoted identifier.
std::string Literal(std::string_view text);
std::string Identifier(std::string_view name);
// Returns `number` as an SQL literal of type DOUBLE.
std::string Literal(double number);

}  // namespace cd4ml::table
