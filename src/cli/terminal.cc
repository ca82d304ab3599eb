// Decides about colour as no-color.org and bixense.com/clicolors describe it.
#include "cli/terminal.h"

#include <charconv>

namespace cd4ml::cli {
namespace {

bool WantsColor(const OutputStream& stream, const std::map<std::string, std::string>& environment,
                ColorMode mode) {
  if (mode != ColorMode::kAuto) return mode == ColorMode::kAlways;
  if (!Variable(environment, "NO_COLOR").empty()) return false;
  const std::string forced = Variable(environment, "CLICOLOR_FORCE");
  if (!forced.empty() && forced != "0") return true;
  return stream.is_terminal && Variable(environment, "TERM") != "dumb";
}

std::string_view SgrOf(Style style) {
  switch (style) {
    case Style::kPlain:
      return "";
    case Style::kBold:
      return "1";
    case Style::kDim:
      return "2";
    case Style::kGood:
      return "32";
    case Style::kBad:
      return "31";
    case Style::kBusy:
      return "36";
    case Style::kWarn:
      return "33";
  }
  return "";
}

}  // namespace

std::string Variable(const std::map<std::string, std::string>& environment,
                     const std::string& name) {
  const auto found = environment.find(name);
  return found == environment.end() ? "" : found->second;
}

Terminal::Terminal(const OutputStream& stream, const CliPorts& ports, ColorMode color)
    : stream_(stream), ports_(ports), has_color_(WantsColor(stream, ports.environment, color)) {
  const std::string accessible = Variable(ports.environment, "CD4ML_ACCESSIBLE");
  can_repaint_ = stream.is_terminal && Variable(ports.environment, "TERM") != "dumb" &&
                 (accessible.empty() || accessible == "0");
}

size_t Terminal::width() const {
  const std::string text = Variable(ports_.environment, "COLUMNS");
  int columns = 0;
  std::from_chars(text.data(), text.data() + text.size(), columns);
  if (columns <= 0 && stream_.is_terminal) columns = ports_.terminal_size().columns;
  return columns > 0 ? static_cast<size_t>(columns) : 80;
}

size_t Terminal::height() const {
  const int lines = ports_.terminal_size().lines;
  return lines > 0 ? static_cast<size_t>(lines) : 24;
}

std::string Terminal::Paint(std::string_view text, Style style) const {
  if (!has_color_ || style == Style::kPlain || text.empty()) return std::string(text);
  return "\x1b[" + std::string(SgrOf(style)) + "m" + std::string(text) + "\x1b[0m";
}

void Terminal::Write(std::string_view text) const { stream_.stream << text << std::flush; }

void Terminal::Line(std::string_view text) const { Write(std::string(text) + "\n"); }

}  // namespace cd4ml::cli
