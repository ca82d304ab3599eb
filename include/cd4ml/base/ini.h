// Files of sections and keys, as git, DVC and the S3 tools write them.
#pragma once

#include <map>
#include <string>
#include <string_view>

namespace cd4ml {

using IniSection = std::map<std::string, std::string, std::less<>>;

// Returns the keys of every section, `[name]` without quotes around it. Lines that say nothing are skipped; later keys
// count more. Lines starting with # or ; are comments.
std::map<std::string, IniSection, std::less<>> ParseIni(std::string_view text);

}  // namespace cd4ml
