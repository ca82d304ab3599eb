// From a request to a run that can be started: reads the definition at a commit, resolves parameters, pins data.
// Blocking; runs in the background, never on the loop.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "cd4ml/core/params.h"
#include "cd4ml/daemon/daemon.h"
#include "data_source.h"
#include "orchestrator.h"
#include "policies.h"
#include "upstream.h"

namespace cd4ml::daemon {

class RunStarter {
 public:
  RunStarter(const Settings& settings, const Ports& ports, const Policies& policies);
  RunStarter(const RunStarter&) = delete;
  RunStarter& operator=(const RunStarter&) = delete;

  // Looks at a repository: every definition of the branch, good or bad.
  absl::StatusOr<RegisterResult> Register(const RegisterRequest& request) const;

  struct Prepared {
    PreparedRun run;
    core::PipelineSpec spec;
    PipelineRecord pipeline;         // As it is now; differs from the one given when the commit is new.
  };
  // Everything that a run needs. With errors in the definition, `pipeline` is told of them through `broken`.
  absl::StatusOr<Prepared> Prepare(const StartRequest& request, core::TriggerKind trigger,
                                   const PipelineRecord& pipeline, PipelineRecord* broken,
                                   const core::Run* retried = nullptr) const;

  // A new run with the commit and the data of `ended`, which does again what the request says.
  absl::StatusOr<PreparedRun> PrepareRetry(const RetryRequest& request, const core::Run& ended) const;

  // A new run that makes again what `ended` made. All that it was made from is read: FAILED_PRECONDITION names what is no
  // longer there as it was. What is gone from the store is taken from its source again, if it is still the same there.
  absl::StatusOr<PreparedRun> PrepareReproduction(const ReproduceRequest& request, const core::Run& ended) const;

 private:
  struct Source {
    CommitFacts commit;
    std::string text;
    core::PipelineSpec draft;        // Parsed without values: what it needs is known, not what it says.
  };
  // A definition with the values of one request.
  struct Draft {
    Source source;
    core::EffectiveParams params;
    ParsedPipeline parsed;
    bool is_newest = false;          // Of the registered branch.
  };
  absl::StatusOr<Draft> ReadDraft(SourceRepo& repo, const PipelineRecord& pipeline, const StartRequest& request,
                                  core::TriggerKind trigger, PipelineRecord* broken, const core::Run* retried) const;
  // The one set of revisions that a run gets, whoever asked for it: `draft` and `pins` hold code and data that belong
  // together with what other pipelines made, or say that they do not.
  absl::Status Resolve(SourceRepo& repo, const PipelineRecord& pipeline, const StartRequest& request,
                       core::TriggerKind trigger, PipelineRecord* broken, const core::Run* retried, Draft& draft,
                       core::Pins& pins) const;
  absl::StatusOr<Source> ReadDefinition(SourceRepo& repo, const PipelineRecord& pipeline, const std::string& ref,
                                        PipelineRecord* broken) const;
  // Adds what is wrong with the contracts of a commit that the definition names.
  void CheckContracts(SourceRepo& repo, const std::string& commit, const std::string& text, const std::string& file,
                      ParsedPipeline& parsed) const;
  // Those of `retried`, if there is one, but for what the request says.
  absl::StatusOr<core::EffectiveParams> ReadParams(SourceRepo& repo, const Source& source,
                                                   const StartRequest& request, const core::Run* retried) const;
  // What `pinned` holds is taken from there; everything else is read.
  absl::StatusOr<std::map<std::string, core::Version>> PinMaterials(
      const core::PipelineSpec& spec, const DataContext& context,
      const std::map<std::string, core::Version>& pinned) const;
  // Returns the materials of `ended` that `spec` still takes from the same place.
  std::map<std::string, core::Version> SameMaterials(const core::Run& ended, const core::PipelineSpec& spec) const;
  // Reads the files that runtimes are made from into the definition that the run keeps.
  absl::Status PinRuntimes(SourceRepo& repo, const std::string& commit, ParsedPipeline& parsed) const;
  // Adds the rules that the server's policies demand to the definition that the run keeps, and holds it to them.
  absl::Status Require(const core::GatePolicies& policies, const std::string& text, ParsedPipeline& parsed) const;
  // Returns the gates that other rules are demanded of now than when `ended` was started: their results do not count.
  absl::StatusOr<std::set<std::string>> GatesOfOtherRules(const core::Run& ended, const core::Pins& now) const;
  // Returns the stages of `spec`, of which `now` keeps the definition, that say something else than in `ended`.
  absl::StatusOr<std::set<std::string>> StagesOfOtherDefinitions(const core::Run& ended, const core::PipelineSpec& spec,
                                                                 const core::Pins& now) const;
  // Notes what determines the stages' results as far as it is known; with `reuses` false none is taken over.
  absl::Status BeginRecipes(SourceRepo& repo, const ParsedPipeline& parsed, bool reuses, core::StartRun& run) const;
  absl::Status CheckRecord(const core::Run& ended) const;
  // Reads the data's bytes, from its source if they are not in the store.
  absl::Status CheckData(SourceRepo& repo, const core::Run& ended, const core::MaterialSpec* material,
                         const core::Version& version) const;
  const DataSource& SourceOf(const core::MaterialSpec& material) const;

  const Settings& settings_;
  const Ports ports_;
  const Policies& policies_;
  const std::unique_ptr<DataSource> local_, remote_, git_, dvc_;
  const UpstreamResolver upstream_;
};

}  // namespace cd4ml::daemon
