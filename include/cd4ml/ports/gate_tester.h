// Judging a gate on this machine's files, without a daemon and without running its command.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cd4ml/base/time.h"
#include "cd4ml/core/gate_report.h"
#include "cd4ml/core/pipeline.h"

namespace cd4ml {

// What is judged. Paths are relative to `dir`.
struct GateTest {
  core::PipelineSpec pipeline;
  std::string stage;                        // A data or model gate of it.
  std::string dir;                          // Where the files lie that the stage names itself.
  std::map<std::string, std::string> data;  // Tables by the names that rules have for them.
  std::vector<std::string> metrics;         // In place of the stage's own; told apart by their file names.
  std::string predictions;                  // In place of the stage's own.
  std::string baseline;                     // A profile, or a table to make one of; empty: there is none yet.
  UtcTime now;                              // What is fresh is so by this.
  bool with_evidence = false;               // Also measure what a report shows.
};

struct TestedGate {
  core::Verdict verdict;
  core::GateEvidence evidence;
};

// Judges every rule as an agent does. Errors are about the request: no table engine, a baseline that cannot be read. A
// table that cannot be read is an error of its rules.
using GateTester = std::function<absl::StatusOr<TestedGate>(const GateTest&)>;

}  // namespace cd4ml
