// What refers to blobs, by the real schema: which runs keep theirs, and what pins and tombstones say.
#include <gmock/gmock.h>

#include "fixture.h"

namespace cd4ml::store {
namespace {

class Records : public StoreTest {
 protected:
  StorageRecords& records() {
    if (records_ == nullptr) records_ = OpenStorageRecords(options_).value();
    return *records_;
  }
  // Why the model of a run whose outputs have this salt is wanted; "" when it is not.
  std::string WhyModel(const std::string& salt, int former) {
    const auto wanted = records().WantedBlobs(former).value();
    const auto found = wanted.find(Sha256("model " + salt));
    return found == wanted.end() ? "" : found->second;
  }

  std::unique_ptr<StorageRecords> records_;
};

TEST_F(Records, WhatIsLiveAndSoManyBeforeItAreWanted) {
  for (int i = 1; i <= 4; ++i) RunCar(i, std::to_string(i));

  EXPECT_EQ(WhyModel("4", 0), "live deployment car/4/release");
  EXPECT_EQ(WhyModel("3", 0), "");
  EXPECT_EQ(WhyModel("3", 2), "former deployment car/3/release");
  EXPECT_EQ(WhyModel("2", 2), "former deployment car/2/release");
  EXPECT_EQ(WhyModel("1", 2), "");
}

TEST_F(Records, WhatAWantedModelWasMadeFromIsWantedToo) {
  const core::Run run = RunCar(1, "one");

  const auto wanted = records().WantedBlobs(0).value();

  EXPECT_TRUE(wanted.contains(run.pins.materials.at("listings").artifact.digest));
  EXPECT_TRUE(wanted.contains(Sha256("clean one")));
  EXPECT_TRUE(wanted.contains(run.pins.definition));
}

TEST_F(Records, TheDefinitionOfEveryRunIsWanted) {
  core::StartRun old = CarRun(1);
  old.pins.definition = Sha256("another definition");
  core::Run run;
  ASSERT_OK(Do(run, old));
  ASSERT_OK(Do(run, core::CancelRun{"over"}));
  RunCar(2, "two");

  EXPECT_TRUE(core::IsTerminal(run.state));
  EXPECT_EQ(records().WantedBlobs(0)->at(Sha256("another definition")), "definition of a run");
}

TEST_F(Records, APinKeepsARunOrAVersionUntilItIsRemoved) {
  for (int i = 1; i <= 3; ++i) RunCar(i, std::to_string(i));
  const std::string model = "model:car/train.model@" + Sha256("model 1").hex();
  const Pin of_run{"car/2", "car/latest", "audit", "ana", UtcTime{1}};
  const Pin of_model{model, "abc", "baseline", "ben", UtcTime{2}};
  ASSERT_EQ(WhyModel("1", 0) + WhyModel("2", 0), "");

  ASSERT_OK(store_->Commit({PinChange{of_run}, PinChange{of_model}}));

  EXPECT_EQ(WhyModel("2", 0), "pin of car/2");
  EXPECT_EQ(WhyModel("1", 0), "pin of abc");
  EXPECT_TRUE(records().WantedBlobs(0)->contains(Sha256("clean 1"))) << "what it was made from";
  EXPECT_EQ(records().ArtifactOf(model).value(), Sha256("model 1"));
  const auto pins = records().ListPins().value();
  ASSERT_EQ(pins.size(), 2u);
  EXPECT_EQ(pins[0].reference, "abc");
  EXPECT_EQ(pins[1].reason, "audit");
  ASSERT_OK(store_->Commit({PinChange{of_run, true}, PinChange{of_model, true}}));
  EXPECT_EQ(WhyModel("1", 0) + WhyModel("2", 0), "");
}

TEST_F(Records, AnOpenRunKeepsWhatItRefersTo) {
  RunCar(1, "one");
  const core::StartRun start = CarRun(2);
  core::Run open;
  ASSERT_OK(Do(open, start));

  const auto wanted = records().WantedBlobs(0).value();

  EXPECT_EQ(wanted.at(start.pins.materials.at("listings").artifact.digest), "open run car/2");
}

TEST_F(Records, ATombstoneTellsWhatItWasAndTheLatestCounts) {
  const Digest digest = Sha256("gone");
  EXPECT_FALSE(records().FindTombstone(digest)->has_value());
  ASSERT_OK(store_->Commit({TombstoneChange{{{digest, 4, "model:m", "old", "ana", UtcTime{7}}}}}));
  ASSERT_OK(store_->Commit({TombstoneChange{{{digest, 4, "model:m", "older", "ben", UtcTime{8}}}}}));

  const auto stone = records().FindTombstone(digest).value();

  EXPECT_EQ(stone->what, "model:m");
  EXPECT_EQ(stone->why, "older");
  EXPECT_EQ(stone->by, "ben");
  EXPECT_EQ(stone->size, 4);
  EXPECT_EQ(stone->at, UtcTime{8});
}

TEST_F(Records, ATombstoneDoesNotForgetWhatItWas) {
  const Digest digest = Sha256("a file of a folder that is gone by now");
  ASSERT_OK(store_->Commit({TombstoneChange{{{digest, 4, "file a of model:m", "old", "ana", UtcTime{7}}}}}));
  ASSERT_OK(store_->Commit({TombstoneChange{{{digest, 4, "", "again", "ben", UtcTime{8}}}}}));

  const auto stone = records().FindTombstone(digest).value();

  EXPECT_EQ(stone->what, "file a of model:m");
  EXPECT_EQ(stone->by, "ben");
}

TEST_F(Records, VersionsNameTheirBlobs) {
  const core::Run run = RunCar(1, "one");

  EXPECT_THAT(records().NamesOfBlobs()->at(Sha256("model one")), testing::HasSubstr("model:car/train.model"));
  // Parameters have no artifact of their own, but may be a blob.
  EXPECT_THAT(records().NamesOfBlobs()->at(run.pins.params_digest), testing::HasSubstr("params:car"));
}

}  // namespace
}  // namespace cd4ml::store
