// Tasks, services and outcomes to JSON values and back.
#include "agent/codec.h"

#include <cmath>
#include <limits>

#include "cd4ml/base/status.h"

namespace cd4ml::agent {
namespace {

Value ToValue(const ArtifactRef& artifact) {
  return Value::Map{{"digest", artifact.digest.hex()},
                    {"is_tree", artifact.is_tree},
                    {"size", artifact.size},
                    {"files", artifact.files}};
}

Value ToValue(const core::Resources& resources) {
  return Value::Map{{"cpu_millis", resources.cpu_millis},
                    {"memory_bytes", resources.memory_bytes},
                    {"gpus", resources.gpus}};
}

Value ToValue(const std::optional<ArtifactRef>& artifact) {
  return artifact ? ToValue(*artifact) : Value();
}

Value ToValue(const core::ProducedOutput& output) {
  return Value::Map{{"name", output.name},
                    {"path", output.path},
                    {"type", core::ToText(output.type)},
                    {"artifact", ToValue(output.artifact)},
                    {"profile", ToValue(output.profile)}};
}

// Reads the fields of one map; the first fault is kept and the rest of the reading is harmless.
class Fields {
 public:
  Fields(const Value& value, absl::Status& fault) : value_(value), fault_(fault) {
    if (!value.is_map()) Fault("not a map");
  }

  std::string Text(std::string_view key) {
    const Value* field = value_.Find(key);
    if (field == nullptr) return "";
    if (field->is_string()) return field->string();
    Fault(std::string(key) + " is not text");
    return "";
  }
  int64_t Number(std::string_view key, int64_t fallback = 0) {
    const Value* field = value_.Find(key);
    if (field == nullptr) return fallback;
    if (const auto* number = std::get_if<int64_t>(&field->data)) return *number;
    Fault(std::string(key) + " is not a whole number");
    return fallback;
  }
  double Real(std::string_view key) {
    const Value* field = value_.Find(key);
    return field != nullptr ? RealOf(*field, key) : 0;
  }
  // NaN and infinities are text in JSON.
  double RealOf(const Value& field, std::string_view key) {
    if (field.is_number()) return field.number();
    const std::string text = field.is_string() ? field.string() : "";
    if (text == "NaN") return std::numeric_limits<double>::quiet_NaN();
    if (text == "Infinity") return std::numeric_limits<double>::infinity();
    if (text == "-Infinity") return -std::numeric_limits<double>::infinity();
    Fault(std::string(key) + " is not a number");
    return 0;
  }
  bool Flag(std::string_view key) {
    const Value* field = value_.Find(key);
    if (field == nullptr) return false;
    if (field->is_bool()) return field->boolean();
    Fault(std::string(key) + " is not true or false");
    return false;
  }
  Digest DigestOf(std::string_view key) {
    const std::string hex = Text(key);
    if (hex.empty()) return {};
    absl::StatusOr<Digest> digest = Digest::Parse(hex);
    if (digest.ok()) return *digest;
    Fault(std::string(key) + " is not a digest");
    return {};
  }
  std::optional<ArtifactRef> Artifact(std::string_view key) {
    const Value* field = value_.Find(key);
    if (field == nullptr || field->is_null()) return std::nullopt;
    Fields fields(*field, fault_);
    return ArtifactRef{fields.DigestOf("digest"), fields.Flag("is_tree"), fields.Number("size"),
                       fields.Number("files", 1)};
  }
  const Value::Map& MapOf(std::string_view key) {
    static const Value::Map empty;
    const Value* field = value_.Find(key);
    return field != nullptr && field->is_map() ? field->map() : empty;
  }
  const Value::List& ListOf(std::string_view key) {
    static const Value::List empty;
    const Value* field = value_.Find(key);
    return field != nullptr && field->is_list() ? field->list() : empty;
  }
  Value Any(std::string_view key) {
    const Value* field = value_.Find(key);
    return field != nullptr ? *field : Value();
  }
  // Returns what an enum's `parse` makes of the text, or its first value after noting the fault.
  template <typename Parse>
  auto Word(std::string_view key, Parse parse) {
    auto word = parse(Text(key));
    if (!word) Fault(std::string(key) + " is an unknown word");
    return word.value_or(typename decltype(word)::value_type{});
  }

 private:
  void Fault(const std::string& what) {
    if (fault_.ok()) fault_ = absl::InvalidArgumentError("unreadable record: " + what);
  }

  const Value& value_;
  absl::Status& fault_;
};

core::ProducedOutput OutputFromValue(const Value& value, absl::Status& fault) {
  Fields fields(value, fault);
  core::ProducedOutput output;
  output.name = fields.Text("name");
  output.path = fields.Text("path");
  output.type = fields.Word("type", core::ParseOutputType);
  output.artifact = fields.Artifact("artifact").value_or(ArtifactRef{});
  output.profile = fields.Artifact("profile");
  return output;
}

}  // namespace

Value ToValue(const Task& task) {
  Value::Map inputs, baselines;
  for (const auto& [name, input] : task.inputs) {
    inputs[name] = Value::Map{{"artifact", ToValue(input.artifact)},
                              {"path", input.path},
                              {"identity", input.identity},
                              {"profile", ToValue(input.profile)}};
  }
  for (const auto& [name, baseline] : task.baselines) {
    baselines[name] =
        Value::Map{{"identity", baseline.identity},
                   {"profile", ToValue(baseline.profile)},
                   {"metrics", Value::Map(baseline.metrics.begin(), baseline.metrics.end())}};
  }
  Value::List overrides;
  for (const core::Override& one : task.overrides) {
    overrides.push_back(Value::Map{{"rule", one.rule},
                                   {"by", one.by},
                                   {"reason", one.reason},
                                   {"at_ms", one.at.ms},
                                   {"expires_ms", one.expires.ms}});
  }
  return Value::Map{{"attempt", core::ToText(task.attempt)},
                    {"pipeline", task.pipeline},
                    {"lane", task.lane},
                    {"repo", task.repo},
                    {"commit", task.commit},
                    {"definition", task.definition.hex()},
                    {"params", task.params},
                    {"timeout_ms", int64_t{task.timeout.count()}},
                    {"resources", ToValue(task.resources)},
                    {"inputs", std::move(inputs)},
                    {"baselines", std::move(baselines)},
                    {"overrides", std::move(overrides)},
                    {"created_at_ms", task.created_at.ms},
                    {"champion", ToValue(task.champion)},
                    {"champion_deployment", task.champion_deployment},
                    {"champion_service", task.champion_service ? ToValue(*task.champion_service) : Value()},
                    {"deployment", task.deployment},
                    {"environment", task.environment},
                    {"target", task.target},
                    {"model_digest", task.model_digest}};
}

absl::StatusOr<Task> TaskFromValue(const Value& value) {
  absl::Status fault;
  Fields fields(value, fault);
  Task task;
  task.attempt = fields.Word("attempt", core::ParseAttemptId);
  task.pipeline = fields.Text("pipeline");
  task.lane = fields.Text("lane");
  task.repo = fields.Text("repo");
  task.commit = fields.Text("commit");
  task.definition = fields.DigestOf("definition");
  task.params = fields.Any("params");
  task.timeout = Duration(fields.Number("timeout_ms"));
  if (const Value* resources = value.Find("resources")) {
    Fields amounts(*resources, fault);
    task.resources = {amounts.Number("cpu_millis"), amounts.Number("memory_bytes"),
                      amounts.Number("gpus")};
  }
  for (const auto& [name, entry] : fields.MapOf("inputs")) {
    Fields input(entry, fault);
    task.inputs[name] = {input.Artifact("artifact").value_or(ArtifactRef{}), input.Text("path"),
                         input.Text("identity"), input.Artifact("profile")};
  }
  for (const auto& [name, entry] : fields.MapOf("baselines")) {
    Fields baseline(entry, fault);
    task.baselines[name] = {baseline.Text("identity"),
                            baseline.Artifact("profile").value_or(ArtifactRef{}), {}};
    for (const auto& [metric, number] : baseline.MapOf("metrics")) {
      task.baselines[name].metrics[metric] = baseline.RealOf(number, metric);
    }
  }
  for (const Value& entry : fields.ListOf("overrides")) {
    Fields one(entry, fault);
    task.overrides.push_back({one.Text("rule"), one.Text("by"), one.Text("reason"), UtcTime{one.Number("at_ms")},
                              UtcTime{one.Number("expires_ms")}});
  }
  task.created_at = UtcTime{fields.Number("created_at_ms")};
  task.champion = fields.Artifact("champion");
  task.champion_deployment = fields.Text("champion_deployment");
  if (const Value* service = value.Find("champion_service"); service != nullptr && service->is_map()) {
    CD4ML_ASSIGN_OR_RETURN(task.champion_service, ServiceFromValue(*service));
  }
  task.deployment = fields.Text("deployment");
  task.environment = fields.Text("environment");
  task.target = fields.Text("target");
  task.model_digest = fields.Text("model_digest");
  if (!fault.ok()) return fault;
  return task;
}

Value ToValue(const ServiceTask& service) {
  return Value::Map{{"deployment", service.deployment},       {"environment", service.environment},
                    {"pipeline", service.pipeline},           {"stage", service.stage},
                    {"definition", service.definition.hex()}, {"package", ToValue(service.package)},
                    {"package_path", service.package_path},   {"endpoint", service.endpoint},
                    {"model_digest", service.model_digest}};
}

absl::StatusOr<ServiceTask> ServiceFromValue(const Value& value) {
  absl::Status fault;
  Fields fields(value, fault);
  ServiceTask service;
  service.deployment = fields.Text("deployment");
  service.environment = fields.Text("environment");
  service.pipeline = fields.Text("pipeline");
  service.stage = fields.Text("stage");
  service.definition = fields.DigestOf("definition");
  service.package = fields.Artifact("package").value_or(ArtifactRef{});
  service.package_path = fields.Text("package_path");
  service.endpoint = fields.Text("endpoint");
  service.model_digest = fields.Text("model_digest");
  if (!fault.ok()) return fault;
  return service;
}

Value ToValue(const core::Outcome& outcome) {
  Value::List outputs;
  for (const core::ProducedOutput& output : outcome.outputs) outputs.push_back(ToValue(output));
  Value::Map metrics;
  for (const auto& [name, metric] : outcome.metrics) metrics[name] = metric;
  Value::Map map{{"state", core::ToText(outcome.state)}, {"reason", core::ToText(outcome.reason)},
                 {"message", outcome.message},           {"exit_code", outcome.exit_code},
                 {"outputs", std::move(outputs)},        {"metrics", std::move(metrics)},
                 {"environment", outcome.environment},   {"log_bytes", outcome.log_bytes},
                 {"cpu_seconds", outcome.cpu_seconds},   {"max_rss_bytes", outcome.max_rss_bytes}};
  if (outcome.verdict) map["verdict"] = core::ToValue(*outcome.verdict);
  if (outcome.service) {
    map["service"] =
        Value::Map{{"endpoint", outcome.service->endpoint}, {"agent", outcome.service->agent}};
  }
  return map;
}

absl::StatusOr<core::Outcome> OutcomeFromValue(const Value& value) {
  absl::Status fault;
  Fields fields(value, fault);
  core::Outcome outcome;
  outcome.state = fields.Word("state", core::ParseAttemptState);
  outcome.reason = fields.Word("reason", core::ParseReason);
  outcome.message = fields.Text("message");
  outcome.exit_code = static_cast<int>(fields.Number("exit_code"));
  for (const Value& output : fields.ListOf("outputs")) {
    outcome.outputs.push_back(OutputFromValue(output, fault));
  }
  for (const auto& [name, metric] : fields.MapOf("metrics")) {
    outcome.metrics[name] = fields.RealOf(metric, name);
  }
  outcome.environment = fields.Any("environment");
  outcome.log_bytes = fields.Number("log_bytes");
  outcome.cpu_seconds = fields.Real("cpu_seconds");
  outcome.max_rss_bytes = fields.Number("max_rss_bytes");
  if (const Value* verdict = value.Find("verdict")) {
    CD4ML_ASSIGN_OR_RETURN(outcome.verdict, core::VerdictFromValue(*verdict));
  }
  if (const Value* service = value.Find("service")) {
    Fields started(*service, fault);
    outcome.service = core::StartedService{started.Text("endpoint"), started.Text("agent")};
  }
  if (!fault.ok()) return fault;
  return outcome;
}

}  // namespace cd4ml::agent
