// What is wrong where in a user's file: one shape for lint, registration and the CLI.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace cd4ml::core {

// A place in a text file. Lines and columns count from 1; zero means "the file as a whole".
struct Place {
  int line = 0;
  int column = 0;
  int length = 1;  // Characters that the caret underlines.

  bool operator==(const Place&) const = default;
};

enum class Severity { kError, kWarning };

// One finding in a file. `code` ("CD0121") is stable and is what `cd4ml explain` describes.
struct Diagnostic {
  std::string code;
  Severity severity = Severity::kError;
  std::string message;     // Lower case, no full stop: what and which.
  std::string file;
  Place place;
  std::string snippet;     // The offending line, without its line break.
  std::string label;       // Beside the caret: `did you mean "needs"?`. May be empty.
  std::string help;        // A line of its own: what is allowed, what to do. May be empty.

  bool operator==(const Diagnostic&) const = default;
};

using Diagnostics = std::vector<Diagnostic>;

bool HasErrors(const Diagnostics& diagnostics);

// Returns the finding as `lint` prints it: file:line:column, code, snippet with caret, help.
std::string Format(const Diagnostic& diagnostic);

// Returns "file:line:column: message" in one line, for recorded reasons.
std::string Brief(const Diagnostic& diagnostic);

}  // namespace cd4ml::core
