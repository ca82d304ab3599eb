// Judges model rules and drift, and writes what every rule result has in common.
#include "cd4ml/core/gate.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "cd4ml/base/status.h"
#include "cd4ml/base/text.h"
#include "cd4ml/core/drift.h"
#include "cd4ml/core/expression.h"
#include "cd4ml/core/metrics.h"

namespace cd4ml::core {
namespace {

constexpr char kNoBound[] = "the rule has no bound; give it min or max";

RuleResult Begin(const Rule& rule, std::string subject) {
  RuleResult result;
  result.name = rule.name;
  result.form = RuleForm(rule.body);
  result.subject = std::move(subject);
  return result;
}

RuleResult Explained(RuleResult result, std::string message) {
  result.message = std::move(message);
  return result;
}

// Returns the shortest text that reads back as `number`.
std::string ExactText(double number) {
  char buffer[32];
  const auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, number);
  return std::string(buffer, end);
}

bool Within(double number, const Bounds& bounds) {
  return (!bounds.min || number >= *bounds.min) && (!bounds.max || number <= *bounds.max);
}

// "1200, must be <= 1200" helps nobody: where rounding hides the difference, all digits are shown.
std::string FormatObserved(double number, const Bounds& bounds) {
  const std::string text = FormatNumber(number);
  const bool hidden =
      !Within(number, bounds) && ((bounds.min && text == FormatNumber(*bounds.min)) ||
                                  (bounds.max && text == FormatNumber(*bounds.max)));
  return hidden ? ExactText(number) : text;
}

// Returns the unit of a number: " rows", and of one " row".
std::string UnitOf(double number, std::string_view unit) {
  std::string text(unit);
  if (number != 1 || !text.ends_with('s') || text == " ms") return text;
  text.resize(text.size() - (text.ends_with("ches") ? 2 : 1));
  return text;
}

std::string Plural(int64_t count, const std::string& what) {
  return std::to_string(count) + " " + what + (count == 1 ? "" : "s");
}

template <typename Map>
std::vector<std::string> Keys(const Map& map) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : map) keys.push_back(key);
  return keys;
}

std::string Join(const std::vector<std::string>& texts, std::string_view separator) {
  std::string joined;
  for (const std::string& text : texts) {
    if (!joined.empty()) joined += separator;
    joined += text;
  }
  return joined;
}

// Returns `; did you mean "mae"?`, or what there is when nothing is near.
std::string Suggest(const std::string& name, const std::vector<std::string>& known) {
  if (known.empty()) return "; there is none at all";
  const std::string near = DidYouMean(name, known);
  constexpr size_t kNamesMax = 20;
  if (!near.empty() || known.size() > kNamesMax) return near;
  return "; there are: " + Join(known, ", ");
}

// When metrics are not defined, although every row has its numbers (docs/reference/metrics.md).
constexpr std::pair<std::string_view, std::string_view> kUndefined[] = {
    {"mape", "a truth is 0"},
    {"r2", "all truths are the same"},
    {"auc", "all rows are of one class"},
    {"log_loss", "a score is no probability, which is between 0 and 1"},
    {"brier", "a score is no probability, which is between 0 and 1"},
    {"calibration_error", "a score is no probability, which is between 0 and 1"},
    {"precision", "no row is predicted as that label"},
    {"recall", "no row has that label"},
    {"f1", "no row has that label or is predicted as it"},
    {"false_positive_rate", "all rows have that label"},
};

void Append(std::vector<std::string>& rows, std::string row) {
  if (rows.size() < kOffendingRowsMax) rows.push_back(std::move(row));
}

// A slice that breaks the rule.
struct FailingSlice {
  double distance;  // From the bound, to show the worst first.
  std::string text;
};

// What the slices with enough rows say.
struct SliceCount {
  int64_t judged = 0;
  int64_t too_small = 0;
  int64_t rows = 0;
  std::vector<FailingSlice> failing;
};

absl::StatusOr<SliceCount> CountSlices(const MetricRule& metric,
                                       const std::vector<SliceMetrics>& slices) {
  SliceCount count;
  for (const SliceMetrics& slice : slices) {
    if (slice.count < metric.min_samples) {
      ++count.too_small;
      continue;
    }
    const std::string where = metric.slice + " \"" + slice.value + "\"";
    const auto found = slice.metrics.find(metric.metric);
    if (found == slice.metrics.end()) {
      return absl::NotFoundError(Missing("metric", metric.metric, Keys(slice.metrics)) + " in " +
                                 where);
    }
    if (!std::isfinite(found->second)) {
      return absl::InvalidArgumentError("\"" + metric.metric + "\" is " +
                                        FormatNumber(found->second) + " in " + where +
                                        " (n=" + std::to_string(slice.count) + ")");
    }
    ++count.judged;
    count.rows += slice.count;
    if (Within(found->second, metric.value)) continue;
    const double distance =
        std::max(metric.value.min ? *metric.value.min - found->second : -HUGE_VAL,
                 metric.value.max ? found->second - *metric.value.max : -HUGE_VAL);
    count.failing.push_back({distance, slice.value + ": " +
                                           FormatObserved(found->second, metric.value) +
                                           " (n=" + std::to_string(slice.count) + ")"});
  }
  std::stable_sort(count.failing.begin(), count.failing.end(),
                   [](const auto& a, const auto& b) { return a.distance > b.distance; });
  return count;
}

RuleResult JudgeSlices(const Rule& rule, const MetricRule& metric, const MetricSet& metrics) {
  const std::string subject = metric.metric + " by " + metric.slice;
  const auto slices = FindSlices(metrics, metric.slice, metric.metric);
  if (!slices) {
    return CannotJudge(rule, subject, Missing("slice column", metric.slice, Keys(metrics.slices)));
  }
  const absl::StatusOr<SliceCount> count = CountSlices(metric, *slices);
  if (!count.ok()) {
    const bool is_none = absl::IsInvalidArgument(count.status());
    return CannotJudge(rule, subject, Message(count.status()) + (is_none ? WhyNaN(metrics, metric.metric) : ""));
  }
  if (count->judged == 0) {
    return CannotJudge(rule, subject,
                       "no value of \"" + metric.slice + "\" has " +
                           Plural(std::max<int64_t>(metric.min_samples, 1), "row") +
                           " or more (min_samples)");
  }

  RuleResult result = Begin(rule, subject);
  const auto failing = static_cast<double>(count->failing.size());
  // A share is a decimal fraction: 3 of 60 must not miss 0.05 by a rounding error.
  const bool broken = failing > metric.allow_failing * static_cast<double>(count->judged) + 1e-9;
  result.outcome = broken ? Broken(rule) : VerdictOutcome::kPass;
  result.observed = FormatNumber(failing) + " of " + Plural(count->judged, "slice") + " outside";
  result.observed_number = failing;
  result.bound =
      FormatBounds(metric.value, "") + " in " +
      (metric.allow_failing > 0 ? FormatNumber(100 * (1 - metric.allow_failing)) + "% of the slices"
                                : "every slice");
  result.sample_size = count->rows;
  result.message = metric.metric + " is outside " + FormatBounds(metric.value, "") + " in " +
                   FormatNumber(failing) + " of " + Plural(count->judged, "value") + " of " +
                   metric.slice;
  if (count->too_small > 0) {
    result.message += "; " + Plural(count->too_small, "value") + " with fewer than " +
                      Plural(metric.min_samples, "row") + " not judged";
  }
  for (const FailingSlice& slice : count->failing) Append(result.rows, slice.text);
  return result;
}

// The functions of a check: abs(x), min(x, y, …), max(x, y, …).
std::optional<Value> CallFunction(std::string_view function, const std::vector<Value>& arguments) {
  if (arguments.empty()) return std::nullopt;
  std::vector<double> numbers;
  for (const Value& argument : arguments) {
    if (!argument.is_number()) return std::nullopt;
    numbers.push_back(argument.number());
  }
  if (function == "abs" && numbers.size() == 1) return Value(std::abs(numbers[0]));
  if (function == "min") return Value(*std::min_element(numbers.begin(), numbers.end()));
  if (function == "max") return Value(*std::max_element(numbers.begin(), numbers.end()));
  return std::nullopt;
}

// One column's distance from the reference.
struct ColumnDrift {
  double distance;
  std::string column;
};

constexpr std::string_view kMeasures[] = {"psi", "js", "wasserstein"};

absl::StatusOr<double> Distance(DriftMeasure measure, const std::string& column,
                                const ColumnProfile& was, const ColumnProfile& is) {
  if (measure == DriftMeasure::kPsi) return PopulationStabilityIndex(was, is);
  if (measure == DriftMeasure::kJensenShannon) return JensenShannonDistance(was, is);
  const std::string quoted = "column \"" + column + "\" ";
  if (!was.numeric)
    return absl::InvalidArgumentError(quoted + "is no number in the baseline; use psi or js");
  if (was.rows == was.nulls || is.rows == is.nulls) {
    return absl::InvalidArgumentError(quoted + "has no numbers" +
                                      (was.rows == was.nulls ? " in the baseline" : ""));
  }
  if (was.std == 0 && was.min < was.max)
    return absl::FailedPreconditionError(quoted + "has no standard deviation in the baseline's profile");
  return WassersteinOverDeviation(was, is);
}

absl::StatusOr<ColumnDrift> MeasureDrift(DriftMeasure measure, const std::string& column,
                                         const TableProfile& reference,
                                         const std::map<std::string, ColumnProfile>& current) {
  const auto was = reference.columns.find(column);
  if (was == reference.columns.end()) {
    return absl::NotFoundError(Missing("column", column, Keys(reference.columns)) +
                               " (in the baseline)");
  }
  const auto is = current.find(column);
  if (is == current.end()) return absl::NotFoundError(Missing("column", column, Keys(current)));
  const ColumnProfile& a = was->second;
  const ColumnProfile& b = is->second;
  if (a.rows == 0 || b.rows == 0) {
    return absl::InvalidArgumentError("column \"" + column + "\" has no rows" +
                                      (a.rows == 0 ? " in the baseline" : ""));
  }
  if (a.numeric != b.numeric || a.counts.size() != b.counts.size() || Keys(a.top) != Keys(b.top)) {
    return absl::InvalidArgumentError("column \"" + column +
                                      "\" was not counted like the baseline");
  }
  CD4ML_ASSIGN_OR_RETURN(const double distance, Distance(measure, column, a, b));
  return ColumnDrift{distance, column};
}

std::string Of(const std::string& table, const std::string& column) {
  return table.empty() ? column : table + "." + column;
}

}  // namespace

std::string Missing(const std::string& what, const std::string& name,
                    const std::vector<std::string>& known) {
  return "there is no " + what + " \"" + name + "\"" + Suggest(name, known);
}

std::vector<std::string> SegmentsOfTables(const std::map<std::string, std::vector<std::string>>& by_table) {
  std::vector<std::string> listed;
  for (const auto& [table, segments] : by_table) {
    for (const std::string& segment : segments) listed.push_back(by_table.size() == 1 ? segment : table + ": " + segment);
  }
  return listed;
}

std::string WhyNaN(const MetricSet& metrics, const std::string& metric) {
  if (metrics.unusable_rows > 0) {
    return "; " + Plural(metrics.unusable_rows, "row") + " of the predictions without a numeric truth or prediction";
  }
  if (metrics.predictions == nullptr) return "";
  const std::vector<double>& weights = metrics.predictions->weights;
  if (!weights.empty() && std::all_of(weights.begin(), weights.end(), [](double weight) { return weight == 0; })) return "; all weights are 0";
  for (const auto& [name, why] : kUndefined) {
    if (metric == name || metric.starts_with(std::string(name) + ".")) return "; " + std::string(why);
  }
  return "";
}

VerdictOutcome Broken(const Rule& rule) {
  return rule.blocks ? VerdictOutcome::kFail : VerdictOutcome::kWarn;
}

std::string FormatNumber(double number) {
  if (std::isnan(number)) return "NaN";
  if (std::isinf(number)) return number > 0 ? "Infinity" : "-Infinity";
  const double size = std::abs(number);
  if (size == 0) return "0";
  char text[64];
  if (size < 1e-4 || size >= 1e15) {
    std::snprintf(text, sizeof text, "%.6g", number);
    return text;
  }
  const int digits_before = static_cast<int>(std::floor(std::log10(size))) + 1;
  std::snprintf(text, sizeof text, "%.*f", std::max(0, 6 - digits_before), number);
  std::string trimmed = text;
  if (trimmed.find('.') != std::string::npos) {
    trimmed.erase(trimmed.find_last_not_of('0') + 1);
    if (trimmed.back() == '.') trimmed.pop_back();
  }
  return trimmed;
}

std::string FormatBounds(const Bounds& bounds, std::string_view unit) {
  std::string text = "none";
  const double last = bounds.max.value_or(bounds.min.value_or(0));
  if (bounds.min && bounds.max) {
    text = FormatNumber(*bounds.min) + " .. " + FormatNumber(*bounds.max);
  } else if (bounds.min) {
    text = ">= " + FormatNumber(*bounds.min);
  } else if (bounds.max) {
    text = "<= " + FormatNumber(*bounds.max);
  }
  return bounds.is_set() ? text + UnitOf(last, unit) : text;
}

RuleResult CannotJudge(const Rule& rule, std::string subject, std::string why) {
  RuleResult result = Begin(rule, std::move(subject));
  // Whatever the severity: that a rule only warns says what it may find, not that it need not be asked.
  result.outcome = VerdictOutcome::kError;
  result.message = std::move(why);
  return result;
}

RuleResult JudgeNumber(const Rule& rule, std::string subject, double observed,
                       std::string_view unit, const Bounds& bounds,
                       std::optional<int64_t> sample_size) {
  const std::string text = FormatObserved(observed, bounds) + UnitOf(observed, unit);
  RuleResult result =
      CannotJudge(rule, subject, subject + " is " + text + ", which cannot be compared");
  result.observed = text;
  result.observed_number = observed;
  result.bound = FormatBounds(bounds, unit);
  result.sample_size = sample_size;
  if (!std::isfinite(observed)) return result;
  if (!bounds.is_set()) return Explained(std::move(result), kNoBound);
  result.outcome = Within(observed, bounds) ? VerdictOutcome::kPass : Broken(rule);
  result.message = subject + " is " + text + ", must be " + result.bound;
  return result;
}

RuleResult JudgeMetric(const Rule& rule, const MetricRule& metric, const MetricSet& metrics) {
  if (!metric.versus.empty()) return JudgeVersus(rule, metric, metrics);
  if (!metric.value.is_set()) return CannotJudge(rule, metric.metric, kNoBound);
  if (!metric.slice.empty()) return JudgeSlices(rule, metric, metrics);
  const std::optional<double> found = FindMetric(metrics, metric.metric);
  if (!found) {
    return CannotJudge(rule, metric.metric,
                       Missing("metric", metric.metric, Keys(metrics.overall)));
  }
  if (metrics.sample_size && *metrics.sample_size < metric.min_samples) {
    return CannotJudge(rule, metric.metric,
                       "only " + Plural(*metrics.sample_size, "row") + " where " +
                           std::to_string(metric.min_samples) + " are needed (min_samples)");
  }
  RuleResult result =
      JudgeNumber(rule, metric.metric, *found, "", metric.value, metrics.sample_size);
  if (std::isnan(*found)) result.message += WhyNaN(metrics, metric.metric);
  return result;
}

RuleResult JudgeCheck(const Rule& rule, const CheckRule& check, const MetricSet& metrics) {
  const absl::StatusOr<Expression> expression = Expression::Parse(check.expression);
  if (!expression.ok()) return CannotJudge(rule, check.expression, Message(expression.status()));
  if (expression->Names().empty()) return CannotJudge(rule, check.expression, "the check names no metric");
  std::string terms;
  std::map<std::string, double, std::less<>> numbers;
  for (const std::string& name : expression->Names()) {
    const std::optional<double> found = FindMetric(metrics, name);
    if (!found) {
      return CannotJudge(rule, check.expression, Missing("metric", name, Keys(metrics.overall)));
    }
    if (!std::isfinite(*found)) {
      return CannotJudge(rule, check.expression, "\"" + name + "\" is " + FormatNumber(*found) + WhyNaN(metrics, name));
    }
    numbers[name] = *found;
    terms += (terms.empty() ? "" : ", ") + name + " = " + FormatNumber(*found);
  }
  Scope scope;
  scope.name = [&numbers](std::string_view name) -> std::optional<Value> {
    return Value(numbers.find(name)->second);
  };
  scope.call = CallFunction;
  const absl::StatusOr<Value> holds = expression->Evaluate(scope);
  if (!holds.ok()) return CannotJudge(rule, check.expression, Message(holds.status()));
  if (!holds->is_bool()) {
    return CannotJudge(rule, check.expression,
                       "the check gives " + cd4ml::ToText(*holds) +
                           ", not true or false; compare it with a bound");
  }
  RuleResult result = Begin(rule, check.expression);
  result.outcome = holds->boolean() ? VerdictOutcome::kPass : Broken(rule);
  result.observed = terms;
  result.bound = check.expression;
  result.sample_size = metrics.sample_size;
  result.message = "\"" + check.expression + "\" is " + cd4ml::ToText(*holds) + " with " + terms;
  return result;
}

RuleResult JudgeDrift(const Rule& rule, const DriftRule& drift, const TableProfile* reference,
                      const std::string& baseline,
                      const std::map<std::string, ColumnProfile>& current, int64_t sample_size) {
  const std::string subject = Of(drift.of, Join(drift.columns, ","));
  RuleResult result = CannotJudge(rule, subject, "");
  const std::string word(kMeasures[static_cast<size_t>(drift.measure)]);
  result.bound = word + " <= " + FormatNumber(drift.max);
  result.sample_size = sample_size;
  result.baseline = baseline;
  if (reference == nullptr) {
    const bool passes = drift.first == FirstTime::kPass;
    result.outcome = passes ? VerdictOutcome::kPass : Broken(rule);
    result.observed = "no baseline";
    result.message = "there is no " + drift.versus +
                     " to compare with yet (first: " + (passes ? "pass)" : "fail)");
    return result;
  }
  const int64_t samples = std::min(sample_size, reference->rows);
  if (samples < drift.min_samples) {
    result.outcome = VerdictOutcome::kPass;
    result.observed = Plural(samples, "row");
    result.message = "no verdict on drift: " + result.observed + (samples < sample_size ? " in the baseline" : "") + " where " +
                     std::to_string(drift.min_samples) + " are needed (min_samples)";
    return result;
  }
  std::vector<ColumnDrift> columns;
  for (const std::string& column : drift.columns) {
    absl::StatusOr<ColumnDrift> measured = MeasureDrift(drift.measure, column, *reference, current);
    if (!measured.ok()) return Explained(std::move(result), Message(measured.status()));
    columns.push_back(*std::move(measured));
  }
  if (columns.empty()) return Explained(std::move(result), "the rule names no columns");

  std::stable_sort(columns.begin(), columns.end(),
                   [](const auto& a, const auto& b) { return a.distance > b.distance; });
  const ColumnDrift& worst = columns.front();
  const Bounds bounds{.min = std::nullopt, .max = drift.max};
  const bool moved = worst.distance > drift.max;
  result.outcome = moved ? Broken(rule) : VerdictOutcome::kPass;
  result.subject = Of(drift.of, worst.column);
  result.observed = word + " " + FormatObserved(worst.distance, bounds);
  result.observed_number = worst.distance;
  result.message = "\"" + worst.column + "\" " + (moved ? "has moved" : "moved most") + ": " +
                   result.observed + ", must be <= " + FormatNumber(drift.max) + ", against " +
                   baseline;
  for (const ColumnDrift& column : columns) {
    if (column.distance > drift.max)
      Append(result.rows, column.column + ": " + word + " " + FormatObserved(column.distance, bounds));
  }
  return result;
}

}  // namespace cd4ml::core
