// The parameters of a run: defaults of the schema < parameter files < what the trigger says.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "cd4ml/base/value.h"
#include "cd4ml/core/expression.h"
#include "cd4ml/core/pipeline.h"
#include "cd4ml/core/run.h"

namespace cd4ml::core {

struct EffectiveParams {
  Value values;                                // A map of maps, as files have it.
  std::map<std::string, std::string> sources;  // Dotted name -> "default", a file, or "trigger".
};

// Returns the parameters that a run of `lane` has. `files` are the parameter files in their order,
// by path; of two that hold one parameter, the later counts. `overrides` have dotted names; a text
// among them is read as the type of the parameter. The message of an error names everything that
// is wrong: values that do not fit the schema or, without one, the type in the files; unknown
// overrides; overrides in a lane that may have none; parameters without any value.
absl::StatusOr<EffectiveParams> ResolveParams(
    const ParamsSpec& spec, const std::vector<std::pair<std::string, Value>>& files,
    const std::map<std::string, Value>& overrides, std::string_view lane);

// Returns the parameters that an ended run had, `before` as its record says them, but for `overrides`, which are read and
// checked as above. `now` is what the files and the schema say: a record has no numbers that are none, so those are taken
// from there.
absl::StatusOr<EffectiveParams> ChangeParams(const ParamsSpec& spec, EffectiveParams before, const Value& now,
                                             const std::map<std::string, Value>& overrides, std::string_view lane);

// Returns the value that a person means by `text`: true, false, null, numbers and JSON lists, maps
// and texts as such, everything else as text. A number that would not be written back the same
// (1.10) stays text; ResolveParams makes it a number where one is wanted.
Value ParseParamText(std::string_view text);

// Returns what expressions of a definition know while a run is prepared. `params` outlives it.
Scope ScopeOfRun(const Value& params, const std::string& lane, TriggerKind trigger);

// Returns what keeps `value` from being one of parameter `param`, like "must be at most 64, is
// 100";
// "" when nothing does.
std::string CheckParam(const ParamSchema& param, const Value& value);

}  // namespace cd4ml::core
