// Which gates the server requires of pipelines, whatever their files say.
//
// A pipeline can be run only when every deploy of it waits for a gate of each required kind, and the required rules are
// added to all of its gates of that kind. Rules of a file have no dot in their names, so the added ones, POLICY.RULE,
// can neither be replaced nor weakened by it.
#pragma once

#include <string>
#include <vector>

#include "cd4ml/base/value.h"
#include "cd4ml/core/pipeline.h"

namespace cd4ml::core {

struct RequiredRule {
  std::string name;
  Value body;                              // As a definition writes it; `of: "*"` stands for every table of the gate.
  bool blocks = true;
};

struct RequiredGate {
  StageKind kind = StageKind::kDataGate;
  std::vector<RequiredRule> rules;
};

struct GatePolicy {
  std::string name;
  std::vector<std::string> labels;         // Pipelines with all of these labels
  std::vector<std::string> pipelines;      // and a name that matches one of these patterns; empty: any.
  std::vector<RequiredGate> gates;
  int override_people = 1;                 // How many must agree before a rule is overridden; or kNobodyOverrides.
};

using GatePolicies = std::vector<GatePolicy>;

bool AppliesTo(const GatePolicy& policy, const PipelineSpec& pipeline);

// Returns what the pipeline lacks that a policy demands, at the deploys that would not wait for it. REQUIRES: Validate
// found no error.
Diagnostics CheckPolicies(const GatePolicies& policies, const PipelineSpec& pipeline);

// Returns the rules that the policies add, as {stage: {"POLICY.RULE": rule}}; null when there are none.
Value RequiredRules(const GatePolicies& policies, const PipelineSpec& pipeline);

// Returns how many people must agree to an override in this pipeline: what the strictest policy says.
int OverridePeople(const GatePolicies& policies, const PipelineSpec& pipeline);

// Returns whether a rule of the definition is one that a policy adds.
bool HasRequiredRules(const PipelineSpec& pipeline);

}  // namespace cd4ml::core
