// Cuts chunks into lines; a line without end is cut too, so that memory stays bounded.
#include "cli/log_lines.h"

#include <algorithm>
#include <deque>

#include "cd4ml/base/status.h"
#include "cd4ml/ports/log_store.h"

namespace cd4ml::cli {
namespace {

constexpr size_t kLineMax = 64 * 1024;
constexpr int64_t kTailBytes = 256 * 1024;  // Last lines are looked for in this much.

}  // namespace

absl::Status LogReader::Read(QueryApi& query,
                             const std::function<void(const std::string&)>& on_line) {
  while (!has_ended_) {
    CD4ML_ASSIGN_OR_RETURN(const LogChunk chunk,
                           query.ReadLog(attempt_, offset_, /*follow=*/false));
    offset_ = chunk.offset + static_cast<int64_t>(chunk.bytes.size());
    has_ended_ = chunk.end;
    begun_ += chunk.bytes;
    size_t begin = 0;
    for (size_t end; (end = begun_.find('\n', begin)) != std::string::npos; begin = end + 1) {
      on_line(begun_.substr(begin, end - begin));
    }
    begun_.erase(0, begin);
    if (has_ended_ || begun_.size() > kLineMax) Flush(on_line);
    if (chunk.bytes.empty()) break;
  }
  return absl::OkStatus();
}

void LogReader::Flush(const std::function<void(const std::string&)>& on_line) {
  if (!begun_.empty()) on_line(begun_);
  begun_.clear();
}

absl::StatusOr<std::vector<std::string>> ReadLastLines(QueryApi& query,
                                                       const core::AttemptId& attempt, int64_t size,
                                                       size_t max) {
  std::deque<std::string> last;
  const auto keep = [&](const std::string& line) {
    last.push_back(line);
    if (last.size() > max) last.pop_front();
  };
  // Of what was longer only the beginning is kept, and a line that says so.
  LogReader reader(attempt, std::max<int64_t>(0, std::min(size, kLogSizeMax) - kTailBytes));
  CD4ML_RETURN_IF_ERROR(reader.Read(query, keep));
  reader.Flush(keep);
  return std::vector<std::string>(last.begin(), last.end());
}

}  // namespace cd4ml::cli
