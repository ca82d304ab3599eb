// When two requests under one idempotency key ask for the same.
#include "daemon/asked.h"

#include <gtest/gtest.h>

namespace cd4ml::daemon {
namespace {

// A run that was asked for with depth = 1 and name = "a", while seed came from the file.
core::Run Started() {
  core::Run run;
  run.pipeline = "p";
  run.lane = "production";
  run.pins.params = *ParseJson(R"({"depth": 1, "name": "a", "seed": 7})");
  run.pins.param_sources = {{"depth", "trigger"}, {"name", "trigger"}, {"seed", "params.yaml"}};
  return run;
}

std::string Ask(std::map<std::string, std::string> params, const std::string& lane = "production") {
  return Difference({"key", "p", lane, std::move(params)}, Started());
}

TEST(Asked, IsTheSameHoweverANumberIsWritten) {
  EXPECT_EQ(Ask({{"depth", "1"}, {"name", "a"}}), "");
  EXPECT_EQ(Ask({{"depth", "1.0"}, {"name", "a"}}), "");
}

TEST(Asked, IsAnotherWithOtherMoreOrFewerParameters) {
  EXPECT_EQ(Ask({{"depth", "2"}, {"name", "a"}}), "with depth = 1 where this request says 2");
  EXPECT_EQ(Ask({{"depth", "1"}, {"name", "b"}}), "with name = a where this request says b");
  EXPECT_EQ(Ask({{"depth", "1"}}), "with name, which this request does not give");
  EXPECT_EQ(Ask({{"depth", "1"}, {"name", "a"}, {"seed", "7"}}), "without seed, which this request gives");
}

TEST(Asked, IsAnotherOfAnotherPipelineOrLane) {
  EXPECT_EQ(Ask({{"depth", "1"}, {"name", "a"}}, "experiment"),
            "with lane production where this request says experiment");
  EXPECT_EQ(Difference({"key", "q", {}, {}}, Started()), "with pipeline p where this request says q");
}

TEST(Asked, OfAKindThatSaysNeitherLaneNorParametersIsTheSame) { EXPECT_EQ(Difference({"key", "p", {}, {}}, Started()), ""); }

}  // namespace
}  // namespace cd4ml::daemon
