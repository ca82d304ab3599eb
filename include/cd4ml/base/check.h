// CD4ML_CHECK: for programming errors only, always on. Never for input, files or the network.
#pragma once

#include <string_view>

namespace cd4ml {

// Prints where and what failed to standard error and aborts. Restarting is cheap and safe.
[[noreturn]] void CheckFailed(const char* file, int line, const char* condition,
                              std::string_view context);

}  // namespace cd4ml

#define CD4ML_CHECK(condition, context)                                         \
  do {                                                                          \
    if (!(condition)) ::cd4ml::CheckFailed(__FILE__, __LINE__, #condition, context); \
  } while (false)
