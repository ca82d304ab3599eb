// How an agent talks to its keeper: the messages of their UNIX socket, and of the keeper's records.
//
// The socket is SOCK_SEQPACKET at <state>/keeper.sock, so one message is one packet of at most
// kKeeperMessageMax bytes. A message is a row of fields without tags: a number is 8 bytes, a text
// is its length as a number and then its bytes; both ends run on one host, so numbers have the
// host's byte order.
//
//   request: number KeeperCall, then    kStart: spec · kStatus kKill kForget kMemory: id · kList: last id
//   seen · kWatch: - reply:   number absl::StatusCode, text message, then, when OK,
//                                       kStatus: status · kList: number count, statuses (none: that
//                                       was all) · kMemory: bytes, peak of one
//
// Replies come in the order of the requests. After kWatch, the keeper sends a status for each
// process that has ended and is not forgotten, and then for each as it ends; such a connection
// makes no further calls.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "cd4ml/ports/process_runner.h"

namespace cd4ml {

inline constexpr size_t kKeeperMessageMax = 200'000;  // Fits the default send buffer of a socket.
inline constexpr std::string_view kKeeperSocket = "keeper.sock";

enum class KeeperCall : int64_t { kStart = 1, kStatus, kList, kKill, kForget, kWatch, kMemory };

// Builds a message.
class WireWriter {
 public:
  WireWriter& Number(int64_t number) {
    bytes_.append(reinterpret_cast<const char*>(&number), sizeof number);
    return *this;
  }
  WireWriter& Text(std::string_view text) {
    Number(static_cast<int64_t>(text.size()));
    bytes_.append(text);
    return *this;
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

// Takes a message apart. Whatever the bytes are, reading past a fault gives zeros and ok() is
// false.
class WireReader {
 public:
  explicit WireReader(std::string_view bytes) : rest_(bytes) {}

  int64_t Number() {
    int64_t number = 0;
    if (!Has(sizeof number)) return 0;
    std::memcpy(&number, rest_.data(), sizeof number);
    rest_.remove_prefix(sizeof number);
    return number;
  }
  std::string Text() {
    const int64_t size = Number();
    if (size < 0 || !Has(static_cast<size_t>(size))) {
      ok_ = false;
      return "";
    }
    std::string text(rest_.substr(0, static_cast<size_t>(size)));
    rest_.remove_prefix(text.size());
    return text;
  }
  bool ok() const { return ok_; }
  std::string_view rest() const { return rest_; }

 private:
  bool Has(size_t size) { return ok_ = ok_ && rest_.size() >= size; }

  std::string_view rest_;
  bool ok_ = true;
};

inline void Write(WireWriter& writer, const ProcessSpec& spec) {
  writer.Text(spec.id).Number(static_cast<int64_t>(spec.argv.size()));
  for (const std::string& argument : spec.argv) writer.Text(argument);
  writer.Number(static_cast<int64_t>(spec.env.size()));
  for (const auto& [name, value] : spec.env) writer.Text(name).Text(value);
  writer.Text(spec.dir).Text(spec.log).Number(spec.timeout.count()).Number(spec.grace.count());
  writer.Number(spec.keep_alive ? 1 : 0).Number(spec.silence.count());
}

inline ProcessSpec ReadSpec(WireReader& reader) {
  ProcessSpec spec;
  spec.id = reader.Text();
  for (int64_t left = reader.Number(); left > 0 && reader.ok(); --left) {
    spec.argv.push_back(reader.Text());
  }
  for (int64_t left = reader.Number(); left > 0 && reader.ok(); --left) {
    std::string name = reader.Text();
    spec.env[std::move(name)] = reader.Text();
  }
  spec.dir = reader.Text();
  spec.log = reader.Text();
  spec.timeout = Duration(reader.Number());
  spec.grace = Duration(reader.Number());
  spec.keep_alive = reader.Number() != 0;
  spec.silence = Duration(reader.Number());
  return spec;
}

inline void Write(WireWriter& writer, const ProcessStatus& status) {
  const int flags = (status.state == ProcessState::kExited ? 1 : 0) | (status.timed_out ? 2 : 0) |
                    (status.killed ? 4 : 0) | (status.lost ? 8 : 0) | (status.silent ? 16 : 0);
  writer.Text(status.id).Number(flags).Number(status.pid).Number(status.exit_code);
  writer.Number(status.signal).Number(status.restarts).Text(status.message);
  writer.Number(status.started.ms).Number(status.ended.ms).Number(status.max_rss_bytes);
  writer.Number(static_cast<int64_t>(status.cpu_seconds * 1e6));
}

inline ProcessStatus ReadStatus(WireReader& reader) {
  ProcessStatus status;
  status.id = reader.Text();
  const int64_t flags = reader.Number();
  status.state = (flags & 1) != 0 ? ProcessState::kExited : ProcessState::kRunning;
  status.timed_out = (flags & 2) != 0;
  status.killed = (flags & 4) != 0;
  status.lost = (flags & 8) != 0;
  status.silent = (flags & 16) != 0;
  status.pid = static_cast<int>(reader.Number());
  status.exit_code = static_cast<int>(reader.Number());
  status.signal = static_cast<int>(reader.Number());
  status.restarts = static_cast<int>(reader.Number());
  status.message = reader.Text();
  status.started.ms = reader.Number();
  status.ended.ms = reader.Number();
  status.max_rss_bytes = reader.Number();
  status.cpu_seconds = static_cast<double>(reader.Number()) / 1e6;
  return status;
}

}  // namespace cd4ml
