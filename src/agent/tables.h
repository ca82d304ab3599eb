// The data rules of a gate: finds the tables that they speak of and has them measured.
#pragma once

#include <map>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "agent/workspace.h"
#include "cd4ml/core/gate.h"
#include "cd4ml/core/gate_report.h"

namespace cd4ml::agent {

// Used by one thread.
class Tables {
 public:
  // What is under way ends when `stop` is requested.
  Tables(const Attempt& attempt, const Workspace& workspace, const core::PipelineSpec& pipeline,
         const core::StageSpec& stage, std::stop_token stop);

  // Returns whether `rule` is about tables, and whether all of them are there before the command
  // runs.
  static bool Judges(const core::Rule& rule);
  bool IsJudgedBefore(const core::Rule& rule) const;

  // Opens the engine and reads the baselines, once. Errors are our side's.
  absl::Status Open();
  core::RuleResult Judge(const core::Rule& rule);
  // Returns the segments that qualify under the gate's segments rules, with several such as "clean: bmw/x5"; none without
  // one, and none where that could not be judged, which the rule's own result says.
  std::vector<std::string> Segments();
  absl::StatusOr<core::MetricSet> Metrics(const core::PredictionsSpec& predictions);
  // Writes the outputs that take the bad rows of a table, as far as that table is there.
  absl::Status WriteQuarantine();
  // Stores a profile of each dataset output, with the segments that qualify: of a data gate all that are tables, of others
  // what a rule mentions.
  absl::Status AttachProfiles(std::vector<core::ProducedOutput>& outputs);
  // Returns the tables of the rules as they can be shown: with the profiles that there are, and where the gate blocks, and
  // so leaves none, with profiles made for this.
  std::vector<core::ReportTable> Shown(bool blocks);

 private:
  bool IsProfiled(const core::ProducedOutput& output, bool mentioned) const;
  // Stores the profile of a table that was added, with the segments that qualify.
  absl::StatusOr<ArtifactRef> KeepProfile(const std::string& table);
  // Returns the rule that says which segments of a table qualify, or null.
  const core::SegmentsRule* SegmentsOf(const std::string& table) const;
  // Makes a table known to the engine, once.
  const absl::Status& Add(const std::string& name);

  const Attempt& attempt_;
  const Workspace& workspace_;
  const core::PipelineSpec& pipeline_;
  const core::StageSpec& stage_;
  const std::stop_token stop_;
  std::unique_ptr<TableEngine> engine_;
  std::map<std::string, absl::Status> added_;
  std::map<std::string, Baseline> baselines_;
  std::map<std::string, core::TableProfile> profiles_;  // By table.
};

}  // namespace cd4ml::agent
