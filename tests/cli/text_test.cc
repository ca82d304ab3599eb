// What may reach a terminal, and how wide it is.
#include "cli/text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cd4ml::cli {
namespace {

using ::testing::ElementsAre;

TEST(SafeLine, LeavesOrdinaryTextAlone) {
  EXPECT_EQ(SafeLine("✔ price not null, 18,204 rows äöü 価格"),
            "✔ price not null, 18,204 rows äöü 価格");
}

TEST(SafeLine, DropsEscapeSequencesOfEveryKind) {
  EXPECT_EQ(SafeLine("a\x1b[2Jb"), "ab");  // Clears the screen.
  EXPECT_EQ(SafeLine("a\x1b]0;title\x07"
                     "b"),
            "ab");  // Sets the title, ended by BEL.
  EXPECT_EQ(SafeLine("a\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\b"), "alinkb");
  EXPECT_EQ(SafeLine("a\x1bPq#0\x1b\\b"), "ab");  // Device control string.
  EXPECT_EQ(SafeLine("a\x1b(0b"), "ab");          // Another character set.
  EXPECT_EQ(SafeLine("a\x1b"
                     "cb"),
            "ab");  // Full reset.
}

TEST(SafeLine, DropsUnfinishedSequences) {
  EXPECT_EQ(SafeLine("a\x1b"), "a");
  EXPECT_EQ(SafeLine("a\x1b[12"), "a");
  EXPECT_EQ(SafeLine("a\x1b]0;never ends"), "a");
}

TEST(SafeLine, DropsControlsInBothEncodings) {
  EXPECT_EQ(SafeLine(std::string("a\0b\x08\x7f"
                                 "c",
                                 6)),
            "abc");
  EXPECT_EQ(SafeLine("a\xC2\x9B"
                     "2Jb"),
            "a2Jb");  // U+009B is CSI in eight bits.
}

TEST(SafeLine, DropsMarksThatReverseText) {
  EXPECT_EQ(SafeLine("safe\u202Egnp.exe\u2066\u200B"), "safegnp.exe");
}

TEST(SafeLine, ShowsBrokenUtf8AsReplacement) {
  EXPECT_EQ(SafeLine("caf\xE9!"), "caf\uFFFD!");
  EXPECT_EQ(SafeLine("\xC0\xAF"), "\uFFFD\uFFFD");            // Overlong "/".
  EXPECT_EQ(SafeLine("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");  // A surrogate.
  EXPECT_EQ(SafeLine("\xE2\x9C"), "\uFFFD\uFFFD");            // Cut off.
}

TEST(SafeLine, ShowsWhatATerminalWouldAfterCarriageReturns) {
  EXPECT_EQ(SafeLine("10 %\r50 %\r100 %\r\n"), "100 %");
}

TEST(SafeLine, KeepsColoursWhereTheyAreWantedAndEndsThem) {
  EXPECT_EQ(SafeLine("\x1b[31mred", Sgr::kKeep), "\x1b[31mred\x1b[0m");
  EXPECT_EQ(SafeLine("\x1b[31mred\x1b[2J", Sgr::kDrop), "red");
  EXPECT_EQ(SafeLine("\x1b[?25l\x1b[3 mx", Sgr::kKeep), "x");  // Ends in m or not: no colour.
}

TEST(DisplayWidth, CountsColumnsNotBytes) {
  EXPECT_EQ(DisplayWidth("✔ ●✗│"), 5u);
  EXPECT_EQ(DisplayWidth("価格"), 4u);
  EXPECT_EQ(DisplayWidth("e\u0301"), 1u);
}

TEST(Fit, CutsAtTheWidthAndSaysSo) {
  EXPECT_EQ(Fit("used-car-price", 14), "used-car-price");
  EXPECT_EQ(Fit("used-car-price", 6), "used-…");
  EXPECT_EQ(Fit("価格表", 4), "価…");
  EXPECT_EQ(Fit("x", 0), "");
}

TEST(Wrap, BreaksAtSpacesAndKeepsLongWords) {
  EXPECT_THAT(Wrap("one two three", 7), ElementsAre("one two", "three"));
  EXPECT_THAT(Wrap("a incomprehensibilities b", 5), ElementsAre("a", "incomprehensibilities", "b"));
}

TEST(SplitLines, HasNoLineAfterTheLastBreak) {
  EXPECT_THAT(SplitLines("a\n\nb\n"), ElementsAre("a", "", "b"));
  EXPECT_TRUE(SplitLines("").empty());
}

}  // namespace
}  // namespace cd4ml::cli
