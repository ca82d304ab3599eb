// The file that says which gates a server requires.
#include "cd4ml/core/override.h"
#include "yaml/read.h"

namespace cd4ml::yaml {
namespace {

namespace code = core::code;

void ReadGate(Reader& reader, const Node& key, Node& node, core::GatePolicy& policy) {
  core::RequiredGate gate;
  const std::optional<core::StageKind> kind = core::ParseStageKind(key.text);
  if (!kind || !core::IsGate(*kind)) {
    return reader.Error(code::kBadWord, key.place, core::Quoted(key.text) + " is no kind of gate", "",
                        "allowed: data_gate, model_gate, contract_gate");
  }
  gate.kind = *kind;
  Fields fields(reader, node, "gate", key.text);
  if (Node* rules = fields.Take("rules")) {
    core::StageSpec stage;   // Takes the rules as a gate of a pipeline would.
    stage.kind = *kind;
    if (ToJson(*rules).find("${{") != std::string::npos) {
      return reader.Error(code::kTemplateNotHere, rules->place, "a policy must not contain ${{ }}", "",
                          "it holds for pipelines with any parameters");
    }
    ReadRules(reader, *rules, stage);
    for (size_t i = 0; i < stage.rules.size(); ++i) {
      gate.rules.push_back({stage.rules[i].name, ToValue(rules->value(i)), stage.rules[i].blocks});
    }
  }
  fields.Finish();
  policy.gates.push_back(std::move(gate));
}

void ReadOverrides(Reader& reader, Node& node, core::GatePolicy& policy) {
  if (!node.is_map()) {
    std::string word;
    if (reader.ReadWord(node, word, {"forbidden"})) policy.override_people = core::kNobodyOverrides;
    return;
  }
  Fields fields(reader, node, "\"overrides\"");
  fields.ReadNeeded("approvals", policy.override_people, Range{1, 100});
  fields.Finish();
}

// Returns whether a pattern can mean what it says: one with a class that does not end would match nothing but itself.
bool IsGlob(const std::string& pattern) {
  for (size_t at = pattern.find('['); at != std::string::npos; at = pattern.find('[', at)) {
    at = pattern.find(']', at + 2);   // The first character of a class may be a bracket.
    if (at == std::string::npos) return false;
  }
  return !pattern.empty();
}

core::GatePolicy ReadPolicy(Reader& reader, const std::string& name, Node& node) {
  core::GatePolicy policy;
  policy.name = name;
  Fields fields(reader, node, "policy", name);
  if (Node* labels = fields.Take("labels")) reader.ReadLiterals(*labels, policy.labels);
  if (Node* pipelines = fields.Take("pipelines"); pipelines != nullptr && reader.ReadLiterals(*pipelines, policy.pipelines)) {
    for (const std::string& pattern : policy.pipelines) {
      if (IsGlob(pattern)) continue;
      reader.Error(code::kBadName, pipelines->place, core::Quoted(pattern) + " is no pattern of pipelines' names", "",
                   "write a name, with `*`, `?` and `[a-z]` where it may differ");
    }
  }
  if (Node* gates = fields.Take("gates"); gates != nullptr && CheckNamedMap(reader, *gates, "gates")) {
    for (size_t i = 0; i < gates->member_count(); ++i) ReadGate(reader, gates->key(i), gates->value(i), policy);
  }
  if (Node* overrides = fields.Take("overrides")) ReadOverrides(reader, *overrides, policy);
  if (node.is_map() && !fields.Has("gates") && !fields.Has("overrides")) {
    reader.Error(code::kMissingKey, node.place, fields.where() + " needs `gates` or `overrides`");
  }
  fields.Finish();
  return policy;
}

}  // namespace

core::GatePolicies ReadGatePolicies(Reader& reader, Node& root) {
  core::GatePolicies policies;
  Fields top(reader, root, "the policy file");
  Node* format = top.Need("format");
  if (format != nullptr && ScalarValue(*format) != Value(1)) {
    reader.Error(code::kFormat, format->place, "\"format\" must be 1");
  }
  // With none, the server requires nothing; whoever wants that says so.
  if (Node* named = top.Need("policies"); named != nullptr && !(named->is_map() && named->member_count() == 0)) {
    ForEachNamed(reader, *named, "policies", [&](const std::string& name, const Node&, Node& value) {
      policies.push_back(ReadPolicy(reader, name, value));
    });
  }
  top.Finish();
  return policies;
}

}  // namespace cd4ml::yaml
