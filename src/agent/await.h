// Turns one call of an asynchronous port into a blocking one, for threads that have nothing else to
// do.
#pragma once

#include <future>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "cd4ml/ports/done.h"

namespace cd4ml::agent {

// Calls `call` with a callback and returns what the callback was given.
template <typename T, typename Call>
absl::StatusOr<T> Await(Call call) {
  auto answer = std::make_shared<std::promise<absl::StatusOr<T>>>();
  auto future = answer->get_future();
  call(Done<T>([answer](absl::StatusOr<T> result) { answer->set_value(std::move(result)); }));
  return future.get();
}

// Returns whether a call failed because nobody answered, so that it may be made again.
inline bool IsAway(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kUnknown:
      return true;
    default:
      return false;
  }
}

}  // namespace cd4ml::agent
