// `cd4ml run show`: everything about one run on a page, what failed first.
#include <algorithm>

#include "cd4ml/base/status.h"
#include "cli/commands/commands.h"
#include "cli/follow.h"
#include "cli/gate_text.h"
#include "cli/log_lines.h"
#include "cli/text.h"

namespace cd4ml::cli {
namespace {

constexpr size_t kLogLinesMax = 20;
constexpr size_t kMetricsMax = 6;

std::string TextAt(const Value& value, std::string_view name) {
  const Value* found = value.Find(name);
  return found == nullptr ? "" : cd4ml::ToText(*found);
}

// Returns what an attempt ran in, as its agent recorded it, or "".
std::string RuntimeText(const Value& environment) {
  const Value* runtime = environment.Find("runtime");
  if (runtime == nullptr) return "";
  if (!runtime->is_map()) {
    const std::string python = TextAt(environment, "python");
    return Join({"host of agent " + TextAt(environment, "agent"), TextAt(environment, "os"),
                 python.empty() ? "no python" : "python " + python},
                ", ");
  }
  std::string text = TextAt(*runtime, "made_from");
  if (const std::string python = TextAt(*runtime, "python"); !python.empty()) text += ", python " + python;
  if (const Value* packages = runtime->Find("packages"); packages != nullptr && packages->is_list()) {
    text += ", " + std::to_string(packages->list().size()) + " packages";
  }
  return text + " (sha256:" + TextAt(*runtime, "digest").substr(0, 12) + ")";
}

// Prints one run; lives as long as the command.
class Page {
 public:
  Page(const Invocation& invocation, const RunView& view)
      : invocation_(invocation),
        out_(invocation.out),
        view_(view),
        run_(view.run),
        now_(invocation.ports.clock.Now()) {}

  void Print(QueryApi& query) const {
    Headline();
    Origin();
    StageChain();
    TakenOver();
    Runtimes();
    Waiting();
    Attempts();
    for (const core::StageRun& stage : run_.stages) Matrix(stage);
    for (const core::StageRun& stage : run_.stages) Gate(stage);
    Results();
    LastOutput(query);
  }

 private:
  void Line(const std::string& text, Style style = Style::kPlain) const {
    out_.Line(out_.Paint(SafeLine(text), style));
  }

  void Wrapped(const std::string& text) const {
    for (const std::string& line : Wrap(SafeLine(text), out_.width() - 4)) out_.Line("  " + line);
  }

  // The cells of a matrix are one entry here; its own part lists them.
  static std::string NamesOf(const std::vector<const core::StageRun*>& stages) {
    std::vector<std::string> names;
    std::map<std::string, int64_t> cells;
    for (const core::StageRun* stage : stages) {
      if (stage->plan.cell_of.empty()) names.push_back(stage->plan.name);
      if (!stage->plan.cell_of.empty() && cells[stage->plan.cell_of]++ == 0) names.push_back(stage->plan.cell_of);
    }
    for (std::string& name : names) {
      if (cells.contains(name)) name = Count(cells[name], "cell", "cells") + " of " + name;
    }
    return Join(names, ", ");
  }

  void Headline() const {
    const StateWord word = WordOf(core::Word(run_));
    const bool has_ended = core::IsTerminal(run_.state);
    const std::string when =
        has_ended ? AgeText(run_.created, now_) + " ago, took " +
                        FormatDuration(run_.ended - run_.created)
                  : "for " + FormatDuration(std::max(Duration(0), now_ - run_.created));
    Line(word.symbol + " " + run_.id + "  " + word.word + "  " + when, word.style);
    const std::string why = WhyNotPassed(run_);
    if (has_ended && !why.empty()) Line("  " + why);
  }

  void Origin() const {
    Line("  code    " + CommitText(run_.pins.commit, run_.pins.commit_subject) + "  " +
         run_.pins.file);
    for (const auto& [name, version] : run_.pins.materials)
      Line("  data    " + name + " " + DataText(version));
    if (!run_.pins.mixed.empty()) Line("  mixed   " + run_.pins.mixed);
    std::vector<std::string> overridden;
    for (const auto& [name, source] : run_.pins.param_sources) {
      const Value* value = source == "trigger" ? run_.pins.params.FindPath(name) : nullptr;
      if (value != nullptr) overridden.push_back(name + "=" + cd4ml::ToText(*value));
    }
    if (!overridden.empty()) Line("  params  " + Join(overridden, " "));
    Line("  lane    " + run_.lane);
    const std::string turn = TurnText();
    if (!turn.empty()) Line("  turn    " + turn);
    const bool is_again = run_.trigger.kind == core::TriggerKind::kReproduce;
    if (!run_.retry_of.empty()) Line((is_again ? "  makes   again " : "  retry   of ") + run_.retry_of);
    const bool by_monitor = run_.trigger.kind == core::TriggerKind::kMonitor;
    Line("  by      " + std::string(by_monitor ? "monitor " : "") + run_.trigger.by +
         (run_.trigger.reason.empty() ? "" : ": " + run_.trigger.reason));
  }

  // "priority 5, group "prices" (latest, 1 at a time)"; empty when nothing was asked for.
  std::string TurnText() const {
    std::vector<std::string> parts;
    if (run_.priority != 0) parts.push_back("priority " + std::to_string(run_.priority));
    const core::ConcurrencySpec& concurrency = run_.concurrency;
    if (!concurrency.group.empty()) {
      parts.push_back("group \"" + concurrency.group + "\" (" +
                      std::string(core::ToText(concurrency.policy)) + ", " +
                      std::to_string(concurrency.limit) + " at a time)");
    }
    return Join(parts, ", ");
  }

  // "validate-data ✔ passed 12s ─ train ● running 3s", broken between stages.
  void StageChain() const {
    out_.Line();
    std::string line;
    size_t used = 0;
    for (const core::StageRun& stage : run_.stages) {
      const StateWord word = WordOf(stage);
      const Duration time = StageTime(stage, now_);
      const std::string name = SafeLine(stage.plan.name) + " ";
      const std::string after = time.count() > 0 ? " " + FormatDuration(time) : "";
      const size_t width = DisplayWidth(name + word.text() + after);
      if (used > 0 && used + 3 + width > out_.width()) {
        out_.Line(line);
        used = 0;
      }
      line = used == 0 ? "  " : line + " ─ ";
      used += (used == 0 ? 2 : 3) + width;
      line += name + out_.Paint(word.text(), word.style) + after;
    }
    out_.Line(line);
  }

  void TakenOver() const {
    std::map<std::string, std::vector<const core::StageRun*>> stages;
    for (const core::StageRun& stage : run_.stages) {
      if (!stage.carried || !stage.carried->cell.empty()) continue;
      const std::string how = stage.carried->reused ? "reused from " : "taken over from ";
      stages[how + stage.carried->from.run].push_back(&stage);
    }
    for (const auto& [from, those] : stages) Wrapped(from + ": " + NamesOf(those));
  }

  // How the attempts of stages with several ended.
  void Attempts() const {
    for (const core::StageRun& stage : run_.stages) {
      if (stage.attempts.size() < 2) continue;
      for (const core::Attempt& attempt : stage.attempts) {
        if (!core::IsTerminal(attempt.state)) continue;
        Line("  " + stage.plan.name + " " + AttemptText(attempt));
      }
    }
  }

  // What the stages ran in: "runtime python 3.11.2 from requirements.lock, 12 packages: train, package".
  void Runtimes() const {
    std::map<std::string, std::vector<const core::StageRun*>> stages;
    for (const core::StageRun& stage : run_.stages) {
      const core::Outcome* result = stage.plan.matrix ? nullptr : stage.result();
      const std::string runtime = result == nullptr ? "" : RuntimeText(result->environment);
      if (!runtime.empty()) stages[runtime].push_back(&stage);
    }
    for (const auto& [runtime, those] : stages) Wrapped("runtime " + runtime + ": " + NamesOf(those));
  }

  void Waiting() const {
    if (!view_.queued_behind.empty()) Line("  " + view_.queued_behind, Style::kWarn);
    for (const auto& [stage, why] : view_.waiting)
      Line("  " + stage + " waits: " + why, Style::kWarn);
    for (const core::StageRun& stage : run_.stages) {
      if (!stage.stop || core::IsTerminal(stage.state)) continue;
      Line("  " + stage.plan.name + " is told to end: " + stage.stop->message, Style::kWarn);
    }
  }

  // "MATRIX train ✔ passed  train@forest,8 won: lowest mae of 3 cells: …", and what every cell was done with.
  void Matrix(const core::StageRun& stage) const {
    if (!stage.plan.matrix) return;
    out_.Line();
    const StateWord state = WordOf(stage);
    const bool has_winner = stage.carried && !stage.carried->cell.empty();
    Line("MATRIX " + stage.plan.name + "  " + state.text(), state.style);
    if (has_winner) Wrapped(stage.carried->cell + " won: " + stage.carried->why);
    if (!stage.message.empty()) Wrapped(stage.message);
    for (const std::string& name : stage.plan.matrix->cells) {
      const core::StageRun* cell = run_.FindStage(name);
      if (cell == nullptr) continue;
      std::string params;
      for (const auto& [param, value] : cell->plan.cell_params) params += "  " + param + "=" + cd4ml::ToText(value);
      Line("  " + std::string(has_winner && name == stage.carried->cell ? "→ " : "  ") + name + "  " + WordOf(*cell).text() + params);
    }
  }

  void Gate(const core::StageRun& stage) const {
    const core::Outcome* result = stage.result();
    if (result == nullptr || !result->verdict) return;
    out_.Line();
    const StateWord state = WordOf(result->verdict->outcome);
    Line("GATE " + stage.plan.name + "  " + state.text(), state.style);
    PrintRules(out_, *result->verdict, invocation_.format == OutputFormat::kWide);
  }

  void Results() const {
    std::vector<std::string> lines;
    for (const core::StageRun& stage : run_.stages) {
      const core::Outcome* result = stage.result();
      if (result == nullptr) continue;
      if (!result->metrics.empty()) {
        lines.push_back(stage.plan.name + ": " + MetricsText(result->metrics, kMetricsMax));
      }
      if (result->service) {
        lines.push_back(stage.plan.name + ": live in " + stage.plan.environment + " " +
                        result->service->endpoint);
      }
    }
    if (!lines.empty()) out_.Line("\nRESULTS");
    for (const std::string& line : lines) Line("  " + line);
  }

  void LastOutput(QueryApi& query) const {
    const core::StageRun* stage = FailedStage(run_);
    if (stage == nullptr || stage->attempts.empty()) return;
    const core::Attempt& attempt = *stage->latest();
    const auto lines = ReadLastLines(query, {run_.id, stage->plan.name, attempt.number},
                                     attempt.outcome.log_bytes, kLogLinesMax);
    out_.Line();
    if (!lines.ok())
      return Line("The output of " + stage->plan.name +
                  " cannot be read: " + Message(lines.status()));
    if (lines->empty() && attempt.outcome.log_bytes > 0) {
      return Line("The output of " + stage->plan.name + ", " + FormatSize(attempt.outcome.log_bytes) +
                  ", has not reached the daemon");
    }
    if (lines->empty()) return Line(stage->plan.name + " wrote no output");
    Line("Last output of " + stage->plan.name + ", attempt " + std::to_string(attempt.number) +
         ":");
    for (const std::string& line : *lines) Line("  │ " + line);
  }

  const Invocation& invocation_;
  const Terminal& out_;
  const RunView& view_;
  const core::Run& run_;
  const UtcTime now_;
};

// Returns the run's JSON with what only the view knows: why its ready stages have no agent, and why
// the run is queued.
std::string JsonOf(const Invocation& invocation, const RunView& view) {
  const std::string json = invocation.ports.json.run(view.run);
  absl::StatusOr<Value> value = ParseJson(json);
  if ((view.waiting.empty() && view.queued_behind.empty()) || !value.ok() || !value->is_map()) {
    return json;
  }
  if (!view.waiting.empty()) {
    Value::Map waiting;
    for (const auto& [stage, why] : view.waiting) waiting[stage] = why;
    SetPath(*value, "waiting", std::move(waiting));
  }
  if (!view.queued_behind.empty()) SetPath(*value, "queued_behind", view.queued_behind);
  return ToJson(*value);
}

int Perform(Invocation& invocation) {
  const absl::StatusOr<RunView> view = invocation.Query().GetRun(invocation.arguments.One("RUN"));
  if (!view.ok())
    return invocation.Fail(view.status(), IfNotFound(view.status(), {"Runs", "cd4ml run list"}));
  if (invocation.is_json()) {
    invocation.PrintJson(JsonOf(invocation, *view));
  } else if (invocation.format == OutputFormat::kName) {
    invocation.out.Line(SafeLine(view->run.id));
  } else {
    Page(invocation, *view).Print(invocation.Query());
    if (!invocation.quiet) invocation.err.Line();
    std::vector<Hint> hints = NextSteps(view->run);
    if (!view->waiting.empty()) hints.push_back({"Why it waits", "cd4ml why " + view->run.id});
    if (hints.front().command == "cd4ml run show " + view->run.id) hints.erase(hints.begin());
    invocation.Hints(hints);
  }
  return kExitOk;
}

}  // namespace

Command RunShow() {
  return {.path = "run show",
          .group = "Runs",
          .summary = "show a run: stages, gates, results, and why it failed",
          .examples = {"run show used-car-price/2", "run show used-car-price/latest -o json"},
          .operands = {{"RUN", "a run, like used-car-price/2 (cd4ml help refs)"}},
          .perform = Perform,
          .alias = "status"};
}

}  // namespace cd4ml::cli
