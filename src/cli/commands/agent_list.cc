// `cd4ml agent list`: who performs stages, and what they do now.
#include "cli/commands/commands.h"
#include "cli/invocation.h"
#include "cli/text.h"

namespace cd4ml::cli {
namespace {

Cell StateOf(const AgentView& agent) {
  if (agent.state == "lost") return {"! lost", Style::kWarn};
  if (agent.state == "busy") return {"● busy", Style::kBusy};
  return {"○ " + agent.state, Style::kPlain};
}

std::string RunningText(const AgentView& agent) {
  std::vector<std::string> texts;
  for (const core::AttemptId& attempt : agent.running)
    texts.push_back(attempt.run + " " + attempt.stage);
  return Join(texts, ", ");
}

std::string FactsText(const Value& facts) {
  std::vector<std::string> texts;
  for (const auto& [name, value] : Flatten(facts))
    texts.push_back(name + "=" + cd4ml::ToText(value));
  return Join(texts, " ");
}

int Perform(Invocation& invocation) {
  const auto agents = invocation.Query().ListAgents();
  if (!agents.ok()) return invocation.Fail(agents.status());
  Table table({{"AGENT", 0},
               {"STATE", 0},
               {"SLOTS", 3},
               {"RUNNING", 1},
               {"LABELS", 4},
               {"HOST", 5},
               {"SEEN", 2},
               {"VERSION", kOnlyWide},
               {"FACTS", kOnlyWide}});
  for (const AgentView& view : *agents) {
    const AgentRecord& agent = view.agent;
    table.Add({agent.name, StateOf(view),
               std::to_string(view.running.size()) + "/" + std::to_string(agent.slots),
               RunningText(view), Join(agent.labels, ","), agent.host,
               AgeText(agent.last_seen, invocation.ports.clock.Now()), agent.version,
               FactsText(agent.facts)});
  }
  invocation.PrintList(
      *agents, [](const AgentView& view) { return SafeLine(view.agent.name); },
      invocation.ports.json.agent, table, "no agent has ever connected; start one:  cd4ml-agent");
  return kExitOk;
}

}  // namespace

Command AgentList() {
  return {.path = "agent list",
          .group = "Agents and daemon",
          .summary = "list agents and what they do now",
          .examples = {"agent list", "agent list -o wide"},
          .perform = Perform};
}

}  // namespace cd4ml::cli
