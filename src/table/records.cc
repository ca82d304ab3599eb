// A CSV scanner after RFC 4180 that loses nothing: what does not parse is given out line by line.
#include "table/records.h"

#include <algorithm>

#include "cd4ml/base/status.h"

namespace cd4ml::table {
namespace {

constexpr size_t kReadBytes = size_t{1} << 20;
constexpr char kTooLong[] = "longer than 16 MiB";

// Splits without quotes' rules but for not splitting inside them: good enough to compare
// delimiters.
size_t CountFields(std::string_view line, char delimiter) {
  size_t fields = 1;
  bool quoted = false;
  for (const char c : line) {
    if (c == '"') quoted = !quoted;
    if (c == delimiter && !quoted) ++fields;
  }
  return fields;
}

}  // namespace

char SniffDelimiter(std::string_view sample) {
  std::vector<std::string_view> lines;
  while (!sample.empty() && lines.size() < 100) {
    const size_t end = sample.find_first_of("\r\n");
    if (end == std::string_view::npos && !lines.empty()) break;  // Perhaps cut off.
    if (end != 0) lines.push_back(sample.substr(0, end));
    sample = end == std::string_view::npos ? "" : sample.substr(end + 1);
  }
  char best = ',';
  std::pair<size_t, size_t> best_score{0, 0};
  for (const char delimiter : {',', ';', '\t', '|'}) {
    const size_t fields = lines.empty() ? 1 : CountFields(lines[0], delimiter);
    if (fields < 2) continue;
    const auto even = std::count_if(lines.begin(), lines.end(), [&](std::string_view line) {
      return CountFields(line, delimiter) == fields;
    });
    const std::pair<size_t, size_t> score{static_cast<size_t>(even), fields};
    if (score > best_score) {
      best = delimiter;
      best_score = score;
    }
  }
  return best;
}

bool LooksLikeHeader(const std::vector<std::string_view>& fields) {
  return std::none_of(fields.begin(), fields.end(), [](std::string_view field) {
    const size_t sign = field.find_first_not_of("+-.");
    return sign != std::string_view::npos && field[sign] >= '0' && field[sign] <= '9';
  });
}

absl::Status RecordReader::Fill() {
  text_.erase(0, at_);
  at_ = 0;
  // Reading at least as much as is pending keeps the work linear for long records.
  CD4ML_ASSIGN_OR_RETURN(const bool more, file_.Read(std::max(kReadBytes, text_.size()), text_));
  ended_ = !more;
  return absl::OkStatus();
}

absl::StatusOr<std::string_view> RecordReader::Peek(size_t bytes) {
  while (!ended_ && text_.size() < bytes) CD4ML_RETURN_IF_ERROR(Fill());
  return std::string_view(text_).substr(0, bytes);
}

// Moves behind the line break at `end`, counting the lines on the way.
void RecordReader::Consume(size_t end) {
  for (; at_ < end; ++at_) {
    if (text_[at_] == '\n' || (text_[at_] == '\r' && text_[at_ + 1] != '\n')) ++line_;
  }
  if (at_ >= text_.size()) return;
  at_ += text_[at_] == '\r' && at_ + 1 < text_.size() && text_[at_ + 1] == '\n' ? 2 : 1;
  ++line_;
}

absl::StatusOr<bool> RecordReader::Next(Record& record) {
  record.blank = 0;
  while (true) {
    // A "\r" at the end of what was read may be half a line break.
    if (!ended_ && (at_ >= text_.size() || (text_[at_] == '\r' && at_ + 1 >= text_.size()))) {
      CD4ML_RETURN_IF_ERROR(Fill());
    } else if (at_ >= text_.size()) {
      return false;
    } else if (AtLineEnd(at_)) {
      record.blank += skipping_ ? 0 : 1;
      skipping_ = false;
      Consume(at_);
    } else if (skipping_) {
      at_ = LineEnd();
    } else if (TakeRecord(record)) {
      return true;
    } else {
      CD4ML_RETURN_IF_ERROR(Fill());
    }
  }
}

// Gives out the record at `at_`, or the first line of what is none: what follows it is looked at
// anew. Returns false when more text must be read first.
bool RecordReader::TakeRecord(Record& record) {
  record.line = line_;
  record.fields.clear();
  record.problem.clear();
  const Scan scan = ScanRecord(record);
  if (scan == Scan::kRecord) {
    if (record.raw.size() <= kRecordBytesMax) return true;
    record.problem = kTooLong;
    record.fields.clear();
    return true;
  }
  const size_t end = LineEnd();
  const bool too_long = text_.size() - at_ > kRecordBytesMax;
  if (!ended_ && !too_long && (scan == Scan::kMoreText || end + 1 >= text_.size())) return false;

  if (scan == Scan::kMoreText) record.problem = too_long ? kTooLong : "a quote is not closed";
  record.fields.clear();
  record.raw = std::string_view(text_).substr(at_, end - at_);
  skipping_ = end >= text_.size() && !ended_;
  if (skipping_) {
    at_ = end;
  } else {
    Consume(end);
  }
  return true;
}

size_t RecordReader::LineEnd() const {
  return std::min(text_.find_first_of("\r\n", at_), text_.size());
}

RecordReader::Scan RecordReader::ScanRecord(Record& record) {
  // What was not read yet may continue the record; at the end of the file nothing does.
  const auto incomplete = [this](size_t at) { return at + 1 >= text_.size() && !ended_; };
  unquoted_.clear();
  size_t at = at_;
  bool quoted = false;
  while (true) {
    std::string_view field;
    if (delimiter_ != 0 && at < text_.size() && text_[at] == '"') {
      const Scan scan = ScanQuoted(at, field, record);
      if (scan != Scan::kRecord) return scan;
      quoted = true;
    } else {
      const size_t start = at;
      while (at < text_.size() && text_[at] != '\n' && text_[at] != '\r' &&
             (delimiter_ == 0 || text_[at] != delimiter_))
        ++at;
      field = std::string_view(text_).substr(start, at - start);
    }
    if (incomplete(at)) return Scan::kMoreText;
    record.fields.push_back(field);
    if (AtLineEnd(at)) break;
    ++at;
  }
  record.raw = std::string_view(text_).substr(at_, at - at_);
  if (!quoted) at_ = at;  // Only quotes hide line breaks.
  Consume(at);
  return Scan::kRecord;
}

RecordReader::Scan RecordReader::ScanQuoted(size_t& at, std::string_view& field, Record& record) {
  const size_t start = at + 1;
  bool doubled = false;
  size_t close = text_.find('"', start);
  while (close != std::string::npos && close + 1 < text_.size() && text_[close + 1] == '"') {
    doubled = true;
    close = text_.find('"', close + 2);
  }
  if (close == std::string::npos || (close + 1 >= text_.size() && !ended_)) return Scan::kMoreText;
  at = close + 1;
  if (!AtLineEnd(at) && text_[at] != delimiter_) {
    record.problem = "text after a closing quote";
    return Scan::kBroken;
  }
  field = std::string_view(text_).substr(start, close - start);
  if (!doubled) return Scan::kRecord;
  // Reserved once for all fields of the record, so that the views into it stay valid.
  if (unquoted_.empty()) unquoted_.reserve(text_.size() - at_);
  const size_t begin = unquoted_.size();
  for (size_t i = 0; i < field.size(); ++i) {
    unquoted_.push_back(field[i]);
    if (field[i] == '"') ++i;
  }
  field = std::string_view(unquoted_).substr(begin);
  return Scan::kRecord;
}

}  // namespace cd4ml::table
