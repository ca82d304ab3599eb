// The page of a gate: what it shows, that it is one well-formed document, and that nothing in it can run or reach out.
#include "cd4ml/core/gate_report.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "cd4ml/core/metrics.h"
#include "cd4ml/xml/parse_xml.h"
#include "core/charts.h"

namespace cd4ml::core {
namespace {

using enum VerdictOutcome;

RuleResult Result(std::string name, VerdictOutcome outcome) {
  RuleResult result;
  result.name = std::move(name);
  result.form = "metric";
  result.outcome = outcome;
  return result;
}

ColumnProfile Numbers(std::vector<double> edges, std::vector<int64_t> counts, double min, double max) {
  ColumnProfile column;
  column.numeric = true;
  column.type = "DOUBLE";
  column.edges = std::move(edges);
  column.counts = std::move(counts);
  column.min = min;
  column.max = max;
  for (const int64_t count : column.counts) column.rows += count;
  return column;
}

ColumnProfile Words(std::map<std::string, int64_t> top, int64_t other, int64_t nulls) {
  ColumnProfile column;
  column.type = "VARCHAR";
  column.top = std::move(top);
  column.other = other;
  column.nulls = nulls;
  column.rows = other + nulls;
  for (const auto& [value, count] : column.top) column.rows += count;
  return column;
}

// A report with everything in it; `text` is put wherever users may write.
GateReport Full(const std::string& text) {
  GateReport report;
  report.title = "used-car-price/12 " + text;
  report.gate = "error-gate " + text;
  report.kind = "model_gate";
  RuleResult mae = Result("mae " + text, kFail);
  mae.subject = "mae by " + text;
  mae.observed = "2710.4 " + text;
  mae.bound = "<= 1200 " + text;
  mae.sample_size = 31200;
  mae.baseline = "used-car-price/9 " + text;
  mae.baseline_number = 1513.2;
  mae.confidence = 0.95;
  mae.interval = Interval{-20.5, 310};
  mae.message = "worse than the champion " + text;
  mae.rows = {"lada: 6120.5 (n=214) " + text};
  report.verdict = Conclude({mae, Result("r2", kPass), Result("drift", kWarn), Result("parity", kError)});
  report.verdict.segments = {"bmw/x5 " + text};
  report.verdict.overrides = {{.rule = "mae " + text, .by = "ana " + text, .reason = "known " + text, .at = {1'700'000'000'000},
                               .expires = {1'800'000'000'000}}};
  ReportTable table{.name = "clean " + text, .profile = {}, .baseline = "used-car-price/9 " + text, .reference = TableProfile()};
  table.profile.rows = 100;
  table.profile.columns["price " + text] = Numbers({10, 20}, {30, 50, 20}, 0, 40);
  table.profile.columns["brand " + text] = Words({{"bmw " + text, 60}, {"vw", 20}}, 15, 5);
  table.reference->rows = 50;
  table.reference->columns["price " + text] = Numbers({15, 30}, {10, 10, 30}, 0, 60);
  table.reference->columns["brand " + text] = Words({{"bmw " + text, 30}, {"vw", 20}}, 0, 0);
  report.evidence.tables = {table};
  report.evidence.slices = {{.column = "model " + text, .metric = "mae", .bound = "<= 1200 " + text, .min = std::nullopt, .max = 1200,
                             .slices = {{"golf " + text, 214, 900}, {"lada", 30, 6120.5}, {"none", 3, std::nan("")}}}};
  report.evidence.points = {{1000, 1200}, {2000, 1900}, {3000, std::nan("")}};
  report.evidence.predictions = 31200;
  report.evidence.latencies_ms = {1.5, 2, 2.5, 30, 400};
  return report;
}

// The page below its first line, which is no XML.
absl::StatusOr<XmlElement> Parse(const std::string& page) { return xml::ParseXml(page.substr(page.find('\n') + 1)); }

// Returns whether `wanted` holds for some element.
template <typename Wanted>
bool Any(const XmlElement& element, const Wanted& wanted) {
  return wanted(element) || std::any_of(element.children.begin(), element.children.end(),
                                        [&](const XmlElement& child) { return Any(child, wanted); });
}

int Occurrences(const std::string& page, std::string_view text) {
  int count = 0;
  for (size_t at = page.find(text); at != std::string::npos; at = page.find(text, at + 1)) ++count;
  return count;
}

TEST(GateReport, IsOneWellFormedDocumentWithEverythingInIt) {
  const std::string page = GateReportHtml(Full(""));

  EXPECT_TRUE(page.starts_with("<!DOCTYPE html>\n"));
  const absl::StatusOr<XmlElement> root = Parse(page);
  ASSERT_TRUE(root.ok()) << root.status();
  for (const char* text : {"✗ not judged", "2710.4", "&lt;= 1200", "used-car-price/9 : 1513.2", "-20.5 .. 310", "interval at 95%",
                           "lada: 6120.5 (n=214)", "Overridden: mae", "until 2027-01-15", "Drift by column", "mae by model",
                           "a sample of 3 of 31,200 rows", "5 requests", "p95 400 ms", "bmw/x5", "n=214"}) {
    EXPECT_GE(Occurrences(page, text), 1) << text;
  }
  EXPECT_EQ(Occurrences(page, "class=\"rule\""), 4);
  EXPECT_EQ(Occurrences(page, "class=\"chart\""), 4);   // Interval, histogram, scatter, latency.
}

TEST(GateReport, IsTheSameForTheSameVerdict) { EXPECT_EQ(GateReportHtml(Full("x")), GateReportHtml(Full("x"))); }

TEST(GateReport, NothingInItRunsOrReachesOut) {
  const absl::StatusOr<XmlElement> root = Parse(GateReportHtml(Full("\"><script>alert(1)</script><img src=x onerror=alert(1)>'")));

  ASSERT_TRUE(root.ok()) << root.status();
  EXPECT_FALSE(Any(*root, [](const XmlElement& element) {
    static const std::vector<std::string> kHarmful = {"script", "img", "iframe", "object", "embed", "link", "a", "form", "image", "use"};
    return std::find(kHarmful.begin(), kHarmful.end(), element.name) != kHarmful.end() ||
           std::any_of(element.attributes.begin(), element.attributes.end(), [](const auto& attribute) {
             return attribute.first.starts_with("on") || attribute.first == "src" || attribute.first == "href" ||
                    attribute.first == "style";
           });
  }));
  EXPECT_TRUE(Any(*root, [](const XmlElement& element) {
    const auto found = element.attributes.find("content");
    return found != element.attributes.end() && found->second.starts_with("default-src 'none'");
  }));
}

TEST(GateReport, EscapesEveryTextOfAUser) {
  const std::string mark = "<b>&\"'\x01\xFF\xE2\x80\xAE";
  const std::string page = GateReportHtml(Full(mark));

  ASSERT_TRUE(Parse(page).ok()) << Parse(page).status();
  EXPECT_EQ(Occurrences(page, "<b>&\""), 0);
  EXPECT_GE(Occurrences(page, "&lt;b&gt;&amp;&quot;&#39;\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"), 25);
}

TEST(GateReport, HasNoHolesWhenThereIsLittle) {
  GateReport report;
  const std::string empty = GateReportHtml(report);
  ASSERT_TRUE(Parse(empty).ok());
  EXPECT_EQ(Occurrences(empty, "the gate has no rules"), 1);
  EXPECT_EQ(Occurrences(empty, "<svg"), 0);

  report.verdict = Conclude({Result("r2", kPass)});
  const std::string passed = GateReportHtml(report);
  EXPECT_EQ(Occurrences(passed, "✔ passed"), 2);
  EXPECT_EQ(Occurrences(passed, "class=\"why\""), 0);
}

TEST(GateReport, ShowsWhatBlocksFirst) {
  const std::string page = GateReportHtml(Full(""));

  EXPECT_LT(page.find("<h3>parity"), page.find("<h3>mae"));
  EXPECT_LT(page.find("<h3>mae"), page.find("<h3>drift"));
  EXPECT_LT(page.find("<h3>drift"), page.find("<h3>r2"));
}

TEST(GateReport, IsBoundedAndSaysWhatIsLeftOut) {
  GateReport report;
  std::vector<RuleResult> rules;
  for (int i = 0; i < 3000; ++i) rules.push_back(Result("rule-" + std::to_string(i), kPass));
  report.verdict = Conclude(std::move(rules));
  ReportTable table;
  for (int i = 0; i < 10'000; ++i) table.profile.columns["c" + std::to_string(i)] = Words({{"a", 1}}, 0, 0);
  report.evidence.tables = {table};
  report.evidence.points.assign(1'000'000, {1, 2});

  const std::string page = GateReportHtml(report);

  ASSERT_TRUE(Parse(page).ok());
  EXPECT_LT(page.size(), 700'000u);
  EXPECT_GE(Occurrences(page, "2,500 more rules are not shown"), 1);
  EXPECT_GE(Occurrences(page, "9,940 more columns are not shown"), 1);
  EXPECT_GE(Occurrences(page, "a sample of 2,000 of 2,000 rows"), 1);
}

TEST(GateReport, DrawsExtremeNumbersWithoutNaN) {
  GateReport report = Full("");
  report.evidence.tables[0].profile.columns["huge"] = Numbers({0}, {1, 1}, -1.7e308, 1.7e308);
  report.evidence.tables[0].profile.columns["constant"] = Numbers({7}, {9, 0}, 7, 7);
  report.evidence.tables[0].profile.columns["empty"] = Numbers({}, {0}, 0, 0);
  report.evidence.points = {{1e308, -1e308}, {1, 1}};
  report.evidence.latencies_ms = {0, 0, std::nan(""), -1, 1e12};
  report.verdict.rules[0].interval = Interval{-HUGE_VAL, HUGE_VAL};

  const std::string page = GateReportHtml(report);

  ASSERT_TRUE(Parse(page).ok());
  for (const char* text : {"\"nan", " nan", "\"inf", "Mnan", "-nan"}) EXPECT_EQ(Occurrences(page, text), 0) << text;
}

TEST(ShowPredictions, TakesEvenlySpacedRowsOfARegression) {
  auto predictions = std::make_shared<Predictions>();
  for (int i = 0; i < 10'000; ++i) {
    predictions->truth.push_back(i);
    predictions->candidate.numbers.push_back(i + 0.5);
  }
  MetricSet metrics;
  metrics.predictions = predictions;
  GateEvidence evidence;
  ShowPredictions(metrics, evidence);

  ASSERT_EQ(evidence.points.size(), 2'000u);
  EXPECT_EQ(evidence.predictions, 10'000);
  EXPECT_EQ(evidence.points[1].truth, 5);
  EXPECT_EQ(evidence.points[1].prediction, 5.5);

  predictions->task = PredictionTask::kClassification;
  GateEvidence none;
  ShowPredictions(metrics, none);
  ShowPredictions(MetricSet(), none);
  EXPECT_TRUE(none.points.empty());
}

TEST(HistogramChart, BarsHoldTheSharesOfTheRows) {
  // Half of the rows lie evenly in the lower, half in the upper half of the range.
  const std::string svg = HistogramChart("x", Numbers({14}, {50, 50}, 0, 28), nullptr);

  EXPECT_EQ(Occurrences(svg, "class=\"now\""), 28);
  EXPECT_GE(Occurrences(svg, "highest bar: 3.6%"), 1);
  EXPECT_EQ(Occurrences(svg, "class=\"before\""), 0);
}

TEST(Rebinned, KeepsEveryRow) {
  const ColumnProfile reference = Numbers({10, 20, 30}, {25, 25, 25, 25}, 0, 40);
  const ColumnProfile same = Rebinned(reference, Numbers({20}, {50, 50}, 0, 40));
  EXPECT_EQ(same.counts, (std::vector<int64_t>{25, 25, 25, 25}));
  EXPECT_NEAR(PopulationStabilityIndex(reference, same), 0, 1e-9);

  const ColumnProfile above = Rebinned(reference, Numbers({105}, {10, 10}, 100, 110));
  EXPECT_EQ(above.counts, (std::vector<int64_t>{0, 0, 0, 20}));
  EXPECT_EQ(above.above, 20);
  const ColumnProfile five = Numbers({5}, {50, 0}, 5, 5);
  EXPECT_GT(PopulationStabilityIndex(five, Rebinned(five, Numbers({4}, {50, 0}, 4, 4))), 1);
  EXPECT_EQ(Rebinned(reference, Numbers({10}, {50, 50}, -1, 41)).below, 0) << "some may, none surely does";

  const ColumnProfile words = Rebinned(Words({{"a", 5}, {"b", 5}}, 0, 0), Words({{"a", 3}, {"c", 9}}, 2, 1));
  EXPECT_EQ(words.top, (std::map<std::string, int64_t>{{"a", 3}, {"b", 0}}));
  EXPECT_EQ(words.other, 11);
  EXPECT_EQ(words.rows, 15);
}

}  // namespace
}  // namespace cd4ml::core
