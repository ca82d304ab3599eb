// Reads through zlib, which passes files on that are not compressed.
#include "table/text_file.h"

#include <cerrno>
#include <cstring>

#include "cd4ml/base/status.h"

namespace cd4ml::table {

absl::StatusOr<TextFile> TextFile::Open(const std::string& path, const std::string& encoding) {
  CD4ML_ASSIGN_OR_RETURN(Decoder decoder, Decoder::For(encoding));
  gzFile_s* file = gzopen(path.c_str(), "rbe");
  if (file == nullptr)
    return absl::NotFoundError(std::string("cannot be opened: ") + std::strerror(errno));
  gzbuffer(file, 256 << 10);
  return TextFile(file, std::move(decoder));
}

absl::StatusOr<bool> TextFile::Read(size_t bytes, std::string& out) {
  if (ended_) return false;
  std::string raw(bytes, '\0');
  const int read = gzread(file_.get(), raw.data(), static_cast<unsigned>(bytes));
  int code = Z_OK;
  const char* reason = gzerror(file_.get(), &code);
  if (read < 0 || code != Z_OK) {
    return absl::InvalidArgumentError(std::string("cannot be read to its end: ") +
                                      (code == Z_ERRNO ? std::strerror(errno) : reason));
  }
  ended_ = static_cast<size_t>(read) < bytes;
  raw.resize(static_cast<size_t>(read));
  CD4ML_RETURN_IF_ERROR(decoder_.Decode(raw, /*last=*/ended_, out));
  return true;
}

}  // namespace cd4ml::table
