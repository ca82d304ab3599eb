// Chunks by zstd, lists as text.
#include "blob/chunks.h"

#include <zstd.h>

#include <charconv>

#include "cd4ml/base/status.h"

namespace cd4ml::blob {
namespace {

constexpr char kRaw = 'r';
constexpr char kZstd = 'z';
constexpr int kLevel = 3;

absl::Status Torn() { return absl::DataLossError("a list of chunks is damaged"); }

// Cuts a number up to `end` off `text`.
absl::StatusOr<int64_t> TakeNumber(std::string_view& text, char end) {
  int64_t number = 0;
  const auto [at, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || at == text.data() + text.size() || *at != end || number < 0) {
    return Torn();
  }
  text.remove_prefix(static_cast<size_t>(at - text.data()) + 1);
  return number;
}

}  // namespace

std::string Pack(std::string_view bytes) {
  std::string packed(ZSTD_compressBound(bytes.size()) + 1, kZstd);
  const size_t size =
      ZSTD_compress(packed.data() + 1, packed.size() - 1, bytes.data(), bytes.size(), kLevel);
  if (ZSTD_isError(size) == 0 && size < bytes.size() - bytes.size() / 8) {
    packed.resize(size + 1);
    return packed;
  }
  return kRaw + std::string(bytes);
}

absl::StatusOr<std::string> Unpack(std::string_view stored, const Chunk& chunk) {
  std::string bytes;
  if (stored.starts_with(kRaw)) {
    bytes = stored.substr(1);
  } else if (stored.starts_with(kZstd)) {
    bytes.resize(static_cast<size_t>(chunk.size));
    const size_t size =
        ZSTD_decompress(bytes.data(), bytes.size(), stored.data() + 1, stored.size() - 1);
    bytes.resize(ZSTD_isError(size) != 0 ? 0 : size);
  }
  if (static_cast<int64_t>(bytes.size()) == chunk.size && Sha256(bytes) == chunk.digest) {
    return bytes;
  }
  return absl::DataLossError("chunk sha256:" + chunk.digest.hex() + " is damaged");
}

int64_t SizeOf(const std::vector<Chunk>& chunks) {
  int64_t size = 0;
  for (const Chunk& chunk : chunks) size += chunk.size;
  return size;
}

std::string FormatList(const std::vector<Chunk>& chunks) {
  std::string text = std::to_string(SizeOf(chunks)) + '\n';
  for (const Chunk& chunk : chunks) {
    text += chunk.digest.hex() + ' ' + std::to_string(chunk.size) + '\n';
  }
  return text + Sha256(text).hex() + '\n';
}

absl::StatusOr<std::vector<Chunk>> ParseList(std::string_view text) {
  constexpr size_t kHashLine = 65;
  if (text.size() < kHashLine) return Torn();
  std::string_view body = text.substr(0, text.size() - kHashLine);
  if (Sha256(body).hex() + '\n' != text.substr(body.size())) return Torn();
  std::vector<Chunk> chunks;
  CD4ML_ASSIGN_OR_RETURN(const int64_t size, TakeNumber(body, '\n'));
  while (!body.empty()) {
    CD4ML_ASSIGN_OR_RETURN(Digest digest, Digest::Parse(body.substr(0, 64)));
    if (body.size() < kHashLine || body[64] != ' ') return Torn();
    body.remove_prefix(kHashLine);
    CD4ML_ASSIGN_OR_RETURN(const int64_t length, TakeNumber(body, '\n'));
    if (length < 1 || length > static_cast<int64_t>(kChunkMax)) return Torn();
    chunks.push_back({std::move(digest), length});
  }
  if (SizeOf(chunks) != size) return Torn();
  return chunks;
}

absl::StatusOr<int64_t> ParseListSize(std::string_view head) { return TakeNumber(head, '\n'); }

}  // namespace cd4ml::blob
