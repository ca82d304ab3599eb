// Fallible functions return absl::Status or absl::StatusOr; these macros pass an error on.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Returns the status of `expression` from the enclosing function unless it is OK.
#define CD4ML_RETURN_IF_ERROR(expression)                     \
  do {                                                        \
    absl::Status cd4ml_status = (expression);                 \
    if (!cd4ml_status.ok()) return cd4ml_status;              \
  } while (false)

#define CD4ML_CONCAT_INNER(a, b) a##b
#define CD4ML_CONCAT(a, b) CD4ML_CONCAT_INNER(a, b)

// Declares or assigns `target` from a StatusOr `expression`, or returns its status.
#define CD4ML_ASSIGN_OR_RETURN(target, expression)                                        \
  auto CD4ML_CONCAT(cd4ml_or_, __LINE__) = (expression);                                  \
  if (!CD4ML_CONCAT(cd4ml_or_, __LINE__).ok()) return CD4ML_CONCAT(cd4ml_or_, __LINE__).status(); \
  target = std::move(CD4ML_CONCAT(cd4ml_or_, __LINE__)).value()

namespace cd4ml {

// Returns `status` with "`what`: " put before its message; OK stays OK.
absl::Status Annotate(const absl::Status& status, std::string_view what);

// Returns the message alone. Debian's abseil has a string_view of its own, which std::string does not
// mix with; nobody else needs to know.
std::string Message(const absl::Status& status);

}  // namespace cd4ml
