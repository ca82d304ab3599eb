// XML as other tools write it, read into a tree: the one place that knows an XML library.
#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "cd4ml/core/own_verdict.h"

namespace cd4ml::xml {

// What a document may hold at most.
constexpr int kDepthMax = 64;
constexpr int kElementsMax = 200'000;
constexpr size_t kTextMax = 4096;      // Of an element or an attribute; more is cut.

// Returns the root of a document in UTF-8, UTF-16 or Latin-1. INVALID_ARGUMENT names line and reason when it is not
// well-formed, has a document type (and so may define entities), or exceeds what is said above. Opens no other file.
absl::StatusOr<core::XmlElement> ParseXml(std::string_view text);

}  // namespace cd4ml::xml
