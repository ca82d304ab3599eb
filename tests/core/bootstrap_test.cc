// How often an interval holds, and that a pair is a pair.
#include "cd4ml/core/bootstrap.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

namespace cd4ml::core {
namespace {

// The instance is costly to make and has no state.
const Bootstrap& Shared() {
  static const Bootstrap bootstrap(kBootstrapSeed);
  return bootstrap;
}

double Uniform(Random& random) { return (static_cast<double>(random.Next() >> 11) + 0.5) * 0x1p-53; }

double Normal(Random& random) {
  return std::sqrt(-2 * std::log(Uniform(random))) * std::cos(2 * std::numbers::pi * Uniform(random));
}

// Two models with errors that are alike: most of them comes from what no model knows.
struct Pair {
  std::vector<double> truth, candidate, champion;

  Sample Of(const std::vector<double>& numbers) const {
    Sample sample;
    sample.truth = truth;
    sample.numbers = numbers;
    return sample;
  }
  Interval Difference(const std::string& metric, double confidence = 0.95) const {
    return Shared().Difference(*MakeEstimator(metric, Of(candidate)), *MakeEstimator(metric, Of(champion)), confidence);
  }
};

Pair MakePair(size_t rows, double better, Random& random) {
  Pair pair;
  for (size_t i = 0; i < rows; ++i) {
    const double common = 100 * Normal(random);
    pair.truth.push_back(1000);
    pair.candidate.push_back(1000 + common + 10 * Normal(random));
    pair.champion.push_back(1000 + common + 10 * Normal(random) + better);
  }
  return pair;
}

TEST(Random, DrawsPoissonNumbersWithMeanAndVarianceOne) {
  Random random(1);
  double sum = 0, squares = 0;
  constexpr int kCount = 1'000'000;
  for (int i = 0; i < kCount; ++i) {
    const int drawn = random.Poisson();
    sum += drawn;
    squares += drawn * drawn;
  }
  EXPECT_NEAR(sum / kCount, 1, 0.005);
  EXPECT_NEAR(squares / kCount - 1, 1, 0.01);
}

TEST(Bootstrap, GivesTheSameForTheSame) {
  Random random(2);
  const Pair pair = MakePair(5000, 3, random);
  EXPECT_EQ(pair.Difference("mae"), pair.Difference("mae"));
}

TEST(Bootstrap, SeesNoDifferenceBetweenAModelAndItself) {
  Random random(3);
  Pair pair = MakePair(3000, 0, random);
  pair.champion = pair.candidate;
  for (const char* metric : {"mae", "rmse", "bias", "p90_ae"}) EXPECT_EQ(pair.Difference(metric), (Interval{0, 0})) << metric;
}

// What both models share must cancel out: drawn apart, the interval would be seven times as wide.
TEST(Bootstrap, IsPaired) {
  Random random(4);
  for (const size_t rows : {400, 20'000}) {
    const Pair pair = MakePair(rows, 0, random);
    double sum = 0, squares = 0;
    for (size_t i = 0; i < rows; ++i) {
      const double difference = std::abs(pair.candidate[i] - 1000) - std::abs(pair.champion[i] - 1000);
      sum += difference;
      squares += difference * difference;
    }
    const auto n = static_cast<double>(rows);
    const double error = std::sqrt((squares / n - sum / n * sum / n) / n);
    const Interval interval = pair.Difference("mae");
    EXPECT_NEAR(interval.high - interval.low, 2 * 1.96 * error, 0.15 * 2 * 1.96 * error) << rows;
    EXPECT_NEAR((interval.high + interval.low) / 2, sum / n, 0.5 * error) << rows;
  }
}

// The truth lies outside of a 95 % interval five times in a hundred, on either side alike: with rows, and with blocks of them.
TEST(Bootstrap, IsRightAsOftenAsItSays) {
  Random random(5);
  for (const size_t rows : {100, 1500}) {
    int above = 0, below = 0;
    constexpr int kTrials = 400;
    for (int trial = 0; trial < kTrials; ++trial) {
      const Interval interval = MakePair(rows, 0, random).Difference("mae");
      above += interval.low > 0;
      below += interval.high < 0;
    }
    // 20 of 400 are expected, with a standard deviation of 4.4.
    EXPECT_GE(above + below, 6) << rows;
    EXPECT_LE(above + below, 36) << rows;
    EXPECT_GE(std::min(above, below), 1) << rows;
  }
}

TEST(Bootstrap, ShowsADifferenceThatIsThere) {
  Random random(6);
  const Interval interval = MakePair(2000, 30, random).Difference("rmse");
  EXPECT_LT(interval.high, 0) << "the candidate has the smaller error";
}

TEST(Bootstrap, IsWiderTheSurerItIs) {
  Random random(7);
  const Pair pair = MakePair(1000, 0, random);
  const Interval narrow = pair.Difference("mae", 0.5), wide = pair.Difference("mae", 0.99);
  EXPECT_LT(wide.low, narrow.low);
  EXPECT_GT(wide.high, narrow.high);
}

// A file that is sorted must not make blocks of rows that are alike: their sums would vary far more than those of drawn rows.
TEST(Bootstrap, DoesNotDependOnTheOrderOfRows) {
  Random random(8);
  Pair pair;
  for (int i = 0; i < 20'000; ++i) {
    pair.truth.push_back(0);
    pair.candidate.push_back(Uniform(random));
    pair.champion.push_back(0.5);
  }
  const Interval before = pair.Difference("mae");
  std::sort(pair.candidate.begin(), pair.candidate.end());
  const Interval sorted = pair.Difference("mae");
  EXPECT_NEAR(sorted.high - sorted.low, before.high - before.low, 0.2 * (before.high - before.low));
}

TEST(Bootstrap, IsUnboundedWhereRoundsHaveNoValue) {
  // One positive among 40 rows: in a third of the rounds there is none, and then there is no recall.
  Sample sample;
  sample.task = PredictionTask::kClassification;
  std::vector<int32_t> truth(40, 0), labels(40, 0), others(40, 1);
  truth[7] = labels[7] = 1;
  const std::vector<std::string> names = {"0", "1"};
  sample.names = &names;
  sample.positive = 1;
  sample.truth_labels = truth;
  sample.labels = labels;
  Sample other = sample;
  other.labels = others;
  const Interval interval =
      Shared().Difference(*MakeEstimator("recall", sample), *MakeEstimator("recall", other), 0.95);
  EXPECT_EQ(interval.low, -HUGE_VAL);
  EXPECT_EQ(interval.high, HUGE_VAL);
}

TEST(MakeEstimator, HasNoneOfTheLargestError) {
  const Pair pair = {{1, 2}, {1, 2}, {1, 2}};
  EXPECT_EQ(MakeEstimator("max_error", pair.Of(pair.candidate)).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(MakeEstimator("accuracy", pair.Of(pair.candidate)).status().code(), absl::StatusCode::kNotFound);
}

// Quantiles: the middle of a thousand equal errors moves nowhere; that of spread ones does.
TEST(MakeEstimator, FindsHowFarAQuantileMoves) {
  Pair pair;
  Random random(9);
  for (int i = 0; i < 1000; ++i) {
    pair.truth.push_back(0);
    pair.candidate.push_back(i < 900 ? 5 : 6);
    pair.champion.push_back(5 + Uniform(random));
  }
  const Interval interval = pair.Difference("median_ae");
  EXPECT_LT(interval.high, 0);
  EXPECT_NEAR(interval.high - interval.low, 2 * 1.96 * 0.5 / std::sqrt(1000), 0.02) << "of a uniform distribution";
}

TEST(HigherIsBetter, KnowsTheSideOfEveryMetricButOfThoseWithoutOne) {
  for (const char* metric : {"r2", "r2.train", "recall.cat", "ndcg@7", "auc", "f1.macro"}) EXPECT_EQ(HigherIsBetter(metric), true) << metric;
  for (const char* metric : {"mae", "rmse.test", "p90_ae", "brier", "max_error", "false_positive_rate"})
    EXPECT_EQ(HigherIsBetter(metric), false) << metric;
  for (const char* metric : {"bias", "positive_rate", "revenue", ""}) EXPECT_EQ(HigherIsBetter(metric), std::nullopt) << metric;
}

}  // namespace
}  // namespace cd4ml::core
