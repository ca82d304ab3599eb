// Whether the long suites are asked for: scripts/test --long.
#pragma once

#include <cstdlib>

namespace cd4ml {

inline bool AreTestsLong() {
  const char* set = std::getenv("CD4ML_LONG_TESTS");
  return set != nullptr && *set != '\0';
}

}  // namespace cd4ml
