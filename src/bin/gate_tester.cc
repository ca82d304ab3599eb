// The rules of one gate on files: found by the names that the rules have for them, and judged by what judges on an
// agent.
#include "gate_tester.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "agent/files.h"
#include "agent/metrics.h"
#include "agent/model_rules.h"
#include "agent/verdict_files.h"
#include "cd4ml/base/status.h"
#include "cd4ml/core/metrics.h"
#include "cd4ml/xml/parse_xml.h"

namespace cd4ml::bin {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kFileMax = 64 << 20;
constexpr char kBaselineTable[] = "baseline of the test";  // No table of a definition is called so.

// One test; lives as long as it takes.
class Tester {
 public:
  Tester(const GateTest& test, std::unique_ptr<TableEngine> engine)
      : test_(test), stage_(*test.pipeline.FindStage(test.stage)), engine_(std::move(engine)) {}

  absl::StatusOr<TestedGate> Judge() {
    engine_->SetNow(test_.now);
    engine_->SetRules(stage_.rules);
    CD4ML_RETURN_IF_ERROR(CheckFiles());
    CD4ML_RETURN_IF_ERROR(ReadBaseline());
    const absl::Status measured = ReadMetrics();
    metrics_.goals = stage_.goals;
    for (const core::Rule& rule : stage_.rules) {
      const auto* metric = std::get_if<core::MetricRule>(&rule.body);
      if (metric != nullptr && !metric->versus.empty() && !baseline_metrics_.overall.empty()) {
        metrics_.baselines[metric->versus] = {test_.baseline, baseline_metrics_.overall};
      }
    }
    if (!test_.baseline.empty() && baselines_.empty() && metrics_.baselines.empty()) {
      return absl::InvalidArgumentError("no rule of gate \"" + stage_.name + "\" compares anything with " + test_.baseline +
                                        "; leave --baseline out");
    }
    std::vector<core::RuleResult> results;
    for (const core::Rule& rule : stage_.rules) {
      const bool is_data = !core::Subject(rule.body).empty();
      results.push_back(is_data ? JudgeTable(rule)
                        : measured.ok()
                            ? agent::JudgeModelRule(rule, metrics_, stage_.kind)
                            : core::CannotJudge(rule, std::string(core::RuleForm(rule.body)), Message(measured)));
    }
    AddOwn(results);
    TestedGate tested{.verdict = core::Conclude(std::move(results)), .evidence = {}};
    std::map<std::string, std::vector<std::string>> segments_of;
    for (const core::Rule& rule : stage_.rules) {
      const auto* segments = std::get_if<core::SegmentsRule>(&rule.body);
      if (segments == nullptr) continue;
      // That they cannot be told is an error of the rule.
      std::vector<std::string>& qualify = segments_of[segments->of];
      if (Add(segments->of).ok()) qualify = engine_->QualifyingSegments(*segments).value_or(std::vector<std::string>());
    }
    tested.verdict.segments = core::SegmentsOfTables(segments_of);
    if (test_.with_evidence) AddEvidence(tested.evidence);
    return tested;
  }

 private:
  std::string Path(const std::string& path) const {
    return fs::path(path).is_absolute() ? path : test_.dir + "/" + path;
  }

  // What somebody names must be there; what the gate names may not have been made, which is for its rules to say.
  absl::Status CheckFiles() const {
    std::vector<std::string> named = test_.metrics;
    if (!test_.predictions.empty()) named.push_back(test_.predictions);
    for (const auto& [name, path] : test_.data) named.push_back(path);
    for (const std::string& path : named) {
      if (!agent::Exists(Path(path))) return absl::NotFoundError("there is no file " + path);
    }
    return absl::OkStatus();
  }

  // A profile is JSON that says so; everything else is a table.
  absl::Status ReadBaseline() {
    if (test_.baseline.empty()) return absl::OkStatus();
    const std::string path = Path(test_.baseline);
    if (!agent::Exists(path)) return absl::NotFoundError("there is no file " + test_.baseline + " to compare with");
    Baseline baseline{{}, test_.baseline};
    if (path.ends_with(".json")) {
      CD4ML_ASSIGN_OR_RETURN(const std::string text, agent::ReadText(path, kFileMax));
      if (const absl::StatusOr<Value> value = ParseJson(text); value.ok() && value->Find("columns") != nullptr) {
        absl::StatusOr<core::TableProfile> profile = core::ProfileFromValue(*value);
        if (!profile.ok()) return Annotate(profile.status(), test_.baseline);
        baseline.profile = *std::move(profile);
        return Use(std::move(baseline));
      }
      if (stage_.kind == core::StageKind::kModelGate) {
        return Annotate(agent::AddJsonMetrics(text, baseline_metrics_), test_.baseline);
      }
    }
    CD4ML_RETURN_IF_ERROR(Annotate(engine_->AddTable({kBaselineTable, path, FormatOf("")}), test_.baseline));
    CD4ML_ASSIGN_OR_RETURN(baseline.profile, engine_->Profile(kBaselineTable));
    return Use(std::move(baseline));
  }

  // There is one baseline, whatever the rules call it.
  absl::Status Use(Baseline baseline) {
    for (const core::Rule& rule : stage_.rules) {
      const std::string of(core::Subject(rule.body));
      const std::string versus = std::visit(
          [](const auto& body) -> std::string {
            if constexpr (requires { body.versus; }) return body.versus;
            if constexpr (requires { body.lost_versus; }) return body.lost_versus;
            return "";
          },
          rule.body);
      if (of.empty() || versus.empty() || versus == "rest") continue;
      baselines_[versus] = baseline;
      baselines_[versus + "." + of] = baseline;
    }
    return absl::OkStatus();
  }

  // Returns how the text of a table is to be read, where the definition says so; of "", as the gate's only material.
  std::optional<core::CsvFormat> FormatOf(const std::string& name) const {
    std::string from = name;
    for (const core::InputSpec& input : stage_.inputs) {
      if (input.name == name || (name.empty() && stage_.inputs.size() == 1)) from = input.from;
    }
    const core::MaterialSpec* material = test_.pipeline.FindMaterial(from);
    return material == nullptr ? std::nullopt : material->csv;
  }

  // Returns where a table lies: where the test says, under any of its names, or else where the gate writes it.
  std::string PathOf(const std::string& name) const {
    std::vector<std::string> names = {name};
    for (const core::InputSpec& input : stage_.inputs) {
      if (input.name == name) names.push_back(input.from);
      if (input.from == name) names.push_back(input.name);
    }
    for (const std::string& one : names) {
      if (const auto given = test_.data.find(one); given != test_.data.end()) return Path(given->second);
    }
    for (const core::OutputSpec& output : stage_.outputs) {
      if (output.name == name && agent::Exists(Path(output.path))) return Path(output.path);
    }
    return "";
  }

  // Makes a table known to the engine, once.
  const absl::Status& Add(const std::string& name) {
    const auto [entry, is_new] = added_.try_emplace(name);
    if (!is_new) return entry->second;
    const std::string path = PathOf(name);
    entry->second = path.empty()
                        ? absl::NotFoundError("no file was given for \"" + name + "\"; say --data " + name + "=PATH")
                        : engine_->AddTable({name, path, FormatOf(name)});
    return entry->second;
  }

  core::RuleResult JudgeTable(const core::Rule& rule) {
    std::vector<std::string> tables = {std::string(core::Subject(rule.body))};
    if (const auto* share = std::get_if<core::ShareRule>(&rule.body)) tables.push_back(share->share_of);
    if (const auto* key = std::get_if<core::KeyRule>(&rule.body)) tables.push_back(key->other);
    for (const std::string& table : tables) {
      if (const absl::Status& added = Add(table); !added.ok())
        return core::CannotJudge(rule, tables[0], Message(added));
    }
    return engine_->Judge(rule, baselines_);
  }

  // Returns the file that a spec names, or the one of the same name that was given in its place.
  absl::Status AddFile(const core::MetricsSpec& spec, const std::string& path) {
    core::MetricsSpec here = spec;
    here.file = fs::path(path).filename().string();
    return agent::AddMetricsFile(fs::path(path).parent_path().string(), here, metrics_);
  }

  absl::Status ReadMetrics() {
    for (const std::string& file : test_.metrics) {
      core::MetricsSpec spec;
      for (const core::MetricsSpec& own : stage_.metrics) {
        if (fs::path(own.file).filename() == fs::path(file).filename()) spec = own;
      }
      CD4ML_RETURN_IF_ERROR(AddFile(spec, Path(file)));
    }
    if (test_.metrics.empty()) {
      for (const core::MetricsSpec& spec : stage_.metrics) CD4ML_RETURN_IF_ERROR(AddFile(spec, Path(spec.file)));
    }
    if (!stage_.predictions) return absl::OkStatus();
    const std::string& file = test_.predictions.empty() ? stage_.predictions->file : test_.predictions;
    if (!agent::Exists(Path(file)))
      return absl::NotFoundError("there is no predictions file " + file + "; say --predictions FILE");
    CD4ML_ASSIGN_OR_RETURN(core::MetricSet computed, engine_->PredictionMetrics(Path(file), *stage_.predictions));
    // What the champion has answered stands in the file, where there is one.
    const core::Predictions* all = computed.predictions.get();
    const bool is_written = all != nullptr && (all->champion || !all->incomparable.ends_with(core::Predictions::kNotWritten));
    if (is_written && !stage_.predictions->champion.empty()) computed.champion = "\"" + stage_.predictions->champion + "\" of " + file;
    computed.overall.merge(metrics_.overall);
    computed.slices.merge(metrics_.slices);
    metrics_ = std::move(computed);
    return absl::OkStatus();
  }

  // Adds what the gate's command has found, where it has left a file; its exit code is nobody's here.
  void AddOwn(std::vector<core::RuleResult>& results) const {
    if (!stage_.verdict) return;
    const core::VerdictSpec& spec = *stage_.verdict;
    if (spec.kind == core::VerdictSpec::Kind::kExitCode) {
      if (!results.empty()) return;
      return core::AddOwnResults(
          {core::UnreadableVerdict(
              spec.kind, "", "the gate is judged by the exit code of its command alone, which a test does not run")},
          results);
    }
    absl::StatusOr<std::vector<core::RuleResult>> own = agent::ReadVerdictFile(test_.dir, spec, xml::ParseXml);
    if (!own.ok()) own = {core::UnreadableVerdict(spec.kind, spec.file, Message(own.status()))};
    core::AddOwnResults(*std::move(own), results);
  }

  void AddEvidence(core::GateEvidence& evidence) {
    evidence.slices = core::SlicesOf(stage_.rules, metrics_);
    core::ShowPredictions(metrics_, evidence);
    for (const auto& [name, added] : added_) {
      if (!added.ok()) continue;
      absl::StatusOr<core::TableProfile> profile = engine_->Profile(name);
      if (!profile.ok()) continue;
      core::ReportTable table{.name = name, .profile = *std::move(profile), .baseline = "", .reference = std::nullopt};
      for (const auto& [versus, baseline] : baselines_) {
        if (!versus.ends_with("." + name)) continue;
        table.baseline = baseline.identity;
        table.reference = baseline.profile;
      }
      evidence.tables.push_back(std::move(table));
    }
  }

  const GateTest& test_;
  const core::StageSpec& stage_;
  const std::unique_ptr<TableEngine> engine_;
  std::map<std::string, absl::Status> added_;
  std::map<std::string, Baseline> baselines_;
  core::MetricSet metrics_;
  core::MetricSet baseline_metrics_;  // Of a model gate, where the baseline is a file of metrics.
};

}  // namespace

GateTester MakeGateTester(std::function<absl::StatusOr<std::unique_ptr<TableEngine>>()> open_tables) {
  return [open_tables = std::move(open_tables)](const GateTest& test) -> absl::StatusOr<TestedGate> {
    CD4ML_ASSIGN_OR_RETURN(std::unique_ptr<TableEngine> engine, open_tables());
    return Tester(test, std::move(engine)).Judge();
  };
}

}  // namespace cd4ml::bin
