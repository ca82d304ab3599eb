// Turns the bytes of a text file into UTF-8, piece by piece, and says where they are no such text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace cd4ml::table {

class Decoder {
 public:
  // `encoding` is "utf-8", "latin-1", "windows-1252" or "utf-16".
  static absl::StatusOr<Decoder> For(const std::string& encoding);

  // Appends the text of `bytes` to `out`, without a byte-order mark. A character may be split
  // between two calls; `last` says that nothing follows. The error names line and byte. No byte is
  // skipped.
  absl::Status Decode(std::string_view bytes, bool last, std::string& out);

 private:
  enum class Encoding { kUtf8, kLatin1, kWindows1252, kUtf16 };
  explicit Decoder(Encoding encoding) : encoding_(encoding) {}

  absl::Status Begin(bool last);
  absl::Status DecodeUtf8(bool last, std::string& out);
  absl::Status DecodeBytes(std::string& out);
  absl::Status DecodeUtf16(bool last, std::string& out);
  absl::Status NotThisText(const std::string& why, std::string_view before) const;

  Encoding encoding_;
  bool begun_ = false;
  bool big_endian_ = false;
  int64_t line_ = 1;     // Of the first character of the next piece.
  std::string pending_;  // Bytes not decoded yet.
};

}  // namespace cd4ml::table
