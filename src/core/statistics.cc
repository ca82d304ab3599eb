// Quantiles, ranks and random numbers.
#include "cd4ml/core/statistics.h"

#include <algorithm>
#include <bit>
#include <numeric>

namespace cd4ml::core {

namespace {

// From the nearer side, so that both ends are met exactly.
double Between(double low, double high, double step) {
  return step < 0.5 ? low + (high - low) * step : high - (high - low) * (1 - step);
}

}  // namespace

double Quantile(std::span<const double> sorted, double share) {
  const double at = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(at);
  if (below + 1 >= sorted.size()) return sorted.back();
  return Between(sorted[below], sorted[below + 1], at - static_cast<double>(below));
}

std::vector<double> Quantiles(std::span<double> numbers, std::span<const double> shares) {
  std::vector<double> quantiles;
  auto begin = numbers.begin();
  for (const double share : shares) {
    const double at = share * static_cast<double>(numbers.size() - 1);
    const auto below = numbers.begin() + static_cast<ptrdiff_t>(at);
    std::nth_element(begin, below, numbers.end());
    const auto above = std::min_element(below + 1, numbers.end());
    quantiles.push_back(above == numbers.end() ? *below : Between(*below, *above, at - std::floor(at)));
    begin = below;
  }
  return quantiles;
}

double WeightedQuantile(std::span<const double> sorted, std::span<const double> cumulated, double share) {
  const double wanted = share * cumulated.back();
  const auto found = std::lower_bound(cumulated.begin(), cumulated.end(), wanted);
  return found == cumulated.end() ? sorted.back() : sorted[static_cast<size_t>(found - cumulated.begin())];
}

Random::Random(uint64_t seed) {
  for (uint64_t& part : state_) {   // SplitMix64, which spreads seeds that differ little.
    seed += 0x9E3779B97F4A7C15;
    uint64_t mixed = seed;
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9;
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB;
    part = mixed ^ (mixed >> 31);
  }
}

uint64_t Random::Next() {
  const uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
  const uint64_t shifted = state_[1] << 17;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= shifted;
  state_[3] = std::rotl(state_[3], 45);
  return result;
}

uint32_t Random::Below(uint32_t bound) {
  return static_cast<uint32_t>(((Next() >> 32) * bound) >> 32);
}

int Random::Poisson() {
  // The distribution function at 0, 1, 2, …, in units of 2^-53; beyond the last one nothing is left that could be drawn.
  static const std::vector<uint64_t> kBelow = [] {
    std::vector<uint64_t> below;
    double share = std::exp(-1.0), sum = 0;
    for (int k = 0; k < 19; share /= ++k) below.push_back(static_cast<uint64_t>((sum += share) * 0x1p53));
    return below;
  }();
  const uint64_t drawn = Next() >> 11;
  int k = 0;
  while (k < 18 && drawn >= kBelow[static_cast<size_t>(k)]) ++k;
  return k;
}

RankedClasses RankClasses(std::span<const double> scores, const std::vector<bool>& positive,
                          std::span<const double> weights) {
  const size_t count = scores.size();
  const auto weight = [&](size_t row) { return weights.empty() ? 1.0 : weights[row]; };
  Sum totals[2];
  for (size_t row = 0; row < count; ++row) totals[positive[row]].Add(weight(row));
  const double negatives = totals[0].value(), positives = totals[1].value();
  RankedClasses ranked{kNoNumber, std::vector<double>(count, kNoNumber)};
  if (!(negatives > 0 && positives > 0)) return ranked;

  std::vector<uint32_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return scores[a] < scores[b]; });
  Sum below[2], area;   // By class: the weight with a smaller score.
  for (size_t begin = 0; begin < count;) {
    size_t end = begin;
    Sum tied[2];
    for (; end < count && scores[order[end]] == scores[order[begin]]; ++end)
      tied[positive[order[end]]].Add(weight(order[end]));
    const double ahead_of = (below[0].value() + tied[0].value() / 2) / negatives;
    const double behind = (positives - below[1].value() - tied[1].value() / 2) / positives;
    for (; begin < end; ++begin) ranked.placements[order[begin]] = positive[order[begin]] ? ahead_of : behind;
    area.Add(tied[1].value() * ahead_of);
    for (const size_t of : {0, 1}) below[of].Add(tied[of].value());
  }
  ranked.auc = area.value() / positives;
  return ranked;
}

}  // namespace cd4ml::core
