// The parts of a definition, each read by one function.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "cd4ml/core/gate_policy.h"
#include "cd4ml/core/pipeline.h"
#include "yaml/reader.h"

namespace cd4ml::yaml {

// What stages inherit.
struct StageDefaults {
  std::vector<std::string> labels;
  core::Resources resources;
  core::RuntimeSpec runtime;
  std::map<std::string, std::string> env;
  Duration timeout{0};
  Duration assign_timeout{0};
  Duration total_timeout{0};
  Duration silence_timeout{0};
  Duration grace = core::StageSpec().grace;
  core::RetrySpec retry;
  std::set<std::string> names;   // What its expressions ask for: they are evaluated once, for all stages.
};

core::PipelineSpec ReadPipeline(Reader& reader, Node& root);

core::StageSpec ReadStage(Reader& reader, const std::string& name, const Node& key, Node& value,
                          const StageDefaults& defaults);

// The same of a stage that may have a matrix: then it has the cells as well, and they stand in `value`, one by one.
core::StageSpec ReadMatrix(Reader& reader, const std::string& name, const Node& key, Node& value,
                           const StageDefaults& defaults);

// Reads `agent`, `runtime`, `env`, the timeouts, `grace` and `retry` over what `defaults` holds.
void ReadStageDefaults(Fields& fields, StageDefaults& defaults);

// `required`: rules that a policy of the server adds; their names have dots.
void ReadRules(Reader& reader, Node& rules, core::StageSpec& stage, bool required = false);

// Reads `request` of a model gate's `champion`.
core::ProbeRule ReadChampionRequest(Fields& champion, core::StageSpec& stage);
// Reads `key`, which points into JSON.
bool ReadPointer(Fields& fields, std::string_view key, std::string& pointer);

core::GatePolicies ReadGatePolicies(Reader& reader, Node& root);

// Reads all that only a monitor has.
void ReadMonitor(Fields& fields, core::StageSpec& stage);

// Reads `min` and `max`.
void ReadBounds(Fields& fields, core::Bounds& bounds, Range range = {});
// Reads `severity`: whether the rule blocks.
void ReadSeverity(Fields& fields, bool& blocks);
// Reads what a drift rule has besides `of`. `part` is where its places are kept.
void ReadDrift(Fields& fields, const std::string& part, core::StageSpec& stage,
               core::DriftRule& drift);

}  // namespace cd4ml::yaml
