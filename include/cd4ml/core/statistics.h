// Sums, quantiles and random numbers that metrics are made of: careful with rounding, the same on every machine.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace cd4ml::core {

constexpr double kNoNumber = std::numeric_limits<double>::quiet_NaN();

// Adds numbers up with what rounding loses of them (Neumaier), so that the sum of millions has an error of one rounding.
class Sum {
 public:
  void Add(double number) {
    const double sum = sum_ + number;
    lost_ += std::abs(sum_) >= std::abs(number) ? (sum_ - sum) + number : (number - sum) + sum_;
    sum_ = sum;
  }
  // An infinite sum has lost nothing that could be told.
  double value() const { return std::isfinite(lost_) ? sum_ + lost_ : sum_; }

 private:
  double sum_ = 0, lost_ = 0;
};

// Returns the `share`-quantile of ascending numbers by linear interpolation between neighbours, as numpy.quantile does.
// REQUIRES: `sorted` is not empty, 0 <= share <= 1.
double Quantile(std::span<const double> sorted, double share);

// Returns the same for several shares, which ascend, of numbers in any order, and puts them into another.
std::vector<double> Quantiles(std::span<double> numbers, std::span<const double> shares);

// Returns the first of ascending numbers up to which lies at least `share` of all weight; `cumulated` is the weight up
// to and with each. REQUIRES: neither is empty, and they are of one size.
double WeightedQuantile(std::span<const double> sorted, std::span<const double> cumulated, double share);

// A small generator of its own (xoshiro256**): the standard library's distributions differ from one to the next.
class Random {
 public:
  explicit Random(uint64_t seed);

  uint64_t Next();
  // Returns a number below `bound`. REQUIRES: bound > 0.
  uint32_t Below(uint32_t bound);
  // Returns a number from a Poisson distribution with mean 1.
  int Poisson();

 private:
  uint64_t state_[4];
};

// How two classes are told apart by a score: the area under the ROC curve, and what each row contributes to it.
struct RankedClasses {
  double auc = kNoNumber;             // NaN without rows of both classes.
  // Of a positive row: the share of negative weight that it is ahead of; of a negative row: the share of positive
  // weight that is ahead of it. A tie is half.
  std::vector<double> placements;
};

// `weights` is empty where every row counts alike. REQUIRES: no score is NaN.
RankedClasses RankClasses(std::span<const double> scores, const std::vector<bool>& positive,
                          std::span<const double> weights);

}  // namespace cd4ml::core
