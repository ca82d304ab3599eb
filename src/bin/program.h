// What the programs share: where state lies, how they log, how they end.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace CLI {
class App;
}

namespace cd4ml::bin {

extern const char* const kVersion;

// Returns $XDG_STATE_HOME/cd4ml/NAME, or ~/.local/state/cd4ml/NAME.
std::string DefaultStateDir(const std::string& name);

// For options: says what is wrong with an empty text.
std::string NotEmpty(const std::string& text);

std::string Absolute(const std::string& path);
// Returns the folder that this program's file lies in.
std::string ProgramDir();
// Returns the digest of this program's file, in hexadecimal.
std::string ProgramDigest();

void AddLogFlags(CLI::App& app, std::string& level, std::string& file);
void OpenProgramLog(const std::string& program, const std::string& level, const std::string& file);

// Prints an error to standard error; returns 0 when there is none.
int ExitCode(const std::string& program, const absl::Status& status);

}  // namespace cd4ml::bin
