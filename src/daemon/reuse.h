// Whether a stage's result has been made before, and if not, what has changed since.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>

#include "cd4ml/core/recipe.h"
#include "cd4ml/ports/history.h"

namespace cd4ml::daemon {

// What is known of a stage that could start now.
struct ReuseJudgement {
  core::Recipe recipe;                   // Empty: the stage is not reusable.
  std::optional<core::Carried> carried;  // The result to take over.
  std::string note;                      // Why there is none.
};

class Reuse {
 public:
  struct Checks {
    // Whether an artifact's bytes are still there.
    std::function<bool(const ArtifactRef&)> is_kept;
    // Whether an agent is as the one was that a result was made on; true when there is none to compare with.
    std::function<bool(const Value& environment)> is_known_host;
  };

  Reuse(History& history, Checks checks) : history_(history), checks_(std::move(checks)) {}

  // `compared` is what a gate judges by beside what it reads. Everything that the stage reads is there.
  ReuseJudgement Judge(const core::Run& run, const core::StageRun& stage,
                       const std::map<std::string, std::string>& compared, UtcTime now) const;

 private:
  // Returns why the result cannot be taken over, or "".
  std::string Objection(const ReusableResult& result, const core::StagePlan& plan, UtcTime now) const;
  std::string WhatChanged(const core::Run& run, const core::StagePlan& plan, const core::Recipe& recipe) const;

  History& history_;
  const Checks checks_;
};

}  // namespace cd4ml::daemon
