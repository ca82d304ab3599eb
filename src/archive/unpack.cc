// libarchive, with every protection that it has against names and links that lead outside.
#include "cd4ml/archive/unpack.h"

#include <archive.h>
#include <archive_entry.h>

#include <memory>

namespace cd4ml::archive {
namespace {

constexpr int64_t kBytesMax = int64_t{16} << 30;
constexpr int64_t kEntriesMax = 1'000'000;
constexpr size_t kBlock = 1 << 16;
constexpr int kFlags = ARCHIVE_EXTRACT_SECURE_SYMLINKS | ARCHIVE_EXTRACT_SECURE_NODOTDOT;

using Reader = std::unique_ptr<struct archive, decltype(&archive_read_free)>;
using Writer = std::unique_ptr<struct archive, decltype(&archive_write_free)>;

absl::Status Refused(const std::string& file, const std::string& why) {
  return absl::InvalidArgumentError("package " + file + " cannot be unpacked: " + why);
}

std::string Said(struct archive* archive) {
  const char* text = archive_error_string(archive);
  return text == nullptr ? "unknown error" : text;
}

// Moves an entry below `dir`; "" when its name leads elsewhere or it is neither file, folder nor link.
std::string Rebase(struct archive_entry* entry, const std::string& dir) {
  const char* name = archive_entry_pathname(entry);
  if (name == nullptr || name[0] == '\0' || name[0] == '/') return "it holds the name \"" + std::string(name ? name : "") + "\"";
  const auto type = archive_entry_filetype(entry);
  if (type != AE_IFREG && type != AE_IFDIR && type != AE_IFLNK) {
    return "\"" + std::string(name) + "\" is neither file, folder nor link";
  }
  if (const char* link = archive_entry_symlink(entry)) {
    const std::string target = link;
    if (target.starts_with('/') || target.find("..") != std::string::npos) {
      return "link \"" + std::string(name) + "\" leads to \"" + target + "\"";
    }
  }
  if (const char* link = archive_entry_hardlink(entry)) {
    archive_entry_set_hardlink(entry, (dir + "/" + link).c_str());
  }
  archive_entry_set_pathname(entry, (dir + "/" + name).c_str());
  archive_entry_set_perm(entry, archive_entry_perm(entry) & 0777);
  return "";
}

absl::Status CopyData(struct archive* reader, struct archive* writer, const std::string& file, int64_t& bytes) {
  while (true) {
    const void* data = nullptr;
    size_t size = 0;
    la_int64_t offset = 0;
    const int status = archive_read_data_block(reader, &data, &size, &offset);
    if (status == ARCHIVE_EOF) return absl::OkStatus();
    if (status != ARCHIVE_OK) return Refused(file, Said(reader));
    bytes += static_cast<int64_t>(size);
    if (bytes > kBytesMax) return absl::ResourceExhaustedError("package " + file + " unpacks to more than 16 GiB");
    if (archive_write_data_block(writer, data, size, offset) < ARCHIVE_OK) return Refused(file, Said(writer));
  }
}

}  // namespace

absl::Status Unpack(const std::string& file, const std::string& dir) {
  const Reader reader(archive_read_new(), archive_read_free);
  const Writer writer(archive_write_disk_new(), archive_write_free);
  archive_read_support_filter_all(reader.get());
  archive_read_support_format_tar(reader.get());
  archive_read_support_format_zip(reader.get());
  archive_write_disk_set_options(writer.get(), kFlags);
  if (archive_read_open_filename(reader.get(), file.c_str(), kBlock) != ARCHIVE_OK) {
    return Refused(file, Said(reader.get()));
  }
  int64_t bytes = 0;
  for (int64_t entries = 0;; ++entries) {
    struct archive_entry* entry = nullptr;
    const int status = archive_read_next_header(reader.get(), &entry);
    if (status == ARCHIVE_EOF) return entries > 0 ? absl::OkStatus() : Refused(file, "it is empty or no archive");
    if (status != ARCHIVE_OK) return Refused(file, Said(reader.get()));
    if (entries >= kEntriesMax) return absl::ResourceExhaustedError("package " + file + " has more than 1,000,000 entries");
    const std::string refused = Rebase(entry, dir);
    if (!refused.empty()) return Refused(file, refused);
    if (archive_write_header(writer.get(), entry) != ARCHIVE_OK) return Refused(file, Said(writer.get()));
    if (archive_entry_size(entry) > 0) {
      absl::Status copied = CopyData(reader.get(), writer.get(), file, bytes);
      if (!copied.ok()) return copied;
    }
    if (archive_write_finish_entry(writer.get()) != ARCHIVE_OK) return Refused(file, Said(writer.get()));
  }
}

}  // namespace cd4ml::archive
