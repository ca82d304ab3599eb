// Results of other pipelines as materials.
#include "upstream.h"

#include <algorithm>
#include <filesystem>

#include "cd4ml/base/status.h"
#include "cd4ml/base/text.h"
#include "cd4ml/core/gate_report.h"
#include "data_source.h"
#include "definitions.h"

namespace cd4ml::daemon {
namespace {

// Runs of one pipeline that are looked at: a set that is older than that is not what anybody waits for.
constexpr int kRunsMax = 50;

// What is live then has not ended.
constexpr UtcTime kEver{int64_t{1} << 52};
constexpr int kLiveMax = 1'000;

// Pipelines behind pipelines.
constexpr int kDepthMax = 8;

// Returns the one name of a place that has several: relative, as a URL, through links.
std::string PlaceOf(std::string location, const std::string& root) {
  if (location.starts_with("file://")) location = location.substr(7);
  if (location.find("://") == std::string::npos) {
    return RealPath(location.starts_with('/') ? location : root + "/" + location);
  }
  while (location.starts_with("s3://") && location.ends_with('/')) location.pop_back();
  return location;
}

// Returns "stage.output": the one that the material names, or the only one of its stage.
absl::StatusOr<std::string> OutputOf(const core::Run& run, const std::string& wanted) {
  const core::Reference parts = core::ParseReference(wanted);
  const core::StageRun* stage = run.FindStage(parts.stage);
  const core::Outcome* result = stage == nullptr ? nullptr : stage->result();
  if (result == nullptr) return absl::NotFoundError("run " + run.id + " has no result of stage \"" + wanted + '"');
  std::vector<std::string> names;
  for (const core::ProducedOutput& output : result->outputs) {
    if (!core::IsGateReport(output)) names.push_back(stage->plan.name + "." + output.name);
  }
  if (std::find(names.begin(), names.end(), wanted) != names.end()) return wanted;
  if (parts.output.empty() && names.size() == 1) return names.front();
  return absl::NotFoundError("run " + run.id + " has no output " + wanted + DidYouMean(wanted, names) +
                             (parts.output.empty() ? "; say which with `output`" : ""));
}

}  // namespace

std::string RepoKey(const std::string& repo) { return "repository " + PlaceOf(repo, "."); }

std::string SourceKey(const core::MaterialSpec& material, const std::string& data_root) {
  using Kind = core::MaterialSpec::Kind;
  core::MaterialSpec same = material;
  if (same.kind == Kind::kData) same.location = PlaceOf(same.location, data_root);
  if (same.kind == Kind::kGitPath) {
    if (same.location != ".") same.location = PlaceOf(same.location, ".");
    same.path = std::filesystem::path(same.path).lexically_normal().string();
  }
  if (same.pattern == "**") same.pattern.clear();
  return core::SourceText(same);
}

absl::StatusOr<std::vector<core::RunId>> UpstreamResolver::RunsOf(const core::MaterialSpec& material) const {
  std::vector<core::RunId> ids;
  if (!material.environment.empty()) {
    CD4ML_ASSIGN_OR_RETURN(const auto live, ports_.history.ListDeployments(material.environment, kEver, kLiveMax));
    for (const core::Deployment& deployment : live) {
      if (deployment.pipeline == material.location) return std::vector<core::RunId>{deployment.run};
    }
    return absl::NotFoundError("nothing of pipeline \"" + material.location + "\" is live in \"" + material.environment + '"');
  }
  RunFilter filter;
  filter.pipeline = material.location;
  filter.state = core::RunState::kSucceeded;
  filter.limit = kRunsMax;
  CD4ML_ASSIGN_OR_RETURN(const auto runs, ports_.history.ListRuns(filter));
  for (const RunSummary& run : runs) {
    // What was made again to compare it is no newer result.
    if (run.trigger == core::TriggerKind::kReproduce) continue;
    ids.push_back(run.id);
    if (!material.consistent) break;
  }
  if (!ids.empty()) return ids;
  return absl::NotFoundError("pipeline \"" + material.location + "\" has no run that succeeded; start one with `cd4ml run start " +
                             material.location + '`');
}

absl::StatusOr<std::vector<UpstreamResolver::Made>> UpstreamResolver::Find(const core::MaterialSpec& material) const {
  CD4ML_ASSIGN_OR_RETURN(const std::vector<core::RunId> ids, RunsOf(material));
  std::vector<Made> made;
  absl::Status last;
  for (const core::RunId& id : ids) {
    CD4ML_ASSIGN_OR_RETURN(core::Run run, ports_.history.GetRun(id));
    const absl::StatusOr<std::string> output = OutputOf(run, material.output);
    std::optional<core::Version> version = output.ok() ? core::FindVersion(run, *output) : std::nullopt;
    if (!version) {
      // An older run may know neither the stage nor the output yet.
      if (last.ok()) last = output.status();
      continue;
    }
    // What is gone from the store cannot be handed on.
    if (!UseArtifact(ports_.blobs, version->artifact).ok()) continue;
    version->summary = FormatSize(version->artifact.size) + " from run " + id;
    made.push_back({std::move(run), *std::move(version)});
  }
  if (!made.empty()) return made;
  return last.ok() ? absl::NotFoundError("the results of pipeline \"" + material.location + "\" are no longer kept") : last;
}

void UpstreamResolver::Collect(const core::Run& run, int depth, core::Candidate& candidate,
                               std::map<std::string, core::Version>& data) const {
  core::AddMark(candidate, run.id, run.pins.mixed);
  core::AddUsed(candidate, run.id, RepoKey(run.pins.repo), run.pins.commit);
  const absl::StatusOr<std::string> text = ReadBlob(ports_.blobs, run.pins.definition, kDefinitionSizeMax);
  if (!text.ok()) return;
  const ParsedPipeline parsed = ports_.parser.Parse(*text, run.pins.file, nullptr);
  for (const auto& [name, version] : run.pins.materials) {
    const core::MaterialSpec* material = parsed.spec.FindMaterial(name);
    if (material == nullptr || material->kind == core::MaterialSpec::Kind::kGit) continue;
    // What comes from the repository itself is fixed by its commit.
    const bool is_own = material->kind == core::MaterialSpec::Kind::kDvc ||
                        (material->kind == core::MaterialSpec::Kind::kGitPath && material->location == ".");
    if (is_own) continue;
    const std::string source = SourceKey(*material, settings_.data_root);
    core::AddUsed(candidate, run.id, source, version.digest);
    data.emplace(source, version);
  }
  if (depth >= kDepthMax) return;
  for (const auto& [material, above] : run.pins.upstream) {
    if (const auto made_by = ports_.history.GetRun(above); made_by.ok()) Collect(*made_by, depth + 1, candidate, data);
  }
}

absl::StatusOr<UpstreamResolver::Resolved> UpstreamResolver::Resolve(const core::PipelineSpec& spec,
                                                                     const std::map<std::string, core::Version>& known,
                                                                     const core::Revisions& fixed) const {
  Resolved resolved{.shared = fixed};
  std::vector<core::Upstream> upstreams;
  std::vector<std::vector<Made>> made;
  std::map<std::string, core::Version> data;     // By source and digest.
  for (const core::MaterialSpec& material : spec.materials) {
    if (material.kind != core::MaterialSpec::Kind::kPipeline || known.contains(material.name)) continue;
    auto found = Find(material);
    if (!found.ok()) return Annotate(found.status(), "material \"" + material.name + "\" cannot be resolved");
    if (!material.consistent) {
      core::Candidate newest{.run = found->front().run.id, .used = {}};
      core::AddMark(newest, newest.run, found->front().run.pins.mixed);
      if (!newest.mixed.empty()) resolved.mixed = core::MixedText(material.name, newest);
      resolved.runs[material.name] = newest.run;
      resolved.versions[material.name] = std::move(found->front().version);
      continue;
    }
    core::Upstream& upstream = upstreams.emplace_back(core::Upstream{.material = material.name, .candidates = {}});
    for (const Made& one : *found) {
      core::Candidate& candidate = upstream.candidates.emplace_back(core::Candidate{.run = one.run.id, .used = {}});
      std::map<std::string, core::Version> used_data;
      Collect(one.run, 0, candidate, used_data);
      // Two results of one pipeline belong together when one run made both.
      candidate.used["pipeline " + material.location] = one.run.id;
      candidate.used[SourceKey(material, settings_.data_root)] = one.version.digest;
      for (auto& [source, version] : used_data) data.emplace(source + '\n' + version.digest, std::move(version));
    }
    made.push_back(*std::move(found));
  }
  const core::FanIn fan_in = core::ResolveFanIn(upstreams, fixed);
  for (size_t i = 0; i < upstreams.size(); ++i) {
    Made& chosen = made[i][fan_in.chosen[i]];
    resolved.runs[upstreams[i].material] = chosen.run.id;
    resolved.versions[upstreams[i].material] = std::move(chosen.version);
  }
  resolved.conflict = fan_in.conflict;
  if (!fan_in.conflict.empty()) resolved.mixed = fan_in.conflict;
  resolved.shared = fan_in.shared;
  for (const auto& [source, revision] : fan_in.shared) {
    const auto version = data.find(source + '\n' + revision);
    if (version != data.end()) resolved.data[source] = version->second;
  }
  return resolved;
}

}  // namespace cd4ml::daemon
