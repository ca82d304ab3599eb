// What is found about contracts and protocols before a run: files that are missing, cannot be used or ask for nothing.
#include "agent/contract_checker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cd4ml/rpc/connect_method.h"
#include "cd4ml/schema/compile_schema.h"
#include "cd4ml/yaml/yaml.h"

namespace cd4ml::agent {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::string_view kOpenApi = R"yaml(
openapi: 3.0.3
info: {title: shop, version: "1"}
paths:
  /price: {get: {responses: {200: {description: ok, content: {application/json: {schema: {type: object}}}}}}}
  /cars: {get: {responses: {200: {description: ok, content: {application/json: {schema: {}}}}}}}
  /gone: {delete: {responses: {204: {description: ok}}}}
  /bare: {get: {responses: {200: {description: ok}}}}
)yaml";
constexpr std::string_view kPact = R"json({"consumer": {"name": "app"}, "provider": {"name": "shop"}, "interactions": [
  {"description": "a price", "request": {"method": "GET", "path": "/p"}, "response": {"status": 200, "body": {"id": "r-1"},
   "matchingRules": {"body": {"$.id": {"matchers": [{"match": "regex", "regex": "REGEX"}]}}}}}],
  "metadata": {"pactSpecification": {"version": "3.0.0"}}})json";
constexpr std::string_view kProto = R"(
syntax = "proto3";
package shop;
message Car { string brand = 1; }
service Prices { rpc Estimate(Car) returns (Car); }
)";

class ContractFiles : public ::testing::Test {
 protected:
  // Returns the findings, each with its severity and place, of a gate with these rules.
  std::vector<std::string> Find(const std::string& rules) {
    const std::unique_ptr<PipelineParser> parser = yaml::MakePipelineParser();
    const ParsedPipeline parsed = parser->Parse(
        "format: 1\npipeline: shop\nstages:\n  pack: {kind: package, run: x, runtime: host, outputs: {service: {path: d, type: deployable}, "
        "probe: {path: p, type: probe_set}}}\n  gate:\n    kind: contract_gate\n    serve: {package: pack.service, run: x}\n    rules:\n" +
            rules, "shop.cd4ml.yaml", nullptr);
    std::vector<std::string> found;
    for (const core::Diagnostic& one : MakeContractChecker(*parser, schema::CompileSchema, rpc::ConnectMethod)(
             parsed.spec, [this](const std::string& path) -> absl::StatusOr<std::string> {
               const auto file = files_.find(path);
               if (file == files_.end()) return absl::NotFoundError("the commit has no file " + path);
               return std::string(file->second);
             })) {
      EXPECT_EQ(one.code, core::code::kBadContract);
      found.push_back((one.severity == core::Severity::kError ? "error " : "warning ") + std::to_string(one.place.line) + ": " + one.message);
    }
    return found;
  }

  std::map<std::string, std::string> files_;
};

TEST_F(ContractFiles, GoodFilesHaveNoFindings) {
  files_["web.yaml"] = "consumer: web\ninteractions: {a: {request: {path: /x}, response: {body: {a: 1}}}}";
  files_["p/shop.proto"] = kProto;
  EXPECT_THAT(Find("      web: {contract: web.yaml}\n"
                   "      grpc: {probe: pack.probe, request: {grpc: shop.Prices/Estimate, json: row, proto: p/shop.proto}, "
                   "answer: {json: /brand, equals: row.brand}}\n      small: {memory: {max: 1GiB}}\n"),
              IsEmpty());
}

TEST_F(ContractFiles, AFileThatCannotBeUsedIsAnErrorAtItsRule) {
  files_["empty.yaml"] = "consumer: web\ninteractions: {a: {request: {path: /x}, response: {schema: {}}}}";
  files_["regex.yaml"] = "consumer: web\ninteractions: {a: {request: {path: /x}, response: {schema: {type: string, pattern: '('}}}}";
  files_["schema.yaml"] = "consumer: web\ninteractions: {a: {request: {path: /x}, response: {schema: {type: nonsense}}}}";
  files_["broken.yaml"] = "consumer: [web";
  files_["swagger.yaml"] = "swagger: '2.0'";
  std::string pact(kPact);
  files_["pact.json"] = pact.replace(pact.find("REGEX"), 5, "(");
  files_["bad.proto"] = "syntax = \"proto3\"; message {";
  files_["shop.proto"] = kProto;
  const auto found = Find(
      "      a: {contract: gone.yaml}\n      b: {contract: empty.yaml}\n      c: {contract: regex.yaml}\n      d: {contract: schema.yaml}\n"
      "      e: {contract: broken.yaml}\n      f: {contract: swagger.yaml}\n      g: {contract: pact.json}\n"
      "      h: {probe: pack.probe, request: {grpc: shop.Prices/Estimate, json: row, proto: bad.proto}, answer: {json: /b, equals: row.b}}\n"
      "      i: {probe: pack.probe, request: {grpc: shop.Prices/Estimates, json: row, proto: shop.proto}, answer: {json: /b, equals: row.b}}\n");
  EXPECT_THAT(found, ElementsAre(
      HasSubstr("error 9: there is no contract \"gone.yaml\""), AllOf(HasSubstr("error 10: "), HasSubstr("lets every answer pass")),
      AllOf(HasSubstr("error 11: "), HasSubstr("pattern")), AllOf(HasSubstr("error 12: "), HasSubstr("nonsense")),
      AllOf(HasSubstr("error 13: "), HasSubstr("broken.yaml")), AllOf(HasSubstr("error 14: "), HasSubstr("Swagger 2")),
      AllOf(HasSubstr("error 15: "), HasSubstr("regex")), AllOf(HasSubstr("error 16: "), HasSubstr("bad.proto:1:")),
      AllOf(HasSubstr("error 17: "), HasSubstr("did you mean \"shop.Prices/Estimate\"?"))));
}

TEST_F(ContractFiles, AContractThatAsksForLessThanItSeemsToIsAWarning) {
  files_["openapi.yaml"] = kOpenApi;
  files_["web.yaml"] = "consumer: web\ninteractions: {a: {request: {path: /x}, response: {status: 200}}, b: {request: {path: /x}, response: {}},"
                       " c: {request: {path: /x}, response: {}}, d: {request: {path: /x}, response: {}}}";
  files_["pact.json"] = R"({"consumer": {"name": "app"}, "provider": {"name": "shop"}, "interactions": [{"description": "a price",
    "request": {"method": "GET", "path": "/p"}, "response": {"status": 200}}]})";
  const auto found = Find("      a: {contract: openapi.yaml}\n      b: {contract: web.yaml}\n      c: {contract: pact.json}\n");
  EXPECT_THAT(found, ElementsAre(
      AllOf(HasSubstr("warning 9: "), HasSubstr("says nothing about the body of the answer to \"GET /bare\", \"GET /cars\"")),
      HasSubstr("warning 10: contract \"web.yaml\" says nothing about the body of the answer to \"a\", \"b\", \"c\" and 1 more"),
      AllOf(HasSubstr("warning 11: "), HasSubstr("\"a price\""))));
}

}  // namespace
}  // namespace cd4ml::agent
