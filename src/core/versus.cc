// Judges metrics against a baseline and across slices, from predictions where there are some.
#include <algorithm>
#include <cmath>

#include "cd4ml/base/status.h"
#include "cd4ml/core/bootstrap.h"
#include "cd4ml/core/gate.h"
#include "cd4ml/core/metrics.h"

namespace cd4ml::core {
namespace {

// Bounds are decimal fractions: 0.5 - 0.47 must not miss 0.03 by a rounding error.
constexpr double kRounding = 1e-12;

template <typename Map>
std::vector<std::string> Keys(const Map& map) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : map) keys.push_back(key);
  return keys;
}

std::string Count(int64_t count, const std::string& what) {
  return std::to_string(count) + " " + what + (count == 1 ? "" : "s");
}

void Append(std::vector<std::string>& rows, std::string row) {
  if (rows.size() < kOffendingRowsMax) rows.push_back(std::move(row));
}

MetricSet Begin(const std::shared_ptr<const Predictions>& predictions, const Arranged& all, bool of_champion) {
  const Sample sample = all.Of(0, of_champion);
  MetricSet set;
  set.predictions = predictions;
  set.is_of_champion = of_champion;
  set.sample_size = static_cast<int64_t>(predictions->rows);
  set.overall = ComputeMetrics(sample);
  set.unusable_rows = CountUnusable(sample);
  if (!of_champion) set.overall.merge(ConfusionMatrix(sample));
  return set;
}

void AddSlices(const SliceColumn& column, const Arranged& arranged, MetricSet& set) {
  std::vector<SliceMetrics>& slices = set.slices[column.name];
  for (size_t i = 0; i < arranged.slices(); ++i) {
    if (arranged.count(i) == 0) continue;
    slices.push_back({column.values[i], static_cast<int64_t>(arranged.count(i)),
                      ComputeMetrics(arranged.Of(i, set.is_of_champion))});
  }
}

const SliceColumn* FindColumn(const MetricSet& metrics, const std::string& name) {
  if (metrics.predictions == nullptr) return nullptr;
  for (const SliceColumn& column : metrics.predictions->slices) {
    if (column.name == name) return &column;
  }
  return nullptr;
}

// One number beside that of the baseline.
struct Comparison {
  double candidate = kNoNumber, baseline = kNoNumber;
  double allowed = 0;                  // How much worse it may be.
  std::optional<Interval> interval;    // Of candidate - baseline.
  bool higher_is_better = false;

  double Worse(double difference) const { return higher_is_better ? -difference : difference; }
  double worse() const { return Worse(candidate - baseline); }
  // The least favourable end of what it may be, or what it is.
  double worst() const {
    if (!interval) return worse();
    return Worse(higher_is_better ? interval->low : interval->high);
  }
  double best() const { return Worse(higher_is_better ? interval->high : interval->low); }
  bool is_broken() const {
    return worst() > allowed + kRounding * std::max(std::abs(candidate), std::abs(baseline));
  }
};

// The larger of the two allowances holds; without one, nothing is allowed.
double AllowedOf(const Allowance& allowance, double baseline) {
  const double least = -HUGE_VAL;
  const double abs = allowance.abs.value_or(least);
  const double rel = allowance.rel ? *allowance.rel * std::abs(baseline) : least;
  return allowance.is_set() ? std::max(abs, rel) : 0;
}

std::string Amount(double worse) {
  if (worse == 0) return "0 worse";
  return FormatNumber(std::abs(worse)) + (worse > 0 ? " worse" : " better");
}

std::string Percent(double confidence) { return FormatNumber(100 * confidence) + "%"; }

// "1188.2, 12.3 better (95%: 40.1 better .. 15.7 worse)"
std::string Describe(const Comparison& one, const MetricRule& metric) {
  std::string text = FormatNumber(one.candidate) + ", " + Amount(one.worse());
  if (one.interval) {
    text += " (" + Percent(*metric.confidence) + ": " + Amount(one.best()) + " .. " + Amount(one.worst()) + ")";
  }
  return text;
}

// "at most 20 worse", "at least 24 better"
std::string Limit(double allowed) {
  return allowed < 0 ? "at least " + Amount(allowed) : "at most " + FormatNumber(allowed) + " worse";
}

std::string Terms(const Allowance& allowance) {
  std::string text;
  if (allowance.abs) text = FormatNumber(*allowance.abs);
  if (allowance.rel) text += (text.empty() ? "" : " or ") + Percent(*allowance.rel);
  return text.empty() ? "0" : text;
}

RuleResult Without(const Rule& rule, const MetricRule& metric, const std::string& subject) {
  RuleResult result = CannotJudge(rule, subject, "");
  const bool passes = metric.first == FirstTime::kPass;
  result.outcome = passes ? VerdictOutcome::kPass : Broken(rule);
  result.observed = "no baseline";
  result.bound = "worse by at most " + Terms(metric.worse_by);
  result.message =
      "there is no " + metric.versus + " to compare with yet (first: " + (passes ? "pass)" : "fail)");
  return result;
}

RuleResult Incomparable(RuleResult result, const std::string& why) {
  result.observed = "incomparable";
  result.message = why;
  return result;
}

void Fill(RuleResult& result, const Rule& rule, const MetricRule& metric, const Comparison& one) {
  const bool broken = one.is_broken();
  result.outcome = broken ? Broken(rule) : VerdictOutcome::kPass;
  result.observed = Describe(one, metric);
  result.observed_number = one.candidate;
  result.baseline_number = one.baseline;
  result.interval = one.interval;
  if (one.interval) result.confidence = metric.confidence;
  const std::string sure = metric.confidence ? " at " + Percent(*metric.confidence) + " confidence" : "";
  result.bound = Limit(one.allowed) + " than " + FormatNumber(one.baseline) + sure;
  result.message = metric.metric + " is " + result.observed + ", must be " + result.bound;
  if (!one.interval) return;
  if (one.worst() < 0) {
    result.message += "; it is better";
  } else if (one.best() > 0) {
    result.message += "; it is worse";
  } else {
    result.message += "; neither better nor worse can be shown";
  }
}

// Compares the two models on the rows of one slice, or on all. Both metrics are finite.
absl::Status AddInterval(const MetricRule& metric, const Arranged& rows, size_t slice, const Bootstrap& bootstrap,
                         Comparison& one) {
  CD4ML_ASSIGN_OR_RETURN(const Estimator candidate, MakeEstimator(metric.metric, rows.Of(slice, false)));
  CD4ML_ASSIGN_OR_RETURN(const Estimator champion, MakeEstimator(metric.metric, rows.Of(slice, true)));
  if (candidate.units < kBootstrapUnitsMin) {
    return absl::OutOfRangeError("only " + std::to_string(candidate.units) + " where " +
                                 std::to_string(kBootstrapUnitsMin) + " are needed to say how sure a difference is");
  }
  one.interval = bootstrap.Difference(candidate, champion, *metric.confidence);
  return absl::OkStatus();
}

// Whether both numbers can be compared; says of whom one is missing.
absl::Status CheckFinite(const std::string& name, double candidate, double baseline, const std::string& where, const MetricSet& metrics) {
  if (std::isfinite(candidate) && std::isfinite(baseline)) return absl::OkStatus();
  const bool own = !std::isfinite(candidate);
  return absl::InvalidArgumentError("\"" + name + "\" is " + FormatNumber(own ? candidate : baseline) + where +
                                    (own ? "" : " for the baseline") + WhyNaN(metrics, name));
}

// A slice that was compared, to show the worst first.
struct ComparedSlice {
  std::string text;
  double excess;   // Of what is allowed.
};

struct ComparedSlices {
  int64_t judged = 0, too_small = 0, rows = 0;
  std::vector<ComparedSlice> broken;
};

absl::StatusOr<ComparedSlices> CompareSlices(const MetricRule& metric, const MetricSet& metrics, bool higher) {
  const SliceColumn* column = FindColumn(metrics, metric.slice);
  if (column == nullptr)
    return absl::NotFoundError(Missing("slice column of the predictions", metric.slice, Keys(metrics.slices)));
  const auto slices = FindSlices(metrics, metric.slice, metric.metric);
  const auto others = FindSlices(*metrics.of_champion, metric.slice, metric.metric);
  const Arranged arranged(*metrics.predictions, column);
  const std::optional<Bootstrap> bootstrap = metric.confidence ? std::optional<Bootstrap>(kBootstrapSeed) : std::nullopt;
  ComparedSlices compared;
  size_t at = 0;
  for (size_t i = 0; i < arranged.slices(); ++i) {
    if (arranged.count(i) == 0) continue;
    const SliceMetrics& slice = (*slices)[at];
    const SliceMetrics& other = (*others)[at++];
    if (slice.count < metric.min_samples) {
      ++compared.too_small;
      continue;
    }
    const std::string where = " in " + metric.slice + " \"" + slice.value + "\"";
    const auto own = slice.metrics.find(metric.metric), its = other.metrics.find(metric.metric);
    if (own == slice.metrics.end() || its == other.metrics.end())
      return absl::NotFoundError(Missing("metric", metric.metric, Keys(slice.metrics)) + where);
    Comparison one{own->second, its->second, AllowedOf(metric.worse_by, its->second), {}, higher};
    CD4ML_RETURN_IF_ERROR(CheckFinite(metric.metric, one.candidate, one.baseline, where, metrics));
    if (bootstrap) {
      const absl::Status added = AddInterval(metric, arranged, i, *bootstrap, one);
      if (absl::IsOutOfRange(added)) {
        ++compared.too_small;
        continue;
      }
      CD4ML_RETURN_IF_ERROR(added);
    }
    ++compared.judged;
    compared.rows += slice.count;
    if (!one.is_broken()) continue;
    compared.broken.push_back({slice.value + ": " + Describe(one, metric) + " than " + FormatNumber(one.baseline) +
                                   " (n=" + std::to_string(slice.count) + ")",
                               one.worst() - one.allowed});
  }
  std::stable_sort(compared.broken.begin(), compared.broken.end(),
                   [](const ComparedSlice& a, const ComparedSlice& b) { return a.excess > b.excess; });
  return compared;
}

RuleResult JudgeSlicesVersus(const Rule& rule, const MetricRule& metric, const MetricSet& metrics, bool higher,
                             RuleResult result) {
  const absl::StatusOr<ComparedSlices> compared = CompareSlices(metric, metrics, higher);
  if (!compared.ok()) {
    result.message = Message(compared.status());
    return result;
  }
  const int64_t needed = std::max<int64_t>(metric.min_samples, metric.confidence ? kBootstrapUnitsMin : 1);
  if (compared->judged == 0) {
    result.message = "no value of \"" + metric.slice + "\" has " + Count(needed, "row") + " or more";
    return result;
  }
  const auto broken = static_cast<double>(compared->broken.size());
  const bool fails = broken > metric.allow_failing * static_cast<double>(compared->judged) + 1e-9;
  result.outcome = fails ? Broken(rule) : VerdictOutcome::kPass;
  result.observed = FormatNumber(broken) + " of " + Count(compared->judged, "slice") + " worse";
  result.observed_number = broken;
  result.sample_size = compared->rows;
  result.confidence = metric.confidence;
  result.bound = "worse by at most " + Terms(metric.worse_by) +
                 (metric.confidence ? " at " + Percent(*metric.confidence) + " confidence" : "") + " in " +
                 (metric.allow_failing > 0 ? Percent(1 - metric.allow_failing) + " of the slices" : "every slice");
  result.message = metric.metric + " is worse than allowed in " + FormatNumber(broken) + " of " +
                   Count(compared->judged, "value") + " of " + metric.slice;
  if (compared->too_small > 0) {
    result.message +=
        "; " + Count(compared->too_small, "value") + " with fewer than " + Count(needed, "row") + " not judged";
  }
  for (const ComparedSlice& slice : compared->broken) Append(result.rows, slice.text);
  return result;
}

// The champion's answers to the same rows.
RuleResult JudgeSameRows(const Rule& rule, const MetricRule& metric, const MetricSet& metrics, bool higher,
                         RuleResult result) {
  result.baseline = metrics.champion;
  result.sample_size = metrics.sample_size;
  if (metrics.of_champion == nullptr) return Incomparable(std::move(result), metrics.predictions->incomparable);
  if (!metric.slice.empty()) return JudgeSlicesVersus(rule, metric, metrics, higher, std::move(result));
  Comparison one{*FindMetric(metrics, metric.metric), *FindMetric(*metrics.of_champion, metric.metric), 0, {}, higher};
  absl::Status status = CheckFinite(metric.metric, one.candidate, one.baseline, "", metrics);
  one.allowed = AllowedOf(metric.worse_by, one.baseline);
  if (status.ok() && metric.confidence) {
    status = AddInterval(metric, Arranged(*metrics.predictions, nullptr), 0, Bootstrap(kBootstrapSeed), one);
  }
  if (!status.ok()) {
    result.message = Message(status);
    return result;
  }
  Fill(result, rule, metric, one);
  return result;
}

// A number that was recorded when the baseline was judged, on the rows of then.
RuleResult JudgeRecorded(const Rule& rule, const MetricRule& metric, const MetricSet& metrics, bool higher,
                         RuleResult result) {
  const auto baseline = metrics.baselines.find(metric.versus);
  if (baseline == metrics.baselines.end()) return Without(rule, metric, result.subject);
  result.baseline = baseline->second.identity;
  result.sample_size = metrics.sample_size;
  if (metric.confidence || !metric.slice.empty()) {
    result.message = "only one number of " + metric.versus + " is known, so there is neither a confidence nor a slice";
    return result;
  }
  const std::optional<double> candidate = FindMetric(metrics, metric.metric);
  const auto recorded = baseline->second.metrics.find(metric.metric);
  if (!candidate) {
    result.message = Missing("metric", metric.metric, Keys(metrics.overall));
    return result;
  }
  if (recorded == baseline->second.metrics.end()) {
    return Incomparable(std::move(result), Missing("metric", metric.metric, Keys(baseline->second.metrics)) + " in " +
                                               metric.versus + " (" + result.baseline + ")");
  }
  Comparison one{*candidate, recorded->second, AllowedOf(metric.worse_by, recorded->second), {}, higher};
  if (const absl::Status status = CheckFinite(metric.metric, one.candidate, one.baseline, "", metrics); !status.ok()) {
    result.message = Message(status);
    return result;
  }
  Fill(result, rule, metric, one);
  return result;
}

// The slices that count in a fairness rule, lowest metric first.
absl::StatusOr<std::vector<SliceMetrics>> JudgedSlices(const FairnessRule& fairness, const MetricSet& metrics) {
  const auto slices = FindSlices(metrics, fairness.slice, fairness.metric);
  if (!slices) return absl::NotFoundError(Missing("slice column", fairness.slice, Keys(metrics.slices)));
  std::vector<SliceMetrics> judged;
  for (const SliceMetrics& slice : *slices) {
    if (slice.count < fairness.min_samples) continue;
    const std::string where = " in " + fairness.slice + " \"" + slice.value + "\"";
    const auto found = slice.metrics.find(fairness.metric);
    if (found == slice.metrics.end())
      return absl::NotFoundError(Missing("metric", fairness.metric, Keys(slice.metrics)) + where);
    if (!std::isfinite(found->second)) {
      return absl::InvalidArgumentError("\"" + fairness.metric + "\" is " + FormatNumber(found->second) + where +
                                        " (n=" + std::to_string(slice.count) + ")" + WhyNaN(metrics, fairness.metric));
    }
    judged.push_back(slice);
  }
  if (judged.size() < 2) {
    return absl::InvalidArgumentError(Count(static_cast<int64_t>(judged.size()), "value") + " of \"" + fairness.slice +
                                      "\" with " + Count(std::max<int64_t>(fairness.min_samples, 1), "row") +
                                      " or more; at least 2 are needed to compare");
  }
  std::stable_sort(judged.begin(), judged.end(), [&](const SliceMetrics& a, const SliceMetrics& b) {
    return a.metrics.at(fairness.metric) < b.metrics.at(fairness.metric);
  });
  return judged;
}

}  // namespace

MetricSet MeasurePredictions(std::shared_ptr<const Predictions> predictions) {
  const Arranged all(*predictions, nullptr);
  MetricSet set = Begin(predictions, all, false);
  std::shared_ptr<MetricSet> of_champion;
  if (predictions->champion) of_champion = std::make_shared<MetricSet>(Begin(predictions, all, true));
  for (const SliceColumn& column : predictions->slices) {
    const Arranged arranged(*predictions, &column);
    AddSlices(column, arranged, set);
    if (of_champion != nullptr) AddSlices(column, arranged, *of_champion);
  }
  set.of_champion = of_champion;
  return set;
}

std::optional<double> FindMetric(const MetricSet& metrics, const std::string& name) {
  if (const auto found = metrics.overall.find(name); found != metrics.overall.end()) return found->second;
  if (metrics.predictions == nullptr) return std::nullopt;
  const Arranged all(*metrics.predictions, nullptr);
  const absl::StatusOr<double> computed = ComputeMetric(name, all.Of(0, metrics.is_of_champion));
  return computed.ok() ? std::optional(*computed) : std::nullopt;
}

std::optional<std::vector<SliceMetrics>> FindSlices(const MetricSet& metrics, const std::string& column,
                                                    const std::string& name) {
  const auto found = metrics.slices.find(column);
  if (found == metrics.slices.end()) return std::nullopt;
  std::vector<SliceMetrics> slices = found->second;
  const SliceColumn* of = FindColumn(metrics, column);
  const bool complete =
      std::all_of(slices.begin(), slices.end(), [&](const SliceMetrics& slice) { return slice.metrics.contains(name); });
  if (of == nullptr || complete) return slices;
  const Arranged arranged(*metrics.predictions, of);
  size_t at = 0;
  for (size_t i = 0; i < arranged.slices() && at < slices.size(); ++i) {
    if (arranged.count(i) == 0) continue;
    std::map<std::string, double>& known = slices[at++].metrics;
    if (known.contains(name)) continue;
    if (const absl::StatusOr<double> computed = ComputeMetric(name, arranged.Of(i, metrics.is_of_champion));
        computed.ok())
      known[name] = *computed;
  }
  return slices;
}

RuleResult JudgeVersus(const Rule& rule, const MetricRule& metric, const MetricSet& metrics) {
  const std::string subject = metric.metric + (metric.slice.empty() ? "" : " by " + metric.slice);
  RuleResult result = CannotJudge(rule, subject, "");
  const auto goal = metrics.goals.find(metric.metric);
  const std::optional<bool> higher =
      goal == metrics.goals.end() ? HigherIsBetter(metric.metric) : std::optional(goal->second);
  if (!higher) {
    result.message = "nobody says whether more or less of \"" + metric.metric + "\" is better; say it in goals";
    return result;
  }
  const Predictions* predictions = metrics.predictions.get();
  const bool same_rows = metric.versus == "champion" && predictions != nullptr &&
                         (predictions->champion || !predictions->incomparable.empty());
  if (!same_rows) return JudgeRecorded(rule, metric, metrics, *higher, std::move(result));
  if (metrics.champion.empty()) return Without(rule, metric, subject);
  if (!FindMetric(metrics, metric.metric)) {
    result.message = Missing("metric", metric.metric, Keys(metrics.overall));
    return result;
  }
  if (metrics.of_champion != nullptr && !FindMetric(*metrics.of_champion, metric.metric)) {
    // What the stage measured itself is not known of the champion's answers.
    if (!ComputeMetric(metric.metric, Arranged(*predictions, nullptr).Of(0, false)).ok())
      return JudgeRecorded(rule, metric, metrics, *higher, std::move(result));
    return Incomparable(std::move(result), "\"" + metric.metric +
                                               "\" needs the champion's scores; name their column by champion_score");
  }
  return JudgeSameRows(rule, metric, metrics, *higher, std::move(result));
}

RuleResult JudgeFairness(const Rule& rule, const FairnessRule& fairness, const MetricSet& metrics) {
  RuleResult result = CannotJudge(rule, fairness.metric + " across " + fairness.slice, "");
  if (fairness.max_difference) result.bound = "difference <= " + FormatNumber(*fairness.max_difference);
  if (fairness.min_ratio)
    result.bound += (result.bound.empty() ? "" : ", ") + ("ratio >= " + FormatNumber(*fairness.min_ratio));
  const absl::StatusOr<std::vector<SliceMetrics>> slices = JudgedSlices(fairness, metrics);
  if (!slices.ok()) {
    result.message = Message(slices.status());
    return result;
  }
  const auto value = [&](const SliceMetrics& slice) { return slice.metrics.at(fairness.metric); };
  const double low = value(slices->front()), high = value(slices->back());
  if (fairness.min_ratio && low < 0) {
    result.message = "\"" + fairness.metric + "\" is negative in " + fairness.slice + " \"" + slices->front().value +
                     "\", so there is no ratio; use max_difference";
    return result;
  }
  const double difference = high - low, ratio = high > 0 ? low / high : 1, rounding = kRounding * std::abs(high);
  const bool broken = (fairness.max_difference && difference > *fairness.max_difference + rounding) ||
                      (fairness.min_ratio && ratio < *fairness.min_ratio - kRounding);
  result.outcome = broken ? Broken(rule) : VerdictOutcome::kPass;
  if (fairness.max_difference) result.observed = "difference " + FormatNumber(difference);
  if (fairness.min_ratio) result.observed += (result.observed.empty() ? "" : ", ") + ("ratio " + FormatNumber(ratio));
  result.observed_number = fairness.max_difference ? difference : ratio;
  result.sample_size = 0;
  for (const SliceMetrics& slice : *slices) *result.sample_size += slice.count;
  result.message = fairness.metric + " is from " + FormatNumber(low) + " in \"" + slices->front().value + "\" to " +
                   FormatNumber(high) + " in \"" + slices->back().value + "\" of " + fairness.slice;
  const auto show = [&](const SliceMetrics& slice) {
    Append(result.rows, slice.value + ": " + FormatNumber(value(slice)) + " (n=" + std::to_string(slice.count) + ")");
  };
  // The extremes of both sides.
  constexpr size_t kEach = kOffendingRowsMax / 2;
  for (size_t i = 0; broken && i < slices->size(); ++i) {
    if (i < kEach || i + kEach >= slices->size()) show((*slices)[i]);
  }
  return result;
}

}  // namespace cd4ml::core
