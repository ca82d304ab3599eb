// Policies as questions about the graph: what does a deploy wait for, and what does a gate look at?
#include "cd4ml/core/gate_policy.h"

#include <algorithm>
#include <map>
#include <set>

#include "cd4ml/base/glob.h"
#include "cd4ml/core/decide.h"
#include "cd4ml/core/override.h"
#include "cd4ml/core/plan.h"

namespace cd4ml::core {
namespace {

constexpr char kEveryTable[] = "*";

// What waits for what in a pipeline.
class Graph {
 public:
  explicit Graph(const PipelineSpec& pipeline) : pipeline_(pipeline), plans_(MakePlan(pipeline, {})) {
    for (const StagePlan& plan : plans_) by_name_[plan.name] = &plan;
  }

  // Returns the stages that must have succeeded before `stage` runs. A condition that looks at failures lets a stage run
  // after them, so nothing holds beyond it.
  std::set<std::string> Before(const std::string& stage) const {
    std::set<std::string> before;
    std::vector<std::string> open = {stage};
    while (!open.empty()) {
      const StagePlan& plan = *by_name_.at(open.back());
      open.pop_back();
      if (ConditionLooksAtFailures(plan.condition)) continue;
      for (const std::string& need : plan.needs) {
        if (before.insert(need).second) open.push_back(need);
      }
    }
    return before;
  }

  // Returns a stage and those whose outputs went into its own, however far back. Whom it only waits for has no part in it.
  std::set<std::string> MakersOf(const std::string& stage) const {
    std::set<std::string> makers = {stage};
    std::vector<std::string> open = {stage};
    while (!open.empty()) {
      const StagePlan& plan = *by_name_.at(open.back());
      open.pop_back();
      for (const std::string& reference : plan.references) {
        const Reference from = ParseReference(reference);
        const std::string maker(from.stage);
        if (!from.output.empty() && by_name_.contains(maker) && makers.insert(maker).second) open.push_back(maker);
      }
    }
    return makers;
  }

  // Returns whether the gate looks at something that the deployed package was made of; a deploy by hooks says not what
  // it deploys.
  bool LooksAt(const StageSpec& gate, const StageSpec& deploy) const {
    if (deploy.package.empty()) return true;
    if (gate.kind == StageKind::kContractGate) return gate.package == deploy.package;
    const std::set<std::string> makers = MakersOf(std::string(ParseReference(deploy.package).stage));
    if (makers.contains(gate.name)) return true;
    std::set<std::string> sources;
    for (const std::string& maker : makers) {
      const StagePlan& plan = *by_name_.at(maker);
      sources.insert(plan.references.begin(), plan.references.end());
    }
    return std::any_of(by_name_.at(gate.name)->references.begin(), by_name_.at(gate.name)->references.end(),
                       [&](const std::string& reference) {
                         return sources.contains(reference) || makers.contains(std::string(ParseReference(reference).stage));
                       });
  }

  // Returns whether `deploy` never runs unless a gate of this kind, which looks at what is deployed and can block, has passed.
  bool IsGuarded(const StageSpec& deploy, const RequiredGate& required) const {
    const std::set<std::string> before = Before(deploy.name);
    const bool adds_blocking = std::any_of(required.rules.begin(), required.rules.end(),
                                           [](const RequiredRule& rule) { return rule.blocks; });
    return std::any_of(pipeline_.stages.begin(), pipeline_.stages.end(), [&](const StageSpec& gate) {
      if (gate.kind != required.kind || !before.contains(gate.name)) return false;
      const bool blocks = adds_blocking || gate.verdict.has_value() ||
                          std::any_of(gate.rules.begin(), gate.rules.end(), [](const Rule& rule) { return rule.blocks; });
      return blocks && LooksAt(gate, deploy);
    });
  }

 private:
  const PipelineSpec& pipeline_;
  const std::vector<StagePlan> plans_;
  std::map<std::string, const StagePlan*> by_name_;
};

// Returns whether an input holds data: a dataset that a stage has made, or a material that is not the code.
bool IsData(const PipelineSpec& pipeline, const std::string& from) {
  if (const MaterialSpec* material = pipeline.FindMaterial(from)) return material->kind != MaterialSpec::Kind::kGit;
  const Reference reference = ParseReference(from);
  const StageSpec* stage = pipeline.FindStage(reference.stage);
  return stage != nullptr && std::any_of(stage->outputs.begin(), stage->outputs.end(), [&](const OutputSpec& output) {
           return output.name == reference.output && output.type == OutputType::kDataset;
         });
}

// Returns the tables that a data gate has before it: its datasets, the data that it takes in, and what its own rules speak
// of. What cd4ml puts into quarantine is bad on purpose.
std::vector<std::string> TablesOf(const PipelineSpec& pipeline, const StageSpec& gate) {
  std::set<std::string> tables;
  for (const Rule& rule : gate.rules) {
    if (!Subject(rule.body).empty()) tables.emplace(Subject(rule.body));
  }
  for (const InputSpec& input : gate.inputs) {
    if (!IsData(pipeline, input.from)) continue;
    tables.insert(input.name);
    if (input.from != input.name) tables.erase(input.from);   // The same table.
  }
  for (const OutputSpec& output : gate.outputs) {
    if (output.type == OutputType::kDataset && output.quarantine.empty()) tables.insert(output.name);
    if (!output.quarantine.empty()) tables.erase(output.name);
  }
  return {tables.begin(), tables.end()};
}

bool IsForEveryTable(const RequiredRule& rule) {
  const Value* of = rule.body.Find("of");
  return of != nullptr && *of == Value(kEveryTable);
}

void AddRule(const std::string& policy, const RequiredRule& rule, const PipelineSpec& pipeline, const StageSpec& gate,
             Value::Map& rules) {
  const std::string name = policy + "." + rule.name;
  if (!IsForEveryTable(rule)) {
    rules[name] = rule.body;
    return;
  }
  const std::vector<std::string> tables = TablesOf(pipeline, gate);
  for (const std::string& table : tables) {
    Value body = rule.body;
    SetPath(body, "of", table);
    rules[tables.size() == 1 ? name : name + "." + table] = std::move(body);
  }
}

Diagnostic Lacks(const GatePolicy& policy, const Place& place, const std::string& what, const std::string& help) {
  return MakeError(code::kPolicy, place, "the server's gate policy " + Quoted(policy.name) + " wants " + what, "", help);
}

}  // namespace

bool AppliesTo(const GatePolicy& policy, const PipelineSpec& pipeline) {
  const bool has_labels = std::all_of(policy.labels.begin(), policy.labels.end(), [&](const std::string& label) {
    return std::find(pipeline.labels.begin(), pipeline.labels.end(), label) != pipeline.labels.end();
  });
  return has_labels && (policy.pipelines.empty() ||
                        std::any_of(policy.pipelines.begin(), policy.pipelines.end(), [&](const std::string& pattern) {
                          return MatchesGlob(pattern, pipeline.name);
                        }));
}

Diagnostics CheckPolicies(const GatePolicies& policies, const PipelineSpec& pipeline) {
  Diagnostics lacking;
  std::optional<Graph> graph;
  for (const GatePolicy& policy : policies) {
    if (!AppliesTo(policy, pipeline)) continue;
    if (!graph) graph.emplace(pipeline);
    for (const RequiredGate& required : policy.gates) {
      const std::string kind(ToText(required.kind));
      for (const StageSpec& stage : pipeline.stages) {
        if (stage.kind == StageKind::kDeploy && !graph->IsGuarded(stage, required)) {
          lacking.push_back(Lacks(policy, stage.place,
                                  "a " + kind + " before deploy " + Quoted(stage.name) + " of pipeline " +
                                      Quoted(pipeline.name) + ", and it waits for none",
                                  "the deploy must need, directly or through others, a blocking " + kind +
                                      " that looks at what is deployed"));
        }
        const bool lacks_table = stage.kind == required.kind && TablesOf(pipeline, stage).empty() &&
                                 std::any_of(required.rules.begin(), required.rules.end(), IsForEveryTable);
        if (lacks_table) {
          lacking.push_back(Lacks(policy, stage.place,
                                  "rules on every table of gate " + Quoted(stage.name) + " of pipeline " +
                                      Quoted(pipeline.name) + ", and it has none",
                                  "declare an output of type dataset, or a rule on a material"));
        }
      }
    }
  }
  return lacking;
}

Value RequiredRules(const GatePolicies& policies, const PipelineSpec& pipeline) {
  Value::Map stages;
  for (const StageSpec& stage : pipeline.stages) {
    Value::Map rules;
    for (const GatePolicy& policy : policies) {
      if (!AppliesTo(policy, pipeline)) continue;
      for (const RequiredGate& required : policy.gates) {
        if (required.kind != stage.kind) continue;
        for (const RequiredRule& rule : required.rules) AddRule(policy.name, rule, pipeline, stage, rules);
      }
    }
    if (!rules.empty()) stages[stage.name] = std::move(rules);
  }
  return stages.empty() ? Value() : Value(std::move(stages));
}

int OverridePeople(const GatePolicies& policies, const PipelineSpec& pipeline) {
  int people = 1;
  for (const GatePolicy& policy : policies) {
    if (!AppliesTo(policy, pipeline)) continue;
    if (policy.override_people == kNobodyOverrides) return kNobodyOverrides;
    people = std::max(people, policy.override_people);
  }
  return people;
}

bool HasRequiredRules(const PipelineSpec& pipeline) {
  return std::any_of(pipeline.stages.begin(), pipeline.stages.end(), [](const StageSpec& stage) {
    return std::any_of(stage.rules.begin(), stage.rules.end(),
                       [](const Rule& rule) { return rule.name.find('.') != std::string::npos; });
  });
}

}  // namespace cd4ml::core
