// Gates in words: what each rule found, the same for a run and for a test of a file.
#pragma once

#include "cd4ml/core/verdict.h"
#include "cli/terminal.h"

namespace cd4ml::cli {

// Prints a line for each rule, and below what is wrong with those that did not pass, with a sample of the rows.
void PrintRules(const Terminal& out, const core::Verdict& verdict, bool wide);

}  // namespace cd4ml::cli
