// Performs contract gates: starts the package as it will be deployed and judges what it answers.
#include <algorithm>
#include <atomic>
#include <functional>
#include <mutex>
#include <thread>

#include "agent/blobs.h"
#include "agent/contract.h"
#include "agent/executors/executor.h"
#include "agent/exits.h"
#include "agent/files.h"
#include "agent/gate_page.h"
#include "agent/gpus.h"
#include "agent/service_process.h"
#include "agent/sweeper.h"
#include "agent/workspace.h"
#include "cd4ml/base/status.h"
#include "cd4ml/core/expression.h"
#include "cd4ml/core/gate.h"

namespace cd4ml::agent {
namespace {

using core::Reason;

constexpr int64_t kProbeMax = int64_t{256} << 20;
constexpr int64_t kContractMax = 8 << 20;
constexpr int kReplayThreads = 4;
constexpr int64_t kSentMax = 10'000;  // Requests that a latency rule draws from.

// Calls `visit(client, i)` for every i below `count`, from several threads; stops early at `halt`.
void ForEachAtOnce(const AgentPorts& ports, int64_t count, int threads, const std::stop_token& halt,
                   const std::function<void(HttpClient&, int64_t)>& visit) {
  std::atomic<int64_t> next = 0;
  std::vector<std::jthread> pool;
  for (int64_t i = std::min<int64_t>(threads, count); i > 0; --i) {
    pool.emplace_back([&] {
      const std::unique_ptr<HttpClient> client = ports.http_client();
      for (int64_t mine; (mine = next++) < count && !halt.stop_requested();) visit(*client, mine);
    });
  }
}

// One line of a probe set as the expressions of a rule see it.
core::Scope RowScope(const Value& row) {
  core::Scope scope;
  scope.name = [&row](std::string_view name) -> std::optional<Value> {
    if (name == "row") return row;
    if (!name.starts_with("row.")) return std::nullopt;
    const Value* found = row.FindPath(name.substr(4));
    return found != nullptr ? std::optional(*found) : std::nullopt;
  };
  scope.call = [](std::string_view, const std::vector<Value>&) { return std::nullopt; };
  return scope;
}

absl::StatusOr<std::vector<Value>> ParseLines(const std::string& text) {
  std::vector<Value> rows;
  int64_t line = 0;
  for (size_t start = 0; start < text.size();) {
    const size_t end = std::min(text.find('\n', start), text.size());
    const std::string_view row = std::string_view(text).substr(start, end - start);
    start = end + 1;
    ++line;
    if (row.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    absl::StatusOr<Value> value = ParseJson(row);
    if (!value.ok())
      return Annotate(value.status(), "line " + std::to_string(line) + " of the probe set");
    rows.push_back(*std::move(value));
  }
  if (rows.empty()) return absl::InvalidArgumentError("the probe set is empty");
  return rows;
}

// Judges the rules of one contract gate against a service that is ready.
class ContractJudge {
 public:
  ContractJudge(const Attempt& attempt, const core::StageSpec& stage, std::string base_url)
      : attempt_(attempt), stage_(stage), base_url_(std::move(base_url)) {}

  // How long requests took that a latency rule has measured.
  const std::vector<double>& latencies_ms() const { return latencies_ms_; }

  std::vector<core::RuleResult> Judge() {
    std::vector<core::RuleResult> results;
    // Latency last: it is measured with the requests of the others.
    for (const core::Rule& rule : stage_.rules) {
      if (!std::holds_alternative<core::LatencyRule>(rule.body)) results.push_back(JudgeOne(rule));
    }
    for (const core::Rule& rule : stage_.rules) {
      if (const auto* latency = std::get_if<core::LatencyRule>(&rule.body)) {
        results.push_back(JudgeLatency(rule, *latency));
      }
    }
    return results;
  }

 private:
  core::RuleResult JudgeOne(const core::Rule& rule) {
    if (const auto* probe = std::get_if<core::ProbeRule>(&rule.body))
      return JudgeProbe(rule, *probe);
    if (const auto* contract = std::get_if<core::ContractRule>(&rule.body))
      return JudgeContract(rule, *contract);
    const std::string form(core::RuleForm(rule.body));
    return core::CannotJudge(
        rule, form, "a rule of the form \"" + form + "\" is not available in a contract_gate");
  }

  absl::StatusOr<std::vector<Value>> ProbeRows(const core::ProbeRule& probe) {
    const auto input = attempt_.task().inputs.find(probe.probe);
    if (input == attempt_.task().inputs.end()) {
      return absl::InternalError("the daemon named no artifact for \"" + probe.probe + "\"");
    }
    CD4ML_ASSIGN_OR_RETURN(
        const std::string text,
        attempt_.tools().blobs.Read(input->second.artifact.digest, kProbeMax, attempt_.halt()));
    return ParseLines(text);
  }

  struct Question {
    HttpRequest request;
    Value expected;
  };

  absl::StatusOr<std::vector<Question>> Questions(const core::ProbeRule& probe) {
    CD4ML_ASSIGN_OR_RETURN(const std::vector<Value> rows, ProbeRows(probe));
    CD4ML_ASSIGN_OR_RETURN(const core::Expression equals, core::Expression::Parse(probe.equals));
    std::optional<core::Expression> body;
    if (!probe.body.empty()) {
      CD4ML_ASSIGN_OR_RETURN(body, core::Expression::Parse(probe.body));
    }
    std::vector<Question> questions;
    for (size_t i = 0; i < rows.size(); ++i) {
      const core::Scope scope = RowScope(rows[i]);
      const std::string where = "row " + std::to_string(i + 1) + " of the probe set";
      Question question;
      question.request.method = probe.method;
      question.request.url = base_url_ + probe.path;
      if (body) {
        absl::StatusOr<Value> sent = body->Evaluate(scope);
        if (!sent.ok()) return Annotate(sent.status(), where);
        question.request.body = ToJson(*sent);
        question.request.headers["Content-Type"] = "application/json";
      }
      absl::StatusOr<Value> expected = equals.Evaluate(scope);
      if (!expected.ok()) return Annotate(expected.status(), where);
      question.expected = *std::move(expected);
      questions.push_back(std::move(question));
    }
    return questions;
  }

  // Returns how an answer differs from what the original model said, or "".
  static std::string Mismatch(const core::ProbeRule& probe, const Value& expected,
                              const absl::StatusOr<HttpResponse>& response) {
    if (!response.ok()) return "no answer: " + Message(response.status());
    if (response->status < 200 || response->status >= 300) {
      return "status " + std::to_string(response->status) + ": " + response->body.substr(0, 120);
    }
    Value answer = response->body;
    if (!probe.answer_pointer.empty()) {
      const absl::StatusOr<Value> body = ParseJson(response->body);
      if (!body.ok()) return "the answer is no JSON: " + response->body.substr(0, 120);
      const Value* found = FindPointer(*body, probe.answer_pointer);
      if (found == nullptr)
        return "the answer has no " + probe.answer_pointer + ": " + response->body.substr(0, 120);
      answer = *found;
    } else if (!expected.is_string()) {
      if (absl::StatusOr<Value> body = ParseJson(response->body); body.ok())
        answer = *std::move(body);
    }
    if (NearlyEqual(expected, answer, probe.abs_tol.value_or(0), probe.rel_tol.value_or(0)))
      return "";
    return "answered " + ToJson(answer) + ", the model said " + ToJson(expected);
  }

  core::RuleResult JudgeProbe(const core::Rule& rule, const core::ProbeRule& probe) {
    const std::string subject = probe.method + " " + probe.path;
    absl::StatusOr<std::vector<Question>> questions = Questions(probe);
    if (!questions.ok()) return core::CannotJudge(rule, subject, Message(questions.status()));
    const auto count = static_cast<int64_t>(questions->size());
    std::mutex mutex;
    std::map<int64_t, std::string> mismatches;
    ForEachAtOnce(attempt_.tools().ports, count, kReplayThreads, attempt_.halt(),
                  [&](HttpClient& client, int64_t i) {
                    const Question& question = (*questions)[static_cast<size_t>(i)];
                    std::string mismatch =
                        Mismatch(probe, question.expected, client.Send(question.request));
                    if (mismatch.empty()) return;
                    std::lock_guard lock(mutex);
                    mismatches[i] = "row " + std::to_string(i + 1) + ": " + mismatch;
                  });
    for (Question& question : *questions) Remember(std::move(question.request));
    core::RuleResult result =
        core::JudgeNumber(rule, subject, static_cast<double>(mismatches.size()), " mismatches",
                          {std::nullopt, static_cast<double>(probe.max_mismatches)}, count);
    for (const auto& [row, text] : mismatches) {
      if (result.rows.size() < core::kOffendingRowsMax) result.rows.push_back(text);
    }
    if (!mismatches.empty() && result.message.empty()) result.message = result.rows.front();
    return result;
  }

  absl::StatusOr<Contract> ReadContract(const std::string& file) {
    const AgentPorts& ports = attempt_.tools().ports;
    CD4ML_ASSIGN_OR_RETURN(const std::unique_ptr<SourceRepo> repo,
                           ports.repos.Open(attempt_.task().repo));
    CD4ML_ASSIGN_OR_RETURN(const std::string text,
                           repo->ReadFile(attempt_.task().commit, file, kContractMax));
    CD4ML_ASSIGN_OR_RETURN(const Value value, ports.parser.ParseParams(text, file));
    absl::StatusOr<Contract> contract = ParseContract(value);
    if (!contract.ok()) return Annotate(contract.status(), file);
    return contract;
  }

  core::RuleResult JudgeContract(const core::Rule& rule, const core::ContractRule& body) {
    absl::StatusOr<Contract> contract = ReadContract(body.file);
    if (!contract.ok()) return core::CannotJudge(rule, body.file, Message(contract.status()));
    const std::unique_ptr<HttpClient> client = attempt_.tools().ports.http_client();
    std::vector<std::string> breaches;
    for (Interaction& interaction : contract->interactions) {
      interaction.request.url = base_url_ + interaction.request.url;
      const absl::StatusOr<HttpResponse> response = client->Send(interaction.request);
      const std::string breach = response.ok() ? BreachOf(interaction, *response)
                                               : "no answer: " + Message(response.status());
      if (!breach.empty()) breaches.push_back(interaction.name + ": " + breach);
      Remember(std::move(interaction.request));
    }
    const auto count = static_cast<int64_t>(contract->interactions.size());
    core::RuleResult result =
        core::JudgeNumber(rule, contract->consumer, static_cast<double>(breaches.size()),
                          " broken interactions", {std::nullopt, 0.0}, count);
    if (!breaches.empty() && result.message.empty()) result.message = breaches.front();
    if (breaches.size() > core::kOffendingRowsMax) breaches.resize(core::kOffendingRowsMax);
    result.rows = std::move(breaches);
    return result;
  }

  void Remember(HttpRequest request) {
    if (static_cast<int64_t>(sent_.size()) < kSentMax) sent_.push_back(std::move(request));
  }

  core::RuleResult JudgeLatency(const core::Rule& rule, const core::LatencyRule& latency) {
    if (sent_.empty()) {
      HttpRequest request;
      request.url =
          base_url_ + (stage_.service->ready_path.empty() ? "/" : stage_.service->ready_path);
      sent_.push_back(std::move(request));
    }
    std::vector<double> seconds(static_cast<size_t>(std::max<int64_t>(1, latency.requests)), -1);
    std::mutex mutex;
    std::string failure;
    ForEachAtOnce(
        attempt_.tools().ports, static_cast<int64_t>(seconds.size()),
        std::max(1, latency.concurrency), attempt_.halt(), [&](HttpClient& client, int64_t i) {
          const auto at = static_cast<size_t>(i);
          const absl::StatusOr<HttpResponse> response = client.Send(sent_[at % sent_.size()]);
          if (response.ok()) {
            seconds[at] = response->seconds;
            return;
          }
          std::lock_guard lock(mutex);
          failure = Message(response.status());
        });
    const auto unanswered =
        std::count_if(seconds.begin(), seconds.end(), [](double s) { return s < 0; });
    if (unanswered > 0) {
      return core::CannotJudge(rule, "latency",
                               std::to_string(unanswered) + " of " +
                                   std::to_string(seconds.size()) +
                                   " requests were not answered: " + failure);
    }
    std::sort(seconds.begin(), seconds.end());
    for (const double s : seconds) latencies_ms_.push_back(s * 1e3);
    std::optional<core::RuleResult> worst;
    const auto judge = [&](const std::optional<Duration>& bound, int percent) {
      if (!bound) return;
      const size_t rank = (seconds.size() * static_cast<size_t>(percent) + 99) / 100;
      core::RuleResult result =
          core::JudgeNumber(rule, "p" + std::to_string(percent), seconds[rank - 1] * 1e3, " ms",
                            {std::nullopt, static_cast<double>(bound->count())},
                            static_cast<int64_t>(seconds.size()));
      if (!worst || result.outcome > worst->outcome) worst = std::move(result);
    };
    judge(latency.p50, 50);
    judge(latency.p95, 95);
    judge(latency.p99, 99);
    return worst ? *std::move(worst)
                 : core::CannotJudge(rule, "latency", "the rule states no bound");
  }

  const Attempt& attempt_;
  const core::StageSpec& stage_;
  const std::string base_url_;
  std::vector<HttpRequest> sent_;  // For measuring latency.
  std::vector<double> latencies_ms_;
};

// Places the package and starts it. Returns once it is ready.
absl::Status Serve(Attempt& attempt, const core::StageSpec& stage, const std::string& base_url) {
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
  return AwaitReady(attempt.tools(), id, *stage.service, base_url, attempt.halt());
}

// The gate of a service that cannot be asked: every rule says why.
core::Verdict NotServing(const Attempt& attempt, const core::StageSpec& stage,
                         const std::string& why) {
  std::vector<core::RuleResult> results;
  for (const core::Rule& rule : stage.rules) {
    results.push_back(core::CannotJudge(rule, "service", why));
    results.back().rows = LastLines(attempt.paths().log(), core::kOffendingRowsMax);
  }
  return core::Conclude(std::move(results));
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
  const std::string base_url = "http://127.0.0.1:" + std::to_string(attempt.port());
  const bool is_known = attempt.HasStarted(attempt.ProcessId("serve"));
  if (absl::Status there = EnterRuntime(attempt, pipeline, stage, is_known); !there.ok()) {
    return FailedWithoutRuntime(there);
  }
  const absl::Status serving = Serve(attempt, stage, base_url);
  if (attempt.quitting()) return {};
  const bool is_theirs = absl::IsUnavailable(serving) || absl::IsDeadlineExceeded(serving);
  if (!serving.ok() && !is_theirs) {
    return Failed(attempt.cancelled() ? Reason::kCancelled : Reason::kInfra, serving);
  }
  const Duration start = attempt.tools().ports.clock.Steady();
  core::Verdict verdict;
  core::GateEvidence evidence;
  if (serving.ok()) {
    ContractJudge judge(attempt, stage, base_url);
    verdict = core::Conclude(judge.Judge());
    evidence.latencies_ms = judge.latencies_ms();
  } else {
    const std::vector<std::string> lines = LastLines(attempt.paths().log(), 1);
    verdict = NotServing(
        attempt, stage,
        "the packaged service " + Message(serving) +
            (lines.empty() ? "; it printed nothing" : "; its last line: " + lines.back()));
  }
  if (attempt.quitting()) return {};
  attempt.tools().exits.End(attempt.ProcessId("serve"), attempt.quit());
  attempt.tools().runtimes.Clear(attempt.runtime(), attempt.ProcessId("serve"));
  SayVerdict(attempt, verdict);
  attempt.Say("judged in " + FormatDuration(attempt.tools().ports.clock.Steady() - start));
  core::Outcome outcome = OutcomeOf(std::move(verdict));
  AttachGatePage(attempt, stage, std::move(evidence), outcome);
  return outcome;
}

}  // namespace cd4ml::agent
