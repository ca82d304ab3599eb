// Splits a text file into records: CSV with quotes, or one line each.
//
// Every line of the file that is not blank is part of exactly one record, so that nothing is
// dropped in silence: what is no record of the format comes out with a `problem` and its raw text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "table/text_file.h"

namespace cd4ml::table {

// Valid until the next call of Next.
struct Record {
  int64_t line = 0;                      // Of its first character; counts from 1.
  int64_t blank = 0;                     // Lines right before it that are empty.
  std::string_view raw;                  // Without the line break.
  std::vector<std::string_view> fields;  // Empty where there is a problem.
  std::string problem;
};

constexpr size_t kRecordBytesMax = size_t{16} << 20;

class RecordReader {
 public:
  // `delimiter` 0: a record is a line, and `raw` is its only field.
  RecordReader(TextFile file, char delimiter) : file_(std::move(file)), delimiter_(delimiter) {}

  // Reads the next record into `record`. Returns false at the end of the file.
  absl::StatusOr<bool> Next(Record& record);

  // Returns the first `bytes` of text, or all of it where there is less, without consuming it.
  // REQUIRES: Next was not called yet.
  absl::StatusOr<std::string_view> Peek(size_t bytes);
  void set_delimiter(char delimiter) { delimiter_ = delimiter; }

 private:
  enum class Scan { kRecord, kMoreText, kBroken };

  absl::Status Fill();
  Scan ScanRecord(Record& record);
  Scan ScanQuoted(size_t& at, std::string_view& field, Record& record);
  bool AtLineEnd(size_t at) const {
    return at >= text_.size() || text_[at] == '\n' || text_[at] == '\r';
  }
  size_t LineEnd() const;
  bool TakeRecord(Record& record);
  void Consume(size_t end);

  TextFile file_;
  char delimiter_;
  std::string text_;  // Read, from `at_` on not consumed.
  size_t at_ = 0;
  int64_t line_ = 1;
  bool ended_ = false;     // The file has no more than `text_`.
  bool skipping_ = false;  // In the rest of a line that was too long.
  std::string unquoted_;   // Fields whose doubled quotes were made single.
};

// Returns the delimiter that splits the lines of `sample` most evenly; ',' where none does.
char SniffDelimiter(std::string_view sample);

// Returns whether the first record of a table looks like names: none begins like a number or a
// date.
bool LooksLikeHeader(const std::vector<std::string_view>& fields);

}  // namespace cd4ml::table
