// The file of records: frames of size and content, in the encoding of the keeper's messages.
#include "records.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "cd4ml/base/log.h"
#include "cd4ml/base/status.h"
#include "cd4ml/ports/keeper_wire.h"
#include "process_table.h"

namespace cd4ml::keeper {
namespace {

enum class Kind : int64_t { kAdd = 1, kChange, kRemove };

WireWriter Begin(Kind kind) { return WireWriter().Number(static_cast<int64_t>(kind)); }

std::string Frame(const WireWriter& content) { return WireWriter().Text(content.bytes()).bytes(); }

std::string AddFrame(const Record& record) {
  WireWriter content = Begin(Kind::kAdd);
  Write(content, record.spec);
  content.Text(record.cgroup).Text(record.boot_id);
  return Frame(content);
}

std::string ChangeFrame(const Record& record) {
  WireWriter content = Begin(Kind::kChange);
  Write(content, record.status);
  content.Number(static_cast<int64_t>(record.start_ticks));
  content.Number(record.reaper).Number(static_cast<int64_t>(record.reaper_ticks));
  return Frame(content);
}

// Takes one frame into `records`; returns whether it made sense.
bool Fold(WireReader content, RecordMap& records) {
  switch (static_cast<Kind>(content.Number())) {
    case Kind::kAdd: {
      Record record;
      record.spec = ReadSpec(content);
      record.cgroup = content.Text();
      record.boot_id = content.Text();
      record.status.id = record.spec.id;
      if (!content.ok() || !IsProcessId(record.spec.id)) return false;
      records[record.spec.id] = std::move(record);
      return true;
    }
    case Kind::kChange: {
      ProcessStatus status = ReadStatus(content);
      const auto found = records.find(status.id);
      if (found == records.end()) return false;
      Record& record = found->second;
      record.status = std::move(status);
      record.start_ticks = static_cast<uint64_t>(content.Number());
      record.reaper = static_cast<pid_t>(content.Number());
      record.reaper_ticks = static_cast<uint64_t>(content.Number());
      return content.ok();
    }
    case Kind::kRemove:
      return records.erase(content.Text()) == 1;
  }
  return false;
}

}  // namespace

Records::~Records() {
  if (fd_ >= 0) close(fd_);
}

RecordMap Records::Load() const {
  RecordMap records;
  const std::string bytes = ReadSmallFile(path_);
  WireReader reader(bytes);
  while (!reader.rest().empty()) {
    const std::string frame = reader.Text();
    if (reader.ok() && Fold(WireReader(frame), records)) continue;
    LogWarn("the records end with a damaged one", {{"file", path_}});
    break;
  }
  return records;
}

absl::Status Records::Rewrite(const RecordMap& records) {
  std::string frames;
  for (const auto& [id, record] : records) {
    frames += AddFrame(record) + ChangeFrame(record);
  }
  const std::string next = path_ + ".new";
  unlink(next.c_str());
  const int fd = open(next.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  size_after_rewrite_ = size_;  // When this fails, the next attempt comes only after as much again.
  if (write(fd, frames.data(), frames.size()) != static_cast<ssize_t>(frames.size()) ||
      rename(next.c_str(), path_.c_str()) != 0) {
    const std::string reason = std::strerror(errno);
    close(fd);
    return absl::UnavailableError("cannot rewrite \"" + path_ + "\": " + reason);
  }
  if (fd_ >= 0) close(fd_);
  fd_ = fd;
  size_ = size_after_rewrite_ = static_cast<int64_t>(frames.size());
  return absl::OkStatus();
}

absl::Status Records::Append(std::string_view frames) {
  errno = 0;
  const ssize_t written = write(fd_, frames.data(), frames.size());
  if (written == static_cast<ssize_t>(frames.size())) {
    size_ += written;
    return absl::OkStatus();
  }
  const int error = errno != 0 ? errno : ENOSPC;
  // A part of a frame would hide all that follows.
  if (written > 0 && ftruncate(fd_, size_) != 0) size_ += written;
  return absl::UnavailableError("cannot write to \"" + path_ + "\": " + std::strerror(error));
}

void Records::AppendOrLog(std::string_view frames) {
  const absl::Status status = Append(frames);
  if (!status.ok()) LogError("a record is lost", {{"error", Message(status)}});
}

absl::Status Records::Add(const Record& record) { return Append(AddFrame(record)); }

void Records::Change(const Record& record) { AppendOrLog(ChangeFrame(record)); }

void Records::Remove(const std::string& id) { AppendOrLog(Frame(Begin(Kind::kRemove).Text(id))); }

bool IsProcessId(std::string_view id) {
  const auto is_alnum = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
  };
  return !id.empty() && id.size() <= 200 && is_alnum(id[0]) &&
         std::all_of(id.begin(), id.end(),
                     [&](char c) { return is_alnum(c) || std::string_view("._-+,@~").find(c) != std::string_view::npos; });
}

}  // namespace cd4ml::keeper
