// Pact files of versions 2 and 3: requests as they are sent, and answers held against examples and matching rules.
#include "agent/pact.h"

#include "cd4ml/base/status.h"

namespace cd4ml::agent {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

Value Json(std::string_view text) {
  absl::StatusOr<Value> value = ParseJson(text);
  EXPECT_TRUE(value.ok()) << text << ": " << value.status();
  return value.ok() ? *value : Value();
}

// A file of one interaction.
absl::StatusOr<Contract> Read(const std::string& parts, const std::string& version = "3.0.0") {
  return ParsePact(Json(R"({"consumer": {"name": "dealer"}, "provider": {"name": "prices"}, "interactions": [{"description": "asks", )" +
                        parts + R"(}], "metadata": {"pactSpecification": {"version": ")" + version + "\"}}}"));
}

std::string Why(const std::string& parts, const std::string& version = "3.0.0") {
  return Message(Read(parts, version).status());
}

std::string Breach(const std::string& response, const std::string& body, const std::string& version = "3.0.0") {
  const absl::StatusOr<Contract> contract = Read(R"("request": {"method": "get", "path": "/"}, "response": )" + response, version);
  if (!contract.ok()) return "no contract: " + Message(contract.status());
  HttpResponse answer;
  answer.status = 200;
  answer.headers = {{"content-type", "application/json;charset=utf-8"}, {"x-list", "a,b"}, {"x-id", "id-77"}};
  answer.body = body;
  return contract->interactions.at(0).breach(answer);
}

// A response with a body and rules about it.
std::string Rules(const std::string& body, const std::string& rules) {
  return R"({"status": 200, "body": )" + body + R"(, "matchingRules": {"body": {)" + rules + "}}}";
}
std::string Rule(const std::string& path, const std::string& matchers, const std::string& combine = "AND") {
  return "\"" + path + R"(": {"combine": ")" + combine + R"(", "matchers": [)" + matchers + "]}";
}

TEST(Pact, TheExampleOfTheRequestIsSent) {
  const absl::StatusOr<Contract> contract = Read(
      R"("providerStates": [], "request": {"method": "post", "path": "/v1/p", "query": {"q": ["a b", "c"]},
         "headers": {"X": "1"}, "body": {"age": 3}, "matchingRules": {"body": {"$.age": {"matchers": [{"match": "date"}]}}}},
         "response": {"status": 201})");
  ASSERT_TRUE(contract.ok()) << contract.status();
  EXPECT_EQ(contract->consumer, "dealer");
  const HttpRequest& request = contract->interactions.at(0).request;
  EXPECT_EQ(request.method, "POST");
  EXPECT_EQ(request.url, "/v1/p?q=a%20b&q=c");
  EXPECT_EQ(request.body, "{\"age\":3}");
  EXPECT_EQ(request.headers.at("Content-Type"), "application/json");
  HttpResponse answer;
  answer.status = 200;
  EXPECT_EQ(contract->interactions.at(0).breach(answer), "status is 200, must be 201");
}

TEST(Pact, WithoutRulesTheExampleHoldsAndMapsMayHoldMore) {
  const std::string response = R"({"body": {"a": [1, {"b": "x"}], "n": null}})";
  EXPECT_EQ(Breach(response, R"({"a": [1.0, {"b": "x", "c": 2}], "n": null, "more": 1})"), "");
  EXPECT_EQ(Breach(response, R"({"a": [1, {"b": "y"}], "n": null})"), "body.a[1].b is \"y\", must be \"x\"");
  EXPECT_EQ(Breach(response, R"({"a": [1], "n": null})"), "body.a has 1 items, must have 2");
  EXPECT_EQ(Breach(response, R"({"a": [1, {"b": "x"}]})"), "body has no \"n\"");
  EXPECT_EQ(Breach(response, R"({"a": {}, "n": null})"), "body.a is {}, must be a list");
  EXPECT_THAT(Breach(response, "oops"), HasSubstr("no JSON"));
  EXPECT_EQ(Breach(R"({"headers": {"Content-Type": "text/plain"}, "body": "hi"})", "hi").substr(0, 19), "header Content-Type");
}

TEST(Pact, MatchersOfVersion3) {
  struct Case {
    std::string example, matcher, good, bad;
  };
  for (const Case& one : std::vector<Case>{{"\"x\"", R"({"match": "type"})", "\"any\"", "1"},
                                           {"1.5", R"({"match": "type"})", "7", "\"7\""},
                                           {"true", R"({"match": "type"})", "false", "0"},
                                           {"\"r-1\"", R"({"match": "regex", "regex": "^r-[0-9]+$"})", "\"r-22\"", "\"r-x\""},
                                           {"5", R"({"match": "integer"})", "9", "9.5"},
                                           {"5.5", R"({"match": "decimal"})", "1.25", "1"},
                                           {"5", R"({"match": "number"})", "1.25", "\"1\""},
                                           {"null", R"({"match": "null"})", "null", "0"},
                                           {"\"abc\"", R"({"match": "include", "value": "b"})", "\"xbx\"", "\"x\""},
                                           {"5", R"({"match": "equality"})", "5", "6"}}) {
    const std::string response = Rules("{\"v\": " + one.example + "}", Rule("$.v", one.matcher));
    EXPECT_EQ(Breach(response, "{\"v\": " + one.good + "}"), "") << one.matcher;
    EXPECT_THAT(Breach(response, "{\"v\": " + one.bad + "}"), HasSubstr("body.v is " + one.bad + ", must ")) << one.matcher;
  }
  const std::string either = Rules(R"({"v": 5})", Rule("$.v", R"({"match": "null"}, {"match": "integer"})", "OR"));
  EXPECT_EQ(Breach(either, R"({"v": null})"), "");
  EXPECT_EQ(Breach(either, R"({"v": 6})"), "");
  EXPECT_NE(Breach(either, R"({"v": "6"})"), "");
  const std::string both = Rules(R"({"v": 5})", Rule("$.v", R"({"match": "number"}, {"match": "integer"})"));
  EXPECT_NE(Breach(both, R"({"v": 6.5})"), "");
}

TEST(Pact, ListsHaveBoundsAndEachItemFollowsTheExample) {
  const std::string response = Rules(R"({"cars": [{"id": 1, "name": "golf"}]})", Rule("$.cars", R"({"match": "type", "min": 1, "max": 2})"));
  EXPECT_EQ(Breach(response, R"({"cars": [{"id": 7, "name": "a"}, {"id": 8, "name": "b", "x": 1}]})"), "");
  EXPECT_EQ(Breach(response, R"({"cars": []})"), "body.cars has 0 items, must have at least 1");
  EXPECT_EQ(Breach(response, R"({"cars": [{"id":1,"name":"a"},{"id":1,"name":"a"},{"id":1,"name":"a"}]})"),
            "body.cars has 3 items, must have at most 2");
  EXPECT_EQ(Breach(response, R"({"cars": [{"id": 7, "name": "a"}, {"id": 8}]})"), "body.cars[1] has no \"name\"");
  EXPECT_EQ(Breach(response, R"({"cars": [{"id": "7", "name": "a"}]})"), "body.cars[0].id is \"7\", must be a number");
  EXPECT_EQ(Breach(response, R"({"cars": {}})"), "body.cars is {}, must be a list");
}

TEST(Pact, TheMostSpecificRuleHolds) {
  const std::string response =
      Rules(R"({"cars": [{"id": 1, "kind": "x", "list": [1, 2]}]})",
            Rule("$.cars", R"({"match": "type", "min": 3})") + "," + Rule("$.cars[*].kind", R"({"match": "equality"})") + "," +
                Rule("$['cars'][*].id", R"({"match": "regex", "regex": "^[0-9]$"})"));
  EXPECT_EQ(Breach(response, R"({"cars": [{"id":1,"kind":"x","list":[9]},{"id":2,"kind":"x","list":[]},{"id":3,"kind":"x","list":[1,2,3]}]})"), "")
      << "the bound of the outer list says nothing about the inner one";
  EXPECT_THAT(Breach(response, R"({"cars": [{"id":1,"kind":"y","list":[]},{"id":2,"kind":"x","list":[]},{"id":3,"kind":"x","list":[]}]})"),
              HasSubstr("body.cars[0].kind is \"y\""));
  EXPECT_THAT(Breach(response, R"({"cars": [{"id":10,"kind":"x","list":[]},{"id":2,"kind":"x","list":[]},{"id":3,"kind":"x","list":[]}]})"),
              HasSubstr("body.cars[0].id is 10, must match"));
  const std::string map = Rules(R"({"by": {"any": 1}})", Rule("$.by", R"({"match": "values"})") + "," + Rule("$.by.*", R"({"match": "type"})"));
  EXPECT_EQ(Breach(map, R"({"by": {"vw": 5, "bmw": 6}})"), "");
  EXPECT_EQ(Breach(map, R"({"by": {"vw": "5"}})"), "body.by.vw is \"5\", must be a number");
}

TEST(Pact, HeadersMatchWithoutRegardToCaseAndSpaces) {
  EXPECT_EQ(Breach(R"({"headers": {"CONTENT-TYPE": "application/json", "X-List": "a, b"}})", ""), "");
  EXPECT_EQ(Breach(R"({"headers": {"X-Id": "id-78"}})", ""), "header X-Id is \"id-77\", must be \"id-78\"");
  EXPECT_EQ(Breach(R"({"headers": {"X-None": "1"}})", ""), "header X-None is missing");
  const std::string rule = R"({"headers": {"X-Id": "id-1"}, "matchingRules": {"header": {"X-ID": {"matchers": [{"match": "regex", "regex": ")";
  EXPECT_EQ(Breach(rule + "^id-[0-9]+$\"}]}}}}", ""), "");
  EXPECT_THAT(Breach(rule + "^no\"}]}}}}", ""), HasSubstr("must match ^no"));
}

TEST(Pact, Version2HasItsRulesInOneMap) {
  const std::string response = R"({"headers": {"X-Id": "id-1"}, "body": {"a": [{"n": 1}]}, "matchingRules": {
      "$.body.a": {"min": 1}, "$.body.a[*].n": {"match": "type"}, "$.headers.X-Id": {"match": "regex", "regex": "^id-"}}})";
  EXPECT_EQ(Breach(response, R"({"a": [{"n": 5}, {"n": 6}]})", "2.0.0"), "");
  EXPECT_THAT(Breach(response, R"({"a": []})", "2.0.0"), HasSubstr("at least 1"));
  EXPECT_THAT(Breach(response, R"({"a": [{"n": "5"}]})", "2.0.0"), HasSubstr("body.a[0].n is \"5\""));
}

TEST(Pact, WhatIsNotSupportedIsNamed) {
  const std::string request = R"("request": {"path": "/"}, )", response = R"("response": {"status": 200})";
  EXPECT_EQ(Why(request + response), "");
  EXPECT_THAT(Why(R"("providerStates": [{"name": "a golf exists"}], )" + request + response),
              AllOf(HasSubstr("interaction \"asks\""), HasSubstr("a golf exists"), HasSubstr("provider states are not supported")));
  EXPECT_THAT(Why(R"("providerState": "a golf", )" + request + response, "2.0.0"), HasSubstr("provider states are not supported"));
  EXPECT_THAT(Why(request + response, "4.0"), HasSubstr("version 4.0 of the Pact specification"));
  EXPECT_THAT(Why(R"("request": {"path": "/", "generators": {"body": {"$.a": {"type": "Uuid"}}}}, )" + response), HasSubstr("generators"));
  EXPECT_THAT(Why(request + R"("response": )" + Rules("{}", Rule("$.a", R"({"match": "timestamp"})"))), HasSubstr("the matcher \"timestamp\" is not supported"));
  EXPECT_THAT(Why(request + R"("response": )" + Rules("{}", Rule("$..a", R"({"match": "type"})"))), HasSubstr("the path"));
  EXPECT_THAT(Why(request + R"("response": )" + Rules("{}", Rule("$.a", R"x({"match": "regex", "regex": "(?=x)"})x"))), HasSubstr("regex"));
  EXPECT_THAT(Why(request + R"("response": {"matchingRules": {"status": {"": {"matchers": []}}}})"), HasSubstr("not supported"));
  EXPECT_THAT(Why(request + R"("response": {"stauts": 200})"), HasSubstr("did you mean \"status\"?"));
  EXPECT_THAT(Message(ParsePact(Json(R"({"consumer": {"name": "c"}, "messages": [{}]})")).status()), HasSubstr("messages is not supported"));
}

}  // namespace
}  // namespace cd4ml::agent
