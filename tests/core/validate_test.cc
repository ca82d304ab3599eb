// What one part of a definition says about another. Texts and places are in the golden files of
// tests/golden.
#include "cd4ml/core/validate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cd4ml::core {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

StageSpec Stage(std::string name, std::vector<std::string> needs = {}) {
  StageSpec stage;
  stage.name = std::move(name);
  stage.needs = std::move(needs);
  stage.run.script = "x";
  stage.runtime.kind = RuntimeSpec::Kind::kHost;
  return stage;
}

std::vector<std::string> Codes(const PipelineSpec& pipeline) {
  std::vector<std::string> codes;
  for (const Diagnostic& finding : Validate(pipeline)) codes.push_back(finding.code);
  return codes;
}

std::string Messages(const PipelineSpec& pipeline) {
  std::string all;
  for (const Diagnostic& finding : Validate(pipeline))
    all += finding.message + finding.label + "\n";
  return all;
}

TEST(Validate, AcceptsAChain) {
  PipelineSpec pipeline;
  pipeline.stages = {Stage("a"), Stage("b", {"a"}), Stage("c", {"a", "b"})};

  EXPECT_THAT(Codes(pipeline), IsEmpty());
}

TEST(Validate, QuarantineNamesATableWhoseRowsAreJudged) {
  PipelineSpec pipeline;
  StageSpec gate = Stage("gate");
  gate.kind = StageKind::kDataGate;
  gate.outputs = {{.name = "clean", .path = "clean.csv"}, {.name = "bad", .path = "bad.csv", .quarantine = "clean"}};
  ColumnRule column;
  column.of = "clean";
  gate.rules = {{.name = "price", .body = column}};
  pipeline.stages = {gate};
  EXPECT_THAT(Codes(pipeline), IsEmpty());

  pipeline.stages[0].outputs[1].path = "bad.xlsx";
  EXPECT_EQ(Messages(pipeline), "bad rows cannot be written to \"bad.xlsx\"\n");

  pipeline.stages[0].outputs[1].path = "bad.parquet";
  pipeline.stages[0].outputs[1].quarantine = "cleam";
  EXPECT_EQ(Messages(pipeline), "no rule of stage \"gate\" judges single rows of \"cleam\"did you mean \"clean\"?\n");

  pipeline.stages[0].outputs[1].quarantine = "clean";
  pipeline.stages[0].rules = {{.name = "rows", .body = RowsRule{"clean", {1, std::nullopt}}}};
  EXPECT_THAT(Codes(pipeline), ElementsAre(code::kUnknownSubject));
}

TEST(Validate, WhatIsInQuarantineIsKnownTooLateForRules) {
  PipelineSpec pipeline;
  StageSpec gate = Stage("gate");
  gate.kind = StageKind::kDataGate;
  gate.outputs = {{.name = "clean", .path = "clean.csv"}, {.name = "bad", .path = "bad.csv", .quarantine = "clean"}};
  gate.rules = {{.name = "price", .body = ColumnRule{.of = "clean", .column = "price"}},
                {.name = "few", .body = RowsRule{"bad", {std::nullopt, 10}}},
                {.name = "share", .body = ShareRule{.of = "bad", .share_of = "clean", .max = 0.1}}};
  pipeline.stages = {gate};
  EXPECT_THAT(Codes(pipeline), ElementsAre(code::kUnknownSubject, code::kUnknownSubject));
  EXPECT_THAT(Messages(pipeline), testing::StartsWith("\"bad\" takes the bad rows of \"clean\", which are known when all rules are judged\n"));
}

TEST(Validate, RefusesAnExpressionThatNamesNoMetric) {
  PipelineSpec pipeline;
  StageSpec gate = Stage("gate");
  gate.kind = StageKind::kModelGate;
  gate.rules = {{.name = "r", .body = CheckRule{"1 < 2"}}};
  pipeline.stages = {gate};
  const Diagnostics found = Validate(pipeline);
  ASSERT_FALSE(found.empty());
  EXPECT_EQ(found[0].code, code::kNoBound);
  EXPECT_EQ(found[0].severity, Severity::kError);
}

TEST(Validate, WarnsOfRulesThatEveryTableKeeps) {
  const auto warning = [](RuleBody body) -> std::string {
    PipelineSpec pipeline;
    StageSpec gate = Stage("gate");
    gate.kind = StageKind::kDataGate;
    gate.outputs = {{.name = "t", .path = "t.csv"}};
    gate.rules = {{.name = "r", .body = std::move(body)}};
    pipeline.stages = {gate};
    const Diagnostics found = Validate(pipeline);
    if (found.empty()) return "";
    EXPECT_EQ(found[0].code, code::kNoBound);
    EXPECT_EQ(found[0].severity, Severity::kWarning);
    return found[0].message;
  };
  EXPECT_EQ(warning(RowsRule{"t", {0, std::nullopt}}), "rule \"r\" always passes: no table has fewer rows than 0");
  EXPECT_EQ(warning(RowsRule{"t", {1, std::nullopt}}), "");
  EXPECT_EQ(warning(ColumnRule{.of = "t", .column = "c", .max_nulls = 1}), "rule \"r\" always passes: every value may be empty");
  EXPECT_EQ(warning(ColumnRule{.of = "t", .column = "c", .max_nulls = 0.99}), "");
  EXPECT_EQ(warning(ColumnRule{.of = "t", .column = "c", .in = {"a"}, .max_bad_share = 1}), "rule \"r\" always passes: every row may break it");
  EXPECT_EQ(warning(ColumnRule{.of = "t", .column = "c", .in = {"a"}, .max_nulls = 0.5, .max_bad_share = 1}), "") << "it still bounds what is empty";
  EXPECT_EQ(warning(SqlRule{"t", "c > 0", 1}), "rule \"r\" always passes: every row may break it");
  EXPECT_EQ(warning(UniqueRule{.of = "t", .columns = {"c"}, .max_share = 1}), "rule \"r\" always passes: every row may be a copy");
  EXPECT_EQ(warning(BalanceRule{"t", "c", {0, 1}}), "rule \"r\" always passes: every value has a share of 0 to 1");
  EXPECT_EQ(warning(BalanceRule{"t", "c", {0.01, 1}}), "");
}

TEST(Validate, AContractGateJudgesAndRunsNothing) {
  PipelineSpec pipeline;
  StageSpec package = Stage("package");
  package.outputs = {{.name = "service", .path = "dist", .type = OutputType::kDeployable}};
  StageSpec gate = Stage("gate");
  gate.run.script = "";
  gate.kind = StageKind::kContractGate;
  gate.package = "package.service";
  gate.service.emplace();
  gate.rules = {{.name = "small", .body = MemoryRule{1 << 20}}};
  pipeline.stages = {package, gate};
  EXPECT_THAT(Codes(pipeline), IsEmpty());

  pipeline.stages[1].run.script = "x";
  EXPECT_EQ(Messages(pipeline), "\"run\" of a contract gate is not available yet\n");
  pipeline.stages[1].run.script = "";
  pipeline.stages[1].outputs = {{.name = "o", .path = "o"}};
  EXPECT_EQ(Messages(pipeline), "\"outputs\" of a contract gate is not available yet\n");
  pipeline.stages[1].outputs.clear();

  pipeline.stages[0].runtime = {.kind = RuntimeSpec::Kind::kImage, .image = "x"};
  EXPECT_EQ(Messages(pipeline),
            "rule \"small\" cannot be judged: stage \"package\" makes the package in an image, and the memory of a container is not known\n");
}

TEST(Validate, ShowsACycleAsThePathThatClosesIt) {
  PipelineSpec pipeline;
  pipeline.stages = {Stage("a", {"b"}), Stage("b", {"c"}), Stage("c", {"b"})};

  EXPECT_EQ(Messages(pipeline), "stages wait for each other: b -> c -> b\n");
}

TEST(Validate, ShortensALongCycle) {
  PipelineSpec pipeline;
  for (int i = 0; i < 1000; ++i) {
    pipeline.stages.push_back(
        Stage("s" + std::to_string(i), {"s" + std::to_string((i + 1) % 1000)}));
  }

  EXPECT_EQ(Messages(pipeline),
            "stages wait for each other: s0 -> s1 -> s2 -> s3 -> s4 -> s5 -> ... -> s994 -> s995 "
            "-> s996 -> s997 -> "
            "s998 -> s999 -> s0\n");
}

TEST(Validate, FindsCyclesThroughInputsPackagesAndProbes) {
  PipelineSpec pipeline;
  pipeline.stages = {Stage("a"), Stage("b")};
  pipeline.stages[0].outputs = {{.name = "p", .path = "p", .type = OutputType::kDeployable}};
  pipeline.stages[1].outputs = {{.name = "q", .path = "q", .type = OutputType::kProbeSet}};
  pipeline.stages[1].package = "a.p";
  EXPECT_THAT(Codes(pipeline), IsEmpty());

  pipeline.stages[0].rules = {{.name = "r", .body = ProbeRule{.probe = "b.q"}}};
  EXPECT_THAT(Codes(pipeline), ElementsAre("CD0204"));

  pipeline.stages[0].rules.clear();
  pipeline.stages[0].inputs = {{.name = "q", .from = "b.q"}};
  EXPECT_THAT(Codes(pipeline), ElementsAre("CD0204"));
}

TEST(Validate, SuggestsTheStageThatIsMeant) {
  PipelineSpec pipeline;
  pipeline.stages = {Stage("prepare"), Stage("train", {"prepre"})};

  EXPECT_EQ(Messages(pipeline),
            "stage \"train\" needs \"prepre\", which is not defineddid you mean \"prepare\"?\n");
}

PipelineSpec WithOutputs(std::vector<std::string> first, std::vector<std::string> second) {
  PipelineSpec pipeline;
  pipeline.stages = {Stage("a"), Stage("b")};
  for (size_t i = 0; i < first.size(); ++i) {
    pipeline.stages[0].outputs.push_back({.name = "x" + std::to_string(i), .path = first[i]});
  }
  for (size_t i = 0; i < second.size(); ++i) {
    pipeline.stages[1].outputs.push_back({.name = "y" + std::to_string(i), .path = second[i]});
  }
  return pipeline;
}

TEST(Validate, RefusesTwoStagesThatWriteOnePath) {
  EXPECT_THAT(Codes(WithOutputs({"model"}, {"model"})), ElementsAre("CD0205"));
  EXPECT_THAT(Codes(WithOutputs({"model"}, {"./model/"})), ElementsAre("CD0205"));
  EXPECT_THAT(Codes(WithOutputs({"model"}, {"model/a"})), ElementsAre("CD0205"));
  EXPECT_THAT(Codes(WithOutputs({"model/a/b"}, {"model//a"})), ElementsAre("CD0205"));
  EXPECT_THAT(Codes(WithOutputs({"a", "a-b", "a.b"}, {"a/c"})), ElementsAre("CD0205"))
      << "names between them do not hide it";
}

TEST(Validate, AllowsPathsThatOnlyLookAlike) {
  EXPECT_THAT(Codes(WithOutputs({"model"}, {"model2", "mode", "model.bin", "x/model"})), IsEmpty());
  EXPECT_THAT(Codes(WithOutputs({"model", "model/inner"}, {})), IsEmpty())
      << "one stage may name a part of its folder";
  EXPECT_THAT(Codes(WithOutputs({"model", "model"}, {})), ElementsAre("CD0205"))
      << "but not one path twice";
  EXPECT_THAT(Codes(WithOutputs({"${{ params.a }}"}, {"${{ params.a }}"})), IsEmpty())
      << "not known yet";
}

TEST(Validate, KeepsPathsInsideTheWorkDirectory) {
  for (const char* path : {"/etc/passwd", "..", "../x", "a/../../x", "a/..", ".", "./", "//"}) {
    EXPECT_THAT(Codes(WithOutputs({path}, {})), ElementsAre("CD0112")) << path;
  }
  for (const char* path : {"a", "./a", "a/b", "a/./b", "..a", "a..", ".hidden"}) {
    EXPECT_THAT(Codes(WithOutputs({path}, {})), IsEmpty()) << path;
  }
}

TEST(Validate, RefusesTwoInputsAtOnePlace) {
  PipelineSpec pipeline = WithOutputs({"model/a", "model"}, {});
  pipeline.materials = {{.name = "m", .location = "x"}, {.name = "n", .location = "y"}};
  StageSpec& stage = pipeline.stages[1];

  stage.inputs = {{.name = "a", .from = "m", .at = "x"}, {.name = "b", .from = "n", .at = "x/y"}};
  EXPECT_THAT(Codes(pipeline), ElementsAre("CD0205"));

  stage.inputs = {{.name = "a", .from = "a.x0"}, {.name = "b", .from = "a.x1"}};
  EXPECT_THAT(Codes(pipeline), IsEmpty()) << "a folder and a file in it, of one stage";

  stage.inputs = {
      {.name = "a", .from = "m"}, {.name = "b", .from = "m"}, {.name = "c", .from = "n"}};
  EXPECT_THAT(Codes(pipeline), IsEmpty()) << "one material under two names";

  stage.inputs = {{.name = "a", .from = "m"}, {.name = "b", .from = "n", .at = "inputs/m"}};
  EXPECT_THAT(Codes(pipeline), ElementsAre("CD0205"));
}

TEST(Validate, ChecksConditionsAgainstStagesAndParameters) {
  PipelineSpec pipeline;
  pipeline.stages = {Stage("a"), Stage("b", {"a"})};
  const auto codes = [&](const char* condition) {
    pipeline.stages[1].condition = condition;
    return Codes(pipeline);
  };

  EXPECT_THAT(codes("always() and passed('a') or failed('a')"), IsEmpty());
  EXPECT_THAT(codes("params.x"), IsEmpty()) << "without a schema nothing is known";
  EXPECT_THAT(codes("passed('c')"), ElementsAre("CD0201"));
  EXPECT_THAT(codes("passed('b')"), ElementsAre("CD0307"));
  EXPECT_THAT(codes("passed(a)"), ElementsAre("CD0307"));
  EXPECT_THAT(codes("passed()"), ElementsAre("CD0307"));
  EXPECT_THAT(codes("finished('a')"), ElementsAre("CD0307"));

  pipeline.params.schema = {{.name = "y"}};
  EXPECT_THAT(codes("params.x"), ElementsAre("CD0217"));
  EXPECT_THAT(codes("params.y == 'z'"), IsEmpty());
}

TEST(Validate, KnowsSubTreesOfParameters) {
  PipelineSpec pipeline;
  pipeline.params.schema = {{.name = "train.depth"},
                            {.name = "more", .type = ParamSchema::Type::kMap}};
  pipeline.stages = {Stage("a")};
  const auto codes = [&](const char* param) {
    pipeline.stages[0].params = {param};
    return Codes(pipeline);
  };

  EXPECT_THAT(codes("train"), IsEmpty());
  EXPECT_THAT(codes("train.depth"), IsEmpty());
  EXPECT_THAT(codes("more.inner"), IsEmpty());
  EXPECT_THAT(codes("tra"), ElementsAre("CD0217"));
  EXPECT_THAT(codes("train.depth.x"), ElementsAre("CD0217"));
}

TEST(Validate, BoundsStagesAndEdges) {
  PipelineSpec pipeline;
  pipeline.stages.resize(kStagesMax + 1);
  EXPECT_THAT(Codes(pipeline), ElementsAre("CD0215"));

  pipeline.stages.clear();
  pipeline.stages = {Stage("a"), Stage("b", std::vector<std::string>(kEdgesMax + 1, "a"))};
  EXPECT_THAT(Codes(pipeline), ElementsAre("CD0216"));
}

TEST(Validate, WantsAMonitorToFollowItsDeployAndToBeATrigger) {
  PipelineSpec pipeline;
  pipeline.environments = {{.name = "production"}, {.name = "staging"}};
  pipeline.stages = {Stage("pack"), Stage("release", {"pack"}), Stage("watch", {"release"})};
  pipeline.stages[0].outputs = {{.name = "p", .path = "p", .type = OutputType::kDeployable}};
  pipeline.stages[1].kind = StageKind::kDeploy;
  pipeline.stages[1].package = "pack.p";
  pipeline.stages[1].environment = "production";
  StageSpec& watch = pipeline.stages[2];
  watch.kind = StageKind::kMonitor;
  watch.environment = "production";
  watch.monitor.emplace().checks = {{.name = "drift", .rule = DriftRule{.versus = "train_data"}}};
  EXPECT_THAT(Codes(pipeline), IsEmpty());

  watch.monitor->retrain = RetrainSpec{.checks = {"drift"}, .lane = "production"};
  EXPECT_THAT(Codes(pipeline), ElementsAre("CD0212"));
  pipeline.triggers.monitor = "watch";
  EXPECT_THAT(Codes(pipeline), IsEmpty());

  watch.environment = "staging";
  EXPECT_THAT(Codes(pipeline), ElementsAre("CD0208"));
  watch.environment = "production";
  pipeline.triggers.monitor = "release";
  EXPECT_THAT(Codes(pipeline), ElementsAre("CD0212", "CD0211"));
}

}  // namespace
}  // namespace cd4ml::core
