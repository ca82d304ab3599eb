// Telling what the daemon answers from its not answering: either may be UNAVAILABLE.
#pragma once

#include "absl/status/status.h"
#include "absl/strings/cord.h"

namespace cd4ml {

inline constexpr char kAnswerType[] = "cd4ml.v1.Answer";

// Returns `status` marked as what the daemon itself said.
inline absl::Status AsAnswer(absl::Status status) {
  if (!status.ok()) status.SetPayload(kAnswerType, absl::Cord("1"));
  return status;
}

inline bool IsAnswer(const absl::Status& status) { return status.GetPayload(kAnswerType).has_value(); }

}  // namespace cd4ml
