// The four encodings that tables come in. Strict: a byte that means nothing is an error, not a "?".
#include "table/decoder.h"

#include <algorithm>
#include <array>
#include <cstdio>

#include "cd4ml/base/status.h"
#include "cd4ml/base/text.h"

namespace cd4ml::table {
namespace {

constexpr std::array<const char*, 4> kNames = {"utf-8", "latin-1", "windows-1252", "utf-16"};

// Windows-1252 for 0x80..0x9f, where it differs from Latin-1; 0 where it has no character.
constexpr std::array<uint16_t, 32> kWindows1252 = {
    0x20AC, 0,      0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6, 0x2030, 0x0160,
    0x2039, 0x0152, 0,      0x017D, 0,      0,      0x2018, 0x2019, 0x201C, 0x201D, 0x2022,
    0x2013, 0x2014, 0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0,      0x017E, 0x0178};

void AppendUtf8(uint32_t code, std::string& out) {
  if (code < 0x80) {
    out.push_back(static_cast<char>(code));
  } else if (code < 0x800) {
    out.push_back(static_cast<char>(0xC0 | (code >> 6)));
    out.push_back(static_cast<char>(0x80 | (code & 0x3F)));
  } else if (code < 0x10000) {
    out.push_back(static_cast<char>(0xE0 | (code >> 12)));
    out.push_back(static_cast<char>(0x80 | ((code >> 6) & 0x3F)));
    out.push_back(static_cast<char>(0x80 | (code & 0x3F)));
  } else {
    out.push_back(static_cast<char>(0xF0 | (code >> 18)));
    out.push_back(static_cast<char>(0x80 | ((code >> 12) & 0x3F)));
    out.push_back(static_cast<char>(0x80 | ((code >> 6) & 0x3F)));
    out.push_back(static_cast<char>(0x80 | (code & 0x3F)));
  }
}

int64_t CountLines(std::string_view text) { return std::count(text.begin(), text.end(), '\n'); }

std::string Hex(unsigned value) {
  char text[16];
  std::snprintf(text, sizeof text, "0x%02x", value);
  return text;
}

// Returns how many bytes of `text` end before a character that may continue in the next piece.
size_t WholeCharacters(std::string_view text) {
  for (size_t back = 1; back <= std::min<size_t>(3, text.size()); ++back) {
    const auto byte = static_cast<uint8_t>(text[text.size() - back]);
    if ((byte & 0xC0) == 0x80) continue;
    const size_t length = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : byte >= 0xC0 ? 2 : 1;
    return length > back ? text.size() - back : text.size();
  }
  return text.size();
}

// Returns the length of the longest prefix of `text` that is UTF-8 and ends with a character.
size_t ValidPrefix(std::string_view text) {
  size_t valid = 0;
  while (valid < text.size()) {
    size_t length = 1;
    while (length <= 4 && valid + length <= text.size() && !IsUtf8(text.substr(valid, length)))
      ++length;
    if (length > 4 || valid + length > text.size()) break;
    valid += length;
  }
  return valid;
}

}  // namespace

absl::StatusOr<Decoder> Decoder::For(const std::string& encoding) {
  const auto found = std::find(kNames.begin(), kNames.end(), encoding);
  if (found != kNames.end()) return Decoder(static_cast<Encoding>(found - kNames.begin()));
  return absl::InvalidArgumentError("unknown encoding \"" + encoding + "\"" +
                                    DidYouMean(encoding, {kNames.begin(), kNames.end()}) +
                                    "; known are utf-8, latin-1, windows-1252 and utf-16");
}

absl::Status Decoder::NotThisText(const std::string& why, std::string_view before) const {
  return absl::InvalidArgumentError("line " + std::to_string(line_ + CountLines(before)) + ": " +
                                    why);
}

// Looks for a byte-order mark, and for signs that the stated encoding is not the real one.
absl::Status Decoder::Begin(bool last) {
  if (pending_.size() < 3 && !last) return absl::OkStatus();
  begun_ = true;
  const std::string_view head(pending_);
  if (head.starts_with("\xEF\xBB\xBF")) {
    if (encoding_ != Encoding::kUtf8)
      return NotThisText("the file starts with the mark of utf-8; state that encoding", "");
    pending_.erase(0, 3);
  } else if (head.starts_with("\xFF\xFE") || head.starts_with("\xFE\xFF")) {
    if (encoding_ != Encoding::kUtf16)
      return NotThisText("the file starts with the mark of utf-16; state that encoding", "");
    big_endian_ = head[0] == '\xFE';
    pending_.erase(0, 2);
  } else if (encoding_ == Encoding::kUtf16 && head.size() >= 2) {
    // Without a mark, the first character of a header tells: it is nearly always below U+0100.
    if ((head[0] == '\0') == (head[1] == '\0'))
      return NotThisText("the file has no byte-order mark and is not utf-16", "");
    big_endian_ = head[0] == '\0';
  }
  return absl::OkStatus();
}

absl::Status Decoder::Decode(std::string_view bytes, bool last, std::string& out) {
  pending_ += bytes;
  if (!begun_) CD4ML_RETURN_IF_ERROR(Begin(last));
  if (!begun_) return absl::OkStatus();
  const size_t start = out.size();
  switch (encoding_) {
    case Encoding::kUtf8:
      CD4ML_RETURN_IF_ERROR(DecodeUtf8(last, out));
      break;
    case Encoding::kLatin1:
    case Encoding::kWindows1252:
      CD4ML_RETURN_IF_ERROR(DecodeBytes(out));
      break;
    case Encoding::kUtf16:
      CD4ML_RETURN_IF_ERROR(DecodeUtf16(last, out));
      break;
  }
  const std::string_view text = std::string_view(out).substr(start);
  if (const size_t nul = text.find('\0'); nul != std::string_view::npos) {
    return NotThisText("a zero byte: this is no text file, or one in another encoding (utf-16?)",
                       text.substr(0, nul));
  }
  line_ += CountLines(text);
  return absl::OkStatus();
}

absl::Status Decoder::DecodeUtf8(bool last, std::string& out) {
  const std::string_view whole(pending_.data(), last ? pending_.size() : WholeCharacters(pending_));
  if (!IsUtf8(whole)) {
    const size_t bad = ValidPrefix(whole);
    return NotThisText(
        "byte " + Hex(static_cast<uint8_t>(whole[bad])) +
            " is not utf-8; state the file's encoding (windows-1252, latin-1 or utf-16)",
        whole.substr(0, bad));
  }
  out += whole;
  pending_.erase(0, whole.size());
  return absl::OkStatus();
}

absl::Status Decoder::DecodeBytes(std::string& out) {
  for (size_t i = 0; i < pending_.size(); ++i) {
    const auto byte = static_cast<uint8_t>(pending_[i]);
    uint32_t code = byte;
    if (byte >= 0x80 && byte < 0xA0) {
      // Latin-1 has control characters here, which no table holds: such a file is Windows-1252.
      code = encoding_ == Encoding::kWindows1252 ? kWindows1252[byte - 0x80] : 0;
      if (code == 0) {
        return NotThisText("byte " + Hex(byte) + " is no character of " +
                               kNames[static_cast<size_t>(encoding_)] +
                               (encoding_ == Encoding::kLatin1 ? "; is it windows-1252?" : ""),
                           std::string_view(pending_).substr(0, i));
      }
    }
    AppendUtf8(code, out);
  }
  pending_.clear();
  return absl::OkStatus();
}

absl::Status Decoder::DecodeUtf16(bool last, std::string& out) {
  const size_t start = out.size();
  const auto unit = [this](size_t i) {
    const auto first = static_cast<uint8_t>(pending_[i]);
    const auto second = static_cast<uint8_t>(pending_[i + 1]);
    return static_cast<uint32_t>(big_endian_ ? first << 8 | second : second << 8 | first);
  };
  const auto refuse = [&](const std::string& why) {
    return NotThisText(why, std::string_view(out).substr(start));
  };
  size_t i = 0;
  while (i + 1 < pending_.size()) {
    uint32_t code = unit(i);
    if (code >= 0xD800 && code < 0xE000) {
      if (i + 3 >= pending_.size() && !last) break;
      const uint32_t low = i + 3 < pending_.size() ? unit(i + 2) : 0;
      if (code >= 0xDC00 || low < 0xDC00 || low >= 0xE000)
        return refuse("half a character pair: this is not utf-16");
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
      i += 2;
    }
    AppendUtf8(code, out);
    i += 2;
  }
  pending_.erase(0, i);
  if (last && !pending_.empty()) return refuse("half a character at the end: this is not utf-16");
  return absl::OkStatus();
}

}  // namespace cd4ml::table
