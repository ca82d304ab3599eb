// Patterns of paths, as shells and git write them.
#pragma once

#include <string_view>

namespace cd4ml {

// Returns whether `path` matches `pattern` part by part: `*`, `?` and `[a-z]` stay within a part and do not stand for a
// leading dot; the part `**` stands for any number of folders, also none.
bool MatchesGlob(std::string_view pattern, std::string_view path);

}  // namespace cd4ml
