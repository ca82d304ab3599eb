// A model's record as Markdown.
#include <set>

#include "cd4ml/core/origin.h"

namespace cd4ml::core {
namespace {

// Text of users as the content of a cell: nothing in it is Markdown, HTML or the end of a line.
std::string Cell(std::string_view text) {
  std::string cell;
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x20) {
      cell += ' ';
    } else if (c == '<') {
      cell += "&lt;";
    } else {
      if (std::string_view("\\`*_[]|#>!").find(c) != std::string_view::npos) cell += '\\';
      cell += c;
    }
  }
  return cell;
}

std::string Row(const std::vector<std::string>& cells) {
  std::string row = "|";
  for (const std::string& cell : cells) row += " " + Cell(cell) + " |";
  return row + "\n";
}

std::string Heading(const std::string& title, const std::vector<std::string>& columns) {
  std::string rule = "|";
  for (size_t i = 0; i < columns.size(); ++i) rule += "---|";
  return "\n## " + title + "\n\n" + Row(columns) + rule + "\n";
}

// JSON is YAML.
std::string FrontMatter(const ModelRecord& record) {
  Value::List datasets, metrics;
  for (const Version& version : record.origin.used) {
    if (version.kind == VersionKind::kDataset || version.kind == VersionKind::kData) datasets.emplace_back(version.name);
  }
  for (const auto& [name, value] : record.origin.attempt.outcome.metrics) metrics.emplace_back(name);
  return "---\ntags: [\"cd4ml\"]\ndatasets: " + ToJson(std::move(datasets)) + "\nmetrics: " + ToJson(std::move(metrics)) +
         "\n---\n";
}

std::string Facts(const ModelRecord& record) {
  const Origin& origin = record.origin;
  std::string text = "\n| | |\n|---|---|\n";
  text += Row({"digest", "sha256:" + record.model.digest});
  text += Row({"size", FormatSize(record.model.artifact.size) + " in " + std::to_string(record.model.artifact.files) +
                           (record.model.artifact.files == 1 ? " file" : " files")});
  text += Row({"made by", ToText(AttemptOf(origin)) + " on agent " + origin.attempt.agent});
  text += Row({"made at", FormatTime(origin.attempt.ended)});
  text += Row({"asked for", std::string(ToText(origin.trigger.kind)) + " by " + origin.trigger.by +
                                (origin.trigger.reason.empty() ? "" : ": " + origin.trigger.reason)});
  text += Row({"code", origin.pins.commit + " " + origin.pins.commit_subject});
  text += Row({"repository", origin.pins.repo});
  text += Row({"definition", origin.pins.file + ", expanded sha256:" + origin.pins.definition.hex()});
  return text;
}

std::string Parameters(const Pins& pins) {
  std::string text = Heading("Parameters", {"parameter", "value", "from"});
  for (const auto& [name, value] : Flatten(pins.params)) {
    const auto source = pins.param_sources.find(name);
    text += Row({name, ToText(value), source == pins.param_sources.end() ? "" : source->second});
  }
  return text;
}

std::string Data(const ModelRecord& record) {
  std::string text = Heading("Data", {"version", "kind", "digest"});
  std::set<std::string> seen;
  const auto add = [&](const Version& version) {
    if (version.kind != VersionKind::kData && version.kind != VersionKind::kDataset) return;
    if (!seen.insert(VersionId(version)).second) return;
    text += Row({version.name + (version.summary.empty() ? "" : " (" + version.summary + ")"),
                 std::string(ToText(version.kind)), "sha256:" + version.digest});
  };
  for (const Version& version : record.origin.used) add(version);
  for (const Origin& origin : record.upstream) {
    for (const Version& version : origin.used) add(version);
  }
  return text;
}

std::string Metrics(const ModelRecord& record) {
  std::string text = Heading("Metrics", {"metric", "value", "measured by"});
  for (const auto& [name, value] : record.origin.attempt.outcome.metrics) {
    text += Row({name, ToText(Value(value)), ToText(AttemptOf(record.origin))});
  }
  for (const ModelRecord::Judgement& judgement : record.judgements) {
    for (const auto& [name, value] : judgement.metrics) text += Row({name, ToText(Value(value)), ToText(judgement.attempt)});
  }
  return text;
}

std::string Gates(const ModelRecord& record) {
  std::string text;
  for (const ModelRecord::Judgement& judgement : record.judgements) {
    if (!judgement.verdict.has_value()) continue;
    for (const RuleResult& rule : judgement.verdict->rules) {
      text += Row({judgement.attempt.stage + "." + rule.name, std::string(ToText(rule.outcome)), rule.observed, rule.bound,
                   rule.baseline});
    }
  }
  return text.empty() ? text : Heading("Gates", {"rule", "outcome", "observed", "must be", "compared with"}) + text;
}

std::string Overrides(const ModelRecord& record) {
  std::string text;
  for (const ModelRecord::Judgement& judgement : record.judgements) {
    if (!judgement.verdict.has_value()) continue;
    for (const Override& one : judgement.verdict->overrides) {
      text += Row({judgement.attempt.stage + "." + one.rule, one.by, one.reason, FormatTime(one.at), FormatTime(one.expires)});
    }
  }
  return text.empty() ? text : Heading("Overrides", {"rule", "by", "reason", "since", "until"}) + text;
}

std::string Environment(const Origin& origin) {
  std::string text;
  for (const auto& [name, value] : Flatten(origin.attempt.outcome.environment)) text += Row({name, ToText(value)});
  return text.empty() ? text : Heading("Environment, as the agent reported it", {"fact", "value"}) + text;
}

std::string Deployments(const ModelRecord& record) {
  std::string text;
  for (const Deployment& deployment : record.deployments) {
    text += Row({deployment.environment, deployment.id, FormatTime(deployment.started),
                 deployment.ended.is_set() ? FormatTime(deployment.ended) : "live"});
  }
  return text.empty() ? text : Heading("Deployments", {"environment", "deployment", "since", "until"}) + text;
}

}  // namespace

std::string ModelCard(const ModelRecord& record) {
  return FrontMatter(record) + "\n# " + Cell(record.model.name) + "\n\nWritten by cd4ml from its record; signed evidence: " +
         "`cd4ml provenance export " + record.model.digest.substr(0, 12) + " --upstream`.\n" + Facts(record) +
         Parameters(record.origin.pins) + Data(record) + Metrics(record) + Gates(record) + Overrides(record) + Environment(record.origin) +
         Deployments(record);
}

}  // namespace cd4ml::core
