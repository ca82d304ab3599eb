// Draws by hand: a few rectangles and paths need no library.
#include "core/charts.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "cd4ml/core/gate.h"

namespace cd4ml::core {
namespace {

constexpr double kWidth = 320, kHeight = 130;
constexpr double kLeft = 6, kRight = 314, kTop = 8, kBottom = 108;  // Of what is drawn into.
constexpr int kHistogramBars = 28;

// A coordinate with one digit, whatever the locale.
std::string Px(double x) {
  std::array<char, 32> text;
  const auto [end, error] = std::to_chars(text.data(), text.data() + text.size(), x, std::chars_format::fixed, 1);
  return std::string(text.data(), end);
}

// Returns how many bytes the character at the front of `text` has, 0 when it may not stand in a document.
size_t CharacterSize(std::string_view text) {
  const auto lead = static_cast<uint8_t>(text[0]);
  if (lead < 0x80) return lead >= 0x20 || lead == '\n' || lead == '\r' || lead == '\t' ? 1 : 0;
  const size_t size = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < size) return 0;
  for (size_t i = 1; i < size; ++i) {
    if ((static_cast<uint8_t>(text[i]) & 0xC0) != 0x80) return 0;
  }
  const auto second = static_cast<uint8_t>(text[1]);
  const bool is_wrong = (lead == 0xE0 && second < 0xA0) || (lead == 0xED && second > 0x9F) ||  // Too long; a surrogate.
                        (lead == 0xF0 && second < 0x90) || (lead == 0xF4 && second > 0x8F) ||
                        (lead == 0xC2 && second < 0xA0) ||  // A control character.
                        (lead == 0xEF && second == 0xBF && static_cast<uint8_t>(text[2]) >= 0xBE);
  // What turns the direction of writing could make a text say something else than it is.
  const bool is_turning =
      lead == 0xE2 &&
      ((second == 0x80 && static_cast<uint8_t>(text[2]) >= 0xAA && static_cast<uint8_t>(text[2]) <= 0xAE) ||
       (second == 0x81 && static_cast<uint8_t>(text[2]) >= 0xA6 && static_cast<uint8_t>(text[2]) <= 0xA9));
  return is_wrong || is_turning ? 0 : size;
}

std::string Open(const std::string& label, double height = kHeight) {
  return "<svg class=\"chart\" viewBox=\"0 0 " + Px(kWidth) + " " + Px(height) + "\" role=\"img\" aria-label=\"" +
         Escaped(label) + "\"><title>" + Escaped(label) + "</title>";
}

std::string Rect(std::string_view style, double x, double y, double width, double height) {
  return "<rect class=\"" + std::string(style) + "\" x=\"" + Px(x) + "\" y=\"" + Px(y) + "\" width=\"" +
         Px(std::max(0.0, width)) + "\" height=\"" + Px(std::max(0.0, height)) + "\"/>";
}

std::string Line(std::string_view style, double x1, double y1, double x2, double y2) {
  return "<path class=\"" + std::string(style) + "\" d=\"M" + Px(x1) + " " + Px(y1) + "L" + Px(x2) + " " + Px(y2) +
         "\"/>";
}

std::string Label(double x, double y, std::string_view anchor, const std::string& text) {
  return "<text x=\"" + Px(x) + "\" y=\"" + Px(y) + "\" text-anchor=\"" + std::string(anchor) + "\">" + Escaped(text) +
         "</text>";
}

// From values to places between two edges of the drawing.
struct Axis {
  double low, high, from, to;
  double operator()(double value) const {
    return from + (std::clamp(value, low, high) - low) / (high - low) * (to - from);
  }
};

// Texts under an axis: its ends and its middle.
std::string Ticks(const Axis& axis) {
  return Line("axis", kLeft, kBottom, kRight, kBottom) + Label(kLeft, kHeight - 8, "start", Rounded(axis.low)) +
         Label((kLeft + kRight) / 2, kHeight - 8, "middle", Rounded((axis.low + axis.high) / 2)) +
         Label(kRight, kHeight - 8, "end", Rounded(axis.high));
}

// Returns the borders of a column's bins with its least and greatest value around them, never falling.
std::vector<double> Borders(const ColumnProfile& column) {
  std::vector<double> borders = {column.min};
  borders.insert(borders.end(), column.edges.begin(), column.edges.end());
  borders.push_back(column.max);
  for (size_t i = 1; i < borders.size(); ++i) borders[i] = std::max(borders[i], borders[i - 1]);
  return borders;
}

// Returns the number of values that are at most `x`.
double CountUpTo(const ColumnProfile& column, double x) {
  const std::vector<double> borders = Borders(column);
  double sum = 0;
  for (size_t i = 0; i < column.counts.size() && i + 1 < borders.size(); ++i) {
    const double low = borders[i], high = borders[i + 1];
    const auto count = static_cast<double>(column.counts[i]);
    if (x >= high) {
      sum += count;
    } else if (x > low) {
      sum += count * (x - low) / (high - low);
    }
  }
  return sum;
}

// Returns the share of all rows in each of the bars between `low` and `high`.
std::vector<double> Shares(const ColumnProfile& column, double low, double high) {
  std::vector<double> shares;
  const double rows = std::max<double>(1, static_cast<double>(column.rows));
  // What equals the least value shown belongs to the first bar.
  double before = low > column.min ? CountUpTo(column, low) : 0;
  for (int i = 1; i <= kHistogramBars; ++i) {
    const double upto = CountUpTo(column, i == kHistogramBars ? high : low + (high - low) * i / kHistogramBars);
    shares.push_back(std::max(0.0, upto - before) / rows);
    before = upto;
  }
  return shares;
}

// Widens [low, high] by what one column has between its 1st and 99th percentile.
void Widen(const ColumnProfile& column, double& low, double& high) {
  const bool has = column.quantiles.size() == std::size(kProfileQuantiles);
  low = std::min(low, has ? column.quantiles.front() : column.min);
  high = std::max(high, has ? column.quantiles.back() : column.max);
}

// Makes room around one value alone. Returns whether the range can be drawn.
bool Spread(double& low, double& high) {
  const double room = low < high ? 0 : std::max(0.5, std::abs(low) * 1e-6);
  low -= room;
  high += room;
  return low < high && std::isfinite(high - low);
}

std::string NotDrawn(const std::string& label) {
  return "<p class=\"note\">" + Escaped(label) + ": the values are too far apart to be drawn</p>";
}

std::string Milliseconds(double ms) { return ms < 1000 ? Rounded(ms) + " ms" : Rounded(ms / 1000) + " s"; }

// By nearest rank. REQUIRES: sorted and not empty.
double Percentile(const std::vector<double>& sorted, double share) {
  const auto rank = static_cast<size_t>(std::ceil(share * static_cast<double>(sorted.size())));
  return sorted[std::clamp<size_t>(rank, 1, sorted.size()) - 1];
}

}  // namespace

std::string Escaped(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const size_t size = CharacterSize(text);
    const char c = text[0];
    if (size == 0) {
      out += "\xEF\xBF\xBD";
    } else if (c == '<' || c == '>' || c == '&' || c == '"' || c == '\'') {
      out += c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '&' ? "&amp;" : c == '"' ? "&quot;" : "&#39;";
    } else {
      out += text.substr(0, size);
    }
    text.remove_prefix(std::max<size_t>(size, 1));
  }
  return out;
}

std::string Rounded(double number) {
  const double size = std::abs(number);
  if (!std::isfinite(number) || size >= 1e15 || (size > 0 && size < 1e-4)) return FormatNumber(number);
  if (size < 1000) {  // Three digits that count.
    const double unit = size == 0 ? 1 : std::pow(10, std::floor(std::log10(size)) - 2);
    return FormatNumber(std::round(number / unit) * unit);
  }
  std::string text = std::to_string(std::llround(number));
  for (size_t at = text.size(); at > 3 + (number < 0 ? 1u : 0u); at -= 3) text.insert(at - 3, ",");
  return text;
}

std::string HistogramChart(const std::string& label, const ColumnProfile& now, const ColumnProfile* before) {
  double low = HUGE_VAL, high = -HUGE_VAL;
  Widen(now, low, high);
  if (before != nullptr) Widen(*before, low, high);
  if (!Spread(low, high)) return NotDrawn(label);
  const Axis x{low, high, kLeft, kRight};
  const std::vector<double> shares = Shares(now, low, high);
  const std::vector<double> was = before == nullptr ? std::vector<double>() : Shares(*before, low, high);
  double top = *std::max_element(shares.begin(), shares.end());
  if (!was.empty()) top = std::max(top, *std::max_element(was.begin(), was.end()));
  const Axis y{0, top > 0 ? top : 1, kBottom, kTop + 10};
  std::string svg = Open(label);
  const double step = (kRight - kLeft) / kHistogramBars;
  for (int i = 0; i < kHistogramBars; ++i) {
    const double up = y(shares[i]);
    if (shares[i] > 0) svg += Rect("now", kLeft + step * i + 0.5, up, step - 1, kBottom - up);
  }
  if (!was.empty()) {
    std::string path = "M" + Px(kLeft) + " " + Px(y(was[0]));
    for (int i = 0; i < kHistogramBars; ++i) path += "V" + Px(y(was[i])) + "H" + Px(kLeft + step * (i + 1));
    svg += "<path class=\"before\" d=\"" + path + "\"/>";
  }
  svg += Label(kRight, kTop + 4, "end", "highest bar: " + FormatNumber(std::round(1000 * top) / 10) + "%");
  return svg + Ticks(x) + "</svg>";
}

std::string BarChart(const std::vector<Bar>& bars, std::optional<double> limit) {
  double top = limit.value_or(0) * 1.1;
  for (const Bar& bar : bars) top = std::max({top, std::isfinite(bar.size) ? bar.size : 0, bar.mark.value_or(0)});
  const Axis x{0, top > 0 ? top : 1, 0, 100};
  std::string out = "<ul class=\"bars\">";
  for (const Bar& bar : bars) {
    out += "<li><span class=\"name\">" + Escaped(bar.label) +
           (bar.note.empty() ? "" : " <span class=\"note\">" + Escaped(bar.note) + "</span>") +
           "</span><span class=\"value\">" + Escaped(bar.value) +
           "</span><svg viewBox=\"0 0 100 8\" preserveAspectRatio=\"none\" aria-hidden=\"true\">";
    out += Rect("rail", 0, 0, 100, 8) +
           Rect(bar.is_bad ? "bad" : "now", 0, 0, x(std::isfinite(bar.size) ? bar.size : 0), 8);
    if (bar.mark) out += Rect("mark", std::min(99.0, x(*bar.mark)), 0, 1, 8);
    if (limit) out += Rect("cut", std::min(99.2, x(*limit)), 0, 0.8, 8);
    out += "</svg></li>";
  }
  return out + "</ul>";
}

std::string ScatterChart(const std::vector<ReportPoint>& points) {
  double low = HUGE_VAL, high = -HUGE_VAL;
  for (const ReportPoint& point : points) {
    if (!std::isfinite(point.truth) || !std::isfinite(point.prediction)) continue;
    low = std::min({low, point.truth, point.prediction});
    high = std::max({high, point.truth, point.prediction});
  }
  if (!Spread(low, high)) return NotDrawn("prediction over truth");
  constexpr double kSide = 300;
  const Axis x{low, high, kLeft + 4, kWidth - 10}, y{low, high, kSide - 24, 10};
  std::string dots;
  for (const ReportPoint& point : points) {
    if (!std::isfinite(point.truth) || !std::isfinite(point.prediction)) continue;
    dots += "M" + Px(x(point.truth)) + " " + Px(y(point.prediction)) + "h0";
  }
  return Open("prediction over truth", kSide) + Line("axis", x(low), y(low), x(high), y(low)) +
         Line("axis", x(low), y(low), x(low), y(high)) + Line("diagonal", x(low), y(low), x(high), y(high)) +
         "<path class=\"dots\" d=\"" + dots + "\"/>" + Label(x(low) + 4, 18, "start", "prediction") +
         Label(x(low), kSide - 8, "start", Rounded(low)) + Label(x(high), kSide - 8, "end", Rounded(high)) +
         Label((x(low) + x(high)) / 2, kSide - 8, "middle", "truth") + "</svg>";
}

std::string LatencyChart(std::vector<double> latencies_ms) {
  std::sort(latencies_ms.begin(), latencies_ms.end());
  const double low = std::log10(std::max(0.01, latencies_ms.front()));
  const double high = std::max(low + 0.3, std::log10(std::max(0.01, latencies_ms.back())));
  const Axis x{low, high, kLeft, kRight};
  std::vector<int64_t> counts(kHistogramBars, 0);
  for (const double ms : latencies_ms) {
    const double share = (std::log10(std::max(0.01, ms)) - low) / (high - low);
    ++counts[static_cast<size_t>(std::clamp(share * kHistogramBars, 0.0, kHistogramBars - 1.0))];
  }
  const Axis y{0, static_cast<double>(*std::max_element(counts.begin(), counts.end())), kBottom, kTop + 44};
  std::string svg = Open("how long requests took");
  const double step = (kRight - kLeft) / kHistogramBars;
  for (int i = 0; i < kHistogramBars; ++i) {
    const double up = y(static_cast<double>(counts[i]));
    if (counts[i] > 0) svg += Rect("now", kLeft + step * i + 0.5, up, step - 1, kBottom - up);
  }
  double line = kTop + 4;  // Percentiles may lie close together: each has a line of its own.
  for (const auto& [name, share] : {std::pair("p50", 0.5), std::pair("p95", 0.95), std::pair("p99", 0.99)}) {
    const double ms = Percentile(latencies_ms, share);
    const double at = x(std::log10(std::max(0.01, ms)));
    const bool is_left = at < kWidth / 2;
    svg += Line("limit", at, line - 6, at, kBottom) +
           Label(at + (is_left ? 3 : -3), line, is_left ? "start" : "end", std::string(name) + " " + Milliseconds(ms));
    line += 14;
  }
  svg += Line("axis", kLeft, kBottom, kRight, kBottom) +
         Label(kLeft, kHeight - 8, "start", Milliseconds(std::pow(10, low))) +
         Label(kRight, kHeight - 8, "end", Milliseconds(std::pow(10, high)));
  return svg + "</svg>";
}

std::string IntervalChart(const Interval& interval) {
  const double low = std::min(0.0, interval.low), high = std::max(0.0, interval.high);
  const double margin = (high > low ? high - low : 1) * 0.1;
  const Axis x{low - margin, high + margin, kLeft, kRight};
  return Open("interval from " + FormatNumber(interval.low) + " to " + FormatNumber(interval.high), 44) +
         Line("axis", x(0), 4, x(0), 26) + Line("interval", x(interval.low), 15, x(interval.high), 15) +
         Label(x(0), 38, "middle", "0") +
         Label(x(interval.low), 38, interval.low < 0 ? "end" : "start", Rounded(interval.low)) +
         Label(kRight, 38, "end", Rounded(interval.high)) + "</svg>";
}

ColumnProfile Rebinned(const ColumnProfile& reference, const ColumnProfile& current) {
  ColumnProfile counted = reference;
  counted.rows = current.rows;
  counted.nulls = current.nulls;
  int64_t rest = current.rows - current.nulls;
  for (size_t i = 0; i < counted.counts.size(); ++i) {
    const bool is_last = i + 1 == counted.counts.size();
    const double upto = is_last ? 0 : CountUpTo(current, reference.edges[i]);
    const double before = i == 0 ? 0 : CountUpTo(current, reference.edges[i - 1]);
    counted.counts[i] = is_last ? rest : std::min<int64_t>(rest, std::llround(upto) - std::llround(before));
    rest -= counted.counts[i];
  }
  for (auto& [value, count] : counted.top) {
    const auto found = current.top.find(value);
    count = found == current.top.end() ? 0 : found->second;
    rest -= count;
  }
  if (!reference.numeric) counted.other = rest;
  // Only what surely lies beyond: all of a bin.
  for (size_t i = 0; i < current.counts.size(); ++i) {
    const double highest = i < current.edges.size() ? current.edges[i] : current.max;
    if (highest < reference.min) counted.below += current.counts[i];
    if (i == 0 ? current.min > reference.max : current.edges[i - 1] >= reference.max) counted.above += current.counts[i];
  }
  if (!counted.counts.empty()) {
    counted.below = std::min(counted.below, counted.counts.front());
    counted.above = std::min(counted.above, counted.counts.back());
  }
  return counted;
}

}  // namespace cd4ml::core
