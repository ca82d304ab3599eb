// The rules of a contract gate against a service that is good, nearly good, or good only to its own unit tests.
#include <filesystem>

#include "cd4ml/base/status.h"
#include "cd4ml/http/connect.h"
#include "cd4ml/rpc/connect_method.h"
#include "tests/agent/fixture.h"

namespace cd4ml::agent {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// A shop that answers POST /price {"x": 3} with {"price": 6.0, "id": "r-3"}; its file `deviation` says by how much it is
// off, for which rows, and what it does to memory.
constexpr std::string_view kServer = R"py(
import http.server, itertools, json, os, time
asked = itertools.count()
deviation = json.load(open("deviation"))
hoard = [bytearray(b"x" * (deviation.get("takes", 0) << 20))]
for _ in range(deviation.get("children", 0)):
    has_eaten, eaten = os.pipe()
    if os.fork() == 0:
        hoard.append(bytearray(b"y" * (30 << 20)))
        os.write(eaten, b".")
        time.sleep(3600)
    os.read(has_eaten, 1)
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *args): pass
    def answer(self, status, body, kind="application/json; charset=utf-8"):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
    def do_GET(self): self.answer(200, {"status": "ok"})
    def do_POST(self):
        row = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if "x" not in row: return self.answer(422, {"field": "x"}, "application/problem+json")
        off = deviation.get("off", 0) if row["x"] <= deviation.get("rows", 99) else 0
        if next(asked) >= deviation.get("tires", 10**9): off = 1
        self.answer(200, {"price": row["x"] * 2.0 + off, "id": "r-%d" % row["x"], "cars": [{"n": 1}, {"n": 2}]})
class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128
Server(("127.0.0.1", int(os.environ["CD4ML_PORT"])), Handler).serve_forever()
)py";

constexpr std::string_view kOpenApi = R"yaml(
openapi: 3.0.3
info: {title: dealer-app, version: "2"}
paths:
  /price:
    post:
      requestBody: {content: {application/json: {schema: {$ref: "#/components/schemas/Row"}, examples: {small: {value: {x: 1}}, large: {value: {x: 90}}}}}}
      responses:
        200: {description: a price, content: {application/json: {schema: {$ref: "#/components/schemas/Price"}}}}
        422: {description: a field is missing}
  /healthz: {get: {responses: {200: {description: ok}}}}
components:
  schemas:
    Row: {type: object, required: [x], properties: {x: {type: integer}}}
    Price:
      type: object
      required: [price, id]
      properties: {price: {type: number, maximum: 180}, id: {type: string, pattern: "^r-"}}
)yaml";

constexpr std::string_view kPact = R"json({
  "consumer": {"name": "mobile"}, "provider": {"name": "prices"},
  "interactions": [
    {"description": "a price", "providerStates": [],
     "request": {"method": "POST", "path": "/price", "body": {"x": 7}},
     "response": {"status": 200, "headers": {"Content-Type": "application/json"},
       "body": {"price": 1.0, "id": "r-1", "cars": [{"n": 5}]},
       "matchingRules": {"body": {"$.price": {"matchers": [{"match": "decimal"}]},
         "$.id": {"matchers": [{"match": "regex", "regex": "^r-[0-9]+$"}]},
         "$.cars": {"matchers": [{"match": "type", "min": 2}]}}}}},
    {"description": "a field is missing", "request": {"method": "POST", "path": "/price", "body": {"y": 7}},
     "response": {"status": 422, "body": {"field": "x"}}}],
  "metadata": {"pactSpecification": {"version": "3.0.0"}}})json";

constexpr std::string_view kProto = R"(
syntax = "proto3";
package shop;
import "parts.proto";
import "google/protobuf/timestamp.proto";
message Car { string brand = 1; double age = 2; int64 id = 3; google.protobuf.Timestamp seen = 4; }
service Prices {
  rpc Estimate(Car) returns (Price);
  rpc Refuses(Car) returns (Price);
  rpc Garbage(Car) returns (Price);
  rpc Silent(Car) returns (Price);
  rpc Dies(Car) returns (Price);
  rpc Many(stream Car) returns (Price);
}
)";
constexpr std::string_view kParts = R"(
syntax = "proto3";
package shop;
message Price { double price = 1; int64 id = 2; string note = 3; }
)";

class ContractGate : public ::testing::Test {
 protected:
  ContractGate() {
    world_.http_client = http::MakeHttpClient;
    world_.load_client = [this] { return http::MakeLoadClient(*world_.clock); };
    world_.grpc_method = rpc::ConnectMethod;
    world_.config.answer_timeout = Duration(5'000);
    world_.repos.files["openapi.yaml"] = kOpenApi;
    world_.repos.files["mobile.json"] = kPact;
    world_.repos.files["protos/prices.proto"] = kProto;
    world_.repos.files["protos/parts.proto"] = kParts;
    std::string probe;
    for (int x = 1; x <= 10; ++x) {
      probe += "{\"input\": {\"x\": " + std::to_string(x) + "}, \"prediction\": " + std::to_string(x * 2) + "}\n";
    }
    probe_ = probe;
  }

  // Judges by these rules a package that holds the given files.
  core::Outcome Judge(const std::string& rules, const std::map<std::string, std::string>& files,
                      const std::string& run = "exec /usr/bin/python3 server.py", const std::string& ready = "http: /healthz, ",
                      const std::string& runtime = "", const std::string& within = "20s") {
    const std::string folder = "package" + std::to_string(++number_);
    for (const auto& [name, text] : files) world_.dir.Write(folder + "/" + name, text);
    Task task = world_.TaskOf("format: 1\npipeline: shop\nstages:\n  pack: {kind: package, " + runtime +
                                  "run: 'true', outputs: {service: {path: dist, type: deployable}, probe: {path: p, type: probe_set}}}\n"
                                  "  gate:\n    kind: contract_gate\n    grace: 100ms\n    serve: {package: pack.service, run: " +
                                  ToJson(Value(run)) + ", ready: {" + ready + "within: " + within + "}}\n    rules:\n" + rules,
                              "gate", number_);
    task.inputs["pack.service"] = {world_.StoreTree(world_.dir.At(folder)), "dist", "", std::nullopt};
    task.inputs["pack.probe"].artifact = world_.Store(probe_);
    return world_.Perform(task);
  }
  core::Outcome Judge(const std::string& rules, const std::string& deviation) {
    return Judge(rules, {{"server.py", std::string(kServer)}, {"deviation", deviation}});
  }

  static core::RuleResult Rule(const core::Outcome& outcome, const std::string& name) {
    if (outcome.verdict) {
      for (const core::RuleResult& rule : outcome.verdict->rules) {
        if (rule.name == name) return rule;
      }
    }
    ADD_FAILURE() << "no rule " << name << ": " << outcome.message;
    return {};
  }

  World world_;
  std::string probe_;
  int number_ = 0;
};

std::string Probe(const std::string& tolerance) {
  return "      parity: {probe: pack.probe, request: {post: /price, json: row.input}, "
         "answer: {json: /price, equals: row.prediction" + tolerance + "}}\n";
}

TEST_F(ContractGate, AGoodServiceKeepsEveryFormOfContract) {
  const core::Outcome outcome = Judge(Probe(", rel_tol: 1.0e-9") +
      "      dealer: {contract: openapi.yaml}\n      mobile: {contract: mobile.json}\n"
      "      fast: {latency: {p50: 20s, p95: 20s, p99: 20s, requests: 40, concurrency: 4}}\n      small: {memory: {max: 500MiB}}\n", "{}");
  EXPECT_EQ(outcome.state, core::AttemptState::kSucceeded) << outcome.message;
  EXPECT_EQ(Rule(outcome, "parity").sample_size, 10);
  EXPECT_EQ(Rule(outcome, "dealer").sample_size, 3);
  EXPECT_EQ(Rule(outcome, "dealer").subject, "dealer-app");
  EXPECT_EQ(Rule(outcome, "mobile").sample_size, 2);
  EXPECT_EQ(Rule(outcome, "fast").sample_size, 40);
  EXPECT_THAT(Rule(outcome, "fast").message, AllOf(HasSubstr("p50 "), HasSubstr("p99 "), HasSubstr("requests/s")));
  EXPECT_GT(*Rule(outcome, "small").observed_number, 5);
  EXPECT_LT(*Rule(outcome, "small").observed_number, 200);
}

TEST_F(ContractGate, EveryFormOfContractIsBrokenByTheRightAnswer) {
  const core::Outcome outcome = Judge("      dealer: {contract: openapi.yaml}\n      mobile: {contract: mobile.json}\n", R"({"off": 1})");
  EXPECT_EQ(outcome.reason, core::Reason::kGateRejected);
  EXPECT_THAT(Rule(outcome, "dealer").message, HasSubstr("POST /price (large): body.price is 181"));
  EXPECT_EQ(Rule(outcome, "dealer").observed, "1 broken interaction");
  EXPECT_EQ(Rule(outcome, "mobile").outcome, core::VerdictOutcome::kPass) << "to it, the price is any decimal fraction";
  world_.repos.files["mobile.json"].replace(kPact.find("\"min\": 2"), 8, "\"min\": 3");
  EXPECT_THAT(Rule(Judge("      mobile: {contract: mobile.json}\n", "{}"), "mobile").message,
              HasSubstr("a price: body.cars has 2 items, must have at least 3"));
}

TEST_F(ContractGate, ContractsThatCannotBeCheckedAreErrorsAndNotPassedOver) {
  world_.repos.files["openapi.yaml"].replace(kOpenApi.find("maximum: 180"), 12, "unevaluatedProperties: false");
  std::string pact(kPact);
  world_.repos.files["mobile.json"] = pact.replace(pact.find("\"providerStates\": []"), 20, R"("providerStates": [{"name": "a golf exists"}])");
  world_.repos.files["web.txt"] = "consumer: web";
  const core::Outcome outcome = Judge(
      "      dealer: {contract: openapi.yaml}\n      mobile: {contract: mobile.json}\n      gone: {contract: gone.yaml}\n      web: {contract: web.txt}\n", "{}");
  EXPECT_EQ(outcome.reason, core::Reason::kGateError);
  EXPECT_THAT(Rule(outcome, "dealer").message, HasSubstr("openapi.yaml: schema /components/schemas/Price/properties/price/unevaluatedProperties"));
  EXPECT_THAT(Rule(outcome, "mobile").message, HasSubstr("provider states are not supported"));
  EXPECT_THAT(Rule(outcome, "gone").message, HasSubstr("gone.yaml"));
  EXPECT_THAT(Rule(outcome, "web").message, HasSubstr("web.txt: such files end in"));
}

TEST_F(ContractGate, TolerancesAndMismatchesAreCountedExactly) {
  const std::string off = R"({"off": 0.001, "rows": 3})";
  const auto parity = [&](const std::string& tolerance) { return Rule(Judge(Probe(tolerance), off), "parity"); };
  EXPECT_EQ(parity("").observed, "3 mismatches");
  EXPECT_EQ(parity("").outcome, core::VerdictOutcome::kFail);
  EXPECT_EQ(parity(", max_mismatches: 3").outcome, core::VerdictOutcome::kPass);
  EXPECT_EQ(parity(", max_mismatches: 2").outcome, core::VerdictOutcome::kFail);
  EXPECT_EQ(parity(", abs_tol: 0.0011").outcome, core::VerdictOutcome::kPass);
  EXPECT_EQ(parity(", abs_tol: 0.0009").observed, "3 mismatches");
  EXPECT_EQ(parity(", rel_tol: 0.0003").observed, "1 mismatch") << "0.001 is more than that share of 2, and less than that of 4 and of 6";
}

TEST_F(ContractGate, ADeadServiceIsRejectedAlsoWhereRulesOnlyWarn) {
  const core::Outcome outcome =
      Judge("      small: {memory: {max: 100MiB}, severity: warn}\n", {{"x", ""}}, "echo no model; exit 3");
  EXPECT_EQ(outcome.reason, core::Reason::kGateRejected);
  EXPECT_THAT(outcome.message, HasSubstr("ended with exit code 3; its last line: no model"));
}

TEST_F(ContractGate, LatencyAloneIsThatOfTheReadinessPath) {
  const core::RuleResult fast = Rule(Judge("      fast: {latency: {p50: 20s, requests: 10}}\n", "{}"), "fast");
  EXPECT_EQ(fast.outcome, core::VerdictOutcome::kPass) << fast.message;
  EXPECT_EQ(fast.sample_size, 10);
}

TEST_F(ContractGate, AServiceThatAnswersQuicklyAndWronglyUnderLoadIsRejected) {
  const std::string rules = Probe("") + "      fast: {latency: {p99: 20s, requests: 40, concurrency: 4}}\n";
  const core::RuleResult good = Rule(Judge(rules, "{}"), "fast");
  EXPECT_EQ(good.outcome, core::VerdictOutcome::kPass);
  EXPECT_THAT(good.message, HasSubstr("all answers right under load, too"));
  const core::Outcome tired = Judge(rules, R"({"tires": 30})");
  EXPECT_EQ(Rule(tired, "parity").outcome, core::VerdictOutcome::kPass) << "the ten of the probe set were right";
  EXPECT_EQ(tired.reason, core::Reason::kGateRejected);
  EXPECT_THAT(Rule(tired, "fast").message, HasSubstr("requests under load failed: answered right without load, and now: answered "));
  // Rows that are tolerated without load are no failures under it.
  const core::RuleResult tolerated = Rule(Judge(Probe(", max_mismatches: 3") + "      fast: {latency: {p99: 20s, requests: 40}}\n",
                                                R"({"off": 5, "rows": 3})"), "fast");
  EXPECT_EQ(tolerated.outcome, core::VerdictOutcome::kPass) << tolerated.message;
  EXPECT_THAT(tolerated.message, HasSubstr("answers to 7 of the 10 requests checked"));
  EXPECT_THAT(Rule(Judge("      fast: {latency: {p99: 20s, requests: 10}}\n", "{}"), "fast").message,
              HasSubstr("only the status of the answers was checked"));
  EXPECT_EQ(Rule(Judge("      dealer: {contract: openapi.yaml}\n      fast: {latency: {p99: 20s, requests: 40}}\n", R"({"tires": 9})"), "fast").outcome,
            core::VerdictOutcome::kFail) << "a price of 181 is above what the document allows";
}

TEST_F(ContractGate, AServiceIsReadyOverGrpcWhenItsHealthSaysSo) {
  const auto judge = [&](const std::string& health, const std::string& ready, const std::string& within = "20s") {
    return Judge("      small: {memory: {max: 500MiB}}\n", {{"x", ""}}, "HEALTH=" + health + " exec " CD4ML_GRPC_SERVICE,
                 "grpc: " + ready + ", ", "", within);
  };
  EXPECT_EQ(judge("serving", "true").state, core::AttemptState::kSucceeded);
  EXPECT_EQ(judge("serving", "shop.Prices").state, core::AttemptState::kSucceeded);
  EXPECT_THAT(Judge("      fast: {latency: {p99: 20s}}\n", {{"x", ""}}, "HEALTH=serving exec " CD4ML_GRPC_SERVICE, "grpc: true, ").message,
              HasSubstr("there is no request to measure"));
  EXPECT_EQ(judge("loading", "shop.Prices").state, core::AttemptState::kSucceeded) << "it says NOT_SERVING three times before";
  EXPECT_THAT(judge("never", "true", "3s").message, HasSubstr("was not ready within 3.0s: grpc.health.v1 never said SERVING, but NOT_SERVING"));
  EXPECT_THAT(judge("serving", "shop.Other", "3s").message, HasSubstr("but status NOT_FOUND: unknown service"));
  EXPECT_THAT(judge("none", "true", "3s").message, HasSubstr("but status UNIMPLEMENTED"));
  EXPECT_THAT(Judge("      small: {memory: {max: 500MiB}}\n", {{"x", ""}}, "echo no port; exit 4", "grpc: true, ").message,
              HasSubstr("ended with exit code 4; its last line: no port"));
}

TEST_F(ContractGate, ASmallServiceWithLargeChildrenIsLarge) {
  const std::string rule = "      small: {memory: {max: 100MiB}}\n";
  EXPECT_EQ(Rule(Judge(rule, "{}"), "small").outcome, core::VerdictOutcome::kPass);
  const core::RuleResult children = Rule(Judge(rule, R"({"children": 4})"), "small");
  EXPECT_EQ(children.outcome, core::VerdictOutcome::kFail);
  EXPECT_GT(*children.observed_number, 120);
  EXPECT_EQ(children.bound, "<= 100 MiB");
  EXPECT_GT(*Rule(Judge(rule, R"({"takes": 150})"), "small").observed_number, 150);
}

TEST_F(ContractGate, ProbesOverGrpcAreComparedAsMessages) {
  probe_ = "{\"input\": {\"brand\": \"vw\", \"age\": 1.5, \"id\": 7, \"seen\": \"2024-02-29T10:00:00Z\"}, \"prediction\": 150}\n"
           "{\"input\": {\"age\": 2}, \"prediction\": 200.0000001, \"id\": 9223372036854775807}\n";
  const auto judge = [&](const std::string& method, const std::string& answer, const std::string& file = "protos/prices.proto") {
    const std::string rule = "      parity: {probe: pack.probe, request: {grpc: shop.Prices/" + method + ", json: row.input, proto: " + file +
                             "}, answer: " + answer + "}\n";
    return Rule(Judge(rule, {{"x", ""}}, "exec " CD4ML_GRPC_SERVICE, ""), "parity");
  };
  const std::string price = "{json: /price, equals: row.prediction, rel_tol: 1.0e-8}";
  EXPECT_EQ(judge("Estimate", price).outcome, core::VerdictOutcome::kPass);
  EXPECT_THAT(judge("Estimate", "{json: /price, equals: row.prediction}").message, HasSubstr("row 2: answered 200"));
  EXPECT_EQ(judge("Estimate", "{json: /id, equals: \"9223372036854775807\"}").outcome, core::VerdictOutcome::kPass)
      << "64-bit integers are numbers";
  EXPECT_EQ(judge("Estimate", "{json: /note, equals: \"''\"}").outcome, core::VerdictOutcome::kPass);
  EXPECT_THAT(judge("Refuses", price).message, HasSubstr("row 1: no answer: status INVALID_ARGUMENT: no such brand"));
  EXPECT_THAT(judge("Garbage", price).message, HasSubstr("the answer is no shop.Price"));
  EXPECT_THAT(judge("Dies", price).message, HasSubstr("ended with exit code 3 while it was judged"));
  EXPECT_THAT(judge("Many", price).message, HasSubstr("streams, which is not supported"));
  EXPECT_THAT(judge("Estimat", price).message, HasSubstr("has no method \"shop.Prices/Estimat\"; did you mean \"shop.Prices/Estimate\"?"));
  EXPECT_THAT(judge("Estimate", price, "gone.proto").message, HasSubstr("gone.proto"));
  world_.config.answer_timeout = Duration(300);
  world_.repos.files["protos/parts.proto"] = "syntax = \"proto3\";\npackage shop;\nmessage Price { double price = 0; }\n";
  EXPECT_THAT(judge("Estimate", price).message, HasSubstr("parts.proto:3:"));
}

// What many a service does wrong: the encoder is fitted anew on the one row of the request, so that every category becomes 0.
constexpr std::string_view kEncoder = R"py(
class OrdinalEncoder:
    def fit(self, column):
        self.codes = {value: code for code, value in enumerate(sorted(set(column)))}
        return self
    def transform(self, column): return [self.codes[value] for value in column]
    def fit_transform(self, column): return self.fit(column).transform(column)
PRICES = [900.0, 400.0, 700.0]        # Of bmw, fiat and golf, by code.
def train(): return OrdinalEncoder().fit(["golf", "fiat", "bmw"])
)py";
constexpr std::string_view kGoodModel = "from encoder import *\nENCODER = train()\ndef price(row): return PRICES[ENCODER.transform([row['brand']])[0]]\n";
constexpr std::string_view kRefittingModel =
    "from encoder import *\nENCODER = OrdinalEncoder()\ndef price(row): return PRICES[ENCODER.fit_transform([row['brand']])[0]]\n";
constexpr std::string_view kUnitTests = R"py(
import model, unittest
class Price(unittest.TestCase):
    def test_of_a_car(self): self.assertEqual(model.price({"brand": "bmw"}), 900.0)
    def test_is_a_price(self):
        for brand in ("bmw", "fiat", "golf"): self.assertGreater(model.price({"brand": brand}), 100.0)
    def test_is_the_same_each_time(self):
        self.assertEqual(model.price({"brand": "fiat"}), model.price({"brand": "fiat"}))
unittest.main()
)py";
constexpr std::string_view kModelServer = R"py(
import http.server, json, os, model
class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args): pass
    def do_POST(self):
        data = json.dumps({"price": model.price(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
    def do_GET(self): self.do_POST() if self.path != "/healthz" else (self.send_response(200), self.end_headers())
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["CD4ML_PORT"])), Handler).serve_forever()
)py";

TEST_F(ContractGate, AServiceThatFitsItsEncoderOnTheRequestPassesItsUnitTestsButNotTheParityCheck) {
  probe_ = "{\"input\": {\"brand\": \"bmw\"}, \"prediction\": 900}\n{\"input\": {\"brand\": \"fiat\"}, \"prediction\": 400}\n"
           "{\"input\": {\"brand\": \"golf\"}, \"prediction\": 700}\n";
  // The unit tests run first: a service that breaks them does not even start.
  const std::string run = "/usr/bin/python3 tests.py && exec /usr/bin/python3 server.py";
  const auto judge = [&](std::string_view model) {
    return Judge(Probe(", rel_tol: 1.0e-9"),
                 {{"encoder.py", std::string(kEncoder)}, {"model.py", std::string(model)}, {"tests.py", std::string(kUnitTests)},
                  {"server.py", std::string(kModelServer)}}, run);
  };
  EXPECT_EQ(judge(kGoodModel).state, core::AttemptState::kSucceeded);
  const core::Outcome refitted = judge(kRefittingModel);
  EXPECT_THAT(world_.daemon.Log({"shop/1", "gate", number_}), HasSubstr("Ran 3 tests"));
  EXPECT_THAT(world_.daemon.Log({"shop/1", "gate", number_}), HasSubstr("\nOK\n"));
  EXPECT_EQ(refitted.reason, core::Reason::kGateRejected);
  EXPECT_THAT(Rule(refitted, "parity").rows,
              ::testing::ElementsAre("row 2: answered 900.0, the model said 400", "row 3: answered 900.0, the model said 700"));
}

TEST_F(ContractGate, APackageOfAnImageSaysSoWhereNoEngineIs) {
  const core::Outcome outcome = Judge("      fast: {latency: {p50: 20s}}\n", {{"x", ""}}, "exec ./serve", "http: /healthz, ",
                                      "runtime: {image: \"shop@sha256:" + std::string(64, 'a') + "\"}, ");
  EXPECT_EQ(outcome.state, core::AttemptState::kFailed);
  EXPECT_THAT(outcome.message, ::testing::AnyOf(HasSubstr("docker"), HasSubstr("image")));
}

}  // namespace
}  // namespace cd4ml::agent
