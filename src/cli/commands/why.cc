// `cd4ml why`: why a run and its stages wait, or ended as they did.
#include "cd4ml/base/status.h"
#include "cd4ml/base/text.h"
#include "cli/commands/commands.h"
#include "cli/follow.h"
#include "cli/text.h"

namespace cd4ml::cli {
namespace {

struct Answer {
  const core::StageRun* stage;
  std::string because;                // Empty: nothing more is to be said.
  std::vector<std::string> attempts;  // Causes of the ended ones.
};

std::string Because(const RunView& view, const core::StageRun& stage) {
  const auto waiting = view.waiting.find(stage.plan.name);
  if (stage.state == core::StageState::kReady) {
    return waiting == view.waiting.end() ? "is about to start" : waiting->second;
  }
  if (stage.state == core::StageState::kBlocked && view.run.state == core::RunState::kQueued) {
    return "its run is queued";
  }
  if (stage.state == core::StageState::kFailed) {
    return std::string(core::ToText(stage.reason)) +
           (stage.message.empty() ? "" : ": " + stage.message);
  }
  return StageDetail(view.run, stage, "");
}

Answer Ask(const RunView& view, const core::StageRun& stage) {
  Answer answer{&stage, Because(view, stage), {}};
  if (stage.latest() != nullptr && !stage.latest()->reuse_note.empty())
    answer.attempts.push_back("was not reused: " + stage.latest()->reuse_note);
  for (const core::Attempt& attempt : stage.attempts) {
    const bool went_well = attempt.state == core::AttemptState::kSucceeded;
    if (!core::IsTerminal(attempt.state) || (went_well && stage.attempts.size() == 1)) continue;
    answer.attempts.push_back(AttemptText(attempt));
  }
  return answer;
}

std::string RunBecause(const RunView& view) {
  return core::IsTerminal(view.run.state) ? WhyNotPassed(view.run) : view.queued_behind;
}

Value ToValue(const RunView& view, const std::vector<Answer>& answers) {
  Value::List stages;
  for (const Answer& answer : answers) {
    Value::List attempts;
    for (const std::string& attempt : answer.attempts) attempts.emplace_back(attempt);
    Value::Map stage{{"stage", answer.stage->plan.name},
                     {"state", WordOf(*answer.stage).word},
                     {"reason", core::ToText(answer.stage->reason)},
                     {"because", answer.because},
                     {"attempts", std::move(attempts)}};
    stages.emplace_back(std::move(stage));
  }
  return Value::Map{{"run", view.run.id},
                    {"state", core::Word(view.run)},
                    {"because", RunBecause(view)},
                    {"stages", std::move(stages)}};
}

void PrintWrapped(const Terminal& out, const std::string& text) {
  if (text.empty()) return;
  for (const std::string& line : Wrap(SafeLine(text), out.width() - 4)) out.Line("    " + line);
}

void Print(const Terminal& out, const RunView& view, const std::vector<Answer>& answers) {
  const StateWord run_word = WordOf(core::Word(view.run));
  out.Line(out.Paint(SafeLine(run_word.symbol + " " + view.run.id + "  " + run_word.word),
                     run_word.style));
  PrintWrapped(out, RunBecause(view));
  for (const Answer& answer : answers) {
    const StateWord word = WordOf(*answer.stage);
    out.Line(out.Paint(word.symbol, word.style) + " " + SafeLine(answer.stage->plan.name) + "  " +
             out.Paint(word.word, word.style));
    PrintWrapped(out, answer.because);
    for (const std::string& attempt : answer.attempts) PrintWrapped(out, attempt);
  }
}

std::vector<Hint> HintsOf(const RunView& view) {
  const core::Run& run = view.run;
  if (run.state == core::RunState::kSucceeded) return {};
  if (core::IsTerminal(run.state)) return NextSteps(run);
  if (run.state == core::RunState::kQueued) {
    return {{"What is under way", "cd4ml run list --state running"},
            {"Do not wait", "cd4ml run cancel " + run.id}};
  }
  if (!view.waiting.empty()) return {{"What agents have", "cd4ml agent list"}};
  return {};
}

int Perform(Invocation& invocation) {
  const std::string asked = invocation.arguments.One("RUN");
  const size_t slash = asked.find('/', std::min(asked.find('/'), asked.size() - 1) + 1);
  const std::string stage = slash == std::string::npos ? "" : asked.substr(slash + 1);
  const absl::StatusOr<RunView> view = invocation.Query().GetRun(asked.substr(0, slash));
  if (!view.ok()) {
    return invocation.Fail(view.status(), IfNotFound(view.status(), {"Runs", "cd4ml run list"}));
  }
  std::vector<Answer> answers;
  std::vector<std::string> names;
  for (const core::StageRun& one : view->run.stages) {
    names.push_back(one.plan.name);
    if (stage.empty() || stage == one.plan.name) answers.push_back(Ask(*view, one));
  }
  if (answers.empty()) {
    return invocation.Fail(absl::NotFoundError("run " + view->run.id + " has no stage \"" + stage +
                                               "\"" + DidYouMean(stage, names)),
                           {{"Its stages", "cd4ml run show " + view->run.id}});
  }
  if (invocation.is_json()) {
    invocation.PrintJson(ToJson(ToValue(*view, answers)));
  } else {
    Print(invocation.out, *view, answers);
    invocation.Hints(HintsOf(*view));
  }
  return kExitOk;
}

}  // namespace

Command Why() {
  return {.path = "why",
          .group = "Runs",
          .summary = "say why a run and its stages wait, or ended as they did",
          .examples = {"why used-car-price/2", "why used-car-price/latest/train"},
          .operands = {{"RUN",
                        "a run, like used-car-price/2, or a stage of it, like "
                        "used-car-price/2/train"}},
          .perform = Perform};
}

}  // namespace cd4ml::cli
