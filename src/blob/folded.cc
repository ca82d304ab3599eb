// Folding: chunks first, read back, then the recipe; the whole file goes last, by the caller.
#include "blob/folded.h"

#include <unistd.h>

#include <algorithm>
#include <unordered_set>

#include "cd4ml/base/status.h"

namespace cd4ml::blob {
namespace {

// Chunks made durable together; each keeps a descriptor open meanwhile.
constexpr size_t kBatchMax = 256;

constexpr int64_t kListMax = 128 << 20;

absl::StatusOr<std::string> ReadFile(int fd, int64_t size_max) {
  CD4ML_ASSIGN_OR_RETURN(const struct stat facts, Stat(fd));
  if (facts.st_size > size_max) return absl::DataLossError("the file has grown");
  std::string bytes(static_cast<size_t>(facts.st_size), '\0');
  CD4ML_ASSIGN_OR_RETURN(const size_t count, ReadAt(fd, 0, bytes));
  bytes.resize(count);
  return bytes;
}

absl::Status GoOn(const std::stop_token& stop) {
  return stop.stop_requested() ? absl::CancelledError("cancelled while chunks were moved")
                               : absl::OkStatus();
}

}  // namespace

absl::Status FoldedBlobs::Open(int root, const std::string& root_path, Usage& usage,
                               const OnLostWrites& on_lost_writes) {
  CD4ML_RETURN_IF_ERROR(recipes_.Open(root, root_path, "recipes", usage, on_lost_writes));
  return chunks_.Open(root, root_path, "chunks", usage, on_lost_writes);
}

absl::StatusOr<std::vector<Chunk>> FoldedBlobs::Recipe(const Digest& digest) const {
  CD4ML_ASSIGN_OR_RETURN(const Fd fd, recipes_.OpenFile(digest));
  CD4ML_ASSIGN_OR_RETURN(const std::string text, ReadFile(fd.get(), kListMax));
  return ParseList(text);
}

absl::StatusOr<int64_t> FoldedBlobs::Size(const Digest& digest) const {
  CD4ML_ASSIGN_OR_RETURN(const Fd fd, recipes_.OpenFile(digest));
  std::string head(kListHead, '\0');
  CD4ML_ASSIGN_OR_RETURN(const size_t count, ReadAt(fd.get(), 0, head));
  return ParseListSize(std::string_view(head).substr(0, count));
}

bool FoldedBlobs::IsThere(const Digest& digest) const {
  if (!recipes_.IsThere(digest)) return false;
  const auto chunks = Recipe(digest);
  return chunks.ok() && std::all_of(chunks->begin(), chunks->end(), [this](const Chunk& chunk) {
           return chunks_.IsThere(chunk.digest);
         });
}

absl::StatusOr<std::string> FoldedBlobs::ReadChunk(const Chunk& chunk) const {
  CD4ML_ASSIGN_OR_RETURN(const Fd fd, chunks_.OpenFile(chunk.digest));
  CD4ML_ASSIGN_OR_RETURN(const std::string stored, ReadFile(fd.get(), kChunkMax + 1));
  return Unpack(stored, chunk);
}

absl::Status FoldedBlobs::Write(const Digest& digest, int to, const std::stop_token& stop) const {
  CD4ML_ASSIGN_OR_RETURN(const std::vector<Chunk> chunks, Recipe(digest));
  Hasher hasher;
  for (const Chunk& chunk : chunks) {
    CD4ML_RETURN_IF_ERROR(GoOn(stop));
    auto bytes = ReadChunk(chunk);
    if (!bytes.ok()) return absl::DataLossError(Message(bytes.status()));
    hasher.Update(*bytes);
    CD4ML_RETURN_IF_ERROR(WriteAll(to, *bytes));
  }
  return hasher.Finish() == digest ? absl::OkStatus()
                                   : absl::DataLossError("the recipe is another blob's");
}

absl::Status FoldedBlobs::PutChunks(int whole, const std::vector<Chunk>& chunks,
                                    const std::stop_token& stop) {
  std::set<std::string> folders;
  std::unordered_set<std::string> seen;
  std::vector<Staged> batch;
  int64_t offset = 0;
  for (size_t i = 0; i < chunks.size(); ++i) {
    CD4ML_RETURN_IF_ERROR(GoOn(stop));
    const Chunk& chunk = chunks[i];
    if (seen.insert(chunk.digest.hex()).second && !chunks_.IsThere(chunk.digest)) {
      std::string bytes(static_cast<size_t>(chunk.size), '\0');
      CD4ML_ASSIGN_OR_RETURN(const size_t count, ReadAt(whole, offset, bytes));
      if (count < bytes.size() || Sha256(bytes) != chunk.digest) {
        return absl::DataLossError("the blob is not cut as its list says");
      }
      CD4ML_ASSIGN_OR_RETURN(Temp temp, tmp_.New());
      CD4ML_RETURN_IF_ERROR(WriteAll(temp.fd(), Pack(bytes)));
      batch.push_back({std::move(temp), chunk.digest});
    }
    offset += chunk.size;
    if (batch.size() == kBatchMax || i + 1 == chunks.size()) {
      CD4ML_RETURN_IF_ERROR(chunks_.Publish(std::exchange(batch, {}), folders));
    }
  }
  return chunks_.SyncFolders(folders);
}

absl::Status FoldedBlobs::Check(const Digest& digest, const std::vector<Chunk>& chunks,
                                const std::stop_token& stop) const {
  Hasher hasher;
  for (const Chunk& chunk : chunks) {
    CD4ML_RETURN_IF_ERROR(GoOn(stop));
    const auto bytes = ReadChunk(chunk);
    if (!bytes.ok()) {
      // One that was there already; the next attempt stores it again.
      CD4ML_RETURN_IF_ERROR(chunks_.Remove(chunk.digest));
      return absl::DataLossError(Message(bytes.status()));
    }
    hasher.Update(*bytes);
  }
  return hasher.Finish() == digest ? absl::OkStatus()
                                   : absl::DataLossError("the chunks do not make up the blob");
}

absl::Status FoldedBlobs::Fold(const Digest& digest, int whole, const std::vector<Chunk>& chunks,
                               const std::stop_token& stop) {
  CD4ML_RETURN_IF_ERROR(PutChunks(whole, chunks, stop));
  CD4ML_RETURN_IF_ERROR(Check(digest, chunks, stop));
  if (recipes_.IsThere(digest)) return absl::OkStatus();
  std::vector<Staged> batch;
  CD4ML_ASSIGN_OR_RETURN(Temp temp, tmp_.New());
  CD4ML_RETURN_IF_ERROR(WriteAll(temp.fd(), FormatList(chunks)));
  batch.push_back({std::move(temp), digest});
  std::set<std::string> folders;
  CD4ML_RETURN_IF_ERROR(recipes_.Publish(std::move(batch), folders));
  return recipes_.SyncFolders(folders);
}

bool FoldedBlobs::MoveAside(const Digest& digest, int folder, const std::string& name) const {
  const auto fd = recipes_.OpenFile(digest);
  return fd.ok() && recipes_.MoveAside(digest, fd->get(), folder, name);
}

void FoldedBlobs::RemoveLoose(const std::stop_token& stop) {
  std::unordered_set<std::string> wanted;
  bool is_complete = true;
  recipes_.ForEach([&](const Digest& digest, const struct stat&) {
    const auto chunks = Recipe(digest);
    if (!chunks.ok()) {
      is_complete = is_complete && absl::IsDataLoss(chunks.status());
      return;
    }
    for (const Chunk& chunk : *chunks) wanted.insert(chunk.digest.hex());
  });
  // A list that could not be read just now may name any of them.
  if (!is_complete) return;
  chunks_.ForEach([&](const Digest& digest, const struct stat&) {
    if (!stop.stop_requested() && !wanted.contains(digest.hex())) {
      (void)chunks_.Remove(digest);
    }
  });
}

}  // namespace cd4ml::blob
