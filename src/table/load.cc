// Finds the files of a source, tells their format, and appends their rows with line numbers.
#include "table/load.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>

#include "cd4ml/base/status.h"
#include "cd4ml/base/text.h"
#include "table/records.h"

namespace cd4ml::table {
namespace {

namespace fs = std::filesystem;

enum class Format { kCsv, kTsv, kLines, kArray, kParquet };

constexpr size_t kRawMax = 1000;
constexpr size_t kArrayBytesMax = size_t{256} << 20;

std::string LowerEnding(const fs::path& path) {
  std::string ending = path.extension();
  for (char& c : ending) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return ending;
}

std::optional<Format> FormatOfEnding(fs::path path) {
  if (LowerEnding(path) == ".gz") path.replace_extension();
  const std::string ending = LowerEnding(path);
  if (ending == ".csv" || ending == ".txt") return Format::kCsv;
  if (ending == ".tsv") return Format::kTsv;
  if (ending == ".jsonl" || ending == ".ndjson") return Format::kLines;
  if (ending == ".json") return Format::kArray;
  if (ending == ".parquet") return Format::kParquet;
  return std::nullopt;
}

// A file may have any name, above all as a material: then its first bytes tell.
Format FormatOf(const fs::path& path) {
  if (const std::optional<Format> format = FormatOfEnding(path)) return *format;
  char head[4] = {};
  std::ifstream(path, std::ios::binary).read(head, sizeof head);
  const std::string_view text(head, sizeof head);
  if (text == "PAR1") return Format::kParquet;
  return text[0] == '{' ? Format::kLines : text[0] == '[' ? Format::kArray : Format::kCsv;
}

// Returns why an entry of a folder cannot be passed over although it is no file, or "".
std::string WhyNotPassedOver(const fs::directory_entry& entry) {
  std::error_code error;
  const std::string name = "\"" + entry.path().filename().string() + "\"";
  const bool is_link = entry.is_symlink(error);
  if (entry.is_directory(error)) return is_link ? name + " is a link to a folder, which is not followed" : "";
  if (!FormatOfEnding(entry.path())) return "";
  return name + (is_link ? " is a link that leads to no file" : " is neither a file nor a folder");
}

absl::StatusOr<std::vector<fs::path>> FilesOf(const fs::path& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (error && error != std::errc::no_such_file_or_directory)
    return absl::InvalidArgumentError("\"" + path.string() + "\" cannot be looked at: " + error.message());
  if (!fs::exists(status))
    return absl::InvalidArgumentError("there is no file \"" + path.string() + "\"");
  if (fs::is_regular_file(status)) return std::vector<fs::path>{path};
  if (!fs::is_directory(status))
    return absl::InvalidArgumentError("\"" + path.string() + "\" is neither a file nor a folder");
  std::vector<fs::path> files;
  std::string other;   // The first file that is none of a table by its name.
  fs::recursive_directory_iterator entry(path, error);
  for (; !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
    const bool hidden = entry->path().filename().native().starts_with(".");
    std::error_code ignored;   // A link that leads nowhere is no reason to stop, but has to be said.
    if (hidden && entry->is_directory(ignored)) entry.disable_recursion_pending();
    if (hidden) continue;
    if (!entry->is_regular_file(ignored)) {
      if (const std::string why = WhyNotPassedOver(*entry); !why.empty())
        return absl::InvalidArgumentError("\"" + path.string() + "\": " + why);
    } else if (FormatOfEnding(entry->path())) {
      files.push_back(entry->path());
    } else if (entry->path().filename() != "_SUCCESS" && other.empty()) {   // As Spark marks a folder that is whole.
      other = entry->path().lexically_relative(path).string();
    }
  }
  if (error)
    return absl::InvalidArgumentError("\"" + path.string() +
                                      "\" cannot be listed: " + error.message());
  if (files.empty()) {
    return absl::InvalidArgumentError("\"" + path.string() +
                                      "\" holds no table (.csv .tsv .txt .jsonl .ndjson .json "
                                      ".parquet, also with .gz)");
  }
  if (!other.empty()) {
    return absl::InvalidArgumentError("\"" + path.string() + "\" also holds \"" + other +
                                      "\", which its name does not tell to be a table; rename it (.csv .tsv .txt .jsonl .ndjson "
                                      ".json .parquet, also with .gz) or keep it elsewhere");
  }
  std::sort(files.begin(), files.end());
  return files;
}

// Returns how many bytes of text are read from the files; of a compressed one about as many. Parquet is read in place.
int64_t TextBytes(const std::vector<fs::path>& files) {
  constexpr int64_t kOfCompressed = 8;
  int64_t bytes = 0;
  for (const fs::path& file : files) {
    std::error_code error;
    const auto size = static_cast<int64_t>(fs::file_size(file, error));
    if (!error && FormatOf(file) != Format::kParquet) bytes += LowerEnding(file) == ".gz" ? kOfCompressed * size : size;
  }
  return bytes;
}

// Writes rows into a table whose columns may still grow. Rows of another width go into a part of their own: appending again
// to a table that has rows takes 256 KiB for each of its columns.
class TableWriter {
 public:
  TableWriter(Database& database, Table& table) : database_(database), table_(table) {}
  ~TableWriter() {
    appender_.reset();
    for (size_t i = 1; i < rooms_.size(); ++i) database_.Execute("DROP TABLE IF EXISTS " + PartName(i)).IgnoreError();
  }
  TableWriter(const TableWriter&) = delete;
  TableWriter& operator=(const TableWriter&) = delete;

  // Before there are rows, the table is made anew. Later a part gets room for twice as many: a file may bring a new column in
  // every line.
  absl::Status AddColumns(const std::vector<std::string>& names) {
    if (table_.columns.size() + names.size() > kColumnsMax) {
      return absl::InvalidArgumentError("more than " + std::to_string(kColumnsMax) + " columns");
    }
    if (!single_) CD4ML_RETURN_IF_ERROR(single_.emplace(database_).status());
    table_.columns.insert(table_.columns.end(), names.begin(), names.end());
    if (table_.columns.size() <= rooms_.back()) return absl::OkStatus();
    CD4ML_RETURN_IF_ERROR(Finish());
    if (written_) {
      rooms_.push_back(std::min(kColumnsMax, std::max(table_.columns.size(), 2 * rooms_.back())));
    } else {
      rooms_.back() = table_.columns.size();
    }
    std::string columns = "file BIGINT, line BIGINT, bad VARCHAR";
    for (size_t i = 0; i < rooms_.back(); ++i) columns += ", c" + std::to_string(i) + " VARCHAR";
    return database_.Execute("CREATE OR REPLACE TABLE " + PartName(rooms_.size() - 1) + " (" + columns + ")");
  }

  void BeginRow(int64_t line) {
    if (!appender_) {
      appender_ = std::make_unique<Appender>(database_, PartName(rooms_.size() - 1), /*numbers=*/2, 1 + rooms_.back());
    }
    written_ = true;
    appender_->Set(0, static_cast<int64_t>(table_.files.size()) - 1);
    appender_->Set(1, line);
  }
  void Set(size_t column, std::string_view text) {
    if (!text.empty()) appender_->Set(kHiddenColumns + column, text);
  }
  absl::Status EndRow() { return appender_->EndRow(); }
  absl::Status AddBadRow(int64_t line, const std::string& problem, std::string_view raw) {
    BeginRow(line);
    appender_->Set(2, problem + ": " + Clip(raw, kRawMax));
    return EndRow();
  }

  // Writes what is left, and makes one table of all parts.
  absl::Status Close() {
    CD4ML_RETURN_IF_ERROR(Finish());
    if (rooms_.size() == 1) return absl::OkStatus();
    std::string selects;
    for (size_t part = 0; part < rooms_.size(); ++part) {
      selects += std::string(part == 0 ? "" : " UNION ALL ") + "SELECT file, line, bad";
      for (size_t i = 0; i < table_.columns.size(); ++i)
        selects += (i < rooms_[part] ? ", c" : ", CAST(NULL AS VARCHAR) AS c") + std::to_string(i);
      selects += " FROM " + PartName(part);
    }
    const std::string whole = table_.sql + "_whole";
    CD4ML_RETURN_IF_ERROR(database_.Execute("CREATE TABLE " + whole + " AS " + selects));
    CD4ML_RETURN_IF_ERROR(database_.Execute("DROP TABLE " + table_.sql));
    return database_.Execute("ALTER TABLE " + whole + " RENAME TO " + table_.sql);
  }

 private:
  std::string PartName(size_t part) const { return part == 0 ? table_.sql : table_.sql + "_" + std::to_string(part); }
  absl::Status Finish() {
    if (!appender_) return absl::OkStatus();
    const absl::Status status = appender_->Finish();
    appender_.reset();
    return status;
  }

  Database& database_;
  Table& table_;
  // While one thread reads the file, one appends. Of more, each would have its own rows of every column in memory, and the one
  // that waits for another keeps a processor busy.
  std::optional<SingleThread> single_;
  std::unique_ptr<Appender> appender_;
  std::vector<size_t> rooms_{0};   // By part, the columns that it has; those behind `table_.columns` are not used yet.
  bool written_ = false;
};

// Loads one source. The members are what its files share.
class Loader {
 public:
  Loader(Database& database, const TableSource& source, Table& table)
      : database_(database),
        csv_(source.csv.value_or(core::CsvFormat())),
        table_(table),
        writer_(database, table) {}

  absl::Status LoadFile(const fs::path& path) {
    first_ = table_.files.empty();
    table_.files.push_back(path.filename());
    const Format format = FormatOf(path);
    if (!first_ && format != format_)
      return absl::InvalidArgumentError("is of another format than " + table_.files[0]);
    format_ = format;
    if (format == Format::kParquet) return LoadParquet(path);
    CD4ML_ASSIGN_OR_RETURN(TextFile file, TextFile::Open(path, csv_.encoding));
    RecordReader reader(std::move(file), /*delimiter=*/0);
    CD4ML_ASSIGN_OR_RETURN(const std::string_view sample, reader.Peek(64 << 10));
    const size_t start = sample.find_first_not_of(" \t\r\n");
    if (start == std::string_view::npos) return absl::InvalidArgumentError("is empty");
    if (format == Format::kLines || (format == Format::kArray && sample[start] == '{'))
      return LoadLines(reader);
    if (format == Format::kArray) return LoadArray(reader);
    reader.set_delimiter(!csv_.delimiter.empty()  ? csv_.delimiter[0]
                         : format == Format::kTsv ? '\t'
                                                  : SniffDelimiter(sample));
    return LoadCsv(reader);
  }

  // Ends the table. It is what its Parquet files say, where it is made of such: they are read where and when a rule asks for
  // some of their columns, which is quicker than to copy all of them.
  absl::Status Close() {
    if (parquet_.empty()) return writer_.Close();
    for (const std::string& type : parquet_types_) table_.natives.push_back(NativeOf(type));
    std::string selects;
    for (size_t i = 0; i < parquet_.size(); ++i) selects += (i == 0 ? "" : " UNION ALL ") + SelectOf(parquet_[i], i);
    CD4ML_RETURN_IF_ERROR(database_.Execute("DROP TABLE " + table_.sql));
    table_.is_view = true;
    return database_.Execute("CREATE VIEW " + table_.sql + " AS " + selects);
  }

 private:
  struct ParquetFile {
    std::string literal;              // The path in SQL.
    std::vector<std::string> names;   // Of its columns, in the table's order.
  };
  static constexpr char kUnknownType[] = "?";

  absl::Status LoadCsv(RecordReader& reader) {
    Record record;
    CD4ML_RETURN_IF_ERROR(reader.Next(record).status());
    if (!record.problem.empty()) {
      return absl::InvalidArgumentError("line " + std::to_string(record.line) + ": " +
                                        record.problem);
    }
    if (first_) header_ = csv_.header.value_or(LooksLikeHeader(record.fields));
    if (!header_ && !csv_.header) table_.hint = "; line 1 was taken for a row, since a field begins with a digit: csv: {header: true} makes it names";
    CD4ML_RETURN_IF_ERROR(TakeColumns(record.fields));
    bool more = true;
    if (header_) {
      CD4ML_ASSIGN_OR_RETURN(more, reader.Next(record));
    }
    while (more) {
      // In a table of one column, that is an empty value.
      for (int64_t line = targets_.size() == 1 ? record.line - record.blank : record.line; line < record.line; ++line) {
        writer_.BeginRow(line);
        CD4ML_RETURN_IF_ERROR(writer_.EndRow());
      }
      CD4ML_RETURN_IF_ERROR(AddRecord(record));
      CD4ML_ASSIGN_OR_RETURN(more, reader.Next(record));
    }
    return absl::OkStatus();
  }

  absl::Status AddRecord(const Record& record) {
    if (!record.problem.empty()) return writer_.AddBadRow(record.line, record.problem, record.raw);
    if (record.fields.size() != targets_.size()) {
      return writer_.AddBadRow(record.line,
                               std::to_string(record.fields.size()) + " of " +
                                   std::to_string(targets_.size()) + " fields",
                               record.raw);
    }
    writer_.BeginRow(record.line);
    for (size_t i = 0; i < targets_.size(); ++i) writer_.Set(targets_[i], record.fields[i]);
    return writer_.EndRow();
  }

  // Makes the columns of the first file, and finds those of the others in them.
  absl::Status TakeColumns(const std::vector<std::string_view>& fields) {
    std::vector<std::string> names;
    for (size_t i = 0; i < fields.size(); ++i) {
      names.push_back(header_ && !fields[i].empty() ? std::string(fields[i])
                                                    : "column" + std::to_string(i + 1));
    }
    return MatchColumns(names);
  }

  absl::Status MatchColumns(const std::vector<std::string>& names) {
    const std::set<std::string> distinct(names.begin(), names.end());
    for (size_t i = 0; i < names.size() && distinct.size() < names.size(); ++i) {
      const auto again =
          std::find(names.begin() + static_cast<ptrdiff_t>(i) + 1, names.end(), names[i]);
      if (again == names.end()) continue;
      return absl::InvalidArgumentError("line 1: columns " + std::to_string(i + 1) + " and " +
                                        std::to_string(again - names.begin() + 1) +
                                        " are both named \"" + names[i] + "\"");
    }
    if (first_) CD4ML_RETURN_IF_ERROR(writer_.AddColumns(names));
    targets_.clear();
    for (const std::string& name : names) {
      const auto found = std::find(table_.columns.begin(), table_.columns.end(), name);
      if (found == table_.columns.end()) {
        return absl::InvalidArgumentError("has a column \"" + name + "\", which " +
                                          table_.files[0] + " has not");
      }
      targets_.push_back(static_cast<size_t>(found - table_.columns.begin()));
    }
    for (const std::string& column : table_.columns) {
      if (!distinct.contains(column)) {
        return absl::InvalidArgumentError("has no column \"" + column + "\", which " +
                                          table_.files[0] + " has");
      }
    }
    return absl::OkStatus();
  }

  absl::Status LoadLines(RecordReader& reader) {
    Record record;
    while (true) {
      CD4ML_ASSIGN_OR_RETURN(const bool more, reader.Next(record));
      if (!more) break;
      const absl::StatusOr<Value> value = record.problem.empty()
                                              ? ParseJson(record.raw)
                                              : absl::InvalidArgumentError(record.problem);
      const std::string problem = !value.ok()
                                      ? (record.problem.empty() ? "not valid JSON" : record.problem)
                                  : value->is_map() ? ""
                                                    : "no JSON object";
      if (problem.empty()) {
        CD4ML_RETURN_IF_ERROR(AddObject(record.line, value->map()));
      } else {
        if (json_problem_.empty())
          json_problem_ = "line " + std::to_string(record.line) + ": " + problem;
        CD4ML_RETURN_IF_ERROR(writer_.AddBadRow(record.line, problem, record.raw));
      }
    }
    if (table_.columns.empty())
      return absl::InvalidArgumentError("holds no table: " + (json_problem_.empty() ? "its objects are empty" : json_problem_));
    return absl::OkStatus();
  }

  absl::Status LoadArray(RecordReader& reader) {
    CD4ML_ASSIGN_OR_RETURN(const std::string_view text, reader.Peek(kArrayBytesMax + 1));
    if (text.size() > kArrayBytesMax) {
      return absl::InvalidArgumentError(
          "is a JSON array of more than 256 MiB; write one object per line (.jsonl)");
    }
    CD4ML_ASSIGN_OR_RETURN(const Value value, ParseJson(text));
    if (!value.is_list()) return absl::InvalidArgumentError("is no JSON array of objects");
    table_.row_word = "row";
    int64_t row = 0;
    for (const Value& item : value.list()) {
      ++row;
      CD4ML_RETURN_IF_ERROR(item.is_map() ? AddObject(row, item.map())
                                          : writer_.AddBadRow(row, "no JSON object", ToJson(item)));
    }
    if (table_.columns.empty()) return absl::InvalidArgumentError("holds no JSON objects");
    return absl::OkStatus();
  }

  absl::Status AddObject(int64_t line, const Value::Map& object) {
    std::vector<std::string> added;
    for (const auto& [key, value] : object) {
      if (json_columns_.emplace(key, json_columns_.size()).second) added.push_back(key);
    }
    if (!added.empty()) CD4ML_RETURN_IF_ERROR(writer_.AddColumns(added));
    for (const auto& [key, value] : object) {
      if (value.is_string() && value.string().find('\0') != std::string::npos) {
        return writer_.AddBadRow(line, "a zero byte in \"" + key + "\"", ToJson(Value(object)));
      }
    }
    writer_.BeginRow(line);
    for (const auto& [key, value] : object) {
      if (!value.is_null()) writer_.Set(json_columns_.at(key), ToText(value));
    }
    return writer_.EndRow();
  }

  absl::Status LoadParquet(const fs::path& path) {
    table_.row_word = "row";
    const std::string file = ParquetPattern(path.string());
    CD4ML_ASSIGN_OR_RETURN(
        const std::vector<Row> described,
        database_.Query("SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM read_parquet(" + file +
                        "))"));
    std::vector<std::string> names;
    for (const Row& row : described) names.push_back(row[0].value_or(""));
    CD4ML_RETURN_IF_ERROR(MatchColumns(names));
    ParquetFile& added = parquet_.emplace_back(ParquetFile{file, std::vector<std::string>(names.size())});
    parquet_types_.resize(names.size(), described.empty() ? "" : kUnknownType);
    for (size_t i = 0; i < names.size(); ++i) {
      added.names[targets_[i]] = names[i];
      // Where two files disagree, only the text is the same kind of thing.
      std::string& type = parquet_types_[targets_[i]];
      const std::string own = described[i][1].value_or("");
      type = type == kUnknownType || type == own ? own : "";
    }
    return absl::OkStatus();
  }

  static Native NativeOf(const std::string& type) {
    for (const char* integer : {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"}) {
      if (type == integer) return Native::kInteger;
    }
    if (type == "DOUBLE") return Native::kNumber;
    return type == "TIMESTAMP" ? Native::kTime : Native::kText;
  }

  std::string SelectOf(const ParquetFile& file, size_t number) const {
    std::string select = "SELECT CAST(" + std::to_string(number) +
                         " AS BIGINT) AS file, file_row_number + 1 AS line, CAST(NULL AS VARCHAR) AS bad";
    for (size_t i = 0; i < file.names.size(); ++i) {
      const std::string name = Identifier(file.names[i]);
      select += ", nullif(CAST(" + name + " AS VARCHAR), '') AS c" + std::to_string(i);
      if (table_.natives[i] != Native::kText) select += ", " + name + " AS n" + std::to_string(i);
    }
    return select + " FROM read_parquet(" + file.literal + ", file_row_number = true)";
  }

  Database& database_;
  const core::CsvFormat csv_;
  Table& table_;
  TableWriter writer_;
  bool first_ = true;
  bool header_ = true;
  Format format_ = Format::kCsv;
  std::vector<size_t> targets_;  // Where the n-th field of this file's rows goes.
  std::map<std::string, size_t> json_columns_;
  std::string json_problem_;
  std::vector<ParquetFile> parquet_;
  std::vector<std::string> parquet_types_;  // By column of the table; empty where files differ.
};

absl::Status TakeStatedTypes(const core::CsvFormat& csv, Table& table) {
  static const std::map<std::string, core::ColumnType> kTypes = {
      {"int", core::ColumnType::kInt},   {"float", core::ColumnType::kFloat},
      {"text", core::ColumnType::kText}, {"bool", core::ColumnType::kBool},
      {"date", core::ColumnType::kDate}, {"timestamp", core::ColumnType::kTimestamp}};
  for (const auto& [column, type] : csv.columns) {
    if (const auto sql = table.Column(column); !sql.ok())
      return absl::InvalidArgumentError(Message(sql.status()));
    const auto found = kTypes.find(type);
    if (found == kTypes.end()) {
      return absl::InvalidArgumentError("column \"" + column + "\" has the unknown type \"" + type +
                                        "\"; known are int, float, text, bool, date and timestamp");
    }
    table.stated[column] = found->second;
  }
  return absl::OkStatus();
}

}  // namespace

std::string ParquetPattern(std::string_view path) {
  std::string pattern;
  for (const char c : path) {
    pattern += std::string_view("*?[").find(c) == std::string_view::npos ? std::string(1, c) : std::string("[") + c + "]";
  }
  return Literal(pattern);
}

absl::StatusOr<Table> LoadTable(Database& database, const TableSource& source, std::string sql) {
  Table table;
  table.name = source.name;
  table.sql = std::move(sql);
  if (source.csv && source.csv->delimiter.size() > 1) {
    return absl::InvalidArgumentError("the delimiter \"" + source.csv->delimiter +
                                      "\" is not one character");
  }
  CD4ML_ASSIGN_OR_RETURN(const std::vector<fs::path> files, FilesOf(source.path));
  // In memory it takes more than twice as much as in the file.
  if (TextBytes(files) > 2 * database.memory_max()) CD4ML_RETURN_IF_ERROR(database.KeepOnDisk());
  CD4ML_RETURN_IF_ERROR(
      database.Execute("CREATE TABLE " + table.sql + " (file BIGINT, line BIGINT, bad VARCHAR)"));
  Loader loader(database, source, table);
  for (const fs::path& file : files) {
    absl::Status loaded = loader.LoadFile(file);
    if (loaded.ok() && file == files.back()) loaded = loader.Close();
    if (loaded.ok()) continue;
    // Whatever the engine says about a file is about its content, except that there is no room for
    // it.
    const std::string message = file.filename().string() + ": " + Message(loaded);
    if (absl::IsResourceExhausted(loaded)) return absl::ResourceExhaustedError(message);
    return absl::InvalidArgumentError(message);
  }
  if (source.csv) CD4ML_RETURN_IF_ERROR(TakeStatedTypes(*source.csv, table));
  CD4ML_ASSIGN_OR_RETURN(const std::vector<Row> counts,
                         database.Query("SELECT count(*), count(bad) FROM " + table.sql));
  table.rows = std::stoll(*counts[0][0]);
  table.bad_rows = std::stoll(*counts[0][1]);
  return table;
}

}  // namespace cd4ml::table
