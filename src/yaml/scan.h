// Looks at the bytes of a YAML text before the YAML library does, and refuses what that library
// reads in silence or chokes on.
#pragma once

#include <string_view>
#include <vector>

#include "cd4ml/core/diagnostic.h"

namespace cd4ml::yaml {

constexpr size_t kBytesMax = 8u << 20;
constexpr int kDepthMax = 32;
constexpr size_t kValuesMax = 600'000;

// Where a scalar stands in the text, with its quotes.
struct ScalarToken {
  core::Place place;
  std::string_view text;  // As written.
};

struct Scan {
  std::vector<ScalarToken> scalars;  // In the order of the text; empty values are not among them.
  core::Diagnostics findings;        // At most one: nothing behind it can be trusted.
};

// Finds bytes that are not clean UTF-8 text, indentation other than spaces, quotes and brackets
// that are not closed, empty entries, more brackets than kDepthMax, and forms that are not part of
// the language. Linear in time; takes nothing on trust, so that `scalars` can be compared with what
// the YAML library says it read.
Scan ScanText(std::string_view text);

}  // namespace cd4ml::yaml
