// Rules as a table that fits the terminal.
#include "cli/gate_text.h"

#include <algorithm>
#include <cmath>

#include "cd4ml/core/gate.h"
#include "cli/table.h"
#include "cli/text.h"
#include "cli/words.h"

namespace cd4ml::cli {
namespace {

constexpr size_t kOffendersMax = 5;

// "used-car-price/1: 1513.2"
std::string BaselineText(const core::RuleResult& rule) {
  if (!rule.baseline_number) return rule.baseline;
  return rule.baseline + (rule.baseline.empty() ? "" : ": ") + core::FormatNumber(*rule.baseline_number);
}

// "-20.5 .. 310 (95%)"
std::string IntervalText(const core::RuleResult& rule) {
  if (!rule.interval) return "";
  const std::string text = core::FormatNumber(rule.interval->low) + " .. " + core::FormatNumber(rule.interval->high);
  return rule.confidence ? text + " (" + core::FormatNumber(std::round(1000 * *rule.confidence) / 10) + "%)" : text;
}

// Returns a text that may hold values of data, with its line breaks as one reads them: on a terminal, what stands before
// them would be lost.
std::string Visible(const std::string& text) {
  std::string visible;
  for (const char c : text) visible += c == '\r' ? "\\r" : c == '\n' ? "\\n" : std::string(1, c);
  return visible;
}

void PrintOffenders(const Terminal& out, const core::RuleResult& rule) {
  if (rule.outcome == core::VerdictOutcome::kPass) return;
  if (!rule.message.empty()) out.Line(SafeLine("  " + rule.name + ": " + Visible(rule.message)));
  for (size_t i = 0; i < std::min(kOffendersMax, rule.rows.size()); ++i) out.Line(SafeLine("    " + Visible(rule.rows[i])));
}

}  // namespace

void PrintRules(const Terminal& out, const core::Verdict& verdict, bool wide) {
  const bool any_interval = std::any_of(verdict.rules.begin(), verdict.rules.end(),
                                        [](const core::RuleResult& rule) { return rule.interval.has_value(); });
  std::vector<Column> columns = {{"", 0}, {"", 0}, {"", 0}, {"", 2}, {"", 3}};
  if (any_interval) columns.push_back({"", 4});
  Table table(columns);
  for (const core::RuleResult& rule : verdict.rules) {
    const StateWord word = WordOf(rule.outcome);
    const std::string sample = rule.sample_size ? "n=" + std::to_string(*rule.sample_size) : "";
    std::vector<Cell> row = {
        {word.symbol + " " + rule.name, word.style}, Visible(rule.observed), Visible(rule.bound), sample, BaselineText(rule)};
    if (any_interval) row.push_back(IntervalText(rule));
    table.Add(std::move(row));
  }
  table.Print(out, {.width = out.width(), .headers = false, .wide = wide, .indent = "  "});
  for (const core::RuleResult& rule : verdict.rules) PrintOffenders(out, rule);
  for (const core::Override& one : verdict.overrides) {
    out.Line(out.Paint(SafeLine("  ! " + one.rule + " is overridden by " + one.by + " until " + MinuteText(one.expires) +
                                " UTC: " + one.reason), Style::kWarn));
  }
}

}  // namespace cd4ml::cli
