// Golden files are reviewed as code.
#include "cli/golden.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

namespace cd4ml::cli {

void ExpectGolden(const std::string& name, const std::string& text) {
  const std::string path = std::string(CD4ML_SOURCE_DIR) + "/tests/golden/cli/" + name + ".txt";
  if (std::getenv("CD4ML_ACCEPT") != nullptr) {  // NOLINT: how golden files are accepted everywhere
    std::ofstream(path) << text;
    return;
  }
  std::ifstream file(path);
  const std::string expected{std::istreambuf_iterator<char>(file),
                             std::istreambuf_iterator<char>()};
  EXPECT_EQ(text, expected) << "CD4ML_ACCEPT=1 rewrites " << path;
}

std::string Transcript(const CliResult& result) {
  return result.out + "--- stderr\n" + result.err + "--- exit " + std::to_string(result.code) +
         "\n";
}

}  // namespace cd4ml::cli
