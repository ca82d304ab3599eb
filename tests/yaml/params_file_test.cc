// Parameter files are read strictly and written so that other readers see the same types.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "cd4ml/base/status.h"
#include "cd4ml/yaml/yaml.h"

namespace cd4ml::yaml {
namespace {

using testing::HasSubstr;

std::string Json(const std::string& text, const std::string& file = "params.yaml") {
  const auto value = MakePipelineParser()->ParseParams(text, file);
  return value.ok() ? ToJson(*value) : Message(value.status());
}

std::string Written(const Value& value, const std::string& file = "params.yaml") {
  const auto text = MakePipelineParser()->WriteParams(value, "", file);
  return text.ok() ? *text : Message(text.status());
}

TEST(ParamsFile, GivesScalarsTheTypesOfYaml12) {
  EXPECT_EQ(
      Json(
          "a: 1\nb: 1.5\nc: true\nd: text\ne: null\nf: \"1\"\ng: \"010\"\nh: '1:30'\ni: 1.0e-3\nj: -0.5\nk: -0\n"),
      R"({"a":1,"b":1.5,"c":true,"d":"text","e":null,"f":"1","g":"010","h":"1:30","i":0.001,"j":-0.5,"k":0})");
}

TEST(ParamsFile, ReadsTheNumbersThatYamlHasAndJsonHasNot) {
  EXPECT_EQ(
      Json("a: .5\nb: 1.\nc: +3\ne: .inf\nf: -.inf\ng: .nan\ni: .\nj: +\n"),
      R"({"a":0.5,"b":1.0,"c":3,"e":"Infinity","f":"-Infinity","g":"NaN","i":".","j":"+"})");
}

TEST(ParamsFile, RefusesWordsThatReadersReadDifferently) {
  for (const char* word : {"yes", "No", "ON", "off", "True", "FALSE"}) {
    EXPECT_THAT(Json(std::string("a: ") + word + "\n"), HasSubstr("params.yaml:1:4: ")) << word;
    EXPECT_EQ(Json(std::string("a: \"") + word + "\"\n"), std::string("{\"a\":\"") + word + "\"}");
  }
}

// What PyYAML, a YAML 1.2 reader and the record do not all read the same.
TEST(ParamsFile, RefusesNumbersAndTimesThatReadersReadDifferently) {
  for (const char* text :
       {"1e-3", "1e3", "1E5", "1.5e3", "-1e-3", "010", "00.5", "-07", "0x1F", "-0xff", "0b101", "0o17", "1_000", "1_0.5",
        "1:30", "12:30:45", "1:30.5", "0:30.", "-.5", "+.5", "1.e5", "2024-01-01", "2024-1-1 10:00:00", "2001-12-14t21:59:43.10-05:00",
        "12345678901234567890", "1e999", "1234e567", "09"}) {
    EXPECT_THAT(Json(std::string("b:\n  a: ") + text + "\n"), HasSubstr(std::string("params.yaml:2:6: ") + text + " is not the same"))
        << text;
    EXPECT_EQ(Json(std::string("a: \"") + text + "\"\n"), std::string("{\"a\":\"") + text + "\"}");
  }
  EXPECT_THAT(Json("a: [1, 1e-3]\n"), HasSubstr("write 0.001, or put it in quotes"));
  EXPECT_THAT(Json("a: 010\n"), HasSubstr("put it in quotes, or write a plain number"));
}

TEST(ParamsFile, TakesWhatAllReadersReadTheSame) {
  for (const char* text : {"0", "-1", "1.5", "0.5", "10", "1.0e-3", "1.5E+10", "9223372036854775807", "-0.0"}) {
    EXPECT_THAT(Json(std::string("a: ") + text + "\n"), testing::Not(HasSubstr("readers"))) << text;
  }
  for (const char* text : {"1.2.3", "v1", "12h", "1:75", "0:30", "00:30", "1-2", "2024-01", "2024-1-1", "2024-01-01x", "10.0.0.1", "1e",
                           "0x", "0xg", "e5", "_1", "1 000", "5%", "1:2:x", "+1-", "127.0.0.1:80"}) {
    EXPECT_EQ(Json(std::string("a: ") + text + "\n"), std::string("{\"a\":\"") + text + "\"}") << text;
  }
}

TEST(ParamsFile, LeavesPointersAndOtherDocumentsToTheirReaders) {
  EXPECT_EQ(Json("outs:\n- md5: 0e46\n  path: x\n", "data.dvc").find("readers"), std::string::npos);
  // YAML 1.2, as DVC writes it.
  EXPECT_EQ(Json("params: {mode: on, other: No, y: y}\n", "dvc.lock"), R"({"params":{"mode":"on","other":"No","y":"y"}})");
  EXPECT_NE(Json("frozen: True\n", "dvc.yaml").find("readers"), std::string::npos);
  EXPECT_EQ(ToJson(*MakePipelineParser()->ParseDocument("example: 2024-01-01\n", "contract.yaml")), R"({"example":"2024-01-01"})");
}

TEST(ParamsFile, ReadsNestedMapsAndLists) {
  EXPECT_EQ(Json("train:\n  depth: 6\n  columns: [a, b]\n  more:\n  - x: 1\n  - y\n"),
            R"({"train":{"columns":["a","b"],"depth":6,"more":[{"x":1},"y"]}})");
}

TEST(ParamsFile, TakesAFileWithoutParameters) {
  EXPECT_EQ(Json(""), "{}");
  EXPECT_EQ(Json("# nothing yet\n"), "{}");
  EXPECT_EQ(Json("---\n"), "{}");
}

TEST(ParamsFile, RefusesWhatDefinitionsRefuse) {
  EXPECT_THAT(Json("a: &x 1\nb: *x\n"), HasSubstr("params.yaml:1:4: anchors"));
  EXPECT_THAT(Json("a: 1\na: 2\n"), HasSubstr("params.yaml:2:1: duplicate key \"a\""));
  EXPECT_THAT(Json("a: 1\n---\nb: 2\n"), HasSubstr("one document"));
  EXPECT_THAT(Json("a: [1,,2]\n"), HasSubstr("params.yaml:1:7: "));
  EXPECT_THAT(Json("a: \"x\n"), HasSubstr("not closed"));
  EXPECT_THAT(Json("<<: {a: 1}\n"), HasSubstr("merge keys"));
  EXPECT_THAT(Json("- 1\n"), HasSubstr("must hold a map"));
  EXPECT_THAT(Json("5\n"), HasSubstr("must hold a map"));
  EXPECT_THAT(Json("a.b: 1\n"), HasSubstr("params.yaml: a dot in \"a.b\""));
  EXPECT_THAT(Json(std::string(9 << 20, ' ')), HasSubstr("larger than"));
}

TEST(ParamsFile, ReadsJsonAndKnowsFormatsByName) {
  EXPECT_EQ(Json("{\"a\": {\"b\": 1.5}}", "p.json"), R"({"a":{"b":1.5}})");
  EXPECT_THAT(Json("{\"a\": 1, \"a\": 2}", "p.json"),
              HasSubstr("p.json: not valid JSON: duplicate key"));
  EXPECT_THAT(Json("{\"a\": ", "p.json"), HasSubstr("p.json: not valid JSON"));
  EXPECT_THAT(Json("[1]", "p.json"), HasSubstr("must hold a map"));
  EXPECT_THAT(Json("{\"a.b\": 1}", "p.json"), HasSubstr("a dot in \"a.b\""));
  EXPECT_EQ(Json("a: 1", "p.yml"), R"({"a":1})");
  EXPECT_THAT(Json("a=1", "p.ini"),
              HasSubstr("p.ini: such files end in .yaml, .yml, .json or .toml"));
}

Value Awkward() {
  const double infinity = std::numeric_limits<double>::infinity();
  return Value::Map{
      {"plain", 1},
      {"no", "no"},
      {"123", "123"},
      {"with space", Value::Map{{"x", Value::Map()}, {"y", Value::List()}}},
      {"tiny", 1e-7},
      {"huge", 1e300},
      {"whole", 2.0},
      {"negative", -5},
      {"infinite", infinity},
      {"nothing", Value()},
      {"flag", true},
      {"texts",
       Value::List{"yes",  "1",       "1.5",  "~",   "null",        "",      " a ",   "2001-01-01",
                   "1:30", "0x1F",    "a: b", "# c", "line\nbreak", "tab\t", "ünï 🚗", "\"q\"",
                   "\\",   "${HOME}", "- x",  "1e5", "=",           "<<"}},
      {"nested",
       Value::List{Value::List{1, 2}, Value::Map{{"a", 1}, {"b", Value::List{1}}}, Value::List()}}};
}

TEST(ParamsFile, ReadsBackWhatItWrites) {
  const std::string text = Written(Awkward());

  EXPECT_EQ(Json(text), ToJson(Awkward())) << text;
}

TEST(ParamsFile, WritesWhatPyYamlReadsWithTheSameTypes) {
  const std::string text = Written(Value::Map{{"tiny", 1e-7},
                                              {"huge", 1e300},
                                              {"whole", 2.0},
                                              {"no", "no"},
                                              {"learning_rate", "no"},
                                              {"list", Value::List{1, Value::List{"x"}}},
                                              {"odd", "\x7f \xc2\x85 \xe2\x80\xa8"}});

  // PyYAML takes 1e-07 and 1e+300 for text, and some characters for line breaks or for none at all.
  EXPECT_EQ(text,
            "huge: 1.0e+300\nlearning_rate: \"no\"\nlist:\n  - 1\n  -\n    - "
            "\"x\"\n\"no\": \"no\"\n"
            "odd: \"\\x7F \\x85 \\u2028\"\ntiny: 1.0e-07\nwhole: 2.0\n");
  EXPECT_EQ(Written(Value::Map()), "{}\n");
}

// Returns the text after one parameter got another value.
std::string Changed(const std::string& text, const std::string& name, Value value,
                    const std::string& file = "params.yaml") {
  const auto parser = MakePipelineParser();
  auto params = parser->ParseParams(text, file);
  if (!params.ok()) return Message(params.status());
  SetPath(*params, name, std::move(value));
  const auto written = parser->WriteParams(*params, text, file);
  if (!written.ok()) return Message(written.status());
  EXPECT_EQ(Json(*written, file), ToJson(*params));
  return *written;
}

TEST(ParamsFile, KeepsCommentsAndLayoutWhereOnlyScalarsDiffer) {
  const std::string text =
      "# \u00e9\ntrain:   # as agreed\n  depth: 6  # levels\n  columns: [a, 'b', \"c\"]\n  rate: 1.0e-3\n  more:\n  - x: 1\n";
  EXPECT_EQ(Changed(text, "train.depth", 12),
            "# \u00e9\ntrain:   # as agreed\n  depth: 12  # levels\n  columns: [a, 'b', \"c\"]\n  rate: 1.0e-3\n  more:\n  - x: 1\n");
  EXPECT_EQ(Changed(text, "train.columns", Value::List{"a", "yes", "c"}),
            "# \u00e9\ntrain:   # as agreed\n  depth: 6  # levels\n  columns: [a, \"yes\", \"c\"]\n  rate: 1.0e-3\n  more:\n  - x: 1\n");
  EXPECT_THAT(Changed(text, "train.rate", 2.0), HasSubstr("rate: 2.0\n"));
  EXPECT_THAT(Changed(text, "train.depth", "a # b: \n"), HasSubstr("# as agreed"));
  EXPECT_EQ(Changed("{ \"a\" : 1,\n\t\"b\": \"\u00e9\" }\n", "b", "x\n", "p.json"),
            "{ \"a\" : 1,\n\t\"b\": \"x\\n\" }\n");
}

TEST(ParamsFile, KeepsCommentsAndLayoutWhereSomethingIsAdded) {
  EXPECT_EQ(Changed("a: 1 # one\n", "b", 2), "a: 1 # one\nb: 2\n");
  EXPECT_EQ(Changed("a: 1 # one", "b", "no"), "a: 1 # one\nb: \"no\"\n");
  EXPECT_EQ(Changed("# none yet\n", "train.depth", 2), "# none yet\ntrain:\n  depth: 2\n");
  EXPECT_EQ(Changed("train:  # as agreed\n    depth: 6   # levels\n\n# others\nseed: 1\n", "train.rate", 1e-7),
            "train:  # as agreed\n    depth: 6   # levels\n    rate: 1.0e-07\n\n# others\nseed: 1\n");
  EXPECT_EQ(Changed("a: {b: 1}  # flow\n", "a.c", Value::List{1, "x"}), "a: {b: 1, c: [1,\"x\"]}  # flow\n");
  EXPECT_EQ(Changed("{\n   \"a\": 1\n}\n", "b", "x", "p.json"), "{\n   \"a\": 1, \"b\": \"x\"\n}\n");
  const auto parser = MakePipelineParser();
  const Value both = Value::Map{{"a", Value::Map{{"b", 2}, {"c", 3}}}, {"d", 4}};
  EXPECT_EQ(*parser->WriteParams(both, "a: # one\n  b: 1 # two\n", "p.yaml"), "a: # one\n  b: 2 # two\n  c: 3\nd: 4\n");
}

TEST(ParamsFile, WritesOtherShapesAnew) {
  EXPECT_EQ(Changed("a: # one\n", "a", 2), "a: 2\n");
  EXPECT_EQ(Changed("a: [1] # one\n", "a", Value::List{1, 2}), "a:\n  - 1\n  - 2\n");
  EXPECT_EQ(Changed("a: |\n  more\n  lines\nb: 1\n", "a", "x"), "a: \"x\"\nb: 1\n");
}

TEST(ParamsFile, LeavesAFileWithTheSameValuesAsItIs) {
  const std::string text = "# why\na: .nan\nb: 1.0e+3\nc: ~\nd: {}\n";
  const auto parser = MakePipelineParser();
  EXPECT_EQ(*parser->WriteParams(*parser->ParseParams(text, "p.yaml"), text, "p.yaml"), text);
}

TEST(ParamsFile, WritesJson) {
  EXPECT_EQ(Written(Value::Map{{"a", Value::Map{{"b", 1}}}}, "p.json"),
            "{\n  \"a\": {\n    \"b\": 1\n  }\n}\n");
}

}  // namespace
}  // namespace cd4ml::yaml
