// Where the parameters of a run come from, and what keeps them from being wrong.
#include "cd4ml/core/params.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "cd4ml/base/status.h"

namespace cd4ml::core {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;
using Type = ParamSchema::Type;

ParamsSpec Schema() {
  ParamsSpec spec;
  spec.schema.push_back(
      {.name = "train.depth", .type = Type::kInt, .bounds = {2, 64}, .fallback = Value(12)});
  spec.schema.push_back({.name = "train.rate", .type = Type::kFloat, .fallback = Value(0.1)});
  spec.schema.push_back({.name = "train.algorithm",
                         .type = Type::kEnum,
                         .values = {"ridge", "forest"},
                         .fallback = Value("ridge")});
  spec.schema.push_back({.name = "tag", .type = Type::kString, .fallback = Value("")});
  spec.schema.push_back(
      {.name = "columns", .type = Type::kList, .fallback = Value(Value::List{"a"})});
  spec.schema.push_back({.name = "flag", .type = Type::kBool, .fallback = Value(false)});
  return spec;
}

using Files = std::vector<std::pair<std::string, Value>>;
using Overrides = std::map<std::string, Value>;

std::string Problem(const ParamsSpec& spec, const Files& files, const Overrides& overrides,
                    std::string_view lane = "production") {
  return Message(ResolveParams(spec, files, overrides, lane).status());
}

Value Json(std::string_view text) { return *ParseJson(text); }

TEST(Params, TakeTheLatestOfDefaultFilesAndTrigger) {
  const Files files = {{"a.yaml", Json(R"({"train": {"depth": 6, "rate": 0.2}, "own": 1})")},
                       {"b.yaml", Json(R"({"train": {"rate": 0.3}})")}};

  const auto params = ResolveParams(Schema(), files, {{"train.depth", Value(8)}}, "production");

  ASSERT_TRUE(params.ok()) << params.status();
  EXPECT_EQ(
      ToJson(params->values),
      R"({"columns":["a"],"flag":false,"own":1,"tag":"","train":{"algorithm":"ridge","depth":8,"rate":0.3}})");
  EXPECT_THAT(
      params->sources,
      ElementsAre(Pair("columns", "default"), Pair("flag", "default"), Pair("own", "a.yaml"),
                  Pair("tag", "default"), Pair("train.algorithm", "default"),
                  Pair("train.depth", "trigger"), Pair("train.rate", "b.yaml")));
}

TEST(Params, ReadOverridesFromTheCommandLineAsTheTypeTheyHave) {
  const Overrides overrides = {
      {"train.depth", ParseParamText("8")},   {"train.rate", ParseParamText("1")},
      {"tag", ParseParamText("1.10")},        {"flag", ParseParamText("true")},
      {"columns", ParseParamText("[\"b\"]")}, {"train.algorithm", ParseParamText("forest")}};

  const auto params = ResolveParams(Schema(), {}, overrides, "production");

  ASSERT_TRUE(params.ok()) << params.status();
  EXPECT_EQ(
      ToJson(params->values),
      R"({"columns":["b"],"flag":true,"tag":"1.10","train":{"algorithm":"forest","depth":8,"rate":1.0}})");
}

TEST(Params, MakeTextOfNumbersWhereTextIsWanted) {
  for (const char* text : {"5", "1.10", "true", "1e3"}) {
    const auto params = ResolveParams(Schema(), {}, {{"tag", ParseParamText(text)}}, "production");

    ASSERT_TRUE(params.ok()) << params.status();
    EXPECT_EQ(*params->values.Find("tag"), Value(text));
  }
}

TEST(Params, MakeNumbersOfTextsThatAreWrittenInAnotherWay) {
  const auto params =
      ResolveParams(Schema(), {}, {{"train.rate", ParseParamText("1e-3")}}, "production");

  ASSERT_TRUE(params.ok()) << params.status();
  EXPECT_EQ(*params->values.FindPath("train.rate"), Value(0.001));
}

TEST(Params, HoldToTheSchema) {
  EXPECT_EQ(Problem(Schema(), {}, {{"train.depth", Value(100)}}),
            "parameter \"train.depth\" must be at most 64, is 100 (from trigger)");
  EXPECT_EQ(Problem(Schema(), {{"p.yaml", Json(R"({"train": {"depth": 1}})")}}, {}),
            "parameter \"train.depth\" must be at least 2, is 1 (from p.yaml)");
  EXPECT_EQ(Problem(Schema(), {}, {{"train.depth", Value(2.5)}}),
            "parameter \"train.depth\" must be of type int, is 2.5 (from trigger)");
  EXPECT_EQ(Problem(Schema(), {{"p.yaml", Json(R"({"train": {"depth": "6"}})")}}, {}),
            "parameter \"train.depth\" must be of type int, is \"6\" (from p.yaml)")
      << "a file has types of its own";
  EXPECT_EQ(Problem(Schema(), {}, {{"train.algorithm", Value("forrest")}}),
            "parameter \"train.algorithm\" must be one of ridge, forest, is \"forrest\"; did you "
            "mean \"forest\"? (from trigger)");
  EXPECT_EQ(Problem(Schema(), {}, {{"flag", Value("yes")}}),
            "parameter \"flag\" must be of type bool, is \"yes\" (from trigger)");
  EXPECT_THAT(Problem(Schema(), {{"p.yaml", Json(R"({"train": {"rate": NaN}})")}}, {}),
              HasSubstr("must be finite"));
}

TEST(Params, SayEverythingThatIsWrongAtOnce) {
  const std::string problem = Problem(
      Schema(), {}, {{"train.depth", Value(100)}, {"train.dpth", Value(1)}, {"flag", Value(5)}});

  EXPECT_THAT(problem,
              HasSubstr("unknown parameter \"train.dpth\"; did you mean \"train.depth\"?"));
  EXPECT_THAT(problem, HasSubstr("\"train.depth\" must be at most 64"));
  EXPECT_THAT(problem, HasSubstr("\"flag\" must be of type bool"));
}

TEST(Params, MissAValueThatNobodyGives) {
  ParamsSpec spec;
  spec.schema.push_back({.name = "depth", .type = Type::kInt});

  EXPECT_THAT(Problem(spec, {}, {}), HasSubstr("parameter \"depth\" has no value"));
  EXPECT_EQ(Problem(spec, {{"p.yaml", Json(R"({"depth": 1})")}}, {}), "");
  EXPECT_EQ(Problem(spec, {}, {{"depth", Value(1)}}), "");
}

TEST(Params, HoldToTheTypesOfTheFileWithoutASchema) {
  const Files files = {
      {"p.yaml",
       Json(R"({"depth": 6, "name": "x", "train": {"rate": 0.1}, "none": null, "list": [1]})")}};

  EXPECT_EQ(Problem({}, files,
                    {{"depth", Value(8)},
                     {"name", Value(5)},
                     {"train.rate", Value(1)},
                     {"none", Value("x")}}),
            "");
  EXPECT_EQ(Problem({}, files, {{"depth", Value(0.5)}}),
            "parameter \"depth\" is of type int in its file, 0.5 is not");
  EXPECT_EQ(Problem({}, files, {{"list", Value(5)}}),
            "parameter \"list\" is of type list in its file, 5 is not");
  EXPECT_EQ(Problem({}, files, {{"train", Value(5)}}),
            "parameter \"train\" is of type map in its file, 5 is not");
  EXPECT_EQ(Problem({}, files, {{"dept", Value(5)}}),
            "unknown parameter \"dept\"; did you mean \"depth\"?");
  EXPECT_EQ(Problem({}, {{"p.yaml", Value(5)}}, {}), "p.yaml must hold a map");
}

TEST(Params, LetOnlyTheExperimentLaneDifferWhenTheFileSaysSo) {
  ParamsSpec spec = Schema();
  spec.experiment_only = true;

  EXPECT_THAT(Problem(spec, {}, {{"train.depth", Value(8)}}),
              HasSubstr("only the experiment lane"));
  EXPECT_EQ(Problem(spec, {}, {{"train.depth", Value(8)}}, "experiment"), "");
  EXPECT_EQ(Problem(spec, {}, {}), "");
}

TEST(Params, ForgetTheSourcesOfWhatIsReplaced) {
  const Files files = {{"a.yaml", Json(R"({"x": {"a": 1, "b": 2}})")},
                       {"b.yaml", Json(R"({"x": 5})")},
                       {"c.yaml", Json(R"({"x": {"c": 3}})")}};

  const auto params = ResolveParams({}, files, {}, "production");

  ASSERT_TRUE(params.ok()) << params.status();
  EXPECT_EQ(ToJson(params->values), R"({"x":{"c":3}})");
  EXPECT_THAT(params->sources, ElementsAre(Pair("x.c", "c.yaml")));
}

TEST(ParamText, GivesTypesOnlyWhereNothingIsLost) {
  EXPECT_EQ(ParseParamText("1"), Value(1));
  EXPECT_EQ(ParseParamText("-0.5"), Value(-0.5));
  EXPECT_EQ(ParseParamText("true"), Value(true));
  EXPECT_EQ(ParseParamText("null"), Value());
  EXPECT_EQ(ParseParamText("text"), Value("text"));
  EXPECT_EQ(ParseParamText(""), Value(""));
  EXPECT_EQ(ParseParamText("[1, 2]"), Value(Value::List{1, 2}));
  EXPECT_EQ(ParseParamText("[1, 2"), Value("[1, 2"));
  EXPECT_EQ(ParseParamText("\"5\""), Value("5"));
  EXPECT_EQ(ParseParamText("007"), Value("007"));
  EXPECT_EQ(ParseParamText("1.10"), Value("1.10"));
  EXPECT_EQ(ParseParamText("nan"), Value("nan"));
  EXPECT_EQ(ParseParamText("99999999999999999999999"), Value("99999999999999999999999"));
}

TEST(Params, OfARetryAreThoseOfTheRunButForWhatIsAskedFor) {
  ParamsSpec spec;
  spec.experiment_only = true;
  // All of `train` was given, the file's train.b with it went; `none` was NaN, which no record has as a number.
  const EffectiveParams before = {Json(R"({"train": {"a": 5}, "none": "NaN", "word": "NaN", "rate": 2.0})"),
                                  {{"train.a", "trigger"}, {"none", "p.yaml"}, {"word", "trigger"}, {"rate", "p.yaml"}}};
  const Value now = Value::Map{
      {"train", Value::Map{{"a", 1}, {"b", 2}}}, {"none", std::nan("")}, {"word", "x"}, {"rate", 3.0}};

  const auto same = ChangeParams(spec, before, now, {}, "production");
  ASSERT_TRUE(same.ok()) << same.status();
  EXPECT_EQ(ToJson(same->values), ToJson(before.values));
  EXPECT_EQ(same->sources, before.sources);

  const auto other = ChangeParams(spec, before, now, {{"none", Value("0.5")}, {"rate", Value(4)}}, "experiment");
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_EQ(ToJson(other->values), R"({"none":0.5,"rate":4.0,"train":{"a":5},"word":"NaN"})");
  EXPECT_EQ(other->sources.at("rate"), "trigger");

  EXPECT_THAT(Message(ChangeParams(spec, before, now, {{"rate", Value(4)}}, "production").status()), HasSubstr("experiment"));
  EXPECT_THAT(Message(ChangeParams(spec, before, now, {{"train.b", Value(4)}}, "experiment").status()),
              HasSubstr("unknown parameter \"train.b\""));
}

}  // namespace
}  // namespace cd4ml::core
