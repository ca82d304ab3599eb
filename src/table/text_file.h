// A text file, plain or gzip, read as UTF-8 in bounded memory.
#pragma once

#include <zlib.h>

#include <cstdio>
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
    void operator()(std::FILE* file) const { std::fclose(file); }
    void operator()(z_stream* stream) const {
      inflateEnd(stream);
      delete stream;
    }
  };
  TextFile(std::FILE* file, Decoder decoder) : file_(file), decoder_(std::move(decoder)) {}

  absl::Status Fill();
  // Appends what the file holds, unpacked, until `raw` has `bytes`. It has less at the end of the file alone.
  absl::Status ReadRaw(size_t bytes, std::string& raw);
  absl::Status Unpack(size_t bytes, std::string& raw);

  std::unique_ptr<std::FILE, Close> file_;
  Decoder decoder_;
  std::unique_ptr<z_stream, Close> packed_;   // Null for a file that is not compressed.
  std::string buffer_;                        // What was read of the file and not taken yet: from `at_` on.
  size_t at_ = 0;
  bool in_member_ = false;                    // A gzip file is one or more of them.
  bool ended_ = false;
  int64_t file_bytes_ = 0, text_bytes_ = 0;   // Read so far, as they lie in the file and as they were before that.
};

}  // namespace cd4ml::table
