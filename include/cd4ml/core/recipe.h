// What determines a stage's result. Two stages with the same recipe would give the same result, so the second one
// takes over the first one's.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "cd4ml/base/digest.h"
#include "cd4ml/core/pipeline.h"
#include "cd4ml/core/run.h"

namespace cd4ml::core {

// Returns whether the stage's result may be reused: it leaves something behind, and does nothing to the world.
bool IsReusable(const StageSpec& stage);

// Returns the parts that are known before the run: "definition", "code", "params" and "runtime". `definition` is the stage
// in the expanded definition, `code` identifies the files of the commit that it depends on, `runtime` what it runs in.
Recipe BeginRecipe(const StageSpec& stage, const Value& definition, const std::string& code, const Value& params,
                   const std::string& runtime);

// Returns what the materials say of how the stage finds them, so far as it is not their default: "place of NAME" where the
// stage does not say it itself, and of a gate, whose rules cd4ml reads tables for, "csv of NAME".
Recipe RecipeOfMaterials(const PipelineSpec& pipeline, const StageSpec& stage);

// Returns the parameters that the stage depends on: those that it names, or all, and a cell's own.
Value ChosenParams(const StageSpec& stage, const Value& params);

// Returns the whole recipe, once everything that the stage reads is there: each input by its content and the place where
// its stage wrote it, and `compared`, what a gate judges by beside its inputs: "champion", "baseline last_passed",
// "overrides", by content.
Recipe CompleteRecipe(const Run& run, const StageRun& stage, const std::map<std::string, std::string>& compared);

Digest KeyOf(const Recipe& recipe);

// Returns which parts differ, by name, sorted.
std::vector<std::string> ChangedParts(const Recipe& before, const Recipe& now);

}  // namespace cd4ml::core
