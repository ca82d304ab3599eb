// Judging names by what they could become on another file system.
#include "git/names.h"

#include <algorithm>

#include "cd4ml/base/text.h"

namespace cd4ml::git {
namespace {

// Removes the characters that HFS+ ignores in names: U+200C..200F, 202A..202E, 206A..206F, FEFF.
std::string WithoutIgnored(std::string_view name) {
  std::string kept;
  for (size_t i = 0; i < name.size(); ++i) {
    const std::string_view three = name.substr(i, 3);
    const bool is_ignored = three == "\xEF\xBB\xBF" ||
                            (three >= "\xE2\x80\x8C" && three <= "\xE2\x80\x8F") ||
                            (three >= "\xE2\x80\xAA" && three <= "\xE2\x80\xAE") ||
                            (three >= "\xE2\x81\xAA" && three <= "\xE2\x81\xAF");
    if (is_ignored && three.size() == 3) {
      i += 2;
    } else {
      kept.push_back(name[i]);
    }
  }
  return kept;
}

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

// Judges one part of a name that NTFS would cut at backslashes.
bool IsDotGitPart(std::string_view part) {
  std::string name = WithoutIgnored(part.substr(0, part.find(':')));
  std::transform(name.begin(), name.end(), name.begin(), Lower);
  while (!name.empty() && (name.back() == ' ' || name.back() == '.')) name.pop_back();
  return name == ".git" || name == "git~1";
}

}  // namespace

bool IsDotGit(std::string_view name) {
  while (true) {
    const size_t end = name.find('\\');
    if (IsDotGitPart(name.substr(0, end))) return true;
    if (end == name.npos) return false;
    name.remove_prefix(end + 1);
  }
}

bool IsSafeName(std::string_view name) {
  return !name.empty() && name != "." && name != ".." && name.size() <= 255 &&
         name.find('/') == name.npos && name.find('\0') == name.npos && !IsDotGit(name);
}

bool IsSafeTarget(std::string_view target, int depth) {
  if (target.empty() || target[0] == '/' || target.find('\0') != target.npos) return false;
  bool may_climb = true;
  while (!target.empty()) {
    const std::string_view part = target.substr(0, target.find('/'));
    target.remove_prefix(std::min(target.size(), part.size() + 1));
    if (part == "..") {
      // After a name the way may already lead through another link, whose parent is anywhere.
      if (!may_climb || --depth < 0) return false;
    } else if (!part.empty() && part != ".") {
      may_climb = false;
    }
  }
  return true;
}

std::string Printable(std::string_view text, size_t size_max) {
  std::string clean;
  while (!text.empty()) {
    size_t size = 1;
    while (size < 4 && size < text.size() && !IsUtf8(text.substr(0, size))) ++size;
    std::string_view letter = text.substr(0, size);
    const auto first = static_cast<unsigned char>(letter[0]);
    // U+0080..U+009F are control characters too.
    const bool is_control = first < ' ' || first == 0x7F ||
                            (letter.size() == 2 && letter >= "\xC2\x80" && letter < "\xC2\xA0");
    if (!IsUtf8(letter)) letter = letter.substr(0, 1);
    if (clean.size() + letter.size() > size_max) break;
    clean += is_control || !IsUtf8(letter) ? std::string_view("?") : letter;
    text.remove_prefix(letter.size());
  }
  return clean;
}

}  // namespace cd4ml::git
