// `cd4ml gate history`, `override`, `overrides` and `revoke`: what gates found, and who takes it upon himself.
#include <algorithm>
#include <cmath>

#include "cli/commands/commands.h"
#include "cli/invocation.h"
#include "cli/text.h"

namespace cd4ml::cli {
namespace {

constexpr char kGroup[] = "Gates";
constexpr size_t kTrendMax = 24;

// --- history ---

const core::RuleResult* FindRule(const GateRecord& record, const std::string& name) {
  if (!record.outcome.verdict) return nullptr;
  for (const core::RuleResult& rule : record.outcome.verdict->rules) {
    if (rule.name == name) return &rule;
  }
  return nullptr;
}

// One mark per number, from the lowest to the highest; a dot where there is none.
std::string Sparkline(const std::vector<std::optional<double>>& numbers) {
  static constexpr const char* kMarks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  double low = INFINITY, high = -INFINITY;
  for (const std::optional<double>& number : numbers) {
    if (!number || !std::isfinite(*number)) continue;
    low = std::min(low, *number);
    high = std::max(high, *number);
  }
  std::string line;
  for (const std::optional<double>& number : numbers) {
    if (!number || !std::isfinite(*number)) {
      line += "·";
    } else {
      line += kMarks[high > low ? static_cast<int>(std::lround((*number - low) / (high - low) * 7)) : 3];
    }
  }
  return line;
}

// What a rule showed in the runs, oldest first.
std::string Trend(const std::vector<GateRecord>& records, const std::string& rule) {
  std::vector<std::optional<double>> numbers;
  for (size_t i = std::min(records.size(), kTrendMax); i > 0; --i) {
    const core::RuleResult* result = FindRule(records[i - 1], rule);
    numbers.push_back(result == nullptr ? std::nullopt : result->observed_number);
  }
  return Sparkline(numbers);
}

// Each rule of the newest run in one line.
Table RulesTable(const std::vector<GateRecord>& records) {
  Table table({{"RULE", 0}, {"OBSERVED", 0}, {"MUST BE", 2}, {"OLDEST TO NEWEST", 1}});
  if (!records.front().outcome.verdict) return table;
  for (const core::RuleResult& rule : records.front().outcome.verdict->rules) {
    const StateWord word = WordOf(rule.outcome);
    table.Add({{word.symbol + " " + rule.name, word.style}, rule.observed, rule.bound, Trend(records, rule.name)});
  }
  return table;
}

std::string WhyOf(const GateRecord& record) {
  const core::Verdict& verdict = *record.outcome.verdict;
  std::string why = core::BlockingReason(verdict);
  for (const core::Override& one : verdict.overrides) {
    why += (why.empty() ? "" : ", ") + one.rule + " overridden by " + one.by;
  }
  return why;
}

Table RunsTable(const std::vector<GateRecord>& records, const std::string& rule, UtcTime now) {
  Table table(rule.empty()
                  ? std::vector<Column>{{"RUN", 0}, {"VERDICT", 0}, {"AGE", 1}, {"LANE", 3}, {"WHY", 2}}
                  : std::vector<Column>{{"RUN", 0}, {"VERDICT", 0}, {"AGE", 1}, {"OBSERVED", 0}, {"MUST BE", 2},
                                        {"N", 3}, {"COMPARED WITH", 4}});
  for (const GateRecord& record : records) {
    if (!record.outcome.verdict) continue;
    const core::RuleResult* result = FindRule(record, rule);
    const std::string age = AgeText(record.at, now);
    if (rule.empty()) {
      const StateWord word = WordOf(record.outcome.verdict->outcome);
      table.Add({record.run, {word.text(), word.style}, age, record.lane, WhyOf(record)});
    } else if (result == nullptr) {
      table.Add({record.run, {"○ no such rule", Style::kDim}, age, "", "", "", ""});
    } else {
      const StateWord word = WordOf(result->outcome);
      table.Add({record.run, {word.text(), word.style}, age, result->observed, result->bound,
                 result->sample_size ? std::to_string(*result->sample_size) : "", result->baseline});
    }
  }
  return table;
}

int History(Invocation& invocation) {
  const absl::StatusOr<int> limit = invocation.Number("limit", 20, 1, 1000);
  if (!limit.ok()) return invocation.Fail(limit.status());
  const std::string pipeline = invocation.arguments.One("PIPELINE");
  const std::string rule = invocation.arguments.One("rule");
  auto records = invocation.Gates().GateHistory(pipeline, invocation.arguments.One("GATE"), *limit);
  if (!records.ok()) {
    return invocation.Fail(records.status(), IfNotFound(records.status(), {"Its runs", "cd4ml run list --pipeline " + pipeline}));
  }
  for (GateRecord& record : *records) {
    if (rule.empty() || !record.outcome.verdict) continue;
    std::erase_if(record.outcome.verdict->rules, [&](const core::RuleResult& one) { return one.name != rule; });
  }
  const bool is_known = rule.empty() || std::any_of(records->begin(), records->end(), [&](const GateRecord& record) {
    return FindRule(record, rule) != nullptr;
  });
  if (!is_known) {
    return invocation.Fail(absl::NotFoundError("none of the last " + Count(*limit, "run", "runs") + " has judged a rule \"" + rule + "\""));
  }
  if (!invocation.is_json() && invocation.format != OutputFormat::kName) {
    if (rule.empty()) {
      invocation.PrintTable(RulesTable(*records));
      invocation.out.Line();
    } else {
      invocation.out.Line(SafeLine(rule) + "  " + Trend(*records, rule) + "  oldest to newest");
    }
  }
  invocation.PrintList(
      *records, [](const GateRecord& record) { return SafeLine(record.run); }, invocation.ports.json.gate_record,
      RunsTable(*records, rule, invocation.ports.clock.Now()), "no run has judged it");
  return kExitOk;
}

// --- overrides ---

constexpr Duration kLasting{24 * 3'600'000};

std::string StateText(const OverrideView& view) {
  const core::OverrideRecord& record = view.record;
  if (view.state == "revoked") return "revoked by " + record.revoked_by;
  return view.state + (view.state == "in force" ? " until " + MinuteText(record.expires) : "");
}

int Answer(Invocation& invocation, const absl::StatusOr<OverrideView>& view, const Hint& where) {
  if (!view.ok()) return invocation.Fail(view.status(), IfNotFound(view.status(), where));
  if (invocation.is_json()) {
    invocation.PrintJson(invocation.ports.json.override_view(*view));
    return kExitOk;
  }
  const core::OverrideRecord& record = view->record;
  invocation.out.Line(invocation.out.Paint("✔", Style::kGood) + " " +
                      SafeLine("override " + std::to_string(record.id) + " of " + record.gate + "." + record.rule + " in " +
                               record.pipeline + " by " + record.by + ": " + StateText(*view) + (view->state == "in force" ? " UTC" : "")));
  if (view->state == "in force") {
    invocation.Hints({{"Judge it again", "cd4ml run retry " + record.run},
                      {"Take it back", "cd4ml gate revoke " + std::to_string(record.id)}});
  }
  return kExitOk;
}

int Override(Invocation& invocation) {
  absl::StatusOr<Duration> lasting = invocation.Span("expires");
  if (!lasting.ok()) return invocation.Fail(lasting.status());
  if (invocation.arguments.Has("expires") && *lasting <= Duration(0))
    return invocation.FailUsage("an override that is over when it begins does nothing; give --expires a time like 2h");
  OverrideRequest request;
  request.run = invocation.arguments.One("RUN");
  request.gate = invocation.arguments.One("STAGE");
  request.rule = invocation.arguments.One("RULE");
  request.reason = invocation.arguments.One("reason");
  request.by = invocation.arguments.One("by", invocation.ports.user);
  request.lasting = lasting->count() == 0 ? kLasting : *lasting;
  if (request.reason.empty()) return invocation.FailUsage("an override needs --reason TEXT, which is kept and shown");
  const std::string run = request.run;
  const auto view = invocation.Await<OverrideView>([&](Done<OverrideView> done) {
    invocation.Gates().OverrideRule(std::move(request), std::move(done));
  });
  return Answer(invocation, view, {"The run's gates", "cd4ml run show " + run});
}

int Revoke(Invocation& invocation) {
  const std::string text = invocation.arguments.One("ID");
  const bool is_number = !text.empty() && text.size() < 18 && text.find_first_not_of("0123456789") == std::string::npos;
  if (!is_number) return invocation.FailUsage("\"" + text + "\" is no number of an override; see cd4ml gate overrides");
  const auto view = invocation.Await<OverrideView>([&](Done<OverrideView> done) {
    invocation.Gates().RevokeOverride(std::stoll(text), invocation.arguments.One("by", invocation.ports.user), std::move(done));
  });
  return Answer(invocation, view, {"Overrides", "cd4ml gate overrides"});
}

int Overrides(Invocation& invocation) {
  const std::string pipeline = invocation.arguments.One("PIPELINE");
  const auto views = invocation.Gates().ListOverrides(pipeline);
  if (!views.ok()) return invocation.Fail(views.status(), IfNotFound(views.status(), {"Pipelines", "cd4ml pipeline list"}));
  Table table({{"ID", 0}, {"PIPELINE", 3}, {"RULE", 0}, {"STATE (UTC)", 0}, {"BY", 1}, {"REASON", 2}, {"RUN", 4}, {"SINCE (UTC)", kOnlyWide}});
  for (const OverrideView& view : *views) {
    const core::OverrideRecord& record = view.record;
    const bool counts = view.state != "expired" && view.state != "revoked";
    table.Add({std::to_string(record.id), record.pipeline, record.gate + "." + record.rule,
               {StateText(view), counts ? Style::kWarn : Style::kDim}, record.by, record.reason, record.run,
               MinuteText(record.at)});
  }
  invocation.PrintList(
      *views, [](const OverrideView& view) { return std::to_string(view.record.id); }, invocation.ports.json.override_view, table,
      "nothing is overridden");
  return kExitOk;
}

const Option kBy = {"--by", "NAME", "who; without it: the user of this program"};

}  // namespace

Command GateHistory() {
  return {.path = "gate history",
          .group = kGroup,
          .summary = "show what a gate found in its last runs",
          .examples = {"gate history used-car-price model-gate", "gate history used-car-price model-gate --rule mae"},
          .operands = {{"PIPELINE", "name of a pipeline"}, {"GATE", "name of a gate's stage"}},
          .options = {{"--rule", "RULE", "only what this rule found"},
                      {"--limit", "N", "at most so many runs (1 to 1000); without it: 20"}},
          .perform = History};
}

Command GateOverride() {
  return {.path = "gate override",
          .group = kGroup,
          .summary = "take it upon yourself that a rule does not block",
          .examples = {"gate override used-car-price/12 model-gate mae --reason \"new tax\""},
          .operands = {{"RUN", "a run that was judged, like used-car-price/2"},
                       {"STAGE", "the gate's stage"},
                       {"RULE", "the rule, as the verdict names it"}},
          .options = {{"--reason", "TEXT", "why; kept, and shown with every run that it lets pass"},
                      {"--expires", "DUR", "how long it holds, like 2h or 7d; without it: 24h"},
                      kBy},
          .perform = Override,
          .details = "It holds for the rule of this pipeline's gate, in every run, until it expires. The rule is "
                     "judged as ever; when it blocks, it only warns, and the verdict names who overrode it. Where a "
                     "policy of the server wants several people, each of them gives this command."};
}

Command GateOverrides() {
  return {.path = "gate overrides",
          .group = kGroup,
          .summary = "list who overrode which rule, newest first",
          .examples = {"gate overrides", "gate overrides used-car-price -o json"},
          .operands = {{"PIPELINE", "only of this pipeline", false}},
          .perform = Overrides};
}

Command GateRevoke() {
  return {.path = "gate revoke",
          .group = kGroup,
          .summary = "take an override back",
          .examples = {"gate revoke 3"},
          .operands = {{"ID", "number of an override, as `cd4ml gate overrides` shows it"}},
          .options = {kBy},
          .perform = Revoke};
}

}  // namespace cd4ml::cli
