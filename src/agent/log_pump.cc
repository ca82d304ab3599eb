// Follows log files and appends what is new to the daemon's copies.
#include "agent/log_pump.h"

#include <algorithm>
#include <vector>

#include "agent/await.h"
#include "cd4ml/base/log.h"
#include "cd4ml/base/status.h"

namespace cd4ml::agent {

constexpr int kRoundsToWait = 50;  // Of kLook: a second.

LogPump::LogPump(AgentApi& daemon, Told on_delivered, Told on_stale)
    : daemon_(daemon), on_delivered_(std::move(on_delivered)), on_stale_(std::move(on_stale)) {
  thread_ = std::jthread([this](std::stop_token stop) { Run(stop); });
}

void LogPump::SetSession(const std::string& session) {
  std::lock_guard lock(mutex_);
  session_ = session;
  woken_ = true;
  wake_.notify_one();
}

void LogPump::Follow(const core::AttemptId& attempt, const std::string& path) {
  auto log = std::make_shared<Log>();
  log->attempt = attempt;
  log->path = path;
  std::lock_guard lock(mutex_);
  logs_[attempt] = std::move(log);
  // There is nothing in it yet: the next look is early enough.
  if (!looking_) wake_.notify_one();
}

void LogPump::End(const core::AttemptId& attempt, int64_t size) {
  {
    std::lock_guard lock(mutex_);
    auto found = logs_.find(attempt);
    if (found == logs_.end()) return;
    found->second->end = std::min(size, kLogMax);
    if (!IsDelivered(*found->second)) {
      woken_ = true;
      wake_.notify_one();
      return;
    }
    logs_.erase(found);
  }
  on_delivered_(attempt);
}

void LogPump::Drop(const core::AttemptId& attempt) {
  std::lock_guard lock(mutex_);
  logs_.erase(attempt);
}

void LogPump::Run(std::stop_token stop) {
  std::unique_lock lock(mutex_);
  while (!stop.stop_requested()) {
    const auto follows = [this] { return !session_.empty() && !logs_.empty(); };
    wake_.wait(lock, stop, [&] { return woken_ || follows(); });
    looking_ = true;
    wake_.wait_for(lock, stop, kLook, [this] { return woken_; });
    looking_ = woken_ = false;
    if (!follows()) continue;
    std::vector<std::shared_ptr<Log>> round;
    for (const auto& [attempt, log] : logs_) round.push_back(log);
    const std::string session = session_;
    lock.unlock();
    bool more = false, over = false;
    for (const std::shared_ptr<Log>& log : round) {
      const Progress progress = Pump(*log, session);
      more |= progress == Progress::kMore;
      over |= progress == Progress::kSessionOver;
      if (over) break;
    }
    lock.lock();
    woken_ |= more;
    if (over && session_ == session) session_.clear();
  }
}

LogPump::Progress LogPump::Pump(Log& log, const std::string& session) {
  int64_t offset;
  std::optional<int64_t> end;
  {
    std::lock_guard lock(mutex_);
    offset = log.delivered;
    end = log.end;
  }
  // What was refused once is tried once more, at the end.
  if (log.complained && !end) return Progress::kNothing;
  if (log.rounds_to_wait > 0) {
    --log.rounds_to_wait;
    return Progress::kNothing;
  }
  if (!log.file.is_open()) log.file.open(log.path, std::ios::binary);
  log.file.clear();
  log.file.seekg(offset);
  log.file.read(chunk_.get(), std::clamp<int64_t>(kLogMax - offset, 0, kChunkMax));
  std::string bytes(chunk_.get(), static_cast<size_t>(std::max<std::streamsize>(0, log.file.gcount())));

  const size_t bytes_read = bytes.size();
  absl::StatusOr<int64_t> size = offset;
  if (bytes_read != 0) {
    size = Await<int64_t>([&](Done<int64_t> done) {
      daemon_.AppendLog(session, log.attempt, offset, std::move(bytes), std::move(done));
    });
  }
  if (size.ok() && *size == offset && bytes_read != 0) {
    size = absl::OutOfRangeError("nothing was taken at offset " + std::to_string(offset));
  }
  bool stale = false;
  bool given_up = bytes_read == 0 && end && offset < *end;  // The file is shorter than it was.
  if (!size.ok()) {
    if (absl::IsResourceExhausted(size.status())) {  // Its disk is full, or it has too much to do.
      log.rounds_to_wait = kRoundsToWait;
      return Progress::kNothing;
    }
    if (IsAway(size.status()) || absl::IsNotFound(size.status())) return Progress::kSessionOver;
    stale = absl::IsAborted(size.status());
    given_up = !stale;
    if (given_up && !log.complained) {
      log.complained = true;
      LogWarn("the daemon does not take a log",
              {{"attempt", core::ToText(log.attempt)}, {"why", Message(size.status())}});
    }
  }
  {
    std::lock_guard lock(mutex_);
    if (size.ok()) log.delivered = *size;
    if (!logs_.contains(log.attempt)) return Progress::kNothing;
    const bool done = log.end && (given_up || IsDelivered(log));
    if (!done && !stale) {
      return size.ok() && log.delivered != offset ? Progress::kMore : Progress::kNothing;
    }
    logs_.erase(log.attempt);
  }
  (stale ? on_stale_ : on_delivered_)(log.attempt);
  return Progress::kNothing;
}

}  // namespace cd4ml::agent
