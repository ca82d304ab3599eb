// Text for a shell: written so that it stays what it is, and read to know in which quotes a place of it stands.
#pragma once

#include <string>
#include <string_view>

namespace cd4ml::cli {

// Returns `text` in quotes in which a shell replaces nothing.
std::string ShellQuoted(std::string_view text);

enum class Quoting {
  kExpands,        // Variables are replaced: without quotes, in double ones, in a here-document.
  kSingle,         // '…'
  kEscapes,        // $'…'
  kDocument,       // A here-document whose word is quoted: <<'EOF'.
};

// Returns where the end of `text`, the beginning of a command, stands.
Quoting QuotingAtEnd(std::string_view text);

}  // namespace cd4ml::cli
