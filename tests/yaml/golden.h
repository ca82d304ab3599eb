// Golden files: what is expected stands in a file that is reviewed like code.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

namespace cd4ml {

inline std::string ReadText(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// Expects that `path` holds `actual`; with CD4ML_ACCEPT=1 in the environment it is made so.
inline void ExpectGolden(const std::filesystem::path& path, const std::string& actual) {
  if (std::getenv("CD4ML_ACCEPT") != nullptr) {
    std::ofstream(path, std::ios::binary) << actual;
  }
  EXPECT_EQ(ReadText(path), actual) << "CD4ML_ACCEPT=1 accepts this as " << path;
}

}  // namespace cd4ml
