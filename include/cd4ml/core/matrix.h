// A matrix: one stage that is done once for every combination of some parameters' values.
//
// When a definition has been read, such a stage is many: its cells, "train@ridge,8", which are stages like any other, and
// behind them one of its own name, which no agent performs. It has succeeded when they have, and with `select` it has the
// result of the cell that won.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "cd4ml/core/expression.h"
#include "cd4ml/core/run.h"

namespace cd4ml::core {

// Returns what a cell of the stage `stage` with these values is called: "train@ridge,8". It depends on nothing else, so
// that a cell keeps its name when others come and go.
std::string CellName(const std::string& stage, const std::vector<Value>& values);

// Returns `outer` with the parameters of a cell in place of the run's. Both outlive it.
Scope ScopeOfCell(const Scope& outer, const std::map<std::string, Value>& cell_params);

// Sets what parameters are in a cell. A number with a fraction stays one: 1 becomes 1.0.
void SetCellParams(Value& params, const std::map<std::string, Value>& cell_params);

// Returns whether two parameters are the same or one lies within the other: "train" and "train.depth".
bool Overlap(std::string_view a, std::string_view b);

// Makes stages of the cells. REQUIRES: Validate found no error.
void ExpandMatrices(PipelineSpec& pipeline);

// Checks the parameters of a run against those of cells. INVALID_ARGUMENT: the trigger gives one that cells have of their
// own, or a cell has one that nothing knows, that lies within a single value or that is of another type in its file.
absl::Status CheckCells(const PipelineSpec& pipeline, const Value& params, const std::map<std::string, Value>& overrides);

// A cell that has ended.
struct CellResult {
  std::string name;
  StageState state = StageState::kSkipped;
  Reason reason = Reason::kNone;
  const Outcome* outcome = nullptr;   // Of one that succeeded.
  AttemptId made_by;                  // Which attempt made that; it may be another run's.
};
CellResult ResultOf(const Run& run, const StageRun& cell);

// Returns from when the stage's `total_timeout` counts: since it could start, or of a cell that `max_parallel` may hold back,
// since it was leased. Unset: not yet.
UtcTime TotalTimeoutFrom(const Run& run, const StageRun& stage);

// What the cells come to.
struct Joined {
  StageState state = StageState::kSucceeded;   // Or kFailed, kSkipped.
  Reason reason = Reason::kNone;
  std::string message;
  std::optional<Carried> winner;               // What the stage takes over.
};
// `cells` are all of the matrix, in its order. Of equal ones the first wins.
Joined JoinCells(const MatrixSpec& matrix, const std::vector<CellResult>& cells);

}  // namespace cd4ml::core
