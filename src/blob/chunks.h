// How chunks and lists of chunks are written down.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "cd4ml/base/chunker.h"

namespace cd4ml::blob {

// Returns a chunk as it is stored: its bytes compressed where that saves an eighth, else as they are, after
// one byte that says which.
std::string Pack(std::string_view bytes);
// Returns the bytes of a stored chunk; DATA_LOSS unless they are those of `chunk`.
absl::StatusOr<std::string> Unpack(std::string_view stored, const Chunk& chunk);

// Returns the list as text, which ends with its own hash. It begins with its size, see kListHead.
std::string FormatList(const std::vector<Chunk>& chunks);
// DATA_LOSS unless it is what FormatList wrote.
absl::StatusOr<std::vector<Chunk>> ParseList(std::string_view text);
// Returns the size of the blob from the beginning of its list.
absl::StatusOr<int64_t> ParseListSize(std::string_view head);
inline constexpr size_t kListHead = 32;

int64_t SizeOf(const std::vector<Chunk>& chunks);

}  // namespace cd4ml::blob
