// Metric files of every kind, good and bad.
#include "agent/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <chrono>
#include <cmath>
#include <filesystem>

#include "agent/files.h"
#include "agent/verdict_files.h"
#include "cd4ml/base/status.h"
#include "tests/support/temp_dir.h"

namespace cd4ml::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

TEST(JsonMetrics, NestedNamesGetDotsAndOnlyNumbersAreMetrics) {
  core::MetricSet metrics;
  ASSERT_TRUE(
      AddJsonMetrics(R"({"mae": 12, "r2": {"train": 0.9}, "name": "x", "ok": true, "list": [1]})",
                     metrics)
          .ok());
  EXPECT_THAT(metrics.overall, ElementsAre(Pair("mae", 12.0), Pair("r2.train", 0.9)));
}

TEST(JsonMetrics, NaNAndNullAreMetricsThatAreNoNumbers) {
  core::MetricSet metrics;
  ASSERT_TRUE(AddJsonMetrics(R"({"mae": NaN, "r2": null})", metrics).ok());
  EXPECT_TRUE(std::isnan(metrics.overall.at("mae")));
  EXPECT_TRUE(std::isnan(metrics.overall.at("r2")));
}

TEST(JsonMetrics, WhatIsNoMapIsRefused) {
  core::MetricSet metrics;
  for (const char* text : {"", "[1]", "12", "{", "{\"a\":1}x", "\xff"}) {
    EXPECT_FALSE(AddJsonMetrics(text, metrics).ok()) << text;
  }
}

TEST(PatternMetric, TheLastMatchCounts) {
  core::MetricSet metrics;
  ASSERT_TRUE(AddPatternMetric("epoch 1\nAccuracy: 0.5\nAccuracy: 0.875\nbye", "accuracy",
                               "Accuracy: ([0-9.]+)", metrics)
                  .ok());
  EXPECT_THAT(metrics.overall, ElementsAre(Pair("accuracy", 0.875)));
}

TEST(PatternMetric, WhatCannotBeReadSaysWhy) {
  core::MetricSet metrics;
  const auto why = [&](std::string_view text, const std::string& pattern) {
    return Message(AddPatternMetric(text, "a", pattern, metrics));
  };
  EXPECT_THAT(why("x", "a: ([0-9]+)"), HasSubstr("nothing that the pattern"));
  EXPECT_THAT(why("a: 1.2.3", "a: ([0-9.]+)"), HasSubstr("\"1.2.3\""));
  EXPECT_THAT(why("a: 1", "a: [0-9]+"), HasSubstr("exactly one group"));
  EXPECT_THAT(why("a: 1", "a: ([0-9"), HasSubstr("is wrong"));
}

TEST(PatternMetric, APatternThatBacktracksElsewhereTakesLinearTime) {
  core::MetricSet metrics;
  const std::string text(200'000, 'a');
  EXPECT_FALSE(AddPatternMetric(text, "a", "(a*)*b", metrics).ok());
  EXPECT_FALSE(AddPatternMetric("", "a", "(x*)", metrics).ok());
}

TEST(SliceMetrics, EachRowIsASliceAndEachOtherColumnAMetric) {
  core::MetricSet metrics;
  ASSERT_TRUE(
      AddSliceMetrics("car_model,n,mape,bias\r\ngolf,120,0.1,-2\n\"a \"\"b\"\", c\",3,,+1e2\n",
                      "car_model", "n", metrics)
          .ok());
  const auto& slices = metrics.slices.at("car_model");
  ASSERT_EQ(slices.size(), 2u);
  EXPECT_EQ(slices[0].value, "golf");
  EXPECT_EQ(slices[0].count, 120);
  EXPECT_THAT(slices[0].metrics, ElementsAre(Pair("bias", -2.0), Pair("mape", 0.1)));
  EXPECT_EQ(slices[1].value, "a \"b\", c");
  EXPECT_TRUE(std::isnan(slices[1].metrics.at("mape")));
  EXPECT_EQ(slices[1].metrics.at("bias"), 100.0);
}

TEST(SliceMetrics, WhatIsNoTableOfSlicesSaysWhereAndWhy) {
  core::MetricSet metrics;
  const auto why = [&](std::string_view csv) {
    return Message(AddSliceMetrics(csv, "model", "n", metrics));
  };
  EXPECT_THAT(why(""), HasSubstr("is empty"));
  EXPECT_THAT(why("modell,n\n"), HasSubstr("no column \"model\"; did you mean \"modell\"?"));
  EXPECT_THAT(why("model,n,mae\ngolf,1\n"), HasSubstr("2 cells in row 2"));
  EXPECT_THAT(why("model,n,mae\ngolf,1,high\n"), HasSubstr("\"high\" as \"mae\" in row 2"));
  EXPECT_THAT(why("model,n,mae\ngolf,,1\n"), HasSubstr("no \"n\" in row 2"));
  EXPECT_THAT(why("model,n,mae\n\"golf,1,1\n"), HasSubstr("does not end"));
  EXPECT_THAT(why("model,n,mae\ngolf,-1,1\n"), HasSubstr("has \"-1\" as \"n\" in row 2, which counts nothing"));
  EXPECT_THAT(why("model,n,mae\ngolf,1.5,1\n"), HasSubstr("counts nothing"));
  EXPECT_THAT(why("model,n,mae\ngolf,1,1\nx5,1,1\ngolf,2,1\n"), HasSubstr("has \"golf\" as \"model\" twice, again in row 4"));
}

TEST(MetricsFile, AMissingFileAndALinkOutOfTheFolderAreNamed) {
  TempDir dir;
  core::MetricSet metrics;
  EXPECT_THAT(Message(AddMetricsFile(dir.path(), {.file = "out/m.json"}, metrics)),
              HasSubstr("metrics file out/m.json was not written"));
  std::filesystem::create_symlink("/etc/passwd", dir.At("m.json"));
  EXPECT_THAT(Message(AddMetricsFile(dir.path(), {.file = "m.json"}, metrics)),
              HasSubstr("symbolic link"));
  dir.Write("bad.json", "{\"mae\": }");
  EXPECT_THAT(Message(AddMetricsFile(dir.path(), {.file = "bad.json"}, metrics)),
              HasSubstr("metrics file bad.json: "));
}

// Nobody writes into it, so whoever opened it as a file would wait for ever.
TEST(NamedPipe, IsRefusedWhereverAFileIsRead) {
  const TempDir dir;
  const std::string pipe = dir.path() + "/pipe.json";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);

  core::MetricSet metrics;
  for (const std::string pattern : {"", "mae=(.*)"}) {
    const absl::Status added = AddMetricsFile(dir.path(), {.file = "pipe.json", .name = "mae", .pattern = pattern}, metrics);
    EXPECT_THAT(Message(added), HasSubstr("no regular file"));
  }
  const core::VerdictSpec spec{.kind = core::VerdictSpec::Kind::kFile, .file = "pipe.json"};
  EXPECT_THAT(Message(ReadVerdictFile(dir.path(), spec, nullptr).status()), HasSubstr("no regular file"));
  EXPECT_THAT(Message(ReadVerdictVariable(pipe).status()), HasSubstr("no regular file"));
  EXPECT_THAT(Message(ReadPiece(pipe, 0, 10).status()), HasSubstr("no regular file"));
  EXPECT_THAT(LastLines(pipe, 3), ElementsAre());
}

TEST(ReadPiece, GivesWhatLiesThere) {
  const TempDir dir;
  const std::string path = dir.path() + "/file";
  ASSERT_TRUE(WriteText(path, "0123456789").ok());
  EXPECT_EQ(ReadPiece(path, 4, 3).value_or("?"), "456");
  EXPECT_EQ(ReadPiece(path, 8, 100).value_or("?"), "89");
  EXPECT_EQ(ReadPiece(path, 11, 100).value_or("?"), "");
}

}  // namespace
}  // namespace cd4ml::agent
