// A table that fits the terminal: columns are dropped by priority, rows never wrap.
#pragma once

#include <string>
#include <vector>

#include "cli/terminal.h"

namespace cd4ml::cli {

// A column with a higher `rank` goes first when the width does not suffice; rank 0 stays.
struct Column {
  std::string header;
  int rank = 0;
};
constexpr int kOnlyWide = 100;  // Rank of columns that only `-o wide` shows.

struct Cell {
  Cell(std::string content, Style content_style = Style::kPlain)  // NOLINT: text is a cell
      : text(std::move(content)), style(content_style) {}
  Cell(const char* content) : text(content) {}  // NOLINT
  std::string text;
  Style style = Style::kPlain;
};

class Table {
 public:
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // Adds a row with a cell for each column. Cells are made safe to print.
  void Add(std::vector<Cell> row);

  struct Layout {
    size_t width = 80;
    bool headers = true;
    bool wide = false;  // Shows all columns, whatever the width.
    std::string indent;
  };
  // Prints the table and returns how many columns did not fit.
  int Print(const Terminal& terminal, const Layout& layout) const;

 private:
  std::vector<size_t> Widths(const Layout& layout) const;

  std::vector<Column> columns_;
  std::vector<std::vector<Cell>> rows_;
};

}  // namespace cd4ml::cli
