// XML of test runners is read, and XML that means harm is refused at once.
#include "cd4ml/xml/parse_xml.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "cd4ml/core/own_verdict.h"

namespace cd4ml::xml {
namespace {

using enum core::VerdictOutcome;

std::string Fixture(const std::string& name) {
  std::ostringstream text;
  text << std::ifstream(std::string(CD4ML_SOURCE_DIR) + "/tests/fixtures/verdicts/" + name).rdbuf();
  return text.str();
}

core::Verdict VerdictOf(const std::string& name) {
  const absl::StatusOr<core::XmlElement> root = ParseXml(Fixture(name));
  EXPECT_TRUE(root.ok()) << root.status();
  return root.ok() ? core::Conclude(core::ReadJunit(*root)) : core::Verdict();
}

std::string ErrorOf(std::string_view text) {
  const absl::StatusOr<core::XmlElement> root = ParseXml(text);
  EXPECT_TRUE(absl::IsInvalidArgument(root.status()));
  return std::string(root.status().message());
}

TEST(ParseXml, GivesNamesAttributesTextsAndChildren) {
  const absl::StatusOr<core::XmlElement> root =
      ParseXml("<?xml version=\"1.0\"?><a x='1'>&lt;&#228;<n:b y=\"&quot;\"/><![CDATA[<raw>]]></a>");

  ASSERT_TRUE(root.ok()) << root.status();
  EXPECT_EQ(root->name, "a");
  EXPECT_EQ(root->attributes.at("x"), "1");
  EXPECT_EQ(root->text, "<ä<raw>");
  ASSERT_EQ(root->children.size(), 1u);
  EXPECT_EQ(root->children[0].name, "b");
  EXPECT_EQ(root->children[0].attributes.at("y"), "\"");
}

TEST(ParseXml, ReadsOtherEncodingsThanUtf8) {
  const absl::StatusOr<core::XmlElement> root = ParseXml("<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><a>\xE4</a>");

  ASSERT_TRUE(root.ok()) << root.status();
  EXPECT_EQ(root->text, "ä");
}

TEST(ParseXml, RefusesWhatIsNotWellFormedAndSaysWhere) {
  EXPECT_EQ(ErrorOf(""), "it is not well-formed XML: no element found (line 1)");
  EXPECT_EQ(ErrorOf("<a>\n<b></a>"), "it is not well-formed XML: mismatched tag (line 2)");
  for (const char* text : {"{}", "<a>", "<a/><b/>", "<a>\xFF</a>", "<a>&nbsp;</a>", "PK\x03\x04"}) ErrorOf(text);
  ErrorOf(std::string_view("<a>\0</a>", 8));
}

TEST(ParseXml, RefusesBombsOfEntitiesAndFetchesNothing) {
  std::string bomb = "<!DOCTYPE a [<!ENTITY e0 \"0123456789\">";
  for (int i = 1; i < 20; ++i) {
    const std::string before = "&e" + std::to_string(i - 1) + ";";
    bomb += "<!ENTITY e" + std::to_string(i) + " \"";
    for (int k = 0; k < 10; ++k) bomb += before;
    bomb += "\">";
  }
  EXPECT_EQ(ErrorOf(bomb + "]><a>&e19;</a>"), "it has a document type, which a result file needs not (line 1)");
  ErrorOf("<!DOCTYPE a SYSTEM \"file:///etc/passwd\"><a/>");
  ErrorOf("<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><a>&x;</a>");
}

TEST(ParseXml, BoundsDepthAndCutsTexts) {
  const auto nested = [](int depth) {
    std::string text;
    for (int i = 0; i < depth; ++i) text += "<a>";
    for (int i = 0; i < depth; ++i) text += "</a>";
    return text;
  };
  EXPECT_TRUE(ParseXml(nested(kDepthMax)).ok());
  EXPECT_NE(ErrorOf(nested(kDepthMax + 1)).find("nested deeper than 64"), std::string::npos);
  EXPECT_NE(ErrorOf(nested(200'000)).find("nested deeper than 64"), std::string::npos);

  const absl::StatusOr<core::XmlElement> root =
      ParseXml("<a x='" + std::string(100'000, 'y') + "'>" + std::string(3 << 20, 'z') + "</a>");
  ASSERT_TRUE(root.ok()) << root.status();
  EXPECT_EQ(root->text.size(), kTextMax);
  EXPECT_EQ(root->attributes.at("x").size(), kTextMax);
}

TEST(ParseXml, BoundsTheNumberOfElements) {
  std::string text = "<a>";
  for (int i = 0; i < kElementsMax; ++i) text += "<b/>";
  EXPECT_NE(ErrorOf(text + "</a>").find("more than 200000 elements"), std::string::npos);
}

TEST(Junit, FailedBrokenAndSkippedTestsOfPytestAreNamed) {
  const core::Verdict verdict = VerdictOf("pytest-9.2.0-failing.xml");

  ASSERT_EQ(verdict.rules.size(), 1u);
  EXPECT_EQ(verdict.outcome, kError);
  EXPECT_EQ(verdict.rules[0].name, "pytest");
  EXPECT_EQ(verdict.rules[0].observed, "2 failed, 1 broken, 2 skipped of 7 tests");
  EXPECT_EQ(verdict.rules[0].sample_size, 7);
  EXPECT_EQ(verdict.rules[0].rows,
            (std::vector<std::string>{
                "test_price::test_database: failed on setup with \"RuntimeError: no database\"",
                "test_price::test_range: AssertionError: price <0> & \"more\" assert 3 < 2",
                "test_price::test_brand[citro\\xebn]: AssertionError: assert 'citroën' == 'bmw'      - bmw   + citroën",
                "test_price::test_gpu: needs a GPU", "test_price::test_known_bug: known"}));
}

TEST(Junit, PassesOnlyWhenTestsRanAndAllPassed) {
  EXPECT_EQ(VerdictOf("pytest-9.2.0-passing.xml").outcome, kPass);
  EXPECT_EQ(VerdictOf("pytest-9.2.0-passing.xml").rules[0].observed, "0 failed of 2 tests");
  EXPECT_EQ(VerdictOf("pytest-9.2.0-nothing.xml").outcome, kError);
  EXPECT_EQ(VerdictOf("pytest-9.2.0-skipped.xml").outcome, kError);
}

}  // namespace
}  // namespace cd4ml::xml
