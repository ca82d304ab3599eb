// SLSA provenance of an attempt's outputs.
#include "cd4ml/core/origin.h"

namespace cd4ml::core {
namespace {

// Stages are processes of the agent's own user: nothing keeps one from what the others of that user may do.
constexpr const char* kIsolation = "none";

Value::Map Sha256Of(const std::string& hex) { return {{"sha256", hex}}; }

// A folder's digest is that of its listing, which names each file's own.
constexpr const char* kTreeType = "application/vnd.cd4ml.tree";

Value SubjectOf(const Version& version) {
  Value::Map subject = {{"name", version.name}, {"digest", Sha256Of(version.digest)}};
  if (version.artifact.is_tree) subject["mediaType"] = kTreeType;
  subject["annotations"] = Value::Map{
      {"kind", ToText(version.kind)}, {"size", version.artifact.size}, {"files", version.artifact.files}};
  return subject;
}

// Where a repository is: "git+file:///srv/cars.git@<commit>".
std::string CodeUri(const Pins& pins) {
  const bool is_url = pins.repo.find("://") != std::string::npos;
  return "git+" + (is_url ? pins.repo : "file://" + pins.repo) + "@" + pins.commit;
}

Value DependencyOf(const Version& version, const Pins& pins) {
  Value::Map dependency = {{"name", version.name}, {"annotations", Value::Map{{"kind", ToText(version.kind)}}}};
  if (version.kind == VersionKind::kCode) {
    dependency["uri"] = CodeUri(pins);
    dependency["digest"] = Value::Map{{"gitCommit", version.digest}};
    return dependency;
  }
  dependency["uri"] = "urn:cd4ml:version:" + VersionId(version);
  dependency["digest"] = Sha256Of(version.digest);
  if (version.artifact.is_tree) dependency["mediaType"] = kTreeType;
  return dependency;
}

Value::List DependenciesOf(const Origin& origin) {
  Value::List dependencies;
  for (const Version& version : origin.used) dependencies.push_back(DependencyOf(version, origin.pins));
  dependencies.emplace_back(Value::Map{{"name", origin.pins.file},
                                       {"uri", "urn:cd4ml:definition:" + origin.pins.definition.hex()},
                                       {"digest", Sha256Of(origin.pins.definition.hex())},
                                       {"annotations", Value::Map{{"kind", "definition"}}}});
  return dependencies;
}

Value TriggerOf(const TriggerFacts& trigger) {
  Value::Map facts = {{"kind", ToText(trigger.kind)}, {"by", trigger.by}, {"reason", trigger.reason}};
  if (!trigger.key.empty()) facts["key"] = trigger.key;
  return facts;
}

Value ParameterSources(const Pins& pins) {
  Value::Map sources;
  for (const auto& [name, source] : pins.param_sources) sources[name] = source;
  return sources;
}

Value Reported(const char* name, const Value& content) {
  return Value::Map{{"name", name},
                    {"digest", Sha256Of(Sha256(ToJson(content)).hex())},
                    {"mediaType", "application/json"},
                    {"annotations", Value::Map{{"reported_by", "agent"}, {"value", content}}}};
}

Value MetricsOf(const Outcome& outcome) {
  Value::Map metrics;
  for (const auto& [name, value] : outcome.metrics) metrics[name] = value;
  return metrics;
}

// Those of the attempt's own gate, in the daemon's words: its outputs were let pass because of them.
Value OverridesOf(const Verdict& verdict) {
  Value::List overrides;
  for (const Override& one : verdict.overrides) {
    overrides.emplace_back(Value::Map{{"rule", one.rule},
                                      {"by", one.by},
                                      {"reason", one.reason},
                                      {"since", FormatTime(one.at)},
                                      {"until", FormatTime(one.expires)}});
  }
  return overrides;
}

Value BuildDefinition(const Origin& origin) {
  Value::Map external = {{"pipeline", origin.pipeline},
                         {"stage", origin.stage},
                         {"lane", origin.lane},
                         {"parameters", origin.pins.params.is_null() ? Value(Value::Map()) : origin.pins.params},
                         {"parameterSources", ParameterSources(origin.pins)},
                         {"trigger", TriggerOf(origin.trigger)}};
  if (!origin.retry_of.empty()) external["retryOf"] = origin.retry_of;
  Value::Map internal = {{"kind", ToText(origin.kind)},
                         {"run", origin.run},
                         {"attempt", origin.attempt.number},
                         {"agent", origin.attempt.agent},
                         {"isolation", kIsolation}};
  const std::optional<Verdict>& verdict = origin.attempt.outcome.verdict;
  if (verdict && !verdict->overrides.empty()) internal["overrides"] = OverridesOf(*verdict);
  return Value::Map{{"buildType", "urn:cd4ml:build-type:stage:v1"},
                    {"externalParameters", std::move(external)},
                    {"internalParameters", std::move(internal)},
                    {"resolvedDependencies", DependenciesOf(origin)}};
}

Value RunDetails(const Origin& origin) {
  const UtcTime started = origin.attempt.started.is_set() ? origin.attempt.started : origin.attempt.granted;
  return Value::Map{
      {"builder", Value::Map{{"id", "urn:cd4ml:daemon:" + origin.recorder}}},
      {"metadata", Value::Map{{"invocationId", ToText(AttemptOf(origin))},
                              {"startedOn", FormatTime(started)},
                              {"finishedOn", FormatTime(origin.attempt.ended)}}},
      {"byproducts", Value::List{Reported("environment", origin.attempt.outcome.environment),
                                 Reported("metrics", MetricsOf(origin.attempt.outcome))}}};
}

}  // namespace

std::string ProvenanceStatement(const Origin& origin) {
  Value::List subjects;
  for (const Version& version : origin.produced) subjects.push_back(SubjectOf(version));
  return ToJson(Value::Map{{"_type", kStatementType},
                           {"subject", std::move(subjects)},
                           {"predicateType", kProvenanceType},
                           {"predicate", Value::Map{{"buildDefinition", BuildDefinition(origin)},
                                                    {"runDetails", RunDetails(origin)}}}});
}

}  // namespace cd4ml::core
