// Compares requests by what they say, not by what became of it.
#include "asked.h"

#include <set>

#include "cd4ml/base/value.h"

namespace cd4ml::daemon {
namespace {

// The parameters that a run was started with, as far as it was asked for them.
std::map<std::string, const Value*> Given(const core::Pins& pins) {
  std::map<std::string, const Value*> given;
  for (const auto& [name, source] : pins.param_sources) {
    if (source == "trigger") given[name] = pins.params.FindPath(name);
  }
  return given;
}

bool SaysTheSame(const std::string& text, const Value& value) {
  if (value.is_list() || value.is_map() || text == ToText(value)) return true;
  const absl::StatusOr<Value> read = ParseJson(text);
  return read.ok() && read->is_number() && value.is_number() && read->number() == value.number();
}

}  // namespace

Asked AskedFor(const core::StartRun& command) {
  Asked asked{command.trigger.key, command.pipeline, command.lane, std::nullopt};
  asked.params.emplace();
  for (const auto& [name, value] : Given(command.pins)) {
    if (value != nullptr) asked.params->emplace(name, ToText(*value));
  }
  return asked;
}

std::string Difference(const Asked& asked, const core::Run& run) {
  const auto differs = [](const std::string& what, const std::string& was, const std::string& is) {
    return "with " + what + " " + was + " where this request says " + is;
  };
  if (run.pipeline != asked.pipeline) return differs("pipeline", run.pipeline, asked.pipeline);
  if (asked.lane && *asked.lane != run.lane) return differs("lane", run.lane, *asked.lane);
  if (!asked.params) return "";
  const std::map<std::string, const Value*> given = Given(run.pins);
  for (const auto& [name, value] : given) {
    const auto found = asked.params->find(name);
    if (found == asked.params->end()) return "with " + name + ", which this request does not give";
    if (value != nullptr && !SaysTheSame(found->second, *value)) return differs(name + " =", ToText(*value), found->second);
  }
  for (const auto& [name, text] : *asked.params) {
    if (!given.contains(name)) return "without " + name + ", which this request gives";
  }
  return "";
}

}  // namespace cd4ml::daemon
