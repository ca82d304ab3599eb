// What differs between two runs: what went into them, what came out of them, and how long that took.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "cd4ml/base/value.h"
#include "cd4ml/core/run.h"

namespace cd4ml::core {

enum class DifferenceKind {
  kRun,           // "state", "lane", "trigger", "priority", "mixed".
  kCode,          // "repository", "file", "commit".
  kData,          // A material, by its digest.
  kParams,        // An effective parameter.
  kEnvironment,   // What stages ran with: "python"; "train python" where the stages of a run are not alike.
  kStage,         // How a stage ended.
  kOutput,        // "train.model", by its digest.
  kMetric,        // "train.mae".
  kTime,          // "run" or a stage, in milliseconds.
};
std::string_view ToText(DifferenceKind kind);   // "run", "code", ...

enum class Trend { kNone, kBetter, kWorse };    // Of a metric with a goal.
std::string_view ToText(Trend trend);

// One run's side of a difference.
struct Side {
  Value value;                // Null: it has none.
  std::string note;           // Of a commit its subject, of data its summary, of a parameter its source.
};

struct Difference {
  DifferenceKind kind = DifferenceKind::kRun;
  std::string name;
  Side before, after;
  Trend trend = Trend::kNone;
};

enum class Compared { kDifferences, kEverything };

// Returns what differs, ordered by kind, then by name or as the stages of the runs are. `goals` says of metrics
// ("train.mae") whether higher is better. Of runs that go on, what is there is compared.
std::vector<Difference> CompareRuns(const Run& before, const Run& after, const std::map<std::string, bool>& goals,
                                    Compared compared);

}  // namespace cd4ml::core
