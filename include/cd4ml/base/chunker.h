// Content-defined chunks: a stream is cut where its bytes say so, so that an edit moves few cuts.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "cd4ml/base/digest.h"

namespace cd4ml {

// A piece of a longer stream. The pieces of a stream follow each other without a gap.
struct Chunk {
  Digest digest;
  int64_t size = 0;

  bool operator==(const Chunk&) const = default;
};

// Chunks are stored and sent, so these numbers and the cuts they lead to never change.
inline constexpr size_t kChunkMin = 16 << 10;
inline constexpr size_t kChunkAverage = 64 << 10;
inline constexpr size_t kChunkMax = 256 << 10;

// Returns the length of the first chunk of `bytes`, which depends on the bytes of that chunk alone.
// REQUIRES: at least kChunkMax bytes, or all that are left.
size_t CutChunk(std::string_view bytes);

// Cuts a stream that comes piece by piece.
class Chunker {
 public:
  // Calls `take(std::string_view)` with each chunk that is complete by now.
  template <typename Take>
  void Append(std::string_view bytes, const Take& take) {
    pending_ += bytes;
    Cut(kChunkMax, take);
  }
  // Calls `take` with what is left.
  template <typename Take>
  void Finish(const Take& take) {
    Cut(1, take);
  }

 private:
  template <typename Take>
  void Cut(size_t needed, const Take& take) {
    std::string_view rest = pending_;
    while (rest.size() >= needed) {
      const size_t size = CutChunk(rest);
      take(rest.substr(0, size));
      rest.remove_prefix(size);
    }
    pending_.erase(0, pending_.size() - rest.size());
  }

  std::string pending_;
};

}  // namespace cd4ml
