// Schemas as consumers write them, held against good and bad values.
#include <cmath>

#include "cd4ml/base/status.h"
#include "cd4ml/schema/compile_schema.h"

namespace cd4ml::schema {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

Value Json(std::string_view text) {
  absl::StatusOr<Value> value = ParseJson(text);
  EXPECT_TRUE(value.ok()) << text << ": " << value.status();
  return value.ok() ? *value : Value();
}

std::string Breach(std::string_view schema, const Value& value, std::string_view pointer = "") {
  const auto compiled = CompileSchema(Json(schema), pointer);
  return compiled.ok() ? (*compiled)->Breach(value, "body") : "no schema: " + Message(compiled.status());
}

std::string Why(std::string_view schema, std::string_view pointer = "") {
  return Message(CompileSchema(Json(schema), pointer).status());
}

struct Case {
  const char* schema;
  const char* good;  // A list of values that fit.
  const char* bad;
};

TEST(Schema, EachKeywordTakesTheGoodAndRefusesTheBad) {
  const std::vector<Case> cases = {
      {R"({"type": "integer"})", "[1, 2.0, -9007199254740993]", R"([1.5, "1", true, null, [1], NaN])"},
      {R"({"type": "number"})", "[1, 2.5]", R"(["1", true, NaN, Infinity, {}])"},
      {R"({"type": ["string", "null"]})", R"(["", null])", "[0, {}]"},
      {R"({"type": "string", "nullable": true})", R"(["a", null])", "[1]"},
      {R"({"enum": ["a", 2, null]})", R"(["a", 2.0, null])", R"(["b", "2", 0])"},
      {R"({"const": {"a": [1]}})", R"([{"a": [1.0]}])", R"([{"a": [2]}, {}])"},
      {R"({"const": 1, "enum": [1, 2]})", "[1]", "[2]"},
      {R"({"required": ["a"], "properties": {"a": {"type": "string"}}})", R"([{"a": "x", "b": 1}, 7])", R"([{}, {"a": 1}])"},
      {R"({"properties": {"a": {}}, "additionalProperties": false})", R"([{"a": 1}, {}])", R"([{"b": 1}])"},
      {R"({"additionalProperties": {"type": "number"}})", R"([{"a": 1}])", R"([{"a": "1"}])"},
      {R"({"patternProperties": {"^n_": {"type": "number"}}, "additionalProperties": false})", R"([{"n_a": 1}])",
       R"([{"n_a": "1"}, {"m": 1}])"},
      {R"({"properties": {"n_a": {"maximum": 5}}, "patternProperties": {"^n_": {"type": "number"}}})",
       R"([{"n_a": 1, "x": "y"}])", R"([{"n_a": 6}, {"n_a": "1"}])"},
      {R"({"propertyNames": {"pattern": "^[a-z]+$"}})", R"([{"abc": 1}])", R"([{"A": 1}])"},
      {R"({"minProperties": 1, "maxProperties": 2})", R"([{"a": 1}])", R"([{}, {"a": 1, "b": 2, "c": 3}])"},
      {R"({"dependencies": {"a": ["b"]}})", R"([{"a": 1, "b": 1}, {}])", R"([{"a": 1}])"},
      {R"({"dependentRequired": {"a": ["b"]}})", R"([{"b": 1}])", R"([{"a": 1}])"},
      {R"({"dependentSchemas": {"a": {"required": ["b"]}}})", R"([{"b": 1}])", R"([{"a": 1}])"},
      {R"({"items": {"type": "number"}})", "[[], [1, 2]]", R"([["1"], [1, null]])"},
      {R"({"prefixItems": [{"type": "number"}], "items": {"type": "string"}})", R"([[1, "a"], [1]])", R"([["a"], [1, 2]])"},
      {R"({"items": [{"type": "number"}]})", R"([[1, "a"], []])", R"([["a"]])"},
      {R"({"items": [{}], "additionalItems": false})", "[[1]]", "[[1, 2]]"},
      {R"({"contains": {"const": 3}})", "[[1, 3]]", "[[], [1]]"},
      {R"({"minItems": 1, "maxItems": 2, "uniqueItems": true})", "[[1], [1, 2]]", "[[], [1, 1], [1, 2, 3]]"},
      {R"({"minLength": 2, "maxLength": 3})", R"(["äö", "abc", 5])", R"(["ä", "abcd"])"},
      {R"({"pattern": "^r-"})", R"(["r-1", 7])", R"(["x", "xr-"])"},
      {R"({"format": "date"})", R"(["2024-02-29"])", R"(["2024-13-01", "29.2.2024", "2024-02-29T10:00:00Z"])"},
      {R"({"format": "date-time"})", R"(["2024-02-29T10:00:00.5Z", "2024-02-29T10:00:00+02:00"])", R"(["2024-02-29", "now"])"},
      {R"({"format": "uuid"})", R"(["123e4567-e89b-12d3-a456-426614174000"])", R"(["123"])"},
      {R"({"type": "integer", "format": "int32"})", "[2147483647]", "[2147483648]"},
      {R"({"minimum": 1, "maximum": 9})", R"([1, 9, "0"])", "[0.999, 9.5]"},
      {R"({"exclusiveMinimum": 1, "exclusiveMaximum": 9})", "[1.01]", "[1, 9]"},
      {R"({"minimum": 1, "exclusiveMinimum": true})", "[1.5]", "[1, 0]"},
      {R"({"minimum": 1, "exclusiveMinimum": false})", "[1]", "[0]"},
      {R"({"multipleOf": 0.01})", "[19.99, 0, 3, -0.07]", "[19.995]"},
      {R"({"multipleOf": 2})", "[4, 4.0]", "[3, 4.5]"},
      {R"({"allOf": [{"minimum": 1}, {"maximum": 2}]})", "[1.5]", "[0, 3]"},
      {R"({"anyOf": [{"type": "string"}, {"maximum": 2}]})", R"(["a", 1])", "[3]"},
      {R"({"oneOf": [{"minimum": 1}, {"maximum": 2}]})", "[0, 3]", "[1.5]"},
      {R"({"not": {"type": "string"}})", "[1]", R"(["a"])"},
      {R"({"if": {"type": "string"}, "then": {"minLength": 2}, "else": {"minimum": 5}})", R"(["ab", 5])", R"(["a", 4])"},
      {R"({"properties": {"enum": {"pattern": "^a"}, "$texts": {"pattern": "^b"}}})", R"([{"enum": "a", "$texts": "b"}])",
       R"([{"enum": "b"}, {"$texts": "a"}])"},
      {R"({"properties": {"a": true, "b": false}})", R"([{"a": 1}])", R"([{"b": 1}])"}};
  for (const Case& one : cases) {
    const Value good = Json(one.good), bad = Json(one.bad);
    for (const Value& value : good.list()) EXPECT_EQ(Breach(one.schema, value), "") << one.schema << ToJson(value);
    for (const Value& value : bad.list()) {
      const std::string breach = Breach(one.schema, value);
      EXPECT_THAT(breach, StartsWith("body")) << one.schema << ToJson(value);
    }
  }
}

TEST(Schema, ABreachSaysWhereAndWhatWasThere) {
  constexpr const char* kSchema = R"({"properties": {"rows": {"items": {"properties": {"price": {"type": "number"}}}}}})";
  EXPECT_THAT(Breach(kSchema, Json(R"({"rows": [{"price": 1}, {"price": NaN}]})")),
              AllOf(StartsWith("body.rows[1].price is \"NaN\": "), HasSubstr("'type'")));
  EXPECT_EQ(Breach(R"({"pattern": "^r-"})", Value("x")), "body is \"x\": it is none of the allowed values");
  EXPECT_LT(Breach(R"({"type": "number"})", Value(std::string(5000, 'x'))).size(), 300u);
}

TEST(Schema, ReferencesAreFollowedAlsoInCirclesOfTheData) {
  constexpr const char* kTree = R"({"components": {"schemas": {"Tree": {
      "type": "object", "required": ["value"], "properties": {"value": {"$ref": "#/components/schemas/V~1alue"},
      "children": {"type": "array", "items": {"$ref": "#/components/schemas/Tree"}}}}, "V/alue": {"type": "number"}}}})";
  const char* at = "/components/schemas/Tree";
  EXPECT_EQ(Breach(kTree, Json(R"({"value": 1, "children": [{"value": 2, "children": []}]})"), at), "");
  EXPECT_THAT(Breach(kTree, Json(R"({"value": 1, "children": [{"value": "2"}]})"), at), StartsWith("body.children[0].value is"));
  EXPECT_THAT(Breach(R"({"$ref": "#/definitions/a", "minimum": 5, "definitions": {"a": {"type": "number"}}})", Value(4)),
              HasSubstr("body is 4"))
      << "what stands beside a reference holds, too";
}

TEST(Schema, WhatCannotBeCheckedIsAnErrorThatSaysWhere) {
  EXPECT_THAT(Why(R"({"properties": {"p": {"minimun": 1}}})"),
              AllOf(HasSubstr("/properties/p/minimun"), HasSubstr("did you mean \"minimum\"?")));
  for (const char* schema :
       {R"({"unevaluatedProperties": false})", R"({"$dynamicRef": "#x"})", R"({"minContains": 2})", R"({"nullable": true})",
        R"({"type": "float"})", R"({"pattern": "("})", R"x({"pattern": "(?=x)"})x", R"({"format": "iban"})", R"({"enum": []})",
        R"({"multipleOf": 0})", R"({"multipleOf": -1})", R"({"minLength": -1})", R"({"maxItems": 1.5})", R"({"allOf": []})",
        R"({"required": "a"})", R"({"properties": []})", R"({"items": 3})", R"({"minimum": "1"})", R"({"uniqueItems": 1})",
        R"({"exclusiveMinimum": true})", R"({"$ref": "other.json#/a"})", R"({"$ref": "#/nowhere"})", R"({"$ref": 3})",
        R"({"patternProperties": {"(": {}}})", "[]", R"({"not": 5})", R"({"dependentRequired": {"a": {}}})",
        R"({"prefixItems": {}})"}) {
    EXPECT_THAT(Why(schema), StartsWith("schema /")) << schema;
  }
  EXPECT_THAT(Why(R"({"a": {"$ref": "#/b"}, "b": {"anyOf": [{"type": "string"}, {"$ref": "#/a"}]}})", "/a"),
              HasSubstr("refers to itself in a circle"));
  EXPECT_THAT(Why(R"({"$ref": "#"})"), HasSubstr("circle"));
}

TEST(Schema, AnEvilAnswerCostsNeitherTimeNorTheStack) {
  EXPECT_EQ(Breach(R"({"pattern": "^(a+)+$"})", Value(std::string(1'000'000, 'a') + "b")).substr(0, 10), "body is \"a");
  EXPECT_EQ(Breach(R"({"format": "date-time"})", Value(std::string(4'000'000, '1'))).substr(0, 10), "body is \"1");
  Value::List many;
  for (int i = 0; i < 100'000; ++i) many.push_back("text " + std::to_string(i));
  EXPECT_THAT(Breach(R"({"items": {"pattern": "x"}})", many), HasSubstr("too many for the patterns"));
  EXPECT_THAT(Breach(R"({"uniqueItems": true})", many), HasSubstr("too many to find out"));
  std::string deep(60, '[');
  EXPECT_EQ(Breach(R"({"items": {"$ref": "#"}})", Json(deep + std::string(60, ']'))), "");
}

}  // namespace
}  // namespace cd4ml::schema
