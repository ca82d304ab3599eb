// Draws blocks of rows a thousand times, with one pass over the rows.
#include "cd4ml/core/bootstrap.h"

#include <algorithm>

#include "cd4ml/base/check.h"

namespace cd4ml::core {
namespace {

// Returns the block of each unit: its own, or with more units than blocks one of a random partition into equal parts.
std::vector<uint16_t> Partition(size_t units, uint64_t seed) {
  const size_t blocks = std::min(units, kBootstrapBlocks);
  std::vector<uint16_t> block_of(units);
  for (size_t unit = 0; unit < units; ++unit) block_of[unit] = static_cast<uint16_t>(unit * blocks / units);
  if (blocks == units) return block_of;
  Random random(seed);
  for (size_t left = units; left > 1; --left)
    std::swap(block_of[left - 1], block_of[random.Below(static_cast<uint32_t>(left))]);
  return block_of;
}

// The bounds are constants so that the compiler knows that whole vectors fit.
void AddScaled(double* __restrict to, const double* __restrict counts, double term) {
  for (size_t round = 0; round < kBootstrapRounds; ++round) to[round] += counts[round] * term;
}

}  // namespace

Bootstrap::Bootstrap(uint64_t seed) : seed_(seed), counts_(kBootstrapBlocks * kBootstrapRounds) {
  Random random(seed);
  for (double& count : counts_) count = random.Poisson();
}

std::vector<double> Bootstrap::Replicate(const Estimator& estimator, const std::vector<uint16_t>& block_of) const {
  const size_t sums = estimator.sums;
  std::vector<double> blocks(std::min(estimator.units, kBootstrapBlocks) * sums);
  for (size_t unit = 0; unit < estimator.units; ++unit) estimator.add(unit, &blocks[block_of[unit] * sums]);

  std::vector<double> rounds(sums * kBootstrapRounds);
  for (size_t at = 0; at < blocks.size(); ++at) {
    if (blocks[at] == 0) continue;
    AddScaled(&rounds[at % sums * kBootstrapRounds], &counts_[at / sums * kBootstrapRounds], blocks[at]);
  }
  std::vector<double> values(kBootstrapRounds), drawn(sums);
  for (size_t round = 0; round < kBootstrapRounds; ++round) {
    for (size_t sum = 0; sum < sums; ++sum) drawn[sum] = rounds[sum * kBootstrapRounds + round];
    values[round] = estimator.value(drawn.data());
  }
  return values;
}

Interval Bootstrap::Difference(const Estimator& candidate, const Estimator& champion, double confidence) const {
  CD4ML_CHECK(candidate.units == champion.units && candidate.units > 0, "a pair of samples of different rows");
  const std::vector<uint16_t> block_of = Partition(candidate.units, seed_ + 1);
  std::vector<double> low = Replicate(candidate, block_of);
  const std::vector<double> of_champion = Replicate(champion, block_of);
  for (size_t round = 0; round < kBootstrapRounds; ++round) low[round] -= of_champion[round];
  std::vector<double> high = low;
  for (size_t round = 0; round < kBootstrapRounds; ++round) {
    if (std::isfinite(low[round])) continue;
    low[round] = -HUGE_VAL;
    high[round] = HUGE_VAL;
  }
  std::sort(low.begin(), low.end());
  std::sort(high.begin(), high.end());
  const double tail = (1 - confidence) / 2;
  // Beside an unbounded round there is nothing to interpolate: the outer one counts.
  const auto quantile = [](const std::vector<double>& sorted, double share, bool upwards) {
    const double found = Quantile(sorted, share);
    const double at = share * static_cast<double>(sorted.size() - 1);
    return std::isnan(found) ? sorted[static_cast<size_t>(upwards ? std::ceil(at) : std::floor(at))] : found;
  };
  return {quantile(low, tail, false), quantile(high, 1 - tail, true)};
}

}  // namespace cd4ml::core
