// A text file, plain or gzip, read as UTF-8 in bounded memory.
#pragma once

#include <zlib.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "table/decoder.h"

namespace cd4ml::table {

class TextFile {
 public:
  static absl::StatusOr<TextFile> Open(const std::string& path, const std::string& encoding);

  // Appends about `bytes` more of the text to `out`. Returns false when nothing is left.
  absl::StatusOr<bool> Read(size_t bytes, std::string& out);

 private:
  struct Close {
    void operator()(gzFile_s* file) const { gzclose_r(file); }
  };
  TextFile(gzFile_s* file, Decoder decoder) : file_(file), decoder_(std::move(decoder)) {}

  std::unique_ptr<gzFile_s, Close> file_;
  Decoder decoder_;
  bool ended_ = false;
  int64_t text_bytes_ = 0;   // Read so far, as they were before they were compressed.
};

}  // namespace cd4ml::table
