// From lines in files to prediction records at the daemon.
#include "agent/predictions.h"

#include <charconv>
#include <filesystem>

#include "agent/await.h"
#include "agent/files.h"
#include "cd4ml/base/log.h"
#include "cd4ml/base/status.h"

namespace cd4ml::agent {
namespace {

constexpr Duration kLook{250};
constexpr size_t kBatchMax = 1'000;
constexpr int64_t kReadMax = 4 << 20;  // Also the longest line.
constexpr int64_t kFileMax = int64_t{64}
                             << 20;  // A larger file is emptied once all of it is handed in.

absl::StatusOr<PredictionRecord> ParseLine(std::string_view line, const std::string& deployment,
                                           UtcTime now) {
  CD4ML_ASSIGN_OR_RETURN(const Value value, ParseJson(line));
  const Value* key = value.Find("key");
  const Value* input = value.Find("input");
  const Value* prediction = value.Find("prediction");
  const Value* at = value.Find("at_ms");
  if (key == nullptr || !key->is_scalar())
    return absl::InvalidArgumentError("\"key\" is missing or no text");
  if (input == nullptr || !input->is_map())
    return absl::InvalidArgumentError("\"input\" is missing or no map");
  if (prediction == nullptr || !prediction->is_number()) {
    return absl::InvalidArgumentError("\"prediction\" is missing or no number");
  }
  if (at != nullptr && !at->is_number())
    return absl::InvalidArgumentError("\"at_ms\" is no number");
  PredictionRecord record;
  record.deployment = deployment;
  record.key = ToText(*key);
  record.at = at != nullptr ? UtcTime{static_cast<int64_t>(at->number())} : now;
  record.input = *input;
  record.prediction = prediction->number();
  return record;
}

int64_t ReadOffset(const std::string& path) {
  const absl::StatusOr<std::string> text = ReadText(path, 64);
  int64_t offset = 0;
  if (text.ok()) std::from_chars(text->data(), text->data() + text->size(), offset);
  return offset;
}

}  // namespace

PredictionBatch ReadPredictions(std::string_view bytes, const std::string& deployment,
                                UtcTime now) {
  PredictionBatch batch;
  while (batch.records.size() < kBatchMax) {
    const size_t end = bytes.find('\n', batch.consumed);
    if (end == std::string_view::npos) break;
    const std::string_view line = bytes.substr(batch.consumed, end - batch.consumed);
    batch.consumed = end + 1;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    absl::StatusOr<PredictionRecord> record = ParseLine(line, deployment, now);
    if (record.ok()) {
      batch.records.push_back(*std::move(record));
    } else if (++batch.bad_lines == 1) {
      batch.complaint = Message(record.status());
    }
  }
  return batch;
}

Predictions::Predictions(const Tools& tools) : tools_(tools) {
  thread_ = std::jthread([this](std::stop_token stop) { Run(stop); });
}

void Predictions::Run(std::stop_token stop) {
  std::unique_lock lock(mutex_);
  while (!stop.stop_requested()) {
    for (const Services::Feed& feed : tools_.services.Feeds()) {
      const auto [entry, is_new] = follows_.try_emplace(feed.deployment);
      if (is_new) entry->second.offset = ReadOffset(feed.paths.offset());
      while (!stop.stop_requested() && HandIn(feed, entry->second)) {
      }
    }
    pause_.wait_for(lock, stop, kLook, [] { return false; });
  }
}

bool Predictions::HandIn(const Services::Feed& feed, Follow& follow) {
  const std::string path = feed.paths.predictions();
  const int64_t size = FileSize(path);
  if (size < follow.offset) follow.offset = 0;  // It was emptied.
  if (size == follow.offset) {
    if (feed.retired) {
      follows_.erase(feed.deployment);
      tools_.services.Remove(feed.deployment);
    } else if (size > kFileMax) {
      std::error_code error;
      std::filesystem::resize_file(path, 0, error);
    }
    return false;
  }
  const std::string bytes = ReadPiece(path, follow.offset, kReadMax).value_or("");
  PredictionBatch batch = ReadPredictions(bytes, feed.deployment, tools_.ports.clock.Now());
  if (batch.consumed == 0) {
    const bool is_endless = static_cast<int64_t>(bytes.size()) == kReadMax;
    // A retired service does not finish its last line any more.
    if (!is_endless && !feed.retired) return false;
    batch = {{}, bytes.size(), 1, "a line does not end"};
  }
  if (!batch.records.empty()) {
    const absl::StatusOr<int64_t> taken = Await<int64_t>([&](Done<int64_t> done) {
      tools_.ports.daemon.RecordPredictions(feed.deployment, std::move(batch.records),
                                            std::move(done));
    });
    if (!taken.ok() && !absl::IsInvalidArgument(taken.status())) return false;
    if (!taken.ok()) batch.complaint = Message(taken.status()), ++batch.bad_lines;
  }
  follow.bad_lines += batch.bad_lines;
  if (batch.bad_lines > 0 && !follow.complained) {
    follow.complained = true;
    LogWarn("a service writes predictions that cannot be read; such lines are left out",
            {{"deployment", feed.deployment}, {"why", batch.complaint}});
  }
  follow.offset += static_cast<int64_t>(batch.consumed);
  (void)WriteText(feed.paths.offset(), std::to_string(follow.offset));
  return true;
}

}  // namespace cd4ml::agent
