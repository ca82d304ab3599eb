// Aborting on programming errors.
#include "cd4ml/base/check.h"

#include <cstdio>
#include <cstdlib>

namespace cd4ml {

void CheckFailed(const char* file, int line, const char* condition, std::string_view context) {
  std::fprintf(stderr, "%s:%d: check failed: %s: %.*s\n", file, line, condition,
               static_cast<int>(context.size()), context.data());
  std::abort();
}

}  // namespace cd4ml
