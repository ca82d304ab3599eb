// Consumers' contracts held against answers.
#include "agent/contract.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cd4ml/base/status.h"
#include "cd4ml/schema/compile_schema.h"

namespace cd4ml::agent {
namespace {

using ::testing::HasSubstr;

Value Json(std::string_view text) {
  absl::StatusOr<Value> value = ParseJson(text);
  EXPECT_TRUE(value.ok()) << text;
  return value.ok() ? *value : Value();
}

HttpResponse Answer(int status, std::string body) {
  HttpResponse response;
  response.status = status;
  response.headers["content-type"] = "application/json; charset=utf-8";
  response.body = std::move(body);
  return response;
}

Interaction Expecting(std::string_view response) {
  const absl::StatusOr<Contract> contract = ParseContract(Json(
      R"({"consumer": "web", "interactions": {"asks": {"request": {"path": "/x"}, "response": )" +
      std::string(response) + "}}}"), schema::CompileSchema);
  EXPECT_TRUE(contract.ok()) << contract.status();
  return contract.ok() ? contract->interactions.at(0) : Interaction();
}

TEST(Contract, IsReadWithMethodHeadersAndBody) {
  const absl::StatusOr<Contract> contract = ParseContract(Json(R"({
    "consumer": "web",
    "interactions": {"asks": {"request": {"method": "POST", "path": "/x", "headers": {"X": 1}, "body": {"a": 1}},
                              "response": {"status": 201}}}})"), schema::CompileSchema);
  ASSERT_TRUE(contract.ok()) << contract.status();
  const Interaction& asks = contract->interactions.at(0);
  EXPECT_EQ(asks.request.method, "POST");
  EXPECT_EQ(asks.request.body, "{\"a\":1}");
  EXPECT_EQ(asks.request.headers.at("X"), "1");
  EXPECT_EQ(asks.request.headers.at("Content-Type"), "application/json");
  EXPECT_EQ(asks.breach(Answer(201, "")), "");
  EXPECT_EQ(asks.breach(Answer(200, "")), "status is 200, must be 201");
}

TEST(Contract, WhatItDoesNotKnowIsNamed) {
  const auto why = [](std::string_view text) {
    return Message(ParseContract(Json(text), schema::CompileSchema).status());
  };
  EXPECT_THAT(why("{}"), HasSubstr("names no consumer"));
  EXPECT_THAT(why(R"({"consumer": "w", "interactions": {}})"), HasSubstr("no interactions"));
  EXPECT_THAT(why(R"({"consumer": "w", "interaction": {}})"),
              HasSubstr("did you mean \"interactions\"?"));
  EXPECT_THAT(
      why(R"({"consumer": "w", "interactions": {"a": {"request": {"path": "x"}, "response": {}}}})"),
      HasSubstr("begins with /"));
  const auto why_of = [&why](const std::string& more, const std::string& path = "/x") {
    return why(R"({"consumer": "w", "interactions": {"a": {"request": {"path": ")" + path + "\"" + more + R"(}, "response": {}}}})");
  };
  EXPECT_THAT(why_of(R"(, "method": "FOO BAR")"), HasSubstr("is no method"));
  EXPECT_THAT(why_of("", R"(/x\r\ny)"), HasSubstr("the path of the request"));
  EXPECT_THAT(why_of("", "/a b"), HasSubstr("the path of the request"));
  EXPECT_THAT(why_of(R"(, "headers": {"X": "a\r\nb"})"), HasSubstr("control character"));
  EXPECT_THAT(why_of(R"(, "headers": {"X Y": "a"})"), HasSubstr("cannot be the name of a header"));
  EXPECT_EQ(why_of(R"(, "method": "PATCH", "headers": {"X-Y": "a b"})"), "");
  EXPECT_THAT(why(R"({"consumer": "w", "interactions": {"a": {"request": {"path": "/x"}}}})"),
              HasSubstr("needs a request and a response"));
  EXPECT_THAT(why(R"({"consumer": "w", "interactions": {"a": {"request": {"path": "/x"},
                      "response": {"schema": {"properties": {"p": {"minimun": 1}}}}}}})"),
              HasSubstr("schema /properties/p/minimun: the keyword \"minimun\" is not supported; did you mean \"minimum\"?"));
  EXPECT_THAT(why(R"({"consumer": "w", "interactions": {"a": {"request": {"path": "/x"},
                      "response": {"schema": {"pattern": "("}}}}})"),
              HasSubstr("regular expression"));
  EXPECT_THAT(why(R"({"consumer": "w", "interactions": {"a": {"request": {"path": "/x"},
                      "response": {"schema": {"type": "float"}}}}})"),
              HasSubstr("unknown type"));
}

TEST(Contract, TheBodyIsAPartOfTheAnswer) {
  const Interaction asks =
      Expecting(R"({"status": 400, "headers": {"Content-Type": "application/json"},
                                         "body": {"field": "mileage", "detail": {"code": 7}}})");
  EXPECT_EQ(
      asks.breach(Answer(400, R"({"field":"mileage","detail":{"code":7.0,"x":1},"more":[]})")),
      "");
  EXPECT_EQ(asks.breach(Answer(200, "{}")), "status is 200, must be 400");
  EXPECT_EQ(asks.breach(Answer(400, R"({"detail":{}})")), "body.detail has no \"code\"");
  EXPECT_EQ(asks.breach(Answer(400, R"({"field":"m","detail":{"code":7}})")),
            "body.field is \"m\", must be \"mileage\"");
  EXPECT_THAT(asks.breach(Answer(400, "oops")), HasSubstr("no JSON"));
  HttpResponse html = Answer(400, "{}");
  html.headers["content-type"] = "text/html";
  EXPECT_EQ(asks.breach(html),
            "header Content-Type is \"text/html\", must be \"application/json\"");
}

TEST(Contract, ATextBodyIsTheWholeAnswer) {
  const Interaction asks = Expecting(R"({"body": "ok\n"})");
  EXPECT_EQ(asks.breach(Answer(200, "ok\n")), "");
  EXPECT_NE(asks.breach(Answer(200, "not ok")), "");
}

TEST(Contract, TheSchemaHolds) {
  const Interaction asks =
      Expecting(R"({"schema": {"type": "object", "required": ["price"], "properties": {
      "price": {"type": "number", "minimum": 1, "maximum": 9}, "id": {"type": "string", "pattern": "^r-"},
      "kind": {"enum": ["a", 2]}, "rows": {"type": "array", "items": {"type": "integer"}}}}})");
  const auto breach = [&](std::string body) {
    return asks.breach(Answer(200, std::move(body)));
  };
  EXPECT_EQ(breach(R"({"price": 9, "id": "r-1", "kind": 2.0, "rows": [1, 2.0], "other": null})"),
            "");
  EXPECT_THAT(breach("[]"), HasSubstr("body is []: "));
  EXPECT_THAT(breach("{}"), HasSubstr("body is {}: "));
  EXPECT_THAT(breach("{}"), HasSubstr("'price'"));
  EXPECT_THAT(breach(R"({"price": "9"})"), HasSubstr("body.price is \"9\": "));
  EXPECT_THAT(breach(R"({"price": 9.5})"), HasSubstr("body.price is 9.5: "));
  EXPECT_THAT(breach(R"({"price": NaN})"), HasSubstr("body.price is \"NaN\": "));
  EXPECT_THAT(breach(R"({"price": 1, "id": "x"})"), HasSubstr("body.id is \"x\": "));
  EXPECT_THAT(breach(R"({"price": 1, "kind": "b"})"), HasSubstr("body.kind is \"b\": "));
  EXPECT_THAT(breach(R"({"price": 1, "rows": [1, 1.5]})"), HasSubstr("body.rows[1] is 1.5: "));
  EXPECT_THAT(breach("<html>"), HasSubstr("no JSON"));
}

TEST(Contract, WhatEveryBodyKeepsIsKnownBefore) {
  const auto why = [](const std::string& schema) {
    return Message(ParseContract(Json(R"({"consumer": "web", "interactions": {"asks": {"request": {"path": "/x"}, "response": {"schema": )" +
                                      schema + "}}}}"), schema::CompileSchema).status());
  };
  EXPECT_THAT(why("{}"), HasSubstr("the response of interaction \"asks\" lets every answer pass"));
  EXPECT_THAT(why("true"), HasSubstr("lets every answer pass"));
  EXPECT_THAT(why(R"({"description": "anything"})"), HasSubstr("lets every answer pass"));
  EXPECT_EQ(why(R"({"type": "object"})"), "");
  EXPECT_THAT(why(R"({"pattern": "("})"), HasSubstr("pattern"));
  EXPECT_FALSE(Expecting("{}").checks_body);
  EXPECT_FALSE(Expecting(R"({"body": {}})").checks_body);
  EXPECT_FALSE(Expecting(R"({"headers": {"X": "1"}})").checks_body);
  EXPECT_TRUE(Expecting(R"({"body": {"a": 1}})").checks_body);
  EXPECT_TRUE(Expecting(R"({"status": 204})").checks_body) << "such an answer has none";
  EXPECT_TRUE(Expecting(R"({"status": 404})").checks_body) << "of a refusal the status is what counts";
}

TEST(Contract, ItsFormIsToldByWhatItHolds) {
  const auto why = [](std::string_view text) {
    return Message(ParseContract(Json(text), schema::CompileSchema).status());
  };
  EXPECT_THAT(why(R"({"openapi": "3.0.3"})"), HasSubstr("there are no paths"));
  EXPECT_THAT(why(R"({"swagger": "2.0"})"), HasSubstr("Swagger 2 are not supported"));
  EXPECT_THAT(why(R"({"asyncapi": "2.0"})"), HasSubstr("not supported"));
  EXPECT_THAT(why(R"({"consumer": {"name": "web"}, "provider": {"name": "p"}})"), HasSubstr("Pact file of web has no interactions"));
}

TEST(NearlyEqual, TakesTheLargerToleranceAndNoNaN) {
  EXPECT_TRUE(NearlyEqual(100.0, 100.9, 0, 0.01));
  EXPECT_FALSE(NearlyEqual(100.0, 101.1, 0, 0.01));
  EXPECT_TRUE(NearlyEqual(0.0, 0.5, 0.5, 0.01));
  EXPECT_TRUE(NearlyEqual(1, 1.0, 0, 0));
  EXPECT_FALSE(NearlyEqual(1.0, std::nan(""), 1e9, 1e9));
  EXPECT_FALSE(NearlyEqual(std::nan(""), std::nan(""), 1, 1));
  EXPECT_FALSE(NearlyEqual(HUGE_VAL, 5.0, 0, 1e-9)) << "a share of infinity is infinity";
  EXPECT_FALSE(NearlyEqual(int64_t{9007199254740993}, int64_t{9007199254740992}, 0, 0));
  EXPECT_FALSE(NearlyEqual(100.0, 100.0 + 2e-8, 0, 1e-10));
  EXPECT_FALSE(NearlyEqual("1", 1, 0, 0));
  EXPECT_TRUE(NearlyEqual(Json("[1, {\"a\": 2}]"), Json("[1.0, {\"a\": 2.1}]"), 0.2, 0));
  EXPECT_FALSE(NearlyEqual(Json("[1]"), Json("[1, 2]"), 9, 0));
}

TEST(FindPointer, FollowsMapsListsAndEscapes) {
  const Value value = Json(R"({"a": {"b/c": [10, {"~": 20}]}, "": 30})");
  EXPECT_EQ(*FindPointer(value, "/a/b~1c/0"), Value(10));
  EXPECT_EQ(*FindPointer(value, "/a/b~1c/1/~0"), Value(20));
  EXPECT_EQ(*FindPointer(value, "/"), Value(30));
  EXPECT_EQ(FindPointer(value, ""), &value);
  for (const char* pointer :
       {"a", "/x", "/a/b~1c/2", "/a/b~1c/-", "/a/b~1c/01x", "/a/b~1c/0/x", "/~"}) {
    EXPECT_EQ(FindPointer(value, pointer), nullptr) << pointer;
  }
}

}  // namespace
}  // namespace cd4ml::agent
