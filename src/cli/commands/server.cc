// `cd4ml server`: which daemon answers, and where it keeps things.
#include "cli/commands/commands.h"
#include "cli/invocation.h"
#include "cli/text.h"

namespace cd4ml::cli {
namespace {

// Returns "1.2 GiB of at most 10.0 GiB: what to do".
std::string ArtifactText(const ServerFacts& facts) {
  std::string text = FormatSize(facts.artifact_bytes);
  if (facts.artifact_hard_limit > 0) text += " of at most " + FormatSize(facts.artifact_hard_limit);
  return text + (facts.artifact_warning.empty() ? "" : ": " + facts.artifact_warning);
}

int Perform(Invocation& invocation) {
  const auto facts = invocation.Query().GetServer();
  if (!facts.ok()) return invocation.Fail(facts.status());
  if (invocation.is_json()) {
    invocation.PrintJson(invocation.ports.json.server(*facts));
    return kExitOk;
  }
  const auto line = [&](const std::string& name, const std::string& value) {
    invocation.out.Line(Pad(name, 10) + SafeLine(value));
  };
  line("version", facts->version);
  line("started", AgeText(facts->started, invocation.ports.clock.Now()) + " ago");
  line("instance", facts->instance);
  line("state", facts->state_dir);
  line("database", facts->database);
  line("mode", facts->read_only.empty() ? "ready" : "read-only: " + facts->read_only);
  if (facts->artifact_bytes > 0 || facts->artifact_hard_limit > 0) {
    line("artifacts", ArtifactText(*facts));
  }
  const std::string found = facts->damage == 0 ? "nothing" : Count(facts->damage, "damage", "damages") + ": cd4ml server scrub";
  line("scrubbed", facts->scrubbed.is_set()
                       ? AgeText(facts->scrubbed, invocation.ports.clock.Now()) + " ago, found " + found
                       : "never");
  for (const std::string& record : facts->quarantined) line("left out", record);
  return kExitOk;
}

}  // namespace

Command Server() {
  return {.path = "server",
          .group = "Agents and daemon",
          .summary = "show which daemon answers and where it keeps things",
          .examples = {"server", "server --server 127.0.0.1:7420 -o json"},
          .perform = Perform};
}

}  // namespace cd4ml::cli
