// Distances between the distributions that two profiles stand for.
#include "cd4ml/core/drift.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cd4ml/base/check.h"

namespace cd4ml::core {
namespace {

// A point of a distribution function; two with the same x are a step.
struct Knot {
  double x, share;
};
using Knots = std::vector<Knot>;  // Ascending in both; from share 0 to 1.

// Returns the shares at the borders and quantiles that lie within the column's extent, and at its ends.
Knots KnotsOf(const ColumnProfile& column, double rows, bool with_quantiles) {
  Knots knots;
  double below = 0;
  for (size_t i = 0; i < column.edges.size(); ++i) {
    below += static_cast<double>(column.counts[i]);
    knots.push_back({column.edges[i], below / rows});
  }
  for (size_t i = 0; with_quantiles && i < column.quantiles.size(); ++i)
    knots.push_back({column.quantiles[i], kProfileQuantiles[i]});
  std::erase_if(knots, [&](const Knot& knot) { return knot.x < column.min || knot.x >= column.max; });
  std::sort(knots.begin(), knots.end(), [](const Knot& a, const Knot& b) {
    return a.x != b.x ? a.x < b.x : a.share < b.share;
  });
  // A quantile between two rows may say a row less than the border beside it.
  for (size_t i = 1; i < knots.size(); ++i) knots[i].share = std::max(knots[i].share, knots[i - 1].share);
  knots.insert(knots.begin(), {column.min, 0});
  knots.push_back({column.max, 1});
  return knots;
}

// Returns the slope at a knot between two pieces with which the curve does not fall (Fritsch and Butland): none beside a
// flat piece, and that of the other piece beside a step.
double SlopeAt(const Knots& knots, size_t i) {
  const double before = knots[i].x - knots[i - 1].x;
  const double after = knots[i + 1].x - knots[i].x;
  const double rise_before = knots[i].share - knots[i - 1].share;
  const double rise_after = knots[i + 1].share - knots[i].share;
  if (before == 0 || after == 0) return before > 0 ? rise_before / before : after > 0 ? rise_after / after : 0;
  if (rise_before <= 0 || rise_after <= 0) return 0;
  const double weight_before = 2 * after + before;
  const double weight_after = after + 2 * before;
  return (weight_before + weight_after) / (weight_before * before / rise_before + weight_after * after / rise_after);
}

// Draws a smooth curve through the knots, as more of them; the outermost pieces stay as they are.
Knots Smoothed(const Knots& knots) {
  constexpr int kParts = 8;
  Knots smooth = {knots[0]};
  for (size_t i = 1; i < knots.size(); ++i) {
    const Knot& a = knots[i - 1];
    const Knot& b = knots[i];
    if (i > 1 && i + 1 < knots.size() && b.x > a.x && b.share > a.share) {
      const double from = SlopeAt(knots, i - 1) * (b.x - a.x);
      const double to = SlopeAt(knots, i) * (b.x - a.x);
      for (int part = 1; part < kParts; ++part) {
        const double t = static_cast<double>(part) / kParts;
        const double curve = t * t * (3 - 2 * t);
        smooth.push_back({a.x + t * (b.x - a.x), a.share + curve * (b.share - a.share) +
                                                     t * (1 - t) * ((1 - t) * from - t * to)});
      }
    }
    smooth.push_back(b);
  }
  return smooth;
}

double MeanOf(const Knots& knots) {
  double mean = 0;
  for (size_t i = 1; i < knots.size(); ++i) {
    mean += (knots[i].share - knots[i - 1].share) * (knots[i].x + knots[i - 1].x) / 2;
  }
  return mean;
}

// Lets the rows of the last piece lie so that the mean is right: evenly over its beginning, and one at its end.
void BendEnd(Knots& knots, double excess, double rows) {
  const Knot from = knots[knots.size() - 2];
  const Knot to = knots.back();
  const double last = 1 / rows;
  const double mass = to.share - from.share - last;
  if (mass <= 0) return;  // A single row: it lies at the end already.
  const double sum = (to.share - from.share) * (from.x + to.x) / 2 - excess - last * to.x;
  const double width = std::clamp(2 * (sum / mass - from.x), 0.0, to.x - from.x);
  knots.pop_back();
  knots.push_back({from.x + width, 1 - last});
  knots.push_back({to.x, 1 - last});
  knots.push_back(to);
}

Knots Mirrored(const Knots& knots) {
  Knots mirrored;
  for (auto knot = knots.rbegin(); knot != knots.rend(); ++knot)
    mirrored.push_back({-knot->x, 1 - knot->share});
  return mirrored;
}

Knots DistributionOf(const ColumnProfile& column, bool with_quantiles) {
  const auto rows = static_cast<double>(column.rows - column.nulls);
  Knots knots = Smoothed(KnotsOf(column, rows, with_quantiles));
  const double excess = MeanOf(knots) - column.mean;
  if (excess > 0) {
    BendEnd(knots, excess, rows);
  } else if (excess < 0) {
    knots = Mirrored(knots);
    BendEnd(knots, -excess, rows);
    knots = Mirrored(knots);
  }
  return knots;
}

// Returns the share at x; of a step the upper or the lower end.
double ShareAt(const Knots& knots, double x, bool upper) {
  const auto after = upper ? std::upper_bound(knots.begin(), knots.end(), x,
                                              [](double at, const Knot& knot) { return at < knot.x; })
                           : std::lower_bound(knots.begin(), knots.end(), x,
                                              [](const Knot& knot, double at) { return knot.x < at; });
  if (after == knots.begin()) return 0;
  if (after == knots.end()) return 1;
  const Knot& before = *(after - 1);
  if (after->x == before.x) return before.share;
  return before.share + (after->share - before.share) * (x - before.x) / (after->x - before.x);
}

// Returns the area between two functions that are straight between all of their knots.
double AreaBetween(const Knots& a, const Knots& b) {
  std::vector<double> xs;
  for (const Knots* knots : {&a, &b}) {
    for (const Knot& knot : *knots) xs.push_back(knot.x);
  }
  std::sort(xs.begin(), xs.end());
  double area = 0;
  for (size_t i = 1; i < xs.size(); ++i) {
    const double width = xs[i] - xs[i - 1];
    if (width <= 0) continue;
    const double left = ShareAt(a, xs[i - 1], true) - ShareAt(b, xs[i - 1], true);
    const double right = ShareAt(a, xs[i], false) - ShareAt(b, xs[i], false);
    // Two triangles where the lines cross.
    area += left * right >= 0 ? width * std::abs(left + right) / 2
                              : width * (left * left + right * right) / (2 * std::abs(left - right));
  }
  return area;
}

}  // namespace

double JensenShannonDistance(const ColumnProfile& reference, const ColumnProfile& current) {
  const auto [was, is] = BinsOfBoth(reference, current);
  CD4ML_CHECK(reference.rows > 0 && current.rows > 0, "profile without rows");
  double divergence = 0;
  for (size_t i = 0; i < was.size(); ++i) {
    const double p = was[i] / static_cast<double>(reference.rows);
    const double q = is[i] / static_cast<double>(current.rows);
    const double middle = (p + q) / 2;
    if (p > 0) divergence += p / 2 * std::log2(p / middle);
    if (q > 0) divergence += q / 2 * std::log2(q / middle);
  }
  return std::sqrt(std::clamp(divergence, 0.0, 1.0));
}

double WassersteinOverDeviation(const ColumnProfile& reference, const ColumnProfile& current) {
  CD4ML_CHECK(reference.numeric && current.numeric, "columns without numbers");
  CD4ML_CHECK(reference.rows > reference.nulls && current.rows > current.nulls, "columns without numbers");
  // What only one side knows better would be a difference of its own.
  const bool quantiles = !reference.quantiles.empty() && !current.quantiles.empty();
  const double distance =
      std::max(AreaBetween(DistributionOf(reference, quantiles), DistributionOf(current, quantiles)),
               std::abs(reference.mean - current.mean));
  if (reference.std > 0) return distance / reference.std;
  return distance > 0 ? std::numeric_limits<double>::infinity() : 0;
}

}  // namespace cd4ml::core
