// Rules about a statistic of a column, also lately and against a baseline, and about the age of the newest row.
#include <array>
#include <cmath>
#include <optional>

#include "cd4ml/base/status.h"
#include "table/judge.h"

namespace cd4ml::table {
namespace {

using core::RuleResult;
using core::Statistic;
using core::StatRule;

// A statistic: its word, its SQL over x (the text) and v (the number), with the rows that count as %.
struct Measure {
  std::string_view word, sql;
  bool of_numbers;
};
constexpr std::array<Measure, 13> kMeasures = {{
    {"count", "CAST(count(x) % AS DOUBLE)", false},
    {"share of nulls", "(count(*) % - count(x) %) / CAST(nullif(count(*) %, 0) AS DOUBLE)", false},
    {"distinct", "CAST(count(DISTINCT x) % AS DOUBLE)", false},
    {"min", "min(v) %", true},
    {"max", "max(v) %", true},
    {"mean", "avg(v) %", true},
    {"median", "quantile_cont(v, 0.5) %", true},
    {"sum", "sum(v) %", true},
    {"std", "stddev_samp(v) %", true},
    {"p05", "quantile_cont(v, 0.05) %", true},
    {"p25", "quantile_cont(v, 0.25) %", true},
    {"p75", "quantile_cont(v, 0.75) %", true},
    {"p95", "quantile_cont(v, 0.95) %", true},
}};

const Measure& MeasureOf(Statistic stat) { return kMeasures[static_cast<size_t>(stat)]; }

// Returns the number of samples and the statistic over the rows that fulfil `condition`.
std::string Counted(Statistic stat, const std::string& condition) {
  const Measure& measure = MeasureOf(stat);
  std::string sql = std::string(measure.of_numbers ? "count(v)" : "count(*)") + " %, ";
  sql += measure.sql;
  const std::string filter = "FILTER (WHERE " + condition + ")";
  for (size_t at = sql.find('%'); at != std::string::npos; at = sql.find('%', at + filter.size()))
    sql.replace(at, 1, filter);
  return sql;
}

// What a statistic was computed from, and what came out; no value where there was nothing.
struct Side {
  int64_t samples = 0;
  std::optional<double> value;
};

Side ReadSide(const Row& row, size_t first) {
  Side side{Integer(row[first]), std::nullopt};
  if (row[first + 1]) side.value = std::stod(*row[first + 1]);
  return side;
}

absl::StatusOr<Side> SideOfProfile(const StatRule& stat, const core::TableProfile& profile) {
  const auto found = profile.columns.find(stat.column);
  if (found == profile.columns.end())
    return absl::NotFoundError("the baseline has no column \"" + stat.column + "\"");
  const core::ColumnProfile& column = found->second;
  const int64_t values = column.rows - column.nulls;
  const Measure& measure = MeasureOf(stat.stat);
  if (measure.of_numbers && !column.numeric)
    return absl::InvalidArgumentError("\"" + stat.column + "\" is no number in the baseline");
  Side side{measure.of_numbers ? values : column.rows, std::nullopt};
  const auto quantile = [&](double share) {
    for (size_t i = 0; i < column.quantiles.size(); ++i) {
      if (core::kProfileQuantiles[i] == share) side.value = column.quantiles[i];
    }
  };
  const auto value = [&](double number, bool is_known) {
    if (is_known) side.value = number;
  };
  switch (stat.stat) {
    case Statistic::kCount: value(static_cast<double>(values), true); break;
    case Statistic::kNulls: value(Share(column.nulls, column.rows), column.rows > 0); break;
    case Statistic::kDistinct:
      value(static_cast<double>(column.distinct), column.distinct > 0 || values == 0);
      break;
    case Statistic::kMin: value(column.min, values > 0); break;
    case Statistic::kMax: value(column.max, values > 0); break;
    case Statistic::kMean: value(column.mean, values > 0); break;
    case Statistic::kSum: value(column.mean * static_cast<double>(values), values > 0); break;
    case Statistic::kStd: value(column.std, column.std > 0 || (values > 1 && column.min == column.max)); break;
    case Statistic::kMedian: quantile(0.5); break;
    case Statistic::kP05: quantile(0.05); break;
    case Statistic::kP25: quantile(0.25); break;
    case Statistic::kP75: quantile(0.75); break;
    case Statistic::kP95: quantile(0.95); break;
  }
  if (side.value) return side;
  return absl::FailedPreconditionError("the profile of the baseline does not hold the " +
                                       std::string(measure.word) + " of \"" + stat.column + "\"");
}

// --- words ---

std::string Samples(const Side& side) { return "n=" + std::to_string(side.samples); }

std::string LimitOf(const core::Allowance& allowance) {
  std::string text;
  if (allowance.abs) text = core::FormatNumber(*allowance.abs);
  if (allowance.rel) text += (text.empty() ? "" : " or ") + Percent(*allowance.rel);
  return text + (allowance.abs && allowance.rel ? ", the larger," : "");
}

// Returns what the rule demands: "2 .. 8 and within 20% of the rest".
std::string BoundOf(const StatRule& stat) {
  std::string text = stat.value.is_set() ? core::FormatBounds(stat.value, "") : "";
  if (stat.versus.empty()) return text;
  return text + (text.empty() ? "" : " and ") + "within " + LimitOf(stat.max_change) + " of " +
         (stat.versus == "rest" ? "the rest" : stat.versus);
}

// --- judging ---

// What became of one group, or of the whole table.
struct StatFinding {
  bool broken = false;
  double badness = -HUGE_VAL;
  std::string found;
};

// `then` is null where there is nothing to compare with yet. `may_be_none`: bounds need not be asked of too few samples.
absl::StatusOr<StatFinding> JudgeStat(const StatRule& stat, const Side& now, const Side* then,
                                      const std::string& then_words, bool may_be_none) {
  StatFinding finding;
  const bool too_few = now.samples < stat.min_samples;
  if (!now.value && (!too_few || (stat.value.is_set() && !may_be_none))) {
    return absl::InvalidArgumentError(
        "there is no " + std::string(MeasureOf(stat.stat).word) + " of " +
        std::to_string(now.samples) + (MeasureOf(stat.stat).of_numbers ? " numbers" : " rows") +
        (too_few ? "" : "; min_samples says from how many on it is judged"));
  }
  if (now.value && !std::isfinite(*now.value))
    return absl::InvalidArgumentError("the " + std::string(MeasureOf(stat.stat).word) + " is " +
                                      core::FormatNumber(*now.value));
  finding.found = (now.value ? core::FormatNumber(*now.value) : "nothing") + " (" + Samples(now) + ")";
  if (now.value && stat.value.is_set()) {
    finding.badness = std::max(stat.value.min ? *stat.value.min - *now.value : -HUGE_VAL,
                               stat.value.max ? *now.value - *stat.value.max : -HUGE_VAL);
    finding.broken = finding.badness > 0;
  }
  if (then == nullptr) return finding;
  if (too_few || then->samples < stat.min_samples) {
    const std::string now_words = stat.window_column.empty() ? "\"" + stat.of + "\"" : "the window";
    finding.found += ", no verdict on the change: " + (too_few ? now_words + " has " + Samples(now) : then_words + " has " + Samples(*then)) +
                     ", " + std::to_string(stat.min_samples) + " are needed (min_samples)";
    return finding;
  }
  if (!then->value) {
    return absl::InvalidArgumentError("there is no " + std::string(MeasureOf(stat.stat).word) +
                                      " of " + then_words +
                                      "; min_samples says from how many on it is judged");
  }
  const double change = *now.value - *then->value;
  const double allowed =
      std::max(stat.max_change.abs.value_or(0),
               stat.max_change.rel.value_or(0) * std::abs(*then->value));
  const double beyond = std::abs(change) - allowed;
  finding.broken |= beyond > kRounding * std::max(1e-6, std::abs(*then->value));
  finding.badness = std::max(finding.badness, beyond / std::max(1e-300, std::abs(*then->value)));
  finding.found += ", " + core::FormatNumber(*then->value) + " in " + then_words + " (" +
                   Samples(*then) + ")";
  if (*then->value != 0 && change != 0)
    finding.found += ": " + std::string(change > 0 ? "+" : "-") +
                     Percent(std::abs(change / *then->value));
  return finding;
}

// --- time ---

// The times of a column, in milliseconds since 1970.
struct Times {
  std::optional<int64_t> newest;   // Not later than asked.
  int64_t latest = 0;              // Of all.
  std::string left_out;            // Says how many values are no times.
};

// Returns the times of a column that has some.
absl::StatusOr<Times> TimesOf(const Case& it, const Table& table, const std::string& column, int64_t newest_max) {
  CD4ML_ASSIGN_OR_RETURN(const std::string sql, table.Column(column));
  CD4ML_ASSIGN_OR_RETURN(
      const std::vector<Row> rows,
      it.database.Query("SELECT max(t) FILTER (WHERE t <= " + std::to_string(newest_max) + "), max(t), count(x), count(t) FROM (SELECT " +
                        sql + " AS x, epoch_ms(cd4ml_timestamp(" + sql + ")) AS t FROM " + table.sql + ")"));
  if (!rows[0][1])
    return absl::InvalidArgumentError("\"" + column + "\" of \"" + table.name + "\" holds no date or time");
  Times times;
  if (rows[0][0]) times.newest = Integer(rows[0][0]);
  times.latest = Integer(rows[0][1]);
  CD4ML_ASSIGN_OR_RETURN(times.left_out, LeftOut(column, Integer(rows[0][2]), Integer(rows[0][3]), "dates or times"));
  return times;
}
constexpr int64_t kAnyTime = int64_t{1} << 60;

// The rows with x, v and whether they lie in the window (`w`, null without a time). Adds to `left_out`.
absl::StatusOr<std::string> StatView(const Case& it, const Table& table, const StatRule& stat,
                                     const Grouping& grouping, std::string& left_out) {
  CD4ML_ASSIGN_OR_RETURN(const std::string sql, table.Column(stat.column));
  std::string window = "TRUE";
  if (!stat.window_column.empty()) {
    CD4ML_ASSIGN_OR_RETURN(const std::string time, table.Column(stat.window_column));
    // One row of a time that is yet to come must not empty the window: it is on neither side, unless all are.
    CD4ML_ASSIGN_OR_RETURN(const Times times, TimesOf(it, table, stat.window_column, it.now.is_set() ? it.now.ms : kAnyTime));
    left_out = times.left_out;
    const int64_t end = times.newest.value_or(times.latest);
    const std::string ms = "epoch_ms(cd4ml_timestamp(" + time + "))";
    window = "CASE WHEN " + ms + " <= " + std::to_string(end) + " THEN " + ms + " >= " +
             std::to_string(end - stat.window_last.count()) + " END";
    if (times.latest > end)
      left_out += "; rows of a time that is yet to come, up to " + FormatTime({times.latest}) + ", were left out";
  }
  // What is counted as there is what a profile counts: in a column of numbers, those.
  std::string value = sql;
  if (!MeasureOf(stat.stat).of_numbers) {
    CD4ML_ASSIGN_OR_RETURN(value, Filled(it, table, stat.column));
  }
  std::string selected = "bad, " + value + " AS x, " + window + " AS w";
  selected += MeasureOf(stat.stat).of_numbers ? ", cd4ml_number(" + sql + ") AS v" : "";
  for (const std::string& column : grouping.columns) selected += ", " + column;
  return "(SELECT " + selected + " FROM " + table.sql + ")";
}

absl::StatusOr<std::vector<Row>> MeasureStat(const Case& it, const StatRule& stat,
                                             const Grouping& grouping, const std::string& view) {
  std::optional<SingleThread> single;
  if (stat.stat == Statistic::kMean || stat.stat == Statistic::kSum || stat.stat == Statistic::kStd) {
    CD4ML_RETURN_IF_ERROR(single.emplace(it.database).status());
  }
  const bool versus_rest = stat.versus == "rest";
  return QueryGroups(
      it, grouping,
      Counted(stat.stat, "w") + (versus_rest ? ", " + Counted(stat.stat, "NOT w") : "") +
          (MeasureOf(stat.stat).of_numbers ? ", count(x), count(v)" : ""),
      view);
}

// Says how many values of the groups were no numbers.
absl::StatusOr<std::string> NoNumbers(const StatRule& stat, const std::vector<Row>& rows) {
  if (!MeasureOf(stat.stat).of_numbers) return "";
  int64_t values = 0, numbers = 0;
  for (const Row& row : rows) {
    values += Integer(row[row.size() - 2]);
    numbers += Integer(row[row.size() - 1]);
  }
  return LeftOut(stat.column, values, numbers, "numbers");
}

}  // namespace

Judged Judge(const Case& it, const StatRule& stat) {
  CD4ML_ASSIGN_OR_RETURN(const Table* table, FilledTable(it, stat.of));
  CD4ML_ASSIGN_OR_RETURN(const Grouping grouping, GroupingOf(it, *table));
  const bool versus_rest = stat.versus == "rest";
  const bool versus_profile = !versus_rest && !stat.versus.empty();
  if (!stat.value.is_set() && !(stat.max_change.is_set() && !stat.versus.empty()))
    return absl::InvalidArgumentError("the rule has no bound; give it min, max, or versus with max_change");
  if (versus_rest && stat.window_column.empty())
    return absl::InvalidArgumentError("the rest is what lies outside of a window; give the rule one");
  if (versus_profile && grouping.is_set())
    return absl::InvalidArgumentError("a baseline knows no groups; with \"by\", compare with the rest");

  RuleResult result = Begin(it, table->rows);
  result.bound = BoundOf(stat);
  Side profile;
  std::string then_words = "the rest";
  const Baseline* baseline = nullptr;
  if (versus_profile) {
    baseline = FindBaseline(it, stat.versus, stat.of);
    if (baseline != nullptr) {
      CD4ML_ASSIGN_OR_RETURN(profile, SideOfProfile(stat, baseline->profile));
      then_words = result.baseline = baseline->identity;
    }
  }
  std::string left_out;
  CD4ML_ASSIGN_OR_RETURN(const std::string view, StatView(it, *table, stat, grouping, left_out));
  CD4ML_ASSIGN_OR_RETURN(const std::vector<Row> rows, MeasureStat(it, stat, grouping, view));
  CD4ML_ASSIGN_OR_RETURN(const std::string no_numbers, NoNumbers(stat, rows));
  left_out += no_numbers;
  std::vector<Group> groups;
  bool has_value = false;
  for (const Row& row : rows) {
    const Side now = ReadSide(row, 1);
    has_value |= now.value.has_value();
    const Side then = versus_rest ? ReadSide(row, 3) : profile;
    const bool compares = versus_rest || baseline != nullptr;
    const auto finding = JudgeStat(stat, now, compares ? &then : nullptr, then_words, grouping.is_set());
    if (!finding.ok() && grouping.is_set())
      return Annotate(finding.status(), grouping.words + " \"" + *row[0] + "\"");
    CD4ML_RETURN_IF_ERROR(finding.status());
    groups.push_back({row[0].value_or(""), finding->broken, finding->badness, finding->found});
    if (grouping.is_set()) continue;
    result.sample_size = now.samples;
    result.observed_number = now.value;
    if (compares) result.baseline_number = then.value;
  }
  if (grouping.is_set()) {
    if (!has_value && stat.value.is_set())
      return absl::InvalidArgumentError("there is no " + std::string(MeasureOf(stat.stat).word) + " of any " + grouping.words);
    RuleResult by_group = JudgeGroups(it, *table, grouping, std::move(groups), result.bound);
    by_group.message += left_out;
    return by_group;
  }

  if (versus_rest) result.baseline = "the rest of " + stat.of;
  const Group& all = groups[0];
  result.observed = all.found;
  bool broken = all.broken;
  std::string message = std::string(MeasureOf(stat.stat).word) + " of " + stat.column +
                        (stat.window_column.empty() ? "" : " in the last " + FormatDuration(stat.window_last) +
                                                               " of " + stat.window_column) +
                        " is " + all.found + left_out;
  if (versus_profile && baseline == nullptr) {
    const bool passes = stat.first == core::FirstTime::kPass;
    broken |= !passes;
    message += ", and there is no " + stat.versus + " to compare with yet (first: " +
               (passes ? "pass)" : "fail)");
  }
  return Ended(it, std::move(result), broken, std::move(message));
}

Judged Judge(const Case& it, const core::FreshRule& fresh) {
  CD4ML_ASSIGN_OR_RETURN(const Table* table, FilledTable(it, fresh.of));
  CD4ML_ASSIGN_OR_RETURN(const std::string sql, table->Column(fresh.column));
  if (!it.now.is_set())
    return absl::FailedPreconditionError("when the run was started is not known, so nothing can be told fresh");
  // A time that is yet to come says nothing of how fresh the data is.
  CD4ML_ASSIGN_OR_RETURN(const Times times, TimesOf(it, *table, fresh.column, it.now.ms));
  const std::optional<int64_t> newest = times.newest;
  RuleResult result = Begin(it, table->rows);
  result.bound = "<= " + FormatDuration(fresh.within) + " old at " + FormatTime(it.now);
  if (!newest) {
    result.observed = FormatTime({times.latest});
    return Ended(it, std::move(result), true, "every row of " + fresh.of + " is later than the run" + times.left_out);
  }
  const int64_t age = it.now.ms - *newest;
  result.observed = FormatTime({*newest}) + ", " + FormatDuration(Duration(age)) + " old";
  result.observed_number = static_cast<double>(age) / 1000;
  const bool broken = age > fresh.within.count();
  if (broken) {
    CD4ML_ASSIGN_OR_RETURN(result.rows,
                           OffendingRows(it, *table, table->sql,
                                         "epoch_ms(cd4ml_timestamp(" + sql + ")) = " + std::to_string(*newest),
                                         {fresh.column}));
  }
  std::string message = "the newest row of " + fresh.of + " is of " + result.observed;
  if (times.latest > it.now.ms) message += "; there are rows of a time that is yet to come, up to " + FormatTime({times.latest});
  message += times.left_out;
  return Ended(it, std::move(result), broken, std::move(message));
}

}  // namespace cd4ml::table
