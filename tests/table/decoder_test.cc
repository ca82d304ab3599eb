// Every byte of every encoding, split anywhere, and what is refused.
#include "table/decoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cd4ml/base/status.h"
#include "cd4ml/base/text.h"

namespace cd4ml::table {
namespace {

using ::testing::HasSubstr;

// Decodes `bytes` in pieces of `piece` bytes. Returns the text, or "error: …".
std::string Decode(const std::string& encoding, std::string_view bytes, size_t piece = 1 << 20) {
  absl::StatusOr<Decoder> decoder = Decoder::For(encoding);
  if (!decoder.ok()) return "error: " + Message(decoder.status());
  std::string text;
  do {
    const std::string_view part = bytes.substr(0, piece);
    bytes.remove_prefix(part.size());
    const absl::Status status = decoder->Decode(part, bytes.empty(), text);
    if (!status.ok()) return "error: " + Message(status);
  } while (!bytes.empty());
  return text;
}

TEST(Decoder, KnowsFourEncodingsAndSuggests) {
  EXPECT_THAT(Decode("utf8", ""), HasSubstr("did you mean \"utf-8\"?"));
  EXPECT_THAT(Decode("ebcdic", ""), HasSubstr("known are utf-8, latin-1, windows-1252 and utf-16"));
  for (const char* encoding : {"utf-8", "latin-1", "windows-1252", "utf-16"})
    EXPECT_EQ(Decode(encoding, ""), "");
}

// The 32 characters where Windows-1252 differs from Latin-1, as Python's codec has them.
TEST(Decoder, KnowsAllOfWindows1252) {
  const std::string wanted[32] = {"€", "",  "‚", "ƒ", "„", "…", "†", "‡", "ˆ", "‰", "Š",
                                  "‹", "Œ", "",  "Ž", "",  "",  "‘", "’", "“", "”", "•",
                                  "–", "—", "˜", "™", "š", "›", "œ", "",  "ž", "Ÿ"};
  for (int byte = 1; byte < 256; ++byte) {
    const std::string text = Decode("windows-1252", std::string(1, static_cast<char>(byte)));
    if (byte >= 0x80 && byte < 0xA0) {
      if (wanted[byte - 0x80].empty()) {
        EXPECT_THAT(text, HasSubstr("error: line 1: byte 0x")) << byte;
      } else {
        EXPECT_EQ(text, wanted[byte - 0x80]) << byte;
      }
    } else {
      EXPECT_TRUE(IsUtf8(text) && text.size() == (byte < 0x80 ? 1u : 2u)) << byte;
    }
  }
  EXPECT_EQ(Decode("windows-1252", "M\xFCller \xA9 \xFF"), "Müller © ÿ");
}

TEST(Decoder, RefusesWindows1252AsLatin1) {
  EXPECT_EQ(Decode("latin-1", "M\xFCller"), "Müller");
  EXPECT_EQ(Decode("latin-1", "a\nb\x96"),
            "error: line 2: byte 0x96 is no character of latin-1; is it windows-1252?");
}

TEST(Decoder, NamesTheLineOfWhatIsNotUtf8) {
  EXPECT_THAT(Decode("utf-8", "a\n\xC3\xA4\nc\xFC\n"),
              HasSubstr("error: line 3: byte 0xfc is not utf-8"));
  EXPECT_THAT(Decode("utf-8", "a\n\xC3"), HasSubstr("line 2: byte 0xc3"));
  EXPECT_THAT(Decode("utf-8", "\xED\xA0\x80"), HasSubstr("error:"));
}

TEST(Decoder, GivesTheSameWhereverTheFileIsSplit) {
  const std::string text = "a\nä€𝄞\r\nz";
  std::string little = "\xFF\xFE", big = "\xFE\xFF";
  for (const uint16_t unit : {0x61, 0x0A, 0xE4, 0x20AC, 0xD834, 0xDD1E, 0x0D, 0x0A, 0x7A}) {
    little += {static_cast<char>(unit & 0xFF), static_cast<char>(unit >> 8)};
    big += {static_cast<char>(unit >> 8), static_cast<char>(unit & 0xFF)};
  }
  for (const size_t piece : {1, 2, 3, 5, 100}) {
    EXPECT_EQ(Decode("utf-8", text, piece), text) << piece;
    EXPECT_EQ(Decode("utf-8", "\xEF\xBB\xBF" + text, piece), text) << piece;
    EXPECT_EQ(Decode("utf-16", little, piece), text) << piece;
    EXPECT_EQ(Decode("utf-16", big, piece), text) << piece;
    EXPECT_EQ(Decode("utf-16", little.substr(2), piece), text) << piece;
    EXPECT_EQ(Decode("utf-16", big.substr(2), piece), text) << piece;
    EXPECT_THAT(Decode("utf-8", text + "\n\n\xFC", piece), HasSubstr("line 5: byte 0xfc")) << piece;
  }
}

TEST(Decoder, RefusesWhatIsNoUtf16) {
  EXPECT_THAT(Decode("utf-16", "plain text"), HasSubstr("no byte-order mark"));
  EXPECT_THAT(Decode("utf-16", std::string("a\0b", 3)), HasSubstr("half a character"));
  EXPECT_THAT(Decode("utf-16", std::string("\xFF\xFE\x00\xDC", 4)),
              HasSubstr("half a character pair"));
  EXPECT_THAT(Decode("utf-16", std::string("\xFF\xFE\x00\xD8", 4)),
              HasSubstr("half a character pair"));
  EXPECT_THAT(Decode("utf-16", "x"), HasSubstr("half a character"));
}

TEST(Decoder, SeesByTheMarkThatAnotherEncodingWasStated) {
  EXPECT_THAT(Decode("windows-1252", "\xEF\xBB\xBFprice"), HasSubstr("mark of utf-8"));
  EXPECT_THAT(Decode("utf-8", std::string("\xFF\xFEp\0", 4)), HasSubstr("mark of utf-16"));
}

TEST(Decoder, RefusesZeroBytesInEveryEncoding) {
  for (const char* encoding : {"utf-8", "latin-1", "windows-1252"}) {
    EXPECT_THAT(Decode(encoding, std::string("abc\nd\0e", 7)), HasSubstr("line 2: a zero byte"))
        << encoding;
  }
}

}  // namespace
}  // namespace cd4ml::table
