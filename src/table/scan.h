// What rules ask of the single rows of a table, answered for all rules of the gate by one statement.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "cd4ml/core/rule.h"
#include "table/duckdb.h"
#include "table/table.h"

namespace cd4ml::table {

struct Case;

constexpr size_t kQuestionsTogether = 32;   // Of one statement, which takes a time that grows with their square.

// What one rule asks. A condition is SQL over the columns as Scan::table() has them, TRUE or FALSE for every row, and FALSE
// for one that does not fit the table.
struct Question {
  std::string from;                          // Where it is not the table: a subquery with all of its columns, and more.
  std::string empty;                         // The condition that there is no value, or "".
  bool shows_empty = false;                  // Empty rows are shown too, …
  bool empty_breaks = false;                 // … and break the rule by themselves.
  std::vector<std::string> broken;           // Each breaks the row.
  std::map<std::string, std::string> named;  // Where `broken` calls columns as the file does: what they are, by that name.
  std::vector<std::string> columns;          // Of the file: what it is about, and what is shown of a row.

  // Two that ask the same of the same table are equal.
  bool operator<(const Question& other) const {
    return std::tie(empty, shows_empty, broken, named, columns) <
           std::tie(other.empty, other.shows_empty, other.broken, other.named, other.columns);
  }
};

struct Answer {
  int64_t bad = 0;                   // Rows that break the rule or do not fit the table, …
  int64_t empty = 0;
  std::vector<int64_t> broken;       // By condition.
  std::vector<std::string> bad_rows, empty_rows;   // The first ones with their lines and values.
};

// Of one table, while the rules of the gate stay the same.
class Scan {
 public:
  explicit Scan(const Table& table);

  // The table for the SQL of questions: what it holds as text is read as a number once for all of them.
  const Table& table() const { return table_; }

  // Answers a question. The first one has those of all rules of the gate answered with it; one that fails fails alone.
  absl::StatusOr<Answer> Ask(const Case& it, const Question& question);

  // Returns a SELECT of (file, line, n) of the rows that break one of the rules, by the number of each that they break.
  std::string SelectBroken(const std::map<size_t, Question>& questions) const;

 private:
  using Questions = std::vector<Question>;

  Questions QuestionsOfGate(const Case& it) const;
  void AskAll(Database& database, const Questions& questions);
  absl::StatusOr<std::vector<Answer>> Count(Database& database, const Questions& questions) const;
  absl::Status AddRows(Database& database, const Questions& questions, const std::vector<std::vector<int64_t>>& places,
                       std::vector<Answer>& answers) const;

  Table table_;
  bool has_asked_gate_ = false;
  std::map<Question, Answer> answers_;
};

// By the SQL name of the table, which no other table will ever have.
using Scans = std::map<std::string, Scan>;
Scan& ScanOf(const Case& it, const Table& table);

}  // namespace cd4ml::table
