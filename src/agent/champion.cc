// Starts the champion's package in its own runtime, and puts what it says into the rows that it was asked about.
#include "agent/champion.h"

#include <mutex>

#include "agent/blobs.h"
#include "agent/definitions.h"
#include "agent/executors/executor.h"
#include "agent/exits.h"
#include "agent/files.h"
#include "agent/gpus.h"
#include "agent/load.h"
#include "agent/probe.h"
#include "agent/service_process.h"
#include "agent/workspace.h"
#include "cd4ml/base/status.h"

namespace cd4ml::agent {
namespace {

constexpr int64_t kRowsMax = int64_t{256} << 20;
constexpr int kAskingThreads = 4;
constexpr int kWithoutAnswerMax = 8;   // Each may take as long as it likes.

// What the champion said of every row, and how it failed to.
class Answers {
 public:
  Answers(const core::StageSpec& stage, size_t rows) : stage_(stage), of_row_(rows), scores_(rows) {}

  // Takes what it said of a row, as JSON. Returns whether to go on.
  bool Take(size_t row, const absl::StatusOr<Value>& said, bool is_answered) {
    const absl::StatusOr<Value> answer = Part(said, stage_.champion_answer);
    const absl::StatusOr<Value> score = stage_.champion_score.empty() ? Value() : Part(said, stage_.champion_score);
    std::string why = !said.ok()     ? Message(said.status())
                      : !answer.ok() ? Message(answer.status())
                      : !score.ok()  ? Message(score.status())
                                     : "";
    if (why.empty() && (!answer->is_scalar() || answer->is_null())) why = "the answer is no number or text: " + Shown(*answer);
    if (why.empty() && !stage_.champion_score.empty() && !score->is_number()) why = "the score is no number: " + Shown(*score);
    std::lock_guard lock(mutex_);
    if (why.empty()) {
      of_row_[row] = *answer;
      scores_[row] = *score;
      return true;
    }
    if (refused_++ == 0 || row < first_) {
      first_ = row;
      why_ = "row " + std::to_string(row + 1) + ": " + why;
    }
    if (!is_answered) ++without_answer_;
    return without_answer_ < kWithoutAnswerMax;
  }

  // To be called when all threads are done.
  int without_answer() const { return without_answer_; }
  std::string Refusal() const {
    if (refused_ == 0) return "";
    return "the champion has no answer to " + std::to_string(refused_) + " of " + std::to_string(of_row_.size()) + " rows; " + why_;
  }
  size_t size() const { return of_row_.size(); }
  void AddTo(size_t row, Value::Map& members) const {
    members[kChampionAnswer] = of_row_[row];
    if (!stage_.champion_score.empty()) members[kChampionScore] = scores_[row];
  }

 private:
  static absl::StatusOr<Value> Part(const absl::StatusOr<Value>& said, const std::string& pointer) {
    return said.ok() ? PointedAt(*said, pointer) : said;
  }
  static std::string Shown(const Value& value) { return ToJson(value).substr(0, 120); }

  const core::StageSpec& stage_;
  std::mutex mutex_;
  std::vector<Value> of_row_, scores_;
  int64_t refused_ = 0;
  int without_answer_ = 0;
  size_t first_ = 0;   // The first row without one, and why it has none.
  std::string why_;
};

// One asking; what its processes run in is the champion's runtime while it lives.
class Asking {
 public:
  Asking(Attempt& attempt, const core::StageSpec& stage, const std::stop_token& halt)
      : attempt_(attempt),
        stage_(stage),
        halt_(halt),
        service_(*attempt.task().champion_service),
        package_(attempt.paths().room() + "/champion-package"),
        own_runtime_(attempt.runtime()) {}
  ~Asking() { attempt_.set_runtime(own_runtime_); }
  Asking(const Asking&) = delete;
  Asking& operator=(const Asking&) = delete;

  absl::StatusOr<ChampionAnswers> Ask(const std::string& rows) {
    CD4ML_ASSIGN_OR_RETURN(const std::string text, ReadText(rows, kRowsMax));
    core::ProbeRule probe = stage_.champion_request.value_or(core::ProbeRule());
    probe.equals = "row";
    CD4ML_ASSIGN_OR_RETURN(const std::vector<Question> questions, ReadProbeSet(text, probe, "predictions"));
    Answers answers(stage_, questions.size());
    const absl::Status asked = stage_.champion_request ? AskService(probe, questions, answers) : Predict(rows, answers);
    if (halt_.stop_requested()) return absl::CancelledError("cancelled");
    CD4ML_RETURN_IF_ERROR(Annotate(asked, "champion " + service_.deployment));
    if (std::string refusal = answers.Refusal(); !refusal.empty()) return ChampionAnswers{"", std::move(refusal)};
    std::string out;
    for (size_t i = 0; i < questions.size(); ++i) {
      if (!questions[i].expected.is_map()) return absl::InvalidArgumentError("row " + std::to_string(i + 1) + " of the predictions is no JSON object");
      Value::Map row = questions[i].expected.map();
      answers.AddTo(i, row);
      out += ToJson(row) + "\n";
    }
    const std::string file = attempt_.paths().room() + "/with-champion.jsonl";
    CD4ML_RETURN_IF_ERROR(WriteText(file, out));
    return ChampionAnswers{file, ""};
  }

 private:
  // Unpacks the package anew, since the stage's command could write to that in $CD4ML_CHAMPION, and enters its runtime.
  absl::Status Prepare(const std::string& process) {
    CD4ML_ASSIGN_OR_RETURN(definition_, attempt_.tools().definitions.Get(service_.definition, halt_));
    deploy_ = definition_->FindStage(service_.stage);
    if (deploy_ == nullptr) return absl::InternalError("its definition has no stage \"" + service_.stage + "\"");
    const bool is_known = attempt_.HasStarted(process);
    if (!is_known) {
      CD4ML_RETURN_IF_ERROR(RemoveAll(package_));
      CD4ML_RETURN_IF_ERROR(PlacePackage(attempt_.tools(), service_.package, service_.package_path, package_, halt_));
    }
    return EnterRuntime(attempt_, *definition_, *deploy_, is_known);
  }

  absl::Status AskService(const core::ProbeRule& probe, const std::vector<Question>& questions, Answers& answers) {
    const std::string id = attempt_.ProcessId("champion");
    CD4ML_RETURN_IF_ERROR(Prepare(id));
    if (!deploy_->service) {
      return absl::FailedPreconditionError("it was deployed by hooks and not as a service, so it cannot be asked; "
                                           "let `predict` name a command that its package has");
    }
    CD4ML_RETURN_IF_ERROR(Start(id));
    const std::string base_url = "http://127.0.0.1:" + std::to_string(attempt_.port());
    absl::Status status = AwaitReady(attempt_.tools(), id, *deploy_->service, base_url, halt_);
    if (status.ok()) {
      attempt_.Say("asking the champion " + service_.deployment + " about " + std::to_string(questions.size()) + " rows");
      AskAll(probe, questions, base_url, answers);
      if (answers.without_answer() > 0) status = absl::UnavailableError(answers.Refusal());
    }
    if (!status.ok()) status = absl::Status(status.code(), Message(status) + LastWords(attempt_.paths().log()));
    if (attempt_.quitting()) return status;   // The next agent finds it.
    attempt_.tools().exits.End(id, attempt_.quit());
    attempt_.tools().runtimes.Clear(attempt_.runtime(), id);
    return status;
  }

  absl::Status Start(const std::string& id) {
    ProcessSpec spec;
    spec.id = id;
    spec.argv = Argv(deploy_->service->run);
    spec.env = Env();
    spec.dir = package_;
    spec.log = attempt_.paths().log();
    spec.timeout = attempt_.task().timeout;
    spec.grace = deploy_->grace;
    Enter(attempt_.runtime(), attempt_.paths().room(), spec);
    return attempt_.Start(spec);
  }

  // As its deploy says, but for what tells it where it is live.
  std::map<std::string, std::string> Env() const {
    std::map<std::string, std::string> env = attempt_.tools().config.env;
    for (const auto& [name, value] : deploy_->env) env[name] = value;
    env["CD4ML_PORT"] = std::to_string(attempt_.port());
    env["CD4ML_STAGE"] = service_.stage;
    env["CD4ML_ENVIRONMENT"] = service_.environment;
    env["CD4ML_MODEL_DIGEST"] = service_.model_digest;
    ShowGpus(attempt_.gpus(), attempt_.tools().config.gpus, env);
    return env;
  }

  void AskAll(const core::ProbeRule& probe, const std::vector<Question>& questions, const std::string& base_url, Answers& answers) {
    ForEachAtOnce(attempt_.tools().ports.http_client, static_cast<int64_t>(questions.size()), kAskingThreads, halt_,
                  [&](HttpClient& client, int64_t i) {
                    const auto row = static_cast<size_t>(i);
                    HttpRequest request;
                    request.method = probe.method;
                    request.url = base_url + probe.path;
                    request.timeout = attempt_.tools().config.answer_timeout;
                    if (questions[row].sent) {
                      request.body = ToJson(*questions[row].sent);
                      request.headers["Content-Type"] = "application/json";
                    }
                    const absl::StatusOr<HttpResponse> response = client.Send(request);
                    return answers.Take(row, response.ok() ? JsonOf(*response) : response.status(), response.ok());
                  });
  }

  // Runs the gate's command in the package: it reads $CD4ML_ROWS and writes an answer a line, as JSON, to $CD4ML_ANSWERS.
  absl::Status Predict(const std::string& rows, Answers& answers) {
    CD4ML_RETURN_IF_ERROR(Prepare(attempt_.ProcessId("champion")));
    const std::string file = attempt_.paths().room() + "/champion-answers.jsonl";
    std::map<std::string, std::string> env = Env();
    env["CD4ML_ROWS"] = rows;
    env["CD4ML_ANSWERS"] = file;
    const core::Outcome outcome = RunCommand(attempt_, stage_, stage_.champion_predict, "champion", package_, env);
    if (outcome.state != core::AttemptState::kSucceeded) return absl::UnavailableError("`predict`: " + outcome.message);
    CD4ML_ASSIGN_OR_RETURN(const std::string text, ReadText(file, kRowsMax));
    core::ProbeRule whole;
    whole.equals = "row";
    CD4ML_ASSIGN_OR_RETURN(std::vector<Question> lines, ReadProbeSet(text, whole, "answers"));
    if (lines.size() != answers.size()) {
      return absl::InvalidArgumentError("`predict` has written " + std::to_string(lines.size()) + " answers to " +
                                        std::to_string(answers.size()) + " rows");
    }
    for (size_t i = 0; i < lines.size(); ++i) answers.Take(i, lines[i].expected, /*is_answered=*/true);
    return absl::OkStatus();
  }

  Attempt& attempt_;
  const core::StageSpec& stage_;
  const std::stop_token halt_;
  const ServiceTask& service_;
  const std::string package_;
  const Runtime own_runtime_;
  std::shared_ptr<const core::PipelineSpec> definition_;
  const core::StageSpec* deploy_ = nullptr;   // Of `definition_`: what made the champion live.
};

}  // namespace

absl::StatusOr<ChampionAnswers> AskChampion(Attempt& attempt, const core::StageSpec& stage, const std::string& rows,
                                            const std::stop_token& halt) {
  return Asking(attempt, stage, halt).Ask(rows);
}

}  // namespace cd4ml::agent
