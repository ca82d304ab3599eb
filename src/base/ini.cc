// Files of sections and keys.
#include "cd4ml/base/ini.h"

namespace cd4ml {
namespace {

std::string_view Trim(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

std::string_view Unquote(std::string_view text) {
  const bool is_quoted = text.size() >= 2 && (text.front() == '"' || text.front() == '\'') && text.back() == text.front();
  return is_quoted ? text.substr(1, text.size() - 2) : text;
}

}  // namespace

std::map<std::string, IniSection, std::less<>> ParseIni(std::string_view text) {
  std::map<std::string, IniSection, std::less<>> sections;
  IniSection* section = &sections[""];
  while (!text.empty()) {
    const size_t end = text.find('\n');
    const std::string_view line = Trim(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.empty() || line.front() == '#' || line.front() == ';') continue;
    if (line.front() == '[' && line.back() == ']') {
      section = &sections[std::string(Unquote(Trim(line.substr(1, line.size() - 2))))];
    } else if (const size_t equals = line.find('='); equals != std::string_view::npos) {
      (*section)[std::string(Trim(line.substr(0, equals)))] = Unquote(Trim(line.substr(equals + 1)));
    }
  }
  return sections;
}

}  // namespace cd4ml
