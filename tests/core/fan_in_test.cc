// Which results of other pipelines belong together.
#include "cd4ml/core/fan_in.h"

#include <gtest/gtest.h>

namespace cd4ml::core {
namespace {

TEST(FanIn, TakesTheNewestWhenNothingIsShared) {
  const FanIn result = ResolveFanIn({{"a", {{"a/2", {{"repo a", "2"}}}, {"a/1", {{"repo a", "1"}}}}},
                                     {"b", {{"b/9", {{"repo b", "9"}}}}}}, {});

  EXPECT_EQ(result.chosen, (std::vector<size_t>{0, 0}));
  EXPECT_EQ(result.conflict, "");
  EXPECT_EQ(result.shared, (Revisions{{"repo a", "2"}, {"repo b", "9"}}));
}

TEST(FanIn, GoesBackToTheNewestSetThatAgrees) {
  const std::vector<Upstream> upstreams = {
      {"a", {{"a/3", {{"repo", "c3"}}}, {"a/2", {{"repo", "c2"}}}, {"a/1", {{"repo", "c1"}}}}},
      {"b", {{"b/2", {{"repo", "c2"}}}, {"b/1", {{"repo", "c1"}}}}}};

  const FanIn result = ResolveFanIn(upstreams, {});

  EXPECT_EQ(result.chosen, (std::vector<size_t>{1, 0}));
  EXPECT_EQ(result.shared.at("repo"), "c2");
}

TEST(FanIn, KeepsWhatIsFixed) {
  const std::vector<Upstream> upstreams = {{"a", {{"a/2", {{"repo", "c2"}}}, {"a/1", {{"repo", "c1"}}}}}};

  EXPECT_EQ(ResolveFanIn(upstreams, {{"repo", "c1"}}).chosen, (std::vector<size_t>{1}));
}

TEST(FanIn, AgreesInEverySourceAtOnce) {
  // Every pair of sources has a candidate that agrees in one of them only.
  const std::vector<Upstream> upstreams = {
      {"a", {{"a/2", {{"x", "1"}, {"y", "2"}}}, {"a/1", {{"x", "1"}, {"y", "1"}}}}},
      {"b", {{"b/2", {{"x", "2"}, {"y", "2"}}}, {"b/1", {{"x", "1"}, {"y", "1"}}}}}};

  EXPECT_EQ(ResolveFanIn(upstreams, {}).chosen, (std::vector<size_t>{1, 1}));
}

TEST(FanIn, SaysWhoDisagreesAboutWhatAndGivesTheNewest) {
  const std::vector<Upstream> upstreams = {{"taxonomy", {{"tax/4", {{"sales", "aaaaaaaaaaaaaaaa"}}}}},
                                           {"prices", {{"pri/7", {{"sales", "bbbbbbbbbbbbbbbb"}}}}}};

  const FanIn result = ResolveFanIn(upstreams, {});

  EXPECT_EQ(result.conflict, "\"prices\" (pri/7) is made from sales at bbbbbbbbbbbb, \"taxonomy\" from aaaaaaaaaaaa");
  EXPECT_EQ(result.chosen, (std::vector<size_t>{0, 0}));
  EXPECT_EQ(ResolveFanIn({upstreams[0]}, {{"sales", "cccc"}}).conflict,
            "\"taxonomy\" (tax/4) is made from sales at aaaaaaaaaaaa, \"this run\" from cccc");
}

TEST(FanIn, TakesNoCandidateWhoseOwnRevisionsDoNotBelongTogether) {
  Candidate newest{.run = "mid/2", .used = {}}, older{.run = "mid/1", .used = {}};
  AddUsed(newest, "mid/2", "sales", "aaaaaaaaaaaaaaaa");
  AddUsed(newest, "up/7", "sales", "bbbbbbbbbbbbbbbb");
  AddUsed(older, "mid/1", "sales", "aaaaaaaaaaaaaaaa");
  AddUsed(older, "up/6", "sales", "aaaaaaaaaaaaaaaa");

  EXPECT_EQ(ResolveFanIn({{"m", {newest, older}}}, {}).chosen, (std::vector<size_t>{1}));
  EXPECT_EQ(ResolveFanIn({{"m", {newest}}}, {}).conflict,
            "\"m\" (mid/2) is made from sales at aaaaaaaaaaaa and, by up/7, at bbbbbbbbbbbb");
}

TEST(FanIn, HandsAMarkOnWithItsFirstReason) {
  Candidate mid{.run = "mid/1", .used = {}}, end{.run = "end/1", .used = {}}, behind{.run = "end/2", .used = {}};
  AddMark(mid, "mid/1", "two of sales");
  AddMark(end, "end/1", MixedText("m", mid));
  AddMark(behind, "mid/1", "two of sales");

  EXPECT_EQ(ResolveFanIn({{"m", {mid}}}, {}).conflict, "\"m\" (mid/1) is mixed: two of sales");
  EXPECT_EQ(MixedText("e", end), "\"e\" (end/1) is mixed: two of sales");
  EXPECT_EQ(MixedText("e", behind), "\"e\" (end/2) is mixed: by mid/1: two of sales");
}

}  // namespace
}  // namespace cd4ml::core
