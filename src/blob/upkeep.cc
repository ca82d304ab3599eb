// Counting, folding and removing blobs.
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "blob/file_blob_store.h"
#include "cd4ml/base/status.h"

namespace cd4ml::blob {
namespace {

using Folders = std::initializer_list<const SealedFolder*>;

// No call but a change sets this time; a link, a mode and a touch do.
UtcTime UsedAt(const struct stat& facts) {
  return {static_cast<int64_t>(facts.st_ctim.tv_sec) * 1000 + facts.st_ctim.tv_nsec / 1'000'000};
}

}  // namespace

absl::StatusOr<std::vector<StoredBlob>> FileBlobStore::List() {
  std::map<Digest, StoredBlob> blobs;
  folded_.recipes().ForEach([&](const Digest& digest, const struct stat& facts) {
    const auto size = folded_.Size(digest);
    blobs[digest] = {digest, size.ok() ? *size : 0, UsedAt(facts), true, false};
  });
  objects_.ForEach([&](const Digest& digest, const struct stat& facts) {
    StoredBlob& blob = blobs[digest];
    blob = {digest, facts.st_size, std::max(blob.used, UsedAt(facts)), false, facts.st_nlink > 1};
  });
  std::vector<StoredBlob> all;
  for (auto& [digest, blob] : blobs) all.push_back(std::move(blob));
  return all;
}

absl::StatusOr<bool> FileBlobStore::RemoveUnused(const Digest& digest, UtcTime before) {
  const Fd lock = LockUse(/*alone=*/true);
  for (const SealedFolder* folder : Folders{&objects_, &folded_.recipes()}) {
    const auto facts = folder->Find(digest);
    if (facts && UsedAt(*facts) >= before) return false;
  }
  CD4ML_RETURN_IF_ERROR(Remove(digest));
  return true;
}

absl::StatusOr<int64_t> FileBlobStore::Fold(const Digest& digest, const std::stop_token& stop) {
  const int64_t used = usage_.used();
  CD4ML_ASSIGN_OR_RETURN(const Fd whole, objects_.OpenFile(digest));
  CD4ML_ASSIGN_OR_RETURN(const std::vector<Chunk> chunks, Chunks(digest, stop));
  if (chunks.size() > kChunksMax) return 0;
  const absl::Status folded = folded_.Fold(digest, whole.get(), chunks, stop);
  if (!folded.ok()) {
    Forget(digest);
    return folded;
  }
  CD4ML_RETURN_IF_ERROR(objects_.Remove(digest));
  Forget(digest);
  return used - usage_.used();
}

absl::StatusOr<int64_t> FileBlobStore::RemoveLoose(UtcTime before, const std::stop_token& stop) {
  const int64_t used = usage_.used();
  folded_.RemoveLoose(stop);
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(dir_ + "/partial", error)) {
    const std::string name = entry.path().filename().string();
    const Fd fd(openat(partial_.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd.is_open() || flock(fd.get(), LOCK_EX | LOCK_NB) != 0) continue;
    const auto facts = Stat(fd.get());
    if (facts.ok() && UsedAt(*facts) < before) unlinkat(partial_.get(), name.c_str(), 0);
  }
  const int64_t freed = used - usage_.used();
  int64_t counted = 0;
  for (const SealedFolder* folder :
       Folders{&objects_, &index_, &folded_.recipes(), &folded_.chunks()}) {
    folder->ForEach([&](const Digest&, const struct stat& facts) { counted += OnDisk(facts); });
  }
  usage_.Set(counted);
  return freed;
}

}  // namespace cd4ml::blob
