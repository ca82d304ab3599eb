// Metrics of regression, classification and ranking, over columns.
#include "cd4ml/core/metrics.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <memory>
#include <numeric>

namespace cd4ml::core {
namespace {

using Metrics = std::map<std::string, double>;

// Of the error's distribution, as percentiles of its size.
constexpr int kPercentiles[] = {50, 90, 95, 99};
constexpr size_t kCutoffs[] = {1, 3, 5, 10};
constexpr size_t kCalibrationBins = 10;
// More classes have averages, and what a rule asks for by name.
constexpr size_t kClassesListedMax = 100;
constexpr size_t kConfusionClassesMax = 20;

template <typename T>
T Part(T all, size_t begin, size_t end) {
  return all.empty() ? all : all.subspan(begin, end - begin);
}

// Returns the number after `prefix` and before `suffix`: ("ndcg@", "ndcg@7", "") gives 7.
std::optional<size_t> NumberIn(std::string_view prefix, std::string_view name, std::string_view suffix) {
  if (!name.starts_with(prefix) || !name.ends_with(suffix)) return std::nullopt;
  if (name.size() <= prefix.size() + suffix.size()) return std::nullopt;
  name = name.substr(prefix.size(), name.size() - prefix.size() - suffix.size());
  size_t number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  const bool whole = error == std::errc() && end == name.data() + name.size();
  return whole && number > 0 ? std::optional(number) : std::nullopt;
}

// An average over rows; `finish` makes the metric of it.
Estimator Average(const Sample& sample, std::function<double(size_t)> term, double (*finish)(double) = nullptr) {
  return {.units = sample.size(),
          .sums = 2,
          .add =
              [sample, term = std::move(term)](size_t row, double* sums) {
                sums[0] += sample.weight(row);
                sums[1] += sample.weight(row) * term(row);
              },
          .value =
              [finish](const double* sums) {
                const double average = sums[1] / sums[0];
                return finish == nullptr ? average : finish(average);
              }};
}

// Adds up what all units contribute, exactly, and makes the metric of it.
double ValueOf(const Estimator& estimator) {
  std::vector<Sum> sums(estimator.sums);
  std::vector<double> terms(estimator.sums);
  for (size_t unit = 0; unit < estimator.units; ++unit) {
    std::fill(terms.begin(), terms.end(), 0.0);
    estimator.add(unit, terms.data());
    for (size_t i = 0; i < terms.size(); ++i) sums[i].Add(terms[i]);
  }
  for (size_t i = 0; i < terms.size(); ++i) terms[i] = sums[i].value();
  return estimator.value(terms.data());
}

// --- regression ---

double AbsError(const Sample& sample, size_t row) { return std::abs(sample.numbers[row] - sample.truth[row]); }

// Sizes of errors in ascending order, with the weight up to each where rows have one.
class ErrorSizes {
 public:
  explicit ErrorSizes(const Sample& sample) : sizes_(sample.size()) {
    for (size_t row = 0; row < sizes_.size(); ++row) sizes_[row] = AbsError(sample, row);
    if (sample.weights.empty()) {
      std::sort(sizes_.begin(), sizes_.end());
      return;
    }
    std::vector<uint32_t> order(sizes_.size());
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return sizes_[a] < sizes_[b]; });
    std::vector<double> sorted;
    Sum weight;
    for (const uint32_t row : order) {
      sorted.push_back(sizes_[row]);
      weight.Add(sample.weights[row]);
      cumulated_.push_back(weight.value());
    }
    sizes_ = std::move(sorted);
  }

  double At(double share) const {
    return cumulated_.empty() ? Quantile(sizes_, share) : WeightedQuantile(sizes_, cumulated_, share);
  }
  // Returns the share of weight that errors up to `size` have.
  double UpTo(double size) const {
    const auto count = static_cast<size_t>(std::upper_bound(sizes_.begin(), sizes_.end(), size) - sizes_.begin());
    if (cumulated_.empty()) return static_cast<double>(count) / static_cast<double>(sizes_.size());
    return count == 0 ? 0 : cumulated_[count - 1] / cumulated_.back();
  }
  double max() const { return sizes_.back(); }

 private:
  std::vector<double> sizes_, cumulated_;
};

// Returns the sizes of errors at kPercentiles, and the largest.
std::vector<double> Percentiles(const Sample& sample) {
  std::vector<double> shares, found;
  for (const int percentile : kPercentiles) shares.push_back(percentile / 100.0);
  if (sample.weights.empty()) {
    std::vector<double> sizes(sample.size());
    for (size_t row = 0; row < sizes.size(); ++row) sizes[row] = AbsError(sample, row);
    shares.push_back(1);
    return Quantiles(sizes, shares);
  }
  const ErrorSizes sizes(sample);
  for (const double share : shares) found.push_back(sizes.At(share));
  found.push_back(sizes.max());
  return found;
}

double WeightedMean(std::span<const double> numbers, const Sample& sample) {
  Sum sum, weight;
  for (size_t row = 0; row < numbers.size(); ++row) {
    sum.Add(sample.weight(row) * numbers[row]);
    weight.Add(sample.weight(row));
  }
  return sum.value() / weight.value();
}

Metrics ComputeRegression(const Sample& sample) {
  Sum weight, size, square, relative, error, spread;
  bool has_zero = false, varies = false;
  const double mean = WeightedMean(sample.truth, sample);
  for (size_t row = 0; row < sample.size(); ++row) {
    const double w = sample.weight(row), truth = sample.truth[row];
    const double e = sample.numbers[row] - truth;
    weight.Add(w);
    size.Add(w * std::abs(e));
    square.Add(w * (e * e));
    error.Add(w * e);
    spread.Add(w * ((truth - mean) * (truth - mean)));
    has_zero |= truth == 0;
    varies |= truth != sample.truth[0];
    if (truth != 0) relative.Add(w * (std::abs(e) / std::abs(truth)));
  }
  const double all = weight.value();
  const std::vector<double> sizes = Percentiles(sample);
  Metrics metrics = {{"mae", size.value() / all},
                     {"rmse", std::sqrt(square.value() / all)},
                     {"mape", has_zero ? kNoNumber : relative.value() / all},
                     {"r2", varies && spread.value() > 0 ? 1 - square.value() / spread.value() : kNoNumber},
                     {"bias", error.value() / all},
                     {"median_ae", sizes[0]},
                     {"max_error", sizes.back()}};
  for (size_t i = 0; i < std::size(kPercentiles); ++i)
    metrics["p" + std::to_string(kPercentiles[i]) + "_ae"] = sizes[i];
  return metrics;
}

Estimator QuantileEstimator(const Sample& sample, double share) {
  const auto sizes = std::make_shared<const ErrorSizes>(sample);
  const double at = sizes->At(share), up_to = sizes->UpTo(at);
  Estimator estimator = Average(sample, [sample, at](size_t row) { return AbsError(sample, row) <= at ? 1.0 : 0.0; });
  estimator.value = [sizes, share, up_to](const double* sums) {
    const double moved = share + up_to - sums[1] / sums[0];
    return std::isnan(moved) ? kNoNumber : sizes->At(std::clamp(moved, 0.0, 1.0));
  };
  return estimator;
}

Estimator R2Estimator(const Sample& sample) {
  const double mean = WeightedMean(sample.truth, sample);
  return {.units = sample.size(),
          .sums = 4,
          .add =
              [sample, mean](size_t row, double* sums) {
                const double w = sample.weight(row), e = sample.numbers[row] - sample.truth[row];
                const double distance = sample.truth[row] - mean;
                sums[0] += w;
                sums[1] += w * (e * e);
                sums[2] += w * distance;
                sums[3] += w * (distance * distance);
              },
          .value =
              [](const double* sums) {
                const double spread = sums[3] - sums[2] * sums[2] / sums[0];
                return spread > 0 ? 1 - sums[1] / spread : kNoNumber;
              }};
}

absl::StatusOr<Estimator> RegressionEstimator(const std::string& name, const Sample& sample) {
  const auto size = [sample](size_t row) { return AbsError(sample, row); };
  if (name == "mae") return Average(sample, size);
  if (name == "bias") return Average(sample, [sample](size_t row) { return sample.numbers[row] - sample.truth[row]; });
  if (name == "rmse") {
    return Average(sample, [size](size_t row) { return size(row) * size(row); }, [](double x) { return std::sqrt(x); });
  }
  if (name == "mape") {
    return Average(sample, [sample, size](size_t row) {
      return sample.truth[row] == 0 ? kNoNumber : size(row) / std::abs(sample.truth[row]);
    });
  }
  if (name == "r2") return R2Estimator(sample);
  if (name == "median_ae") return QuantileEstimator(sample, 0.5);
  if (const auto percentile = NumberIn("p", name, "_ae"); percentile && *percentile < 100)
    return QuantileEstimator(sample, static_cast<double>(*percentile) / 100);
  if (name == "max_error")
    return absl::InvalidArgumentError("drawing rows again says nothing about the largest error there can be");
  return absl::NotFoundError("");
}

// --- classification ---

// Of one class: how much weight was predicted as it, is it, and both.
struct ClassCounts {
  double predicted = 0, actual = 0, hits = 0;
};

enum class Rate { kPrecision, kRecall, kF1 };
constexpr std::pair<std::string_view, Rate> kRates[] = {
    {"precision", Rate::kPrecision}, {"recall", Rate::kRecall}, {"f1", Rate::kF1}};

double RateOf(Rate rate, const ClassCounts& counts) {
  double of = counts.predicted;
  if (rate == Rate::kRecall) of = counts.actual;
  if (rate == Rate::kF1) of = (counts.predicted + counts.actual) / 2;
  return of > 0 ? counts.hits / of : kNoNumber;
}

// In averages a class without a value counts as 0, as everybody does it.
double RateOrZero(Rate rate, const ClassCounts& counts) {
  const double value = RateOf(rate, counts);
  return std::isnan(value) ? 0 : value;
}

// The average over the classes that occur.
double Macro(Rate rate, std::span<const ClassCounts> classes) {
  double sum = 0, count = 0;
  for (const ClassCounts& one : classes) {
    if (!(one.predicted + one.actual > 0)) continue;
    sum += RateOrZero(rate, one);
    ++count;
  }
  return sum / count;
}

double Weighted(Rate rate, std::span<const ClassCounts> classes) {
  double sum = 0, weight = 0;
  for (const ClassCounts& one : classes) {
    weight += one.actual;
    sum += one.actual * RateOrZero(rate, one);
  }
  return sum / weight;
}

double BalancedAccuracy(std::span<const ClassCounts> classes) {
  double sum = 0, count = 0;
  for (const ClassCounts& one : classes) {
    if (!(one.actual > 0)) continue;
    sum += one.hits / one.actual;
    ++count;
  }
  return sum / count;
}

double LogLoss(bool is_positive, double score) {
  constexpr double kLeast = std::numeric_limits<double>::epsilon();
  const double yes = std::clamp(score, kLeast, 1 - kLeast), no = 1 - yes;
  return -std::log((is_positive ? yes : no) / (yes + no));
}

size_t BinOf(double score) {
  size_t bin = 0;
  while (bin + 1 < kCalibrationBins && score > static_cast<double>(bin + 1) * 0.1) ++bin;
  return bin;
}

// The distance between score and truth by bins of the score; `sums` holds weight, score and truth of each.
double CalibrationError(const double* sums) {
  double all = 0, distance = 0;
  for (size_t bin = 0; bin < kCalibrationBins; ++bin) {
    all += sums[3 * bin];
    distance += std::abs(sums[3 * bin + 1] - sums[3 * bin + 2]);
  }
  return distance / all;
}

bool IsPositive(const Sample& sample, size_t row) { return sample.truth_labels[row] == sample.positive; }

bool AreProbabilities(const Sample& sample) {
  return std::all_of(sample.scores.begin(), sample.scores.end(), [](double p) { return p >= 0 && p <= 1; });
}

std::vector<bool> Positives(const Sample& sample) {
  std::vector<bool> positives(sample.size());
  for (size_t row = 0; row < sample.size(); ++row) positives[row] = IsPositive(sample, row);
  return positives;
}

// A metric over counts of classes, which lie behind each other in the sums.
Estimator ClassEstimator(const Sample& sample, double (*value)(Rate, std::span<const ClassCounts>), Rate rate) {
  const size_t classes = sample.names->size();
  return {.units = sample.size(),
          .sums = 3 * classes,
          .add =
              [sample](size_t row, double* sums) {
                const auto truth = static_cast<size_t>(sample.truth_labels[row]);
                const auto label = static_cast<size_t>(sample.labels[row]);
                sums[3 * label] += sample.weight(row);
                sums[3 * truth + 1] += sample.weight(row);
                if (truth == label) sums[3 * truth + 2] += sample.weight(row);
              },
          .value =
              [value, rate, classes](const double* sums) {
                std::vector<ClassCounts> counts(classes);
                for (size_t i = 0; i < classes; ++i) counts[i] = {sums[3 * i], sums[3 * i + 1], sums[3 * i + 2]};
                return value(rate, counts);
              }};
}

Estimator OneClassEstimator(const Sample& sample, int32_t label, Rate rate) {
  return {.units = sample.size(),
          .sums = 3,
          .add =
              [sample, label](size_t row, double* sums) {
                const bool predicted = sample.labels[row] == label, actual = sample.truth_labels[row] == label;
                if (predicted) sums[0] += sample.weight(row);
                if (actual) sums[1] += sample.weight(row);
                if (predicted && actual) sums[2] += sample.weight(row);
              },
          .value = [rate](const double* sums) { return RateOf(rate, {sums[0], sums[1], sums[2]}); }};
}

Estimator FalsePositiveEstimator(const Sample& sample) {
  return {.units = sample.size(),
          .sums = 2,
          .add =
              [sample](size_t row, double* sums) {
                if (IsPositive(sample, row)) return;
                sums[0] += sample.weight(row);
                if (sample.labels[row] == sample.positive) sums[1] += sample.weight(row);
              },
          .value = [](const double* sums) { return sums[0] > 0 ? sums[1] / sums[0] : kNoNumber; }};
}

Estimator AucEstimator(const Sample& sample) {
  const auto ranked =
      std::make_shared<const RankedClasses>(RankClasses(sample.scores, Positives(sample), sample.weights));
  return {.units = sample.size(),
          .sums = 4,
          .add =
              [sample, ranked](size_t row, double* sums) {
                const size_t of = IsPositive(sample, row) ? 0 : 2;
                sums[of] += sample.weight(row);
                sums[of + 1] += sample.weight(row) * ranked->placements[row];
              },
          .value =
              [ranked](const double* sums) {
                return std::clamp(sums[1] / sums[0] + sums[3] / sums[2] - ranked->auc, 0.0, 1.0);
              }};
}

Estimator CalibrationEstimator(const Sample& sample) {
  return {.units = sample.size(),
          .sums = 3 * kCalibrationBins,
          .add =
              [sample](size_t row, double* sums) {
                double* bin = sums + 3 * BinOf(sample.scores[row]);
                bin[0] += sample.weight(row);
                bin[1] += sample.weight(row) * sample.scores[row];
                if (IsPositive(sample, row)) bin[2] += sample.weight(row);
              },
          .value = CalibrationError};
}

// Metrics of the score; NOT_FOUND for other names.
absl::StatusOr<Estimator> ScoreEstimator(const std::string& name, const Sample& sample) {
  if (name == "auc") return AucEstimator(sample);
  if (name != "log_loss" && name != "brier" && name != "calibration_error") return absl::NotFoundError("");
  if (!AreProbabilities(sample))
    return Average(sample, [](size_t) { return kNoNumber; });
  if (name == "calibration_error") return CalibrationEstimator(sample);
  if (name == "log_loss") {
    return Average(sample,
                   [sample](size_t row) { return LogLoss(IsPositive(sample, row), sample.scores[row]); });
  }
  return Average(sample, [sample](size_t row) {
    const double distance = sample.scores[row] - (IsPositive(sample, row) ? 1 : 0);
    return distance * distance;
  });
}

double BalancedAccuracyOf(Rate, std::span<const ClassCounts> classes) { return BalancedAccuracy(classes); }

// precision, recall and f1: of the positive label, of another one, or averaged.
absl::StatusOr<Estimator> RateEstimator(const std::string& name, const Sample& sample) {
  const size_t dot = name.find('.');
  for (const auto& [word, rate] : kRates) {
    if (std::string_view(name).substr(0, dot) != word) continue;
    if (dot == std::string::npos) {
      if (sample.positive == kNoLabel) break;
      return OneClassEstimator(sample, sample.positive, rate);
    }
    const std::string label = name.substr(dot + 1);
    if (label == "macro") return ClassEstimator(sample, Macro, rate);
    if (label == "weighted") return ClassEstimator(sample, Weighted, rate);
    const auto found = std::find(sample.names->begin(), sample.names->end(), label);
    if (found != sample.names->end())
      return OneClassEstimator(sample, static_cast<int32_t>(found - sample.names->begin()), rate);
  }
  return absl::NotFoundError("");
}

absl::StatusOr<Estimator> ClassificationEstimator(const std::string& name, const Sample& sample) {
  if (name == "accuracy") {
    return Average(sample,
                   [sample](size_t row) { return sample.labels[row] == sample.truth_labels[row] ? 1.0 : 0.0; });
  }
  if (name == "balanced_accuracy") return ClassEstimator(sample, BalancedAccuracyOf, Rate::kRecall);
  if (sample.positive != kNoLabel) {
    if (name == "positive_rate") {
      return Average(sample, [sample](size_t row) { return sample.labels[row] == sample.positive ? 1.0 : 0.0; });
    }
    if (name == "false_positive_rate") return FalsePositiveEstimator(sample);
    if (!sample.scores.empty()) {
      if (absl::StatusOr<Estimator> estimator = ScoreEstimator(name, sample); estimator.ok()) return estimator;
    }
  }
  return RateEstimator(name, sample);
}

std::vector<ClassCounts> CountClasses(const Sample& sample) {
  struct Sums {
    Sum predicted, actual, hits;
  };
  std::vector<Sums> sums(sample.names->size());
  for (size_t row = 0; row < sample.size(); ++row) {
    const auto truth = static_cast<size_t>(sample.truth_labels[row]), label = static_cast<size_t>(sample.labels[row]);
    sums[label].predicted.Add(sample.weight(row));
    sums[truth].actual.Add(sample.weight(row));
    if (truth == label) sums[truth].hits.Add(sample.weight(row));
  }
  std::vector<ClassCounts> counts;
  for (const Sums& one : sums) counts.push_back({one.predicted.value(), one.actual.value(), one.hits.value()});
  return counts;
}

Metrics ComputeClassification(const Sample& sample) {
  const std::vector<ClassCounts> classes = CountClasses(sample);
  Sum hits, all;
  for (const ClassCounts& one : classes) {
    hits.Add(one.hits);
    all.Add(one.actual);
  }
  Metrics metrics = {{"accuracy", hits.value() / all.value()}, {"balanced_accuracy", BalancedAccuracy(classes)}};
  for (const auto& [word, rate] : kRates) {
    const std::string name(word);
    metrics[name + ".macro"] = Macro(rate, classes);
    metrics[name + ".weighted"] = Weighted(rate, classes);
    for (size_t i = 0; i < classes.size() && classes.size() <= kClassesListedMax; ++i) {
      if (classes[i].predicted + classes[i].actual > 0)
        metrics.emplace(name + "." + (*sample.names)[i], RateOf(rate, classes[i]));
    }
    if (sample.positive != kNoLabel) metrics[name] = RateOf(rate, classes[static_cast<size_t>(sample.positive)]);
  }
  if (sample.positive == kNoLabel) return metrics;
  const ClassCounts& positive = classes[static_cast<size_t>(sample.positive)];
  const double negatives = all.value() - positive.actual;
  metrics["positive_rate"] = positive.predicted / all.value();
  metrics["false_positive_rate"] = negatives > 0 ? (positive.predicted - positive.hits) / negatives : kNoNumber;
  if (sample.scores.empty()) return metrics;
  metrics["auc"] = RankClasses(sample.scores, Positives(sample), sample.weights).auc;
  for (const char* name : {"log_loss", "brier", "calibration_error"})
    metrics[name] = ValueOf(*ScoreEstimator(name, sample));
  return metrics;
}

// --- ranking ---

enum class Ranking { kNdcg, kPrecision, kMap, kMrr };

struct RankingMetric {
  Ranking form;
  size_t cutoff = std::numeric_limits<size_t>::max();   // Only so many first places count.
};

std::optional<RankingMetric> ParseRanking(std::string_view name) {
  if (name == "ndcg") return RankingMetric{Ranking::kNdcg};
  if (name == "map") return RankingMetric{Ranking::kMap};
  if (name == "mrr") return RankingMetric{Ranking::kMrr};
  if (const auto cutoff = NumberIn("ndcg@", name, "")) return RankingMetric{Ranking::kNdcg, *cutoff};
  if (const auto cutoff = NumberIn("precision@", name, "")) return RankingMetric{Ranking::kPrecision, *cutoff};
  return std::nullopt;
}

// Rows with one score: nobody knows their order, so each place gets its share of them.
struct Tie {
  size_t count = 0;
  double gain = 0;      // Together.
  size_t relevant = 0;
};

// One group, from the best score to the worst, and its gains as a perfect ranking would have them.
struct RankedGroup {
  std::vector<Tie> ties;
  std::vector<double> best;
  size_t relevant = 0;
};

RankedGroup RankGroup(std::span<const double> gains, std::span<const double> scores) {
  std::vector<uint32_t> order(gains.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return scores[a] > scores[b]; });
  RankedGroup group;
  for (size_t i = 0; i < order.size(); ++i) {
    if (i == 0 || scores[order[i]] != scores[order[i - 1]]) group.ties.emplace_back();
    Tie& tie = group.ties.back();
    ++tie.count;
    tie.gain += gains[order[i]];
    if (gains[order[i]] > 0) ++tie.relevant;
  }
  for (const Tie& tie : group.ties) group.relevant += tie.relevant;
  group.best.assign(gains.begin(), gains.end());
  std::sort(group.best.begin(), group.best.end(), std::greater<>());
  return group;
}

double Discount(size_t place) { return 1 / std::log2(static_cast<double>(place) + 2); }

double Ndcg(const RankedGroup& group, size_t cutoff) {
  if (!group.best.empty() && group.best.back() < 0) return kNoNumber;
  double gained = 0, ideal = 0;
  size_t place = 0;
  for (const Tie& tie : group.ties) {
    double discounts = 0;
    for (const size_t end = place + tie.count; place < end; ++place) discounts += place < cutoff ? Discount(place) : 0;
    gained += tie.gain / static_cast<double>(tie.count) * discounts;
  }
  for (size_t i = 0; i < std::min(cutoff, group.best.size()); ++i) ideal += group.best[i] * Discount(i);
  return ideal == 0 ? 0 : gained / ideal;
}

double PrecisionAt(const RankedGroup& group, size_t cutoff) {
  double relevant = 0;
  size_t place = 0;
  for (const Tie& tie : group.ties) {
    if (place >= cutoff) break;
    const double within = static_cast<double>(std::min(tie.count, cutoff - place));
    relevant += static_cast<double>(tie.relevant) * within / static_cast<double>(tie.count);
    place += tie.count;
  }
  return relevant / static_cast<double>(cutoff);
}

double AveragePrecision(const RankedGroup& group) {
  if (group.relevant == 0) return 0;
  double sum = 0, relevant = 0, places = 0;
  for (const Tie& tie : group.ties) {
    relevant += static_cast<double>(tie.relevant);
    places += static_cast<double>(tie.count);
    sum += static_cast<double>(tie.relevant) * (relevant / places);
  }
  return sum / static_cast<double>(group.relevant);
}

// A tie counts as its last place: a model that scores all alike has found nothing.
double ReciprocalRank(const RankedGroup& group) {
  size_t place = 0;
  for (const Tie& tie : group.ties) {
    place += tie.count;
    if (tie.relevant > 0) return 1 / static_cast<double>(place);
  }
  return 0;
}

double ValueOf(const RankingMetric& metric, const RankedGroup& group) {
  switch (metric.form) {
    case Ranking::kNdcg:
      return Ndcg(group, metric.cutoff);
    case Ranking::kPrecision:
      return PrecisionAt(group, metric.cutoff);
    case Ranking::kMap:
      return AveragePrecision(group);
    case Ranking::kMrr:
      return ReciprocalRank(group);
  }
  return kNoNumber;
}

// Returns the metrics of every group: values[metric][group].
std::vector<std::vector<double>> RankGroups(const std::vector<RankingMetric>& metrics, const Sample& sample) {
  std::vector<std::vector<double>> values(metrics.size());
  for (size_t begin = 0; begin < sample.size();) {
    size_t end = begin;
    while (end < sample.size() && sample.groups[end] == sample.groups[begin]) ++end;
    const RankedGroup group = RankGroup(Part(sample.truth, begin, end), Part(sample.numbers, begin, end));
    for (size_t i = 0; i < metrics.size(); ++i) values[i].push_back(ValueOf(metrics[i], group));
    begin = end;
  }
  return values;
}

Metrics ComputeRanking(const Sample& sample) {
  std::vector<std::string> names = {"ndcg", "map", "mrr"};
  for (const size_t cutoff : kCutoffs) {
    for (const char* of : {"ndcg@", "precision@"}) names.push_back(of + std::to_string(cutoff));
  }
  std::vector<RankingMetric> forms;
  for (const std::string& name : names) forms.push_back(*ParseRanking(name));
  const std::vector<std::vector<double>> values = RankGroups(forms, sample);
  Metrics metrics;
  for (size_t i = 0; i < names.size(); ++i) {
    Sum sum;
    for (const double value : values[i]) sum.Add(value);
    metrics[names[i]] = sum.value() / static_cast<double>(values[i].size());
  }
  return metrics;
}

absl::StatusOr<Estimator> RankingEstimator(const std::string& name, const Sample& sample) {
  const std::optional<RankingMetric> metric = ParseRanking(name);
  if (!metric) return absl::NotFoundError("");
  const auto values = std::make_shared<const std::vector<double>>(RankGroups({*metric}, sample)[0]);
  return Estimator{.units = values->size(),
                   .sums = 2,
                   .add =
                       [values](size_t group, double* sums) {
                         sums[0] += 1;
                         sums[1] += (*values)[group];
                       },
                   .value = [](const double* sums) { return sums[1] / sums[0]; }};
}

// --- rows ---

Metrics ComputeUsable(const Sample& sample) {
  switch (sample.task) {
    case PredictionTask::kRegression:
      return ComputeRegression(sample);
    case PredictionTask::kClassification:
      return ComputeClassification(sample);
    case PredictionTask::kRanking:
      return ComputeRanking(sample);
  }
  return {};
}

// A sample of one row with the same columns: what there could be named, where there is nothing to be computed.
Sample Blank(const Sample& sample) {
  static constexpr double kOne[] = {1};
  static constexpr double kHalf[] = {0.5};
  static constexpr int32_t kFirst[] = {0};
  static constexpr uint32_t kGroup[] = {0};
  static const std::vector<std::string> kNames = {""};
  Sample blank = sample;
  blank.truth = blank.numbers = kOne;
  blank.scores = sample.scores.empty() ? std::span<const double>() : kHalf;
  blank.weights = {};
  blank.truth_labels = blank.labels = kFirst;
  blank.groups = kGroup;
  if (sample.names != nullptr && sample.names->empty()) blank.names = &kNames;
  return blank;
}

bool IsUsable(const Sample& sample) {
  const bool has_weight = sample.weights.empty() ? sample.size() > 0
                                                 : std::any_of(sample.weights.begin(), sample.weights.end(),
                                                               [](double weight) { return weight > 0; });
  return has_weight && CountUnusable(sample) == 0;
}

// Sorts rows by small numbers, keeping the order of equal ones.
void SortBy(std::span<const uint32_t> keys, std::vector<uint32_t>& rows) {
  const size_t count = keys.empty() ? 0 : *std::max_element(keys.begin(), keys.end()) + size_t{1};
  std::vector<size_t> next(count + 1);
  for (const uint32_t row : rows) ++next[keys[row] + 1];
  std::partial_sum(next.begin(), next.end(), next.begin());
  std::vector<uint32_t> sorted(rows.size());
  for (const uint32_t row : rows) sorted[next[keys[row]]++] = row;
  rows = std::move(sorted);
}

template <typename T>
std::vector<T> Take(const std::vector<T>& column, const std::vector<uint32_t>& rows) {
  std::vector<T> taken;
  if (column.empty()) return taken;
  taken.reserve(rows.size());
  for (const uint32_t row : rows) taken.push_back(column[row]);
  return taken;
}

Answers Take(const Answers& answers, const std::vector<uint32_t>& rows) {
  return {Take(answers.numbers, rows), Take(answers.labels, rows), Take(answers.scores, rows)};
}

Predictions Sorted(const Predictions& all, const SliceColumn* by) {
  std::vector<uint32_t> rows(all.rows);
  std::iota(rows.begin(), rows.end(), 0);
  if (!all.groups.empty()) SortBy(all.groups, rows);
  if (by != nullptr) SortBy(by->of_row, rows);
  Predictions sorted;
  sorted.task = all.task;
  sorted.rows = all.rows;
  sorted.truth = Take(all.truth, rows);
  sorted.truth_labels = Take(all.truth_labels, rows);
  sorted.candidate = Take(all.candidate, rows);
  if (all.champion) sorted.champion = Take(*all.champion, rows);
  sorted.weights = Take(all.weights, rows);
  sorted.groups = Take(all.groups, rows);
  return sorted;
}

}  // namespace

Arranged::Arranged(const Predictions& predictions, const SliceColumn* by)
    : predictions_(predictions) {
  if (by != nullptr || !predictions.groups.empty()) sorted_ = Sorted(predictions, by);
  ends_.assign(by == nullptr ? 1 : by->values.size(), by == nullptr ? predictions.rows : 0);
  if (by == nullptr) return;
  for (const uint32_t value : by->of_row) ++ends_[value];
  std::partial_sum(ends_.begin(), ends_.end(), ends_.begin());
}

Sample Arranged::Of(size_t slice, bool of_champion) const {
  const size_t from = begin(slice), to = ends_[slice];
  const Predictions& all = sorted_ ? *sorted_ : predictions_;
  const Answers& answers = of_champion ? *all.champion : all.candidate;
  const auto part = [&](const auto& column) { return Part(std::span(column), from, to); };
  Sample sample;
  sample.task = all.task;
  sample.truth = part(all.truth);
  sample.truth_labels = part(all.truth_labels);
  sample.numbers = part(answers.numbers);
  sample.labels = part(answers.labels);
  sample.scores = part(answers.scores);
  sample.weights = part(all.weights);
  sample.groups = part(all.groups);
  sample.names = &predictions_.labels;
  sample.positive = predictions_.positive;
  return sample;
}

int64_t CountUnusable(const Sample& sample) {
  int64_t count = 0;
  const auto lacks = [](std::span<const double> column, size_t row) {
    return !column.empty() && std::isnan(column[row]);
  };
  for (size_t row = 0; row < sample.size(); ++row) {
    const bool lacks_label = !sample.truth_labels.empty() &&
                             (sample.truth_labels[row] == kNoLabel || sample.labels[row] == kNoLabel);
    count += lacks_label || lacks(sample.truth, row) || lacks(sample.numbers, row) || lacks(sample.scores, row) ||
             lacks(sample.weights, row);
  }
  return count;
}

Metrics ComputeMetrics(const Sample& sample) {
  if (!IsUsable(sample)) {
    Metrics metrics = ComputeUsable(Blank(sample));
    for (auto& [name, value] : metrics) value = kNoNumber;
    return metrics;
  }
  return ComputeUsable(sample);
}

absl::StatusOr<double> ComputeMetric(const std::string& name, const Sample& sample) {
  const bool is_usable = IsUsable(sample);
  const absl::StatusOr<Estimator> estimator = MakeEstimator(name, is_usable ? sample : Blank(sample));
  if (!estimator.ok()) return estimator.status();
  return is_usable ? ValueOf(*estimator) : kNoNumber;
}

Metrics ConfusionMatrix(const Sample& sample) {
  Metrics metrics;
  const size_t classes = sample.names->size();
  const bool has_labels = sample.task == PredictionTask::kClassification && IsUsable(sample);
  if (!has_labels || classes > kConfusionClassesMax) return metrics;
  std::vector<Sum> cells(classes * classes);
  for (size_t row = 0; row < sample.size(); ++row) {
    cells[static_cast<size_t>(sample.truth_labels[row]) * classes + static_cast<size_t>(sample.labels[row])].Add(
        sample.weight(row));
  }
  for (size_t cell = 0; cell < cells.size(); ++cell) {
    metrics["confusion." + (*sample.names)[cell / classes] + "." + (*sample.names)[cell % classes]] =
        cells[cell].value();
  }
  return metrics;
}

std::optional<bool> HigherIsBetter(std::string_view metric) {
  constexpr std::string_view kHigher[] = {"r2",     "accuracy", "balanced_accuracy", "precision", "recall",
                                          "f1",     "auc",      "ndcg",              "map",       "mrr"};
  constexpr std::string_view kLower[] = {"mae",      "rmse",  "mape",              "median_ae",          "max_error",
                                         "log_loss", "brier", "calibration_error", "false_positive_rate"};
  const std::string_view name = metric.substr(0, metric.find_first_of(".@"));
  if (std::find(std::begin(kHigher), std::end(kHigher), name) != std::end(kHigher)) return true;
  const bool is_lower = std::find(std::begin(kLower), std::end(kLower), name) != std::end(kLower);
  return is_lower || NumberIn("p", name, "_ae") ? std::optional(false) : std::nullopt;
}

absl::StatusOr<Estimator> MakeEstimator(const std::string& name, const Sample& sample) {
  absl::StatusOr<Estimator> estimator = absl::NotFoundError("");
  switch (sample.task) {
    case PredictionTask::kRegression:
      estimator = RegressionEstimator(name, sample);
      break;
    case PredictionTask::kClassification:
      estimator = ClassificationEstimator(name, sample);
      break;
    case PredictionTask::kRanking:
      estimator = RankingEstimator(name, sample);
      break;
  }
  return estimator;
}

}  // namespace cd4ml::core
