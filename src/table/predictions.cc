// From a file of predictions to columns: numbers, labels, slices, groups.
#include "table/predictions.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "cd4ml/base/status.h"
#include "cd4ml/base/text.h"
#include "cd4ml/core/gate.h"
#include "cd4ml/core/gate.h"
#include "table/load.h"

namespace cd4ml::table {
namespace {

using core::Predictions;
using core::PredictionTask;

// How a file's columns are called in SQL.
struct Columns {
  std::string from;                           // What stands after FROM.
  std::map<std::string, std::string> text;    // By name: expressions of type VARCHAR …
  std::map<std::string, std::string> number;  // … and of type DOUBLE, NULL where there is no finite number.
};

bool IsNumeric(std::string_view type) {
  for (const std::string_view known : {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT",
                                       "UINTEGER", "UBIGINT", "UHUGEINT", "FLOAT", "DOUBLE"}) {
    if (type == known) return true;
  }
  return type.starts_with("DECIMAL");
}

// Numbers of a Parquet file are taken as they are, without a way over text.
absl::StatusOr<Columns> OfParquet(Database& database, const std::string& path) {
  Columns columns;
  columns.from = "read_parquet(" + ParquetPattern(path) + ")";
  CD4ML_ASSIGN_OR_RETURN(
      const std::vector<Row> described,
      database.Query("SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM " + columns.from + ")"));
  for (const Row& row : described) {
    const std::string name = row[0].value_or(""), type = row[1].value_or(""), sql = Identifier(name);
    const std::string text = "nullif(CAST(" + sql + " AS VARCHAR), '')";
    columns.text[name] = text;
    columns.number[name] = IsNumeric(type)     ? "CAST(" + sql + " AS DOUBLE)"
                           : type == "BOOLEAN" ? "CAST(CAST(" + sql + " AS INTEGER) AS DOUBLE)"
                                               : "cd4ml_number(" + text + ")";
  }
  return columns;
}

absl::StatusOr<Columns> OfTable(Database& database, const std::string& path, const std::string& sql) {
  CD4ML_ASSIGN_OR_RETURN(const Table table,
                         LoadTable(database, {.name = "predictions", .path = path, .csv = std::nullopt}, sql));
  Columns columns;
  columns.from = table.sql;
  for (const std::string& name : table.columns) {
    CD4ML_ASSIGN_OR_RETURN(const std::string column, table.Column(name));
    columns.text[name] = column;
    columns.number[name] = "cd4ml_number(" + column + ")";
  }
  return columns;
}

// "1.0" and "1" are one label: a column of whole numbers with a gap in it comes as floats.
std::string Label(std::string_view text) {
  const size_t dot = text.find('.');
  const size_t first = text.starts_with('-') ? 1 : 0;
  const bool is_whole = dot != std::string_view::npos && dot > first && dot + 1 < text.size() &&
                        text.find_first_not_of("0123456789", first) == dot &&
                        text.find_first_not_of('0', dot + 1) == std::string_view::npos;
  return std::string(is_whole ? text.substr(0, dot) : text);
}

bool IsUsualPositive(std::string_view label) { return label == "1" || label == "true" || label == "True"; }

// Asks for columns first, all at once, and then takes them in the same order.
class Reader {
 public:
  Reader(Database& database, const Columns& columns, const core::PredictionsSpec& spec)
      : database_(database), columns_(columns), spec_(spec), is_labels_(spec.task == PredictionTask::kClassification) {}

  absl::StatusOr<Predictions> Read() {
    out_.task = spec_.task;
    CD4ML_RETURN_IF_ERROR(Ask(spec_.truth, is_labels_));
    CD4ML_RETURN_IF_ERROR(Ask(spec_.prediction, is_labels_));
    if (is_labels_ && !spec_.score.empty()) CD4ML_RETURN_IF_ERROR(Ask(spec_.score, false));
    if (!spec_.weight.empty()) CD4ML_RETURN_IF_ERROR(Ask(spec_.weight, false));
    if (spec_.task == PredictionTask::kRanking) CD4ML_RETURN_IF_ERROR(Ask(spec_.group, true));
    for (const std::string& slice : spec_.slices) CD4ML_RETURN_IF_ERROR(Ask(slice, true));
    AskChampion();
    CD4ML_ASSIGN_OR_RETURN(columns_read_, database_.QueryColumns("SELECT " + select_ + " FROM " + columns_.from));
    if (columns_read_.empty()) return absl::InvalidArgumentError("the predictions have no rows");
    out_.rows = std::max(columns_read_[0].numbers.size(), columns_read_[0].codes.size());
    CD4ML_RETURN_IF_ERROR(is_labels_ ? TakeLabels() : TakeNumbers());
    CD4ML_RETURN_IF_ERROR(TakeWeights());
    CD4ML_RETURN_IF_ERROR(TakeGroups());
    for (const std::string& slice : spec_.slices) TakeSlice(slice);
    TakeChampion();
    return std::move(out_);
  }

 private:
  absl::Status Ask(const std::string& column, bool as_text) {
    const std::map<std::string, std::string>& known = as_text ? columns_.text : columns_.number;
    const auto found = known.find(column);
    if (found == known.end()) {
      std::vector<std::string> names;
      std::string list;
      for (const auto& [name, sql] : known) {
        names.push_back(name);
        if (names.size() <= 20) list += (list.empty() ? "; there are: " : ", ") + name;
      }
      const std::string near = DidYouMean(column, names);
      return absl::NotFoundError("\"predictions\" has no column \"" + column + "\"" + (near.empty() ? list : near));
    }
    select_ += (select_.empty() ? "" : ", ") + found->second;
    return absl::OkStatus();
  }

  void AskChampion() {
    if (spec_.champion.empty()) return;
    absl::Status asked = Ask(spec_.champion, is_labels_);
    if (asked.ok() && is_labels_ && !spec_.champion_score.empty()) asked = Ask(spec_.champion_score, false);
    if (!asked.ok()) out_.incomparable = Message(asked) + ": " + std::string(Predictions::kNotWritten);
  }

  ColumnData& Next() { return columns_read_[next_++]; }
  // An infinity is no number to compute with.
  std::vector<double> NextNumbers() {
    std::vector<double> numbers = std::move(Next().numbers);
    for (double& number : numbers) {
      if (!std::isfinite(number)) number = core::kNoNumber;
    }
    return numbers;
  }

  absl::Status TakeNumbers() {
    out_.truth = NextNumbers();
    out_.candidate.numbers = NextNumbers();
    return absl::OkStatus();
  }

  // Numbers the labels of truth and candidate in their order.
  absl::Status TakeLabels() {
    const ColumnData truth = std::move(Next()), candidate = std::move(Next());
    for (const ColumnData* column : {&truth, &candidate}) {
      for (const std::string& text : column->texts) out_.labels.push_back(Label(text));
    }
    if (!spec_.positive.empty()) out_.labels.push_back(Label(spec_.positive));
    std::sort(out_.labels.begin(), out_.labels.end());
    out_.labels.erase(std::unique(out_.labels.begin(), out_.labels.end()), out_.labels.end());
    if (out_.labels.size() > kLabelsMax) {
      return absl::InvalidArgumentError(std::to_string(out_.labels.size()) + " labels are more than " +
                                        std::to_string(kLabelsMax) + "; is this a regression?");
    }
    out_.truth_labels = Numbered(truth);
    out_.candidate.labels = Numbered(candidate);
    FindPositive();
    if (spec_.score.empty()) return absl::OkStatus();
    if (out_.positive == core::kNoLabel) {
      return absl::InvalidArgumentError("nobody says which label the score \"" + spec_.score +
                                        "\" is of; name it by \"positive\"");
    }
    out_.candidate.scores = NextNumbers();
    return absl::OkStatus();
  }

  // Returns the number of each row's label; of one that is not known, none, and `unknown` is set.
  std::vector<int32_t> Numbered(const ColumnData& column, std::string* unknown = nullptr) const {
    std::vector<int32_t> of_code;
    for (const std::string& text : column.texts) {
      const std::string label = Label(text);
      const auto found = std::lower_bound(out_.labels.begin(), out_.labels.end(), label);
      const bool is_known = found != out_.labels.end() && *found == label;
      if (!is_known && unknown != nullptr) *unknown = label;
      of_code.push_back(is_known ? static_cast<int32_t>(found - out_.labels.begin()) : core::kNoLabel);
    }
    std::vector<int32_t> labels;
    labels.reserve(column.codes.size());
    for (const uint32_t code : column.codes)
      labels.push_back(code == ColumnData::kNull ? core::kNoLabel : of_code[code]);
    return labels;
  }

  void FindPositive() {
    const auto begin = out_.labels.begin(), end = out_.labels.end();
    const bool is_stated = !spec_.positive.empty();
    if (!is_stated && out_.labels.size() > 2) return;
    const auto found = is_stated ? std::find(begin, end, Label(spec_.positive)) : std::find_if(begin, end, IsUsualPositive);
    if (found != end) out_.positive = static_cast<int32_t>(found - begin);
  }

  absl::Status TakeWeights() {
    if (spec_.weight.empty()) return absl::OkStatus();
    out_.weights = NextNumbers();
    const auto negative = std::find_if(out_.weights.begin(), out_.weights.end(), [](double weight) { return weight < 0; });
    if (negative == out_.weights.end()) return absl::OkStatus();
    return absl::InvalidArgumentError("row " + std::to_string(negative - out_.weights.begin() + 1) + " has the weight " +
                                      core::FormatNumber(*negative) + "; weights are not negative");
  }

  absl::Status TakeGroups() {
    if (spec_.task != PredictionTask::kRanking) return absl::OkStatus();
    out_.groups = std::move(Next().codes);
    const auto without = std::count(out_.groups.begin(), out_.groups.end(), ColumnData::kNull);
    if (without == 0) return absl::OkStatus();
    return absl::InvalidArgumentError(std::to_string(without) + " rows of the predictions have no \"" + spec_.group + "\"");
  }

  void TakeSlice(const std::string& name) {
    ColumnData column = std::move(Next());
    const bool has_empty = std::find(column.codes.begin(), column.codes.end(), ColumnData::kNull) != column.codes.end();
    std::vector<uint32_t> order;
    for (uint32_t i = 0; i < column.texts.size(); ++i) order.push_back(i);
    std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return column.texts[a] < column.texts[b]; });
    core::SliceColumn slice{.name = name, .values = {}, .of_row = {}};
    if (has_empty) slice.values.push_back("(empty)");
    std::vector<uint32_t> of_code(order.size());
    for (const uint32_t code : order) {
      of_code[code] = static_cast<uint32_t>(slice.values.size());
      slice.values.push_back(std::move(column.texts[code]));
    }
    slice.of_row.reserve(column.codes.size());
    for (const uint32_t code : column.codes) slice.of_row.push_back(code == ColumnData::kNull ? 0 : of_code[code]);
    out_.slices.push_back(std::move(slice));
  }

  void TakeChampion() {
    if (spec_.champion.empty() || !out_.incomparable.empty()) return;
    core::Answers champion;
    int64_t missing = 0;
    const auto count_missing = [&](const std::vector<double>& numbers) {
      missing += std::count_if(numbers.begin(), numbers.end(), [](double number) { return std::isnan(number); });
    };
    if (is_labels_) {
      std::string unknown;
      champion.labels = Numbered(std::move(Next()), &unknown);
      missing += std::count(champion.labels.begin(), champion.labels.end(), core::kNoLabel);
      if (!unknown.empty()) {
        out_.incomparable = "the champion answers \"" + unknown +
                            "\", which is no label of truth or prediction: it knows other labels";
        return;
      }
      if (!spec_.champion_score.empty()) {
        champion.scores = NextNumbers();
        count_missing(champion.scores);
      }
    } else {
      champion.numbers = NextNumbers();
      count_missing(champion.numbers);
    }
    if (missing > 0) {
      out_.incomparable = "the champion has no answer in " + std::to_string(missing) + " of " +
                          std::to_string(out_.rows) + " rows (column \"" + spec_.champion + "\")";
      return;
    }
    out_.champion = std::move(champion);
  }

  Database& database_;
  const Columns& columns_;
  const core::PredictionsSpec& spec_;
  const bool is_labels_;
  std::string select_;
  std::vector<ColumnData> columns_read_;
  size_t next_ = 0;
  Predictions out_;
};

}  // namespace

absl::StatusOr<Predictions> ReadPredictions(Database& database, const std::string& path,
                                            const core::PredictionsSpec& spec, const std::string& sql) {
  const bool is_parquet = path.ends_with(".parquet") && std::filesystem::is_regular_file(path);
  CD4ML_ASSIGN_OR_RETURN(const Columns columns, is_parquet ? OfParquet(database, path) : OfTable(database, path, sql));
  CD4ML_ASSIGN_OR_RETURN(const std::vector<Row> rows, database.Query("SELECT count(*) FROM " + columns.from));
  if (const int64_t count = std::stoll(*rows[0][0]); count > kPredictionsMax) {
    return absl::InvalidArgumentError(std::to_string(count) + " rows of predictions are more than " +
                                      std::to_string(kPredictionsMax) + "; write a sample of them");
  }
  return Reader(database, columns, spec).Read();
}

}  // namespace cd4ml::table
