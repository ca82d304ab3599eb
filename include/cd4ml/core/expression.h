// The expressions of the pipeline language: typed, without loops, always ending.
//
//   or  and/&&/||/!  == != < <= > >=  + - * /  ( )  'text' "text" 12 0.5 true false
//   names with dots (params.gate.mae_max, run.lane, r2.train) and calls: passed('s'), failed('s'), always()
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "cd4ml/base/value.h"

namespace cd4ml::core {

// What names and calls mean where an expression is evaluated. Both return nullopt for unknown ones.
struct Scope {
  std::function<std::optional<Value>(std::string_view name)> name;
  std::function<std::optional<Value>(std::string_view function, const std::vector<Value>& arguments)> call;
  std::vector<std::string> known_names;   // For "did you mean"; may be empty.
};

// A call that an expression contains. An argument that is not a literal is null here.
struct FunctionCall {
  std::string function;
  std::vector<Value> arguments;
};

// A parsed expression. Copyable, immutable.
class Expression {
 public:
  // Parses `text`. Errors start with "column N: ", N in `text`. At most 4,096 characters, 64 levels.
  static absl::StatusOr<Expression> Parse(std::string_view text);

  // Returns the value. Type mismatches, unknown names, division by zero, integers that overflow and
  // operands that are not a number (NaN) are errors, which start with "column N: ". Adds every name
  // it looked up with its value to `trace` when that is not null.
  absl::StatusOr<Value> Evaluate(const Scope& scope, std::map<std::string, Value>* trace = nullptr) const;

  // Returns all names that the expression mentions, sorted, each once.
  std::vector<std::string> Names() const;
  // Returns all calls, from left to right.
  std::vector<FunctionCall> Calls() const;
  const std::string& text() const { return text_; }

  struct Node;

 private:
  friend class TemplateReader;

  std::string text_;
  std::shared_ptr<const Node> root_;  // Shared: expressions are values, nodes never change.
};

// Returns whether `text` contains "${{".
bool HasTemplate(std::string_view text);

// Returns whether `text` is one ${{ … }} and nothing else.
bool IsWholeTemplate(std::string_view text);

// Returns the expressions of every ${{ … }} of `text`, or what is wrong with their form. Errors
// start with "column N: ", N in `text`.
absl::StatusOr<std::vector<Expression>> ParseTemplate(std::string_view text);

// Replaces every ${{ … }} of `text`. When the whole text is one template, returns the value with its
// type; otherwise a string. Errors start with "column N: ", N in `text`.
absl::StatusOr<Value> ResolveTemplate(std::string_view text, const Scope& scope);

// Checks the form of every ${{ … }} of `text` without evaluating.
absl::Status CheckTemplate(std::string_view text);

}  // namespace cd4ml::core
