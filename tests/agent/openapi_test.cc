// OpenAPI documents: the calls that come of their examples, and answers held against what they describe.
#include "agent/openapi.h"

#include "cd4ml/base/status.h"
#include "cd4ml/schema/compile_schema.h"
#include "cd4ml/yaml/yaml.h"
#include "tests/support/temp_dir.h"

namespace cd4ml::agent {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr std::string_view kShop = R"yaml(
openapi: 3.0.3
info: {title: shop, version: "1"}
servers: [{url: "https://prices.example/{stage}/", variables: {stage: {default: v1}}}]
paths:
  /estimate:
    post:
      operationId: estimate
      requestBody:
        required: true
        content:
          application/json:
            schema: {$ref: "#/components/schemas/Car"}
            examples:
              golf: {value: {brand: vw, age: 3}}
              old: {$ref: "#/components/examples/Old"}
      responses:
        200:
          description: a price
          headers: {X-Model: {required: true, schema: {type: string, pattern: "^[0-9a-f]+$"}}, X-Age: {schema: {type: integer}}}
          content: {application/json: {schema: {$ref: "#/components/schemas/Price"}}}
        default: {description: an error, content: {application/problem+json: {schema: {type: object}}}}
  /cars/{brand}/{id}:
    parameters:
      - {name: brand, in: path, required: true, schema: {type: string}, example: "vw/audi"}
    get:
      parameters:
        - {name: id, in: path, required: true, schema: {type: integer, default: 7}}
        - {name: fields, in: query, schema: {type: array, items: {type: string}}, example: [a, "b c"]}
        - {name: limit, in: query, schema: {type: integer}}
        - {$ref: "#/components/parameters/Tenant"}
      responses: {2XX: {description: ok}}
  /healthz: {get: {responses: {200: {description: ok, content: {text/plain: {schema: {type: string, enum: [ok]}}}}}}}
components:
  parameters: {Tenant: {name: X-Tenant, in: header, required: true, schema: {type: string}, example: t1}}
  examples: {Old: {value: {brand: vw, age: 30}}}
  schemas:
    Car:
      type: object
      required: [brand, age]
      properties: {brand: {type: string}, age: {type: integer, minimum: 0}, note: {type: string, nullable: true}}
    Price:
      type: object
      required: [price]
      properties: {price: {type: number, minimum: 0, exclusiveMinimum: true}, like: {type: array, items: {$ref: "#/components/schemas/Price"}}}
)yaml";

absl::StatusOr<Contract> Read(std::string_view text) {
  const absl::StatusOr<Value> document = yaml::MakePipelineParser()->ParseDocument(text, "shop.yaml");
  if (!document.ok()) return document.status();
  return ParseOpenApi(*document, schema::CompileSchema);
}

// Returns why the document is refused after a part of it was replaced.
std::string Why(const std::string& from, const std::string& to) {
  std::string text(kShop);
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return Message(Read(text.replace(at, from.size(), to)).status());
}

HttpResponse Answer(int status, std::string body, const std::string& type = "application/json; charset=utf-8") {
  HttpResponse response;
  response.status = status;
  response.headers = {{"x-model", "12ab"}};
  if (!type.empty()) response.headers["content-type"] = type;
  response.body = std::move(body);
  return response;
}

const Interaction& Call(const Contract& contract, const std::string& name) {
  static const Interaction none;
  for (const Interaction& one : contract.interactions) {
    if (one.name == name) return one;
  }
  ADD_FAILURE() << "no call " << name;
  return none;
}

TEST(OpenApi, EveryExampleBecomesACall) {
  const absl::StatusOr<Contract> shop = Read(kShop);
  ASSERT_TRUE(shop.ok()) << shop.status();
  EXPECT_EQ(shop->consumer, "shop");
  std::vector<std::string> names;
  for (const Interaction& one : shop->interactions) names.push_back(one.name);
  EXPECT_THAT(names, ElementsAre("GET /cars/{brand}/{id}", "POST /estimate (golf)", "POST /estimate (old)", "GET /healthz"));

  const HttpRequest& golf = Call(*shop, "POST /estimate (golf)").request;
  EXPECT_EQ(golf.method, "POST");
  EXPECT_EQ(golf.url, "/v1/estimate");
  EXPECT_EQ(golf.body, R"({"age":3,"brand":"vw"})");
  EXPECT_EQ(golf.headers.at("Content-Type"), "application/json");
  EXPECT_EQ(Call(*shop, "POST /estimate (old)").request.body, R"({"age":30,"brand":"vw"})");
  const HttpRequest& car = Call(*shop, "GET /cars/{brand}/{id}").request;
  EXPECT_EQ(car.url, "/v1/cars/vw%2Faudi/7?fields=a&fields=b%20c");
  EXPECT_EQ(car.headers.at("X-Tenant"), "t1");
}

TEST(OpenApi, TheAnswerIsHeldAgainstWhatIsDescribed) {
  const absl::StatusOr<Contract> shop = Read(kShop);
  ASSERT_TRUE(shop.ok()) << shop.status();
  const BreachOf& breach = Call(*shop, "POST /estimate (golf)").breach;
  EXPECT_EQ(breach(Answer(200, R"({"price": 1.5, "like": [{"price": 2}]})")), "");
  EXPECT_THAT(breach(Answer(200, R"({"price": 0})")), StartsWith("body.price is 0: "));
  EXPECT_THAT(breach(Answer(200, R"({"price": 1, "like": [{"price": "2"}]})")), StartsWith("body.like[0].price is \"2\": "));
  EXPECT_THAT(breach(Answer(200, "{}")), HasSubstr("'price'"));
  EXPECT_THAT(breach(Answer(200, "price: 1")), HasSubstr("no JSON"));
  EXPECT_EQ(breach(Answer(200, "{}", "text/html")), "Content-Type is \"text/html\", must be application/json");
  EXPECT_EQ(breach(Answer(200, "{}", "")), "Content-Type is \"\", must be application/json");
  EXPECT_EQ(breach(Answer(201, "x")), "status is 201, must be 200: x");
  EXPECT_EQ(breach(Answer(500, "{}", "application/problem+json")), "status is 500, must be 200: {}")
      << "what an error looks like is described, but an example must succeed";
  HttpResponse no_header = Answer(200, R"({"price": 1})");
  no_header.headers.erase("x-model");
  EXPECT_EQ(breach(no_header), "header X-Model is missing");
  HttpResponse bad_header = Answer(200, R"({"price": 1})");
  bad_header.headers["x-age"] = "old";
  EXPECT_THAT(breach(bad_header), StartsWith("header X-Age is \"old\""));
  bad_header.headers["x-age"] = "17";
  EXPECT_EQ(breach(bad_header), "");

  EXPECT_EQ(Call(*shop, "GET /cars/{brand}/{id}").breach(Answer(204, "", "")), "");
  EXPECT_EQ(Call(*shop, "GET /healthz").breach(Answer(200, "ok", "text/plain")), "");
  EXPECT_THAT(Call(*shop, "GET /healthz").breach(Answer(200, "ill", "text/plain")), StartsWith("body is \"ill\""));
}

TEST(OpenApi, TheOneOfTheExampleIsKeptByWhatThePriceServiceAnswers) {
  const absl::StatusOr<Contract> dealer =
      Read(FileBytes(CD4ML_SOURCE_DIR "/examples/used-car-price/contracts/dealer-app.openapi.yaml"));
  ASSERT_TRUE(dealer.ok()) << dealer.status();
  ASSERT_EQ(dealer->interactions.size(), 3u);
  for (const Interaction& one : dealer->interactions) {
    EXPECT_EQ(one.request.url, "/v1/estimate");
    EXPECT_EQ(one.breach(Answer(200, R"({"model": "608ac2df", "price": 3361.0207450797184, "request_id": "b8f173556d0f97d9"})")), "");
    EXPECT_NE(one.breach(Answer(200, R"({"model": "608ac2df", "price": 0.5, "request_id": "b8f173556d0f97d9"})")), "");
  }
}

TEST(OpenApi, AnExampleIsPutTogetherFromTheSchema) {
  const std::string text = R"yaml(
openapi: 3.1.0
info: {title: t}
paths:
  /p:
    post:
      requestBody:
        content:
          application/json:
            schema:
              allOf: [{$ref: "#/components/schemas/Base"}, {type: object, properties: {tags: {type: array, items: {enum: [x, y]}}}}]
      responses: {200: {description: ok}}
components:
  schemas: {Base: {type: object, required: [a], properties: {a: {type: integer, default: 5}, b: {type: [string, "null"], examples: [q]}, c: {type: string}}}}
)yaml";
  const absl::StatusOr<Contract> contract = Read(text);
  ASSERT_TRUE(contract.ok()) << contract.status();
  EXPECT_EQ(contract->interactions.at(0).request.body, R"({"a":5,"b":"q","tags":["x"]})");
  std::string without = text;
  without.replace(without.find(", default: 5"), 12, "");
  EXPECT_THAT(Message(Read(without).status()), HasSubstr("there is no example of the body"));
}

TEST(OpenApi, WhatIsNotSupportedIsNamedAndNeverPassedOver) {
  const std::string golf = "golf: {value: {brand: vw, age: 3}}";
  EXPECT_THAT(Why(golf, "golf: {value: {brand: vw}}"), AllOf(HasSubstr("/paths/~1estimate/post/requestBody"),
                                                             HasSubstr("does not fit its own schema"), HasSubstr("'age'")));
  EXPECT_THAT(Why(golf, "golf: {externalValue: x.json}"), HasSubstr("\"externalValue\" is not known or not supported"));
  EXPECT_THAT(Why("openapi: 3.0.3", "openapi: 3.2.0"), HasSubstr("3.2.0 is not supported"));
  EXPECT_THAT(Why("operationId: estimate", "callbacks: {}"), HasSubstr("\"callbacks\" is not known or not supported"));
  EXPECT_THAT(Why("operationId: estimate", "security: [{key: []}]"), HasSubstr("credentials"));
  EXPECT_THAT(Why("info: {title", "webhooks: {}\ninfo: {title"), HasSubstr("\"webhooks\""));
  EXPECT_THAT(Why("info: {title", "security: [{key: []}]\ninfo: {title"), HasSubstr("credentials"));
  EXPECT_THAT(Why("application/json:\n            schema", "multipart/form-data:\n            schema"),
              HasSubstr("multipart/form-data is not supported"));
  EXPECT_THAT(Why(", in: header, required: true, schema: {type: string}, example: t1}",
                  ", in: cookie, required: true, schema: {type: string}, example: t1}"),
              HasSubstr("parameters in \"cookie\" are not supported"));
  EXPECT_THAT(Why(", example: \"vw/audi\"}", "}"), HasSubstr("no example of its parameter \"brand\""));
  EXPECT_THAT(Why("example: [a, \"b c\"]", "example: [a], style: spaceDelimited"), HasSubstr("only the style \"form\""));
  EXPECT_THAT(Why("$ref: \"#/components/examples/Old\"", "$ref: \"#/components/examples/New\""), HasSubstr("nothing at"));
  EXPECT_THAT(Why("$ref: \"#/components/examples/Old\"", "$ref: \"other.yaml#/Old\""), HasSubstr("another document"));
  EXPECT_THAT(Why("Old: {value: {brand: vw, age: 30}}", "Old: {$ref: \"#/components/examples/Old\"}"), HasSubstr("circle"));
  EXPECT_THAT(Why("type: integer, minimum: 0}", "type: integer, unevaluatedItems: false}"), HasSubstr("unevaluatedItems"));
  EXPECT_THAT(Why("{2XX: {description: ok}}", "{404: {description: none}}"), HasSubstr("describes no success"));
  EXPECT_THAT(Why("{2XX: {description: ok}}", "{ok: {description: none}}"), HasSubstr("is no status"));
  EXPECT_THAT(Why("/cars/{brand}/{id}:", "/cars/{brand}/{id}/{more}:"), HasSubstr("is no parameter"));
}

}  // namespace
}  // namespace cd4ml::agent
