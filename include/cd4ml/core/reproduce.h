// Making again what a run made, from its record, and judging whether the same came out.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "cd4ml/core/compare.h"
#include "cd4ml/core/run.h"

namespace cd4ml::core {

struct ReproductionPlan {
  std::vector<StagePlan> stages;      // All of the run's, with nothing taken over.
  std::set<std::string> left_out;     // Deploys, monitors, all that needs them, and what did not succeed then.
};

// FAILED_PRECONDITION: the run has not ended, or nothing that it made can be made again.
absl::StatusOr<ReproductionPlan> PlanReproduction(const Run& ended);

enum class Sameness {
  kIdentical,     // Every output has the bytes of the record.
  kEquivalent,    // Not so, but every metric is within the tolerance.
  kDifferent,
  kUnknown,       // It did not come to an end that says anything.
};
std::string_view ToText(Sameness sameness);   // "identical", ...

// What came out when a run was made again.
struct Reproduction {
  RunId original, rebuilt;
  Sameness sameness = Sameness::kUnknown;
  std::string stage;                  // The first one whose output differs, or that failed; empty: none.
  std::string why;                    // In words; empty when identical.
  int outputs = 0, metrics = 0;       // That were compared.
  std::vector<Difference> differences;   // Outputs, metrics beyond the tolerance, and what the stages ran with.
  std::vector<std::string> left_out;
};

// With a tolerance, differing bytes are forgiven where no metric x became a y with |x - y| > tolerance * max(1, |x|).
// REQUIRES: `rebuilt` was planned by PlanReproduction.
Reproduction JudgeReproduction(const Run& original, const Run& rebuilt, std::optional<double> tolerance);

}  // namespace cd4ml::core
