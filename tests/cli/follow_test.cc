// Following a run: what each view prints while it changes, and how it ends.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/fake_daemon.h"
#include "cli/progress.h"
#include "cli/text.h"

namespace cd4ml::cli {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;

// Advances a story by one step each time the program goes round its loop.
class Story {
 public:
  Story(FakeWorld& world, std::vector<std::function<void()>> steps)
      : world_(world), steps_(std::move(steps)) {
    world_.interrupted = [this] {
      if (next_ < steps_.size()) steps_[next_++]();
      return is_interrupted_;
    };
  }
  void Interrupt() { is_interrupted_ = true; }

 private:
  FakeWorld& world_;
  std::vector<std::function<void()>> steps_;
  size_t next_ = 0;
  bool is_interrupted_ = false;
};

RunView At(Duration elapsed, FakeWorld& world, const RunView& view) {
  world.clock.elapsed = elapsed;
  return view;
}

// used-car-price/2: validated, trained, rejected.
RunView Begun() {
  core::Run run = MakeRun(2);
  Begin(run, "validate-data", Duration(200));
  return {run, {}};
}
RunView Training() {
  RunView view = RunningRun();
  view.run.id = "used-car-price/2";
  return view;
}

const char kVerdict[] = "used-car-price/2 GATE REJECTED after 4m32s (exit 11)\n";

TEST(Plain, PrintsOneLinePerTransitionAndAHeartbeat) {
  FakeWorld world;
  world.daemon.runs["used-car-price/2"] = Begun();
  Story story(world, {[&] { world.daemon.Change(At(Duration(13'000), world, Training())); },
                      [&] { world.clock.elapsed = Duration(30'000); },
                      [&] { world.clock.elapsed = Duration(43'000); },
                      [&] { world.clock.elapsed = Duration(50'000); },
                      [&] { world.daemon.Change(At(Duration(272'000), world, RejectedRun())); }});

  const CliResult result = world.Run({"run", "watch", "used-car-price/2"});

  EXPECT_EQ(result.code, 11);
  EXPECT_EQ(
      result.out,
      "00:00 used-car-price/2 started 9f2c1aa \"Use log mileage\"\n"
      "00:00 validate-data  running            agent-a\n"
      "00:12 validate-data  passed      11s    1 rule passed, 1 warning\n"
      "00:12 train          running            agent-a\n"
      "00:43 train          running     30s\n"
      "04:20 train          passed      4m07s  mae 2710.4\n"
      "04:20 error-gate     running            agent-a\n"
      "04:32 error-gate     rejected    11s    mae: 2710.4, must be <= 1650 (n=3120, versus "
      "used-car-price/1 = 1513.2)\n"
      "04:32 package        skipped            needs error-gate\n"
      "04:32 contract-gate  skipped            needs error-gate\n"
      "04:32 release        skipped            needs error-gate\n"
      "04:32 watch          skipped            needs error-gate\n"
      "✗ error-gate: mae: 2710.4, must be <= 1650 (n=3120, versus used-car-price/1 = 1513.2)\n" +
          std::string(kVerdict));
}

TEST(Plain, SaysOnceWhyAStageWaits) {
  FakeWorld world;
  world.daemon.runs["used-car-price/5"] = WaitingRun();
  RunView other_reason = WaitingRun();
  other_reason.waiting["train"] = "is tried again in 3s";
  RunView ended = FailedRun();
  ended.run.id = "used-car-price/5";
  Story story(world,
              {[&] { world.daemon.Change(other_reason); }, [&] { world.daemon.Change(ended); }});

  const std::string out = world.Run({"run", "watch", "used-car-price/5"}).out;

  EXPECT_THAT(out, HasSubstr("train          waiting            1 agent lacks label \"gpu\"\n"));
  EXPECT_THAT(out, Not(HasSubstr("tried again")));
}

TEST(Plain, TellsOfAttemptsThatWereLost) {
  RunView view = RunningRun();
  core::StageRun& train = *view.run.FindStage("train");
  train.attempts[0].state = core::AttemptState::kLost;
  train.attempts[0].ended = kStart + Duration(20'000);
  train.attempts[0].outcome.message = "agent-a went silent";
  Begin(view.run, "train", Duration(25'000));

  std::vector<std::string> lines;
  for (const Transition& transition : TransitionsOf(view, kStart + Duration(30'000))) {
    lines.push_back(transition.stage + " " + transition.word + " " + transition.detail);
  }

  EXPECT_THAT(lines, testing::Contains("train lost agent-a went silent"));
  EXPECT_EQ(lines.back(), "train running agent-a, attempt 2");
}

TEST(Json, PrintsOneObjectPerTransition) {
  FakeWorld world;
  world.daemon.runs["used-car-price/2"] = RejectedRun();

  const CliResult result = world.Run({"run", "watch", "used-car-price/2", "--progress", "json"});

  for (const std::string& line : SplitLines(result.out)) EXPECT_TRUE(ParseJson(line).ok()) << line;
  EXPECT_THAT(SplitLines(result.out).back(), HasSubstr("\"exit_code\":11"));
  EXPECT_EQ(result.code, 11);
}

TEST(None, PrintsOnlyTheEnd) {
  FakeWorld world;
  world.daemon.runs["used-car-price/1"] = PassedRun();
  world.environment["CD4ML_PROGRESS"] = "none";

  EXPECT_EQ(world.Run({"run", "watch", "used-car-price/1"}).out,
            "used-car-price/1 PASSED after 1m17s (exit 0)\n");
}

// A terminal that understands what the block uses: cursor up, erase line, erase below, carriage
// return, colours.
class Emulator {
 public:
  explicit Emulator(const std::string& bytes) : screen_(1) {
    for (size_t i = 0; i < bytes.size(); ++i) {
      if (bytes[i] == '\n') {
        if (++row_ == screen_.size()) screen_.emplace_back();
        column_ = 0;
      } else if (bytes[i] == '\r') {
        column_ = 0;
      } else if (bytes[i] == '\x1b') {
        i = Escape(bytes, i);
      } else {
        screen_[row_].resize(std::max(screen_[row_].size(), column_ + 1), ' ');
        screen_[row_][column_++] = bytes[i];
      }
    }
  }

  std::string text() const { return Join(screen_, "\n"); }
  bool is_sane = true;

 private:
  size_t Escape(const std::string& bytes, size_t at) {
    const size_t end = bytes.find_first_of("ABCDEFGHJKm", at);
    const std::string number = bytes.substr(at + 2, end - at - 2);
    const char kind = bytes[end];
    if (kind == 'A') {
      is_sane &= std::stoul(number) <= row_;
      row_ -= std::min<size_t>(row_, std::stoul(number));
    } else if (kind == 'K') {
      screen_[row_].resize(std::min(screen_[row_].size(), column_));
    } else if (kind == 'J') {
      screen_[row_].resize(std::min(screen_[row_].size(), column_));
      screen_.resize(row_ + 1);
    } else {
      is_sane &= kind == 'm';
    }
    return end;
  }

  std::vector<std::string>
      screen_;  // Columns are bytes here, which is enough to see what is left over.
  size_t row_ = 0, column_ = 0;
};

TEST(Tty, RepaintsInPlaceAndEndsWithTheSameVerdictAsPlain) {
  FakeWorld world;
  world.is_terminal = true;
  world.environment["NO_COLOR"] = "1";
  world.daemon.runs["used-car-price/2"] = Begun();
  world.daemon.logs[{"used-car-price/2", "train", 1}] = "epoch 1\nepoch 2 \x1b[2Jboom\nepo";
  Story story(world, {[&] { world.daemon.Change(At(Duration(13'000), world, Training())); },
                      [&] { world.clock.elapsed = Duration(14'000); },
                      [&] { world.clock.elapsed = Duration(15'000); },
                      [&] { world.daemon.Change(At(Duration(272'000), world, RejectedRun())); }});

  const CliResult result = world.Run({"run", "watch", "used-car-price/2"});

  EXPECT_EQ(result.code, 11);
  EXPECT_THAT(result.out, HasSubstr("train │ epoch 1"));
  EXPECT_THAT(result.out, HasSubstr("epoch 2 boom"));
  const Emulator emulator(result.out);
  EXPECT_TRUE(emulator.is_sane);
  EXPECT_EQ(
      emulator.text(),
      "used-car-price/2  ✗ gate rejected  took 4m32s  9f2c1aa \"Use log mileage\"\n\n"
      "  ✔ validate-data  passed      11s    1 rule passed, 1 warning\n"
      "  ✔ train          passed      4m07s  mae 2710.4\n"
      "  ✗ error-gate     rejected    11s    mae: 2710.4, must be <= 1650 (n=3120, ver…\n"
      "  – package        skipped            needs error-gate\n"
      "  – contract-gate  skipped            needs error-gate\n"
      "  – release        skipped            needs error-gate\n"
      "  – watch          skipped            needs error-gate\n"
      "✗ error-gate: mae: 2710.4, must be <= 1650 (n=3120, versus used-car-price/1 = 1513.2)\n" +
          std::string(kVerdict));
}

TEST(Tty, IsPlainForDumbTerminalsAndAccessibleMode) {
  for (const auto& [name, value] :
       std::map<std::string, std::string>{{"TERM", "dumb"}, {"CD4ML_ACCESSIBLE", "1"}}) {
    FakeWorld world;
    world.is_terminal = true;
    world.environment = {{name, value}, {"NO_COLOR", "1"}};
    world.daemon.runs["used-car-price/2"] = RejectedRun();
    const std::string out = world.Run({"run", "watch", "used-car-price/2"}).out;
    EXPECT_THAT(out, HasSubstr("04:32 error-gate     rejected"));
    EXPECT_THAT(out, Not(HasSubstr("\x1b")));
  }
}

TEST(Follow, DetachesOnCtrlC) {
  for (const bool is_terminal : {false, true}) {
    FakeWorld world;
    world.is_terminal = is_terminal;
    world.daemon.runs["used-car-price/4"] = RunningRun();
    Story story(world, {[] {}, [&] { story.Interrupt(); }});

    const CliResult result = world.Run({"run", "watch", "used-car-price/4"});

    EXPECT_EQ(result.code, 130);
    EXPECT_EQ(
        result.err,
        "used-car-price/4 is still running; reattach with:  cd4ml run watch used-car-price/4\n");
    EXPECT_TRUE(Emulator(result.out).is_sane);
  }
}

TEST(Follow, GivesUpAfterTheTimeoutWhileTheRunGoesOn) {
  FakeWorld world;
  world.daemon.runs["used-car-price/4"] = RunningRun();
  Story story(world, {[] {}, [&] { world.clock.elapsed = Duration(60'000); }});

  const CliResult result = world.Run({"run", "wait", "used-car-price/4", "--timeout", "1m"});

  EXPECT_EQ(result.code, 8);
  EXPECT_THAT(result.err, HasSubstr("used-car-price/4 has not ended within 1m00s; it goes on"));
}

TEST(Follow, OutlivesARestartOfTheDaemon) {
  FakeWorld world;
  world.daemon.runs["used-car-price/2"] = Training();
  world.daemon.watch_failures = {absl::UnavailableError("connection reset")};
  std::vector<std::function<void()>> steps(8, [] {});
  steps.push_back([&] { world.daemon.Change(At(Duration(272'000), world, RejectedRun())); });
  Story story(world, steps);

  const CliResult result = world.Run({"run", "watch", "used-car-price/2"});

  EXPECT_EQ(result.code, 11);
  EXPECT_THAT(result.out, EndsWith(kVerdict));
  EXPECT_EQ(result.out.find("validate-data  passed"),
            result.out.rfind("validate-data  passed"));  // Told once.
}

TEST(Follow, OutlivesARestartAfterALongQuietTime) {
  FakeWorld world;
  world.daemon.runs["used-car-price/2"] = Training();
  std::vector<std::function<void()>> steps = {
      [&] { world.clock.elapsed = Duration(240'000); },
      [&] { world.daemon.watcher_end(absl::UnavailableError("connection reset")); }};
  steps.insert(steps.end(), 8, [] {});
  steps.push_back([&] { world.daemon.Change(At(Duration(272'000), world, RejectedRun())); });
  Story story(world, steps);

  EXPECT_EQ(world.Run({"run", "wait", "used-car-price/2"}).code, 11);
}

TEST(Follow, GivesUpOnADaemonThatStaysAway) {
  FakeWorld world;
  world.daemon.runs["used-car-price/4"] = RunningRun();
  world.daemon.watch_failures.assign(1, absl::UnavailableError("connection reset"));
  Story story(world, {[&] {
                world.daemon.failure = absl::UnavailableError("connection refused");
                world.clock.elapsed = Duration(31'000);
              }});

  EXPECT_EQ(world.Run({"run", "watch", "used-car-price/4"}).code, 7);
}

TEST(Follow, EndsWhenTheReaderHasGone) {
  // `cd4ml run watch … | head -1`: the stream goes bad, and nothing must loop for ever.
  FakeWorld world;
  world.daemon.runs["used-car-price/4"] = RunningRun();
  world.breaks_output = true;

  EXPECT_EQ(world.Run({"run", "watch", "used-car-price/4"}).code, 130);
}

TEST(LogsFollow, WaitsForStagesThatHaveNotBegunAndEndsAsTheRunEnds) {
  FakeWorld world;
  world.daemon.runs["used-car-price/2"] = Begun();
  const core::AttemptId gate{"used-car-price/2", "error-gate", 1};
  Story story(world, {[&] { world.daemon.Change(At(Duration(13'000), world, Training())); },
                      [&] {
                        world.daemon.logs[gate] = "segment lada is worst\nno line break";
                        world.daemon.Change(At(Duration(272'000), world, RejectedRun()));
                      }});

  const CliResult result = world.Run({"run", "logs", "used-car-price/2", "error-gate", "-f"});

  EXPECT_EQ(result.out, "segment lada is worst\nno line break\n");
  EXPECT_EQ(result.code, 11);
  EXPECT_THAT(result.err, EndsWith(kVerdict));
}

TEST(LogsFollow, PrefixesStagesAndTellsWhenTheyEnd) {
  FakeWorld world;
  world.daemon.runs["used-car-price/2"] = Training();
  world.daemon.logs[{"used-car-price/2", "validate-data", 1}] = "read 12,000 rows\n";
  world.daemon.logs[{"used-car-price/2", "train", 1}] = "epoch 1\n";
  Story story(world, {[&] {
                        world.daemon.logs[{"used-car-price/2", "train", 1}] += "epoch 2\n";
                      },
                      [&] { world.daemon.Change(At(Duration(272'000), world, RejectedRun())); }});

  EXPECT_EQ(world.Run({"run", "logs", "used-car-price/2", "-f"}).out,
            "validate-data │ read 12,000 rows\n"
            "── validate-data passed in 11s (attempt 1) ──\n"
            "train         │ epoch 1\n"
            "train         │ epoch 2\n"
            "── train passed in 4m07s (attempt 1) ──\n"
            "── error-gate rejected in 11s (attempt 1) ──\n");
}

}  // namespace
}  // namespace cd4ml::cli
