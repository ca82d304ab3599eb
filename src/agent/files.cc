// File operations of the agent, on std::filesystem without exceptions.
#include "agent/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <utility>

#include "cd4ml/base/status.h"
#include "cd4ml/base/text.h"

namespace cd4ml::agent {
namespace {

namespace fs = std::filesystem;

absl::Status Failed(std::string_view what, const std::string& path, const std::error_code& error) {
  const std::string text = std::string(what) + " " + path + ": " + error.message();
  if (error == std::errc::no_space_on_device) return absl::ResourceExhaustedError(text);
  if (error == std::errc::no_such_file_or_directory) return absl::NotFoundError(text);
  return absl::InternalError(text);
}

std::error_code LastError() { return {errno, std::generic_category()}; }

absl::Status Write(const std::string& path, std::string_view text, std::ios::openmode mode) {
  errno = 0;
  std::ofstream file(path, std::ios::binary | mode);
  file.write(text.data(), static_cast<std::streamsize>(text.size()));
  file.close();
  return file ? absl::OkStatus() : Failed("cannot write", path, LastError());
}

struct OpenFile {
  OpenFile() = default;
  OpenFile(OpenFile&& other) noexcept : fd(std::exchange(other.fd, -1)), size(other.size) {}
  ~OpenFile() {
    if (fd >= 0) close(fd);
  }
  int fd = -1;
  int64_t size = 0;
};

// Opens a file that a stage or a user names: whatever is no regular file, above all a pipe, might never end.
absl::StatusOr<OpenFile> OpenRegular(const std::string& path) {
  OpenFile file;
  file.fd = open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  struct stat facts {};
  if (file.fd < 0 || fstat(file.fd, &facts) != 0) return Failed("cannot read", path, LastError());
  if (!S_ISREG(facts.st_mode)) {
    return absl::InvalidArgumentError("cannot read " + path + ": it is " +
                                      (S_ISDIR(facts.st_mode) ? "a folder" : "no regular file"));
  }
  file.size = facts.st_size;
  return file;
}

absl::StatusOr<std::string> ReadUpTo(const OpenFile& file, const std::string& path, int64_t offset, int64_t bytes_max) {
  std::string bytes(static_cast<size_t>(std::clamp<int64_t>(file.size - offset, 0, bytes_max)), '\0');
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t got = pread(file.fd, bytes.data() + done, bytes.size() - done, offset + static_cast<off_t>(done));
    if (got < 0) return Failed("cannot read", path, LastError());
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  bytes.resize(done);
  return bytes;
}

}  // namespace

absl::StatusOr<std::string> ReadText(const std::string& path, int64_t size_max) {
  CD4ML_ASSIGN_OR_RETURN(const OpenFile file, OpenRegular(path));
  if (file.size > size_max) {
    return absl::ResourceExhaustedError(path + " has " + std::to_string(file.size) +
                                        " bytes, more than the allowed " +
                                        std::to_string(size_max));
  }
  return ReadUpTo(file, path, 0, size_max);
}

absl::StatusOr<std::string> ReadPiece(const std::string& path, int64_t offset, int64_t bytes_max) {
  CD4ML_ASSIGN_OR_RETURN(const OpenFile file, OpenRegular(path));
  return ReadUpTo(file, path, offset, bytes_max);
}

absl::StatusOr<Value> ReadJson(const std::string& path) {
  CD4ML_ASSIGN_OR_RETURN(const std::string text, ReadText(path, int64_t{64} << 20));
  absl::StatusOr<Value> value = ParseJson(text);
  if (!value.ok()) return Annotate(value.status(), path);
  return value;
}

absl::Status WriteText(const std::string& path, std::string_view text) {
  const std::string next = path + ".next";
  std::error_code error;
  // A file that is there is written over and not emptied first: ext4 begins to write an emptied one to disk at once.
  const bool is_there = fs::exists(fs::symlink_status(next, error));
  CD4ML_RETURN_IF_ERROR(Write(next, text, is_there ? std::ios::in | std::ios::out : std::ios::trunc));
  if (is_there) fs::resize_file(next, text.size(), error);
  if (error && is_there) return Failed("cannot write", next, error);
  fs::rename(next, path, error);
  return error ? Failed("cannot write", path, error) : absl::OkStatus();
}

absl::Status AppendText(const std::string& path, std::string_view text) {
  return Write(path, text, std::ios::app);
}

absl::Status MakeDirs(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  return error ? Failed("cannot make the folder", path, error) : absl::OkStatus();
}

absl::Status RemoveAll(const std::string& path) {
  std::error_code error;
  fs::remove_all(path, error);
  return error ? Failed("cannot remove", path, error) : absl::OkStatus();
}

bool Exists(const std::string& path) {
  std::error_code error;
  return fs::exists(fs::symlink_status(path, error));
}

int64_t FileSize(const std::string& path) {
  std::error_code error;
  const auto size = fs::file_size(path, error);
  return error ? 0 : static_cast<int64_t>(size);
}

int64_t TreeSize(const std::string& path) {
  int64_t size = FileSize(path);
  std::error_code error;
  for (fs::recursive_directory_iterator entry(path, error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code no_size;
    const auto bytes = entry->is_regular_file(no_size) ? entry->file_size(no_size) : 0;
    if (!no_size) size += static_cast<int64_t>(bytes);
  }
  return size;
}

std::vector<std::string> ListNames(const std::string& dir) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator entry(dir, error), end; !error && entry != end;
       entry.increment(error)) {
    names.push_back(entry->path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

int64_t FreeBytes(const std::string& path) {
  std::error_code error;
  const fs::space_info space = fs::space(path, error);
  return error ? 0 : static_cast<int64_t>(space.available);
}

bool IsInside(std::string_view path) {
  if (path.empty() || path.front() == '/' || path.find('\0') != std::string_view::npos)
    return false;
  const fs::path normal = fs::path(path).lexically_normal();
  return normal != "." && *normal.begin() != "..";
}

bool ResolvesInside(const std::string& path, const std::string& dir) {
  std::error_code error;
  const std::string base = fs::canonical(dir, error).string() + "/";
  if (error) return false;
  const std::string resolved = fs::weakly_canonical(path, error).string();
  return !error && resolved.compare(0, base.size(), base) == 0;
}

std::vector<std::string> LastLines(const std::string& path, size_t lines_max) {
  constexpr int64_t kTail = 16 << 10;
  std::istringstream tail(ReadPiece(path, std::max<int64_t>(0, FileSize(path) - kTail), kTail).value_or(""));
  std::vector<std::string> lines;
  for (std::string line; std::getline(tail, line);) {
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.pop_back();
    if (line.empty()) continue;
    if (line.size() > 200) line.resize(200);
    while (!line.empty() && !IsUtf8(line)) line.pop_back();
    lines.push_back(std::move(line));
  }
  if (lines.size() > lines_max)
    lines.erase(lines.begin(), lines.end() - static_cast<long>(lines_max));
  return lines;
}

}  // namespace cd4ml::agent
