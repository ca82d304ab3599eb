// Gates whose own command judges: what it leaves is read, what it does not leave blocks, and a page is kept of it.
#include <filesystem>

#include "cd4ml/core/gate_report.h"
#include "cd4ml/xml/parse_xml.h"
#include "tests/agent/fixture.h"

namespace cd4ml::agent {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using enum core::VerdictOutcome;

// A gate whose command is `script`; `more` are further keys.
std::string Gate(const std::string& script, const std::string& more) {
  return "format: 1\npipeline: shop\nstages:\n  gate:\n    kind: data_gate\n    run: " + ToJson(Value(script)) + "\n" + more;
}
std::string Own(const std::string& script, const std::string& verdict) {
  return Gate(script, "    verdict: " + verdict + "\n");
}

constexpr char kRules[] =
    R"({"rules": [{"name": "a", "outcome": "pass", "observed": 1}, {"name": "b", "outcome": "OUTCOME"}]})";
std::string Rules(const std::string& outcome) {
  std::string text = kRules;
  return text.replace(text.find("OUTCOME"), 7, outcome);
}

class VerdictTest : public ::testing::Test {
 protected:
  core::Outcome Run(const std::string& definition) {
    return world_.Perform(world_.TaskOf(definition, "gate", ++number_));
  }
  // Returns the page that was kept with an attempt.
  std::string Page(const core::Outcome& outcome) {
    for (const core::ProducedOutput& output : outcome.outputs) {
      if (core::IsGateReport(output)) return world_.Bytes(output.artifact);
    }
    return "";
  }

  World world_;
  int number_ = 0;
};

TEST_F(VerdictTest, AnExitCodeIsAVerdictWhereTheGateSaysSo) {
  const core::Outcome passed = Run(Own("true", "exit_code"));
  EXPECT_EQ(passed.state, core::AttemptState::kSucceeded) << passed.message;
  ASSERT_TRUE(passed.verdict);
  EXPECT_EQ(passed.verdict->outcome, kPass);

  const core::Outcome failed = Run(Own("echo looking; echo price is negative; exit 3", "exit_code"));
  EXPECT_EQ(failed.state, core::AttemptState::kFailed);
  EXPECT_EQ(failed.reason, core::Reason::kGateRejected);
  EXPECT_EQ(failed.exit_code, 3);
  ASSERT_TRUE(failed.verdict);
  EXPECT_EQ(failed.verdict->outcome, kFail);
  EXPECT_EQ(failed.message, "exit-code: exited with 3, must be 0 (the command)");
  EXPECT_EQ(failed.verdict->rules[0].rows, (std::vector<std::string>{"looking", "price is negative"}));
}

TEST_F(VerdictTest, WhatCouldNotRunOrWasNotAskedForIsAFailedStage) {
  EXPECT_EQ(Run(Own("no-such-program-here", "exit_code")).reason, core::Reason::kExitCode);
  // A signal tells of the command and not of what it looked at, also where a shell says so by a code above 128.
  for (const char* command : {"kill -KILL $$", "bash -c 'kill -SEGV $$'", "exit 137"}) {
    const core::Outcome ended = Run(Own(command, "exit_code"));
    EXPECT_EQ(ended.reason, core::Reason::kExitCode) << command;
    EXPECT_FALSE(ended.verdict) << command;
  }
  EXPECT_EQ(Run(Own("exit 128", "exit_code")).reason, core::Reason::kGateRejected);
  EXPECT_EQ(Run(Gate("exit 3", "    rules: {out: {of: x, rows: {min: 1}}}\n    outputs: {x: {path: x.csv}}\n")).reason,
            core::Reason::kExitCode);
}

TEST_F(VerdictTest, AFileOfTheStagesOwnIsReadAndNothingElseCounts) {
  const auto run = [this](const std::string& json, const std::string& after = "") {
    return Run(Own("echo '" + json + "' > v.json" + after, "{file: v.json}"));
  };
  EXPECT_EQ(run(Rules("pass")).state, core::AttemptState::kSucceeded);
  EXPECT_EQ(run(Rules("warn")).verdict->outcome, kWarn);
  EXPECT_EQ(run(Rules("fail")).reason, core::Reason::kGateRejected);
  EXPECT_EQ(run(Rules("fine")).reason, core::Reason::kGateError);
  EXPECT_EQ(run(R"({"outcome": "pass", "rules": []})").reason, core::Reason::kGateError);
  EXPECT_EQ(run(R"({"rules": [{"name": "a", "outcome": "pass", "observed": NaN}]})").reason, core::Reason::kGateError);
  EXPECT_EQ(run("garbage").reason, core::Reason::kGateError);
  // A command that fails although its verdict is good has failed for another reason.
  EXPECT_EQ(run(Rules("pass"), "; exit 1").reason, core::Reason::kExitCode);
  EXPECT_EQ(run(Rules("fail"), "; exit 1").reason, core::Reason::kGateRejected);
  EXPECT_EQ(run("garbage", "; exit 1").reason, core::Reason::kExitCode);
}

TEST_F(VerdictTest, AMissingFileIsAnErrorThatNamesItAndTheRepositorysDoesNotCount) {
  world_.repos.files = {{"v.json", Rules("pass")}};
  const core::Outcome outcome = Run(Own("true", "{file: v.json}"));

  EXPECT_EQ(outcome.reason, core::Reason::kGateError);
  EXPECT_THAT(outcome.message, HasSubstr("verdict file v.json was not written"));
}

TEST_F(VerdictTest, AFileOutsideOrTooLargeIsAnErrorAndNoCrash) {
  const std::string outside = world_.dir.At("outside.json");
  const core::Outcome linked = Run(Own("echo '" + Rules("pass") + "' > " + outside + "; ln -s " + outside + " v.json", "{file: v.json}"));
  EXPECT_EQ(linked.reason, core::Reason::kGateError);
  EXPECT_THAT(linked.message, HasSubstr("leads out of the work directory"));
  const core::Outcome large = Run(Own("truncate -s 65M v.json", "{file: v.json}"));
  EXPECT_EQ(large.reason, core::Reason::kGateError);
  EXPECT_THAT(large.message, HasSubstr("v.json"));
  EXPECT_EQ(Run(Own("mkdir v.json", "{file: v.json}")).reason, core::Reason::kGateError);
  EXPECT_EQ(Run(Own("for i in $(seq 300); do printf '[' >> v.json; done", "{file: v.json}")).reason, core::Reason::kGateError);
}

TEST_F(VerdictTest, TestsInJunitXmlAreRead) {
  const auto run = [this](const std::string& test) {
    return Run(Own("echo '<testsuite name=\"s\"><testcase name=\"a\"/>" + test + "</testsuite>' > junit.xml", "{junit: junit.xml}"));
  };
  EXPECT_EQ(run("").state, core::AttemptState::kSucceeded);
  EXPECT_EQ(run("<testcase name=\"b\"><skipped/></testcase>").verdict->outcome, kWarn);
  const core::Outcome failed = run("<testcase name=\"b\"><failure message=\"3 > 2\"/></testcase>");
  EXPECT_EQ(failed.reason, core::Reason::kGateRejected);
  EXPECT_THAT(failed.message, HasSubstr("s: 1 failed of 2 tests, must be 0 failed"));
  EXPECT_EQ(run("<testcase>").reason, core::Reason::kGateError);
}

TEST_F(VerdictTest, WhatACommandWritesToTheVariableAddsToTheRules) {
  const auto run = [this](const std::string& json) {
    return Run(Gate("echo '" + json + "' > $CD4ML_VERDICT; echo '{\"mae\": 1}' > m.json",
                    "    metrics: [m.json]\n    rules: {mae: {metric: mae, max: 5}}\n").replace(
        Gate("", "").find("data_gate"), 9, "model_gate"));
  };
  const core::Outcome passed = run(R"({"rules": [{"name": "mae", "outcome": "pass"}]})");
  EXPECT_EQ(passed.state, core::AttemptState::kSucceeded) << passed.message;
  ASSERT_EQ(passed.verdict->rules.size(), 2u);
  EXPECT_EQ(passed.verdict->rules[0].name, "mae");
  EXPECT_EQ(passed.verdict->rules[1].name, "mae #2");
  EXPECT_EQ(run(R"({"rules": [{"name": "b", "outcome": "fail"}]})").reason, core::Reason::kGateRejected);
  for (const char* json : {"", "garbage", "{}", R"({"rules": []})", R"({"rules": [{"name": "b"}]})"}) {
    const core::Outcome outcome = run(json);
    EXPECT_EQ(outcome.reason, core::Reason::kGateError) << json;
    EXPECT_EQ(outcome.verdict->rules.size(), 2u) << json;
  }
}

TEST_F(VerdictTest, WhatACommandWritesToTheVariableCountsAlsoWhereItThenFails) {
  const auto run = [this](const std::string& json, const std::string& more) {
    return Run(Gate("echo '" + json + "' > $CD4ML_VERDICT; exit 1", more));
  };
  const std::string rules = "    rules: {out: {of: x, rows: {min: 1}}}\n    outputs: {x: {path: x.csv}}\n";
  const core::Outcome failed = run(Rules("fail"), rules);
  EXPECT_EQ(failed.reason, core::Reason::kGateRejected) << failed.message;
  ASSERT_TRUE(failed.verdict);
  EXPECT_EQ(failed.verdict->rules.back().name, "b");
  EXPECT_FALSE(Page(failed).empty());
  // It has failed for another reason than what it has found.
  EXPECT_EQ(run(Rules("pass"), rules).reason, core::Reason::kExitCode);
  EXPECT_EQ(run("{\"rules\": [{\"na", rules).reason, core::Reason::kExitCode) << "half a file";
  EXPECT_EQ(Run(Gate("echo '" + Rules("fail") + "' > $CD4ML_VERDICT; exit 137", rules)).reason, core::Reason::kExitCode);
  // Beside another verdict, each counts.
  EXPECT_EQ(run(Rules("fail"), "    verdict: {file: v.json}\n").reason, core::Reason::kGateRejected);
  EXPECT_EQ(run(Rules("pass"), "    verdict: exit_code\n").reason, core::Reason::kGateRejected);
}

TEST_F(VerdictTest, EveryVerdictHasAPage) {
  for (const core::Outcome& outcome :
       {Run(Own("true", "exit_code")), Run(Own("echo '<b>&'; exit 3", "exit_code")), Run(Own("true", "{file: v.json}"))}) {
    const std::string page = Page(outcome);
    ASSERT_FALSE(page.empty()) << outcome.message;
    EXPECT_TRUE(xml::ParseXml(page.substr(page.find('\n') + 1)).ok());
    EXPECT_THAT(page, HasSubstr("shop/1"));
    EXPECT_THAT(page, Not(HasSubstr("<b>&")));
  }
  EXPECT_EQ(Page(Run("format: 1\npipeline: shop\nstages:\n  gate: {run: 'true'}\n")), "");
}

TEST_F(VerdictTest, AnOutputOfTheStagesOwnTakesThePlaceOfThePage) {
  const core::Outcome outcome =
      Run(Own("echo mine > r.html", "exit_code") + "    outputs: {gate-report: {path: r.html, type: report}}\n");

  ASSERT_EQ(outcome.outputs.size(), 1u);
  EXPECT_EQ(world_.Bytes(outcome.outputs[0].artifact), "mine\n");
}

}  // namespace
}  // namespace cd4ml::agent
