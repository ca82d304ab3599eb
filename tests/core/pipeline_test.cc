// Words of the language and references between its parts.
#include "cd4ml/core/pipeline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cd4ml::core {
namespace {

using testing::ElementsAre;

TEST(StageKinds, AreReadAsTheyAreWritten) {
  for (int i = 0; i <= static_cast<int>(StageKind::kCommand); ++i) {
    const auto kind = static_cast<StageKind>(i);
    EXPECT_EQ(ParseStageKind(ToText(kind)), kind) << ToText(kind);
  }
  EXPECT_EQ(ParseStageKind("Train"), std::nullopt);
  EXPECT_EQ(ToText(StageKind::kContractGate), "contract_gate");
  EXPECT_TRUE(IsGate(StageKind::kDataGate) && IsGate(StageKind::kModelGate) &&
              IsGate(StageKind::kContractGate));
  EXPECT_FALSE(IsGate(StageKind::kDeploy));
}

TEST(OutputTypes, AreReadAsTheyAreWritten) {
  for (int i = 0; i <= static_cast<int>(OutputType::kFile); ++i) {
    const auto type = static_cast<OutputType>(i);
    EXPECT_EQ(ParseOutputType(ToText(type)), type) << ToText(type);
  }
  EXPECT_EQ(ParseOutputType(""), std::nullopt);
}

TEST(References, HaveAStageAndAnOutputOrAMaterial) {
  EXPECT_EQ(ParseReference("train.model").stage, "train");
  EXPECT_EQ(ParseReference("train.model").output, "model");
  EXPECT_EQ(ParseReference("sales").stage, "sales");
  EXPECT_EQ(ParseReference("sales").output, "");
}

TEST(References, OfAStageAreWhatItReadsFromOthers) {
  StageSpec stage;
  stage.inputs = {{.name = "raw", .from = "sales"}, {.name = "model", .from = "train.model"}};
  stage.outputs = {{.name = "clean", .path = "clean.csv"}};
  stage.package = "package.service";
  stage.rules = {{.name = "own", .body = RowsRule{.of = "clean"}},
                 {.name = "input", .body = RowsRule{.of = "raw"}},
                 {.name = "material", .body = RowsRule{.of = "listings"}},
                 {.name = "share", .body = ShareRule{.of = "clean", .share_of = "more"}},
                 {.name = "probe", .body = ProbeRule{.probe = "train.probe"}},
                 {.name = "metric", .body = MetricRule{.metric = "mae"}},
                 {.name = "again", .body = RowsRule{.of = "listings"}}};

  EXPECT_THAT(ReferencesOf(stage), ElementsAre("listings", "more", "package.service", "sales",
                                               "train.model", "train.probe"));
  EXPECT_TRUE(ReferencesOf(StageSpec()).empty());
}

TEST(RuleForms, AreNamedAsTheyAreWritten) {
  EXPECT_EQ(RuleForm(RowsRule()), "rows");
  EXPECT_EQ(RuleForm(ShareRule()), "share_of");
  EXPECT_EQ(RuleForm(LatencyRule()), "latency");
  EXPECT_EQ(Subject(RowsRule{.of = "clean"}), "clean");
  EXPECT_EQ(Subject(MetricRule{.metric = "mae"}), "");
}

TEST(Pipeline, FindsItsPartsByName) {
  PipelineSpec pipeline;
  pipeline.stages.resize(2);
  pipeline.stages[1].name = "train";
  pipeline.stages[1].place = {5, 3, 5};
  pipeline.stages[1].places["environment"] = {7, 9, 4};

  ASSERT_NE(pipeline.FindStage("train"), nullptr);
  EXPECT_EQ(pipeline.FindStage("tarin"), nullptr);
  EXPECT_EQ(pipeline.FindMaterial("x"), nullptr);
  EXPECT_EQ(pipeline.FindEnvironment("x"), nullptr);
  EXPECT_EQ(pipeline.FindStage("train")->PlaceOf("environment"), (Place{7, 9, 4}));
  EXPECT_EQ(pipeline.FindStage("train")->PlaceOf("package"), (Place{5, 3, 5})) << "the stage's own";
}

}  // namespace
}  // namespace cd4ml::core
