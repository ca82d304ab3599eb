// The live champion's own answers to the rows of a model gate's predictions, given by its package and not by today's code.
#pragma once

#include <stop_token>
#include <string>

#include "agent/attempt.h"
#include "cd4ml/core/pipeline.h"

namespace cd4ml::agent {

// The members of a row that hold what the champion says of it.
inline constexpr char kChampionAnswer[] = "cd4ml_champion";
inline constexpr char kChampionScore[] = "cd4ml_champion_score";  // Where the stage says that it gives scores.

struct ChampionAnswers {
  std::string file;          // The rows with the answers, lines of JSON. Empty when they are not comparable.
  std::string incomparable;  // Why not: the champion does not understand the rows, or leaves some out.
};

// Starts the champion's package as its deploy did, beside what is live, and asks it about every line of `rows`; or runs the
// stage's `predict` in the package. Blocks until that is done. REQUIRES: the task has a champion, and the stage asks it.
//
// INVALID_ARGUMENT: the rows are at fault. Other errors: the champion could not be asked, says why. CANCELLED: `halt`
// was asked for.
absl::StatusOr<ChampionAnswers> AskChampion(Attempt& attempt, const core::StageSpec& stage, const std::string& rows,
                                            const std::stop_token& halt);

}  // namespace cd4ml::agent
