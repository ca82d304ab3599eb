// Bytes that look random, and edits of them, for tests of what versions share.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>

namespace cd4ml {

inline std::string RandomText(size_t size, std::mt19937& random) {
  std::string bytes(size, '\0');
  for (size_t i = 0; i < size; i += 4) {
    const auto number = static_cast<uint32_t>(random());
    std::memcpy(bytes.data() + i, &number, std::min<size_t>(4, size - i));
  }
  return bytes;
}

// Inserts, erases or overwrites some bytes at `count` places.
inline void EditAtRandom(std::string& bytes, int count, std::mt19937& random) {
  for (int i = 0; i < count; ++i) {
    const size_t at = random() % bytes.size();
    const size_t size = 1 + random() % 200;
    switch (random() % 3) {
      case 0:
        bytes.insert(at, RandomText(size, random));
        break;
      case 1:
        bytes.erase(at, size);
        break;
      default:
        bytes.replace(at, size, RandomText(size, random));
    }
  }
}

}  // namespace cd4ml
