// Services that are bad in half a hundred ways: each is rejected with what it did, in bounded time, and nothing is left of it.
#include "cd4ml/base/status.h"
#include "cd4ml/http/connect.h"
#include "tests/agent/fixture.h"

namespace cd4ml::agent {
namespace {

using ::testing::HasSubstr;

struct BadService {
  std::string mode;
  std::string rule;  // Which finds it.
  std::string says;  // A part of what is found.
};

const std::vector<BadService> kNeverReady = {
    {"never-listens", "parity", "was not ready within 3.0s: GET /healthz never succeeded; its last line: service starts"},
    {"never-accepts", "parity", "was not ready within"},
    {"wrong-port", "parity", "was not ready within"},
    {"health-500", "parity", "was not ready within"},
    {"health-404", "web", "was not ready within"},
    {"health-redirect", "fast", "was not ready within"},
    {"health-garbage", "small", "was not ready within"},
    {"health-huge-headers", "parity", "was not ready within"},
    {"health-half", "parity", "was not ready within"},
    {"health-closes", "parity", "was not ready within"},
    {"health-endless", "parity", "was not ready within"},
    {"health-trickles", "parity", "was not ready within"},
    {"health-silent", "parity", "was not ready within"}};

const std::vector<BadService> kEnds = {
    {"exits-3", "parity", "ended with exit code 3; its last line: oh no: no model"},
    {"exits-0", "web", "ended with exit code 0"},
    {"exits-late", "parity", "ended with exit code 9"},
    {"import-error", "parity", "its last line: ModuleNotFoundError: No module named 'a_module_that_nobody_has'"},
    {"binary-noise", "parity", "ended with exit code 1"},
    {"floods-log", "parity", "its last line: enough said"},
    {"killed", "parity", "ended with exit code 137"},
    {"aborts", "parity", "ended with exit code 134"},
    {"forks-away", "parity", "ended with exit code 0"}};

const std::vector<BadService> kAnswersBadly = {
    {"closes", "parity", "row 1: no answer"},
    {"resets", "parity", "row 1: no answer"},
    {"silent", "parity", "no answer within 700ms"},
    {"trickles", "parity", "no answer within 700ms"},
    {"endless-body", "parity", "the answer is larger than 16 MiB"},
    {"endless-headers", "parity", "no answer"},
    {"dies-at-once", "parity", "ended with exit code 3 while it was judged; its last line: Fatal: model file is corrupt"},
    {"dies-at-third", "web", "ended with exit code 3 while it was judged"},
    {"crashes", "parity", "ended with exit code 139 while it was judged"},
    {"slow", "fast", "must be <= 350 ms"},
    {"tires", "fast", "answered with status 503 instead of 200"},
    {"leaks", "small", "must be <= 64 MiB"},
    {"hungry-child", "small", "must be <= 64 MiB"},
    {"status-500", "parity", "status 500: {\"error\": \"boom\"}"},
    {"status-404", "parity", "status 404"},
    {"status-204", "parity", "no JSON"},
    {"html-type", "parity", "Content-Type is \"text/html\", must be that of JSON"},
    {"no-type", "parity", "the answer has no Content-Type"},
    {"html-page", "web", "header Content-Type is \"text/html\""},
    {"not-json", "parity", "the answer is no JSON: price: 4"},
    {"half-json", "parity", "the answer is no JSON"},
    {"empty-body", "parity", "the answer is no JSON"},
    {"two-jsons", "parity", "the answer is no JSON"},
    {"deep-json", "parity", "the answer is no JSON"},
    {"duplicate-keys", "parity", "the answer is no JSON"},
    {"bad-utf8", "parity", "the answer is no JSON"},
    {"gzip-anyway", "parity", "the answer is no JSON"},
    {"price-nan", "parity", "answered \"NaN\", the model said 2"},
    {"price-infinite", "parity", "answered \"Infinity\""},
    {"price-text", "parity", "answered \"2.0\", the model said 2"},
    {"price-null", "parity", "answered null"},
    {"price-list", "parity", "answered [2"},
    {"price-gone", "parity", "the answer has no /price: {\"id\":\"r-1\"}"},
    {"list-around", "parity", "the answer has no /price"},
    {"drift", "parity", "row 1: answered 2.0000002, the model said 2"},
    {"cents", "parity", "answered 200"},
    {"constant", "parity", "5 mismatches"},
    {"negative", "parity", "answered -2"},
    {"one-row", "parity", "row 5: answered 11"},
    {"id-gone", "web", "'id'"},
    {"id-number", "web", "body.id is 7"},
    {"id-pattern", "web", "body.id is \"xxx"},
    {"extra-key", "web", "debug"},
    {"redirect", "parity", "status 302"},
    {"huge-headers", "parity", "64 KiB of headers"},
    {"many-headers", "parity", "64 KiB of headers"},
    {"not-http", "parity", "no answer"},
    {"bad-length", "parity", "no answer"},
    {"long-length", "parity", "no answer"}};

class BadServices : public ::testing::Test {
 protected:
  BadServices() {
    world_.http_client = http::MakeHttpClient;
    world_.load_client = [this] { return http::MakeLoadClient(*world_.clock); };
    world_.config.slots = 6;
    world_.config.answer_timeout = Duration(700);
    world_.repos.files["web.yaml"] = R"(
consumer: web
interactions:
  prices:
    request: {method: POST, path: /price, body: {x: 3}}
    response: {status: 200, headers: {Content-Type: application/json},
               schema: {required: [price, id], additionalProperties: false,
                        properties: {price: {type: number}, id: {type: string, pattern: "^r-[0-9]+$"}}}}
)";
    world_.dir.Write("package/service.py", FileBytes(CD4ML_SOURCE_DIR "/tests/agent/bad_service.py"));
    package_ = {world_.StoreTree(world_.dir.At("package")), "dist", "", std::nullopt};
    std::string probe;
    for (int x = 1; x <= 6; ++x) {
      probe += "{\"input\": {\"x\": " + std::to_string(x) + "}, \"prediction\": " + std::to_string(x * 2) + "}\n";
    }
    probe_ = world_.Store(probe);
  }

  Task Gate(const std::string& mode, const std::string& within, const std::string& p95 = "350ms") {
    Task task = world_.TaskOf(R"(format: 1
pipeline: shop
stages:
  pack: {kind: package, run: 'true', outputs: {service: {path: dist, type: deployable}, probe: {path: p, type: probe_set}}}
  gate:
    kind: contract_gate
    grace: 100ms
    serve: {package: pack.service, run: exec /usr/bin/python3 service.py )" + mode +
                                  ", ready: {http: /healthz, within: " + within + R"(}}
    rules:
      parity: {probe: pack.probe, request: {post: /price, json: row.input}, answer: {json: /price, equals: row.prediction, rel_tol: 1.0e-9}}
      web: {contract: web.yaml}
      fast: {latency: {p95: )" + p95 + R"(, requests: 12, concurrency: 4}}
      small: {memory: {max: 64MiB}}
)",
                              "gate", ++number_);
    task.inputs["pack.service"] = package_;
    task.inputs["pack.probe"].artifact = probe_;
    return task;
  }

  // Judges all of them, several at once.
  void ExpectRejected(const std::vector<BadService>& services, const std::string& within) {
    constexpr size_t kAtOnce = 13;
    world_.Start();
    for (size_t start = 0; start < services.size(); start += kAtOnce) {
      std::vector<core::AttemptId> attempts;
      const size_t end = std::min(services.size(), start + kAtOnce);
      for (size_t i = start; i < end; ++i) {
        const Task task = Gate(services[i].mode, within);
        attempts.push_back(task.attempt);
        world_.daemon.Want(task);
      }
      for (size_t i = start; i < end; ++i) {
        SCOPED_TRACE(services[i].mode);
        ExpectRejected(services[i], world_.daemon.Outcome(attempts[i - start]));
        EXPECT_THAT(world_.daemon.Log(attempts[i - start]), HasSubstr("service starts in mode " + services[i].mode))
            << "its log is kept";
      }
    }
    EXPECT_TRUE(world_.Processes().empty());
  }

  static void ExpectRejected(const BadService& service, const core::Outcome& outcome) {
    EXPECT_EQ(outcome.reason, core::Reason::kGateRejected) << outcome.message;
    ASSERT_TRUE(outcome.verdict);
    EXPECT_EQ(outcome.verdict->outcome, core::VerdictOutcome::kFail);
    EXPECT_EQ(outcome.verdict->rules.size(), 4u);
    for (const core::RuleResult& rule : outcome.verdict->rules) {
      if (rule.name != service.rule) continue;
      std::string found = rule.observed + ", must be " + rule.bound + "; " + rule.message;
      for (const std::string& row : rule.rows) found += "; " + row;
      EXPECT_EQ(rule.outcome, core::VerdictOutcome::kFail) << found;
      EXPECT_THAT(found.substr(0, 3'000), HasSubstr(service.says));
    }
  }

  World world_;
  TaskInput package_;
  ArtifactRef probe_;
  int number_ = 0;
};

TEST_F(BadServices, TheGoodOnePasses) {
  const core::Outcome outcome = world_.Perform(Gate("good", "20s", "20s"));
  EXPECT_EQ(outcome.state, core::AttemptState::kSucceeded) << outcome.message;
}

TEST_F(BadServices, OnesThatAreNeverReadyAreRejectedWithTheirLastOutput) { ExpectRejected(kNeverReady, "3s"); }

TEST_F(BadServices, OnesThatEndAreRejectedWithTheirLastOutput) { ExpectRejected(kEnds, "20s"); }

TEST_F(BadServices, OnesThatAnswerBadlyAreRejectedWithTheirAnswers) { ExpectRejected(kAnswersBadly, "20s"); }

}  // namespace
}  // namespace cd4ml::agent
