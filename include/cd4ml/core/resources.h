// What a stage takes of an agent while it is leased, beside a slot, and what an agent has to give.
#pragma once

#include <cstdint>
#include <string>

namespace cd4ml::core {

struct Resources {
  int64_t cpu_millis = 0;    // Thousandths of a core.
  int64_t memory_bytes = 0;
  int64_t gpus = 0;

  bool operator==(const Resources&) const = default;
};

// Returns the first resource of which `wanted` asks for more than `free` has, in words ("memory: wants
// 16 GiB, has 2 GiB free"); empty when it fits.
std::string Shortage(const Resources& wanted, const Resources& free);

inline Resources& operator+=(Resources& sum, const Resources& part) {
  sum.cpu_millis += part.cpu_millis;
  sum.memory_bytes += part.memory_bytes;
  sum.gpus += part.gpus;
  return sum;
}
inline Resources& operator-=(Resources& sum, const Resources& part) {
  sum.cpu_millis -= part.cpu_millis;
  sum.memory_bytes -= part.memory_bytes;
  sum.gpus -= part.gpus;
  return sum;
}

}  // namespace cd4ml::core
