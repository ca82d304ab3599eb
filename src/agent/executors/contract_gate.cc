// Performs contract gates: starts the package as it will be deployed and judges what it answers.
#include <algorithm>
#include <cmath>
#include <functional>
#include <mutex>
#include <optional>

#include "agent/blobs.h"
#include "agent/contract.h"
#include "agent/executors/executor.h"
#include "agent/exits.h"
#include "agent/files.h"
#include "agent/gate_page.h"
#include "agent/gpus.h"
#include "agent/load.h"
#include "agent/memory_meter.h"
#include "agent/probe.h"
#include "agent/service_process.h"
#include "agent/sweeper.h"
#include "agent/workspace.h"
#include "cd4ml/base/status.h"
#include "cd4ml/core/gate.h"

namespace cd4ml::agent {
namespace {

using core::Reason;

constexpr int64_t kProbeMax = int64_t{256} << 20;
constexpr int64_t kContractMax = 8 << 20;
constexpr int kReplayThreads = 4;
constexpr size_t kAskedMax = 10'000;  // Requests that a latency rule draws from.
constexpr size_t kGoodBodyMax = 4 << 10;  // Of each, what is kept of a good answer.
// A service that leaves so many requests without an answer is not asked further: each may take as long as it likes.
constexpr int64_t kUnansweredMax = 8;
// How long one that has left a request without an answer may take to end, if that is why.
constexpr Duration kLastBreath{1'000};

// How requests that were answered badly are counted, by several threads.
class Misses {
 public:
  explicit Misses(int64_t allowed) : unanswered_max_(std::max(kUnansweredMax, allowed + 1)) {}

  // Returns whether to go on.
  bool Add(int64_t i, std::string what, bool is_answered) {
    std::lock_guard lock(mutex_);
    misses_[i] = std::move(what);
    if (!is_answered) ++unanswered_;
    return unanswered_ < unanswered_max_;
  }

  bool left_unanswered() const { return unanswered_ > 0; }

  // To be called when all threads are done. `total` is how many were meant to be asked.
  core::RuleResult Judge(const core::Rule& rule, const std::string& subject, std::string_view unit, int64_t allowed,
                         int64_t total) const {
    core::RuleResult result = core::JudgeNumber(rule, subject, static_cast<double>(misses_.size()), unit,
                                                {std::nullopt, static_cast<double>(allowed)}, total);
    for (const auto& [i, what] : misses_) {
      if (result.rows.size() < core::kOffendingRowsMax) result.rows.push_back(what);
    }
    if (!misses_.empty()) result.message = result.rows.front();
    if (unanswered_ >= unanswered_max_) {
      result.message += "; given up after " + std::to_string(unanswered_) + " requests without an answer";
    }
    return result;
  }

 private:
  const int64_t unanswered_max_;
  std::mutex mutex_;
  std::map<int64_t, std::string> misses_;
  int64_t unanswered_ = 0;
};

std::string NoAnswer(const absl::Status& status) { return "no answer: " + Message(status); }

// Returns whether the service gave an answer, be it one of an error.
bool IsAnswer(const absl::Status& status) {
  return !absl::IsUnavailable(status) && !absl::IsDeadlineExceeded(status) && !absl::IsOutOfRange(status);
}

// Judges the rules of one contract gate against a service that is ready.
class ContractJudge {
 public:
  ContractJudge(const Attempt& attempt, const core::StageSpec& stage, std::string base_url, MemoryMeter* meter)
      : attempt_(attempt), stage_(stage), base_url_(std::move(base_url)), meter_(meter) {}

  std::vector<core::RuleResult> Judge() {
    std::vector<core::RuleResult> results;
    // Latency is measured with the requests of the others, and memory under all of that.
    for (const core::Rule& rule : stage_.rules) {
      if (!IsLatency(rule) && !IsMemory(rule)) results.push_back(JudgeOne(rule));
    }
    for (const core::Rule& rule : stage_.rules) {
      if (IsLatency(rule)) results.push_back(JudgeLatency(rule, std::get<core::LatencyRule>(rule.body)));
    }
    for (const core::Rule& rule : stage_.rules) {
      if (IsMemory(rule)) results.push_back(JudgeMemory(rule, std::get<core::MemoryRule>(rule.body)));
    }
    return results;
  }

  // How long the requests took that a latency rule has measured.
  const std::vector<double>& latencies_ms() const { return latencies_ms_; }
  bool left_unanswered() const { return left_unanswered_; }  // Whether some request was, once Judge has returned.

 private:
  static bool IsLatency(const core::Rule& rule) { return std::holds_alternative<core::LatencyRule>(rule.body); }
  static bool IsMemory(const core::Rule& rule) { return std::holds_alternative<core::MemoryRule>(rule.body); }

  core::RuleResult JudgeOne(const core::Rule& rule) {
    if (const auto* probe = std::get_if<core::ProbeRule>(&rule.body))
      return JudgeProbe(rule, *probe);
    if (const auto* contract = std::get_if<core::ContractRule>(&rule.body))
      return JudgeContract(rule, *contract);
    const std::string form(core::RuleForm(rule.body));
    return core::CannotJudge(
        rule, form, "a rule of the form \"" + form + "\" is not available in a contract_gate");
  }

  HttpRequest Request(std::string method, const std::string& path) const {
    HttpRequest request;
    request.method = std::move(method);
    request.url = base_url_ + path;
    request.timeout = attempt_.tools().config.answer_timeout;
    return request;
  }

  // Returns a file of the run's commit.
  absl::StatusOr<std::string> ReadFile(const std::string& file) const {
    CD4ML_ASSIGN_OR_RETURN(const std::unique_ptr<SourceRepo> repo,
                           attempt_.tools().ports.repos.Open(attempt_.task().repo));
    return repo->ReadFile(attempt_.task().commit, file, kContractMax);
  }

  // --- probes ---

  absl::StatusOr<std::vector<Question>> Questions(const core::ProbeRule& probe) const {
    const auto input = attempt_.task().inputs.find(probe.probe);
    if (input == attempt_.task().inputs.end()) {
      return absl::InternalError("the daemon named no artifact for \"" + probe.probe + "\"");
    }
    CD4ML_ASSIGN_OR_RETURN(
        const std::string text,
        attempt_.tools().blobs.Read(input->second.artifact.digest, kProbeMax, attempt_.halt()));
    return ReadProbeSet(text, probe);
  }

  // Makes a request of every question.
  absl::StatusOr<std::vector<Asked>> Requests(const core::ProbeRule& probe, const std::vector<Question>& questions) const {
    std::shared_ptr<GrpcMethod> method;
    if (!probe.grpc.empty()) {
      CD4ML_ASSIGN_OR_RETURN(method, Connect(probe));
    }
    std::vector<Asked> requests;
    for (const Question& question : questions) {
      Asked asked;
      asked.request = Request(probe.method, probe.path);
      asked.method = method;
      if (method != nullptr) {
        asked.message = question.sent.value_or(Value(Value::Map{}));
      } else if (question.sent) {
        asked.request.body = ToJson(*question.sent);
        asked.request.headers["Content-Type"] = "application/json";
      }
      requests.push_back(std::move(asked));
    }
    return requests;
  }

  absl::StatusOr<std::unique_ptr<GrpcMethod>> Connect(const core::ProbeRule& probe) const {
    if (probe.proto.empty()) {
      return absl::UnimplementedError(
          "asking a server what it speaks (reflection) is not supported; name its file: `proto: service.proto`");
    }
    return attempt_.tools().ports.grpc_method({.address = base_url_.substr(base_url_.find("://") + 3),
                                               .method = probe.grpc,
                                               .proto = probe.proto,
                                               .read = [this](const std::string& file) { return ReadFile(file); }});
  }

  core::RuleResult JudgeProbe(const core::Rule& rule, const core::ProbeRule& probe) {
    const std::string subject = probe.grpc.empty() ? probe.method + " " + probe.path : probe.grpc;
    const absl::StatusOr<std::vector<Question>> questions = Questions(probe);
    if (!questions.ok()) return core::CannotJudge(rule, subject, Message(questions.status()));
    absl::StatusOr<std::vector<Asked>> requests = Requests(probe, *questions);
    if (!requests.ok()) return core::CannotJudge(rule, subject, Message(requests.status()));
    const auto count = static_cast<int64_t>(questions->size());
    Misses misses(probe.max_mismatches);
    ForEachAtOnce(attempt_.tools().ports.http_client, count, kReplayThreads, attempt_.halt(), [&](HttpClient& client, int64_t i) {
      const auto at = static_cast<size_t>(i);
      absl::Status answered;
      std::string breach = ProbeBreach(probe, (*questions)[at].expected, client, (*requests)[at], answered);
      if (breach.empty()) return true;
      return misses.Add(i, "row " + std::to_string(i + 1) + ": " + std::move(breach), IsAnswer(answered));
    });
    core::RuleResult result = misses.Judge(rule, subject, " mismatches", probe.max_mismatches, count);
    left_unanswered_ |= misses.left_unanswered();
    for (Asked& asked : *requests) Remember(std::move(asked));
    return result;
  }

  // Asks once. Notes in `answered` why there was no answer, and in `asked` how it was answered.
  static std::string ProbeBreach(const core::ProbeRule& probe, const Value& expected, HttpClient& client, Asked& asked,
                                 absl::Status& answered) {
    if (asked.method != nullptr) {
      const absl::StatusOr<Value> message = asked.method->Call(asked.message, asked.request.timeout);
      answered = message.status();
      if (!message.ok()) return NoAnswer(answered);
      std::string breach = MessageBreach(probe, expected, *message);
      if (breach.empty()) {
        asked.message_breach = [&probe, expected](const Value& other) { return MessageBreach(probe, expected, other); };
      }
      return breach;
    }
    const absl::StatusOr<HttpResponse> response = client.Send(asked.request);
    answered = response.status();
    if (!response.ok()) return NoAnswer(answered);
    std::string breach = AnswerBreach(probe, expected, *response);
    Note(*response, breach, [&probe, expected](const HttpResponse& other) { return AnswerBreach(probe, expected, other); }, asked);
    return breach;
  }

  // Notes how a request was answered. One that was answered badly is no worse when that happens again.
  static void Note(const HttpResponse& response, const std::string& breach, BreachOf breach_of, Asked& asked) {
    asked.status = response.status;
    if (!breach.empty()) return;
    asked.breach = std::move(breach_of);
    if (response.body.size() > kGoodBodyMax) return;
    asked.good_type = ContentType(response);
    asked.good_body = response.body;
  }

  // --- consumers ---

  absl::StatusOr<Contract> ReadContract(const std::string& file) const {
    const AgentPorts& ports = attempt_.tools().ports;
    CD4ML_ASSIGN_OR_RETURN(const std::string text, ReadFile(file));
    return agent::ReadContract(text, file, ports.parser, ports.compile_schema);
  }

  // One request after the other, in the order of the file: a consumer may have written them so.
  core::RuleResult JudgeContract(const core::Rule& rule, const core::ContractRule& body) {
    absl::StatusOr<Contract> contract = ReadContract(body.file);
    if (!contract.ok()) return core::CannotJudge(rule, body.file, Message(contract.status()));
    const auto count = static_cast<int64_t>(contract->interactions.size());
    Misses misses(0);
    ForEachAtOnce(attempt_.tools().ports.http_client, count, 1, attempt_.halt(), [&](HttpClient& client, int64_t i) {
      const Interaction& interaction = contract->interactions[static_cast<size_t>(i)];
      Asked asked;
      asked.request = interaction.request;
      asked.request.url = base_url_ + interaction.request.url;
      asked.request.timeout = attempt_.tools().config.answer_timeout;
      const absl::StatusOr<HttpResponse> response = client.Send(asked.request);
      std::string breach = response.ok() ? interaction.breach(*response) : NoAnswer(response.status());
      if (response.ok()) Note(*response, breach, interaction.breach, asked);
      Remember(std::move(asked));
      if (breach.empty()) return true;
      return misses.Add(i, interaction.name + ": " + std::move(breach), IsAnswer(response.status()));
    });
    left_unanswered_ |= misses.left_unanswered();
    return misses.Judge(rule, contract->consumer, " broken interactions", 0, count);
  }

  void Remember(Asked asked) {
    if (asked_.size() < kAskedMax) asked_.push_back(std::move(asked));
  }

  // --- under load ---

  core::RuleResult JudgeLatency(const core::Rule& rule, const core::LatencyRule& latency) {
    if (asked_.empty() && stage_.service->ready_grpc) {
      return core::CannotJudge(rule, "latency", "there is no request to measure: whether it is ready is asked over gRPC, and no other rule asks anything");
    }
    if (asked_.empty()) {
      const std::string& path = stage_.service->ready_path;
      asked_.emplace_back().request = Request("GET", path.empty() ? "/" : path);
    }
    const AgentPorts& ports = attempt_.tools().ports;
    const LoadReport report =
        Load(ports.clock, ports.load_client, asked_, std::max<int64_t>(1, latency.requests),
             std::max(1, latency.concurrency), attempt_.halt());
    left_unanswered_ |= report.failed > 0;
    if (report.failed > 0 || report.seconds.empty()) return NotAnswered(rule, report);
    for (const double seconds : report.seconds) latencies_ms_.push_back(seconds * 1e3);
    std::optional<core::RuleResult> worst;
    std::string all;
    for (const auto& [bound, percent] : {std::pair(latency.p50, 50), {latency.p95, 95}, {latency.p99, 99}}) {
      const double ms = Percentile(report.seconds, percent) * 1e3;
      all += "p" + std::to_string(percent) + " " + core::FormatNumber(ms) + " ms, ";
      if (!bound) continue;
      core::RuleResult result = core::JudgeNumber(rule, "p" + std::to_string(percent), ms, " ms",
                                                  {std::nullopt, static_cast<double>(bound->count())}, report.asked);
      if (!worst || result.outcome > worst->outcome) worst = std::move(result);
    }
    if (!worst) return core::CannotJudge(rule, "latency", "the rule states no bound");
    worst->message = all + "at most " + core::FormatNumber(report.seconds.back() * 1e3) + " ms, " +
                     core::FormatNumber(std::floor(static_cast<double>(report.asked) / report.elapsed)) + " requests/s; " +
                     WhatWasChecked();
    return *std::move(worst);
  }

  // Returns of which answers under load it was looked at what they say.
  std::string WhatWasChecked() const {
    const auto checked = static_cast<size_t>(std::count_if(asked_.begin(), asked_.end(), [](const Asked& one) { return one.is_checked(); }));
    if (checked == asked_.size()) return "all answers right under load, too";
    if (checked == 0) return "only the status of the answers was checked, since no rule says what is right";
    return "answers to " + std::to_string(checked) + " of the " + std::to_string(asked_.size()) + " requests checked, the others are wrong without load";
  }

  // A request without a proper answer has no latency; leaving it out would flatter the service.
  static core::RuleResult NotAnswered(const core::Rule& rule, const LoadReport& report) {
    core::RuleResult result = core::JudgeNumber(rule, "latency", static_cast<double>(report.failed), " failed requests",
                                                {std::nullopt, 0.0}, report.asked);
    result.rows = {report.failure};
    result.message = std::to_string(report.failed) + " requests under load failed: " + report.failure;
    return result;
  }

  core::RuleResult JudgeMemory(const core::Rule& rule, const core::MemoryRule& memory) {
    constexpr double kMiB = 1 << 20;
    if (!attempt_.runtime().engine.empty()) {
      return core::CannotJudge(rule, "memory", "what a container takes is not known here; its processes are the engine's");
    }
    const absl::StatusOr<int64_t> peak = meter_->Peak();
    if (!peak.ok()) return core::CannotJudge(rule, "memory", "it could not be measured: " + Message(peak.status()));
    return core::JudgeNumber(rule, "memory", static_cast<double>(*peak) / kMiB, " MiB",
                             {std::nullopt, static_cast<double>(memory.max) / kMiB}, std::nullopt);
  }

  const Attempt& attempt_;
  const core::StageSpec& stage_;
  const std::string base_url_;
  MemoryMeter* const meter_;    // There is one when there is a rule about memory.
  std::vector<Asked> asked_;    // For measuring latency.
  std::vector<double> latencies_ms_;
  bool left_unanswered_ = false;
};

// Places the package and starts it.
absl::Status Start(Attempt& attempt, const core::StageSpec& stage) {
  const std::string id = attempt.ProcessId("serve");
  const std::string package = attempt.paths().room() + "/package";
  if (!attempt.HasStarted(id)) {
    const auto input = attempt.task().inputs.find(stage.package);
    if (input == attempt.task().inputs.end()) {
      return absl::InternalError("the daemon named no artifact for \"" + stage.package + "\"");
    }
    attempt.tools().sweeper.Take(attempt.paths().room());
    CD4ML_RETURN_IF_ERROR(MakeDirs(attempt.paths().room()));
    CD4ML_RETURN_IF_ERROR(PlacePackage(attempt.tools(), input->second.artifact, input->second.path,
                                       package, attempt.halt()));
  }
  ProcessSpec spec;
  spec.id = id;
  spec.argv = Argv(stage.service->run);
  spec.env = attempt.tools().config.env;
  for (const auto& [name, value] : stage.env) spec.env[name] = value;
  spec.env["CD4ML_PORT"] = std::to_string(attempt.port());
  spec.env["CD4ML_RUN"] = attempt.task().attempt.run;
  spec.env["CD4ML_STAGE"] = attempt.task().attempt.stage;
  spec.env["CD4ML_ATTEMPT"] = std::to_string(attempt.task().attempt.number);
  spec.env["CD4ML_MODEL_DIGEST"] = attempt.task().model_digest;
  spec.dir = package;
  spec.log = attempt.paths().log();
  spec.timeout = attempt.task().timeout;
  spec.grace = stage.grace;
  ShowGpus(attempt.gpus(), attempt.tools().config.gpus, spec.env);
  Enter(attempt.runtime(), attempt.paths().room(), spec);
  if (absl::Status started = attempt.Start(spec); !started.ok())
    return absl::InternalError(Message(started));
  attempt.Began();
  return absl::OkStatus();
}

// Notes that the service was not there to be judged, whatever its rules found; that blocks even where no rule would.
void Blame(const Attempt& attempt, const std::string& why, std::string_view wanted, std::vector<core::RuleResult>& results) {
  for (core::RuleResult& result : results) {
    const bool is_known = result.outcome == core::VerdictOutcome::kFail;
    result.message = is_known ? result.message + "; " + why : why;
    if (is_known) continue;
    result.outcome = core::VerdictOutcome::kFail;
    result.observed = why;
    result.bound = wanted;
    result.rows = LastLines(attempt.paths().log(), core::kOffendingRowsMax);
  }
}

// The results of a service that cannot be asked.
std::vector<core::RuleResult> NotServing(const Attempt& attempt, const core::StageSpec& stage, const absl::Status& why) {
  std::vector<core::RuleResult> results;
  for (const core::Rule& rule : stage.rules) results.push_back(core::CannotJudge(rule, "service", ""));
  Blame(attempt, "the packaged service " + Message(why) + LastWords(attempt.paths().log()), "ready", results);
  return results;
}

std::vector<core::RuleResult> Judge(const Attempt& attempt, const core::StageSpec& stage, const std::string& base_url,
                                    MemoryMeter* meter, core::GateEvidence& evidence) {
  ContractJudge judge(attempt, stage, base_url, meter);
  std::vector<core::RuleResult> results = judge.Judge();
  evidence.latencies_ms = judge.latencies_ms();
  const std::string id = attempt.ProcessId("serve");
  if (judge.left_unanswered()) attempt.tools().exits.Wait(id, kLastBreath, attempt.halt());
  const absl::Status there = StillServes(attempt.tools(), id);
  if (!there.ok()) {
    Blame(attempt, "the packaged service " + Message(there) + " while it was judged" + LastWords(attempt.paths().log()),
          "up to the end", results);
  }
  return results;
}

}  // namespace

core::Outcome PerformContractGate(Attempt& attempt, const core::PipelineSpec& pipeline,
                                  const core::StageSpec& stage) {
  if (!stage.service)
    return Failed(Reason::kNotAvailable, "a contract gate without `serve` is not available");
  if (!stage.run.empty() || !stage.outputs.empty()) {
    return Failed(Reason::kNotAvailable,
                  "a command or outputs of a contract gate are not available");
  }
  const std::string id = attempt.ProcessId("serve");
  const std::string base_url = "http://127.0.0.1:" + std::to_string(attempt.port());
  if (absl::Status there = EnterRuntime(attempt, pipeline, stage, attempt.HasStarted(id)); !there.ok()) {
    return FailedWithoutRuntime(there);
  }
  absl::Status serving = Start(attempt, stage);
  std::optional<MemoryMeter> meter;
  if (serving.ok()) {
    const bool is_asked = std::any_of(stage.rules.begin(), stage.rules.end(), [](const core::Rule& rule) {
      return std::holds_alternative<core::MemoryRule>(rule.body);
    });
    if (is_asked) meter.emplace(attempt.tools().ports, id);  // Loading a model may be what takes most.
    serving = AwaitReady(attempt.tools(), id, *stage.service, base_url, attempt.halt());
  }
  if (attempt.quitting()) return {};
  const bool is_theirs = absl::IsUnavailable(serving) || absl::IsDeadlineExceeded(serving);
  if (!serving.ok() && !is_theirs) {
    return Failed(attempt.cancelled() ? Reason::kCancelled : Reason::kInfra, serving);
  }
  const Duration start = attempt.tools().ports.clock.Steady();
  core::GateEvidence evidence;
  core::Verdict verdict =
      core::Conclude(serving.ok() ? Judge(attempt, stage, base_url, meter ? &*meter : nullptr, evidence)
                                  : NotServing(attempt, stage, serving));
  if (attempt.quitting()) return {};
  attempt.tools().exits.End(id, attempt.quit());
  attempt.tools().runtimes.Clear(attempt.runtime(), id);
  SayVerdict(attempt, verdict);
  attempt.Say("judged in " + FormatDuration(attempt.tools().ports.clock.Steady() - start));
  core::Outcome outcome = OutcomeOf(attempt, std::move(verdict));
  AttachGatePage(attempt, stage, std::move(evidence), outcome);
  return outcome;
}

}  // namespace cd4ml::agent
