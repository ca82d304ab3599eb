// Data rules: from names in a pipeline file to files, and from files to results.
#include "agent/tables.h"

#include <algorithm>

#include "agent/blobs.h"
#include "cd4ml/base/status.h"

namespace cd4ml::agent {
namespace {

constexpr int64_t kProfileMax = 64 << 20;

std::vector<std::string> TablesOf(const core::Rule& rule) {
  std::vector<std::string> tables;
  if (std::string_view subject = core::Subject(rule.body); !subject.empty())
    tables.emplace_back(subject);
  if (const auto* share = std::get_if<core::ShareRule>(&rule.body))
    tables.push_back(share->share_of);
  if (const auto* key = std::get_if<core::KeyRule>(&rule.body)) tables.push_back(key->other);
  return tables;
}

}  // namespace

Tables::Tables(const Attempt& attempt, const Workspace& workspace,
               const core::PipelineSpec& pipeline, const core::StageSpec& stage, std::stop_token stop)
    : attempt_(attempt), workspace_(workspace), pipeline_(pipeline), stage_(stage), stop_(std::move(stop)) {}

bool Tables::Judges(const core::Rule& rule) { return !core::Subject(rule.body).empty(); }

bool Tables::IsJudgedBefore(const core::Rule& rule) const {
  const std::vector<std::string> tables = TablesOf(rule);
  return Judges(rule) && std::none_of(tables.begin(), tables.end(), [&](const std::string& table) {
           return std::any_of(stage_.outputs.begin(), stage_.outputs.end(),
                              [&](const core::OutputSpec& output) { return output.name == table; });
         });
}

absl::Status Tables::Open() {
  if (engine_ != nullptr) return absl::OkStatus();
  CD4ML_ASSIGN_OR_RETURN(engine_, attempt_.tools().ports.table_engine());
  engine_->SetStop(stop_);
  engine_->SetRules(stage_.rules);
  engine_->SetNow(attempt_.task().created_at);
  for (const auto& [versus, baseline] : attempt_.task().baselines) {
    if (!baseline.profile.digest.is_set()) continue;   // It has metrics alone.
    CD4ML_ASSIGN_OR_RETURN(
        const std::string text,
        attempt_.tools().blobs.Read(baseline.profile.digest, kProfileMax, attempt_.halt()));
    CD4ML_ASSIGN_OR_RETURN(const Value value, ParseJson(text));
    CD4ML_ASSIGN_OR_RETURN(core::TableProfile profile, core::ProfileFromValue(value));
    baselines_[versus] = {std::move(profile), baseline.identity};
  }
  return absl::OkStatus();
}

const absl::Status& Tables::Add(const std::string& name) {
  const auto [entry, is_new] = added_.try_emplace(name);
  if (!is_new) return entry->second;
  TableSource source{name, workspace_.PathOf(name), std::nullopt};
  if (source.path.empty()) {
    entry->second =
        absl::NotFoundError("\"" + name + "\" is neither an input nor an output of the stage");
    return entry->second;
  }
  std::string from = name;
  for (const core::InputSpec& input : stage_.inputs) {
    if (input.name == name) from = input.from;
  }
  if (const core::MaterialSpec* material = pipeline_.FindMaterial(from)) source.csv = material->csv;
  entry->second = engine_->AddTable(source);
  return entry->second;
}

core::RuleResult Tables::Judge(const core::Rule& rule) {
  const std::string subject(core::Subject(rule.body));
  if (absl::Status opened = Open(); !opened.ok())
    return core::CannotJudge(rule, subject, Message(opened));
  for (const std::string& table : TablesOf(rule)) {
    if (const absl::Status& added = Add(table); !added.ok()) {
      return core::CannotJudge(rule, subject, Message(added));
    }
  }
  return engine_->Judge(rule, baselines_);
}

const core::SegmentsRule* Tables::SegmentsOf(const std::string& table) const {
  for (const core::Rule& rule : stage_.rules) {
    const auto* segments = std::get_if<core::SegmentsRule>(&rule.body);
    if (segments != nullptr && segments->of == table) return segments;
  }
  return nullptr;
}

std::vector<std::string> Tables::Segments() {
  std::map<std::string, std::vector<std::string>> by_table;
  for (const core::Rule& rule : stage_.rules) {
    const auto* segments = std::get_if<core::SegmentsRule>(&rule.body);
    if (segments == nullptr) continue;
    std::vector<std::string>& qualify = by_table[segments->of];
    if (Open().ok() && Add(segments->of).ok())
      qualify = engine_->QualifyingSegments(*segments).value_or(std::vector<std::string>());
  }
  return core::SegmentsOfTables(by_table);
}

absl::StatusOr<core::MetricSet> Tables::Metrics(const core::PredictionsSpec& predictions) {
  CD4ML_RETURN_IF_ERROR(Open());
  return engine_->PredictionMetrics(predictions.file, predictions);
}

absl::Status Tables::WriteQuarantine() {
  absl::Status first;
  for (const core::OutputSpec& output : stage_.outputs) {
    if (output.quarantine.empty()) continue;
    CD4ML_RETURN_IF_ERROR(Open());
    absl::Status written = Add(output.quarantine);
    if (written.ok())
      written = engine_->WriteBadRows(output.quarantine, stage_.rules, workspace_.dir() + "/" + output.path);
    // One table that is not there keeps no other from being written.
    first.Update(Annotate(written, "quarantine of " + output.quarantine));
  }
  return first;
}

bool Tables::IsProfiled(const core::ProducedOutput& output, bool mentioned) const {
  const auto spec = std::find_if(stage_.outputs.begin(), stage_.outputs.end(),
                                 [&](const core::OutputSpec& declared) { return declared.name == output.name; });
  // What was put into quarantine is not what was accepted.
  if (output.type != core::OutputType::kDataset || spec == stage_.outputs.end() || !spec->quarantine.empty()) return false;
  return mentioned || stage_.kind == core::StageKind::kDataGate;
}

absl::Status Tables::AttachProfiles(std::vector<core::ProducedOutput>& outputs) {
  for (core::ProducedOutput& output : outputs) {
    const bool mentioned =
        std::any_of(stage_.rules.begin(), stage_.rules.end(), [&](const core::Rule& rule) {
          const std::vector<std::string> tables = TablesOf(rule);
          return std::find(tables.begin(), tables.end(), output.name) != tables.end();
        });
    if (!IsProfiled(output, mentioned)) continue;
    CD4ML_RETURN_IF_ERROR(Open());
    if (const absl::Status& added = Add(output.name); absl::IsInvalidArgument(added) && !mentioned) {
      // A dataset may also be pictures, and no rule has said otherwise.
      attempt_.Say("output \"" + output.name + "\" gets no profile: " + Message(added));
      continue;
    } else {
      CD4ML_RETURN_IF_ERROR(added);
    }
    CD4ML_ASSIGN_OR_RETURN(output.profile, KeepProfile(output.name));
  }
  if (stage_.kind != core::StageKind::kDataGate) return absl::OkStatus();
  // What comes from elsewhere has been accepted, too: the next version of it is compared with this one.
  for (const auto& [name, added] : added_) {
    const auto is_output = [&name = name](const core::OutputSpec& output) { return output.name == name; };
    if (!added.ok() || std::any_of(stage_.outputs.begin(), stage_.outputs.end(), is_output)) continue;
    CD4ML_ASSIGN_OR_RETURN(const ArtifactRef profile, KeepProfile(name));
    outputs.push_back({name, "", core::OutputType::kReport, profile, profile});
  }
  return absl::OkStatus();
}

absl::StatusOr<ArtifactRef> Tables::KeepProfile(const std::string& table) {
  CD4ML_ASSIGN_OR_RETURN(core::TableProfile profile, engine_->Profile(table));
  if (const core::SegmentsRule* segments = SegmentsOf(table)) {
    // A rule that was overridden may have been one that cannot be judged.
    profile.segments = engine_->QualifyingSegments(*segments).value_or(std::vector<std::string>());
  }
  profiles_[table] = profile;
  return attempt_.tools().blobs.PutText(ToJson(core::ToValue(profile)), attempt_.halt());
}

std::vector<core::ReportTable> Tables::Shown(bool blocks) {
  std::vector<core::ReportTable> shown;
  for (const auto& [name, added] : added_) {
    if (!added.ok()) continue;
    if (blocks && !profiles_.contains(name)) {
      if (absl::StatusOr<core::TableProfile> profile = engine_->Profile(name); profile.ok()) profiles_[name] = *std::move(profile);
    }
    const auto profile = profiles_.find(name);
    if (profile == profiles_.end()) continue;
    core::ReportTable table{.name = name, .profile = profile->second, .baseline = "", .reference = std::nullopt};
    for (const std::string& versus : {"last_accepted." + name, std::string("champion.train_data")}) {
      const auto baseline = baselines_.find(versus);
      if (baseline == baselines_.end() || table.reference) continue;
      table.reference = baseline->second.profile;
      table.baseline = baseline->second.identity;
    }
    shown.push_back(std::move(table));
  }
  return shown;
}

}  // namespace cd4ml::agent
