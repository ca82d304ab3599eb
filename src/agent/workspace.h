// The work directory of one attempt: everything "what a stage sees" promises, and what it leaves
// behind.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "agent/attempt.h"
#include "cd4ml/core/pipeline.h"

namespace cd4ml::agent {

class Workspace {
 public:
  Workspace(const Attempt& attempt, const core::PipelineSpec& pipeline,
            const core::StageSpec& stage);

  // Makes the directory from nothing: code, inputs, parameter files, folders of outputs, the
  // champion.
  absl::Status Build();
  // Knows again what an earlier agent has built here.
  absl::Status TakeUp();

  const std::string& dir() const { return dir_; }
  // Returns the whole environment of the stage's command.
  std::map<std::string, std::string> Env() const;

  // Returns where "stage.output", a material or an own output lies, "" when it is not there. What
  // only a rule reads lies beside the work directory.
  std::string PathOf(const std::string& reference) const;

  // FAILED_PRECONDITION when the command wrote into an input that it shares with others; the blob
  // is then removed.
  absl::Status CheckInputs();
  // NOT_FOUND names the first declared output that was not written.
  absl::Status CheckOutputs() const;
  // Stores the outputs; of an attempt that did not succeed, those that are always kept and are
  // there.
  absl::StatusOr<std::vector<core::ProducedOutput>> Capture(bool succeeded) const;

  std::string metrics_file() const { return room_ + "/metrics.json"; }
  std::string verdict_file() const { return room_ + "/verdict.json"; }

 private:
  absl::Status ExportCode();
  absl::Status PlaceInputs();
  absl::Status PlaceInput(const std::string& reference, const std::string& path);
  absl::Status NoteLinks(const ArtifactRef& artifact, const std::string& path);
  // Returns the parameters that the stage depends on, and so is shown.
  Value Params() const;
  absl::Status WriteParams();
  absl::Status MakeOutputFolders() const;
  // Says in the log what of an output an artifact does not hold.
  void SayWhatIsLost(const core::OutputSpec& output, const std::string& path) const;
  absl::Status PlaceChampion();
  // Writes which segments of an input qualify, where its data gate has judged that.
  absl::Status WriteSegments() const;
  std::string SegmentsFile(const core::InputSpec& input) const;
  std::string InputPath(const core::InputSpec& input) const;

  const Attempt& attempt_;
  const core::PipelineSpec& pipeline_;
  const core::StageSpec& stage_;
  const std::string room_;
  const std::string dir_;
  std::map<std::string, std::string> places_;  // By reference.
  Value::List links_;  // Input files that share their bytes with the blob store.
};

// Places a package in the folder `dir`, which does not exist yet: a folder as it is, an archive
// unpacked, any other file under its name. Nothing in it is shared with the blob store.
absl::Status PlacePackage(const Tools& tools, const ArtifactRef& package,
                          const std::string& package_path, const std::string& dir,
                          const std::stop_token& stop);

// Returns the arguments that execute a command: bash for a script, its own otherwise.
std::vector<std::string> Argv(const core::CommandSpec& command);

// Returns what of the effective parameters belongs into the parameter file number `index` of
// `files` (their present content): what the file has itself; what no file has goes into the first
// that has the map around it.
Value ParamsOfFile(const Value& params, const std::vector<Value>& files, size_t index);

}  // namespace cd4ml::agent
