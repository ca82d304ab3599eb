// Reads through zlib, which passes files on that are not compressed.
#include "table/text_file.h"

#include <cerrno>
#include <cstring>

#include "cd4ml/base/status.h"

namespace cd4ml::table {
namespace {

// Compressed, real tables shrink to a tenth and at best to a hundredth; what is made to fill a disk, to a thousandth.
constexpr int64_t kExpansionMax = 300;
constexpr int64_t kExpandedFree = int64_t{64} << 20;

}  // namespace

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
  text_bytes_ += read;
  if (text_bytes_ > kExpandedFree && text_bytes_ / kExpansionMax > gzoffset(file_.get())) {
    return absl::InvalidArgumentError("expands to more than " + std::to_string(kExpansionMax) +
                                      " times its size, as no table does; if this one does, unpack it first");
  }
  ended_ = static_cast<size_t>(read) < bytes;
  raw.resize(static_cast<size_t>(read));
  CD4ML_RETURN_IF_ERROR(decoder_.Decode(raw, /*last=*/ended_, out));
  return true;
}

}  // namespace cd4ml::table
