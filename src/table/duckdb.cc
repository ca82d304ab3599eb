// The few functions of DuckDB's C interface that are called, found with dlsym, and RAII around
// them.
#include "table/duckdb.h"

#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <mutex>
#include <unordered_map>

#include "cd4ml/base/check.h"
#include "cd4ml/base/status.h"

namespace cd4ml::table {

// This and the shapes below are DuckDB's stable C interface.
struct Result {
  uint64_t unused_counts[3];
  void* unused_columns;
  char* unused_error;
  void* internal;
};

namespace {

// The release that scripts/setup installs.
constexpr char kVersion[] = "1.5.5";

// A VARCHAR in a vector: short ones lie in place.
struct String {
  uint32_t length;
  char inlined[4];
  const char* text;

  std::string_view view() const { return {length <= 12 ? inlined : text, length}; }
};
static_assert(sizeof(String) == 16);

// Of tables with more columns, 2,048 rows at a time are too much memory to have twice.
constexpr size_t kColumnsOverlapped = 256;

constexpr int kTypeBigint = 5;
constexpr int kTypeDouble = 11;
constexpr int kTypeVarchar = 17;
constexpr int kSuccess = 0;

std::string ExactText(double number) {
  char buffer[32];
  const auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, number);
  return std::string(buffer, end);
}

// Returns the value at `row` of a vector. Our own SELECTs have no other types than these.
std::string ReadText(int type, const void* data, size_t row) {
  if (type == kTypeBigint) return std::to_string(static_cast<const int64_t*>(data)[row]);
  if (type == kTypeDouble) return ExactText(static_cast<const double*>(data)[row]);
  CD4ML_CHECK(type == kTypeVarchar, "a column that is neither BIGINT, DOUBLE nor VARCHAR");
  return std::string(static_cast<const String*>(data)[row].view());
}

}  // namespace

struct DuckDbApi {
  int (*create_config)(void** config);
  int (*set_config)(void* config, const char* name, const char* option);
  void (*destroy_config)(void** config);
  int (*open_ext)(const char* path, void** database, void* config, char** error);
  void (*close)(void** database);
  int (*connect)(void* database, void** connection);
  void (*disconnect)(void** connection);
  void (*free)(void* pointer);
  int (*query)(void* connection, const char* sql, Result* result);
  void (*interrupt)(void* connection);
  const char* (*result_error)(Result* result);
  int (*column_type)(Result* result, uint64_t column);
  void (*destroy_result)(Result* result);
  void* (*fetch_chunk)(Result result);
  void (*destroy_data_chunk)(void** chunk);
  uint64_t (*data_chunk_get_size)(void* chunk);
  uint64_t (*data_chunk_get_column_count)(void* chunk);
  void* (*data_chunk_get_vector)(void* chunk, uint64_t column);
  void* (*vector_get_data)(void* vector);
  uint64_t* (*vector_get_validity)(void* vector);
  void (*vector_ensure_validity_writable)(void* vector);
  void (*unsafe_vector_assign_string_element_len)(void* vector, uint64_t row, const char* text,
                                                  uint64_t length);
  void* (*create_logical_type)(int type);
  void (*destroy_logical_type)(void** type);
  void* (*create_data_chunk)(void** types, uint64_t count);
  void (*data_chunk_reset)(void* chunk);
  void (*data_chunk_set_size)(void* chunk, uint64_t size);
  uint64_t (*vector_size)();
  int (*appender_create)(void* connection, const char* schema, const char* table, void** appender);
  int (*append_data_chunk)(void* appender, void* chunk);
  const char* (*appender_error)(void* appender);
  int (*appender_close)(void* appender);
  int (*appender_destroy)(void** appender);
};

namespace {

template <typename Function>
bool Find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  return function != nullptr;
}

// Returns the name of the first function that `library` lacks, or null.
const char* FindAll(void* library, DuckDbApi& api) {
#define CD4ML_FIND(member) \
  if (!Find(library, "duckdb_" #member, api.member)) return "duckdb_" #member
  CD4ML_FIND(create_config);
  CD4ML_FIND(set_config);
  CD4ML_FIND(destroy_config);
  CD4ML_FIND(open_ext);
  CD4ML_FIND(close);
  CD4ML_FIND(connect);
  CD4ML_FIND(disconnect);
  CD4ML_FIND(free);
  CD4ML_FIND(query);
  CD4ML_FIND(interrupt);
  CD4ML_FIND(result_error);
  CD4ML_FIND(column_type);
  CD4ML_FIND(destroy_result);
  CD4ML_FIND(fetch_chunk);
  CD4ML_FIND(destroy_data_chunk);
  CD4ML_FIND(data_chunk_get_size);
  CD4ML_FIND(data_chunk_get_column_count);
  CD4ML_FIND(data_chunk_get_vector);
  CD4ML_FIND(vector_get_data);
  CD4ML_FIND(vector_get_validity);
  CD4ML_FIND(vector_ensure_validity_writable);
  CD4ML_FIND(unsafe_vector_assign_string_element_len);
  CD4ML_FIND(create_logical_type);
  CD4ML_FIND(destroy_logical_type);
  CD4ML_FIND(create_data_chunk);
  CD4ML_FIND(data_chunk_reset);
  CD4ML_FIND(data_chunk_set_size);
  CD4ML_FIND(vector_size);
  CD4ML_FIND(appender_create);
  CD4ML_FIND(append_data_chunk);
  CD4ML_FIND(appender_error);
  CD4ML_FIND(appender_close);
  CD4ML_FIND(appender_destroy);
#undef CD4ML_FIND
  return nullptr;
}

// Opens the first library that can be opened. It is never closed again: its threads may still run.
absl::StatusOr<const DuckDbApi*> Load(const std::vector<std::string>& libraries) {
  std::string tried;
  for (const std::string& path : libraries) {
    void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
      tried += (tried.empty() ? "" : ", ") +
               (access(path.c_str(), F_OK) == 0 ? std::string(dlerror()) : path);
      continue;
    }
    auto api = std::make_unique<DuckDbApi>();
    if (const char* lacking = FindAll(library, *api)) {
      tried += (tried.empty() ? "" : ", ") + path + " (has no " + lacking + ")";
      continue;
    }
    // Lives as long as the library, and longer than any static engine. LeakSanitizer sees it through this pointer.
    static std::mutex mutex;
    static auto& loaded = *new std::vector<std::unique_ptr<DuckDbApi>>();  // Guarded by `mutex`.
    const std::lock_guard<std::mutex> lock(mutex);
    return loaded.emplace_back(std::move(api)).get();
  }
  return absl::FailedPreconditionError(
      "tables need libduckdb.so, which was not found; run scripts/setup, or set CD4ML_DUCKDB to "
      "its path "
      "(tried: " +
      (tried.empty() ? "nothing" : tried) + ")");
}

// What lies in `work_folder` beside the tables must not run out of room because of them.
int64_t DiskMax(const TableEngineOptions& options) {
  if (options.disk_max > 0) return options.disk_max;
  std::error_code error;
  const std::filesystem::space_info space = std::filesystem::space(options.work_folder, error);
  return error ? int64_t{1} << 30 : static_cast<int64_t>(space.available / 2);
}

std::string FirstLine(const char* error) {
  const std::string_view text(error == nullptr ? "unknown error" : error);
  return std::string(text.substr(0, text.find('\n')));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Database>> Database::Open(const TableEngineOptions& options) {
  CD4ML_ASSIGN_OR_RETURN(const DuckDbApi* api, Load(options.libraries));
  std::unique_ptr<Database> database(new Database(*api, options));
  const std::pair<const char*, std::string> settings[] = {
      {"memory_limit", std::to_string(options.memory_max) + "B"},
      {"threads", std::to_string(options.threads)},
      {"temp_directory", options.work_folder},
      {"autoinstall_known_extensions", "false"},
      {"autoload_known_extensions", "false"},
      {"allow_community_extensions", "false"},
      {"allow_unsigned_extensions", "false"},
      {"preserve_insertion_order", "true"},
      {"ieee_floating_point_ops", "false"},   // A division by zero is NULL.
  };
  void* config = nullptr;
  CD4ML_CHECK(api->create_config(&config) == kSuccess, "out of memory");
  std::string refused;
  for (const auto& [name, value] : settings) {
    if (api->set_config(config, name, value.c_str()) != kSuccess)
      refused = std::string(name) + " = " + value;
  }
  char* error = nullptr;
  const bool opened =
      refused.empty() && api->open_ext(nullptr, &database->database_, config, &error) == kSuccess;
  const std::string reason = refused.empty() ? FirstLine(error) : "it refuses " + refused;
  if (error != nullptr) api->free(error);
  api->destroy_config(&config);
  if (!opened) return absl::FailedPreconditionError("the table library cannot be used: " + reason);
  if (api->connect(database->database_, &database->connection_) != kSuccess) {
    return absl::InternalError("the table library gives no connection");
  }
  // Only of an open database are these heard.
  CD4ML_RETURN_IF_ERROR(database->Execute("SET TimeZone = 'UTC'"));
  database->disk_max_ = DiskMax(options);
  CD4ML_RETURN_IF_ERROR(database->Execute("SET max_temp_directory_size = '" + std::to_string(database->disk_max_) + "B'"));
  return database;
}

Database::~Database() {
  on_stop_.reset();
  interrupter_ = {};
  if (connection_ != nullptr) api_.disconnect(&connection_);
  if (database_ != nullptr) api_.close(&database_);
  std::error_code error;
  if (!disk_folder_.empty()) std::filesystem::remove_all(disk_folder_, error);
}

absl::Status Database::CheckDisk() const {
  std::error_code error;
  if (disk_folder_.empty()) return absl::OkStatus();
  const auto size = static_cast<int64_t>(std::filesystem::file_size(disk_folder_ + "/tables", error));
  if (error || size <= disk_max_) return absl::OkStatus();
  return absl::ResourceExhaustedError("they take more than " + FormatSize(disk_max_) + " of the disk");
}

absl::Status Database::KeepOnDisk() {
  if (!disk_folder_.empty()) return absl::OkStatus();
  std::string folder = options_.work_folder + "/tables-XXXXXX";
  if (mkdtemp(folder.data()) == nullptr) return absl::InternalError("no folder can be made in " + options_.work_folder);
  disk_folder_ = folder;
  CD4ML_RETURN_IF_ERROR(Execute("ATTACH " + Literal(folder + "/tables") + " AS disk"));
  return Execute("SET search_path = 'disk.main,memory.main'");   // The first is where tables are made.
}

void Database::SetStop(std::stop_token stop) {
  stop_ = std::move(stop);
  on_stop_.emplace(stop_, [this] { interrupter_ = std::jthread([this](std::stop_token ended) { Interrupt(ended); }); });
}

void Database::Interrupt(std::stop_token ended) {
  constexpr std::chrono::milliseconds kAgain{50};
  std::unique_lock lock(mutex_);
  while (!ended.stop_requested()) {
    api_.interrupt(connection_);
    ended_.wait_for(lock, ended, kAgain, [] { return false; });
  }
}

absl::Status Database::Stopped() const {
  return stop_.stop_requested() ? absl::CancelledError("it was stopped before it was done") : absl::OkStatus();
}

absl::Status Database::Run(const std::string& sql, Result& result) {
  CD4ML_RETURN_IF_ERROR(Stopped());
  if (sql.find('\0') != std::string::npos)
    return absl::InvalidArgumentError("a zero byte in a name or rule");
  if (api_.query(connection_, sql.c_str(), &result) == kSuccess) return absl::OkStatus();
  CD4ML_RETURN_IF_ERROR(Stopped());
  const std::string error = FirstLine(api_.result_error(&result));
  // It has run out of memory, and does nothing more.
  if (error.starts_with("FATAL Error")) return absl::ResourceExhaustedError(error);
  return absl::InvalidArgumentError(error);
}

absl::Status Database::Execute(const std::string& sql) {
  Result result{};
  const absl::Status status = Run(sql, result);
  api_.destroy_result(&result);
  return status;
}

absl::StatusOr<std::vector<Row>> Database::Query(const std::string& select) {
  Result result{};
  const absl::Status status = Run(select, result);
  std::vector<Row> rows;
  if (status.ok()) ReadRows(result, rows);
  api_.destroy_result(&result);
  if (!status.ok()) return status;
  return rows;
}

void Database::ReadRows(const Result& result, std::vector<Row>& rows) {
  while (void* chunk = api_.fetch_chunk(result)) {
    const size_t first = rows.size();
    rows.resize(first + api_.data_chunk_get_size(chunk),
                Row(api_.data_chunk_get_column_count(chunk)));
    for (size_t column = 0; first < rows.size() && column < rows[first].size(); ++column) {
      void* vector = api_.data_chunk_get_vector(chunk, column);
      const void* data = api_.vector_get_data(vector);
      const uint64_t* valid = api_.vector_get_validity(vector);
      const int type = api_.column_type(const_cast<Result*>(&result), column);
      for (size_t i = 0; i + first < rows.size(); ++i) {
        if (valid == nullptr || (valid[i / 64] >> (i % 64) & 1) != 0)
          rows[first + i][column] = ReadText(type, data, i);
      }
    }
    api_.destroy_data_chunk(&chunk);
  }
}

absl::StatusOr<std::vector<ColumnData>> Database::QueryColumns(const std::string& select) {
  Result result{};
  const absl::Status status = Run(select, result);
  std::vector<ColumnData> columns;
  if (status.ok()) ReadColumns(result, columns);
  api_.destroy_result(&result);
  if (!status.ok()) return status;
  return columns;
}

void Database::ReadColumns(const Result& result, std::vector<ColumnData>& columns) {
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };
  std::vector<std::unordered_map<std::string, uint32_t, Hash, std::equal_to<>>> known;
  while (void* chunk = api_.fetch_chunk(result)) {
    columns.resize(api_.data_chunk_get_column_count(chunk));
    known.resize(columns.size());
    const size_t rows = api_.data_chunk_get_size(chunk);
    for (size_t i = 0; i < columns.size(); ++i) {
      ColumnData& column = columns[i];
      void* vector = api_.data_chunk_get_vector(chunk, i);
      const void* data = api_.vector_get_data(vector);
      const uint64_t* valid = api_.vector_get_validity(vector);
      const auto is_null = [valid](size_t row) { return valid != nullptr && (valid[row / 64] >> (row % 64) & 1) == 0; };
      if (api_.column_type(const_cast<Result*>(&result), i) == kTypeDouble) {
        for (size_t row = 0; row < rows; ++row)
          column.numbers.push_back(is_null(row) ? std::nan("") : static_cast<const double*>(data)[row]);
        continue;
      }
      for (size_t row = 0; row < rows; ++row) {
        if (is_null(row)) {
          column.codes.push_back(ColumnData::kNull);
          continue;
        }
        const std::string_view text = static_cast<const String*>(data)[row].view();
        auto found = known[i].find(text);
        if (found == known[i].end()) {
          found = known[i].emplace(text, static_cast<uint32_t>(column.texts.size())).first;
          column.texts.emplace_back(text);
        }
        column.codes.push_back(found->second);
      }
    }
    api_.destroy_data_chunk(&chunk);
  }
}

Appender::Appender(Database& database, std::string table, size_t numbers, size_t texts)
    : api_(database.api_),
      database_(database),
      table_(std::move(table)),
      columns_(numbers + texts),
      row_max_(api_.vector_size()),
      set_(columns_) {
  // When it fails, the first flush says so.
  api_.appender_create(database.connection_, nullptr, table_.c_str(), &appender_);
  void* bigint = api_.create_logical_type(kTypeBigint);
  void* varchar = api_.create_logical_type(kTypeVarchar);
  std::vector<void*> types(columns_, varchar);
  std::fill_n(types.begin(), numbers, bigint);
  chunk_ = api_.create_data_chunk(types.data(), types.size());
  if (columns_ <= kColumnsOverlapped) handed_over_ = api_.create_data_chunk(types.data(), types.size());
  api_.destroy_logical_type(&bigint);
  api_.destroy_logical_type(&varchar);
  for (size_t i = 0; i < columns_; ++i) vectors_.push_back(api_.data_chunk_get_vector(chunk_, i));
}

Appender::~Appender() {
  Write().IgnoreError();
  api_.destroy_data_chunk(&chunk_);
  if (handed_over_ != nullptr) api_.destroy_data_chunk(&handed_over_);
  api_.appender_destroy(&appender_);
}

void Appender::Set(size_t column, int64_t number) {
  static_cast<int64_t*>(api_.vector_get_data(vectors_[column]))[row_] = number;
  set_[column] = true;
}

void Appender::Set(size_t column, std::string_view text) {
  api_.unsafe_vector_assign_string_element_len(vectors_[column], row_, text.data(), text.size());
  set_[column] = true;
}

absl::Status Appender::EndRow() {
  for (size_t i = 0; i < columns_; ++i) {
    if (!set_[i]) {
      api_.vector_ensure_validity_writable(vectors_[i]);
      api_.vector_get_validity(vectors_[i])[row_ / 64] &= ~(uint64_t{1} << (row_ % 64));
    }
    set_[i] = false;
  }
  return ++row_ < row_max_ ? absl::OkStatus() : Flush();
}

absl::Status Appender::Flush() {
  CD4ML_RETURN_IF_ERROR(database_.Stopped());
  if (absl::Status fits = database_.CheckDisk(); !fits.ok()) return Annotate(fits, "the rows cannot be kept");
  api_.data_chunk_set_size(chunk_, row_);
  CD4ML_RETURN_IF_ERROR(Write());
  const auto append = [this, chunk = chunk_] {
    if (api_.append_data_chunk(appender_, chunk) != kSuccess) return Failed();
    api_.data_chunk_reset(chunk);
    return absl::OkStatus();
  };
  if (handed_over_ == nullptr) {
    CD4ML_RETURN_IF_ERROR(append());
  } else {
    written_ = std::async(std::launch::async, append);
    std::swap(chunk_, handed_over_);
  }
  // Resetting may move the data.
  for (size_t i = 0; i < columns_; ++i) vectors_[i] = api_.data_chunk_get_vector(chunk_, i);
  row_ = 0;
  return absl::OkStatus();
}

absl::Status Appender::Write() { return written_.valid() ? written_.get() : absl::OkStatus(); }

absl::Status Appender::Finish() {
  CD4ML_RETURN_IF_ERROR(Flush());
  CD4ML_RETURN_IF_ERROR(Write());
  return api_.appender_close(appender_) == kSuccess ? absl::OkStatus() : Failed();
}

absl::Status Appender::Failed() const {
  return absl::ResourceExhaustedError("the rows cannot be kept: " +
                                      FirstLine(api_.appender_error(appender_)));
}

std::string Literal(std::string_view text) {
  std::string quoted = "'";
  for (const char c : text) quoted.append(c == '\'' ? 2 : 1, c);
  return quoted + "'";
}

std::string Identifier(std::string_view name) {
  std::string quoted = "\"";
  for (const char c : name) quoted.append(c == '"' ? 2 : 1, c);
  return quoted + "\"";
}

std::string Literal(double number) { return "'" + ExactText(number) + "'::DOUBLE"; }

std::vector<std::string> LibraryCandidates(const std::string& explicit_path,
                                           const std::string& program_folder) {
  if (!explicit_path.empty()) return {explicit_path};
  std::vector<std::string> candidates;
  for (std::string folder = program_folder; !folder.empty(); folder.resize(folder.rfind('/'))) {
    candidates.push_back(folder + "/.third_party/duckdb/" + kVersion + "/libduckdb.so");
    if (folder.find('/') == std::string::npos) break;
  }
  candidates.push_back(program_folder + "/libduckdb.so");
  candidates.push_back("libduckdb.so");
  return candidates;
}

}  // namespace cd4ml::table
