// Compares what the program printed with a file of tests/golden/cli; CD4ML_ACCEPT=1 rewrites it.
#pragma once

#include <string>

#include "cli/fake_daemon.h"

namespace cd4ml::cli {

// Expects that `text` is the content of tests/golden/cli/NAME.txt.
void ExpectGolden(const std::string& name, const std::string& text);

// Returns both streams and the exit code as one text.
std::string Transcript(const CliResult& result);

}  // namespace cd4ml::cli
