// Small questions about text that several modules ask.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace cd4ml {

// Returns the candidate nearest to `word` by edit distance, or "" when none is near enough to be
// meant by it (more than a third of the letters differ).
std::string ClosestWord(std::string_view word, const std::vector<std::string>& candidates);

// Returns `; did you mean "prep"?`, or "" when no candidate is near.
std::string DidYouMean(std::string_view word, const std::vector<std::string>& candidates);

// Returns whether `name` is [a-z0-9][a-z0-9_-]{0,62}: pipelines, stages, inputs, rules, agents.
bool IsName(std::string_view name);

// Returns whether `text` is well-formed UTF-8.
bool IsUtf8(std::string_view text);

// Returns `name` as part of a variable name: upper case, every other character than A-Z, 0-9 as _.
std::string VariableName(std::string_view name);

}  // namespace cd4ml
