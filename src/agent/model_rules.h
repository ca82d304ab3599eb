// The rules about metrics: told apart, and judged by core.
#pragma once

#include "cd4ml/core/gate.h"
#include "cd4ml/core/pipeline.h"

namespace cd4ml::agent {

// Judges a rule that is about no table. One that a gate of this kind does not know is an error.
core::RuleResult JudgeModelRule(const core::Rule& rule, const core::MetricSet& metrics, core::StageKind kind);

}  // namespace cd4ml::agent
