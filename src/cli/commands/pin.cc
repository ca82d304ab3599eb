// `cd4ml pin`, `unpin` and `pins`: what stays in the artifact store until somebody says otherwise.
#include "cli/commands/commands.h"
#include "cli/invocation.h"
#include "cli/text.h"

namespace cd4ml::cli {
namespace {

int Print(Invocation& invocation, const absl::StatusOr<Pin>& pin, const std::string& what) {
  if (!pin.ok()) {
    return invocation.Fail(pin.status(), IfNotFound(pin.status(), {"Pins", "cd4ml pins"}));
  }
  if (invocation.is_json()) {
    invocation.PrintJson(invocation.ports.json.pin(*pin));
    return kExitOk;
  }
  invocation.out.Line(invocation.out.Paint("✔", Style::kGood) + " " + SafeLine(pin->target) + what);
  return kExitOk;
}

int Set(Invocation& invocation) {
  const auto pin = invocation.Await<Pin>([&](Done<Pin> done) {
    invocation.Storage().SetPin(invocation.arguments.One("REF"), invocation.arguments.One("reason"),
                                invocation.ports.user, std::move(done));
  });
  return Print(invocation, pin, " stays until it is unpinned");
}

int Remove(Invocation& invocation) {
  const auto pin = invocation.Await<Pin>([&](Done<Pin> done) {
    invocation.Storage().RemovePin(invocation.arguments.One("REF"), std::move(done));
  });
  return Print(invocation, pin, " is not pinned any more");
}

int List(Invocation& invocation) {
  const auto pins = invocation.Storage().ListPins();
  if (!pins.ok()) return invocation.Fail(pins.status());
  Table table({{"REF", 0}, {"BY", 1}, {"SINCE (UTC)", 2}, {"REASON", 3}, {"KEEPS", kOnlyWide}});
  for (const Pin& pin : *pins) {
    // What names a run may name another by now.
    const bool is_run = pin.target.find('@') == std::string::npos;
    table.Add({SafeLine(is_run ? pin.target : pin.reference), SafeLine(pin.by), FormatTime(pin.at).replace(10, 1, " ").substr(0, 16),
               SafeLine(pin.reason), SafeLine(pin.target)});
  }
  invocation.PrintList(
      *pins, [](const Pin& pin) { return SafeLine(pin.target); }, invocation.ports.json.pin, table,
      "nothing is pinned");
  return kExitOk;
}

}  // namespace

Command PinSet() {
  return {.path = "pin",
          .group = "Agents and daemon",
          .summary = "keep a version, or all of a run, until it is unpinned",
          .examples = {"pin used-car-price/12 --reason \"audit of March\"", "pin 91bc02fe --reason baseline"},
          .operands = {{"REF", "a run, deployment, environment or version, as `cd4ml lineage` takes it"}},
          .options = {{"--reason", "TEXT", "why; shown by `cd4ml pins`"}},
          .perform = Set,
          .details = "What the version or run was made from stays, too."};
}

Command PinRemove() {
  return {.path = "unpin",
          .group = "Agents and daemon",
          .summary = "let a pinned version or run go",
          .examples = {"unpin used-car-price/12"},
          .operands = {{"REF", "as it was pinned, or what `cd4ml pins -o name` shows"}},
          .perform = Remove};
}

Command PinList() {
  return {.path = "pins",
          .group = "Agents and daemon",
          .summary = "list what is pinned, why and by whom",
          .examples = {"pins", "pins -o json"},
          .perform = List};
}

}  // namespace cd4ml::cli
