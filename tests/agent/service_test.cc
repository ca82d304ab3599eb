// Packaged services: judged by contract gates, deployed, kept, replaced, and their predictions
// handed in.
#include <filesystem>

#include "agent/predictions.h"
#include "cd4ml/base/status.h"
#include "tests/agent/fixture.h"

namespace cd4ml::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

namespace fs = std::filesystem;

// Multiplies x by what its package says, and writes down what it predicted.
constexpr std::string_view kServer = R"py(
import http.server, json, os, sys
factor = float(open("factor").read())
print("service with factor", factor, flush=True)
class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args): pass
    def answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
    def do_GET(self): self.answer(200, {"factor": factor, "deployment": os.environ.get("CD4ML_DEPLOYMENT", "")})
    def do_POST(self):
        row = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if "x" not in row: return self.answer(400, {"field": "x"})
        price = row["x"] * factor
        if "CD4ML_PREDICTIONS" in os.environ:
            with open(os.environ["CD4ML_PREDICTIONS"], "a") as file:
                file.write(json.dumps({"key": str(row["x"]), "at_ms": 5, "input": row, "prediction": price}) + "\n")
        self.answer(200, {"price": price, "id": "r-1"})
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["CD4ML_PORT"])), Handler).serve_forever()
)py";

constexpr std::string_view kContract = R"(
consumer: web
interactions:
  prices: {request: {method: POST, path: /price, body: {x: 2}},
           response: {status: 200, headers: {Content-Type: application/json}, schema: {required: [price, id]}}}
  names-the-field: {request: {method: POST, path: /price, body: {y: 2}}, response: {status: 400, body: {field: x}}}
)";

std::string Pipeline(const std::string& run, const std::string& within = "20s") {
  const std::string service =
      "run: " + ToJson(Value(run)) + ", ready: {http: /healthz, within: " + within + "}";
  return R"(format: 1
pipeline: shop
environments: {production: {}}
stages:
  pack: {kind: package, run: 'true', outputs: {service: {path: dist, type: deployable}, probe: {path: p.jsonl, type: probe_set}}}
  gate:
    kind: contract_gate
    serve: {package: pack.service, )" +
         service + R"(}
    rules:
      parity: {probe: pack.probe, request: {post: /price, json: row.input}, answer: {json: /price, equals: row.prediction, rel_tol: 1.0e-9, max_mismatches: 0}}
      web: {contract: web.yaml}
      fast: {latency: {p95: 20s, requests: 20, concurrency: 2}}
  release: {kind: deploy, environment: production, deploy: pack.service, service: {)" +
         service + "}}\n";
}

const std::string kRun = "exec /usr/bin/python3 server.py";

// The same, when its package was made in a runtime that alone has the program `serve`; `count` grows with each making.
std::string InRuntime(std::string pipeline, const std::string& count) {
  const std::string setup =
      "mkdir \"$CD4ML_RUNTIME/bin\"; cp tool.lock \"$CD4ML_RUNTIME/bin/serve\"; chmod +x \"$CD4ML_RUNTIME/bin/serve\"; "
      "echo made >> " + count;
  const std::string kind = "{kind: package,";
  pipeline.insert(pipeline.find(kind) + kind.size(),
                  " runtime: {setup: " + ToJson(Value(setup)) + ", key: [tool.lock]},");
  return pipeline + "files: {tool.lock: " + ToJson(Value("#!/bin/sh\n" + kRun + "\n")) + "}\n";
}

class ServiceTest : public ::testing::Test {
 protected:
  ServiceTest() { world_.repos.files["web.yaml"] = kContract; }

  TaskInput Package(double factor) {
    static int count = 0;
    const std::string dir = "package" + std::to_string(++count);
    world_.dir.Write(dir + "/server.py", kServer);
    world_.dir.Write(dir + "/factor", std::to_string(factor));
    return {world_.StoreTree(world_.dir.At(dir)), "dist", "", std::nullopt};
  }

  Task Gate(const std::string& definition, double factor) {
    Task task = world_.TaskOf(definition, "gate");
    task.inputs["pack.service"] = Package(factor);
    std::string probe;
    for (int x = 1; x <= 20; ++x) {
      probe += "{\"id\": " + std::to_string(x) + ", \"input\": {\"x\": " + std::to_string(x) +
               "}, \"prediction\": " + std::to_string(x * 2) + "}\n";
    }
    task.inputs["pack.probe"].artifact = world_.Store(probe);
    return task;
  }

  Task Release(const std::string& definition, double factor, int run) {
    Task task = world_.TaskOf(definition, "release");
    task.attempt.run = "shop/" + std::to_string(run);
    task.deployment = task.attempt.run + "/release";
    task.environment = "production";
    task.model_digest = "abc";
    task.inputs["pack.service"] = Package(factor);
    return task;
  }

  std::string Get(const std::string& endpoint) {
    const absl::StatusOr<HttpResponse> response = MakeSocketClient()->Send({.url = endpoint + "/"});
    return response.ok() ? response->body : Message(response.status());
  }
  void Post(const std::string& endpoint, int x) {
    const absl::StatusOr<HttpResponse> response =
        MakeSocketClient()->Send({.method = "POST",
                                  .url = endpoint + "/price",
                                  .headers = {},
                                  .body = "{\"x\": " + std::to_string(x) + "}"});
    ASSERT_TRUE(response.ok()) << response.status();
    ASSERT_EQ(response->status, 200);
  }
  // Waits until exactly these processes are known to the keeper.
  bool WaitForProcesses(const std::vector<std::string>& ids) {
    for (int i = 0; i < 4'000; ++i) {
      std::vector<std::string> known;
      for (const ProcessStatus& status : world_.Processes()) known.push_back(status.id);
      if (known == ids) return true;
      world_.WaitForFile(world_.dir.path());
      world_.Pause();
    }
    return false;
  }

  World world_;
};

const core::RuleResult& Rule(const core::Outcome& outcome, const std::string& name) {
  static const core::RuleResult none;
  if (!outcome.verdict) return none;
  for (const core::RuleResult& rule : outcome.verdict->rules) {
    if (rule.name == name) return rule;
  }
  return none;
}

TEST_F(ServiceTest, AServiceThatAnswersAsTheModelDidPassesAndIsGoneAfterwards) {
  const core::Outcome outcome = world_.Perform(Gate(Pipeline(kRun), 2));
  EXPECT_EQ(outcome.state, core::AttemptState::kSucceeded) << outcome.message;
  ASSERT_TRUE(outcome.verdict);
  EXPECT_EQ(outcome.verdict->rules.size(), 3u);
  EXPECT_EQ(Rule(outcome, "parity").sample_size, 20);
  EXPECT_EQ(Rule(outcome, "web").sample_size, 2);
  EXPECT_THAT(world_.daemon.Log({"shop/1", "gate", 1}), HasSubstr("service with factor 2.0"));
  EXPECT_TRUE(WaitForProcesses({}));
}

TEST_F(ServiceTest, AServiceThatAnswersDifferentlyIsRejectedWithTheFirstRows) {
  world_.repos.files["web.yaml"] =
      "consumer: web\ninteractions: {a: {request: {path: /}, response: {status: 404}}}\n";
  const core::Outcome outcome = world_.Perform(Gate(Pipeline(kRun), 3));
  EXPECT_EQ(outcome.reason, core::Reason::kGateRejected);
  EXPECT_THAT(outcome.message, HasSubstr("parity: 20 mismatches, must be <= 0"));
  EXPECT_THAT(Rule(outcome, "parity").rows.front(), HasSubstr("row 1: answered 3"));
  EXPECT_EQ(Rule(outcome, "parity").rows.size(), core::kOffendingRowsMax);
  EXPECT_THAT(Rule(outcome, "web").rows, ElementsAre("a: status is 200, must be 404"));
  EXPECT_EQ(Rule(outcome, "fast").outcome, core::VerdictOutcome::kPass);
}

TEST_F(ServiceTest, AServiceThatIsNeverReadyOrDiesOrSpeaksGarbageIsRejected) {
  struct Case {
    std::string run, says;
  };
  const std::string garbage =
      "exec /usr/bin/python3 -c \"import os, socket; s = socket.create_server(('127.0.0.1', "
      "int(os.environ['CD4ML_PORT'])))\n"
      "while True: c, _ = s.accept(); c.sendall(b'garbage' * 99); c.close()\"";
  int number = 0;
  for (const Case& one :
       std::vector<Case>{{"echo waiting; exec sleep 600", "was not ready within 500ms"},
                         {"echo oh no; exit 7", "ended with exit code 7; its last line: oh no"},
                         {"exec ./not-there", "ended with exit code"},
                         {garbage, "was not ready within 500ms"}}) {
    Task task = Gate(Pipeline(one.run, "500ms"), 2);
    task.attempt.number = ++number;
    const core::Outcome outcome = world_.Perform(task);
    EXPECT_EQ(outcome.reason, core::Reason::kGateRejected) << one.run;
    EXPECT_THAT(outcome.message, HasSubstr(one.says)) << one.run;
    ASSERT_TRUE(outcome.verdict);
    EXPECT_EQ(outcome.verdict->rules.size(), 3u);
  }
  EXPECT_TRUE(WaitForProcesses({}));
}

TEST_F(ServiceTest, ABadContractOrProbeSetIsAnErrorThatSaysWhere) {
  world_.repos.files["web.yaml"] =
      "consumer: web\ninteractions: {a: {request: {path: /}, response: {schema: {oneOf: []}}}}\n";
  Task task = Gate(Pipeline(kRun), 2);
  task.inputs["pack.probe"].artifact =
      world_.Store("{\"input\": {\"x\": 1}, \"prediction\": 2}\n{oops\n");
  const core::Outcome outcome = world_.Perform(task);
  EXPECT_EQ(outcome.reason, core::Reason::kGateError);
  EXPECT_THAT(Rule(outcome, "web").message, HasSubstr("schema /oneOf: must be a list of schemas"));
  EXPECT_THAT(Rule(outcome, "parity").message, HasSubstr("line 2 of the probe set"));
}

TEST_F(ServiceTest, ADeployStartsTheServiceAndTheNextOneTakesItsPort) {
  const core::Outcome first = world_.Perform(Release(Pipeline(kRun), 2, 1));
  ASSERT_TRUE(first.service) << first.message;
  const std::string endpoint = first.service->endpoint;
  EXPECT_EQ(first.service->agent, "agent-a");
  EXPECT_EQ(Get(endpoint), "{\"factor\": 2.0, \"deployment\": \"shop/1/release\"}");

  const core::Outcome second = world_.Perform(Release(Pipeline(kRun), 3, 2));
  ASSERT_TRUE(second.service) << second.message;
  EXPECT_EQ(second.service->endpoint, endpoint);
  EXPECT_EQ(Get(endpoint), "{\"factor\": 3.0, \"deployment\": \"shop/2/release\"}");
  EXPECT_TRUE(WaitForProcesses({"service.shop.2.release"}));
}

TEST_F(ServiceTest, APackageIsJudgedAndDeployedInTheRuntimeThatItWasMadeIn) {
  const std::string count = world_.dir.At("count");
  const std::string definition = InRuntime(Pipeline("exec serve"), count);
  const core::Outcome judged = world_.Perform(Gate(definition, 2));
  EXPECT_EQ(judged.state, core::AttemptState::kSucceeded) << judged.message;
  const core::Outcome deployed = world_.Perform(Release(definition, 2, 1));
  ASSERT_TRUE(deployed.service) << deployed.message;
  EXPECT_EQ(ToText(*deployed.environment.FindPath("runtime.made_from")), "setup with tool.lock");
  EXPECT_THAT(Get(deployed.service->endpoint), HasSubstr("\"factor\": 2.0"));
  EXPECT_EQ(FileBytes(count), "made\n");
}

TEST_F(ServiceTest, ADesiredServiceGetsItsRuntimeOnAHostThatNeverHadIt) {
  const Task task = Release(InRuntime(Pipeline("exec serve"), world_.dir.At("count")), 2, 1);
  const std::string endpoint = "http://127.0.0.1:" + std::to_string(*os::FreePort());
  world_.daemon.WantServices({{task.deployment, "production", "shop", "release", task.definition,
                               task.inputs.at("pack.service").artifact, "dist", endpoint, "abc"}});
  world_.Start();
  ASSERT_TRUE(WaitForProcesses({"service.shop.1.release"}));
  EXPECT_EQ(FileBytes(world_.dir.At("count")), "made\n");
}

TEST_F(ServiceTest, ADeployWhoseRuntimeCannotBeMadeLeavesTheOldServiceAlone) {
  const core::Outcome first = world_.Perform(Release(Pipeline(kRun), 2, 1));
  ASSERT_TRUE(first.service) << first.message;
  std::string definition = InRuntime(Pipeline("exec serve"), world_.dir.At("count"));
  definition.replace(definition.find("mkdir"), 5, "false");
  const core::Outcome second = world_.Perform(Release(definition, 3, 2));
  EXPECT_EQ(second.reason, core::Reason::kExitCode);
  EXPECT_THAT(second.message, HasSubstr("the runtime of stage \"release\" (setup with tool.lock) could not be made"));
  EXPECT_THAT(Get(first.service->endpoint), HasSubstr("\"factor\": 2.0"));
}

TEST_F(ServiceTest, TheSameEnvironmentOfAnotherPipelineIsAnotherOne) {
  const core::Outcome first = world_.Perform(Release(Pipeline(kRun), 2, 1));
  Task other = Release(Pipeline(kRun), 3, 1);
  other.pipeline = "bikes";
  other.attempt.run = "bikes/1";
  other.deployment = "bikes/1/release";
  const core::Outcome second = world_.Perform(other);
  ASSERT_TRUE(first.service && second.service) << second.message;
  EXPECT_THAT(Get(first.service->endpoint), HasSubstr("2.0"));
  EXPECT_THAT(Get(second.service->endpoint), HasSubstr("3.0"));
}

TEST_F(ServiceTest, AServiceThatDoesNotBecomeReadyIsReplacedByTheOldOne) {
  const core::Outcome first = world_.Perform(Release(Pipeline(kRun), 2, 1));
  ASSERT_TRUE(first.service) << first.message;
  const core::Outcome second =
      world_.Perform(Release(Pipeline("echo cannot load model; exit 1", "5s"), 3, 2));
  EXPECT_EQ(second.reason, core::Reason::kNotReady);
  EXPECT_THAT(second.message, HasSubstr("its last line: cannot load model"));
  EXPECT_THAT(second.message, HasSubstr("shop/1/release was put back"));
  EXPECT_EQ(Get(first.service->endpoint), "{\"factor\": 2.0, \"deployment\": \"shop/1/release\"}");
  EXPECT_TRUE(WaitForProcesses({"service.shop.1.release"}));
}

TEST_F(ServiceTest, ACancelledDeployPutsTheOldServiceBack) {
  const core::Outcome first = world_.Perform(Release(Pipeline(kRun), 2, 1));
  ASSERT_TRUE(first.service) << first.message;
  const Task second =
      Release(Pipeline("touch " + world_.dir.At("up") + "; exec sleep 600", "600s"), 3, 2);
  world_.daemon.Want(second);
  ASSERT_TRUE(world_.WaitForFile(world_.dir.At("up")));
  world_.daemon.Unwant(second.attempt);
  EXPECT_EQ(world_.daemon.Outcome(second.attempt).state, core::AttemptState::kCancelled);
  EXPECT_EQ(Get(first.service->endpoint), "{\"factor\": 2.0, \"deployment\": \"shop/1/release\"}");
}

TEST_F(ServiceTest, AServiceOutlivesTheAgentAndIsReportedByTheNextOne) {
  const core::Outcome outcome = world_.Perform(Release(Pipeline(kRun), 2, 1));
  ASSERT_TRUE(outcome.service) << outcome.message;
  const int pid = world_.Processes().at(0).pid;
  world_.Stop();
  EXPECT_THAT(Get(outcome.service->endpoint), HasSubstr("2.0"));
  world_.Start();
  world_.Perform(
      world_.TaskOf("format: 1\npipeline: shop\nstages: {train: {run: 'true'}}\n", "train"));
  EXPECT_EQ(world_.Processes().at(0).pid, pid);
  const AgentReport report = world_.daemon.LastReport();
  ASSERT_EQ(report.services.size(), 1u);
  EXPECT_EQ(report.services[0].deployment, "shop/1/release");
  EXPECT_TRUE(report.services[0].running);
}

TEST_F(ServiceTest, ADeployThatIsUnderWayIsFinishedByTheNextAgent) {
  const std::string go = world_.dir.At("go"), up = world_.dir.At("up");
  const Task task = Release(
      Pipeline("echo up >> " + up + "; until [ -e " + go + " ]; do sleep 0.01; done; " + kRun,
               "60s"),
      2, 1);
  world_.Start();
  world_.daemon.Want(task);
  ASSERT_TRUE(world_.WaitForFile(up));
  world_.Stop();
  world_.Start();
  world_.dir.Write("go", "");
  const core::Outcome outcome = world_.daemon.Outcome(task.attempt);
  ASSERT_TRUE(outcome.service) << outcome.message;
  EXPECT_EQ(FileBytes(up), "up\n");
  EXPECT_THAT(Get(outcome.service->endpoint), HasSubstr("2.0"));
}

TEST_F(ServiceTest, DesiredServicesAreStartedAndThoseNoLongerDesiredAreStopped) {
  const Task task = Release(Pipeline(kRun), 2, 1);
  const std::string endpoint = "http://127.0.0.1:" + std::to_string(*os::FreePort());
  world_.daemon.WantServices({{task.deployment, "production", "shop", "release", task.definition,
                               task.inputs.at("pack.service").artifact, "dist", endpoint, "abc"}});
  world_.Start();
  ASSERT_TRUE(WaitForProcesses({"service.shop.1.release"}));
  world_.daemon.WantServices({});
  EXPECT_TRUE(WaitForProcesses({}));
}

// The daemon has given the deploy up, and has nothing more to say when the agent is back.
TEST_F(ServiceTest, ADeployThatIsLostLeavesTheEnvironmentToTheServiceThatIsLive) {
  const core::Outcome first = world_.Perform(Release(Pipeline(kRun), 2, 1));
  ASSERT_TRUE(first.service) << first.message;
  const std::string go = world_.dir.At("go"), up = world_.dir.At("up");
  const Task task = Release(
      Pipeline("echo up >> " + up + "; until [ -e " + go + " ]; do sleep 0.01; done; " + kRun, "60s"), 3, 2);
  world_.daemon.Want(task);
  ASSERT_TRUE(world_.WaitForFile(up));
  world_.daemon.Forbid(task.attempt);
  world_.daemon.SetAway(true);
  world_.daemon.Unwant(task.attempt);
  world_.dir.Write("go", "");
  ASSERT_TRUE(world_.WaitForFile(world_.dir.At("agent/attempts/shop.2.release.1/outcome.json")));
  world_.daemon.SetAway(false);
  EXPECT_TRUE(WaitForProcesses({"service.shop.1.release"}));
}

TEST_F(ServiceTest, PredictionsArriveAlsoThoseMadeWhileTheDaemonWasAway) {
  const core::Outcome outcome = world_.Perform(Release(Pipeline(kRun), 2, 1));
  ASSERT_TRUE(outcome.service) << outcome.message;
  Post(outcome.service->endpoint, 10);
  ASSERT_TRUE(world_.daemon.WaitForPredictions(1));
  world_.daemon.SetAway(true);
  Post(outcome.service->endpoint, 11);
  Post(outcome.service->endpoint, 12);
  world_.Stop();
  world_.daemon.SetAway(false);
  world_.Start();
  ASSERT_TRUE(world_.daemon.WaitForPredictions(3));
  const std::vector<PredictionRecord> records = world_.daemon.Predictions();
  ASSERT_EQ(records.size(), 3u);
  EXPECT_EQ(records[1].key, "11");
  EXPECT_EQ(records[1].at.ms, 5);
  EXPECT_EQ(records[1].prediction, 22);
  EXPECT_EQ(records[1].deployment, "shop/1/release");
}

TEST(ReadPredictions, BadLinesAreLeftOutAndCountedAndTheLastHalfLineWaits) {
  const PredictionBatch batch = ReadPredictions(
      "{\"key\": \"a\", \"input\": {\"x\": 1}, \"prediction\": 2}\nnonsense\n\n{\"key\": \"b\", "
      "\"input\": 3, \"prediction\": 2}\n"
      "{\"key\": \"c\", \"at_ms\": 9, \"input\": {}, \"prediction\": 1.5}\n{\"key\": \"d\"",
      "shop/1/release", UtcTime{77});
  ASSERT_EQ(batch.records.size(), 2u);
  EXPECT_EQ(batch.records[0].at.ms, 77);
  EXPECT_EQ(batch.records[1].key, "c");
  EXPECT_EQ(batch.records[1].at.ms, 9);
  EXPECT_EQ(batch.bad_lines, 2);
  EXPECT_FALSE(batch.complaint.empty());
}

TEST(ReadPredictions, ABatchHasAtMostAThousandRecords) {
  std::string text;
  for (int i = 0; i < 1'500; ++i)
    text += "{\"key\": \"" + std::to_string(i) + "\", \"input\": {}, \"prediction\": 1}\n";
  const PredictionBatch batch = ReadPredictions(text, "d", UtcTime{1});
  EXPECT_EQ(batch.records.size(), 1'000u);
  EXPECT_EQ(ReadPredictions(std::string_view(text).substr(batch.consumed), "d", UtcTime{1})
                .records.size(),
            500u);
}

// --- hooks ---

std::string Hooks(const std::string& apply, const std::string& rollback) {
  return "format: 1\npipeline: shop\nenvironments: {production: {target: "
         "'http://127.0.0.1:9'}}\nstages:\n"
         "  pack: {kind: package, run: 'true', outputs: {service: {path: dist/s.tar, type: "
         "deployable}}}\n"
         "  release: {kind: deploy, environment: production, deploy: pack.service, apply: " +
         ToJson(Value(apply)) + ", rollback: " + ToJson(Value(rollback)) + "}\n";
}

TEST_F(ServiceTest, HooksSeeThePackageAndTheirTargetBecomesTheEndpoint) {
  Task task = Release(Hooks("cat \"$CD4ML_IN_SERVICE\" dist/s.tar; echo $CD4ML_ENVIRONMENT "
                            "$CD4ML_TARGET $CD4ML_DEPLOYMENT",
                            "false"),
                      2, 1);
  task.target = "http://127.0.0.1:9";
  task.inputs["pack.service"] = {world_.Store("package\n"), "dist/s.tar", "", std::nullopt};
  const core::Outcome outcome = world_.Perform(task);
  ASSERT_TRUE(outcome.service) << outcome.message;
  EXPECT_EQ(outcome.service->endpoint, "http://127.0.0.1:9");
  EXPECT_EQ(outcome.service->agent, "");
  EXPECT_EQ(world_.daemon.Log(task.attempt),
            "package\npackage\nproduction http://127.0.0.1:9 shop/1/release\n");
}

TEST_F(ServiceTest, AHookThatFailsIsRolledBack) {
  Task task = Release(Hooks("echo applying; exit 4", "echo rolling back"), 2, 1);
  task.inputs["pack.service"] = {world_.Store("package\n"), "dist/s.tar", "", std::nullopt};
  const core::Outcome outcome = world_.Perform(task);
  EXPECT_EQ(outcome.reason, core::Reason::kExitCode);
  EXPECT_THAT(outcome.message, HasSubstr("exited with 4"));
  EXPECT_THAT(outcome.message, HasSubstr("; rolled back"));
  EXPECT_THAT(world_.daemon.Log(task.attempt), HasSubstr("rolling back"));
  task.attempt.number = 2;
  task.definition = world_.TaskOf(Hooks("exit 4", "exit 5"), "release").definition;
  EXPECT_THAT(world_.Perform(task).message, HasSubstr("rollback failed too"));
}

}  // namespace
}  // namespace cd4ml::agent
