// The block of the live view: what it shows when there is little room.
#include "cli/live_block.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/fake_daemon.h"
#include "cli/text.h"

namespace cd4ml::cli {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Le;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;

// A terminal without colour that nothing is written to.
struct Screen {
  FakeClock clock;
  FakeParser parser;
  std::ostringstream stream;
  CliPorts ports{.connect = {},
                 .parser = parser,
                 .clock = clock,
                 .json = {},
                 .read_file = {},
                 .find_definitions = {},
                 .terminal_size = {},
                 .interrupted = {},
                 .new_key = {},
                 .out = {stream, true},
                 .err = {stream, true},
                 .environment = {},
                 .user = "",
                 .working_dir = "",
                 .version = ""};
  Terminal terminal{ports.out, ports, ColorMode::kNever};
};

std::vector<std::string> LayOut(const RunView& view, size_t width, size_t height,
                                std::vector<std::string> log = {}) {
  Screen screen;
  return LayOutBlock({view, kStart + Duration(112'000), "train", std::move(log)}, screen.terminal,
                     width, height);
}

// 40 stages: 37 passed, one runs, one failed, one waits.
RunView ManyStages() {
  RunView view = RunningRun();
  core::Run& run = view.run;
  for (core::StageRun& stage : run.stages) stage.plan.needs.clear();
  run.stages[2].plan.needs = {"train"};
  const core::StageRun passed = run.stages[0], running = run.stages[1], blocked = run.stages[2];
  run.stages.assign(37, passed);
  for (size_t i = 0; i < run.stages.size(); ++i)
    run.stages[i].plan.name = "shard-" + std::to_string(i);
  run.stages.insert(run.stages.begin() + 20, running);
  run.stages.push_back(blocked);
  run.stages.push_back(passed);
  run.stages.back().plan.name = "broken";
  run.stages.back().state = core::StageState::kFailed;
  core::Reindex(run);
  return view;
}

TEST(LayOutBlock, ShowsAllStagesWithWordsWhenThereIsRoom) {
  const std::vector<std::string> lines = LayOut(RunningRun(), 80, 23, {"epoch 1", "epoch 2"});

  EXPECT_EQ(lines[0],
            "used-car-price/4  ● running  started 1m52s ago  9f2c1aa \"Use log mileage\"");
  EXPECT_EQ(lines[2], "  ✔ validate-data  passed      11s    1 rule passed, 1 warning");
  EXPECT_EQ(lines[3], "  ● train          running     1m39s  agent-a");
  EXPECT_EQ(lines[4], "  ○ error-gate     waiting            needs train");
  EXPECT_THAT(lines, Contains("  train │ epoch 1"));
  EXPECT_THAT(lines, Contains("        │ epoch 2"));
  EXPECT_EQ(lines.back(), "Ctrl-C detaches; the run goes on.");
}

TEST(LayOutBlock, SaysWhyAReadyStageWaits) {
  EXPECT_THAT(LayOut(WaitingRun(), 80, 23),
              Contains("  ○ train          waiting            1 agent lacks label \"gpu\""));
}

TEST(LayOutBlock, KeepsWhatRunsAndFailedWhenTheScreenIsLow) {
  const std::vector<std::string> lines = LayOut(ManyStages(), 80, 10);

  EXPECT_THAT(lines, SizeIs(Le(10u)));
  EXPECT_THAT(lines, Contains(StartsWith("  ● train")));
  EXPECT_THAT(lines, Contains(StartsWith("  ✗ broken")));
  EXPECT_THAT(lines, Contains(StartsWith("  ○ error-gate")));
  EXPECT_THAT(lines, Contains("  … 34 more passed"));
}

TEST(LayOutBlock, NeverOutgrowsTheScreen) {
  for (const RunView& view : {RunningRun(), WaitingRun(), ManyStages()}) {
    for (size_t height = 1; height <= 30; ++height) {
      for (size_t width : {1u, 10u, 20u, 40u, 80u, 120u}) {
        const auto lines = LayOut(view, width, height, {std::string(300, 'x'), "y", "z", "w"});
        EXPECT_THAT(lines, SizeIs(Le(height)));
        for (const std::string& line : lines) EXPECT_THAT(DisplayWidth(line), Le(width)) << line;
      }
    }
  }
}

TEST(LayOutBlock, MakesHostileNamesHarmless) {
  RunView view = RunningRun();
  view.run.pins.commit_subject = "x\x1b[2J\x1b]0;owned\x07";
  view.run.stages[1].attempts.back().agent = "agent\x1b[A\nevil";

  for (const std::string& line : LayOut(view, 120, 20)) {
    EXPECT_THAT(line, Not(HasSubstr("\x1b")));
    EXPECT_THAT(line, Not(HasSubstr("\n")));
  }
}

TEST(LayOutBlock, SaysWhatAQueuedRunWaitsFor) {
  const std::vector<std::string> lines = LayOut(QueuedRun(), 60, 24);

  EXPECT_THAT(lines[0], HasSubstr("○ queued  for 1m52s"));
  EXPECT_THAT(lines[1], StartsWith("  waits for used-car-price/4: concurrency group"));
  for (const std::string& line : lines) EXPECT_THAT(DisplayWidth(line), Le(60u));
}

}  // namespace
}  // namespace cd4ml::cli
