// A folder of its own for each test, removed at the end.
#pragma once

#include <string>
#include <string_view>

namespace cd4ml {

class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::string& path() const { return path_; }
  // Returns the path of `name` below the folder.
  std::string At(std::string_view name) const { return path_ + '/' + std::string(name); }
  // Writes a file, its folders included, and returns its path.
  std::string Write(std::string_view name, std::string_view bytes) const;

 private:
  std::string path_;
};

// Returns the bytes of a file; "" when it cannot be read.
std::string FileBytes(const std::string& path);

}  // namespace cd4ml
