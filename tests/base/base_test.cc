// What every layer relies on: values and their JSON, digests, times, names, histograms.
#include <gtest/gtest.h>

#include <cmath>

#include "cd4ml/base/digest.h"
#include "cd4ml/base/glob.h"
#include "cd4ml/base/histogram.h"
#include "cd4ml/base/ini.h"
#include "cd4ml/base/text.h"
#include "cd4ml/base/time.h"
#include "cd4ml/base/value.h"

namespace cd4ml {
namespace {

TEST(Json, ReadsBackWhatItWrote) {
  const std::string text = R"({"a":[1,2.5,true,null,"x\n\"y\""],"b":{"c":-3,"d":1e-300},"e":2.0})";

  const absl::StatusOr<Value> value = ParseJson(text);

  ASSERT_TRUE(value.ok()) << value.status();
  EXPECT_EQ(ToJson(*value), text);
}

TEST(Json, SortsKeysSoThatEqualValuesHaveEqualText) {
  EXPECT_EQ(ToJson(*ParseJson(R"({"b":1,"a":2})")), R"({"a":2,"b":1})");
}

TEST(Json, ReadsPythonsNotANumberAsANumber) {
  const absl::StatusOr<Value> value = ParseJson(R"({"mae": NaN, "x": "NaN", "i": [-Infinity]})");

  ASSERT_TRUE(value.ok()) << value.status();
  EXPECT_TRUE(std::isnan(value->Find("mae")->number()));
  EXPECT_EQ(value->Find("x")->string(), "NaN");
  EXPECT_TRUE(std::isinf(value->Find("i")->list()[0].number()));
}

TEST(Json, RefusesDuplicateKeysDeepNestingAndTrailingText) {
  EXPECT_FALSE(ParseJson(R"({"a":1,"a":2})").ok());
  EXPECT_FALSE(ParseJson(std::string(100, '[') + std::string(100, ']')).ok());
  EXPECT_FALSE(ParseJson("{} x").ok());
  EXPECT_FALSE(ParseJson("").ok());
}

TEST(Value, SetsAndFindsByDottedPath) {
  Value root;

  SetPath(root, "train.max_depth", Value(8));

  EXPECT_EQ(root.FindPath("train.max_depth")->number(), 8);
  EXPECT_EQ(Flatten(root).at("train.max_depth"), Value(8));
  EXPECT_EQ(root.FindPath("train.other"), nullptr);
}

TEST(DigestTest, MatchesTheStandardVector) {
  EXPECT_EQ(Sha256("abc").hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(DigestTest, HashesPiecesAsTheWhole) {
  Hasher hasher;
  hasher.Update("a");
  hasher.Update("bc");

  EXPECT_EQ(hasher.Finish(), Sha256("abc"));
  hasher.Update("abc");
  EXPECT_EQ(hasher.Finish(), Sha256("abc"));
}

TEST(DigestTest, ParsesWithAndWithoutPrefixAndNothingElse) {
  const std::string hex = Sha256("x").hex();

  EXPECT_EQ(Digest::Parse("sha256:" + hex)->hex(), hex);
  EXPECT_FALSE(Digest::Parse(hex.substr(1)).ok());
  EXPECT_FALSE(Digest::Parse("../../" + hex.substr(6)).ok());
}

TEST(Time, WritesAndReadsUtc) {
  EXPECT_EQ(FormatTime(UtcTime{1'000}), "1970-01-01T00:00:01.000Z");
  EXPECT_EQ(ParseTime("2026-11-23T11:49:24.123Z")->ms, 1795434564123);
  EXPECT_FALSE(ParseTime("yesterday").ok());
}

TEST(Time, DurationsNeedAUnit) {
  EXPECT_EQ(ParseDuration("30m")->count(), 1'800'000);
  EXPECT_EQ(ParseDuration("250ms")->count(), 250);
  EXPECT_FALSE(ParseDuration("30").ok());
  EXPECT_FALSE(ParseDuration("-3s").ok());
  EXPECT_FALSE(ParseDuration("99999999999999999d").ok());
}

TEST(Text, SuggestsOnlyNearWords) {
  EXPECT_EQ(ClosestWord("need", {"needs", "name"}), "needs");
  EXPECT_EQ(ClosestWord("xyzzy", {"needs", "name"}), "");
}

TEST(Text, RefusesBrokenUtf8) {
  EXPECT_TRUE(IsUtf8("gr\xC3\xBC\xC3\x9F"));
  EXPECT_FALSE(IsUtf8("\xC0\x80"));
  EXPECT_FALSE(IsUtf8("\xED\xA0\x80"));
  EXPECT_FALSE(IsUtf8("\xFF"));
}

TEST(Histogram, KnowsPercentilesToAnEighth) {
  Histogram histogram;
  for (int64_t us = 1; us <= 1'000; ++us) histogram.Add(us * 1'000);

  const Histogram::Summary summary = histogram.Summarize();

  EXPECT_EQ(summary.count, 1'000);
  EXPECT_NEAR(summary.mean_us, 500.5, 0.01);
  EXPECT_TRUE(500 <= summary.p50_us && summary.p50_us <= 500 * 1.125) << summary.p50_us;
  EXPECT_TRUE(900 <= summary.p90_us && summary.p90_us <= 900 * 1.125) << summary.p90_us;
  EXPECT_EQ(summary.max_us, 1'000);
  EXPECT_LE(summary.p99_us, summary.max_us);
}

TEST(Histogram, TakesEveryValue) {
  Histogram histogram;
  for (const int64_t value : {int64_t{-1}, int64_t{0}, int64_t{7}, int64_t{8}, INT64_MAX}) histogram.Add(value);

  EXPECT_EQ(histogram.Summarize().count, 5);
  EXPECT_EQ(histogram.Summarize().p50_us, 0.007);
  EXPECT_EQ(Histogram().Summarize().count, 0);
}

TEST(Glob, StarsStayWithinAPartAndTwoOfThemDoNot) {
  EXPECT_TRUE(MatchesGlob("*.csv", "a.csv"));
  EXPECT_FALSE(MatchesGlob("*.csv", "x/a.csv"));
  EXPECT_FALSE(MatchesGlob("*.csv", ".a.csv"));
  EXPECT_TRUE(MatchesGlob("**/*.csv", "a.csv"));
  EXPECT_TRUE(MatchesGlob("**/*.csv", "x/y/a.csv"));
  EXPECT_TRUE(MatchesGlob("src/**", "src/a/b.py"));
  EXPECT_FALSE(MatchesGlob("src/**", "source/a.py"));
  EXPECT_TRUE(MatchesGlob("a/**/b/*.c", "a/b/x/b/y.c"));
  EXPECT_FALSE(MatchesGlob("a/**/b/*.c", "a/b/x/y.c"));
  EXPECT_TRUE(MatchesGlob("20[0-9][0-9]/?.csv", "2026/a.csv"));
}

TEST(Glob, TakesNoTimeWithManyStars) {
  std::string pattern, path;
  for (int i = 0; i < 60; ++i) pattern += "**/a/";
  for (int i = 0; i < 500; ++i) path += "a/";

  EXPECT_FALSE(MatchesGlob(pattern + "b", path + "c"));
}

TEST(Ini, ReadsSectionsKeysAndComments) {
  const auto sections = ParseIni("a = 1\n[core]\n  key = value with = sign\r\n; no\n# no\nnonsense\n['remote \"x\"']\nurl='u'\n");

  EXPECT_EQ(sections.at("").at("a"), "1");
  EXPECT_EQ(sections.at("core").at("key"), "value with = sign");
  EXPECT_EQ(sections.at("core").size(), 1u);
  EXPECT_EQ(sections.at("remote \"x\"").at("url"), "u");
}

TEST(Md5, IsTheOneThatEverybodyHas) {
  Md5Hasher hasher;
  hasher.Update("a");
  hasher.Update("bc");

  EXPECT_EQ(hasher.Finish(), "900150983cd24fb0d6963f7d28e17f72");
}

}  // namespace
}  // namespace cd4ml
