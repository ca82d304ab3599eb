// How sure a difference between two models is: a paired bootstrap over the same rows.
#pragma once

#include <cstdint>
#include <vector>

#include "cd4ml/core/metrics.h"
#include "cd4ml/core/verdict.h"

namespace cd4ml::core {

constexpr size_t kBootstrapRounds = 1000;
// More units are gathered into this many blocks at random, and blocks are drawn: their sums vary as those of as many
// drawn rows do, and a spread that is known from 1,000 blocks is off by about 2 %.
constexpr size_t kBootstrapBlocks = 1000;
// Fewer units say too little about how they vary.
constexpr size_t kBootstrapUnitsMin = 30;
// The same data gives the same verdict, in every run.
constexpr uint64_t kBootstrapSeed = 20'190'820;

// Draws rows with replacement: each counts as often as a Poisson number with mean 1 says. All estimates of one instance
// see the same numbers, which is what makes a difference paired.
class Bootstrap {
 public:
  explicit Bootstrap(uint64_t seed);

  // Returns the percentile interval of candidate - champion. A round in which one of them has no value counts as
  // unbounded on both sides. REQUIRES: both have the same units, at least one; 0 < confidence < 1.
  Interval Difference(const Estimator& candidate, const Estimator& champion, double confidence) const;

 private:
  std::vector<double> Replicate(const Estimator& estimator, const std::vector<uint16_t>& block_of) const;

  uint64_t seed_;
  std::vector<double> counts_;   // Of block b in round r: at b * kBootstrapRounds + r.
};

}  // namespace cd4ml::core
