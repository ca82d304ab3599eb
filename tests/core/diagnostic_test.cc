// Findings as people see them, and the table of codes.
#include "cd4ml/core/diagnostic.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace cd4ml::core {
namespace {

Diagnostic Located(std::string_view text, Place place) {
  Diagnostics findings = {MakeError("CD0121", place, "unknown key \"need\" in stage \"train\"",
                                    "did you mean \"needs\"?", "allowed: name, run, needs")};
  Locate(text, "price.cd4ml.yaml", findings);
  return findings[0];
}

TEST(Diagnostic, IsShownWithPlaceCodeSnippetCaretAndHelp) {
  std::string text(13, '\n');
  text += "      need: [features]\nmore\n";

  EXPECT_EQ(Format(Located(text, {14, 7, 4})),
            "price.cd4ml.yaml:14:7: error[CD0121]: unknown key \"need\" in stage \"train\"\n"
            "   |\n"
            "14 |       need: [features]\n"
            "   |       ^^^^ did you mean \"needs\"?\n"
            "   = allowed: name, run, needs\n");
}

TEST(Diagnostic, AlignsItsMarginWithTheLineNumber) {
  const std::string text = std::string(999, '\n') + "need: x";

  EXPECT_NE(Format(Located(text, {1000, 1, 4})).find("\n     |\n1000 | need: x\n     | ^^^^ did"),
            std::string::npos);
  EXPECT_NE(Format(Located("need: x", {1, 1, 4})).find("\n   |\n 1 | need: x\n   | ^^^^ did"),
            std::string::npos);
}

TEST(Diagnostic, WithoutPlaceSpeaksOfTheFile) {
  EXPECT_EQ(Format(Located("x", {})),
            "price.cd4ml.yaml: error[CD0121]: unknown key \"need\" in stage \"train\"\n"
            "   = did you mean \"needs\"?\n"
            "   = allowed: name, run, needs\n");
  EXPECT_EQ(Brief(Located("x", {})),
            "price.cd4ml.yaml: unknown key \"need\" in stage \"train\"; did you mean \"needs\"?");
}

TEST(Diagnostic, IsBriefOnOneLine) {
  EXPECT_EQ(
      Brief(Located("  need: x", {1, 3, 4})),
      "price.cd4ml.yaml:1:3: unknown key \"need\" in stage \"train\"; did you mean \"needs\"?");
}

TEST(Diagnostic, CountsColumnsInCharacters) {
  const Diagnostic finding = Located("ü🚗: nëed", {1, 9, 5});

  EXPECT_EQ(finding.place, (Place{1, 5, 4}));
  EXPECT_EQ(finding.snippet, "ü🚗: nëed");
}

TEST(Diagnostic, ShowsAWindowOfALongLine) {
  const std::string text = std::string(1000, 'a') + "need" + std::string(1000, 'b');
  const std::string shown = Format(Located(text, {1, 1001, 4}));

  const size_t caret_line = shown.find("^^^^");
  const size_t word = shown.find("need", shown.find('|'));
  const size_t column = word - shown.rfind('\n', word) - 2;  // "…" has three bytes.
  EXPECT_EQ(column, caret_line - shown.rfind('\n', caret_line)) << shown;
  EXPECT_LT(shown.size(), 700u);
}

TEST(Diagnostic, NeverPrintsControlCharactersOrBadBytes) {
  EXPECT_EQ(Located("a\x1b[31m\tb\r", {1, 1, 1}).snippet, "a?[31m b");
  EXPECT_EQ(Located("a\xc2\x9b"
                    "b",
                    {1, 1, 1})
                .snippet,
            "a?b");
  EXPECT_EQ(Located("a\xff\xfe", {1, 1, 1}).snippet, "a??");
}

TEST(Diagnostic, BearsPlacesOutsideOfTheText) {
  EXPECT_EQ(Located("one\ntwo", {9, 9, 9}).snippet, "");
  EXPECT_EQ(Located("one", {1, 99, 5}).snippet, "one");
  EXPECT_EQ(Located("", {1, 1, 1}).snippet, "");
}

TEST(Diagnostic, SortsByPlaceAndKeepsTheOrderOfEquals) {
  Diagnostics findings = {MakeError("CD0003", {2, 1, 1}, "c"), MakeError("CD0002", {1, 5, 1}, "b"),
                          MakeError("CD0001", {1, 5, 1}, "a"), MakeError("CD0004", {}, "whole")};
  Locate("12345\n1\n", "f", findings);

  std::string order;
  for (const Diagnostic& finding : findings) order += finding.message + " ";
  EXPECT_EQ(order, "whole b a c ");
}

TEST(Diagnostic, QuotesTextsOnOneLineAndCutsLongOnes) {
  EXPECT_EQ(Quoted("a"), "\"a\"");
  EXPECT_EQ(Quoted("a\nb\x1b"), "\"a?b?\"");
  EXPECT_EQ(Quoted(std::string(100, 'x')), "\"" + std::string(80, 'x') + "…\"");
  std::string cars;
  for (int i = 0; i < 100; ++i) cars += "🚗";
  EXPECT_EQ(Quoted(cars), "\"" + cars.substr(0, 320) + "…\"");
}

TEST(Diagnostic, TellsErrorsFromWarnings) {
  Diagnostic warning = MakeError("CD0001", {}, "x");
  warning.severity = Severity::kWarning;

  EXPECT_FALSE(HasErrors({warning}));
  EXPECT_TRUE(HasErrors({warning, MakeError("CD0001", {}, "x")}));
  EXPECT_TRUE(Format(warning).find("warning[CD0001]") != std::string::npos);
}

TEST(Codes, AreInAscendingOrderWithTitleAndExplanation) {
  std::string_view before;
  for (const CodeExplanation& one : AllCodes()) {
    EXPECT_LT(before, one.code);
    EXPECT_EQ(one.code.size(), 6u);
    EXPECT_FALSE(one.title.empty()) << one.code;
    EXPECT_TRUE(one.explanation.ends_with('.')) << one.code;
    before = one.code;
  }
}

TEST(Codes, AreExplainedInAnyCase) {
  ASSERT_NE(ExplainCode("CD0121"), nullptr);
  EXPECT_EQ(ExplainCode("CD0121")->title, "unknown key");
  EXPECT_EQ(ExplainCode("cd0121"), ExplainCode("CD0121"));
  EXPECT_EQ(ExplainCode("CD9999"), nullptr);
  EXPECT_EQ(ExplainCode(""), nullptr);
}

}  // namespace
}  // namespace cd4ml::core
