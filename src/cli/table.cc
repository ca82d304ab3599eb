// Measures, drops columns from the right within the least important rank, then cuts what is still
// too wide.
#include "cli/table.h"

#include <algorithm>
#include <numeric>

#include "cd4ml/base/check.h"
#include "cli/text.h"

namespace cd4ml::cli {
namespace {

constexpr size_t kGap = 2;
constexpr size_t kCutMin = 4;  // A column is not cut to less.

size_t Total(const std::vector<size_t>& widths, const std::vector<size_t>& shown) {
  size_t total = 0;
  for (size_t column : shown) total += widths[column] + kGap;
  return total - std::min(total, kGap);
}

// A table with headers says that there is nothing; without them an empty place is enough.
std::string TextOf(const Cell& cell, const Table::Layout& layout) {
  return cell.text.empty() && layout.headers ? "-" : cell.text;
}

}  // namespace

void Table::Add(std::vector<Cell> row) {
  CD4ML_CHECK(row.size() == columns_.size(), "a table's row has a cell for each column");
  for (Cell& cell : row) cell.text = SafeLine(cell.text);
  rows_.push_back(std::move(row));
}

std::vector<size_t> Table::Widths(const Layout& layout) const {
  std::vector<size_t> widths;
  for (size_t i = 0; i < columns_.size(); ++i) {
    size_t width = layout.headers ? DisplayWidth(columns_[i].header) : 0;
    for (const auto& row : rows_) width = std::max(width, DisplayWidth(TextOf(row[i], layout)));
    widths.push_back(width);
  }
  return widths;
}

int Table::Print(const Terminal& terminal, const Layout& layout) const {
  std::vector<size_t> widths = Widths(layout);
  std::vector<size_t> shown;
  for (size_t i = 0; i < columns_.size(); ++i) {
    if (layout.wide || columns_[i].rank < kOnlyWide) shown.push_back(i);
  }
  const size_t room = layout.width - std::min(layout.width, layout.indent.size());
  int hidden = 0;
  while (!layout.wide && Total(widths, shown) > room) {
    const auto least = std::max_element(shown.begin(), shown.end(), [&](size_t a, size_t b) {
      return columns_[a].rank <= columns_[b].rank;  // Of equals the last.
    });
    if (columns_[*least].rank > 0) {
      shown.erase(least);
      ++hidden;
      continue;
    }
    const auto widest = std::max_element(shown.begin(), shown.end(),
                                         [&](size_t a, size_t b) { return widths[a] < widths[b]; });
    if (widths[*widest] <= kCutMin) break;
    --widths[*widest];
  }
  const auto print_row = [&](const auto& cell_of) {
    std::string line = layout.indent;
    for (size_t column : shown) {
      const Cell& cell = cell_of(column);
      const std::string text = Fit(TextOf(cell, layout), widths[column]);
      line += terminal.Paint(text, cell.style);
      if (column != shown.back())
        line += std::string(widths[column] - DisplayWidth(text) + kGap, ' ');
    }
    terminal.Line(line.substr(0, line.find_last_not_of(' ') + 1));
  };
  if (layout.headers) {
    print_row([&](size_t column) { return Cell(columns_[column].header, Style::kBold); });
  }
  for (const auto& row : rows_) {
    print_row([&](size_t column) -> const Cell& { return row[column]; });
  }
  return hidden;
}

}  // namespace cd4ml::cli
