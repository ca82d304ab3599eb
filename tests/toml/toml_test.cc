// Parameter files in TOML: types as TOML has them, and comments that survive other values.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "cd4ml/base/status.h"
#include "cd4ml/toml/toml.h"
#include "cd4ml/yaml/yaml.h"

namespace cd4ml::toml {
namespace {

using testing::HasSubstr;

constexpr char kFile[] = "conf/params.toml";

std::unique_ptr<PipelineParser> MakeParser() { return WithToml(yaml::MakePipelineParser()); }

std::string Json(const std::string& text, const std::string& file = kFile) {
  const auto value = MakeParser()->ParseParams(text, file);
  return value.ok() ? ToJson(*value) : Message(value.status());
}

// Returns the text after one parameter got another value.
std::string Changed(const std::string& text, const std::string& name, Value value) {
  const auto parser = MakeParser();
  auto params = parser->ParseParams(text, kFile);
  if (!params.ok()) return Message(params.status());
  SetPath(*params, name, std::move(value));
  const auto written = parser->WriteParams(*params, text, kFile);
  if (!written.ok()) return Message(written.status());
  EXPECT_EQ(Json(*written), ToJson(*params));
  return *written;
}

TEST(Toml, GivesValuesTheTypesOfToml) {
  EXPECT_EQ(Json("a = 1\nb = 1.0\nc = true\nd = \"1\"\ne = [1, 2]\nf = {x = 'y'}\ng = 1e-3\nh = 2026-01-02\n[t.u]\nv = 0x10\n"),
            R"({"a":1,"b":1.0,"c":true,"d":"1","e":[1,2],"f":{"x":"y"},"g":0.001,"h":"2026-01-02","t":{"u":{"v":16}}})");
  EXPECT_EQ(Json(""), "{}");
}

TEST(Toml, LeavesOtherFilesToTheOtherParser) {
  EXPECT_EQ(Json("a: 1\n", "params.yaml"), R"({"a":1})");
  EXPECT_THAT(Json("a = 1\n", "params.ini"), HasSubstr("end in .yaml, .yml, .json or .toml"));
}

TEST(Toml, SaysWhereAFileIsWrong) {
  EXPECT_THAT(Json("a = 1\nb = \n"), HasSubstr("conf/params.toml:2:"));
  EXPECT_THAT(Json("a = 1\na = 2\n"), HasSubstr("conf/params.toml:2:"));
  EXPECT_THAT(Json("\"a.b\" = 1\n"), HasSubstr("a dot in \"a.b\""));
  EXPECT_THAT(Json(std::string(9u << 20, '\n')), HasSubstr("larger than"));
  EXPECT_THAT(Json("a = " + std::string(5000, '[')), HasSubstr("conf/params.toml:1:"));
}

TEST(Toml, KeepsCommentsAndLayoutWhereOnlyScalarsDiffer) {
  const std::string text =
      "# Größen\n[train]  # as agreed\ndepth   = 6  # levels\nname = 'é'\nrate = 0.5\n\n[[layers]]\nwide = 8\n";
  EXPECT_EQ(Changed(text, "train.depth", 12),
            "# Größen\n[train]  # as agreed\ndepth   = 12  # levels\nname = 'é'\nrate = 0.5\n\n[[layers]]\nwide = 8\n");
  EXPECT_EQ(Changed(text, "train.rate", 1.0),
            "# Größen\n[train]  # as agreed\ndepth   = 6  # levels\nname = 'é'\nrate = 1.0\n\n[[layers]]\nwide = 8\n");
  EXPECT_THAT(Changed(text, "train.name", "a \"b\"\\\n\x7F"), HasSubstr("# levels"));
  EXPECT_EQ(Changed("x = ['é', 1] # é\n", "x", Value::List{"é", 2}), "x = ['é', 2] # é\n");
}

TEST(Toml, LeavesAFileWithTheSameValuesAsItIs) {
  const std::string text = "# why\nwhen = 2026-01-02T03:04:05Z\nlimit = inf\n";
  const auto parser = MakeParser();
  EXPECT_EQ(*parser->WriteParams(*parser->ParseParams(text, kFile), text, kFile), text);
}

TEST(Toml, WritesOtherShapesAnewAndKeepsDates) {
  const std::string written = Changed("when = 2026-01-02\n[train]\ndepth = 6\n", "train.columns", Value::List{"a", "b"});
  EXPECT_THAT(written, HasSubstr("when = 2026-01-02\n"));
  EXPECT_THAT(Changed("a = 1\n", "b.c.d", 0.1), HasSubstr("d = 0.1"));
  EXPECT_THAT(Changed("a = 1\n", "a", Value::Map{{"x", true}}), HasSubstr("x = true"));
}

TEST(Toml, RefusesWhatItCannotSay) {
  EXPECT_THAT(Changed("a = 1\n", "a", Value()), HasSubstr("TOML has no null"));
}

}  // namespace
}  // namespace cd4ml::toml
