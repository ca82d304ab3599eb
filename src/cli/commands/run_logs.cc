// `cd4ml run logs`: the output of a run's stages, also of one that still runs or has not begun.
#include <algorithm>
#include <map>
#include <set>

#include "cd4ml/base/status.h"
#include "cd4ml/base/text.h"
#include "cli/commands/commands.h"
#include "cli/follow.h"
#include "cli/log_lines.h"
#include "cli/text.h"

namespace cd4ml::cli {
namespace {

struct Selection {
  std::vector<std::string> stages;  // Empty: all.
  bool only_failed = false;
  int attempt = 0;  // 0: the latest.

  bool Has(const core::StageRun& stage) const {
    if (only_failed && stage.state != core::StageState::kFailed) return false;
    return stages.empty() ||
           std::find(stages.begin(), stages.end(), stage.plan.name) != stages.end();
  }
};

absl::StatusOr<std::vector<const core::StageRun*>> Select(const core::Run& run,
                                                          const Selection& selection) {
  for (const std::string& name : selection.stages) {
    if (run.FindStage(name) != nullptr) continue;
    std::vector<std::string> names;
    for (const core::StageRun& stage : run.stages) names.push_back(stage.plan.name);
    return absl::NotFoundError(run.id + " has no stage \"" + name + "\"" + DidYouMean(name, names));
  }
  std::vector<const core::StageRun*> selected;
  for (const core::StageRun& stage : run.stages) {
    if (selection.Has(stage)) selected.push_back(&stage);
  }
  return selected;
}

// Prints log lines of one or several stages.
class LinePrinter {
 public:
  LinePrinter(const Invocation& invocation, bool prefixes, const core::Run& run)
      : out_(invocation.out),
        raw_(invocation.arguments.Has("raw")),
        sgr_(out_.is_terminal() && out_.has_color() ? Sgr::kKeep : Sgr::kDrop),
        prefixes_(prefixes && !raw_) {
    for (const core::StageRun& stage : run.stages)
      width_ = std::max(width_, DisplayWidth(stage.plan.name));
  }

  void Print(const std::string& stage, const std::string& line) const {
    if (raw_) return out_.Line(line);
    out_.Line((prefixes_ ? out_.Paint(Pad(SafeLine(stage), width_) + " │ ", Style::kDim) : "") +
              SafeLine(line, sgr_));
  }

  // "── train passed in 4m17s (attempt 1) ──", between the outputs of several stages.
  void End(const core::StageRun& stage) const {
    if (!prefixes_ || stage.latest() == nullptr) return;
    const core::Attempt& attempt = *stage.latest();
    std::string end = "── " + stage.plan.name + " " + WordOf(stage).word;
    if (attempt.started.is_set()) end += " in " + FormatDuration(attempt.ended - attempt.started);
    end += " (";
    if (stage.reason == core::Reason::kExitCode)
      end += "exit " + std::to_string(attempt.outcome.exit_code) + ", ";
    out_.Line(out_.Paint(SafeLine(end + "attempt " + std::to_string(attempt.number) + ") ──"),
                         Style::kDim));
  }

 private:
  const Terminal& out_;
  const bool raw_;
  const Sgr sgr_;
  const bool prefixes_;
  size_t width_ = 0;
};

// Says in words why there is nothing to read.
std::string NothingText(const RunView& view, const core::StageRun& stage) {
  if (!stage.attempts.empty()) return stage.plan.name + " wrote no output";
  const auto waiting = view.waiting.find(stage.plan.name);
  const std::string why =
      StageDetail(view.run, stage, waiting == view.waiting.end() ? "" : waiting->second);
  const std::string state =
      core::IsTerminal(stage.state) ? WordOf(stage).word + " without an attempt" : "has not begun";
  return stage.plan.name + " " + state + (why.empty() ? "" : ": " + why);
}

absl::Status PrintStage(Invocation& invocation, QueryApi& query, const RunView& view,
                        const core::StageRun& stage, const Selection& selection, int tail,
                        const LinePrinter& printer) {
  const int attempt =
      selection.attempt > 0 || stage.attempts.empty() ? selection.attempt : stage.latest()->number;
  if (attempt > static_cast<int>(stage.attempts.size())) {
    return absl::NotFoundError(
        stage.plan.name + " has had " +
        Count(static_cast<int64_t>(stage.attempts.size()), "attempt", "attempts"));
  }
  // Of what was taken over, whoever asks for it by name sees how it was made.
  const bool is_taken = attempt == 0 && stage.carried.has_value() && !selection.stages.empty();
  const core::AttemptId id = is_taken ? stage.carried->from : core::AttemptId{view.run.id, stage.plan.name, attempt};
  if (is_taken) invocation.Note(SafeLine("the log of " + id.stage + " of " + id.run + ", which " + stage.plan.name + " takes over"));
  size_t lines = 0;
  const auto print = [&](const std::string& line) {
    ++lines;
    printer.Print(stage.plan.name, line);
  };
  if (id.number > 0 && tail > 0) {
    const core::Outcome& outcome = is_taken ? stage.carried->outcome : stage.attempts[static_cast<size_t>(attempt) - 1].outcome;
    const auto last = ReadLastLines(query, id, outcome.log_bytes, static_cast<size_t>(tail));
    if (!last.ok()) return last.status();
    for (const std::string& line : *last) print(line);
  } else if (id.number > 0) {
    LogReader reader(id);
    CD4ML_RETURN_IF_ERROR(reader.Read(query, print));
    reader.Flush(print);
  }
  const bool is_asked_for = !selection.stages.empty() || !stage.attempts.empty();
  if (lines == 0 && is_asked_for && !is_taken) invocation.Note(SafeLine(NothingText(view, stage)));
  if (core::IsTerminal(stage.state)) printer.End(stage);
  return absl::OkStatus();
}

// Prints what the selected stages write while the run goes on.
class LogFollower : public RunObserver {
 public:
  LogFollower(Invocation& invocation, Selection selection, LinePrinter printer)
      : invocation_(invocation), selection_(std::move(selection)), printer_(printer) {}

  void Update(const RunView& view) override {
    view_ = view;
    Tick();
  }

  void Tick() override {
    for (const core::StageRun& stage : view_.run.stages) {
      if (!selection_.Has(stage)) continue;
      for (const core::Attempt& attempt : stage.attempts) Read(stage, attempt);
      if (core::IsTerminal(stage.state) && ended_.insert(stage.plan.name).second)
        printer_.End(stage);
    }
  }

  void Finish() override {}

 private:
  void Read(const core::StageRun& stage, const core::Attempt& attempt) {
    if (selection_.attempt > 0 && attempt.number != selection_.attempt) return;
    const core::AttemptId id{view_.run.id, stage.plan.name, attempt.number};
    LogReader& reader = readers_.try_emplace(id, id).first->second;
    if (reader.has_ended()) return;
    const auto print = [&](const std::string& line) { printer_.Print(stage.plan.name, line); };
    // What cannot be read now (the daemon restarts) is read at the next tick, from the same place.
    (void)reader.Read(invocation_.Query(), print);
    if (core::IsTerminal(attempt.state)) reader.Flush(print);
  }

  Invocation& invocation_;
  const Selection selection_;
  const LinePrinter printer_;
  RunView view_;
  std::map<core::AttemptId, LogReader> readers_;
  std::set<std::string> ended_;
};

int Perform(Invocation& invocation) {
  const absl::StatusOr<int> attempt = invocation.Number("attempt", 0, 1, 1'000'000);
  if (!attempt.ok()) return invocation.Fail(attempt.status());
  const absl::StatusOr<int> tail = invocation.Number("tail", 0, 1, 1'000'000);
  if (!tail.ok()) return invocation.Fail(tail.status());
  if (*tail > 0 && invocation.arguments.Has("follow")) {
    return invocation.FailUsage("--tail and --follow cannot be used together");
  }
  const Selection selection{invocation.arguments.Many("STAGE"), invocation.arguments.Has("failed"),
                            *attempt};
  const absl::StatusOr<RunView> view = invocation.Query().GetRun(invocation.arguments.One("RUN"));
  if (!view.ok())
    return invocation.Fail(view.status(), IfNotFound(view.status(), {"Runs", "cd4ml run list"}));
  const auto selected = Select(view->run, selection);
  if (!selected.ok())
    return invocation.Fail(selected.status(), {{"Its stages", "cd4ml run show " + view->run.id}});
  const bool follows = invocation.arguments.Has("follow");
  const bool is_one = selection.stages.size() == 1 || (!follows && selected->size() == 1);
  const LinePrinter printer(invocation, /*prefixes=*/!is_one, view->run);
  if (follows) {
    LogFollower follower(invocation, selection, printer);
    return FollowToEnd(invocation, view->run.id, follower, invocation.err);
  }
  const bool has_begun =
      std::any_of(selected->begin(), selected->end(),
                  [](const core::StageRun* stage) { return !stage->attempts.empty(); });
  if (!has_begun && selection.stages.empty()) {
    invocation.Note("no stage of " + SafeLine(view->run.id) +
                    (selection.only_failed ? " has begun and failed" : " has begun"));
  }
  for (const core::StageRun* stage : *selected) {
    const absl::Status status =
        PrintStage(invocation, invocation.Query(), *view, *stage, selection, *tail, printer);
    if (!status.ok()) return invocation.Fail(status);
  }
  return kExitOk;
}

}  // namespace

Command RunLogs() {
  return {.path = "run logs",
          .group = "Runs",
          .summary = "print what stages wrote",
          .examples = {"run logs used-car-price/2 train", "run logs used-car-price/latest --follow",
                       "run logs used-car-price/2 --failed --tail 50"},
          .operands = {{"RUN", "a run, like used-car-price/2 (cd4ml help refs)"},
                       {"STAGE", "only of these stages", false, true}},
          .options = {{"-f,--follow", "",
                       "go on until the run has ended; waits for what has not begun"},
                      {"--attempt", "N", "of this attempt; without it: of the latest"},
                      {"--tail", "N", "only the last N lines of each stage"},
                      {"--failed", "", "only of stages that failed"},
                      {"--raw", "", "bytes as they were written, without stage names"}},
          .perform = Perform,
          .alias = "logs"};
}

}  // namespace cd4ml::cli
