// Every message's two directions side by side, so that a field is added to both or to none.
#include "rpc/convert.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/reflection.h>

#include <set>
#include <utility>

#include "cd4ml/base/status.h"
#include "cd4ml/base/text.h"

namespace cd4ml::rpc {
namespace {

namespace pb = google::protobuf;

// Seconds of 0001-01-01 and 9999-12-31, between which a Timestamp lies.
constexpr int64_t kSecondsMin = -62'135'596'800;
constexpr int64_t kSecondsMax = 253'402'300'799;
constexpr int64_t kDurationSecondsMax = 315'576'000'000;

// --- what every message is made of -------------------------------------------------------------

template <typename P, typename C>
P EnumToProto(C value) {
  return static_cast<P>(static_cast<int>(value) +
                        1);  // 0 is UNSPECIFIED; a test compares the names.
}

std::string JsonOf(const Value& value) { return value.is_null() ? "" : ToJson(value); }

// Both directions of every message. One class, so that each may use any other in whatever order
// they stand. Reading keeps the first problem and goes on.
class Codec {
 public:
  const absl::Status& status() const { return status_; }

  void Write(UtcTime time, pb::Timestamp* to) {
    int64_t seconds = time.ms / 1'000;
    if (time.ms % 1'000 < 0) --seconds;
    to->set_seconds(seconds);
    to->set_nanos(static_cast<int32_t>(time.ms - seconds * 1'000) * 1'000'000);
  }

  void Write(Duration span, pb::Duration* to) {
    to->set_seconds(span.count() / 1'000);
    to->set_nanos(static_cast<int32_t>(span.count() % 1'000) * 1'000'000);
  }

  void Fail(const std::string& problem) {
    if (status_.ok()) status_ = absl::InvalidArgumentError(problem);
  }

  template <typename P, typename C>
  void Enum(P from, C& to) {
    const auto* type = pb::GetEnumDescriptor<P>();
    if (from == 0 || type->FindValueByNumber(from) == nullptr) {
      return Fail(type->name() + " " + std::to_string(from) +
                  " is not a value that this version knows");
    }
    to = static_cast<C>(static_cast<int>(from) - 1);
  }

  void Time(bool present, const pb::Timestamp& from, UtcTime& to) {
    if (!present) return;
    if (from.seconds() < kSecondsMin || from.seconds() > kSecondsMax)
      return Fail("a time is out of range");
    to.ms = from.seconds() * 1'000 + from.nanos() / 1'000'000;
  }

  void Span(const pb::Duration& from, Duration& to) {
    if (from.seconds() < -kDurationSecondsMax || from.seconds() > kDurationSecondsMax) {
      return Fail("a duration is out of range");
    }
    to = Duration(from.seconds() * 1'000 + from.nanos() / 1'000'000);
  }

  void Json(const std::string& from, Value& to) {
    if (from.empty()) return;
    absl::StatusOr<Value> value = ParseJson(from);
    if (!value.ok()) return Fail("a JSON field does not parse: " + Message(value.status()));
    to = *std::move(value);
  }

  void Hash(const std::string& from, Digest& to) {
    if (from.empty()) return;
    absl::StatusOr<Digest> digest = Digest::Parse(from);
    if (!digest.ok()) return Fail(Message(digest.status()));
    to = *std::move(digest);
  }

  template <typename C, typename P>
  void WriteList(const std::vector<C>& from, pb::RepeatedPtrField<P>* to) {
    to->Reserve(static_cast<int>(from.size()));
    for (const C& item : from) Write(item, to->Add());
  }
  template <typename C, typename P>
  void ReadList(const pb::RepeatedPtrField<P>& from, std::vector<C>& to) {
    to.reserve(from.size());
    for (const P& item : from) Read(item, to.emplace_back());
  }

  template <typename C, typename P>
  void WriteMap(const std::map<std::string, C>& from, pb::Map<std::string, P>* to) {
    for (const auto& [key, item] : from) Write(item, &(*to)[key]);
  }
  template <typename C, typename P>
  void ReadMap(const pb::Map<std::string, P>& from, std::map<std::string, C>& to) {
    for (const auto& [key, item] : from) Read(item, to[key]);
  }

  // Lists and maps of what messages hold as it is: text and numbers.
  template <typename From, typename To>
  void Copy(const From& from, To& to) {
    to = To(from.begin(), from.end());
  }

  // --- versions --------------------------------------------------------------------------------

  void Write(const ArtifactRef& from, v1::ArtifactRef* to) {
    to->set_digest(from.digest.hex());
    to->set_is_tree(from.is_tree);
    to->set_size(from.size);
    to->set_files(from.files);
  }
  void Read(const v1::ArtifactRef& from, ArtifactRef& to) {
    Hash(from.digest(), to.digest);
    to.is_tree = from.is_tree();
    to.size = from.size();
    to.files = from.files();
  }

  void Write(const core::Version& from, v1::Version* to) {
    to->set_kind(EnumToProto<v1::VersionKind>(from.kind));
    to->set_name(from.name);
    to->set_digest(from.digest);
    Write(from.artifact, to->mutable_artifact());
    to->set_summary(from.summary);
  }
  void Read(const v1::Version& from, core::Version& to) {
    Enum(from.kind(), to.kind);
    to.name = from.name();
    to.digest = from.digest();
    Read(from.artifact(), to.artifact);
    to.summary = from.summary();
  }

  void Write(const LineageNode& from, v1::LineageNode* to) {
    to->set_kind(EnumToProto<v1::LineageKind>(from.kind));
    to->set_id(from.id);
    to->set_label(from.label);
    if (from.at.is_set()) Write(from.at, to->mutable_time());
    to->set_facts_json(JsonOf(from.facts));
  }
  void Read(const v1::LineageNode& from, LineageNode& to) {
    Enum(from.kind(), to.kind);
    to.id = from.id();
    to.label = from.label();
    Time(from.has_time(), from.time(), to.at);
    Json(from.facts_json(), to.facts);
  }

  void Write(const LineageEdge& from, v1::LineageEdge* to) {
    to->set_from(from.from);
    to->set_to(from.to);
  }
  void Read(const v1::LineageEdge& from, LineageEdge& to) {
    to.from = from.from();
    to.to = from.to();
  }

  void Write(const LineageGraph& from, v1::LineageGraph* to) {
    to->set_root(from.root);
    WriteList(from.nodes, to->mutable_nodes());
    WriteList(from.edges, to->mutable_edges());
    to->set_truncated(from.truncated);
  }
  void Read(const v1::LineageGraph& from, LineageGraph& to) {
    to.root = from.root();
    ReadList(from.nodes(), to.nodes);
    ReadList(from.edges(), to.edges);
    to.truncated = from.truncated();
  }

  // --- records ---------------------------------------------------------------------------------

  void Write(const core::Side& from, v1::Side* to) {
    to->set_value_json(JsonOf(from.value));
    to->set_note(from.note);
  }
  void Read(const v1::Side& from, core::Side& to) {
    Json(from.value_json(), to.value);
    to.note = from.note();
  }

  void Write(const core::Difference& from, v1::Difference* to) {
    to->set_kind(EnumToProto<v1::DifferenceKind>(from.kind));
    to->set_name(from.name);
    Write(from.before, to->mutable_before());
    Write(from.after, to->mutable_after());
    to->set_trend(EnumToProto<v1::Trend>(from.trend));
  }
  void Read(const v1::Difference& from, core::Difference& to) {
    Enum(from.kind(), to.kind);
    to.name = from.name();
    Read(from.before(), to.before);
    Read(from.after(), to.after);
    Enum(from.trend(), to.trend);
  }

  void Write(const RunComparison& from, v1::RunComparison* to) {
    to->set_before(from.before);
    to->set_after(from.after);
    WriteList(from.differences, to->mutable_differences());
    Copy(from.changed_paths, *to->mutable_changed_paths());
    to->set_paths_unknown(from.paths_unknown);
  }
  void Read(const v1::RunComparison& from, RunComparison& to) {
    to.before = from.before();
    to.after = from.after();
    ReadList(from.differences(), to.differences);
    Copy(from.changed_paths(), to.changed_paths);
    to.paths_unknown = from.paths_unknown();
  }

  void Write(const ImpactedModel& from, v1::ImpactedModel* to) {
    Write(from.model, to->mutable_model());
    Write(from.made_by, to->mutable_made_by());
    if (from.at.is_set()) Write(from.at, to->mutable_time());
  }
  void Read(const v1::ImpactedModel& from, ImpactedModel& to) {
    Read(from.model(), to.model);
    Read(from.made_by(), to.made_by);
    Time(from.has_time(), from.time(), to.at);
  }

  void Write(const ImpactedDeployment& from, v1::ImpactedDeployment* to) {
    Write(from.deployment, to->mutable_deployment());
    to->set_predictions(from.predictions);
    if (from.first_prediction.is_set()) Write(from.first_prediction, to->mutable_first_prediction());
    if (from.last_prediction.is_set()) Write(from.last_prediction, to->mutable_last_prediction());
  }
  void Read(const v1::ImpactedDeployment& from, ImpactedDeployment& to) {
    Read(from.deployment(), to.deployment);
    to.predictions = from.predictions();
    Time(from.has_first_prediction(), from.first_prediction(), to.first_prediction);
    Time(from.has_last_prediction(), from.last_prediction(), to.last_prediction);
  }

  void Write(const Impact& from, v1::Impact* to) {
    WriteList(from.versions, to->mutable_versions());
    Copy(from.runs, *to->mutable_runs());
    WriteList(from.models, to->mutable_models());
    WriteList(from.deployments, to->mutable_deployments());
    to->set_truncated(from.truncated);
  }
  void Read(const v1::Impact& from, Impact& to) {
    ReadList(from.versions(), to.versions);
    Copy(from.runs(), to.runs);
    ReadList(from.models(), to.models);
    ReadList(from.deployments(), to.deployments);
    to.truncated = from.truncated();
  }

  void Write(const core::Reproduction& from, v1::Reproduction* to) {
    to->set_original(from.original);
    to->set_rebuilt(from.rebuilt);
    to->set_sameness(EnumToProto<v1::Sameness>(from.sameness));
    to->set_stage(from.stage);
    to->set_why(from.why);
    to->set_outputs(from.outputs);
    to->set_metrics(from.metrics);
    WriteList(from.differences, to->mutable_differences());
    Copy(from.left_out, *to->mutable_left_out());
  }
  void Read(const v1::Reproduction& from, core::Reproduction& to) {
    to.original = from.original();
    to.rebuilt = from.rebuilt();
    Enum(from.sameness(), to.sameness);
    to.stage = from.stage();
    to.why = from.why();
    to.outputs = from.outputs();
    to.metrics = from.metrics();
    ReadList(from.differences(), to.differences);
    Copy(from.left_out(), to.left_out);
  }

  // --- pipelines -------------------------------------------------------------------------------

  void Write(const core::Diagnostic& from, v1::Diagnostic* to) {
    to->set_code(from.code);
    to->set_severity(EnumToProto<v1::Severity>(from.severity));
    to->set_message(from.message);
    to->set_file(from.file);
    to->mutable_place()->set_line(from.place.line);
    to->mutable_place()->set_column(from.place.column);
    to->mutable_place()->set_length(from.place.length);
    to->set_snippet(from.snippet);
    to->set_label(from.label);
    to->set_help(from.help);
  }
  void Read(const v1::Diagnostic& from, core::Diagnostic& to) {
    to.code = from.code();
    Enum(from.severity(), to.severity);
    to.message = from.message();
    to.file = from.file();
    to.place = {from.place().line(), from.place().column(), from.place().length()};
    to.snippet = from.snippet();
    to.label = from.label();
    to.help = from.help();
  }

  void Write(const PipelineRecord& from, v1::Pipeline* to) {
    to->set_name(from.name);
    to->set_repo(from.repo);
    to->set_branch(from.branch);
    to->set_file(from.file);
    to->set_description(from.description);
    to->set_good_commit(from.good_commit);
    if (from.registered.is_set()) Write(from.registered, to->mutable_register_time());
    if (from.checked.is_set()) Write(from.checked, to->mutable_check_time());
    WriteList(from.problems, to->mutable_problems());
    to->set_bad_commit(from.bad_commit);
  }
  void Read(const v1::Pipeline& from, PipelineRecord& to) {
    to.name = from.name();
    to.repo = from.repo();
    to.branch = from.branch();
    to.file = from.file();
    to.description = from.description();
    to.good_commit = from.good_commit();
    Time(from.has_register_time(), from.register_time(), to.registered);
    Time(from.has_check_time(), from.check_time(), to.checked);
    ReadList(from.problems(), to.problems);
    to.bad_commit = from.bad_commit();
  }

  void Write(const core::RetrySpec& from, v1::RetrySpec* to) {
    to->set_limit(from.limit);
    Copy(from.when, *to->mutable_when());
    Write(from.backoff, to->mutable_backoff());
    to->set_error_limit(from.error_limit);
    Write(from.backoff_max, to->mutable_backoff_max());
  }
  void Read(const v1::RetrySpec& from, core::RetrySpec& to) {
    to.limit = from.limit();
    Copy(from.when(), to.when);
    Span(from.backoff(), to.backoff);
    to.error_limit = from.error_limit();
    Span(from.backoff_max(), to.backoff_max);
  }

  void Write(const core::Resources& from, v1::Resources* to) {
    to->set_cpu_millis(from.cpu_millis);
    to->set_memory_bytes(from.memory_bytes);
    to->set_gpus(from.gpus);
  }
  void Read(const v1::Resources& from, core::Resources& to) {
    to = {from.cpu_millis(), from.memory_bytes(), from.gpus()};
  }

  void Write(const core::ConcurrencySpec& from, v1::Concurrency* to) {
    to->set_group(from.group);
    to->set_policy(EnumToProto<v1::ConcurrencyPolicy>(from.policy));
    to->set_limit(from.limit);
  }
  void Read(const v1::Concurrency& from, core::ConcurrencySpec& to) {
    to.group = from.group();
    Enum(from.policy(), to.policy);
    to.limit = from.limit();
  }

  void Write(const core::MatrixSpec& from, v1::Matrix* to) {
    Copy(from.cells, *to->mutable_cells());
    to->set_max_parallel(from.max_parallel);
    to->set_goes_on(from.goes_on);
    to->set_select(from.select);
    to->set_select_highest(from.select_highest);
  }
  void Read(const v1::Matrix& from, core::MatrixSpec& to) {
    Copy(from.cells(), to.cells);
    to.max_parallel = from.max_parallel();
    to.goes_on = from.goes_on();
    to.select = from.select();
    to.select_highest = from.select_highest();
  }

  void Write(const core::StagePlan& from, v1::StagePlan* to) {
    to->set_name(from.name);
    to->set_kind(EnumToProto<v1::StageKind>(from.kind));
    Copy(from.needs, *to->mutable_needs());
    Copy(from.references, *to->mutable_references());
    to->set_condition(from.condition);
    Copy(from.labels, *to->mutable_labels());
    Write(from.timeout, to->mutable_timeout());
    Write(from.assign_timeout, to->mutable_assign_timeout());
    Write(from.retry, to->mutable_retry());
    to->set_environment(from.environment);
    to->set_package(from.package);
    Write(from.resources, to->mutable_resources());
    Write(from.total_timeout, to->mutable_total_timeout());
    to->set_environment_policy(EnumToProto<v1::ConcurrencyPolicy>(from.environment_policy));
    to->mutable_recipe()->insert(from.recipe.begin(), from.recipe.end());
    to->set_reuse(from.reuse);
    Write(from.reuse_max_age, to->mutable_reuse_max_age());
    to->set_refuses_mixed(from.refuses_mixed);
    Copy(from.baselines, *to->mutable_baselines());
    to->set_override_people(from.override_people);
    to->set_cell_of(from.cell_of);
    if (!from.cell_params.empty()) to->set_cell_params_json(ToJson(Value::Map(from.cell_params.begin(), from.cell_params.end())));
    if (from.matrix) Write(*from.matrix, to->mutable_matrix());
  }
  void Read(const v1::StagePlan& from, core::StagePlan& to) {
    to.name = from.name();
    Enum(from.kind(), to.kind);
    Copy(from.needs(), to.needs);
    Copy(from.references(), to.references);
    to.condition = from.condition();
    Copy(from.labels(), to.labels);
    Span(from.timeout(), to.timeout);
    Span(from.assign_timeout(), to.assign_timeout);
    Read(from.retry(), to.retry);
    to.environment = from.environment();
    to.package = from.package();
    Read(from.resources(), to.resources);
    Span(from.total_timeout(), to.total_timeout);
    Enum(from.environment_policy(), to.environment_policy);
    Copy(from.recipe(), to.recipe);
    to.reuse = from.reuse();
    Span(from.reuse_max_age(), to.reuse_max_age);
    to.refuses_mixed = from.refuses_mixed();
    Copy(from.baselines(), to.baselines);
    to.override_people = from.override_people();
    to.cell_of = from.cell_of();
    Value cell_params;
    Json(from.cell_params_json(), cell_params);
    if (cell_params.is_map()) to.cell_params.insert(cell_params.map().begin(), cell_params.map().end());
    if (from.has_matrix()) Read(from.matrix(), to.matrix.emplace());
  }

  // --- runs ------------------------------------------------------------------------------------

  void Write(const core::Interval& from, v1::Interval* to) {
    to->set_low(from.low);
    to->set_high(from.high);
  }
  void Read(const v1::Interval& from, core::Interval& to) { to = {from.low(), from.high()}; }

  void Write(const core::Override& from, v1::Override* to) {
    to->set_rule(from.rule);
    to->set_by(from.by);
    to->set_reason(from.reason);
    if (from.at.is_set()) Write(from.at, to->mutable_create_time());
    if (from.expires.is_set()) Write(from.expires, to->mutable_expire_time());
  }
  void Read(const v1::Override& from, core::Override& to) {
    to.rule = from.rule();
    to.by = from.by();
    to.reason = from.reason();
    Time(from.has_create_time(), from.create_time(), to.at);
    Time(from.has_expire_time(), from.expire_time(), to.expires);
  }

  void Write(const core::RuleResult& from, v1::RuleResult* to) {
    to->set_name(from.name);
    to->set_form(from.form);
    to->set_outcome(EnumToProto<v1::VerdictOutcome>(from.outcome));
    to->set_subject(from.subject);
    to->set_observed(from.observed);
    to->set_bound(from.bound);
    if (from.observed_number) to->set_observed_number(*from.observed_number);
    if (from.sample_size) to->set_sample_size(*from.sample_size);
    to->set_baseline(from.baseline);
    to->set_message(from.message);
    Copy(from.rows, *to->mutable_rows());
    if (from.baseline_number) to->set_baseline_number(*from.baseline_number);
    if (from.confidence) to->set_confidence(*from.confidence);
    if (from.interval) Write(*from.interval, to->mutable_interval());
  }
  void Read(const v1::RuleResult& from, core::RuleResult& to) {
    to.name = from.name();
    to.form = from.form();
    Enum(from.outcome(), to.outcome);
    to.subject = from.subject();
    to.observed = from.observed();
    to.bound = from.bound();
    if (from.has_observed_number()) to.observed_number = from.observed_number();
    if (from.has_sample_size()) to.sample_size = from.sample_size();
    to.baseline = from.baseline();
    to.message = from.message();
    Copy(from.rows(), to.rows);
    if (from.has_baseline_number()) to.baseline_number = from.baseline_number();
    if (from.has_confidence()) to.confidence = from.confidence();
    if (from.has_interval()) Read(from.interval(), to.interval.emplace());
  }

  void Write(const core::Verdict& from, v1::Verdict* to) {
    to->set_outcome(EnumToProto<v1::VerdictOutcome>(from.outcome));
    WriteList(from.rules, to->mutable_rules());
    Copy(from.segments, *to->mutable_segments());
    WriteList(from.overrides, to->mutable_overrides());
  }
  void Read(const v1::Verdict& from, core::Verdict& to) {
    Enum(from.outcome(), to.outcome);
    ReadList(from.rules(), to.rules);
    Copy(from.segments(), to.segments);
    ReadList(from.overrides(), to.overrides);
  }

  void Write(const core::AttemptId& from, v1::AttemptId* to) {
    to->set_run(from.run);
    to->set_stage(from.stage);
    to->set_number(from.number);
  }
  void Read(const v1::AttemptId& from, core::AttemptId& to) {
    to = {from.run(), from.stage(), from.number()};
  }

  void Write(const core::ProducedOutput& from, v1::ProducedOutput* to) {
    to->set_name(from.name);
    to->set_path(from.path);
    to->set_type(EnumToProto<v1::OutputType>(from.type));
    Write(from.artifact, to->mutable_artifact());
    if (from.profile) Write(*from.profile, to->mutable_profile());
  }
  void Read(const v1::ProducedOutput& from, core::ProducedOutput& to) {
    to.name = from.name();
    to.path = from.path();
    Enum(from.type(), to.type);
    Read(from.artifact(), to.artifact);
    if (from.has_profile()) Read(from.profile(), to.profile.emplace());
  }

  void Write(const core::StartedService& from, v1::StartedService* to) {
    to->set_endpoint(from.endpoint);
    to->set_agent(from.agent);
  }
  void Read(const v1::StartedService& from, core::StartedService& to) {
    to = {from.endpoint(), from.agent()};
  }

  void Write(const core::Outcome& from, v1::Outcome* to) {
    to->set_state(EnumToProto<v1::AttemptState>(from.state));
    to->set_reason(EnumToProto<v1::Reason>(from.reason));
    to->set_message(from.message);
    to->set_exit_code(from.exit_code);
    WriteList(from.outputs, to->mutable_outputs());
    to->mutable_metrics()->insert(from.metrics.begin(), from.metrics.end());
    if (from.verdict) Write(*from.verdict, to->mutable_verdict());
    if (from.service) Write(*from.service, to->mutable_service());
    to->set_environment_json(JsonOf(from.environment));
    to->set_log_bytes(from.log_bytes);
    to->set_cpu_seconds(from.cpu_seconds);
    to->set_max_rss_bytes(from.max_rss_bytes);
  }
  void Read(const v1::Outcome& from, core::Outcome& to) {
    Enum(from.state(), to.state);
    Enum(from.reason(), to.reason);
    to.message = from.message();
    to.exit_code = from.exit_code();
    ReadList(from.outputs(), to.outputs);
    Copy(from.metrics(), to.metrics);
    if (from.has_verdict()) Read(from.verdict(), to.verdict.emplace());
    if (from.has_service()) Read(from.service(), to.service.emplace());
    Json(from.environment_json(), to.environment);
    to.log_bytes = from.log_bytes();
    to.cpu_seconds = from.cpu_seconds();
    to.max_rss_bytes = from.max_rss_bytes();
  }

  void Write(const core::Attempt& from, v1::Attempt* to) {
    to->set_number(from.number);
    to->set_agent(from.agent);
    to->set_state(EnumToProto<v1::AttemptState>(from.state));
    if (from.granted.is_set()) Write(from.granted, to->mutable_grant_time());
    if (from.started.is_set()) Write(from.started, to->mutable_start_time());
    if (from.ended.is_set()) Write(from.ended, to->mutable_end_time());
    Write(from.outcome, to->mutable_outcome());
    to->mutable_recipe()->insert(from.recipe.begin(), from.recipe.end());
    to->set_reuse_note(from.reuse_note);
  }
  void Read(const v1::Attempt& from, core::Attempt& to) {
    to.number = from.number();
    to.agent = from.agent();
    Enum(from.state(), to.state);
    Time(from.has_grant_time(), from.grant_time(), to.granted);
    Time(from.has_start_time(), from.start_time(), to.started);
    Time(from.has_end_time(), from.end_time(), to.ended);
    Read(from.outcome(), to.outcome);
    Copy(from.recipe(), to.recipe);
    to.reuse_note = from.reuse_note();
  }

  void Write(const core::Carried& from, v1::Carried* to) {
    Write(from.from, to->mutable_from());
    Write(from.outcome, to->mutable_outcome());
    to->set_reused(from.reused);
    to->set_cell(from.cell);
    to->set_why(from.why);
  }
  void Read(const v1::Carried& from, core::Carried& to) {
    Read(from.from(), to.from);
    Read(from.outcome(), to.outcome);
    to.reused = from.reused();
    to.cell = from.cell();
    to.why = from.why();
  }

  void Write(const core::Stop& from, v1::Stop* to) {
    to->set_state(EnumToProto<v1::StageState>(from.state));
    to->set_reason(EnumToProto<v1::Reason>(from.reason));
    to->set_message(from.message);
  }
  void Read(const v1::Stop& from, core::Stop& to) {
    Enum(from.state(), to.state);
    Enum(from.reason(), to.reason);
    to.message = from.message();
  }

  void Write(const core::StageRun& from, v1::StageRun* to) {
    Write(from.plan, to->mutable_plan());
    to->set_state(EnumToProto<v1::StageState>(from.state));
    to->set_reason(EnumToProto<v1::Reason>(from.reason));
    to->set_message(from.message);
    if (from.ready.is_set()) Write(from.ready, to->mutable_ready_time());
    if (from.ended.is_set()) Write(from.ended, to->mutable_end_time());
    if (from.not_before.is_set()) Write(from.not_before, to->mutable_not_before_time());
    WriteList(from.attempts, to->mutable_attempts());
    if (from.first_ready.is_set()) Write(from.first_ready, to->mutable_first_ready_time());
    if (from.carried) Write(*from.carried, to->mutable_carried());
    if (from.stop) Write(*from.stop, to->mutable_stop());
  }
  void Read(const v1::StageRun& from, core::StageRun& to) {
    Read(from.plan(), to.plan);
    Enum(from.state(), to.state);
    Enum(from.reason(), to.reason);
    to.message = from.message();
    Time(from.has_ready_time(), from.ready_time(), to.ready);
    Time(from.has_end_time(), from.end_time(), to.ended);
    Time(from.has_not_before_time(), from.not_before_time(), to.not_before);
    ReadList(from.attempts(), to.attempts);
    Time(from.has_first_ready_time(), from.first_ready_time(), to.first_ready);
    if (from.has_carried()) Read(from.carried(), to.carried.emplace());
    if (from.has_stop()) Read(from.stop(), to.stop.emplace());
  }

  void Write(const core::Pins& from, v1::Pins* to) {
    to->set_repo(from.repo);
    to->set_commit(from.commit);
    to->set_commit_subject(from.commit_subject);
    to->set_file(from.file);
    to->set_definition(from.definition.hex());
    WriteMap(from.materials, to->mutable_materials());
    to->set_params_json(JsonOf(from.params));
    to->mutable_param_sources()->insert(from.param_sources.begin(), from.param_sources.end());
    to->set_params_digest(from.params_digest.hex());
    to->mutable_upstream()->insert(from.upstream.begin(), from.upstream.end());
    to->set_mixed(from.mixed);
  }
  void Read(const v1::Pins& from, core::Pins& to) {
    to.repo = from.repo();
    to.commit = from.commit();
    to.commit_subject = from.commit_subject();
    to.file = from.file();
    Hash(from.definition(), to.definition);
    ReadMap(from.materials(), to.materials);
    Json(from.params_json(), to.params);
    Copy(from.param_sources(), to.param_sources);
    Hash(from.params_digest(), to.params_digest);
    Copy(from.upstream(), to.upstream);
    to.mixed = from.mixed();
  }

  void Write(const core::TriggerFacts& from, v1::TriggerFacts* to) {
    to->set_kind(EnumToProto<v1::TriggerKind>(from.kind));
    to->set_key(from.key);
    to->set_by(from.by);
    to->set_reason(from.reason);
  }
  void Read(const v1::TriggerFacts& from, core::TriggerFacts& to) {
    Enum(from.kind(), to.kind);
    to.key = from.key();
    to.by = from.by();
    to.reason = from.reason();
  }

  void Write(const core::Run& from, v1::Run* to) {
    to->set_id(from.id);
    to->set_pipeline(from.pipeline);
    to->set_number(from.number);
    to->set_lane(from.lane);
    to->set_state(EnumToProto<v1::RunState>(from.state));
    to->set_reason(EnumToProto<v1::Reason>(from.reason));
    to->set_message(from.message);
    to->set_cancel_requested(from.cancel_requested);
    to->set_cancel_reason(from.cancel_reason);
    Write(from.trigger, to->mutable_trigger());
    Write(from.pins, to->mutable_pins());
    if (from.created.is_set()) Write(from.created, to->mutable_create_time());
    if (from.ended.is_set()) Write(from.ended, to->mutable_end_time());
    to->set_next_seq(from.next_seq);
    WriteList(from.stages, to->mutable_stages());
    to->set_superseded_by(from.superseded_by);
    to->set_priority(from.priority);
    Write(from.concurrency, to->mutable_concurrency());
    to->set_retry_of(from.retry_of);
  }
  void Read(const v1::Run& from, core::Run& to) {
    to.id = from.id();
    to.pipeline = from.pipeline();
    to.number = from.number();
    to.lane = from.lane();
    Enum(from.state(), to.state);
    Enum(from.reason(), to.reason);
    to.message = from.message();
    to.cancel_requested = from.cancel_requested();
    to.cancel_reason = from.cancel_reason();
    Read(from.trigger(), to.trigger);
    Read(from.pins(), to.pins);
    Time(from.has_create_time(), from.create_time(), to.created);
    Time(from.has_end_time(), from.end_time(), to.ended);
    to.next_seq = from.next_seq();
    ReadList(from.stages(), to.stages);
    to.superseded_by = from.superseded_by();
    to.priority = from.priority();
    Read(from.concurrency(), to.concurrency);
    to.retry_of = from.retry_of();
    if (KnowsItsNeeds(to)) core::Reindex(to);  // What is derived does not travel.
  }

  void Write(const RunView& from, v1::RunView* to) {
    Write(from.run, to->mutable_run());
    to->mutable_waiting()->insert(from.waiting.begin(), from.waiting.end());
    to->set_queued_behind(from.queued_behind);
  }
  void Read(const v1::RunView& from, RunView& to) {
    Read(from.run(), to.run);
    Copy(from.waiting(), to.waiting);
    to.queued_behind = from.queued_behind();
  }

  void Write(const RunSummary& from, v1::RunSummary* to) {
    to->set_id(from.id);
    to->set_pipeline(from.pipeline);
    to->set_lane(from.lane);
    to->set_state(EnumToProto<v1::RunState>(from.state));
    to->set_word(from.word);
    to->set_message(from.message);
    to->set_trigger(EnumToProto<v1::TriggerKind>(from.trigger));
    to->set_trigger_by(from.trigger_by);
    to->set_trigger_reason(from.trigger_reason);
    to->set_commit(from.commit);
    to->set_commit_subject(from.commit_subject);
    if (from.created.is_set()) Write(from.created, to->mutable_create_time());
    if (from.ended.is_set()) Write(from.ended, to->mutable_end_time());
    to->set_stages_done(from.stages_done);
    to->set_stages_total(from.stages_total);
    to->set_gates_passed(from.gates_passed);
    to->set_gates_judged(from.gates_judged);
    to->set_gates_overridden(from.gates_overridden);
  }
  void Read(const v1::RunSummary& from, RunSummary& to) {
    to.id = from.id();
    to.pipeline = from.pipeline();
    to.lane = from.lane();
    Enum(from.state(), to.state);
    to.word = from.word();
    to.message = from.message();
    Enum(from.trigger(), to.trigger);
    to.trigger_by = from.trigger_by();
    to.trigger_reason = from.trigger_reason();
    to.commit = from.commit();
    to.commit_subject = from.commit_subject();
    Time(from.has_create_time(), from.create_time(), to.created);
    Time(from.has_end_time(), from.end_time(), to.ended);
    to.stages_done = from.stages_done();
    to.stages_total = from.stages_total();
    to.gates_passed = from.gates_passed();
    to.gates_judged = from.gates_judged();
    to.gates_overridden = from.gates_overridden();
  }

  void Write(const PlannedRun& from, v1::PlannedRun* to) {
    to->set_pipeline(from.pipeline);
    to->set_commit(from.commit);
    to->set_commit_subject(from.commit_subject);
    to->set_file(from.file);
    WriteList(from.stages, to->mutable_stages());
    WriteMap(from.materials, to->mutable_materials());
    to->set_params_json(JsonOf(from.params));
    to->mutable_param_sources()->insert(from.param_sources.begin(), from.param_sources.end());
    to->mutable_agents()->insert(from.agents.begin(), from.agents.end());
    to->mutable_reuse()->insert(from.reuse.begin(), from.reuse.end());
    to->set_definition(from.definition.hex());
    to->mutable_upstream()->insert(from.upstream.begin(), from.upstream.end());
    to->set_mixed(from.mixed);
    Copy(from.warnings, *to->mutable_warnings());
  }
  void Read(const v1::PlannedRun& from, PlannedRun& to) {
    to.pipeline = from.pipeline();
    to.commit = from.commit();
    to.commit_subject = from.commit_subject();
    to.file = from.file();
    ReadList(from.stages(), to.stages);
    ReadMap(from.materials(), to.materials);
    Json(from.params_json(), to.params);
    Copy(from.param_sources(), to.param_sources);
    Copy(from.agents(), to.agents);
    Copy(from.reuse(), to.reuse);
    Hash(from.definition(), to.definition);
    Copy(from.upstream(), to.upstream);
    to.mixed = from.mixed();
    Copy(from.warnings(), to.warnings);
  }

  // --- deployments -----------------------------------------------------------------------------

  void Write(const core::Deployment& from, v1::Deployment* to) {
    to->set_id(from.id);
    to->set_environment(from.environment);
    to->set_pipeline(from.pipeline);
    to->set_run(from.run);
    to->set_stage(from.stage);
    Write(from.package, to->mutable_package());
    Write(from.model, to->mutable_model());
    to->set_agent(from.agent);
    to->set_endpoint(from.endpoint);
    if (from.started.is_set()) Write(from.started, to->mutable_start_time());
    if (from.ended.is_set()) Write(from.ended, to->mutable_end_time());
    to->set_replaced(from.replaced);
    WriteList(from.overrides, to->mutable_overrides());
  }
  void Read(const v1::Deployment& from, core::Deployment& to) {
    to.id = from.id();
    to.environment = from.environment();
    to.pipeline = from.pipeline();
    to.run = from.run();
    to.stage = from.stage();
    Read(from.package(), to.package);
    Read(from.model(), to.model);
    to.agent = from.agent();
    to.endpoint = from.endpoint();
    Time(from.has_start_time(), from.start_time(), to.started);
    Time(from.has_end_time(), from.end_time(), to.ended);
    to.replaced = from.replaced();
    ReadList(from.overrides(), to.overrides);
  }

  void Write(const core::MonitorState& from, v1::MonitorState* to) {
    to->set_pipeline(from.pipeline);
    to->set_stage(from.stage);
    to->set_environment(from.environment);
    to->set_deployment(from.deployment);
    to->set_definition(from.definition.hex());
    if (from.armed.is_set()) Write(from.armed, to->mutable_arm_time());
    if (from.next_check.is_set()) Write(from.next_check, to->mutable_next_check_time());
    to->set_checks(from.checks);
    to->mutable_broken()->insert(from.broken.begin(), from.broken.end());
    for (UtcTime time : from.retrains) Write(time, to->add_retrain_times());
    to->set_retrains_without_recovery(from.retrains_without_recovery);
    to->set_given_up(from.given_up);
  }
  void Read(const v1::MonitorState& from, core::MonitorState& to) {
    to.pipeline = from.pipeline();
    to.stage = from.stage();
    to.environment = from.environment();
    to.deployment = from.deployment();
    Hash(from.definition(), to.definition);
    Time(from.has_arm_time(), from.arm_time(), to.armed);
    Time(from.has_next_check_time(), from.next_check_time(), to.next_check);
    to.checks = from.checks();
    Copy(from.broken(), to.broken);
    for (const pb::Timestamp& time : from.retrain_times())
      Time(true, time, to.retrains.emplace_back());
    to.retrains_without_recovery = from.retrains_without_recovery();
    to.given_up = from.given_up();
  }

  void Write(const MonitorCheckRecord& from, v1::MonitorCheck* to) {
    to->set_monitor(from.monitor);
    to->set_number(from.number);
    if (from.at.is_set()) Write(from.at, to->mutable_time());
    to->set_deployment(from.deployment);
    to->set_requests(from.requests);
    Write(from.verdict, to->mutable_verdict());
    to->set_breach(from.breach);
    to->set_held_back(from.held_back);
    to->set_retrain_run(from.retrain_run);
  }
  void Read(const v1::MonitorCheck& from, MonitorCheckRecord& to) {
    to.monitor = from.monitor();
    to.number = from.number();
    Time(from.has_time(), from.time(), to.at);
    to.deployment = from.deployment();
    to.requests = from.requests();
    Read(from.verdict(), to.verdict);
    to.breach = from.breach();
    to.held_back = from.held_back();
    to.retrain_run = from.retrain_run();
  }

  void Write(const MonitorView& from, v1::Monitor* to) {
    Write(from.monitor, to->mutable_monitor());
    WriteList(from.checks, to->mutable_checks());
  }
  void Read(const v1::Monitor& from, MonitorView& to) {
    Read(from.monitor(), to.monitor);
    ReadList(from.checks(), to.checks);
  }

  void Write(const PredictionRecord& from, v1::Prediction* to) {
    to->set_deployment(from.deployment);
    to->set_key(from.key);
    if (from.at.is_set()) Write(from.at, to->mutable_time());
    to->set_input_json(JsonOf(from.input));
    to->set_prediction(from.prediction);
  }
  void Read(const v1::Prediction& from, PredictionRecord& to) {
    to.deployment = from.deployment();
    to.key = from.key();
    Time(from.has_time(), from.time(), to.at);
    Json(from.input_json(), to.input);
    to.prediction = from.prediction();
  }

  // --- agents ----------------------------------------------------------------------------------

  void Write(const AgentRecord& from, v1::AgentRecord* to) {
    to->set_name(from.name);
    to->set_instance(from.instance);
    to->set_host(from.host);
    to->set_version(from.version);
    Copy(from.labels, *to->mutable_labels());
    to->set_slots(from.slots);
    to->set_facts_json(JsonOf(from.facts));
    if (from.first_seen.is_set()) Write(from.first_seen, to->mutable_first_seen_time());
    if (from.last_seen.is_set()) Write(from.last_seen, to->mutable_last_seen_time());
    Write(from.resources, to->mutable_resources());
    to->set_drained(from.drained);
    to->set_drain_reason(from.drain_reason);
  }
  void Read(const v1::AgentRecord& from, AgentRecord& to) {
    to.name = from.name();
    to.instance = from.instance();
    to.host = from.host();
    to.version = from.version();
    Copy(from.labels(), to.labels);
    to.slots = from.slots();
    Json(from.facts_json(), to.facts);
    Time(from.has_first_seen_time(), from.first_seen_time(), to.first_seen);
    Time(from.has_last_seen_time(), from.last_seen_time(), to.last_seen);
    Read(from.resources(), to.resources);
    to.drained = from.drained();
    to.drain_reason = from.drain_reason();
  }

  void Write(const AgentView& from, v1::Agent* to) {
    Write(from.agent, to->mutable_agent());
    to->set_state(from.state);
    WriteList(from.running, to->mutable_running());
    Write(from.free, to->mutable_free());
  }
  void Read(const v1::Agent& from, AgentView& to) {
    Read(from.agent(), to.agent);
    to.state = from.state();
    ReadList(from.running(), to.running);
    Read(from.free(), to.free);
  }

  void Write(const AgentHello& from, v1::AgentHello* to) {
    to->set_protocol(from.protocol);
    to->set_name(from.name);
    to->set_instance(from.instance);
    to->set_host(from.host);
    to->set_version(from.version);
    Copy(from.labels, *to->mutable_labels());
    to->set_slots(from.slots);
    to->set_facts_json(JsonOf(from.facts));
    Write(from.resources, to->mutable_resources());
  }
  void Read(const v1::AgentHello& from, AgentHello& to) {
    to.protocol = from.protocol();
    to.name = from.name();
    to.instance = from.instance();
    to.host = from.host();
    to.version = from.version();
    Copy(from.labels(), to.labels);
    to.slots = from.slots();
    Json(from.facts_json(), to.facts);
    Read(from.resources(), to.resources);
  }

  void Write(const SessionGrant& from, v1::SessionGrant* to) {
    to->set_session(from.session);
    Write(from.heartbeat, to->mutable_heartbeat());
    Write(from.ttl, to->mutable_ttl());
    to->set_blob_dir(from.blob_dir);
    to->set_blob_nonce(from.blob_nonce);
    to->set_store(from.store);
  }
  void Read(const v1::SessionGrant& from, SessionGrant& to) {
    to.session = from.session();
    Span(from.heartbeat(), to.heartbeat);
    Span(from.ttl(), to.ttl);
    to.blob_dir = from.blob_dir();
    to.blob_nonce = from.blob_nonce();
    to.store = from.store();
  }

  void Write(const TaskInput& from, v1::TaskInput* to) {
    Write(from.artifact, to->mutable_artifact());
    to->set_path(from.path);
    to->set_identity(from.identity);
    if (from.profile) Write(*from.profile, to->mutable_profile());
  }
  void Read(const v1::TaskInput& from, TaskInput& to) {
    Read(from.artifact(), to.artifact);
    to.path = from.path();
    to.identity = from.identity();
    if (from.has_profile()) Read(from.profile(), to.profile.emplace());
  }

  void Write(const TaskBaseline& from, v1::TaskBaseline* to) {
    to->set_identity(from.identity);
    Write(from.profile, to->mutable_profile());
    to->mutable_metrics()->insert(from.metrics.begin(), from.metrics.end());
  }
  void Read(const v1::TaskBaseline& from, TaskBaseline& to) {
    to.identity = from.identity();
    Read(from.profile(), to.profile);
    Copy(from.metrics(), to.metrics);
  }

  void Write(const Task& from, v1::Task* to) {
    Write(from.attempt, to->mutable_attempt());
    to->set_pipeline(from.pipeline);
    to->set_lane(from.lane);
    to->set_repo(from.repo);
    to->set_commit(from.commit);
    to->set_definition(from.definition.hex());
    to->set_params_json(JsonOf(from.params));
    Write(from.timeout, to->mutable_timeout());
    WriteMap(from.inputs, to->mutable_inputs());
    WriteMap(from.baselines, to->mutable_baselines());
    if (from.champion) Write(*from.champion, to->mutable_champion());
    to->set_champion_deployment(from.champion_deployment);
    if (from.champion_service) Write(*from.champion_service, to->mutable_champion_service());
    to->set_deployment(from.deployment);
    to->set_environment(from.environment);
    to->set_target(from.target);
    to->set_model_digest(from.model_digest);
    Write(from.resources, to->mutable_resources());
    WriteList(from.overrides, to->mutable_overrides());
    if (from.created_at.is_set()) Write(from.created_at, to->mutable_create_time());
  }
  void Read(const v1::Task& from, Task& to) {
    Read(from.attempt(), to.attempt);
    to.pipeline = from.pipeline();
    to.lane = from.lane();
    to.repo = from.repo();
    to.commit = from.commit();
    Hash(from.definition(), to.definition);
    Json(from.params_json(), to.params);
    Span(from.timeout(), to.timeout);
    ReadMap(from.inputs(), to.inputs);
    ReadMap(from.baselines(), to.baselines);
    if (from.has_champion()) Read(from.champion(), to.champion.emplace());
    to.champion_deployment = from.champion_deployment();
    if (from.has_champion_service()) Read(from.champion_service(), to.champion_service.emplace());
    to.deployment = from.deployment();
    to.environment = from.environment();
    to.target = from.target();
    to.model_digest = from.model_digest();
    Read(from.resources(), to.resources);
    ReadList(from.overrides(), to.overrides);
    Time(from.has_create_time(), from.create_time(), to.created_at);
  }

  void Write(const ServiceTask& from, v1::ServiceTask* to) {
    to->set_deployment(from.deployment);
    to->set_environment(from.environment);
    to->set_pipeline(from.pipeline);
    to->set_stage(from.stage);
    to->set_definition(from.definition.hex());
    Write(from.package, to->mutable_package());
    to->set_package_path(from.package_path);
    to->set_endpoint(from.endpoint);
    to->set_model_digest(from.model_digest);
  }
  void Read(const v1::ServiceTask& from, ServiceTask& to) {
    to.deployment = from.deployment();
    to.environment = from.environment();
    to.pipeline = from.pipeline();
    to.stage = from.stage();
    Hash(from.definition(), to.definition);
    Read(from.package(), to.package);
    to.package_path = from.package_path();
    to.endpoint = from.endpoint();
    to.model_digest = from.model_digest();
  }

  void Write(const DesiredState& from, v1::DesiredState* to) {
    to->set_revision(from.revision);
    for (const TaskPtr& task : from.leases) Write(*task, to->add_leases());
    WriteList(from.services, to->mutable_services());
  }
  void Read(const v1::DesiredState& from, DesiredState& to) {
    to.revision = from.revision();
    for (const v1::Task& message : from.leases()) {
      Task task;
      Read(message, task);
      to.leases.push_back(std::make_shared<const Task>(std::move(task)));
    }
    ReadList(from.services(), to.services);
  }

  void Write(const HeldLease& from, v1::HeldLease* to) {
    Write(from.attempt, to->mutable_attempt());
    to->set_started(from.started);
    Write(from.resources, to->mutable_resources());
  }
  void Read(const v1::HeldLease& from, HeldLease& to) {
    Read(from.attempt(), to.attempt);
    to.started = from.started();
    Read(from.resources(), to.resources);
  }

  void Write(const HeldService& from, v1::HeldService* to) {
    to->set_deployment(from.deployment);
    to->set_running(from.running);
    to->set_restarts(from.restarts);
  }
  void Read(const v1::HeldService& from, HeldService& to) {
    to.deployment = from.deployment();
    to.running = from.running();
    to.restarts = from.restarts();
  }

  void Write(const AgentReport& from, v1::AgentReport* to) {
    WriteList(from.held, to->mutable_held());
    WriteList(from.services, to->mutable_services());
    to->set_draining(from.draining);
    to->set_trouble(from.trouble);
  }
  void Read(const v1::AgentReport& from, AgentReport& to) {
    ReadList(from.held(), to.held);
    ReadList(from.services(), to.services);
    to.draining = from.draining();
    to.trouble = from.trouble();
  }

  // --- requests and answers --------------------------------------------------------------------

  void Write(const RegisterRequest& from, v1::RegisterPipelineRequest* to) {
    to->set_repo(from.repo);
    to->set_branch(from.branch);
    to->set_file(from.file);
  }
  void Read(const v1::RegisterPipelineRequest& from, RegisterRequest& to) {
    to = {from.repo(), from.branch(), from.file()};
  }

  void Write(const RegisterResult& from, v1::RegisterPipelineResponse* to) {
    to->set_commit(from.commit);
    WriteList(from.pipelines, to->mutable_pipelines());
    WriteList(from.problems, to->mutable_problems());
  }
  void Read(const v1::RegisterPipelineResponse& from, RegisterResult& to) {
    to.commit = from.commit();
    ReadList(from.pipelines(), to.pipelines);
    ReadList(from.problems(), to.problems);
  }

  void Write(const StartRequest& from, v1::StartRunRequest* to) {
    to->set_pipeline(from.pipeline);
    to->set_lane(from.lane);
    to->set_ref(from.ref);
    to->mutable_params()->insert(from.params.begin(), from.params.end());
    to->set_reason(from.reason);
    to->set_by(from.by);
    to->set_request_id(from.key);
    if (from.priority) to->set_priority(*from.priority);
    to->set_no_reuse(from.no_reuse);
    to->set_mixed(from.mixed);
  }
  void Read(const v1::StartRunRequest& from, StartRequest& to) {
    to.pipeline = from.pipeline();
    to.lane = from.lane();
    to.ref = from.ref();
    Copy(from.params(), to.params);
    to.reason = from.reason();
    to.by = from.by();
    to.key = from.request_id();
    if (from.has_priority()) to.priority = from.priority();
    to.no_reuse = from.no_reuse();
    to.mixed = from.mixed();
  }

  void Write(const RetryRequest& from, v1::RetryRunRequest* to) {
    to->set_run(from.run);
    to->set_scope(EnumToProto<v1::RetryScope>(from.scope));
    to->set_stage(from.stage);
    to->mutable_params()->insert(from.params.begin(), from.params.end());
    to->set_reason(from.reason);
    to->set_by(from.by);
    to->set_request_id(from.key);
    if (from.priority) to->set_priority(*from.priority);
  }
  void Read(const v1::RetryRunRequest& from, RetryRequest& to) {
    to.run = from.run();
    Enum(from.scope(), to.scope);
    to.stage = from.stage();
    Copy(from.params(), to.params);
    to.reason = from.reason();
    to.by = from.by();
    to.key = from.request_id();
    if (from.has_priority()) to.priority = from.priority();
  }

  void Write(const ReproduceRequest& from, v1::ReproduceRunRequest* to) {
    to->set_run(from.run);
    to->set_reason(from.reason);
    to->set_by(from.by);
    to->set_request_id(from.key);
    if (from.priority) to->set_priority(*from.priority);
  }
  void Read(const v1::ReproduceRunRequest& from, ReproduceRequest& to) {
    to.run = from.run();
    to.reason = from.reason();
    to.by = from.by();
    to.key = from.request_id();
    if (from.has_priority()) to.priority = from.priority();
  }

  void Write(const ServerFacts& from, v1::GetServerResponse* to) {
    to->set_version(from.version);
    to->set_instance(from.instance);
    to->set_state_dir(from.state_dir);
    to->set_database(from.database);
    to->set_read_only(from.read_only);
    Copy(from.quarantined, *to->mutable_quarantined());
    to->set_signing_key(from.signing_key);
    to->set_artifact_bytes(from.artifact_bytes);
    to->set_artifact_soft_limit(from.artifact_soft_limit);
    to->set_artifact_hard_limit(from.artifact_hard_limit);
    to->set_artifact_warning(from.artifact_warning);
    if (from.scrubbed.is_set()) Write(from.scrubbed, to->mutable_scrub_time());
    to->set_damage(from.damage);
    if (from.started.is_set()) Write(from.started, to->mutable_start_time());
  }
  void Read(const v1::GetServerResponse& from, ServerFacts& to) {
    to.version = from.version();
    to.instance = from.instance();
    to.state_dir = from.state_dir();
    to.database = from.database();
    to.read_only = from.read_only();
    Copy(from.quarantined(), to.quarantined);
    to.signing_key = from.signing_key();
    to.artifact_bytes = from.artifact_bytes();
    to.artifact_soft_limit = from.artifact_soft_limit();
    to.artifact_hard_limit = from.artifact_hard_limit();
    to.artifact_warning = from.artifact_warning();
    Time(from.has_scrub_time(), from.scrub_time(), to.scrubbed);
    to.damage = from.damage();
    Time(from.has_start_time(), from.start_time(), to.started);
  }

  void Write(const Damage& from, v1::Damage* to) {
    to->set_what(from.what);
    to->set_why(from.why);
    Copy(from.users, *to->mutable_users());
  }
  void Read(const v1::Damage& from, Damage& to) {
    to.what = from.what();
    to.why = from.why();
    Copy(from.users(), to.users);
  }

  void Write(const BackupReport& from, v1::BackUpResponse* to) {
    to->set_dir(from.dir);
    to->set_name(from.name);
    to->set_database_bytes(from.database_bytes);
    to->set_blobs(from.blobs);
    to->set_blobs_copied(from.blobs_copied);
    to->set_bytes_copied(from.bytes_copied);
    for (const Damage& item : from.damage) Write(item, to->add_damage());
  }
  void Read(const v1::BackUpResponse& from, BackupReport& to) {
    to = {from.dir(), from.name(), from.database_bytes(), from.blobs(), from.blobs_copied(), from.bytes_copied(), {}};
    for (const v1::Damage& item : from.damage()) Read(item, to.damage.emplace_back());
  }

  void Write(const ScrubReport& from, v1::ScrubResponse* to) {
    to->set_runs(from.runs);
    to->set_events(from.events);
    to->set_blobs(from.blobs);
    to->set_bytes(from.bytes);
    for (const Damage& item : from.damage) Write(item, to->add_damage());
  }
  void Read(const v1::ScrubResponse& from, ScrubReport& to) {
    to = {from.runs(), from.events(), from.blobs(), from.bytes(), {}};
    for (const v1::Damage& item : from.damage()) Read(item, to.damage.emplace_back());
  }

  void Write(const RunFilter& from, v1::ListRunsRequest* to) {
    to->set_pipeline(from.pipeline);
    if (from.state) to->set_state(EnumToProto<v1::RunState>(*from.state));
    to->set_page_size(from.limit);
    to->set_page_token(from.before);
  }
  void Read(const v1::ListRunsRequest& from, RunFilter& to) {
    to.pipeline = from.pipeline();
    if (from.state() != v1::RUN_STATE_UNSPECIFIED) Enum(from.state(), to.state.emplace());
    if (from.page_size() != 0) to.limit = from.page_size();
    to.before = from.page_token();
  }

  void Write(const LogChunk& from, v1::ReadLogResponse* to) {
    to->set_offset(from.offset);
    to->set_data(from.bytes);
    to->set_end(from.end);
  }
  void Read(const v1::ReadLogResponse& from, LogChunk& to) {
    to = {from.offset(), from.data(), from.end()};
  }

 private:
  bool KnowsItsNeeds(const core::Run& run) {
    std::set<std::string> names;
    for (const core::StageRun& stage : run.stages) names.insert(stage.plan.name);
    for (const core::StageRun& stage : run.stages) {
      for (const std::string& need : stage.plan.needs) {
        if (!names.contains(need))
          Fail("stage " + stage.plan.name + " needs " + need + ", which is not in the run");
      }
    }
    return status_.ok();
  }

  absl::Status status_;
};

// --- text that is no UTF-8 ---------------------------------------------------------------------

// Returns `text` with U+FFFD for every byte that is no part of a character. Log lines and offending
// rows may hold anything, and one bad byte would make the whole message unreadable.
std::string MakeUtf8(std::string_view text) {
  std::string clean;
  while (!text.empty()) {
    size_t length = 1;
    while (length <= 4 && length <= text.size() && !IsUtf8(text.substr(0, length))) ++length;
    const bool is_character = length <= 4 && length <= text.size();
    clean += is_character ? text.substr(0, length) : "\xEF\xBF\xBD";
    text.remove_prefix(is_character ? length : 1);
  }
  return clean;
}

void CleanText(pb::Message* message);

void CleanField(pb::Message* message, const pb::FieldDescriptor* field) {
  const pb::Reflection* reflection = message->GetReflection();
  const int count = field->is_repeated() ? reflection->FieldSize(*message, field) : 1;
  for (int i = 0; i < count; ++i) {
    if (field->cpp_type() == pb::FieldDescriptor::CPPTYPE_MESSAGE) {
      CleanText(field->is_repeated() ? reflection->MutableRepeatedMessage(message, field, i)
                                     : reflection->MutableMessage(message, field));
      continue;
    }
    std::string buffer;
    const std::string& text =
        field->is_repeated() ? reflection->GetRepeatedStringReference(*message, field, i, &buffer)
                             : reflection->GetStringReference(*message, field, &buffer);
    if (IsUtf8(text)) continue;
    std::string clean = MakeUtf8(text);
    if (field->is_repeated()) {
      reflection->SetRepeatedString(message, field, i, std::move(clean));
    } else {
      reflection->SetString(message, field, std::move(clean));
    }
  }
}

void CleanText(pb::Message* message) {
  std::vector<const pb::FieldDescriptor*> fields;
  message->GetReflection()->ListFields(*message, &fields);
  for (const pb::FieldDescriptor* field : fields) {
    if (field->type() == pb::FieldDescriptor::TYPE_STRING ||
        field->cpp_type() == pb::FieldDescriptor::CPPTYPE_MESSAGE) {
      CleanField(message, field);
    }
  }
}

template <typename P, typename C>
P Encode(const C& from) {
  P to;
  Codec().Write(from, &to);
  CleanText(&to);
  return to;
}

template <typename C, typename P>
absl::StatusOr<C> Decode(const P& from) {
  C to;
  Codec codec;
  codec.Read(from, to);
  if (!codec.status().ok()) return codec.status();
  return to;
}

}  // namespace

v1::Run ToProto(const core::Run& run) { return Encode<v1::Run>(run); }
v1::RunView ToProto(const RunView& view) { return Encode<v1::RunView>(view); }
v1::RunSummary ToProto(const RunSummary& summary) { return Encode<v1::RunSummary>(summary); }
v1::PlannedRun ToProto(const PlannedRun& planned) { return Encode<v1::PlannedRun>(planned); }
v1::Verdict ToProto(const core::Verdict& verdict) { return Encode<v1::Verdict>(verdict); }
v1::Outcome ToProto(const core::Outcome& outcome) { return Encode<v1::Outcome>(outcome); }
v1::AttemptId ToProto(const core::AttemptId& attempt) { return Encode<v1::AttemptId>(attempt); }
v1::Diagnostic ToProto(const core::Diagnostic& diagnostic) {
  return Encode<v1::Diagnostic>(diagnostic);
}
v1::Pipeline ToProto(const PipelineRecord& pipeline) { return Encode<v1::Pipeline>(pipeline); }
v1::Agent ToProto(const AgentView& agent) { return Encode<v1::Agent>(agent); }
v1::AgentHello ToProto(const AgentHello& hello) { return Encode<v1::AgentHello>(hello); }
v1::SessionGrant ToProto(const SessionGrant& grant) { return Encode<v1::SessionGrant>(grant); }
v1::DesiredState ToProto(const DesiredState& desired) { return Encode<v1::DesiredState>(desired); }
v1::AgentReport ToProto(const AgentReport& report) { return Encode<v1::AgentReport>(report); }
v1::Deployment ToProto(const core::Deployment& deployment) {
  return Encode<v1::Deployment>(deployment);
}
v1::Monitor ToProto(const MonitorView& monitor) { return Encode<v1::Monitor>(monitor); }
v1::Prediction ToProto(const PredictionRecord& prediction) {
  return Encode<v1::Prediction>(prediction);
}
v1::LineageGraph ToProto(const LineageGraph& graph) { return Encode<v1::LineageGraph>(graph); }
v1::Impact ToProto(const Impact& impact) { return Encode<v1::Impact>(impact); }
v1::Reproduction ToProto(const core::Reproduction& reproduction) {
  return Encode<v1::Reproduction>(reproduction);
}
v1::RunComparison ToProto(const RunComparison& comparison) {
  return Encode<v1::RunComparison>(comparison);
}
v1::RegisterPipelineRequest ToProto(const RegisterRequest& request) {
  return Encode<v1::RegisterPipelineRequest>(request);
}
v1::RegisterPipelineResponse ToProto(const RegisterResult& result) {
  return Encode<v1::RegisterPipelineResponse>(result);
}
v1::AgentRecord ToProto(const AgentRecord& agent) { return Encode<v1::AgentRecord>(agent); }
v1::ReproduceRunRequest ToProto(const ReproduceRequest& request) {
  return Encode<v1::ReproduceRunRequest>(request);
}
v1::RetryRunRequest ToProto(const RetryRequest& request) {
  return Encode<v1::RetryRunRequest>(request);
}
v1::StartRunRequest ToProto(const StartRequest& request) {
  return Encode<v1::StartRunRequest>(request);
}
v1::BackUpResponse ToProto(const BackupReport& report) { return Encode<v1::BackUpResponse>(report); }
v1::ScrubResponse ToProto(const ScrubReport& report) { return Encode<v1::ScrubResponse>(report); }
v1::GetServerResponse ToProto(const ServerFacts& server) {
  return Encode<v1::GetServerResponse>(server);
}
v1::ListRunsRequest ToProto(const RunFilter& filter) { return Encode<v1::ListRunsRequest>(filter); }
v1::ReadLogResponse ToProto(const LogChunk& chunk) { return Encode<v1::ReadLogResponse>(chunk); }
google::protobuf::Timestamp ToProto(UtcTime time) {
  pb::Timestamp to;
  Codec().Write(time, &to);
  return to;
}
v1::DocumentKind ToProto(DocumentKind kind) { return EnumToProto<v1::DocumentKind>(kind); }
v1::LineageDirection ToProto(LineageDirection direction) {
  return EnumToProto<v1::LineageDirection>(direction);
}

absl::StatusOr<core::Run> FromProto(const v1::Run& run) { return Decode<core::Run>(run); }
absl::StatusOr<RunView> FromProto(const v1::RunView& view) { return Decode<RunView>(view); }
absl::StatusOr<RunSummary> FromProto(const v1::RunSummary& summary) {
  return Decode<RunSummary>(summary);
}
absl::StatusOr<PlannedRun> FromProto(const v1::PlannedRun& planned) {
  return Decode<PlannedRun>(planned);
}
absl::StatusOr<core::Verdict> FromProto(const v1::Verdict& verdict) {
  return Decode<core::Verdict>(verdict);
}
absl::StatusOr<core::Outcome> FromProto(const v1::Outcome& outcome) {
  return Decode<core::Outcome>(outcome);
}
absl::StatusOr<core::AttemptId> FromProto(const v1::AttemptId& attempt) {
  return Decode<core::AttemptId>(attempt);
}
absl::StatusOr<core::Diagnostic> FromProto(const v1::Diagnostic& diagnostic) {
  return Decode<core::Diagnostic>(diagnostic);
}
absl::StatusOr<PipelineRecord> FromProto(const v1::Pipeline& pipeline) {
  return Decode<PipelineRecord>(pipeline);
}
absl::StatusOr<AgentView> FromProto(const v1::Agent& agent) { return Decode<AgentView>(agent); }
absl::StatusOr<AgentHello> FromProto(const v1::AgentHello& hello) {
  return Decode<AgentHello>(hello);
}
absl::StatusOr<SessionGrant> FromProto(const v1::SessionGrant& grant) {
  return Decode<SessionGrant>(grant);
}
absl::StatusOr<DesiredState> FromProto(const v1::DesiredState& desired) {
  return Decode<DesiredState>(desired);
}
absl::StatusOr<AgentReport> FromProto(const v1::AgentReport& report) {
  return Decode<AgentReport>(report);
}
absl::StatusOr<core::Deployment> FromProto(const v1::Deployment& deployment) {
  return Decode<core::Deployment>(deployment);
}
absl::StatusOr<MonitorView> FromProto(const v1::Monitor& monitor) {
  return Decode<MonitorView>(monitor);
}
absl::StatusOr<PredictionRecord> FromProto(const v1::Prediction& prediction) {
  return Decode<PredictionRecord>(prediction);
}
absl::StatusOr<LineageGraph> FromProto(const v1::LineageGraph& graph) {
  return Decode<LineageGraph>(graph);
}
absl::StatusOr<Impact> FromProto(const v1::Impact& impact) { return Decode<Impact>(impact); }
absl::StatusOr<core::Reproduction> FromProto(const v1::Reproduction& reproduction) {
  return Decode<core::Reproduction>(reproduction);
}
absl::StatusOr<RunComparison> FromProto(const v1::RunComparison& comparison) {
  return Decode<RunComparison>(comparison);
}
absl::StatusOr<RegisterRequest> FromProto(const v1::RegisterPipelineRequest& request) {
  return Decode<RegisterRequest>(request);
}
absl::StatusOr<RegisterResult> FromProto(const v1::RegisterPipelineResponse& result) {
  return Decode<RegisterResult>(result);
}
absl::StatusOr<AgentRecord> FromProto(const v1::AgentRecord& agent) {
  return Decode<AgentRecord>(agent);
}
absl::StatusOr<ReproduceRequest> FromProto(const v1::ReproduceRunRequest& request) {
  return Decode<ReproduceRequest>(request);
}
absl::StatusOr<RetryRequest> FromProto(const v1::RetryRunRequest& request) {
  return Decode<RetryRequest>(request);
}
absl::StatusOr<StartRequest> FromProto(const v1::StartRunRequest& request) {
  return Decode<StartRequest>(request);
}
absl::StatusOr<BackupReport> FromProto(const v1::BackUpResponse& report) {
  return Decode<BackupReport>(report);
}
absl::StatusOr<ScrubReport> FromProto(const v1::ScrubResponse& report) {
  return Decode<ScrubReport>(report);
}
absl::StatusOr<ServerFacts> FromProto(const v1::GetServerResponse& server) {
  return Decode<ServerFacts>(server);
}
absl::StatusOr<RunFilter> FromProto(const v1::ListRunsRequest& filter) {
  return Decode<RunFilter>(filter);
}
absl::StatusOr<LogChunk> FromProto(const v1::ReadLogResponse& chunk) {
  return Decode<LogChunk>(chunk);
}
absl::StatusOr<UtcTime> FromProto(const pb::Timestamp& time) {
  UtcTime to;
  Codec codec;
  codec.Time(/*present=*/true, time, to);
  if (!codec.status().ok()) return codec.status();
  return to;
}
absl::StatusOr<DocumentKind> FromProto(v1::DocumentKind kind) {
  Codec codec;
  DocumentKind known = DocumentKind::kProvenance;
  codec.Enum(kind, known);
  CD4ML_RETURN_IF_ERROR(codec.status());
  return known;
}
LineageDirection FromProto(v1::LineageDirection direction) {
  return direction == v1::LINEAGE_DIRECTION_DOWN ? LineageDirection::kDown : LineageDirection::kUp;
}

}  // namespace cd4ml::rpc
