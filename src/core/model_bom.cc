// A model's record as a CycloneDX bill of materials.
#include <set>

#include "cd4ml/core/origin.h"

namespace cd4ml::core {
namespace {

bool IsData(const Version& version) {
  return version.kind == VersionKind::kData || version.kind == VersionKind::kDataset;
}
bool IsListed(const Version& version) { return IsData(version) || version.kind == VersionKind::kCode; }

Value::List HashesOf(const Version& version) {
  Value::List hashes;
  const bool is_commit = version.kind == VersionKind::kCode;
  hashes.emplace_back(Value::Map{{"alg", is_commit ? "SHA-1" : "SHA-256"}, {"content", version.digest}});
  return hashes;
}

Value Property(const std::string& name, const std::string& value) {
  return Value::Map{{"name", "cd4ml:" + name}, {"value", value}};
}

Value::Map CodeComponent(const Version& version, const Pins& pins) {
  Value::List references, commits;
  const bool is_url = pins.repo.find("://") != std::string::npos;
  references.emplace_back(Value::Map{{"type", "vcs"}, {"url", is_url ? pins.repo : "file://" + pins.repo}});
  commits.emplace_back(Value::Map{{"uid", version.digest}, {"message", pins.commit_subject}});
  return {{"type", "application"},
          {"externalReferences", std::move(references)},
          {"pedigree", Value::Map{{"commits", std::move(commits)}}}};
}

Value::Map DataComponent(const Version& version) {
  Value::List data;
  data.emplace_back(Value::Map{{"type", "dataset"}, {"name", version.name}});
  return {{"type", "data"}, {"hashes", HashesOf(version)}, {"data", std::move(data)}};
}

Value ComponentOf(const Version& version, const Pins& pins) {
  Value::Map component = IsData(version) ? DataComponent(version) : CodeComponent(version, pins);
  component["bom-ref"] = VersionId(version);
  component["name"] = version.name;
  component["version"] = version.digest;
  return component;
}

// What an attempt's outputs depend on.
Value DependencyOf(const Version& produced, const Origin& origin) {
  Value::List depends;
  std::set<std::string> seen;
  for (const Version& version : origin.used) {
    if (IsListed(version) && seen.insert(VersionId(version)).second) depends.emplace_back(VersionId(version));
  }
  return Value::Map{{"ref", VersionId(produced)}, {"dependsOn", std::move(depends)}};
}

Value::List PerformanceMetrics(const ModelRecord& record) {
  Value::List metrics;
  const auto add = [&](const std::map<std::string, double>& values, const std::string& by) {
    for (const auto& [name, value] : values) {
      metrics.emplace_back(Value::Map{{"type", name}, {"value", ToText(Value(value))}, {"slice", by}});
    }
  };
  add(record.origin.attempt.outcome.metrics, "measured by " + record.origin.stage);
  for (const ModelRecord::Judgement& judgement : record.judgements) {
    add(judgement.metrics, "measured by " + judgement.attempt.stage);
  }
  return metrics;
}

Value ModelCardOf(const ModelRecord& record) {
  Value::List datasets;
  for (const Version& version : record.origin.used) {
    if (IsData(version)) datasets.emplace_back(Value::Map{{"ref", VersionId(version)}});
  }
  return Value::Map{
      {"modelParameters", Value::Map{{"datasets", std::move(datasets)}}},
      {"quantitativeAnalysis", Value::Map{{"performanceMetrics", PerformanceMetrics(record)}}}};
}

Value::List PropertiesOf(const ModelRecord& record) {
  const Origin& origin = record.origin;
  Value::List properties;
  properties.push_back(Property("attempt", ToText(AttemptOf(origin))));
  properties.push_back(Property("agent", origin.attempt.agent));
  properties.push_back(Property("definition", "sha256:" + origin.pins.definition.hex()));
  properties.push_back(Property("trigger", std::string(ToText(origin.trigger.kind)) + " by " + origin.trigger.by));
  for (const auto& [name, value] : Flatten(origin.pins.params)) properties.push_back(Property("param:" + name, ToText(value)));
  for (const auto& [name, value] : Flatten(origin.attempt.outcome.environment)) {
    properties.push_back(Property("environment:" + name, ToText(value)));
  }
  for (const ModelRecord::Judgement& judgement : record.judgements) {
    if (!judgement.verdict.has_value()) continue;
    properties.push_back(Property("gate:" + judgement.attempt.stage, std::string(ToText(judgement.verdict->outcome))));
  }
  return properties;
}

// The same bill has the same number: a UUID of version 8, made from its content.
std::string SerialNumber(const std::string& content) {
  std::string hex = Sha256(content).hex().substr(0, 32);
  hex[12] = '8';
  hex[16] = '8';
  for (const size_t at : {20u, 16u, 12u, 8u}) hex.insert(at, "-");
  return "urn:uuid:" + hex;
}

}  // namespace

std::string ModelBom(const ModelRecord& record) {
  Value::List components, dependencies, tools;
  std::set<std::string> seen, made;
  const auto add = [&](const Origin& origin) {
    for (const Version& version : origin.used) {
      if (IsListed(version) && seen.insert(VersionId(version)).second) components.push_back(ComponentOf(version, origin.pins));
    }
    for (const Version& version : origin.produced) {
      const bool is_listed = seen.contains(VersionId(version)) || VersionId(version) == VersionId(record.model);
      if (is_listed && made.insert(VersionId(version)).second) dependencies.push_back(DependencyOf(version, origin));
    }
  };
  add(record.origin);
  for (const Origin& origin : record.upstream) add(origin);
  tools.emplace_back(Value::Map{{"type", "application"}, {"name", "cd4ml"}});
  Value::Map bom = {
      {"bomFormat", "CycloneDX"},
      {"specVersion", "1.6"},
      {"version", 1},
      {"metadata", Value::Map{{"timestamp", FormatTime(record.origin.attempt.ended)},
                              {"tools", Value::Map{{"components", std::move(tools)}}},
                              {"component", Value::Map{{"type", "machine-learning-model"},
                                                       {"bom-ref", VersionId(record.model)},
                                                       {"name", record.model.name},
                                                       {"version", record.model.digest},
                                                       {"hashes", HashesOf(record.model)},
                                                       {"modelCard", ModelCardOf(record)},
                                                       {"properties", PropertiesOf(record)}}}}},
      {"components", std::move(components)},
      {"dependencies", std::move(dependencies)}};
  bom["serialNumber"] = SerialNumber(ToJson(bom));
  return ToPrettyJson(bom);
}

}  // namespace cd4ml::core
