// Temporary folders and small files for tests.
#include "tests/support/temp_dir.h"

#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>

#include "cd4ml/base/check.h"

namespace cd4ml {

TempDir::TempDir() {
  std::string pattern = std::filesystem::temp_directory_path().string() + "/cd4ml_test.XXXXXX";
  CD4ML_CHECK(mkdtemp(pattern.data()) != nullptr, pattern);
  path_ = std::filesystem::canonical(pattern).string();
}

TempDir::~TempDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string TempDir::Write(std::string_view name, std::string_view bytes) const {
  const std::string path = At(name);
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream file(path, std::ios::binary);
  file << bytes;
  file.close();
  CD4ML_CHECK(file.good(), path);
  return path;
}

std::string FileBytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

}  // namespace cd4ml
