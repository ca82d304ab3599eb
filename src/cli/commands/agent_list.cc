// `cd4ml agent list`: who performs stages, and what they do now.
#include <algorithm>
#include <cstdio>
#include <functional>

#include "cli/commands/commands.h"
#include "cli/invocation.h"
#include "cli/text.h"

namespace cd4ml::cli {
namespace {

Cell StateOf(const AgentView& agent) {
  if (agent.state == "lost") return {"! lost", Style::kWarn};
  if (agent.state == "busy") return {"● busy", Style::kBusy};
  if (agent.state == "unable") return {"! unable", Style::kWarn};
  if (agent.state == "draining") return {"● draining", Style::kWarn};
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

std::string CoresText(int64_t millis) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", static_cast<double>(millis) / 1000);
  return text;
}

// Returns "2/8": taken and all there is; "-/8" of an agent that is not connected.
template <typename Format>
std::string Share(const AgentView& view, int64_t core::Resources::*amount, const Format& format) {
  const int64_t total = view.agent.resources.*amount;
  if (total == 0) return "";
  const std::string used = view.state == "lost" ? "-" : format(total - view.free.*amount);
  return used + "/" + format(total);
}

struct Part {
  Column column;
  std::function<Cell(const AgentView&)> cell;
  bool only_if_any = false;  // Left out when no agent has something there.
};

std::vector<Part> PartsOf(UtcTime now) {
  return {
      {{"AGENT", 0}, [](const AgentView& view) { return Cell(view.agent.name); }},
      {{"STATE", 0}, StateOf},
      {{"DRAINED", 2}, [](const AgentView& view) { return Cell(view.agent.drain_reason); }, true},
      {{"SLOTS", 3},
       [](const AgentView& view) {
         return Cell(std::to_string(view.running.size()) + "/" + std::to_string(view.agent.slots));
       }},
      {{"RUNNING", 1}, [](const AgentView& view) { return Cell(RunningText(view)); }},
      {{"CPU", 4},
       [](const AgentView& view) {
         return Cell(Share(view, &core::Resources::cpu_millis, CoresText));
       },
       true},
      {{"MEMORY", 5},
       [](const AgentView& view) {
         return Cell(Share(view, &core::Resources::memory_bytes, FormatSize));
       },
       true},
      {{"GPU", 4},
       [](const AgentView& view) {
         return Cell(Share(view, &core::Resources::gpus,
                           [](int64_t count) { return std::to_string(count); }));
       },
       true},
      {{"LABELS", 6}, [](const AgentView& view) { return Cell(Join(view.agent.labels, ",")); }},
      {{"HOST", 7}, [](const AgentView& view) { return Cell(view.agent.host); }},
      {{"SEEN", 2},
       [now](const AgentView& view) { return Cell(AgeText(view.agent.last_seen, now)); }},
      {{"VERSION", kOnlyWide}, [](const AgentView& view) { return Cell(view.agent.version); }},
      {{"FACTS", kOnlyWide},
       [](const AgentView& view) { return Cell(FactsText(view.agent.facts)); }}};
}

Table TableOf(const std::vector<AgentView>& agents, UtcTime now) {
  std::vector<Part> parts = PartsOf(now);
  std::erase_if(parts, [&](const Part& part) {
    return part.only_if_any &&
           std::all_of(agents.begin(), agents.end(),
                       [&](const AgentView& view) { return part.cell(view).text.empty(); });
  });
  std::vector<Column> columns;
  for (const Part& part : parts) columns.push_back(part.column);
  Table table(columns);
  for (const AgentView& view : agents) {
    std::vector<Cell> row;
    for (const Part& part : parts) row.push_back(part.cell(view));
    table.Add(std::move(row));
  }
  return table;
}

int Perform(Invocation& invocation) {
  const auto agents = invocation.Query().ListAgents();
  if (!agents.ok()) return invocation.Fail(agents.status());
  invocation.PrintList(
      *agents, [](const AgentView& view) { return SafeLine(view.agent.name); },
      invocation.ports.json.agent, TableOf(*agents, invocation.ports.clock.Now()),
      "no agent has ever connected; start one:  cd4ml-agent");
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
