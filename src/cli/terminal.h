// One output stream and what it can show: colour, width, repainting.
#pragma once

#include <string>
#include <string_view>

#include "cd4ml/cli/cli.h"

namespace cd4ml::cli {

enum class Style { kPlain, kBold, kDim, kGood, kBad, kBusy, kWarn };

enum class ColorMode { kAuto, kAlways, kNever };

class Terminal {
 public:
  Terminal(const OutputStream& stream, const CliPorts& ports, ColorMode color);

  bool is_terminal() const { return stream_.is_terminal; }
  bool has_color() const { return has_color_; }
  // Returns whether lines can be painted over: a terminal that is not dumb, and nobody asked for
  // static text.
  bool can_repaint() const { return can_repaint_; }
  // Returns the columns that a line may take; 80 when nobody knows.
  size_t width() const;
  size_t height() const;

  // Returns `text` in the style, or as it is when there is no colour.
  std::string Paint(std::string_view text, Style style) const;

  void Write(std::string_view text) const;
  void Line(std::string_view text = "") const;
  // Returns false when the reader has gone: nothing written from now on is seen.
  bool is_open() const { return stream_.stream.good(); }

 private:
  OutputStream stream_;
  const CliPorts& ports_;
  bool has_color_ = false;
  bool can_repaint_ = false;
};

// Returns a variable's value, or "" when it is not set.
std::string Variable(const std::map<std::string, std::string>& environment,
                     const std::string& name);

}  // namespace cd4ml::cli
