// Ten thousand histories, every seed that has ever failed, and the planted bugs that must be found.
#include <gtest/gtest.h>
#include <sqlite3.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#include "cd4ml/base/log.h"
#include "tests/sim/world.h"
#include "tests/support/long_tests.h"

namespace cd4ml::sim {
namespace {

constexpr uint64_t kPlantSeedsMax = 1'000;

// The log of ten thousand daemons is of no use; nor is SQLite's count of its memory.
class Quiet : public testing::Environment {
 public:
  void SetUp() override {
    OpenLog("sim_test", LogLevel::kError, "/dev/null");
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
  }
};
const auto* const kQuiet = testing::AddGlobalTestEnvironment(new Quiet);

const char* NameOf(Mode mode) { return mode == Mode::kSafety ? "safety" : "liveness"; }

std::string Command(const Options& options) {
  return "cd4ml_sim --seed " + std::to_string(options.seed) + " --mode " + NameOf(options.mode);
}

// Long tests live through a hundred times as many.
uint64_t SeedCount() {
  return AreTestsLong() ? 500'000 : 5'000;
}

// Seeds that once found a bug: "SEED MODE what it found".
TEST(Histories, OfSeedsThatOnceFailedAreGood) {
  std::ifstream file(std::string(CD4ML_SOURCE_DIR) + "/tests/sim/seeds.txt");
  int seeds = 0;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    std::istringstream words(line);
    Options options;
    std::string mode;
    ASSERT_TRUE(words >> options.seed >> mode) << line;
    options.mode = mode == "safety" ? Mode::kSafety : Mode::kLiveness;
    EXPECT_EQ(Live(options).violation, "") << Command(options) << "\nonce found: " << line;
    ++seeds;
  }
  EXPECT_GT(seeds, 0);
}

TEST(Histories, AreTheSameWhenTheyAreLivedAgain) {
  for (Options options{.seed = 1}; options.seed <= 40; ++options.seed) {
    options.mode = options.seed % 2 == 0 ? Mode::kSafety : Mode::kLiveness;
    options.traced = false;
    const Lived once = Live(options), again = Live(options);
    EXPECT_EQ(once.hash, again.hash) << Command(options);
    EXPECT_EQ(once.steps, again.steps) << Command(options);
  }
}

TEST(Histories, BreakNoRule) {
  Lived sum;
  int failed = 0;
  const uint64_t seeds = SeedCount();
  for (Options options; options.seed < seeds && failed < 5; ++options.seed) {
    for (const Mode mode : {Mode::kSafety, Mode::kLiveness}) {
      options.mode = mode;
      const Lived lived = Live(options);
      EXPECT_EQ(lived.violation, "") << "see it with " << Command(options);
      failed += lived.violation.empty() ? 0 : 1;
      sum.events += lived.events;
      sum.crashes += lived.crashes;
      sum.runs += lived.runs;
    }
  }
  std::printf("%llu histories: %lld runs, %lld events, %lld crashes of the daemon\n",
              static_cast<unsigned long long>(2 * seeds), static_cast<long long>(sum.runs),
              static_cast<long long>(sum.events), static_cast<long long>(sum.crashes));
  // A world in which nothing happens breaks no rule either.
  EXPECT_GT(sum.events, static_cast<int64_t>(seeds) * 30);
  EXPECT_GT(sum.crashes, static_cast<int64_t>(seeds) / 2);
}

TEST(Histories, FindEveryPlantedBug) {
  for (const PlantName& planted : Plants()) {
    Options options{.plant = planted.plant};
    std::string found;
    for (; found.empty() && options.seed < kPlantSeedsMax; ++options.seed) {
      for (const Mode mode : {Mode::kSafety, Mode::kLiveness}) {
        options.mode = mode;
        if (found.empty()) found = Live(options).violation;
      }
    }
    EXPECT_NE(found, "") << planted.name << " was not found";
    std::printf("%-20s seed %4llu: %s\n", planted.name,
                static_cast<unsigned long long>(options.seed - 1),
                found.substr(0, found.find('\n')).c_str());
  }
}

}  // namespace
}  // namespace cd4ml::sim
