// Column profiles: their JSON form, counting like a reference, and the distance between two.
#include "cd4ml/core/profile.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

#include "cd4ml/base/check.h"
#include "cd4ml/base/status.h"
#include "cd4ml/core/drift.h"

namespace cd4ml::core {

std::vector<double> Bins(const ColumnProfile& column) {
  std::vector<double> bins(column.counts.begin(), column.counts.end());
  for (const auto& [category, count] : column.top) bins.push_back(static_cast<double>(count));
  if (!column.numeric) bins.push_back(static_cast<double>(column.other));
  bins.push_back(static_cast<double>(column.nulls));
  return bins;
}

BinsOfBoth::BinsOfBoth(const ColumnProfile& reference, const ColumnProfile& current)
    : was(Bins(reference)), is(Bins(current)) {
  CD4ML_CHECK(was.size() == is.size(), "profiles of different form");
  const size_t last = current.counts.empty() ? 0 : current.counts.size() - 1;
  for (const auto& [bin, rows] : {std::pair<size_t, int64_t>(0, current.below), {last, current.above}}) {
    if (rows == 0) continue;
    is[bin] -= static_cast<double>(rows);
    is.push_back(static_cast<double>(rows));
    was.push_back(0);
  }
}

namespace {

Value ToValue(const ColumnProfile& column) {
  Value::Map map = {{"numeric", column.numeric},
                    {"rows", column.rows},
                    {"nulls", column.nulls},
                    {"distinct", column.distinct}};
  if (!column.type.empty()) map["type"] = column.type;
  if (column.numeric) {
    map["edges"] = Value::List(column.edges.begin(), column.edges.end());
    map["counts"] = Value::List(column.counts.begin(), column.counts.end());
    map["min"] = column.min;
    map["max"] = column.max;
    map["mean"] = column.mean;
    map["std"] = column.std;
    if (!column.quantiles.empty())
      map["quantiles"] = Value::List(column.quantiles.begin(), column.quantiles.end());
  } else {
    map["top"] = Value::Map(column.top.begin(), column.top.end());
    map["other"] = column.other;
  }
  return Value(std::move(map));
}

absl::Status Malformed(std::string_view member) {
  return absl::InvalidArgumentError("malformed profile: \"" + std::string(member) +
                                    "\" is missing or no such thing");
}

absl::StatusOr<int64_t> ReadCount(const Value* value, std::string_view member) {
  const auto* count = value == nullptr ? nullptr : std::get_if<int64_t>(&value->data);
  if (count == nullptr || *count < 0) return Malformed(member);
  return *count;
}

absl::StatusOr<double> ReadNumber(const Value* value, std::string_view member) {
  if (value == nullptr || !value->is_number()) return Malformed(member);
  return value->number();
}

absl::Status ReadHistogram(const Value& value, ColumnProfile& column) {
  const Value* edges = value.Find("edges");
  const Value* counts = value.Find("counts");
  if (edges == nullptr || !edges->is_list()) return Malformed("edges");
  if (counts == nullptr || !counts->is_list()) return Malformed("counts");
  for (const Value& item : edges->list()) {
    CD4ML_ASSIGN_OR_RETURN(const double edge, ReadNumber(&item, "edges"));
    column.edges.push_back(edge);
  }
  for (const Value& item : counts->list()) {
    CD4ML_ASSIGN_OR_RETURN(const int64_t count, ReadCount(&item, "counts"));
    column.counts.push_back(count);
  }
  if (!std::is_sorted(column.edges.begin(), column.edges.end())) return Malformed("edges");
  if (column.counts.size() != column.edges.size() + 1) return Malformed("counts");
  CD4ML_ASSIGN_OR_RETURN(column.min, ReadNumber(value.Find("min"), "min"));
  CD4ML_ASSIGN_OR_RETURN(column.max, ReadNumber(value.Find("max"), "max"));
  CD4ML_ASSIGN_OR_RETURN(column.mean, ReadNumber(value.Find("mean"), "mean"));
  return absl::OkStatus();
}

// Profiles of before have none of these; zero and empty say so.
absl::Status ReadLaterMembers(const Value& value, ColumnProfile& column) {
  if (const Value* type = value.Find("type")) {
    if (!type->is_string()) return Malformed("type");
    column.type = type->string();
  }
  if (const Value* distinct = value.Find("distinct")) {
    CD4ML_ASSIGN_OR_RETURN(column.distinct, ReadCount(distinct, "distinct"));
  }
  if (const Value* std = value.Find("std")) {
    CD4ML_ASSIGN_OR_RETURN(column.std, ReadNumber(std, "std"));
  }
  const Value* quantiles = value.Find("quantiles");
  if (quantiles == nullptr) return absl::OkStatus();
  if (!quantiles->is_list() || quantiles->list().size() != std::size(kProfileQuantiles))
    return Malformed("quantiles");
  for (const Value& item : quantiles->list()) {
    CD4ML_ASSIGN_OR_RETURN(const double quantile, ReadNumber(&item, "quantiles"));
    column.quantiles.push_back(quantile);
  }
  return std::is_sorted(column.quantiles.begin(), column.quantiles.end()) ? absl::OkStatus()
                                                                          : Malformed("quantiles");
}

absl::Status ReadCategories(const Value& value, ColumnProfile& column) {
  const Value* top = value.Find("top");
  if (top == nullptr || !top->is_map()) return Malformed("top");
  for (const auto& [category, item] : top->map()) {
    CD4ML_ASSIGN_OR_RETURN(column.top[category], ReadCount(&item, "top"));
  }
  CD4ML_ASSIGN_OR_RETURN(column.other, ReadCount(value.Find("other"), "other"));
  return absl::OkStatus();
}

double Sum(const std::vector<double>& bins) {
  double sum = 0;
  for (const double rows : bins) sum += rows;
  return sum;
}

absl::StatusOr<ColumnProfile> ColumnFromValue(const Value& value) {
  ColumnProfile column;
  const Value* numeric = value.Find("numeric");
  if (numeric == nullptr || !numeric->is_bool()) return Malformed("numeric");
  column.numeric = numeric->boolean();
  CD4ML_ASSIGN_OR_RETURN(column.rows, ReadCount(value.Find("rows"), "rows"));
  CD4ML_ASSIGN_OR_RETURN(column.nulls, ReadCount(value.Find("nulls"), "nulls"));
  CD4ML_RETURN_IF_ERROR(column.numeric ? ReadHistogram(value, column)
                                       : ReadCategories(value, column));
  CD4ML_RETURN_IF_ERROR(ReadLaterMembers(value, column));
  if (Sum(Bins(column)) != static_cast<double>(column.rows)) return Malformed("rows");
  return column;
}

std::optional<double> AsNumber(const Value& value) {
  double number = 0;
  if (value.is_number()) {
    number = value.number();
  } else if (value.is_string()) {
    std::string_view text = value.string();
    const size_t first = text.find_first_not_of(" \t");
    if (first == std::string_view::npos) return std::nullopt;
    text = text.substr(first, text.find_last_not_of(" \t") - first + 1);
    if (text.size() > 1 && text[0] == '+' && text[1] != '-') text.remove_prefix(1);
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  } else {
    return std::nullopt;
  }
  if (!std::isfinite(number)) return std::nullopt;
  return number;
}

void CountNumber(const Value& value, const ColumnProfile& reference, ColumnProfile& column) {
  const std::optional<double> number = AsNumber(value);
  if (!number) {
    ++column.nulls;
    return;
  }
  const int64_t seen = column.rows - column.nulls;  // This one included.
  column.min = seen == 1 ? *number : std::min(column.min, *number);
  column.max = seen == 1 ? *number : std::max(column.max, *number);
  column.mean += (*number - column.mean) / static_cast<double>(seen);
  const auto edge = std::lower_bound(column.edges.begin(), column.edges.end(), *number);
  ++column.counts[static_cast<size_t>(edge - column.edges.begin())];
  column.below += *number < reference.min ? 1 : 0;
  column.above += *number > reference.max ? 1 : 0;
}

void CountCategory(const Value& value, ColumnProfile& column) {
  const std::string text = value.is_null() ? "" : cd4ml::ToText(value);
  if (text.empty()) {
    ++column.nulls;
  } else if (const auto found = column.top.find(text); found != column.top.end()) {
    ++found->second;
  } else {
    ++column.other;
  }
}

void AddQuantiles(std::vector<double> numbers, ColumnProfile& column) {
  if (numbers.empty()) return;
  std::sort(numbers.begin(), numbers.end());
  for (const double share : kProfileQuantiles) {
    const double place = share * static_cast<double>(numbers.size() - 1);
    const auto below = static_cast<size_t>(place);
    const double above = numbers[std::min(below + 1, numbers.size() - 1)];
    column.quantiles.push_back(numbers[below] + (place - std::floor(place)) * (above - numbers[below]));
  }
}

}  // namespace

Value ToValue(const TableProfile& profile) {
  Value::Map columns;
  for (const auto& [name, column] : profile.columns) columns[name] = ToValue(column);
  Value::Map map = {{"rows", profile.rows}, {"columns", std::move(columns)}};
  if (!profile.segments.empty())
    map["segments"] = Value::List(profile.segments.begin(), profile.segments.end());
  return Value(std::move(map));
}

absl::StatusOr<TableProfile> ProfileFromValue(const Value& value) {
  TableProfile profile;
  CD4ML_ASSIGN_OR_RETURN(profile.rows, ReadCount(value.Find("rows"), "rows"));
  const Value* columns = value.Find("columns");
  if (columns == nullptr || !columns->is_map()) return Malformed("columns");
  for (const auto& [name, item] : columns->map()) {
    absl::StatusOr<ColumnProfile> column = ColumnFromValue(item);
    if (!column.ok()) return Annotate(column.status(), "column \"" + name + "\"");
    profile.columns[name] = *std::move(column);
  }
  const Value* segments = value.Find("segments");
  if (segments == nullptr) return profile;
  if (!segments->is_list()) return Malformed("segments");
  for (const Value& segment : segments->list()) {
    if (!segment.is_string()) return Malformed("segments");
    profile.segments.push_back(segment.string());
  }
  return profile;
}

ColumnProfile CountLike(const ColumnProfile& reference, const std::vector<Value>& values) {
  ColumnProfile column;
  column.numeric = reference.numeric;
  column.edges = reference.edges;
  column.counts.assign(reference.counts.size(), 0);
  for (const auto& [category, count] : reference.top) column.top[category] = 0;
  std::vector<double> numbers;
  for (const Value& value : values) {
    ++column.rows;
    column.numeric ? CountNumber(value, reference, column) : CountCategory(value, column);
    if (const auto number = column.numeric ? AsNumber(value) : std::nullopt) numbers.push_back(*number);
  }
  AddQuantiles(std::move(numbers), column);
  return column;
}

// A bin that one side has not seen would make the index infinite. Each side therefore gets half a
// row per bin, spread as both sides together are: rare categories of a large reference then do not
// look like drift in a small sample, which the usual half row in every bin makes them do.
double PopulationStabilityIndex(const ColumnProfile& reference, const ColumnProfile& current) {
  const auto [was, is] = BinsOfBoth(reference, current);
  const double rows_was = Sum(was);
  const double rows_is = Sum(is);
  CD4ML_CHECK(rows_was > 0 && rows_is > 0, "profile without rows");

  const double extra = 0.5 * static_cast<double>(was.size());
  double index = 0;
  for (size_t i = 0; i < was.size(); ++i) {
    const double both = (was[i] + is[i]) / (rows_was + rows_is);
    if (both == 0) continue;
    const double p = (was[i] + extra * both) / (rows_was + extra);
    const double q = (is[i] + extra * both) / (rows_is + extra);
    index += (q - p) * std::log(q / p);
  }
  return index;
}

}  // namespace cd4ml::core
