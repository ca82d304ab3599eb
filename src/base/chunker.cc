// FastCDC: a gear hash of the last 64 bytes, tested with a stricter mask before the average size than
// after it, so that most chunks are close to it.
#include "cd4ml/base/chunker.h"

#include <array>

namespace cd4ml {
namespace {

// A random number for each byte, by splitmix64.
constexpr std::array<uint64_t, 256> MakeGear() {
  std::array<uint64_t, 256> gear = {};
  uint64_t state = 0;
  for (uint64_t& number : gear) {
    uint64_t x = state += 0x9E3779B97F4A7C15;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
    number = x ^ (x >> 31);
  }
  return gear;
}

constexpr std::array<uint64_t, 256> kGear = MakeGear();

// The upper bits depend on the most bytes.
constexpr uint64_t UpperBits(int count) { return ~uint64_t{0} << (64 - count); }

// The average is 2^16.
constexpr uint64_t kMaskBefore = UpperBits(18);
constexpr uint64_t kMaskAfter = UpperBits(14);

}  // namespace

size_t CutChunk(std::string_view bytes) {
  const size_t end = std::min(bytes.size(), kChunkMax);
  const size_t average = std::min(end, kChunkAverage);
  uint64_t hash = 0;
  size_t i = kChunkMin;
  for (; i < average; ++i) {
    hash = (hash << 1) + kGear[static_cast<unsigned char>(bytes[i])];
    if ((hash & kMaskBefore) == 0) return i + 1;
  }
  for (; i < end; ++i) {
    hash = (hash << 1) + kGear[static_cast<unsigned char>(bytes[i])];
    if ((hash & kMaskAfter) == 0) return i + 1;
  }
  return end;
}

}  // namespace cd4ml
