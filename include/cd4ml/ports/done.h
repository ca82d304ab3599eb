// How asynchronous ports answer: exactly once, from any thread.
#pragma once

#include <functional>

#include "absl/status/statusor.h"

namespace cd4ml {

template <typename T>
using Done = std::function<void(absl::StatusOr<T>)>;
using DoneStatus = std::function<void(absl::Status)>;

}  // namespace cd4ml
