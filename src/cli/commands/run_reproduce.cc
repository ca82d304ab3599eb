// `cd4ml run reproduce`: makes again what a run made, and says whether the same came out.
#include <charconv>
#include <cmath>

#include "cd4ml/base/status.h"
#include "cli/commands/commands.h"
#include "cli/follow.h"
#include "cli/progress.h"
#include "cli/start_request.h"
#include "cli/text.h"

namespace cd4ml::cli {
namespace {

using core::Sameness;

// Reads "bytes" or "metrics:1e-6". INVALID_ARGUMENT: neither.
absl::StatusOr<std::optional<double>> ReadTolerance(const Invocation& invocation) {
  const std::string text = invocation.arguments.One("verify", "bytes");
  if (text == "bytes") return std::nullopt;
  constexpr std::string_view kMetrics = "metrics:";
  double tolerance = -1;
  if (text.starts_with(kMetrics)) {
    const char* const end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data() + kMetrics.size(), end, tolerance);
    if (error != std::errc() || rest != end) tolerance = -1;
  }
  if (tolerance >= 0 && std::isfinite(tolerance)) return tolerance;
  return absl::InvalidArgumentError("--verify wants bytes or metrics:TOLERANCE, like metrics:1e-6, not \"" + text + "\"");
}

absl::StatusOr<ReproduceRequest> ReadRequest(const Invocation& invocation) {
  ReproduceRequest request;
  request.run = invocation.arguments.One("RUN");
  CD4ML_ASSIGN_OR_RETURN(request.priority, ReadPriority(invocation));
  request.reason = invocation.arguments.One("reason");
  request.by = invocation.ports.user;
  request.key = invocation.arguments.One("idempotency-key");
  if (request.key.empty()) request.key = invocation.ports.new_key();
  return request;
}

std::string Brief(const Value& value) {
  if (value.is_null()) return "nothing";
  return value.is_string() ? "sha256:" + value.string().substr(0, 12) : ToText(value);
}

StateWord WordFor(Sameness sameness) {
  switch (sameness) {
    case Sameness::kIdentical:
      return {"✔", "IDENTICAL to", Style::kGood};
    case Sameness::kEquivalent:
      return {"✔", "EQUIVALENT to", Style::kGood};
    case Sameness::kDifferent:
      return {"✗", "DIFFERENT from", Style::kBad};
    case Sameness::kUnknown:
      break;
  }
  return {"!", "NOT COMPARABLE with", Style::kWarn};
}

int ExitFor(Sameness sameness, const core::Run& rebuilt) {
  if (sameness == Sameness::kDifferent) return kExitDifferent;
  return sameness == Sameness::kUnknown ? ExitCodeOf(rebuilt) : kExitOk;
}

void Print(const Invocation& invocation, const core::Reproduction& found, int code) {
  const Terminal& out = invocation.out;
  Table table({{"", 0}, {"RECORDED", 0}, {"MADE AGAIN", 0}});
  for (const core::Difference& difference : found.differences) {
    const bool is_environment = difference.kind == core::DifferenceKind::kEnvironment;
    const auto text = [&](const Value& value) { return is_environment ? ToText(value) : Brief(value); };
    table.Add({std::string(core::ToText(difference.kind)) + " " + difference.name, text(difference.before.value),
               text(difference.after.value)});
  }
  if (!found.differences.empty()) {
    invocation.PrintTable(table);
    out.Line();
  }
  std::string compared = Count(found.outputs, "output", "outputs");
  if (found.metrics > 0) compared += ", " + Count(found.metrics, "metric", "metrics");
  out.Line("  " + compared + " compared");
  const StateWord word = WordFor(found.sameness);
  for (const std::string& line : Wrap(SafeLine(found.why), out.width() - 2)) {
    out.Line(out.Paint("  " + line, word.style));
  }
  if (found.sameness != Sameness::kIdentical) {
    invocation.Hints({{"What else differs", "cd4ml diff " + found.original + " " + found.rebuilt}});
  }
  out.Line(out.Paint(SafeLine(word.symbol + " " + found.rebuilt + " " + word.word + " " + found.original + " (exit " +
                              std::to_string(code) + ")"),
                     Style::kBold));
}

void PrintStarted(const Invocation& invocation, const core::Run& run) {
  std::vector<std::string> left_out;
  for (const core::StageRun& stage : run.stages) {
    if (stage.reason == core::Reason::kNotSelected) left_out.push_back(stage.plan.name);
  }
  invocation.out.Line(SafeLine("Making " + run.retry_of + " again as " + run.id + " at " +
                               CommitText(run.pins.commit, run.pins.commit_subject)));
  std::string data;
  for (const auto& [name, version] : run.pins.materials) {
    data += (data.empty() ? "  data    " : ", ") + name + " sha256:" + version.digest.substr(0, 12) + " ✔";
  }
  if (!data.empty()) invocation.out.Line(SafeLine(data));
  if (left_out.empty()) return;
  invocation.out.Line(SafeLine("  without " + Join(left_out, ", ") + ": nothing is deployed, no failure is repeated"));
}

int Perform(Invocation& invocation) {
  const auto tolerance = ReadTolerance(invocation);
  if (!tolerance.ok()) return invocation.Fail(tolerance.status());
  const absl::StatusOr<ReproduceRequest> request = ReadRequest(invocation);
  if (!request.ok()) return invocation.Fail(request.status());
  const std::string again = "cd4ml run reproduce " + request->run + " --verify " + invocation.arguments.One("verify", "bytes");
  const auto run = invocation.Await<core::Run>(
      [&](Done<core::Run> done) { invocation.Control().ReproduceRun(*request, std::move(done)); });
  if (!run.ok()) return FailStart(invocation, run.status(), {"Runs", "cd4ml run list"}, again, request->key);
  const bool is_text = !invocation.is_json() && invocation.format != OutputFormat::kName;
  if (is_text) PrintStarted(invocation, *run);
  const auto observer = invocation.arguments.Has("watch")
                            ? MakeProgress(invocation, is_text ? invocation.out : invocation.err)
                            : MakeSilence();
  const absl::StatusOr<core::Run> ended = Follow(invocation, run->id, *observer);
  observer->Finish();
  if (!ended.ok()) {
    const int code = invocation.Fail(ended.status());
    // Under the same key it starts no second run.
    invocation.Hints({{"Go on, and judge it", again + " --idempotency-key " + request->key}});
    return code;
  }
  const auto found = invocation.Query().JudgeReproduction(ended->id, *tolerance);
  if (!found.ok()) return invocation.Fail(found.status());
  const int code = ExitFor(found->sameness, *ended);
  if (invocation.is_json()) {
    invocation.PrintJson(invocation.ports.json.reproduction(*found));
  } else if (is_text) {
    Print(invocation, *found, code);
  } else {
    invocation.out.Line(SafeLine(found->rebuilt));
  }
  return code;
}

}  // namespace

Command RunReproduce() {
  std::vector<Option> options = {
      {"--verify", "HOW", "bytes, or metrics:TOLERANCE like metrics:1e-6; without it: bytes"}};
  for (Option& option : NewRunOptions()) {
    if (option.name() != "wait") options.push_back(std::move(option));
  }
  return {.path = "run reproduce",
          .group = "Runs",
          .summary = "make again what a run made, and say whether it is the same",
          .examples = {"run reproduce used-car-price/1", "run reproduce used-car-price/latest --verify metrics:1e-6 --watch"},
          .operands = {{"RUN", "a run that has ended, like used-car-price/2 (cd4ml help refs)"}},
          .options = std::move(options),
          .perform = Perform,
          .details = "A new run with the commit, the data and the effective parameters of the old one, which stays as it is. "
                     "Nothing is taken over from earlier runs, gates compare with what was live then, and nothing is deployed. "
                     "It is refused when something that the run was made from is no longer there as it was. Metrics x and y "
                     "are the same within a tolerance t when |x - y| <= t * max(1, |x|).",
          .alias = "reproduce"};
}

}  // namespace cd4ml::cli
