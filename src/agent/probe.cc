// Reads probe sets and compares answers.
#include "agent/probe.h"

#include <algorithm>

#include "agent/contract.h"
#include "cd4ml/base/status.h"
#include "cd4ml/core/expression.h"

namespace cd4ml::agent {
namespace {

constexpr size_t kShownMax = 120;

// One line of a probe set as the expressions of a rule see it.
core::Scope RowScope(const Value& row) {
  core::Scope scope;
  scope.name = [&row](std::string_view name) -> std::optional<Value> {
    if (name == "row") return row;
    if (!name.starts_with("row.")) return std::nullopt;
    const Value* found = row.FindPath(name.substr(4));
    return found != nullptr ? std::optional(*found) : std::nullopt;
  };
  scope.call = [](std::string_view, const std::vector<Value>&) { return std::nullopt; };
  return scope;
}

std::string Shown(const Value& value) {
  std::string json = ToJson(value);
  return json.size() > kShownMax ? json.substr(0, kShownMax) + " ..." : json;
}

std::string Difference(const core::ProbeRule& probe, const Value& expected, const Value& answer) {
  if (NearlyEqual(expected, answer, probe.abs_tol.value_or(0), probe.rel_tol.value_or(0))) return "";
  return "answered " + Shown(answer) + ", the model said " + Shown(expected);
}

// Returns why an answer is none, whatever it holds.
absl::Status Refusal(const HttpResponse& response) {
  if (response.status >= 200 && response.status < 300) return absl::OkStatus();
  return absl::InvalidArgumentError("status " + std::to_string(response.status) + ": " + response.body.substr(0, kShownMax));
}

// Returns what a rule points at in an answer; without a JSON pointer, all of it as text.
absl::StatusOr<Value> AnswerOf(const core::ProbeRule& probe, const HttpResponse& response) {
  CD4ML_RETURN_IF_ERROR(Refusal(response));
  if (probe.answer_pointer.empty()) return Value(response.body);
  CD4ML_ASSIGN_OR_RETURN(const Value body, JsonOf(response));
  return PointedAt(body, probe.answer_pointer);
}

}  // namespace

absl::StatusOr<std::vector<Question>> ReadProbeSet(const std::string& text, const core::ProbeRule& probe,
                                                   const std::string& what) {
  CD4ML_ASSIGN_OR_RETURN(const core::Expression equals, core::Expression::Parse(probe.equals));
  std::optional<core::Expression> body;
  if (!probe.body.empty()) {
    CD4ML_ASSIGN_OR_RETURN(body, core::Expression::Parse(probe.body));
  }
  std::vector<Question> questions;
  int64_t line = 0;
  for (size_t start = 0; start < text.size();) {
    const size_t end = std::min(text.find('\n', start), text.size());
    const std::string_view part = std::string_view(text).substr(start, end - start);
    start = end + 1;
    ++line;
    if (part.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const std::string where = "line " + std::to_string(line) + " of the " + what;
    const absl::StatusOr<Value> row = ParseJson(part);
    if (!row.ok()) return Annotate(row.status(), where);
    const core::Scope scope = RowScope(*row);
    Question question;
    if (body) {
      absl::StatusOr<Value> sent = body->Evaluate(scope);
      if (!sent.ok()) return Annotate(sent.status(), where);
      question.sent = *std::move(sent);
    }
    absl::StatusOr<Value> expected = equals.Evaluate(scope);
    if (!expected.ok()) return Annotate(expected.status(), where);
    question.expected = *std::move(expected);
    questions.push_back(std::move(question));
  }
  if (questions.empty()) return absl::InvalidArgumentError("there is nothing in the " + what);
  const bool says_nothing = std::all_of(questions.begin(), questions.end(), [](const Question& question) { return question.expected.is_null(); });
  if (says_nothing)
    return absl::InvalidArgumentError("\"" + probe.equals + "\" is null in every row of the " + what + ", so nothing would be compared");
  return questions;
}

absl::StatusOr<Value> JsonOf(const HttpResponse& response) {
  CD4ML_RETURN_IF_ERROR(Refusal(response));
  const std::string shown = response.body.substr(0, kShownMax);
  if (const std::string type = ContentType(response); !IsJsonType(type)) {
    return absl::InvalidArgumentError(
        type.empty() ? "the answer has no Content-Type: " + shown
                     : "Content-Type is \"" + type.substr(0, kShownMax) + "\", must be that of JSON: " + shown);
  }
  absl::StatusOr<Value> body = ParseJson(response.body);
  return body.ok() ? *std::move(body) : absl::StatusOr<Value>(absl::InvalidArgumentError("the answer is no JSON: " + shown));
}

absl::StatusOr<Value> PointedAt(const Value& answer, const std::string& pointer) {
  const Value* found = FindPointer(answer, pointer);
  if (found != nullptr) return *found;
  return absl::InvalidArgumentError("the answer has no " + pointer + ": " + Shown(answer));
}

std::string AnswerBreach(const core::ProbeRule& probe, const Value& expected, const HttpResponse& response) {
  absl::StatusOr<Value> answer = AnswerOf(probe, response);
  if (!answer.ok()) return Message(answer.status());
  if (probe.answer_pointer.empty() && !expected.is_string()) {
    if (absl::StatusOr<Value> body = ParseJson(response.body); body.ok()) answer = std::move(body);
  }
  return Difference(probe, expected, *answer);
}

std::string MessageBreach(const core::ProbeRule& probe, const Value& expected, const Value& message) {
  const absl::StatusOr<Value> answer = PointedAt(message, probe.answer_pointer);
  return answer.ok() ? Difference(probe, expected, *answer) : Message(answer.status());
}

}  // namespace cd4ml::agent
