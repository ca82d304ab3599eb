// `cd4ml agent drain` and `cd4ml agent undrain`: whether an agent takes new work.
#include "cli/commands/commands.h"
#include "cli/invocation.h"
#include "cli/text.h"

namespace cd4ml::cli {
namespace {

// Returns the agent as `agent list` would show it now.
AgentView ViewOf(QueryApi& query, const AgentRecord& record) {
  const auto agents = query.ListAgents();
  for (const AgentView& view : agents.ok() ? *agents : std::vector<AgentView>()) {
    if (view.agent.name == record.name) return view;
  }
  return {.agent = record, .state = "", .running = {}, .free = {}};
}

int Set(Invocation& invocation, bool drained) {
  const std::string name = invocation.arguments.One("AGENT");
  std::string reason = invocation.arguments.One("reason");
  if (drained && reason.empty()) reason = "drained by " + invocation.ports.user;
  const auto record = invocation.Await<AgentRecord>([&](Done<AgentRecord> done) {
    invocation.Control().DrainAgent(name, drained, reason, std::move(done));
  });
  if (!record.ok()) {
    return invocation.Fail(record.status(),
                           IfNotFound(record.status(), {"Agents", "cd4ml agent list"}));
  }
  const AgentView view = ViewOf(invocation.Query(), *record);
  if (invocation.is_json()) {
    invocation.PrintJson(invocation.ports.json.agent(view));
    return kExitOk;
  }
  const auto running = static_cast<int64_t>(view.running.size());
  std::string text = name + (drained ? " takes nothing new" : " takes work again");
  if (drained && running > 0) text += "; it finishes " + Count(running, "stage", "stages");
  invocation.out.Line(invocation.out.Paint("✔", Style::kGood) + " " + SafeLine(text));
  if (drained) {
    invocation.Hints({{"Whether it is empty", "cd4ml agent list"},
                      {"Let it work again", "cd4ml agent undrain " + name}});
  }
  return kExitOk;
}

}  // namespace

Command AgentDrain() {
  return {.path = "agent drain",
          .group = "Agents and daemon",
          .summary = "let an agent finish what it has and take nothing new",
          .examples = {"agent drain agent-a --reason \"new memory on Monday\""},
          .operands = {{"AGENT", "name of an agent"}},
          .options = {{"--reason", "TEXT", "why; shown in agent list"}},
          .perform = [](Invocation& invocation) { return Set(invocation, true); },
          .details = "It holds until `cd4ml agent undrain`, also when agent or daemon are started "
                     "again. Live services stay."};
}

Command AgentUndrain() {
  return {.path = "agent undrain",
          .group = "Agents and daemon",
          .summary = "let a drained agent take work again",
          .examples = {"agent undrain agent-a"},
          .operands = {{"AGENT", "name of an agent"}},
          .perform = [](Invocation& invocation) { return Set(invocation, false); }};
}

}  // namespace cd4ml::cli
