// Distances between profiles: against SciPy's values, and against the distance of all numbers.
#include "cd4ml/core/drift.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <random>

namespace cd4ml::core {
namespace {

ColumnProfile Categories(std::map<std::string, int64_t> top, int64_t other, int64_t nulls) {
  ColumnProfile column;
  for (const auto& [category, count] : top) column.rows += count;
  column.rows += other + nulls;
  column.top = std::move(top);
  column.other = other;
  column.nulls = nulls;
  return column;
}

// Golden values: scipy.spatial.distance.jensenshannon of SciPy 1.10 with base=2.
TEST(JensenShannonDistance, AgreesWithSciPy) {
  EXPECT_NEAR(JensenShannonDistance(Categories({{"a", 10}, {"b", 20}}, 30, 0), Categories({{"a", 5}, {"b", 5}}, 5, 45)),
              0.7498267181301354, 1e-12);
  EXPECT_NEAR(JensenShannonDistance(Categories({{"a", 100}, {"b", 100}}, 100, 0),
                                    Categories({{"a", 10}, {"b", 90}}, 200, 0)),
              0.3797947105269498, 1e-12);
}

TEST(JensenShannonDistance, IsZeroForEqualSharesAndOneForNothingInCommon) {
  const ColumnProfile a = Categories({{"a", 3}, {"b", 0}}, 0, 0);
  EXPECT_EQ(JensenShannonDistance(a, Categories({{"a", 300}, {"b", 0}}, 0, 0)), 0);
  EXPECT_EQ(JensenShannonDistance(a, Categories({{"a", 0}, {"b", 7}}, 0, 0)), 1);
}

using Numbers = std::vector<double>;

// Returns the profile of numbers as the table engine makes it.
ColumnProfile ProfileOf(Numbers numbers, std::vector<double> edges = {}) {
  std::sort(numbers.begin(), numbers.end());
  if (edges.empty()) {
    for (size_t i = 1; i < kProfileBins; ++i) {
      const double edge = numbers[(numbers.size() * i + kProfileBins - 1) / kProfileBins - 1];
      if (edges.empty() || edge > edges.back()) edges.push_back(edge);
    }
  }
  ColumnProfile column;
  column.numeric = true;
  column.edges = edges;
  column.counts.assign(edges.size() + 1, 0);
  for (const double number : numbers)
    ++column.counts[static_cast<size_t>(std::lower_bound(edges.begin(), edges.end(), number) - edges.begin())];
  const auto rows = static_cast<double>(numbers.size());
  column.rows = static_cast<int64_t>(numbers.size());
  column.min = numbers.front();
  column.max = numbers.back();
  column.mean = std::accumulate(numbers.begin(), numbers.end(), 0.0) / rows;
  for (const double number : numbers) column.std += (number - column.mean) * (number - column.mean) / (rows - 1);
  column.std = std::sqrt(column.std);
  for (const double share : kProfileQuantiles) {
    const double place = share * (rows - 1);
    const auto below = static_cast<size_t>(place);
    const double above = numbers[std::min(below + 1, numbers.size() - 1)];
    column.quantiles.push_back(numbers[below] + (place - static_cast<double>(below)) * (above - numbers[below]));
  }
  return column;
}

// Of two samples of one size: what scipy.stats.wasserstein_distance gives.
double Exact(Numbers a, Numbers b) {
  std::sort(a.begin(), a.end());
  std::sort(b.begin(), b.end());
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += std::abs(a[i] - b[i]);
  return sum / static_cast<double>(a.size());
}

Numbers Sample(uint64_t seed, const std::function<double(std::mt19937_64&)>& draw, size_t rows = 10'000) {
  std::mt19937_64 random(seed);
  Numbers numbers(rows);
  for (double& number : numbers) number = draw(random);
  return numbers;
}

double Measured(const Numbers& was, const Numbers& is) {
  const ColumnProfile reference = ProfileOf(was);
  return WassersteinOverDeviation(reference, ProfileOf(is, reference.edges));
}

double Normal(std::mt19937_64& random) { return std::normal_distribution<>()(random); }
double Price(std::mt19937_64& random) { return std::exp(8 + Normal(random)); }
// One price in two thousand is a joke, which decides the standard deviation.
double RealPrice(std::mt19937_64& random) {
  return random() % 2000 == 0 ? 11'111'111 : std::round(Price(random));
}
double Age(std::mt19937_64& random) { return static_cast<double>(std::poisson_distribution<>(8)(random)); }

TEST(WassersteinOverDeviation, IsCloseToTheDistanceOfAllNumbers) {
  struct Pair {
    const char* what;
    std::function<double(std::mt19937_64&)> was, is;
  };
  const Pair pairs[] = {
      {"the same", Normal, Normal},
      {"moved", Normal, [](auto& random) { return Normal(random) + 0.3; }},
      {"moved far", Normal, [](auto& random) { return Normal(random) + 20; }},
      {"wider", Normal, [](auto& random) { return 2 * Normal(random); }},
      {"narrower", Normal, [](auto& random) { return Normal(random) / 4; }},
      {"in two parts", Normal, [](auto& random) { return Normal(random) / 2 + (random() % 2 == 0 ? 2 : -2); }},
      {"prices", Price, Price},
      {"prices in another currency", Price, [](auto& random) { return 1.95583 * Price(random); }},
      {"half of the prices in another currency", Price,
       [](auto& random) { return (random() % 2 == 0 ? 1.95583 : 1) * Price(random); }},
      {"real prices", RealPrice, RealPrice},
      {"real prices without jokes", RealPrice, Price},
      {"jokes that are new", Price, RealPrice},
      {"ages", Age, Age},
      {"ages, older", Age, [](auto& random) { return Age(random) + 4; }},
      {"mirrored prices", [](auto& random) { return -Price(random); }, [](auto& random) { return -1.3 * Price(random); }},
      {"mostly zero", [](auto& random) { return random() % 10 < 7 ? 0 : Price(random); },
       [](auto& random) { return random() % 10 < 5 ? 0 : Price(random); }}};
  for (const Pair& pair : pairs) {
    const Numbers was = Sample(1, pair.was);
    const Numbers is = Sample(2, pair.is);
    const double exact = Exact(was, is) / ProfileOf(was).std;
    EXPECT_NEAR(Measured(was, is), exact, 0.05 * std::max(1.0, exact)) << pair.what;
  }
}

TEST(WassersteinOverDeviation, IsExactWhereNothingLiesBetweenTheBorders) {
  EXPECT_DOUBLE_EQ(Measured({0, 0, 0, 1}, {0, 1, 1, 1}), 0.5 / 0.5);
  EXPECT_DOUBLE_EQ(Measured({5, 5, 5, 6}, {5, 5, 5, 6}), 0);
}

TEST(WassersteinOverDeviation, OfAConstantIsZeroOrInfinite) {
  EXPECT_EQ(Measured({5, 5, 5}, {5, 5, 5}), 0);
  EXPECT_TRUE(std::isinf(Measured({5, 5, 5}, {5, 5, 6})));
}

TEST(WassersteinOverDeviation, DoesNotCountNulls) {
  ColumnProfile was = ProfileOf({1, 2, 3, 4});
  ColumnProfile is = was;
  is.rows += 100;
  is.nulls = 100;
  EXPECT_DOUBLE_EQ(WassersteinOverDeviation(was, is), 0);
}

}  // namespace
}  // namespace cd4ml::core
