// What other pipelines have made, and which of it belongs together with what a run reads itself.
#pragma once

#include <map>
#include <string>

#include "cd4ml/core/fan_in.h"
#include "cd4ml/daemon/daemon.h"

namespace cd4ml::daemon {

// The keys of a repository and of data in core::Revisions: the same however the place is spelled.
std::string RepoKey(const std::string& repo);
std::string SourceKey(const core::MaterialSpec& material, const std::string& data_root);

class UpstreamResolver {
 public:
  UpstreamResolver(const Settings& settings, const Ports& ports) : settings_(settings), ports_(ports) {}

  struct Resolved {
    std::map<std::string, core::Version> versions;   // By material.
    std::map<std::string, std::string> runs;         // By material: the run that made it.
    core::Revisions shared;                          // What all consistent ones were made from, and `fixed`.
    std::map<std::string, core::Version> data;       // By source: what of `shared` is data.
    std::string conflict;                            // Empty: they belong together.
    std::string mixed;                               // The mark of the run: the conflict, or that of what it takes.
  };
  // Chooses for every material of `spec` that a pipeline makes and that `known` lacks. NOT_FOUND says which one nobody has
  // made yet.
  absl::StatusOr<Resolved> Resolve(const core::PipelineSpec& spec, const std::map<std::string, core::Version>& known,
                                   const core::Revisions& fixed) const;

 private:
  struct Made {
    core::Run run;
    core::Version version;
  };
  absl::StatusOr<std::vector<Made>> Find(const core::MaterialSpec& material) const;
  absl::StatusOr<std::vector<core::RunId>> RunsOf(const core::MaterialSpec& material) const;
  // Adds what `run` was made from, and what that was made from.
  void Collect(const core::Run& run, int depth, core::Candidate& candidate, std::map<std::string, core::Version>& data) const;

  const Settings& settings_;
  const Ports& ports_;
};

}  // namespace cd4ml::daemon
