// Verdicts of other tools, from files that these tools have written, and from files that say nothing.
#include "cd4ml/core/own_verdict.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

namespace cd4ml::core {
namespace {

using Kind = VerdictSpec::Kind;
using enum VerdictOutcome;

Value Fixture(const std::string& name) {
  std::ostringstream text;
  text << std::ifstream(std::string(CD4ML_SOURCE_DIR) + "/tests/fixtures/verdicts/" + name).rdbuf();
  const absl::StatusOr<Value> value = ParseJson(text.str());
  EXPECT_TRUE(value.ok()) << name << ": " << value.status();
  return value.value_or(Value());
}

// Each result as "outcome name | observed | bound", in the order of the names.
std::vector<std::string> Lines(const std::vector<RuleResult>& results) {
  std::vector<std::string> lines;
  for (const RuleResult& result : Conclude(results).rules) {
    lines.push_back(std::string(ToText(result.outcome)) + " " + result.name + " | " + result.observed + " | " + result.bound);
  }
  return lines;
}
using Texts = std::vector<std::string>;

VerdictOutcome OutcomeOf(const std::vector<RuleResult>& results) { return Conclude(results).outcome; }

RuleResult Named(const std::vector<RuleResult>& results, const std::string& name) {
  for (const RuleResult& result : results) {
    if (result.name == name) return result;
  }
  ADD_FAILURE() << "no result " << name;
  return {};
}

TEST(GreatExpectations, FailedExpectationsFail) {
  const auto results = ReadOwnVerdict(Kind::kGreatExpectations, Fixture("great_expectations-1.24.1-failing.json"));

  EXPECT_EQ(Lines(results),
            (Texts{"pass expect_column_mean_to_be_between year | 2013.83 | max_value 2020, min_value 1990",
                   "fail expect_column_to_exist power | not met | met",
                   "fail expect_column_values_to_be_between price | 2 unexpected of 6 | max_value 100000, min_value 0, mostly 0.9",
                   "fail expect_column_values_to_be_in_set brand | 1 unexpected of 6 | value_set [\"bmw\",\"audi\",\"vw\"]",
                   "fail expect_column_values_to_not_be_null price | 1 unexpected of 6 | met",
                   "pass expect_table_row_count_to_be_between | 6 | max_value 1000, min_value 3"}));
  const RuleResult price = Named(results, "expect_column_values_to_be_between price");
  EXPECT_EQ(price.subject, "price");
  EXPECT_EQ(price.form, "great_expectations");
  EXPECT_EQ(price.sample_size, 6);
  EXPECT_EQ(price.rows, (Texts{"-3", "99999999"}));
}

TEST(GreatExpectations, PassesWhenAllAreMet) {
  EXPECT_EQ(OutcomeOf(ReadOwnVerdict(Kind::kGreatExpectations, Fixture("great_expectations-1.24.1-passing.json"))), kPass);
}

TEST(GreatExpectations, ReadsCheckpointsOfOldAndNewVersions) {
  EXPECT_EQ(Lines(ReadOwnVerdict(Kind::kGreatExpectations, Fixture("great_expectations-0.18.22-checkpoint.json"))),
            (Texts{"fail expect_column_values_to_be_between price | 2 unexpected of 6 | max_value 100000, min_value 0, mostly 0.9",
                   "fail expect_column_values_to_be_in_set brand | 1 unexpected of 6 | value_set [\"bmw\",\"audi\",\"vw\"]",
                   "pass expect_table_row_count_to_be_between | 6 | max_value 1000, min_value 3"}));
  const auto described = ReadOwnVerdict(Kind::kGreatExpectations, Fixture("great_expectations-1.24.1-describe.json"));
  EXPECT_EQ(described.size(), 8u);
  EXPECT_EQ(OutcomeOf(described), kFail);
}

TEST(GreatExpectations, AnExceptionIsAnErrorThatSaysWhich) {
  const auto results = ReadOwnVerdict(Kind::kGreatExpectations, Fixture("great_expectations-1.24.1-raising.json"));

  ASSERT_EQ(results.size(), 1u);
  EXPECT_EQ(results[0].outcome, kError);
  EXPECT_NE(results[0].message.find("\"nowhere\""), std::string::npos) << results[0].message;
}

TEST(GreatExpectations, ASuiteWithoutExpectationsIsAnErrorAlthoughItSaysSuccess) {
  const Value empty = Fixture("great_expectations-1.24.1-empty.json");
  ASSERT_EQ(*empty.Find("success"), Value(true));

  const auto results = ReadOwnVerdict(Kind::kGreatExpectations, empty);

  EXPECT_EQ(OutcomeOf(results), kError);
  ASSERT_EQ(results.size(), 1u);
  EXPECT_EQ(results[0].message, "the suite \"empty\" has no expectations, so nothing was judged");
}

TEST(GreatExpectations, SeverityWarningWarns) {
  const Value value = *ParseJson(R"({"success": false, "results": [{"success": false, "expectation_config":
      {"type": "t", "kwargs": {}, "severity": "warning"}, "result": {}}]})");

  EXPECT_EQ(OutcomeOf(ReadOwnVerdict(Kind::kGreatExpectations, value)), kWarn);
}

TEST(GreatExpectations, WhatDoesNotSayWhetherItWasMetIsAnError) {
  for (const char* text : {R"({"results": [{"expectation_config": {"type": "t"}}]})", R"({"results": [{"success": "yes"}]})",
                           R"({"results": [1]})", R"({"results": [{"success": true, "result": {"observed_value": NaN}}]})"}) {
    EXPECT_EQ(OutcomeOf(ReadOwnVerdict(Kind::kGreatExpectations, *ParseJson(text))), kError) << text;
  }
  const Value contradiction = *ParseJson(R"({"success": false, "results": [{"success": true}]})");
  EXPECT_EQ(OutcomeOf(ReadOwnVerdict(Kind::kGreatExpectations, contradiction)), kFail);
}

TEST(GreatExpectations, StatisticsThatSayWorseThanIsListedAreAnError) {
  const auto judge = [](int unmet) {
    const Value::Map met = {{"success", true}, {"expectation_config", Value::Map{{"type", "expect_a"}}}};
    const Value::Map statistics = {{"evaluated_expectations", 5}, {"unsuccessful_expectations", unmet}};
    return ReadOwnVerdict(Kind::kGreatExpectations,
                          Value::Map{{"success", true}, {"statistics", statistics}, {"results", Value::List{met}}});
  };
  EXPECT_EQ(OutcomeOf(judge(0)), kPass) << "it may list only some of those that were met";
  EXPECT_EQ(OutcomeOf(judge(4)), kError);
  EXPECT_EQ(judge(4).back().message,
            "it contradicts itself: it says that there are 4 expectations that were not met, and lists 0");
}

TEST(Pandera, FailsWithItsFailureCasesInEitherLayout) {
  const Texts wanted = {"fail brand isin(['bmw', 'audi', 'vw']) | 1 failure case | isin(['bmw', 'audi', 'vw'])",
                        "fail column_in_dataframe | 1 failure case | column_in_dataframe",
                        "fail price in_range(0, 100000) | 2 failure cases | in_range(0, 100000)",
                        "fail price not_nullable | 1 failure case | not_nullable",
                        "fail year less_than_or_equal_to(2026) | 1 failure case | less_than_or_equal_to(2026)"};
  for (const char* layout : {"records", "columns"}) {
    const auto results = ReadOwnVerdict(Kind::kPandera, Fixture(std::string("pandera-0.35.0-cases-") + layout + ".json"));
    EXPECT_EQ(Lines(results), wanted) << layout;
    EXPECT_EQ(Named(results, "price in_range(0, 100000)").rows, (Texts{"row 2: -3", "row 3: 99999999"})) << layout;
  }
}

TEST(Pandera, FailsWithItsErrorReport) {
  for (const char* version : {"0.18.3", "0.35.0"}) {
    const auto results = ReadOwnVerdict(Kind::kPandera, Fixture(std::string("pandera-") + version + "-report.json"));
    EXPECT_EQ(results.size(), 5u) << version;
    EXPECT_EQ(Named(results, "price in_range(0, 100000)").outcome, kFail) << version;
    EXPECT_NE(Named(results, "price in_range(0, 100000)").message.find("failure cases: -3.0, 99999999.0"), std::string::npos);
  }
}

TEST(Pandera, PassesWhenThereIsNoFailureCase) {
  EXPECT_EQ(OutcomeOf(ReadOwnVerdict(Kind::kPandera, *ParseJson("[]"))), kPass);
  EXPECT_EQ(OutcomeOf(ReadOwnVerdict(Kind::kPandera, *ParseJson("{}"))), kPass);
  EXPECT_EQ(OutcomeOf(ReadOwnVerdict(Kind::kPandera, *ParseJson(R"({"check": {}, "failure_case": {}, "column": {}})"))), kPass);
}

TEST(Pandera, RefusesWhatIsNoResult) {
  for (const char* text : {"null", "3", "[1]", R"([{"check": "a"}])", R"({"SCHEMA": []})", R"({"SCHEMA": {}})",
                           R"({"SCHEMA": {"X": []}})", R"({"success": true})", R"({"DATA": {"X": [1]}})"}) {
    EXPECT_EQ(OutcomeOf(ReadOwnVerdict(Kind::kPandera, *ParseJson(text))), kError) << text;
  }
}

TEST(Evidently, ReadsTestsOfOldAndNewVersions) {
  EXPECT_EQ(Lines(ReadOwnVerdict(Kind::kEvidently, Fixture("evidently-0.7.23-failing.json"))),
            (Texts{"fail Column 'price' missing values: Equal 0.000 | FAIL | Equal 0.000",
                   "warn Maximum value of 'price': Less or Equal 1000.000 | 99999 | Less or Equal 1000.000",
                   "fail Minimal value of 'price': Greater or Equal 0.000 | -3 | Greater or Equal 0.000",
                   "pass Row count in dataset: Greater or Equal 10.000 | 60 | Greater or Equal 10.000"}));
  EXPECT_EQ(Lines(ReadOwnVerdict(Kind::kEvidently, Fixture("evidently-0.4.40-failing.json"))),
            (Texts{"fail Drift per Column | FAIL | SUCCESS", "error Max Value | ERROR | SUCCESS", "fail Min Value | -3 | gte 0",
                   "pass Number of Rows | 60 | gte 10", "pass Share of Missing Values | 0.0833333 | lt 0.1"}));
}

TEST(Evidently, PassesWhenAllTestsDo) {
  for (const char* version : {"0.4.40", "0.7.23"}) {
    const auto results = ReadOwnVerdict(Kind::kEvidently, Fixture(std::string("evidently-") + version + "-passing.json"));
    EXPECT_EQ(OutcomeOf(results), kPass) << version;
  }
}

TEST(Evidently, AReportWithoutTestsIsAnError) {
  for (const char* name : {"evidently-0.4.40-report.json", "evidently-0.7.23-without-tests.json"}) {
    const auto results = ReadOwnVerdict(Kind::kEvidently, Fixture(name));
    EXPECT_EQ(OutcomeOf(results), kError) << name;
    EXPECT_NE(results[0].message.find("holds no tests"), std::string::npos);
  }
}

TEST(Evidently, SkippedTestsHaveNotPassed) {
  const Value one = *ParseJson(R"({"tests": [{"name": "a", "status": "SKIPPED"}, {"name": "b", "status": "SUCCESS"}]})");
  const Value all = *ParseJson(R"({"tests": [{"name": "a", "status": "TestStatus.SKIPPED"}]})");
  const Value other = *ParseJson(R"({"tests": [{"name": "a", "status": "FINE"}]})");

  EXPECT_EQ(OutcomeOf(ReadOwnVerdict(Kind::kEvidently, one)), kWarn);
  EXPECT_EQ(OutcomeOf(ReadOwnVerdict(Kind::kEvidently, all)), kError);
  EXPECT_EQ(OutcomeOf(ReadOwnVerdict(Kind::kEvidently, other)), kError);
}

TEST(Evidently, ASummaryThatSaysWorseThanIsListedIsAnError) {
  const auto judge = [](Value::Map summary) {
    const Value::Map test = {{"name", "a"}, {"status", "SUCCESS"}};
    return OutcomeOf(ReadOwnVerdict(Kind::kEvidently, Value::Map{{"tests", Value::List{test}}, {"summary", std::move(summary)}}));
  };
  EXPECT_EQ(judge({{"all_passed", true}, {"total_tests", 1}, {"failed_tests", 0}}), kPass);
  EXPECT_EQ(judge({}), kPass);
  EXPECT_EQ(judge({{"all_passed", false}, {"failed_tests", 2}}), kError);
  EXPECT_EQ(judge({{"all_passed", false}}), kError);
  EXPECT_EQ(judge({{"total_tests", 2}}), kError);
}

TEST(OwnVerdict, NeedsNameAndOutcomeOnly) {
  const auto results = ReadOwnVerdict(Kind::kFile, *ParseJson(R"({"rules": [
      {"name": "fairness", "outcome": "fail", "observed": 0.31, "bound": "<= 0.1", "sample_size": 40, "rows": ["a", 2]},
      {"name": "leaks", "outcome": "pass"}]})"));

  EXPECT_EQ(Lines(results), (Texts{"fail fairness | 0.31 | <= 0.1", "pass leaks | pass | pass"}));
  EXPECT_EQ(results[0].observed_number, 0.31);
  EXPECT_EQ(results[0].sample_size, 40);
  EXPECT_EQ(results[0].rows, (Texts{"a", "2"}));
}

TEST(OwnVerdict, TakesTheRecordAsItIsKept) {
  RuleResult rule;
  rule.name = "mae";
  rule.form = "metric";
  rule.outcome = kWarn;
  rule.observed_number = 3;
  const auto results = ReadOwnVerdict(Kind::kFile, ToValue(Conclude({rule})));

  ASSERT_EQ(results.size(), 1u);
  EXPECT_EQ(results[0].form, "metric");
  EXPECT_EQ(results[0].outcome, kWarn);
}

TEST(OwnVerdict, WhatSaysNothingIsAnError) {
  for (const char* text :
       {"null", "[]", "{}", R"({"outcome": "pass"})", R"({"outcome": "pass", "rules": []})", R"({"rules": {}})",
        R"({"rules": [1]})", R"({"rules": [{"outcome": "pass"}]})", R"({"rules": [{"name": "", "outcome": "pass"}]})",
        R"({"rules": [{"name": "a"}]})", R"({"rules": [{"name": "a", "outcome": "passed"}]})",
        R"({"rules": [{"name": "a", "outcome": true}]})", R"({"outcome": "good", "rules": [{"name": "a", "outcome": "pass"}]})"}) {
    const auto results = ReadOwnVerdict(Kind::kFile, *ParseJson(text));
    EXPECT_EQ(OutcomeOf(results), kError) << text;
    EXPECT_FALSE(Conclude(results).rules.empty()) << text;
  }
}

TEST(OwnVerdict, NaNDoesNotPass) {
  for (const char* text : {R"({"rules": [{"name": "a", "outcome": "pass", "observed": NaN}]})",
                           R"({"rules": [{"name": "a", "outcome": "warn", "observed_number": NaN}]})",
                           R"({"rules": [{"name": "a", "outcome": "pass", "observed_number": "NaN"}]})",
                           R"({"rules": [{"name": "a", "outcome": "pass", "observed": "NaN"}]})",
                           R"({"rules": [{"name": "a", "outcome": "pass", "observed": "nan"}]})",
                           R"({"rules": [{"name": "a", "outcome": "pass", "observed": Infinity}]})"}) {
    const auto results = ReadOwnVerdict(Kind::kFile, *ParseJson(text));
    EXPECT_EQ(OutcomeOf(results), kError) << text;
    EXPECT_NE(results[0].message.find("cannot be compared"), std::string::npos) << text;
  }
}

TEST(OwnVerdict, MayNotCallARuleAsTheServerCallsItsOwn) {
  const auto results = ReadOwnVerdict(Kind::kFile, *ParseJson(R"({"rules": [{"name": "prices.many", "outcome": "pass"}]})"));

  EXPECT_EQ(OutcomeOf(results), kError);
  EXPECT_NE(results[0].name, "prices.many");
  EXPECT_NE(results[0].message.find("has a dot in its name"), std::string::npos) << results[0].message;
}

TEST(OwnVerdict, TheWholeMayBeWorseThanItsRulesAndNeverBetter) {
  const Value worse = *ParseJson(R"({"outcome": "fail", "rules": [{"name": "a", "outcome": "pass"}]})");
  const Value better = *ParseJson(R"({"outcome": "pass", "rules": [{"name": "a", "outcome": "fail"}]})");

  EXPECT_EQ(OutcomeOf(ReadOwnVerdict(Kind::kFile, worse)), kFail);
  EXPECT_EQ(OutcomeOf(ReadOwnVerdict(Kind::kFile, better)), kFail);
}

TEST(OwnVerdict, IsBoundedAndKeepsTheWorst) {
  Value::List rules;
  for (int i = 0; i < 5000; ++i) {
    rules.push_back(Value::Map{{"name", "rule-" + std::to_string(i)}, {"outcome", i == 4999 ? "fail" : "pass"},
                               {"message", std::string(100'000, 'x')}});
    if (i > 10) std::get<Value::Map>(rules.back().data).erase("message");
  }
  const auto results = ReadOwnVerdict(Kind::kFile, Value::Map{{"rules", std::move(rules)}});

  EXPECT_EQ(results.size(), kOwnResultsMax);
  EXPECT_EQ(Named(results, "rule-4999").outcome, kFail);
  EXPECT_EQ(Named(results, "others").observed, "4801 more results, the worst of them pass");
  for (const RuleResult& result : results) EXPECT_LE(result.message.size(), kOwnTextMax + 3);
}

TEST(OwnVerdict, CutsTextsBetweenCharacters) {
  std::string text;
  while (text.size() < 2 * kOwnTextMax) text += "ä€";
  const auto results =
      ReadOwnVerdict(Kind::kFile, Value::Map{{"rules", Value::List{Value::Map{{"name", text}, {"outcome", "pass"}}}}});

  const std::string& name = results[0].name;
  EXPECT_LE(name.size(), kOwnTextMax + 3);
  EXPECT_EQ(text.compare(0, name.size() - 3, name, 0, name.size() - 3), 0);
  EXPECT_TRUE((static_cast<uint8_t>(text[name.size() - 3]) & 0xC0) != 0x80);
}

TEST(ExitCode, ZeroPassesAndAnythingElseFailsWithItsLastLines) {
  EXPECT_EQ(JudgeExitCode(0, {}).outcome, kPass);
  const RuleResult failed = JudgeExitCode(3, {"checking", "price is negative"});
  EXPECT_EQ(failed.outcome, kFail);
  EXPECT_EQ(failed.message, "the command exited with 3; its last line: price is negative");
  EXPECT_EQ(failed.rows, (Texts{"checking", "price is negative"}));
}

TEST(AddOwnResults, NeverHidesARuleOfTheGate) {
  RuleResult mae;
  mae.name = "mae";
  mae.outcome = kFail;
  std::vector<RuleResult> results = {mae};
  mae.outcome = kPass;
  AddOwnResults({mae, mae}, results);

  EXPECT_EQ(Lines(results), (Texts{"fail mae |  | ", "pass mae #2 |  | ", "pass mae #3 |  | "}));
}

XmlElement Element(std::string name, std::map<std::string, std::string, std::less<>> attributes = {},
                   std::vector<XmlElement> children = {}) {
  return {std::move(name), std::move(attributes), "", std::move(children)};
}

TEST(Junit, FailuresThatASuiteCountsButDoesNotListCount) {
  const XmlElement test = Element("testcase", {{"name", "a"}});

  EXPECT_EQ(OutcomeOf(ReadJunit(Element("testsuite", {{"failures", "1"}}, {test}))), kFail);
  EXPECT_EQ(OutcomeOf(ReadJunit(Element("testsuites", {{"failures", "1"}}, {Element("testsuite", {}, {test})}))), kFail);
  EXPECT_EQ(OutcomeOf(ReadJunit(Element("testsuites", {{"errors", "1"}}, {Element("testsuite", {}, {test})}))), kError);
  EXPECT_EQ(OutcomeOf(ReadJunit(Element("testsuite", {{"failures", "0"}, {"errors", ""}}, {test}))), kPass);
}

TEST(Junit, ASuiteThatContradictsItselfIsAnError) {
  const XmlElement test = Element("testcase", {{"name", "a"}});
  const XmlElement broken = Element("error", {{"message", "no fixture"}});

  for (const XmlElement& suite : {Element("testsuite", {{"failures", "abc"}}, {test}), Element("testsuite", {{"errors", "-1"}}, {test}),
                                  Element("testsuite", {{"tests", "200"}}, {test}), Element("testsuite", {}, {test, broken})}) {
    EXPECT_EQ(OutcomeOf(ReadJunit(suite)), kError) << suite.attributes.size();
    EXPECT_EQ(OutcomeOf(ReadJunit(Element("testsuites", {}, {suite}))), kError) << suite.attributes.size();
  }
  EXPECT_EQ(OutcomeOf(ReadJunit(Element("testsuites", {{"tests", "1"}}, {Element("testsuite", {{"tests", "1"}}, {test})}))), kPass);
}

TEST(Junit, TestsThatWereNotRunHaveNotPassed) {
  const XmlElement left_out = Element("testcase", {{"name", "a"}, {"status", "notrun"}, {"result", "suppressed"}});
  const XmlElement skipped = Element("testcase", {{"name", "b"}}, {Element("skipped", {{"message", "no GPU"}})});
  const XmlElement run = Element("testcase", {{"name", "c"}, {"status", "run"}, {"result", "completed"}});

  EXPECT_EQ(Lines(ReadJunit(Element("testsuite", {{"name", "s"}}, {left_out, skipped, run}))),
            (Texts{"warn s | 0 failed, 2 skipped of 3 tests | 0 failed"}));
  EXPECT_EQ(OutcomeOf(ReadJunit(Element("testsuite", {}, {left_out, skipped}))), kError);
  EXPECT_EQ(OutcomeOf(ReadJunit(Element("testsuites", {}, {}))), kError);
  EXPECT_EQ(OutcomeOf(ReadJunit(Element("html"))), kError);
}

}  // namespace
}  // namespace cd4ml::core
