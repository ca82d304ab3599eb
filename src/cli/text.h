// Text on a terminal: what is safe to print, how wide it is, and how it is cut and wrapped.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace cd4ml::cli {

enum class Sgr { kDrop, kKeep };

// Returns one line that cannot move the cursor, set a title or reverse the direction of text:
// control characters and escape sequences are dropped, broken UTF-8 becomes U+FFFD, tabs and line
// breaks become spaces. Text before a carriage return is dropped, as a terminal would overwrite it.
// With kKeep colour sequences (SGR) stay and are reset at the end.
std::string SafeLine(std::string_view text, Sgr sgr = Sgr::kDrop);

// Returns the same for each line of a text; line breaks stay.
std::string SafeLines(std::string_view text);

// Returns the columns that a line without escape sequences takes.
size_t DisplayWidth(std::string_view text);

// Returns `text`, cut to `width` columns with "…" at its end when it is longer.
std::string Fit(std::string_view text, size_t width);

// Returns `text` with spaces up to `width` columns.
std::string Pad(std::string_view text, size_t width);

// Returns `text` in lines of at most `width` columns, broken at spaces; longer words stay whole.
std::vector<std::string> Wrap(std::string_view text, size_t width);

std::vector<std::string> SplitLines(std::string_view text);
std::string Join(const std::vector<std::string>& parts, std::string_view separator);

// Returns "1 rule", "2 rules".
std::string Count(int64_t count, std::string_view one, std::string_view many);

}  // namespace cd4ml::cli
