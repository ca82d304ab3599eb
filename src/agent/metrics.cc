// Metric files to metric sets.
#include "agent/metrics.h"

#include <re2/re2.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>
#include <set>

#include "agent/files.h"
#include "cd4ml/base/status.h"
#include "cd4ml/base/text.h"

namespace cd4ml::agent {
namespace {

constexpr int64_t kMetricsFileMax = 64 << 20;
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

void AddNumbers(const std::string& name, const Value& value, core::MetricSet& metrics) {
  if (value.is_map()) {
    for (const auto& [key, member] : value.map()) {
      AddNumbers(name.empty() ? key : name + "." + key, member, metrics);
    }
  } else if (value.is_number()) {
    metrics.overall[name] = value.number();
  } else if (value.is_null()) {
    metrics.overall[name] = kNaN;
  }
}

std::optional<double> ParseNumber(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  if (!text.empty() && text.front() == '+') text.remove_prefix(1);
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return number;
}

absl::StatusOr<size_t> ColumnOf(const std::vector<std::string>& header, const std::string& name) {
  const auto found = std::find(header.begin(), header.end(), name);
  if (found != header.end()) return static_cast<size_t>(found - header.begin());
  return absl::InvalidArgumentError("has no column \"" + name + "\"" + DidYouMean(name, header));
}

}  // namespace

absl::Status AddJsonMetrics(std::string_view json, core::MetricSet& metrics) {
  CD4ML_ASSIGN_OR_RETURN(const Value value, ParseJson(json));
  if (!value.is_map()) return absl::InvalidArgumentError("holds no map of metrics");
  AddNumbers("", value, metrics);
  return absl::OkStatus();
}

absl::Status AddPatternMetric(std::string_view text, const std::string& name,
                              const std::string& pattern, core::MetricSet& metrics) {
  RE2::Options options(RE2::Quiet);
  options.set_never_nl(false);
  const RE2 regex(pattern, options);
  if (!regex.ok())
    return absl::InvalidArgumentError("the pattern of \"" + name + "\" is wrong: " + regex.error());
  if (regex.NumberOfCapturingGroups() != 1) {
    return absl::InvalidArgumentError("the pattern of \"" + name +
                                      "\" needs exactly one group in parentheses");
  }
  re2::StringPiece rest(text.data(), text.size());
  std::optional<std::string> last;
  for (std::string match; RE2::FindAndConsume(&rest, regex, &match);) {
    last = match;
    if (rest.empty()) break;
  }
  if (!last)
    return absl::InvalidArgumentError("has nothing that the pattern of \"" + name + "\" matches");
  const std::optional<double> number = ParseNumber(*last);
  if (!number)
    return absl::InvalidArgumentError("has \"" + *last + "\" as \"" + name +
                                      "\", which is no number");
  metrics.overall[name] = *number;
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::vector<std::string>>> ParseCsv(std::string_view text) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  std::vector<std::vector<std::string>> rows;
  std::vector<std::string> row;
  std::string cell;
  bool quoted = false;
  const auto end_row = [&] {
    row.push_back(std::move(cell));
    cell.clear();
    if (row.size() > 1 || !row[0].empty()) rows.push_back(std::move(row));
    row.clear();
  };
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c != '"') {
        cell += c;
      } else if (i + 1 < text.size() && text[i + 1] == '"') {
        cell += text[++i];
      } else {
        quoted = false;
      }
    } else if (c == '"' && cell.empty()) {
      quoted = true;
    } else if (c == ',') {
      row.push_back(std::move(cell));
      cell.clear();
    } else if (c == '\n') {
      end_row();
    } else if (c != '\r') {
      cell += c;
    }
  }
  if (quoted) return absl::InvalidArgumentError("has a quoted cell that does not end");
  if (!cell.empty() || !row.empty()) end_row();
  return rows;
}

absl::Status AddSliceMetrics(std::string_view csv, const std::string& slice,
                             const std::string& count, core::MetricSet& metrics) {
  CD4ML_ASSIGN_OR_RETURN(const auto rows, ParseCsv(csv));
  if (rows.empty()) return absl::InvalidArgumentError("is empty");
  const std::vector<std::string>& header = rows[0];
  CD4ML_ASSIGN_OR_RETURN(const size_t key, ColumnOf(header, slice));
  size_t counts = header.size();
  if (!count.empty()) {
    CD4ML_ASSIGN_OR_RETURN(counts, ColumnOf(header, count));
  }
  std::vector<core::SliceMetrics> slices;
  std::set<std::string> values;
  for (size_t line = 1; line < rows.size(); ++line) {
    const std::vector<std::string>& row = rows[line];
    const std::string where = " in row " + std::to_string(line + 1);
    if (row.size() != header.size()) {
      return absl::InvalidArgumentError("has " + std::to_string(row.size()) + " cells" + where +
                                        " and " + std::to_string(header.size()) + " in its header");
    }
    core::SliceMetrics metric{row[key], 0, {}};
    for (size_t i = 0; i < row.size(); ++i) {
      if (i == key) continue;
      const std::optional<double> number = row[i].empty() ? kNaN : ParseNumber(row[i]);
      if (!number) {
        return absl::InvalidArgumentError("has \"" + row[i] + "\" as \"" + header[i] + "\"" +
                                          where + ", which is no number");
      }
      if (i != counts) {
        metric.metrics[header[i]] = *number;
      } else if (std::isnan(*number)) {
        return absl::InvalidArgumentError("has no \"" + count + "\"" + where);
      } else if (*number < 0 || *number >= 9e15 || *number != std::floor(*number)) {
        return absl::InvalidArgumentError("has \"" + row[i] + "\" as \"" + count + "\"" + where + ", which counts nothing");
      } else {
        metric.count = static_cast<int64_t>(*number);
      }
    }
    if (!values.insert(row[key]).second)
      return absl::InvalidArgumentError("has \"" + row[key] + "\" as \"" + slice + "\" twice, again" + where);
    slices.push_back(std::move(metric));
  }
  metrics.slices[slice] = std::move(slices);
  return absl::OkStatus();
}

absl::Status AddMetricsFile(const std::string& dir, const core::MetricsSpec& spec,
                            core::MetricSet& metrics) {
  const std::string path = dir + "/" + spec.file;
  const std::string what = "metrics file " + spec.file;
  if (!IsInside(spec.file) || !Exists(path)) {
    return absl::NotFoundError(what +
                               " was not written; a stage that declares metrics must write them");
  }
  if (!ResolvesInside(path, dir)) {
    return absl::InvalidArgumentError(what +
                                      " leads out of the work directory through a symbolic link");
  }
  absl::StatusOr<std::string> text = ReadText(path, kMetricsFileMax);
  if (!text.ok()) return text.status();
  absl::Status added;
  if (!spec.pattern.empty()) {
    added = AddPatternMetric(*text, spec.name, spec.pattern, metrics);
  } else if (!spec.slice.empty()) {
    added = AddSliceMetrics(*text, spec.slice, spec.count, metrics);
  } else {
    added = AddJsonMetrics(*text, metrics);
  }
  return Annotate(added, what);
}

}  // namespace cd4ml::agent
