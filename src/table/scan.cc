// One statement for many questions: each condition is evaluated once for a row, and each text read once as a number.
#include "table/scan.h"

#include <algorithm>
#include <set>
#include <sstream>

#include "absl/strings/match.h"
#include "cd4ml/base/status.h"
#include "table/rules.h"

namespace cd4ml::table {
namespace {

constexpr int64_t kLinesMax = 1'000'000'000'000;   // Of one file.
constexpr char kPrefix[] = "cd4ml_";
constexpr char kNone[] = "FALSE";                  // The condition of no row.

// The rows of a table with the conditions of some questions: (cd4ml_file, cd4ml_line, cd4ml_bad) and a column for each.
class View {
 public:
  View(const Table& table, const std::vector<Question>& questions) : table_(table) {
    for (const Question& question : questions) {
      if (!question.from.empty()) from_ = question.from;
      if (!question.empty.empty()) Add(question.empty, own_);
      for (const std::string& condition : question.broken) Add(condition, question.named.empty() ? own_ : of_named_);
      named_.insert(question.named.begin(), question.named.end());
      for (const std::string& column : question.columns) read_.insert(*table.Column(column));
    }
  }

  std::string sql() const {
    std::string inner = "SELECT file AS cd4ml_file, line AS cd4ml_line, bad AS cd4ml_bad" + Selected(own_);
    if (of_named_.empty()) return "(" + inner + " FROM " + Read() + ")";
    for (const auto& [name, sql] : named_) inner += ", " + sql + " AS " + Identifier(name);
    std::string outer = "SELECT cd4ml_file, cd4ml_line, cd4ml_bad";
    for (const std::string& condition : own_) outer += ", " + names_.at(condition);
    return "(" + outer + Selected(of_named_) + " FROM (" + inner + " FROM " + Read() + "))";
  }

  const std::string& NameOf(const std::string& condition) const { return names_.at(condition); }
  // Returns the condition that one of them is fulfilled.
  std::string AnyOf(const std::vector<std::string>& conditions) const {
    std::vector<std::string> names;
    for (const std::string& condition : conditions) names.push_back(NameOf(condition));
    return names.empty() ? kNone : "(" + Join(names, " OR ") + ")";
  }

 private:
  void Add(const std::string& condition, std::vector<std::string>& conditions) {
    const std::string name = kPrefix + ("q" + std::to_string(names_.size()));
    if (names_.emplace(condition, name).second) conditions.push_back(condition);
  }
  std::string Selected(const std::vector<std::string>& conditions) const {
    std::string selected;
    for (const std::string& condition : conditions) selected += ", " + condition + " AS " + names_.at(condition);
    return selected;
  }

  // The rows with the numbers that texts are, as cd4ml_number(x) finds them. What nobody asks for is not evaluated.
  std::string Read() const {
    std::vector<std::string> cast, read;
    for (const std::string& column : read_) {
      if (table_.NativeOf(column) != Native::kRead) continue;
      const std::string number = table_.Number(column);
      cast.push_back("TRY_CAST(" + column + " AS DOUBLE) AS " + number);
      read.push_back("CASE WHEN isfinite(" + number + ") AND NOT contains(" + column + ", '_') THEN " + number + " END AS " +
                     number);
    }
    const std::string from = from_.empty() ? table_.sql : from_;
    if (read.empty()) return from;
    return "(SELECT * REPLACE (" + Join(read, ", ") + ") FROM (SELECT *, " + Join(cast, ", ") + " FROM " + from + "))";
  }

  const Table& table_;
  std::string from_;
  std::set<std::string> read_;                // The SQL names of columns.
  std::vector<std::string> own_, of_named_;   // Conditions, about the columns of the table and about `named_`.
  std::map<std::string, std::string> named_, names_;
};

// Returns the SQL aggregate that counts them, which is quicker than count(*) with a filter.
std::string CountOf(const std::string& condition) {
  return condition == kNone ? "CAST(0 AS BIGINT)" : "CAST(sum(CAST(" + condition + " AS INTEGER)) AS BIGINT)";
}

// Returns the SQL aggregate that gives the places of the first rows that fulfil `condition`.
std::string FirstPlaces(const std::string& condition) {
  if (condition == kNone) return "CAST(NULL AS VARCHAR)";
  return "array_to_string(min(cd4ml_file * " + std::to_string(kLinesMax) + " + cd4ml_line, " +
         std::to_string(core::kOffendingRowsMax) + ") FILTER (WHERE " + condition + "), ' ')";
}

std::vector<int64_t> ReadPlaces(const std::optional<std::string>& text) {
  std::vector<int64_t> places;
  std::istringstream words(text.value_or(""));
  for (int64_t place = 0; words >> place;) places.push_back(place);
  return places;
}

// What is selected of a text of which `bytes` are shown: nothing that is longer may look as if it were not.
std::string Start(const std::string& column, size_t bytes) { return "left(" + column + ", " + std::to_string(bytes + 1) + ")"; }

}  // namespace

Scan::Scan(const Table& table) : table_(table) {
  table_.natives.resize(table_.columns.size(), Native::kText);
  for (Native& native : table_.natives) native = native == Native::kText ? Native::kRead : native;
}

Scan& ScanOf(const Case& it, const Table& table) { return it.scans.try_emplace(table.sql, table).first->second; }

absl::StatusOr<Answer> Scan::Ask(const Case& it, const Question& question) {
  if (!has_asked_gate_) {
    has_asked_gate_ = true;
    AskAll(it.database, QuestionsOfGate(it));
  }
  const bool is_plain = question.from.empty();
  if (const auto known = answers_.find(question); is_plain && known != answers_.end()) return known->second;
  CD4ML_ASSIGN_OR_RETURN(const std::vector<Answer> answers, Count(it.database, {question}));
  if (is_plain) answers_[question] = answers[0];
  return answers[0];
}

Scan::Questions Scan::QuestionsOfGate(const Case& it) const {
  std::set<Question> questions;
  for (const core::Rule& rule : it.rules) {
    const auto* column = std::get_if<core::ColumnRule>(&rule.body);
    const bool needs_others = !rule.by.empty() || (column != nullptr && column->outliers);   // Other rows.
    if (core::Subject(rule.body) != table_.name || needs_others) continue;
    const Case other{it.database, it.tables, it.scans, rule, it.baselines, it.now, it.rules};
    const absl::StatusOr<std::optional<Question>> question = QuestionOf(other);
    if (!question.ok() || !*question) continue;   // The rule is yet to be judged, and will say why.
    // Names like ours, in whatever case, are kept apart from those of other questions.
    const auto& named = (*question)->named;
    const bool is_apart = std::any_of(named.begin(), named.end(), [](const auto& named_column) {
      return absl::StartsWithIgnoreCase(named_column.first, kPrefix);
    });
    if (!is_apart) questions.insert(**question);
  }
  return {questions.begin(), questions.end()};
}

// What cannot be answered is asked again in halves, so that one is left that fails.
void Scan::AskAll(Database& database, const Questions& questions) {
  if (questions.empty() || !database.Stopped().ok()) return;
  if (questions.size() <= kQuestionsTogether) {
    const absl::StatusOr<std::vector<Answer>> answers = Count(database, questions);
    for (size_t i = 0; answers.ok() && i < questions.size(); ++i) answers_[questions[i]] = (*answers)[i];
    if (answers.ok() || questions.size() == 1 || absl::IsResourceExhausted(answers.status())) return;
  }
  const auto middle = questions.begin() + static_cast<ptrdiff_t>(questions.size() / 2);
  AskAll(database, {questions.begin(), middle});
  AskAll(database, {middle, questions.end()});
}

absl::StatusOr<std::vector<Answer>> Scan::Count(Database& database, const Questions& questions) const {
  const View view(table_, questions);
  std::vector<std::string> counts;
  for (const Question& question : questions) {
    const std::string any = view.AnyOf(question.broken);
    const std::string empty = question.empty.empty() ? kNone : view.NameOf(question.empty);
    counts.push_back(CountOf(any));
    counts.push_back(FirstPlaces(table_.bad_rows > 0 ? "cd4ml_bad IS NOT NULL OR " + any : any));
    counts.push_back(CountOf(empty));
    counts.push_back(FirstPlaces(question.shows_empty ? empty : kNone));
    for (const std::string& condition : question.broken) counts.push_back(CountOf(view.NameOf(condition)));
  }
  CD4ML_ASSIGN_OR_RETURN(const std::vector<Row> rows, database.Query("SELECT " + Join(counts, ", ") + " FROM " + view.sql()));
  std::vector<Answer> answers;
  std::vector<std::vector<int64_t>> places;   // By question those of bad rows, and those of empty ones.
  size_t at = 0;
  for (const Question& question : questions) {
    Answer& answer = answers.emplace_back();
    answer.bad = table_.bad_rows + Integer(rows[0][at++]);
    places.push_back(ReadPlaces(rows[0][at++]));
    answer.empty = Integer(rows[0][at++]);
    places.push_back(ReadPlaces(rows[0][at++]));
    for (size_t i = 0; i < question.broken.size(); ++i) answer.broken.push_back(Integer(rows[0][at++]));
  }
  CD4ML_RETURN_IF_ERROR(AddRows(database, questions, places, answers));
  return answers;
}

// Most of a table is passed over by the lines alone, which lie together.
absl::Status Scan::AddRows(Database& database, const Questions& questions, const std::vector<std::vector<int64_t>>& places,
                           std::vector<Answer>& answers) const {
  std::set<int64_t> all, distinct_lines;
  for (const std::vector<int64_t>& some : places) all.insert(some.begin(), some.end());
  if (all.empty()) return absl::OkStatus();
  std::vector<std::string> lines, pairs;
  for (const int64_t place : all) {
    pairs.push_back("(" + std::to_string(place / kLinesMax) + ", " + std::to_string(place % kLinesMax) + ")");
    distinct_lines.insert(place % kLinesMax);
  }
  for (const int64_t line : distinct_lines) lines.push_back(std::to_string(line));
  std::map<std::string, size_t> columns;   // Where each is in a row.
  std::string selected = "file, line, " + Start("bad", 2 * kValueMax);
  for (const Question& question : questions) {
    for (const std::string& column : question.columns) {
      CD4ML_ASSIGN_OR_RETURN(const std::string sql, table_.Column(column));
      if (columns.emplace(column, kHiddenColumns + columns.size()).second) selected += ", " + Start(sql, kValueMax);
    }
  }
  CD4ML_ASSIGN_OR_RETURN(const std::vector<Row> rows,
                         database.Query("SELECT " + selected + " FROM " + table_.sql + " WHERE line BETWEEN " + lines.front() +
                                        " AND " + lines.back() + " AND line IN (" + Join(lines, ", ") + ")" +
                                        (table_.files.size() < 2 ? "" : " AND (file, line) IN (" + Join(pairs, ", ") + ")")));
  std::map<int64_t, const Row*> by_place;
  for (const Row& row : rows) by_place[Integer(row[0]) * kLinesMax + Integer(row[1])] = &row;
  for (size_t i = 0; i < places.size(); ++i) {
    Answer& answer = answers[i / 2];
    for (const int64_t place : places[i]) {
      const auto found = by_place.find(place);
      if (found == by_place.end()) continue;   // The file was changed meanwhile.
      const Row& row = *found->second;
      std::vector<std::string> values;
      if (row[2]) values.push_back(Clip(*row[2], 2 * kValueMax));
      for (const std::string& column : questions[i / 2].columns) {
        if (!row[2]) values.push_back(column + " = " + Shown(row[columns.at(column)]));
      }
      (i % 2 == 0 ? answer.bad_rows : answer.empty_rows)
          .push_back(Where(table_, place / kLinesMax, place % kLinesMax) + ": " + Join(values, ", "));
    }
  }
  return absl::OkStatus();
}

std::string Scan::SelectBroken(const std::map<size_t, Question>& questions) const {
  Questions asked;
  for (const auto& [n, question] : questions) asked.push_back(question);
  const View view(table_, asked);
  std::vector<std::string> numbers, any;
  for (const auto& [n, question] : questions) {
    std::vector<std::string> conditions = question.broken;
    if (question.empty_breaks) conditions.push_back(question.empty);
    any.push_back(view.AnyOf(conditions));
    numbers.push_back("CASE WHEN " + any.back() + " THEN " + std::to_string(n) + " END");
  }
  return "SELECT * FROM (SELECT cd4ml_file AS file, cd4ml_line AS line, unnest([" + Join(numbers, ", ") + "]) AS n FROM " +
         view.sql() + " WHERE " + Join(any, " OR ") + ") WHERE n IS NOT NULL";
}

}  // namespace cd4ml::table
