// Walks UTF-8 one character at a time; everything else builds on that.
#include "cli/text.h"

#include <algorithm>
#include <cstdint>

namespace cd4ml::cli {
namespace {

constexpr char32_t kBroken = 0xFFFD;

struct Character {
  char32_t code = 0;
  size_t bytes = 1;
};

// Returns the character at `at`; a byte that begins none is kBroken.
Character CharacterAt(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[at + i]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  const size_t bytes = lead >= 0xC2 && lead < 0xE0   ? 2
                       : lead >= 0xE0 && lead < 0xF0 ? 3
                       : lead >= 0xF0 && lead < 0xF5 ? 4
                                                     : 0;
  if (bytes == 0 || at + bytes > text.size()) return {kBroken, 1};
  char32_t code = lead & (0xFF >> (bytes + 1));
  for (size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return {kBroken, 1};
    code = (code << 6) | (byte(i) & 0x3F);
  }
  const bool overlong = (bytes == 3 && code < 0x800) || (bytes == 4 && code < 0x10000);
  if (overlong || (code >= 0xD800 && code < 0xE000) || code > 0x10FFFF) return {kBroken, 1};
  return {code, bytes};
}

struct Range {
  char32_t first, last;
};

template <size_t N>
bool IsIn(char32_t code, const Range (&ranges)[N]) {
  for (const Range& range : ranges) {
    if (code >= range.first && code <= range.last) return true;
  }
  return false;
}

// Controls, and marks that change the direction of text or are invisible.
constexpr Range kUnsafe[] = {{0x00, 0x1F},     {0x7F, 0x9F},      {0x061C, 0x061C},
                             {0x200B, 0x200F}, {0x2028, 0x202E},  {0x2060, 0x206F},
                             {0xFEFF, 0xFEFF}, {0xE0000, 0xE007F}};
constexpr Range kCombining[] = {{0x0300, 0x036F}, {0x20D0, 0x20F0}, {0xFE00, 0xFE0F}};
constexpr Range kWide[] = {
    {0x1100, 0x115F}, {0x2E80, 0xA4CF}, {0xAC00, 0xD7A3},   {0xF900, 0xFAFF},   {0xFE30, 0xFE6F},
    {0xFF00, 0xFF60}, {0xFFE0, 0xFFE6}, {0x1F300, 0x1F64F}, {0x1F900, 0x1FAFF}, {0x20000, 0x3FFFD}};

size_t WidthOf(char32_t code) { return IsIn(code, kCombining) ? 0 : IsIn(code, kWide) ? 2 : 1; }

// Returns the length of the escape sequence that begins at `at` (an ESC), as terminals read it
// (ECMA-48).
size_t EscapeLength(std::string_view text, size_t at) {
  if (at + 1 >= text.size()) return 1;
  const char kind = text[at + 1];
  size_t end = at + 2;
  if (kind == '[') {
    while (end < text.size() && text[end] >= 0x20 && text[end] < 0x40) ++end;
    return (end < text.size() ? end + 1 : end) - at;
  }
  if (kind == ']' || kind == 'P' || kind == '_' || kind == '^' ||
      kind == 'X') {  // Ends with BEL or ST.
    for (; end < text.size(); ++end) {
      if (text[end] == '\a') return end + 1 - at;
      if (text[end] == '\x1b' && end + 1 < text.size() && text[end + 1] == '\\')
        return end + 2 - at;
    }
    return text.size() - at;
  }
  for (end = at + 1; end < text.size() && text[end] >= 0x20 && text[end] < 0x30;) ++end;
  return (end < text.size() ? end + 1 : end) - at;
}

// Returns whether the sequence only sets colours: ESC [ digits and ; and : m.
bool IsSgr(std::string_view sequence) {
  return sequence.size() >= 3 && sequence[1] == '[' && sequence.back() == 'm' &&
         sequence.substr(2, sequence.size() - 3).find_first_not_of("0123456789;:") == sequence.npos;
}

std::string_view AfterLastReturn(std::string_view line) {
  while (!line.empty() && (line.back() == '\r' || line.back() == '\n')) line.remove_suffix(1);
  const size_t last = line.rfind('\r');
  return last == line.npos ? line : line.substr(last + 1);
}

}  // namespace

std::string SafeLine(std::string_view text, Sgr sgr) {
  text = AfterLastReturn(text);
  std::string safe;
  bool colored = false;
  for (size_t at = 0; at < text.size();) {
    if (text[at] == '\x1b') {
      const size_t length = EscapeLength(text, at);
      if (sgr == Sgr::kKeep && IsSgr(text.substr(at, length))) {
        safe += text.substr(at, length);
        colored = true;
      }
      at += length;
      continue;
    }
    const Character character = CharacterAt(text, at);
    if (character.code == '\t' || character.code == '\n') {
      safe += ' ';
    } else if (character.code == kBroken) {
      safe += "\uFFFD";
    } else if (!IsIn(character.code, kUnsafe)) {
      safe += text.substr(at, character.bytes);
    }
    at += character.bytes;
  }
  return colored ? safe + "\x1b[0m" : safe;
}

std::string SafeLines(std::string_view text) {
  std::string safe;
  for (const std::string& line : SplitLines(text)) safe += SafeLine(line) + "\n";
  return safe;
}

size_t DisplayWidth(std::string_view text) {
  size_t width = 0;
  for (size_t at = 0; at < text.size();) {
    const Character character = CharacterAt(text, at);
    width += WidthOf(character.code);
    at += character.bytes;
  }
  return width;
}

std::string Fit(std::string_view text, size_t width) {
  if (DisplayWidth(text) <= width) return std::string(text);
  if (width == 0) return "";
  size_t at = 0;
  for (size_t used = 0; at < text.size();) {
    const Character character = CharacterAt(text, at);
    used += WidthOf(character.code);
    if (used > width - 1) break;
    at += character.bytes;
  }
  return std::string(text.substr(0, at)) + "…";
}

std::string Pad(std::string_view text, size_t width) {
  const size_t used = DisplayWidth(text);
  return std::string(text) + std::string(used < width ? width - used : 0, ' ');
}

std::vector<std::string> Wrap(std::string_view text, size_t width) {
  std::vector<std::string> lines;
  std::string line;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(' ', at), text.size());
    const std::string_view word = text.substr(at, end - at);
    at = end + 1;
    if (!line.empty() && DisplayWidth(line) + 1 + DisplayWidth(word) > width) {
      lines.push_back(std::move(line));
      line.clear();
    }
    line += (line.empty() ? "" : " ") + std::string(word);
  }
  lines.push_back(std::move(line));
  return lines;
}

std::vector<std::string> SplitLines(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    lines.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

std::string Join(const std::vector<std::string>& parts, std::string_view separator) {
  std::string joined;
  for (const std::string& part : parts) {
    if (&part != &parts.front()) joined += separator;
    joined += part;
  }
  return joined;
}

std::string Count(int64_t count, std::string_view one, std::string_view many) {
  return std::to_string(count) + " " + std::string(count == 1 ? one : many);
}

}  // namespace cd4ml::cli
