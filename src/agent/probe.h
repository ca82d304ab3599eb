// Probe sets: frozen requests, each with what the original model said, held against what a service answers. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "cd4ml/base/value.h"
#include "cd4ml/core/rule.h"
#include "cd4ml/ports/http_client.h"

namespace cd4ml::agent {

struct Question {
  std::optional<Value> sent;  // What goes into the request; none without a body.
  Value expected;
};

// Reads a probe set (a JSON value in each line) and makes of every line what the rule says. INVALID_ARGUMENT: names the
// line, or says that there is none; `what` is how the set is called.
absl::StatusOr<std::vector<Question>> ReadProbeSet(const std::string& text, const core::ProbeRule& probe,
                                                   const std::string& what = "probe set");

// Returns the JSON of a good answer. INVALID_ARGUMENT: it has another status, is none, or does not say so in its Content-Type.
absl::StatusOr<Value> JsonOf(const HttpResponse& response);

// Returns what a JSON pointer names in an answer, with "" all of it. INVALID_ARGUMENT: it is not there.
absl::StatusOr<Value> PointedAt(const Value& answer, const std::string& pointer);

// Returns how an answer differs from what the original model said, in one sentence, or "". With a JSON pointer the answer
// must be JSON, and say so.
std::string AnswerBreach(const core::ProbeRule& probe, const Value& expected, const HttpResponse& response);
// The same for a message of gRPC in its JSON form.
std::string MessageBreach(const core::ProbeRule& probe, const Value& expected, const Value& message);

}  // namespace cd4ml::agent
