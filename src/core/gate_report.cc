// The page of a gate: first whether it passed and why not, then every rule, then what stands behind them.
#include "cd4ml/core/gate_report.h"

#include <algorithm>
#include <cmath>

#include "cd4ml/core/metrics.h"
#include "core/charts.h"

namespace cd4ml::core {
namespace {

constexpr size_t kRulesMax = 500;
constexpr size_t kColumnsMax = 60;
constexpr size_t kSlicesMax = 25;
constexpr size_t kPointsMax = 2'000;
constexpr size_t kValuesMax = 8;

// Where a population stability index is read as "moved a little" and "has moved".
constexpr double kDriftNoted = 0.1, kDriftLarge = 0.25;

// No rule reaches outside of the page: whoever puts markup into a name gains nothing.
constexpr char kHead[] = R"(<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"/>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/><meta name="color-scheme" content="light dark"/>
)";

constexpr char kStyle[] = R"(<style>
:root{--ink:#1c2430;--soft:#5b6675;--line:#dfe4ea;--page:#f6f7f9;--card:#fff;--now:#3b73c8;--before:#c06a12;
--good:#18794e;--goodbg:#e3f4ea;--warn:#8a5a00;--warnbg:#fdf1d3;--bad:#b3261e;--badbg:#fce8e6;--rail:#eceff3}
@media (prefers-color-scheme:dark){:root{--ink:#e6eaf0;--soft:#9aa6b5;--line:#2c3542;--page:#12161c;--card:#1a2029;
--now:#6ea2ee;--before:#f0a24e;--good:#63d297;--goodbg:#12301f;--warn:#f2c14e;--warnbg:#33290d;--bad:#ff8a80;
--badbg:#3a1715;--rail:#252d38}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;
overflow-wrap:anywhere}
main{max-width:1080px;margin:0 auto;padding:20px 16px 48px}
header{margin:8px 0 20px}
h1{font-size:1.55rem;line-height:1.2;margin:2px 0 10px}
h2{font-size:1.1rem;margin:34px 0 12px}
h3{font-size:.95rem;margin:0 0 2px}
p{margin:0}
.over,.note{color:var(--soft);font-size:.85rem}
.badge{display:inline-block;padding:3px 12px;border-radius:999px;font-weight:600}
.pass{color:var(--good);background:var(--goodbg)}.warn{color:var(--warn);background:var(--warnbg)}
.fail,.error{color:var(--bad);background:var(--badbg)}
.why{margin-top:12px;padding:12px 14px;border-left:4px solid var(--bad);background:var(--badbg);border-radius:4px}
.override{margin-top:12px;padding:12px 14px;border-left:4px solid var(--warn);background:var(--warnbg);border-radius:4px}
.tiles{display:flex;flex-wrap:wrap;gap:10px;margin-top:16px}
.tile{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:8px 14px;min-width:96px}
.tile b{display:block;font-size:1.35rem;line-height:1.2;font-variant-numeric:tabular-nums}
.rule,.card{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:12px 14px}
.rule{margin-bottom:8px;display:grid;grid-template-columns:minmax(170px,1.2fr) 2fr;gap:4px 18px}
.rule .badge{font-size:.78rem;padding:1px 9px}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(120px,1fr));gap:2px 14px;margin:0}
.facts dt{color:var(--soft);font-size:.78rem}.facts dd{margin:0;font-variant-numeric:tabular-nums}
.rule .more{grid-column:1/-1}
.rows{margin:6px 0 0;padding:8px 12px;background:var(--page);border-radius:6px;list-style:none;font:12.5px/1.5 ui-monospace,
SFMono-Regular,Menlo,Consolas,monospace}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(270px,1fr));gap:12px;align-items:start}
.grid+.grid,.card+.grid{margin-top:12px}
.chart{display:block;width:100%;height:auto;margin-top:6px}
.chart text{font-size:10px;fill:var(--soft)}
.now{fill:var(--now)}.bad,.cut{fill:var(--bad)}.mark{fill:var(--before)}.rail{fill:var(--rail)}
path{fill:none}
.axis{stroke:var(--soft);stroke-width:1}.before{stroke:var(--before);stroke-width:1.6}
.diagonal{stroke:var(--before);stroke-width:1.2;stroke-dasharray:5 4}
.dots{stroke:var(--now);stroke-width:3.2;stroke-linecap:round;stroke-opacity:.45}
.limit{stroke:var(--bad);fill:var(--bad);stroke-width:1}
.interval{stroke:var(--now);stroke-width:6;stroke-linecap:round}
.bars{list-style:none;margin:6px 0 0;padding:0}
.bars li{display:grid;grid-template-columns:1fr auto;gap:0 10px;padding:3px 0;font-size:.88rem}
.bars svg{grid-column:1/-1;width:100%;height:8px;border-radius:3px}
.bars .value{text-align:right;font-variant-numeric:tabular-nums}
.more .chart{max-width:380px}
.key{display:inline-block;width:14px;height:0;border-top:3px solid var(--now);vertical-align:middle;margin-right:5px}
.key.old{border-color:var(--before)}
@media (max-width:560px){main{padding:12px 10px 32px}.rule{grid-template-columns:1fr}h1{font-size:1.3rem}}
@media print{:root{--ink:#000;--soft:#444;--line:#bbb;--page:#fff;--card:#fff;--now:#3b73c8;--before:#c06a12;--good:#18794e;
--goodbg:#fff;--warn:#8a5a00;--warnbg:#fff;--bad:#b3261e;--badbg:#fff;--rail:#eee}
main{max-width:none;padding:0}.rule,.card,.tile{break-inside:avoid}h2{break-after:avoid}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
</style>
)";

struct Word {
  std::string_view style, symbol, text;
};
Word WordOf(VerdictOutcome outcome) {
  switch (outcome) {
    case VerdictOutcome::kPass:
      return {"pass", "✔", "passed"};
    case VerdictOutcome::kWarn:
      return {"warn", "!", "warning"};
    case VerdictOutcome::kFail:
      return {"fail", "✗", "rejected"};
    case VerdictOutcome::kError:
      return {"error", "✗", "not judged"};
  }
  return {"error", "?", "unknown"};
}

std::string Badge(VerdictOutcome outcome) {
  const Word word = WordOf(outcome);
  return "<span class=\"badge " + std::string(word.style) + "\">" + std::string(word.symbol) + " " +
         std::string(word.text) + "</span>";
}

// "data_gate" -> "data gate"
std::string Spaced(std::string text) {
  std::replace(text.begin(), text.end(), '_', ' ');
  return text;
}

std::string Percent(double share) { return FormatNumber(std::round(1000 * share) / 10) + "%"; }

// 1234567 -> "1,234,567"
std::string Count(int64_t count) {
  std::string text = std::to_string(count);
  for (size_t at = text.size(); at > 3 + (text[0] == '-' ? 1 : 0); at -= 3) text.insert(at - 3, ",");
  return text;
}

std::string Note(const std::string& text) { return "<p class=\"note\">" + Escaped(text) + "</p>"; }

std::string More(size_t all, size_t shown, const std::string& what) {
  return all <= shown ? "" : Note(Count(static_cast<int64_t>(all - shown)) + " more " + what + " are not shown");
}

std::string Fact(const std::string& name, const std::string& value) {
  return value.empty() ? "" : "<div><dt>" + name + "</dt><dd>" + Escaped(value) + "</dd></div>";
}

std::string Tile(int64_t count, const std::string& what) {
  return "<div class=\"tile\"><b>" + Count(count) + "</b><span class=\"note\">" + what + "</span></div>";
}

// --- the verdict ---

std::string Header(const GateReport& report) {
  const Verdict& verdict = report.verdict;
  std::string out = "<header><p class=\"over\">" + Escaped(report.title) + " · " + Escaped(Spaced(report.kind)) +
                    "</p><h1>" + Escaped(report.gate) + "</h1>" + Badge(verdict.outcome);
  if (const std::string why = BlockingReason(verdict); !why.empty()) out += "<p class=\"why\">" + Escaped(why) + "</p>";
  for (const Override& one : verdict.overrides) {
    out += "<p class=\"override\"><b>Overridden: " + Escaped(one.rule) + "</b> by " + Escaped(one.by) + " on " +
           FormatTime(one.at).substr(0, 10) + ", until " + FormatTime(one.expires).substr(0, 10) + ": " +
           Escaped(one.reason) + "</p>";
  }
  int64_t counts[4] = {};
  for (const RuleResult& rule : verdict.rules) ++counts[static_cast<size_t>(rule.outcome)];
  out += "<div class=\"tiles\">" + Tile(static_cast<int64_t>(verdict.rules.size()), "rules");
  for (const VerdictOutcome outcome :
       {VerdictOutcome::kPass, VerdictOutcome::kWarn, VerdictOutcome::kFail, VerdictOutcome::kError}) {
    const int64_t count = counts[static_cast<size_t>(outcome)];
    const bool is_shown = count > 0 || outcome == VerdictOutcome::kPass;
    if (is_shown)
      out += Tile(count, outcome == VerdictOutcome::kWarn ? "with a warning" : std::string(WordOf(outcome).text));
  }
  if (!verdict.segments.empty()) out += Tile(static_cast<int64_t>(verdict.segments.size()), "segments qualify");
  return out + "</div></header>\n";
}

std::string RuleCard(const RuleResult& rule) {
  std::string baseline = rule.baseline;
  if (rule.baseline_number) baseline += (baseline.empty() ? "" : ": ") + FormatNumber(*rule.baseline_number);
  std::string interval;
  if (rule.interval) interval = FormatNumber(rule.interval->low) + " .. " + FormatNumber(rule.interval->high);
  std::string out = "<section class=\"rule\"><div>" + Badge(rule.outcome) + "<h3>" + Escaped(rule.name) + "</h3>" +
                    Note(rule.form + (rule.subject.empty() || rule.subject == rule.name ? "" : " · " + rule.subject)) +
                    "</div>";
  out += "<dl class=\"facts\">" + Fact("observed", rule.observed) + Fact("must be", rule.bound) +
         Fact("rows", rule.sample_size ? Count(*rule.sample_size) : "") + Fact("compared with", baseline) +
         Fact(rule.confidence ? "interval at " + Percent(*rule.confidence) : "interval", interval) + "</dl>";
  std::string more;
  if (rule.interval && std::isfinite(rule.interval->low) && std::isfinite(rule.interval->high))
    more += IntervalChart(*rule.interval);
  if (!rule.message.empty() && rule.outcome != VerdictOutcome::kPass) more += "<p>" + Escaped(rule.message) + "</p>";
  if (!rule.rows.empty()) {
    more += "<ul class=\"rows\">";
    for (const std::string& row : rule.rows) more += "<li>" + Escaped(row) + "</li>";
    more += "</ul>";
  }
  return out + (more.empty() ? "" : "<div class=\"more\">" + more + "</div>") + "</section>\n";
}

// What blocks comes first; within, the order of the names stays.
std::string Rules(const Verdict& verdict) {
  std::vector<const RuleResult*> rules;
  for (const RuleResult& rule : verdict.rules) rules.push_back(&rule);
  std::stable_sort(rules.begin(), rules.end(), [](const auto* a, const auto* b) { return a->outcome > b->outcome; });
  std::string out = "<h2>Rules</h2>\n";
  for (size_t i = 0; i < std::min(rules.size(), kRulesMax); ++i) out += RuleCard(*rules[i]);
  return out + More(rules.size(), kRulesMax, "rules");
}

// --- tables ---

std::string Legend(const ReportTable& table) {
  if (!table.reference) return "";
  return "<p class=\"note\"><span class=\"key\"></span>now, " + Count(table.profile.rows) +
         " rows &#160; <span class=\"key old\"></span>" + Escaped(table.baseline) + ", " +
         Count(table.reference->rows) + " rows</p>";
}

double ShareOf(int64_t count, int64_t rows) {
  return static_cast<double>(count) / static_cast<double>(std::max<int64_t>(1, rows));
}

std::string TopValues(const ColumnProfile& now, const ColumnProfile* before) {
  std::vector<std::pair<int64_t, std::string>> values;
  for (const auto& [value, count] : now.top) values.push_back({-count, value});
  std::sort(values.begin(), values.end());
  std::vector<Bar> bars;
  for (size_t i = 0; i < std::min(values.size(), kValuesMax); ++i) {
    Bar bar{values[i].second,
            Percent(ShareOf(-values[i].first, now.rows)),
            "",
            ShareOf(-values[i].first, now.rows),
            std::nullopt,
            false};
    if (before != nullptr) {
      const auto found = before->top.find(values[i].second);
      bar.mark = found == before->top.end() ? 0 : ShareOf(found->second, before->rows);
    }
    bars.push_back(std::move(bar));
  }
  return BarChart(bars);
}

std::string ColumnCard(const std::string& name, const ColumnProfile& now, const ColumnProfile* before) {
  if (before != nullptr && before->numeric != now.numeric) before = nullptr;
  std::string about = (now.type.empty() ? "" : now.type + ", ") + Percent(ShareOf(now.nulls, now.rows)) + " empty";
  if (now.distinct > 0) about += ", " + Count(now.distinct) + " different";
  if (now.numeric && now.nulls < now.rows)
    about += ", " + Rounded(now.min) + " .. " + Rounded(now.max) + ", mean " + Rounded(now.mean);
  std::string out = "<section class=\"card\"><h3>" + Escaped(name) + "</h3>" + Note(about);
  const bool has_before = before != nullptr && before->nulls < before->rows;
  if (now.nulls >= now.rows) {
    out += Note("there is no value");
  } else if (now.numeric) {
    out += HistogramChart("distribution of " + name, now, has_before ? before : nullptr);
  } else {
    out += TopValues(now, has_before ? before : nullptr) +
           More(now.top.size() + (now.other > 0 ? 1 : 0), kValuesMax, "values");
  }
  return out + "</section>\n";
}

// How far each column has moved from the baseline, by the two profiles alone.
std::string Drift(const ReportTable& table) {
  std::vector<std::pair<double, std::string>> moved;
  for (const auto& [name, now] : table.profile.columns) {
    const auto before = table.reference->columns.find(name);
    if (before == table.reference->columns.end() || before->second.numeric != now.numeric) continue;
    if (before->second.rows == 0 || now.rows == 0) continue;
    moved.push_back({-PopulationStabilityIndex(before->second, Rebinned(before->second, now)), name});
  }
  std::sort(moved.begin(), moved.end());
  std::vector<Bar> bars;
  for (size_t i = 0; i < std::min(moved.size(), kSlicesMax); ++i) {
    const double psi = -moved[i].first;
    bars.push_back({moved[i].second, FormatNumber(std::round(1000 * psi) / 1000),
                    psi > kDriftLarge   ? "has moved"
                    : psi > kDriftNoted ? "has moved a little"
                                        : "",
                    psi, std::nullopt, psi > kDriftLarge});
  }
  if (bars.empty()) return "";
  return "<section class=\"card\"><h3>Drift by column</h3>" +
         Note("population stability index, estimated from the two profiles; the line is at " +
              FormatNumber(kDriftLarge)) +
         BarChart(bars, kDriftLarge) + More(moved.size(), kSlicesMax, "columns") + "</section>\n";
}

std::string Table(const ReportTable& table) {
  std::string out = "<h2>Table " + Escaped(table.name) + "</h2>" +
                    (table.reference ? Legend(table) : Note(Count(table.profile.rows) + " rows"));
  if (table.reference) out += Drift(table);
  out += "<div class=\"grid\">";
  size_t shown = 0;
  for (const auto& [name, column] : table.profile.columns) {
    if (++shown > kColumnsMax) break;
    const ColumnProfile* before = nullptr;
    if (table.reference) {
      const auto found = table.reference->columns.find(name);
      if (found != table.reference->columns.end()) before = &found->second;
    }
    out += ColumnCard(name, column, before);
  }
  return out + "</div>" + More(table.profile.columns.size(), kColumnsMax, "columns");
}

// --- predictions and requests ---

bool IsOutside(double number, const ReportSlices& slices) {
  return !std::isfinite(number) || (slices.min && number < *slices.min) || (slices.max && number > *slices.max);
}

std::string Slices(const ReportSlices& slices) {
  std::vector<ReportSlices::Slice> sorted = slices.slices;
  // What is outside first, then the largest: NaN does not compare.
  const auto key = [&](const ReportSlices::Slice& slice) {
    return std::pair(!IsOutside(slice.number, slices),
                     std::isfinite(slice.number) ? -std::abs(slice.number) : -HUGE_VAL);
  };
  std::stable_sort(sorted.begin(), sorted.end(), [&](const auto& a, const auto& b) { return key(a) < key(b); });
  std::vector<Bar> bars;
  for (size_t i = 0; i < std::min(sorted.size(), kSlicesMax); ++i) {
    const bool is_bad = IsOutside(sorted[i].number, slices);
    bars.push_back({sorted[i].value, Rounded(sorted[i].number), "n=" + Count(sorted[i].count),
                    std::abs(sorted[i].number), std::nullopt, is_bad});
  }
  const std::optional<double> limit = slices.max && *slices.max >= 0 ? slices.max : std::nullopt;
  return "<section class=\"card\"><h3>" + Escaped(slices.metric + " by " + slices.column) + "</h3>" +
         (slices.bound.empty() ? "" : Note("must be " + slices.bound)) + BarChart(bars, limit) +
         More(sorted.size(), kSlicesMax, "slices") + "</section>\n";
}

std::string Scatter(const GateEvidence& evidence) {
  std::vector<ReportPoint> points = evidence.points;
  points.resize(std::min(points.size(), kPointsMax));
  const bool any = std::any_of(points.begin(), points.end(), [](const ReportPoint& point) {
    return std::isfinite(point.truth) && std::isfinite(point.prediction);
  });
  if (!any) return "";
  const int64_t all = std::max(evidence.predictions, static_cast<int64_t>(points.size()));
  return "<section class=\"card\"><h3>Prediction and truth</h3>" +
         Note("a sample of " + Count(static_cast<int64_t>(points.size())) + " of " + Count(all) +
              " rows; on the dashed line, both are the same") +
         ScatterChart(points) + "</section>\n";
}

std::string Latency(std::vector<double> latencies) {
  std::erase_if(latencies, [](double ms) { return !std::isfinite(ms) || ms < 0; });
  if (latencies.empty()) return "";
  const std::string about = Count(static_cast<int64_t>(latencies.size())) + " requests";
  return "<section class=\"card\"><h3>Latency</h3>" + Note(about) + LatencyChart(std::move(latencies)) + "</section>\n";
}

}  // namespace

std::vector<ReportSlices> SlicesOf(const std::vector<Rule>& rules, const MetricSet& metrics) {
  std::vector<ReportSlices> all;
  for (const Rule& rule : rules) {
    const auto* metric = std::get_if<MetricRule>(&rule.body);
    if (metric == nullptr || metric->slice.empty()) continue;
    const std::optional<std::vector<SliceMetrics>> found = FindSlices(metrics, metric->slice, metric->metric);
    if (!found) continue;
    ReportSlices slices{.column = metric->slice,
                        .metric = metric->metric,
                        .bound = "",
                        .min = metric->value.min,
                        .max = metric->value.max,
                        .slices = {}};
    if (metric->value.is_set()) slices.bound = FormatBounds(metric->value, "");
    for (const SliceMetrics& slice : *found) {
      const auto number = slice.metrics.find(metric->metric);
      if (number != slice.metrics.end() && slice.count >= metric->min_samples)
        slices.slices.push_back({slice.value, slice.count, number->second});
    }
    all.push_back(std::move(slices));
  }
  return all;
}

void ShowPredictions(const MetricSet& metrics, GateEvidence& evidence) {
  if (metrics.predictions == nullptr || metrics.predictions->task != PredictionTask::kRegression) return;
  const Predictions& predictions = *metrics.predictions;
  const size_t rows = std::min(predictions.truth.size(), predictions.candidate.numbers.size());
  const size_t step = std::max<size_t>(1, rows / kPointsMax);
  for (size_t i = 0; i < rows && evidence.points.size() < kPointsMax; i += step) {
    evidence.points.push_back({predictions.truth[i], predictions.candidate.numbers[i]});
  }
  evidence.predictions = static_cast<int64_t>(rows);
}

std::string GateReportHtml(const GateReport& report) {
  const GateEvidence& evidence = report.evidence;
  std::string out = kHead;
  out += "<title>" + Escaped(report.gate + " · " + report.title) + "</title>\n" + kStyle + "</head><body><main>\n" +
         Header(report) + Rules(report.verdict);
  std::string predictions = Scatter(evidence);
  for (const ReportSlices& slices : evidence.slices) predictions += Slices(slices);
  if (!predictions.empty()) out += "<h2>Predictions</h2><div class=\"grid\">" + predictions + "</div>\n";
  if (const std::string latency = Latency(evidence.latencies_ms); !latency.empty()) {
    out += "<h2>Requests</h2><div class=\"grid\">" + latency + "</div>\n";
  }
  for (const ReportTable& table : evidence.tables) out += Table(table);
  if (!report.verdict.segments.empty()) {
    out += "<h2>Segments that qualify</h2><ul class=\"rows\">";
    for (size_t i = 0; i < std::min(report.verdict.segments.size(), kRulesMax); ++i)
      out += "<li>" + Escaped(report.verdict.segments[i]) + "</li>";
    out += "</ul>" + More(report.verdict.segments.size(), kRulesMax, "segments");
  }
  return out + "</main></body></html>\n";
}

}  // namespace cd4ml::core
