// Patterns of paths: fnmatch for each part, and one place to go back to, the last `**`.
#include "cd4ml/base/glob.h"

#include <fnmatch.h>

#include <string>
#include <vector>

namespace cd4ml {
namespace {

std::vector<std::string> Parts(std::string_view path) {
  std::vector<std::string> parts;
  for (size_t slash; (slash = path.find('/')) != std::string_view::npos; path.remove_prefix(slash + 1)) {
    parts.emplace_back(path.substr(0, slash));
  }
  parts.emplace_back(path);
  return parts;
}

}  // namespace

bool MatchesGlob(std::string_view pattern, std::string_view path) {
  const std::vector<std::string> wanted = Parts(pattern), parts = Parts(path);
  size_t i = 0, j = 0;
  size_t after_stars = std::string::npos, resume = 0;   // Where to go on when a part does not match.
  while (j < parts.size()) {
    if (i < wanted.size() && wanted[i] == "**") {
      after_stars = ++i;
      resume = j;
      // At the end it stands for files too.
      if (i == wanted.size()) return true;
    } else if (i < wanted.size() && fnmatch(wanted[i].c_str(), parts[j].c_str(), FNM_PERIOD) == 0) {
      ++i, ++j;
    } else if (after_stars != std::string::npos) {
      i = after_stars;
      j = ++resume;
    } else {
      return false;
    }
  }
  return i == wanted.size();
}

}  // namespace cd4ml
