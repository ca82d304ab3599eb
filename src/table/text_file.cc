// Unpacks the members of a gzip file one after the other; what is no member is refused, never taken for the end.
#include "table/text_file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "cd4ml/base/status.h"

namespace cd4ml::table {
namespace {

// Compressed, real tables shrink to a tenth and at best to a hundredth; what is made to fill a disk, to a thousandth.
constexpr int64_t kExpansionMax = 300;
constexpr int64_t kExpandedFree = int64_t{64} << 20;

constexpr size_t kBuffer = 256 << 10;
constexpr std::string_view kGzip = "\x1f\x8b";

}  // namespace

absl::StatusOr<TextFile> TextFile::Open(const std::string& path, const std::string& encoding) {
  CD4ML_ASSIGN_OR_RETURN(Decoder decoder, Decoder::For(encoding));
  std::FILE* opened = std::fopen(path.c_str(), "rbe");
  if (opened == nullptr)
    return absl::NotFoundError(std::string("cannot be opened: ") + std::strerror(errno));
  TextFile file(opened, std::move(decoder));
  CD4ML_RETURN_IF_ERROR(file.Fill());
  if (!std::string_view(file.buffer_).starts_with(kGzip)) return file;
  file.packed_.reset(new z_stream{});
  constexpr int kGzipOnly = 16;
  if (inflateInit2(file.packed_.get(), MAX_WBITS + kGzipOnly) != Z_OK) return absl::ResourceExhaustedError("cannot be unpacked");
  file.in_member_ = true;
  return file;
}

// Reads on when nothing is left in the buffer; nothing is in it then at the end of the file.
absl::Status TextFile::Fill() {
  if (at_ < buffer_.size()) return absl::OkStatus();
  buffer_.resize(kBuffer);
  at_ = 0;
  errno = 0;
  buffer_.resize(std::fread(buffer_.data(), 1, kBuffer, file_.get()));
  file_bytes_ += static_cast<int64_t>(buffer_.size());
  if (std::ferror(file_.get()) == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(std::string("cannot be read to its end: ") + std::strerror(errno));
}

absl::Status TextFile::ReadRaw(size_t bytes, std::string& raw) {
  while (raw.size() < bytes) {
    CD4ML_RETURN_IF_ERROR(Fill());
    if (packed_ != nullptr) {
      if (at_ == buffer_.size() && in_member_)
        return absl::InvalidArgumentError("cannot be read to its end: unexpected end of file");
      if (at_ == buffer_.size()) break;
      CD4ML_RETURN_IF_ERROR(Unpack(bytes, raw));
      continue;
    }
    const size_t taken = std::min(bytes - raw.size(), buffer_.size() - at_);
    if (taken == 0) break;
    raw.append(buffer_, at_, taken);
    at_ += taken;
  }
  return absl::OkStatus();
}

// Takes something of the buffer.
absl::Status TextFile::Unpack(size_t bytes, std::string& raw) {
  if (!in_member_) {
    // Behind a member comes another one, or zeros that fill a block of a tape.
    if (buffer_[at_] == '\0') {
      ++at_;
      return absl::OkStatus();
    }
    if (inflateReset(packed_.get()) != Z_OK) return absl::InternalError("cannot be unpacked");
    in_member_ = true;
  }
  const size_t had = raw.size();
  raw.resize(bytes);
  packed_->next_in = reinterpret_cast<Bytef*>(buffer_.data() + at_);
  packed_->avail_in = static_cast<uInt>(buffer_.size() - at_);
  packed_->next_out = reinterpret_cast<Bytef*>(raw.data() + had);
  packed_->avail_out = static_cast<uInt>(bytes - had);
  const int code = inflate(packed_.get(), Z_NO_FLUSH);
  at_ = buffer_.size() - packed_->avail_in;
  raw.resize(bytes - packed_->avail_out);
  if (code == Z_STREAM_END) in_member_ = false;
  if (code == Z_OK || code == Z_STREAM_END) return absl::OkStatus();
  return absl::InvalidArgumentError("cannot be read to its end: " + std::string(packed_->msg == nullptr ? "damaged" : packed_->msg));
}

absl::StatusOr<bool> TextFile::Read(size_t bytes, std::string& out) {
  if (ended_) return false;
  std::string raw;
  CD4ML_RETURN_IF_ERROR(ReadRaw(bytes, raw));
  text_bytes_ += static_cast<int64_t>(raw.size());
  if (text_bytes_ > kExpandedFree && text_bytes_ / kExpansionMax > file_bytes_) {
    return absl::InvalidArgumentError("expands to more than " + std::to_string(kExpansionMax) +
                                      " times its size, as no table does; if this one does, unpack it first");
  }
  ended_ = raw.size() < bytes;
  CD4ML_RETURN_IF_ERROR(decoder_.Decode(raw, /*last=*/ended_, out));
  return true;
}

}  // namespace cd4ml::table
