// Facts to JSON text and back: events as the store keeps them, and the few lists inside of rows.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "cd4ml/core/event.h"

namespace cd4ml::store {

// Returns the payload of an event, always well-formed UTF-8. Members with an empty value are left
// out. INVALID_ARGUMENT: a value inside is nested too deeply to be read again.
absl::StatusOr<std::string> EncodeEvent(const core::Event& event);

// Returns the event `kind` (core::EventName) of a payload. INVALID_ARGUMENT: it is none; says
// where.
absl::StatusOr<core::Event> DecodeEvent(std::string_view kind, std::string_view payload);

// Returns the sum that an event's row carries, 16 digits: a bit that flips in any of these is found.
std::string EventSum(int64_t run, int64_t seq, UtcTime at, std::string_view kind, std::string_view payload);

// Encode and Decode as above, for: Value, Verdict, list of string, Diagnostic or UtcTime, map of string to int.
template <typename T>
absl::StatusOr<std::string> Encode(const T& value);
template <typename T>
absl::Status Decode(std::string_view json, T& value);

}  // namespace cd4ml::store
