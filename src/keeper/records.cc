// Reading and writing the keeper's records in the encoding of its messages.
#include "records.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "cd4ml/base/log.h"
#include "cd4ml/ports/keeper_wire.h"
#include "process_table.h"

namespace cd4ml::keeper {
namespace {

bool AppendTo(const std::string& path, int flags, const std::string& bytes) {
  const int fd = open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC | flags, 0600);
  if (fd < 0) return false;
  errno = 0;
  const bool written = write(fd, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size());
  const int error = written ? 0 : (errno != 0 ? errno : ENOSPC);
  close(fd);
  errno = error;
  return written;
}

std::optional<Record> Parse(const std::string& id, const std::string& bytes) {
  WireReader reader(bytes);
  Record record;
  record.spec = ReadSpec(reader);
  record.cgroup = reader.Text();
  record.boot_id = reader.Text();
  if (!reader.ok() || record.spec.id != id) return std::nullopt;
  record.status.id = id;
  while (!reader.rest().empty()) {
    ProcessStatus status = ReadStatus(reader);
    const int64_t start_ticks = reader.Number();
    if (!reader.ok() || status.id != id) break;
    record.status = std::move(status);
    record.start_ticks = static_cast<uint64_t>(start_ticks);
  }
  return record;
}

}  // namespace

absl::StatusOr<std::map<std::string, std::optional<Record>>> Records::Load() const {
  std::map<std::string, std::optional<Record>> records;
  DIR* folder = opendir(folder_.c_str());
  if (folder == nullptr) {
    return absl::UnavailableError("cannot read \"" + folder_ + "\": " + std::strerror(errno));
  }
  while (const dirent* entry = readdir(folder)) {
    const std::string id = entry->d_name;
    if (IsProcessId(id)) records[id] = Parse(id, ReadSmallFile(Path(id)));
  }
  closedir(folder);
  return records;
}

absl::Status Records::Create(const Record& record) const {
  WireWriter writer;
  Write(writer, record.spec);
  writer.Text(record.cgroup).Text(record.boot_id);
  const std::string path = Path(record.spec.id);
  if (AppendTo(path, O_CREAT | O_TRUNC, writer.bytes())) return absl::OkStatus();
  const std::string reason = std::strerror(errno);
  unlink(path.c_str());
  return absl::UnavailableError("cannot write the record \"" + path + "\": " + reason);
}

void Records::Append(const ProcessStatus& status, uint64_t start_ticks) const {
  WireWriter writer;
  Write(writer, status);
  writer.Number(static_cast<int64_t>(start_ticks));
  if (AppendTo(Path(status.id), 0, writer.bytes())) return;
  LogError("cannot write to a record", {{"process", status.id}, {"error", std::strerror(errno)}});
}

void Records::Remove(const std::string& id) const { unlink(Path(id).c_str()); }

bool IsProcessId(const std::string& id) {
  const auto is_alnum = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
  };
  return !id.empty() && id.size() <= 200 && is_alnum(id[0]) &&
         std::all_of(id.begin(), id.end(),
                     [&](char c) { return is_alnum(c) || c == '.' || c == '_' || c == '-'; });
}

}  // namespace cd4ml::keeper
