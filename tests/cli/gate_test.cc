// `gate test` and `gate report`: what they ask for, what they print, and how they exit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cd4ml/core/gate_report.h"
#include "cli/fake_daemon.h"
#include "cli/gate_text.h"
#include "cli/golden.h"
#include "cli/words.h"

namespace cd4ml::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Pair;
using enum core::VerdictOutcome;

core::RuleResult Rule(const std::string& name, core::VerdictOutcome outcome) {
  core::RuleResult rule;
  rule.name = name;
  rule.form = "metric";
  rule.outcome = outcome;
  rule.subject = name;
  rule.observed = "2710.4";
  rule.bound = "<= 1650";
  rule.sample_size = 3120;
  return rule;
}

core::Verdict Rejected() {
  core::RuleResult mae = Rule("mae", kFail);
  mae.baseline = "used-car-price/1";
  mae.baseline_number = 1513.2;
  mae.confidence = 0.95;
  mae.interval = core::Interval{-20.5, 310};
  mae.message = "over by 1060.4";
  mae.rows = {"lada: 6120.5 (n=214)\x1b[2J"};
  return core::Conclude({mae, Rule("r2", kPass)});
}

FakeWorld WithFile(const std::string& text) {
  FakeWorld world;
  world.files["cars.cd4ml.yaml"] = text;
  return world;
}

TEST(GateTestCommand, AsksForTheGateWithAllThatWasGiven) {
  FakeWorld world = WithFile("gates");
  world.verdict = TestedGate{core::Conclude({Rule("mae", kPass)}), {}};

  const CliResult result = world.Run({"gate", "test", "cars.cd4ml.yaml", "--stage", "data", "--data", "raw=a.csv", "--data", "clean=b=c.csv",
                                      "--metrics", "m.json", "--baseline", "old.csv"});

  EXPECT_EQ(result.code, kExitOk) << result.err;
  ASSERT_EQ(world.tested.size(), 1u);
  const GateTest& test = world.tested[0];
  EXPECT_EQ(test.stage, "data");
  EXPECT_THAT(test.data, ElementsAre(Pair("clean", "b=c.csv"), Pair("raw", "a.csv")));
  EXPECT_THAT(test.metrics, ElementsAre("m.json"));
  EXPECT_EQ(test.baseline, "old.csv");
  EXPECT_EQ(test.dir, "/home/ana/cars");
  EXPECT_EQ(test.now, kStart);
  EXPECT_FALSE(test.with_evidence);
  EXPECT_EQ(world.connected_to, "");
}

TEST(GateTestCommand, PrintsTheVerdictAsRunShowDoesAndExitsByIt) {
  FakeWorld world = WithFile("gates: one");
  world.verdict = TestedGate{Rejected(), {}};
  ExpectGolden("gate_test_rejected", Transcript(world.Run({"gate", "test", "cars.cd4ml.yaml"})));
  EXPECT_EQ(world.Run({"gate", "test", "cars.cd4ml.yaml"}).code, 11);

  world.verdict = TestedGate{core::Conclude({Rule("mae", kWarn)}), {}};
  EXPECT_EQ(world.Run({"gate", "test", "cars.cd4ml.yaml"}).code, 0);
  world.verdict = TestedGate{core::Conclude({Rule("mae", kError)}), {}};
  EXPECT_EQ(world.Run({"gate", "test", "cars.cd4ml.yaml"}).code, 11);
  EXPECT_EQ(world.Run({"gate", "test", "cars.cd4ml.yaml", "-o", "name"}).out, "error\n");
  EXPECT_THAT(world.Run({"gate", "test", "cars.cd4ml.yaml", "-o", "json"}).out, HasSubstr("\"verdict\": \"error\""));
  world.verdict = absl::FailedPreconditionError("libduckdb.so was not found; run scripts/setup");
  const CliResult failed = world.Run({"gate", "test", "cars.cd4ml.yaml"});
  EXPECT_NE(failed.code, 0);
  EXPECT_NE(failed.code, 11);
  EXPECT_THAT(failed.err, HasSubstr("run scripts/setup"));
}

TEST(GateTestCommand, SaysWhatIsWrongWithTheRequest) {
  FakeWorld world = WithFile("gates");
  const auto error = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"gate", "test", "cars.cd4ml.yaml"});
    const CliResult result = world.Run(more);
    EXPECT_NE(result.code, 0);
    EXPECT_NE(result.code, 11);
    return result.err;
  };
  EXPECT_THAT(error({}), HasSubstr("several gates; say which with --stage: data, model"));
  EXPECT_THAT(error({"--stage", "contract"}), HasSubstr("takes an agent"));
  EXPECT_THAT(error({"--stage", "mode"}), HasSubstr("did you mean \"model\"?"));
  EXPECT_THAT(error({"--stage", "data", "--data", "a.csv"}), HasSubstr("--data takes NAME=PATH, not \"a.csv\""));
  EXPECT_THAT(error({"--stage", "data", "--data", "row=a.csv"}), HasSubstr("has no table \"row\""));
  EXPECT_THAT(error({"--stage", "data", "--data", "raw=a", "--data", "raw=b"}), HasSubstr("says raw twice"));
  EXPECT_THAT(error({"--stage", "data", "--predictions", "p.csv"}), HasSubstr("says nothing of predictions"));
  EXPECT_EQ(WithFile("bad").Run({"gate", "test", "cars.cd4ml.yaml"}).code, kExitInvalidPipeline);
  EXPECT_EQ(WithFile("x").Run({"gate", "test", "cars.cd4ml.yaml"}).code, kExitUsage);
  EXPECT_TRUE(world.tested.empty());
}

TEST(GateTestCommand, WritesThePageWhereAsked) {
  FakeWorld world = WithFile("gates: one");
  world.verdict = TestedGate{Rejected(), {}};

  const CliResult result = world.Run({"gate", "test", "cars.cd4ml.yaml", "--report", "gate.html"});

  EXPECT_EQ(result.code, 11);
  EXPECT_TRUE(world.tested[0].with_evidence);
  EXPECT_THAT(world.files["gate.html"], HasSubstr("cars, tested on files"));
  EXPECT_THAT(world.files["gate.html"], HasSubstr("over by 1060.4"));
}

// The rejected run, with pages of both gates that were judged.
FakeWorld WithPages() {
  FakeWorld world;
  RunView view = RejectedRun();
  for (const char* gate : {"validate-data", "error-gate"}) {
    const Digest digest = Sha256(gate);
    world.daemon.artifacts[digest.hex()] = std::string("<page of ") + gate + ">\n";
    view.run.FindStage(gate)->attempts.back().outcome.outputs.push_back(
        {std::string(core::kGateReportOutput), "", core::OutputType::kReport, ArtifactRef{digest}, std::nullopt});
  }
  world.daemon.runs[view.run.id] = view;
  return world;
}

TEST(GateReportCommand, GivesThePageOfTheGateThatRejectedOrOfTheOneThatIsNamed) {
  FakeWorld world = WithPages();
  EXPECT_EQ(world.Run({"gate", "report", "used-car-price/2"}).out, "<page of error-gate>\n");
  EXPECT_EQ(world.Run({"gate", "report", "used-car-price/2", "validate-data"}).out, "<page of validate-data>\n");

  const CliResult written = world.Run({"gate", "report", "used-car-price/2", "--out", "gate.html"});
  EXPECT_EQ(written.code, 0);
  EXPECT_EQ(written.out, "");
  EXPECT_EQ(world.files["gate.html"], "<page of error-gate>\n");
}

TEST(GateReportCommand, SaysWhyThereIsNone) {
  FakeWorld world = WithPages();
  const auto failed = [&](const std::vector<std::string>& words) {
    const CliResult result = world.Run(words);
    EXPECT_NE(result.code, 0);
    EXPECT_EQ(result.out, "");
    return result.err;
  };
  EXPECT_THAT(failed({"gate", "report", "used-car-price/9"}), HasSubstr("cd4ml run list"));
  EXPECT_THAT(failed({"gate", "report", "used-car-price/2", "gone"}), HasSubstr("has no stage \"gone\""));
  EXPECT_THAT(failed({"gate", "report", "used-car-price/2", "train"}), HasSubstr("is no gate"));
  EXPECT_THAT(failed({"gate", "report", "used-car-price/2", "contract-gate"}), HasSubstr("has not been judged"));
  world.daemon.artifacts.clear();
  EXPECT_THAT(failed({"gate", "report", "used-car-price/2"}), HasSubstr("is no longer kept"));
  world.is_terminal = true;
  EXPECT_THAT(failed({"gate", "report", "used-car-price/2"}), HasSubstr("--out FILE"));
}

}  // namespace
}  // namespace cd4ml::cli
