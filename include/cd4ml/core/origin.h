// An attempt that made something, as the daemon's rows tell it: the material of every document about its outputs.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cd4ml/core/run.h"

namespace cd4ml::core {

struct Origin {
  std::string recorder;            // The database that holds the record.
  RunId run, retry_of;
  std::string pipeline, lane;
  TriggerFacts trigger;
  Pins pins;
  std::string stage;
  StageKind kind = StageKind::kCommand;
  Attempt attempt;                 // With its outcome.
  std::vector<Version> used, produced;
};

// What an auditor wants first of an origin.
inline AttemptId AttemptOf(const Origin& origin) { return {origin.run, origin.stage, origin.attempt.number}; }

// Returns the origin as in-toto Statement v1 with SLSA provenance v1: its outputs are the subjects. The same origin always
// gives the same bytes.
//
// What the daemon fixed or saw itself stands in buildDefinition, builder and metadata. What the agent reported of its
// host and of the stage's metrics stands in byproducts alone, so that a stage cannot speak for the daemon.
std::string ProvenanceStatement(const Origin& origin);

inline constexpr std::string_view kStatementType = "https://in-toto.io/Statement/v1";
inline constexpr std::string_view kProvenanceType = "https://slsa.dev/provenance/v1";

}  // namespace cd4ml::core
