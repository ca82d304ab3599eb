// Overrides and histories of gates.
#include "gates.h"

#include <algorithm>
#include <set>
#include <utility>

#include "cd4ml/base/status.h"
#include "cd4ml/base/text.h"

namespace cd4ml::daemon {
namespace {

constexpr Duration kLastingMax{int64_t{366} * 24 * 3'600'000};
constexpr size_t kTextMax = 1'000;
constexpr int kOverridesMax = 1'000;

// Two names that look alike on a terminal would be two people.
absl::Status CheckName(const std::string& by) {
  const bool is_plain = std::none_of(by.begin(), by.end(), [](unsigned char c) { return c < 0x20 || c == 0x7F; });
  return is_plain ? absl::OkStatus() : absl::InvalidArgumentError("the name of a person has no control characters");
}

absl::Status CheckRequest(const OverrideRequest& request) {
  const auto is_text = [](const std::string& text) {
    return text.find_first_not_of(" \t\n") != std::string::npos && text.size() <= kTextMax && IsUtf8(text);
  };
  if (!is_text(request.reason)) return absl::InvalidArgumentError("an override needs a reason, in at most 1000 bytes");
  if (!is_text(request.by)) return absl::InvalidArgumentError("an override needs the name of who takes it upon himself");
  CD4ML_RETURN_IF_ERROR(CheckName(request.by));
  if (request.lasting <= Duration(0) || request.lasting > kLastingMax) {
    return absl::InvalidArgumentError("an override lasts for some time, at most a year");
  }
  return absl::OkStatus();
}

std::vector<std::string> RulesOf(const core::StageRun& stage, const core::PipelineSpec& definition) {
  std::set<std::string> rules;
  if (const core::StageSpec* spec = definition.FindStage(stage.plan.name)) {
    for (const core::Rule& rule : spec->rules) rules.insert(rule.name);
  }
  // A gate may also have written rules of its own.
  const core::Outcome* result = stage.result();
  if (result != nullptr && result->verdict.has_value()) {
    for (const core::RuleResult& rule : result->verdict->rules) rules.insert(rule.name);
  }
  return {rules.begin(), rules.end()};
}

absl::StatusOr<const core::StageRun*> FindGate(const core::Run& run, const std::string& name) {
  std::vector<std::string> gates;
  for (const core::StageRun& stage : run.stages) {
    if (!core::IsGate(stage.plan.kind)) continue;
    if (stage.plan.name == name) return &stage;
    gates.push_back(stage.plan.name);
  }
  return absl::NotFoundError("run " + run.id + " has no gate \"" + name + "\"" + DidYouMean(name, gates));
}

}  // namespace

absl::StatusOr<core::OverrideRecord> Gates::Prepare(const OverrideRequest& request) {
  CD4ML_RETURN_IF_ERROR(CheckRequest(request));
  CD4ML_ASSIGN_OR_RETURN(const core::RunId id, queries_.Resolve(request.run));
  CD4ML_ASSIGN_OR_RETURN(const core::Run run, ports_.history.GetRun(id));
  CD4ML_ASSIGN_OR_RETURN(const core::StageRun* stage, FindGate(run, request.gate));
  CD4ML_ASSIGN_OR_RETURN(const auto definition, definitions_.Get(run.pins.definition));
  const std::vector<std::string> rules = RulesOf(*stage, *definition);
  if (std::find(rules.begin(), rules.end(), request.rule) == rules.end()) {
    return absl::NotFoundError("gate \"" + request.gate + "\" of run " + run.id + " has no rule \"" + request.rule + "\"" +
                               DidYouMean(request.rule, rules));
  }
  const int people = core::OverridePeople(*policies_.Get(), *definition);
  if (people == core::kNobodyOverrides) {
    return absl::FailedPreconditionError("a gate policy of the server forbids overrides in pipeline \"" + run.pipeline + "\"");
  }
  core::OverrideRecord record;
  record.pipeline = run.pipeline;
  record.gate = request.gate;
  record.rule = request.rule;
  record.run = run.id;
  record.by = request.by.substr(request.by.find_first_not_of(' '));
  record.by.erase(record.by.find_last_not_of(' ') + 1);
  record.reason = request.reason;
  record.people = people;
  return record;
}

void Gates::OverrideRule(OverrideRequest request, Done<OverrideView> done) {
  pool_.Post([this, request = std::move(request), done = std::move(done)] {
    absl::StatusOr<core::OverrideRecord> record = Prepare(request);
    if (!record.ok()) return done(record.status());
    Put(*std::move(record), request.lasting, done);
  });
}

void Gates::RevokeOverride(int64_t id, std::string by, Done<OverrideView> done) {
  pool_.Post([this, id, by = std::move(by), done = std::move(done)] {
    if (const absl::Status named = CheckName(by); !named.ok()) return done(named);
    absl::StatusOr<std::optional<core::OverrideRecord>> found = ports_.history.FindOverride(id);
    if (!found.ok()) return done(found.status());
    if (!found->has_value()) return done(absl::NotFoundError("there is no override " + std::to_string(id)));
    (*found)->revoked_by = by;
    Put(**std::move(found), Duration(0), done);
  });
}

void Gates::Put(core::OverrideRecord record, Duration lasting, Done<OverrideView> done) {
  const bool taken = loop_.Offer(Urgency::kRequest, [this, record = std::move(record), lasting, done]() mutable {
    orchestrator_.PutOverride(std::move(record), lasting, [this, done](absl::StatusOr<core::OverrideRecord> put) {
      if (!put.ok()) return done(put.status());
      // Read back where reading may block.
      pool_.Post([this, done, put = *std::move(put)]() mutable {
        const UtcTime after = std::max(put.at, put.revoked) + Duration(1);
        done(View(std::move(put), after));
      });
    });
  });
  if (!taken) done(absl::ResourceExhaustedError("the daemon has too many requests waiting; try again in a second"));
}

absl::StatusOr<OverrideView> Gates::View(core::OverrideRecord record, UtcTime now) {
  OverrideView view{.record = std::move(record), .state = "in force"};
  const core::OverrideRecord& one = view.record;
  if (one.revoked.is_set()) view.state = "revoked";
  else if (one.expires <= now) view.state = "expired";
  if (view.state != "in force") return view;
  CD4ML_ASSIGN_OR_RETURN(auto records, ports_.history.OverridesOf(one.pipeline, one.gate, now));
  std::erase_if(records, [&](const core::OverrideRecord& other) { return other.rule != one.rule; });
  if (!core::InForce(records, one.people, now).empty()) return view;
  int more = 1;
  while (more < one.people && core::InForce(records, one.people - more, now).empty()) ++more;
  view.state = "needs " + std::to_string(more) + (more == 1 ? " more person" : " more people");
  return view;
}

absl::StatusOr<std::vector<OverrideView>> Gates::ListOverrides(const std::string& pipeline) {
  if (!pipeline.empty()) CD4ML_RETURN_IF_ERROR(queries_.GetPipeline(pipeline).status());
  CD4ML_ASSIGN_OR_RETURN(const auto records, ports_.history.ListOverrides(pipeline, kOverridesMax));
  std::vector<OverrideView> views;
  for (const core::OverrideRecord& record : records) {
    CD4ML_ASSIGN_OR_RETURN(views.emplace_back(), View(record, ports_.clock.Now()));
  }
  return views;
}

absl::StatusOr<std::vector<GateRecord>> Gates::GateHistory(const std::string& pipeline, const std::string& gate, int limit) {
  CD4ML_RETURN_IF_ERROR(queries_.GetPipeline(pipeline).status());
  return ports_.history.GateHistory(pipeline, gate, limit);
}

}  // namespace cd4ml::daemon
