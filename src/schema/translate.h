// Schemas as valijson gets them: checked, with the keywords that it judges well, and with nothing left to chance.
//
// Three kinds of keyword do not reach valijson. `pattern`, `patternProperties` and `format` would be matched by
// std::regex, which takes exponential time and overflows the stack on what a broken service may answer; `multipleOf` is
// judged wrongly for decimal fractions. Their place is held until an answer is there: then RE2 and arithmetic say which
// of the answer's own texts, names and numbers are allowed, and the place is filled with just those.
#pragma once

#include <re2/re2.h>

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "cd4ml/base/value.h"

namespace cd4ml::schema {

struct Translated {
  nlohmann::json schema;
  std::vector<std::unique_ptr<RE2>> patterns;  // By the number that stands in a held place.
  std::vector<double> divisors;                // The same.
  bool wants_unique = false;                   // Somewhere, the items of a list must differ.

  bool has_places() const { return !patterns.empty() || !divisors.empty(); }
};

absl::StatusOr<Translated> Translate(const Value& document, std::string_view pointer);

// Returns the schema with its held places filled for `answer`. RESOURCE_EXHAUSTED: the answer holds too much for that.
absl::StatusOr<nlohmann::json> Fill(const Translated& translated, const Value& answer);

// Returns `value` with whole numbers as such, however they were written: 2.0 is an integer to JSON Schema.
nlohmann::json ToNlohmann(const Value& value);

// Returns what a JSON pointer names, or null.
const Value* Resolve(const Value& document, std::string_view pointer);

}  // namespace cd4ml::schema
