// An attempt that made something, as the daemon's rows tell it: the material of every document about its outputs.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "cd4ml/core/deployment.h"
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

// A model and what is known of it: the first of its origins that made one, and what happened to it afterwards.
struct ModelRecord {
  Origin origin;                           // Produced the model.
  Version model;
  std::vector<Origin> upstream;            // What it was made from, nearest first.
  // What other stages of its run measured and judged of it.
  struct Judgement {
    AttemptId attempt;
    std::map<std::string, double> metrics;
    std::optional<Verdict> verdict;
  };
  std::vector<Judgement> judgements;
  std::vector<Deployment> deployments;     // Newest first.
};

// Puts the record together: from origins as History::FindOrigins gives them upstream, the run that the model was made in,
// and the ledger. FAILED_PRECONDITION: none of them made a model.
absl::StatusOr<ModelRecord> FindModelRecord(const std::vector<Origin>& origins);
void AddJudgements(const Run& run, ModelRecord& record);
void AddDeployments(const std::vector<Deployment>& ledger, ModelRecord& record);

// Returns the record as Markdown with the metadata that model hubs read on top.
std::string ModelCard(const ModelRecord& record);
// Returns the record as CycloneDX 1.6: the model with its parameters, metrics and datasets.
std::string ModelBom(const ModelRecord& record);

inline constexpr std::string_view kStatementType = "https://in-toto.io/Statement/v1";
inline constexpr std::string_view kProvenanceType = "https://slsa.dev/provenance/v1";

}  // namespace cd4ml::core
