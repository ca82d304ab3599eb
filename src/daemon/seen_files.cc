// A text file: its first line is the digest of the rest, then a line `<sha256> <size> <stamp>\t<name>` for each file.
#include "seen_files.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "cd4ml/base/log.h"
#include "cd4ml/base/status.h"

namespace cd4ml::daemon {
namespace {

constexpr std::string_view kForm = "cd4ml-seen-1 ";
constexpr size_t kHeaderSize = kForm.size() + 64 + 1;
constexpr int64_t kFileSizeMax = int64_t{2} << 30;

// The coarsest clock of a file system in use (FAT).
constexpr int64_t kTickNs = 2'000'000'000;

bool HasControlCharacter(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](unsigned char c) { return c < ' '; });
}

}  // namespace

std::string StampOf(const FileStat& stat, UtcTime read_at) {
  if (std::max(stat.modified_ns, stat.changed_ns) + kTickNs >= read_at.ms * 1'000'000) return "";
  return std::to_string(stat.size) + '.' + std::to_string(stat.modified_ns) + '.' + std::to_string(stat.changed_ns) +
         '.' + std::to_string(stat.inode) + '.' + std::to_string(stat.device) + (stat.executable ? ".x" : "");
}

bool TakeStored(const SeenFiles::Record& record, BlobStore& blobs, TreeEntry& entry) {
  auto digest = Digest::Parse(record.digest);
  if (!digest.ok()) return false;
  const auto size = blobs.Size(*digest);
  if (!size.ok() || *size != record.size) return false;
  entry.digest = *std::move(digest);
  entry.size = record.size;
  return true;
}

void KeepKnown(const std::vector<const SeenFiles::Record*>& records, std::vector<SeenFile>& seen) {
  for (size_t i = 0; i < seen.size(); ++i) {
    if (seen[i].entry.digest.is_set() || records[i] == nullptr) continue;
    auto digest = Digest::Parse(records[i]->digest);
    if (!digest.ok()) continue;
    seen[i].entry.digest = *std::move(digest);
    seen[i].entry.size = records[i]->size;
    seen[i].stamp = records[i]->stamp;
  }
}

SeenFiles::SeenFiles(FileSystem& files, const std::string& folder, std::string_view source)
    : files_(files), folder_(folder), path_(folder + '/' + Sha256(source).hex()) {
  auto text = files_.ReadFile(path_, kFileSizeMax);
  if (!text.ok()) return;
  text_ = *std::move(text);
  Parse();
}

void SeenFiles::Parse() {
  const std::string_view text = text_;
  if (!text.starts_with(kForm) || text.size() < kHeaderSize) return;
  std::string_view rest = text.substr(kHeaderSize);
  if (Sha256(rest).hex() != text.substr(kForm.size(), 64)) return;
  while (!rest.empty()) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(line.size() + 1);
    const size_t space = line.find(' ', 65), tab = line.find('\t', 65);
    Record& record = records_.emplace_back();
    record.digest = line.substr(0, 64);
    std::from_chars(line.data() + 65, line.data() + space, record.size);
    record.stamp = line.substr(space + 1, tab - space - 1);
    record.name = line.substr(tab + 1);
  }
}

std::vector<const SeenFiles::Record*> SeenFiles::Match(const std::vector<std::string>& names) const {
  std::vector<const Record*> matched(names.size(), nullptr);
  size_t at = 0;
  for (size_t i = 0; i < names.size(); ++i) {
    while (at < records_.size() && records_[at].name < names[i]) ++at;
    if (at < records_.size() && records_[at].name == names[i]) matched[i] = &records_[at];
  }
  return matched;
}

void SeenFiles::Save(const std::vector<SeenFile>& seen) const {
  std::string text(kHeaderSize, '\n');
  for (const auto& [entry, stamp] : seen) {
    if (stamp.empty() || HasControlCharacter(stamp)) continue;
    text += entry.digest.hex() + ' ' + std::to_string(entry.size) + ' ' + stamp + '\t' + entry.path + '\n';
  }
  const std::string_view body = std::string_view(text).substr(kHeaderSize);
  text.replace(0, kHeaderSize - 1, std::string(kForm) + Sha256(body).hex());
  if (text == text_) return;
  absl::Status saved = files_.MakeDirs(folder_);
  if (saved.ok()) saved = files_.WriteFileAtomically(path_, text);
  // What is lost is time only.
  if (!saved.ok()) LogWarn("what files hashed to could not be kept", {{"error", Message(saved)}});
}

}  // namespace cd4ml::daemon
