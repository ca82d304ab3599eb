// Three ways to show a run while it goes on; all take their words from words.h.
#include "cli/progress.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <set>

#include "cd4ml/base/value.h"
#include "cli/live_block.h"
#include "cli/text.h"

namespace cd4ml::cli {
namespace {

constexpr Duration kHeartbeat{30'000};
constexpr size_t kHeartbeatStagesMax = 3;

std::string TimeText(Duration span) { return span.count() > 0 ? FormatDuration(span) : ""; }

// Returns "04:31": minutes and seconds since the run was created.
std::string Elapsed(UtcTime begin, UtcTime at) {
  const int64_t seconds = std::max<int64_t>(0, (at - begin).count() / 1000);
  char text[32];
  std::snprintf(text, sizeof text, "%02d:%02d", static_cast<int>(seconds / 60),
                static_cast<int>(seconds % 60));
  return text;
}

void AddStage(const RunView& view, const core::StageRun& stage, UtcTime now,
              std::vector<Transition>& transitions) {
  const std::string& name = stage.plan.name;
  const auto add = [&](UtcTime at, const std::string& key, int attempt, const std::string& word,
                       const std::string& time, const std::string& detail) {
    transitions.push_back(
        {at.is_set() ? at : now, name + "/" + key, name, attempt, word, time, detail});
  };
  for (const core::Attempt& attempt : stage.attempts) {
    const std::string number = std::to_string(attempt.number);
    if (attempt.started.is_set()) {
      add(attempt.started, "running/" + number, attempt.number, "running", "",
          attempt.agent + (attempt.number > 1 ? ", attempt " + number : ""));
    }
    const bool counts = core::IsTerminal(stage.state) && &attempt == &stage.attempts.back();
    if (!core::IsTerminal(attempt.state) || counts) continue;
    const UtcTime begin = attempt.started.is_set() ? attempt.started : attempt.granted;
    add(attempt.ended, "ended/" + number, attempt.number, std::string(core::ToText(attempt.state)),
        TimeText(attempt.ended - begin), attempt.outcome.message);
  }
  const auto waiting = view.waiting.find(name);
  if (stage.state == core::StageState::kReady && waiting != view.waiting.end()) {
    add(now, "waiting/" + std::to_string(stage.attempts.size()), 0, "waiting", "", waiting->second);
  }
  if (core::IsTerminal(stage.state)) {
    const core::Attempt* latest = stage.latest();
    add(stage.ended, "end", latest == nullptr ? 0 : latest->number, WordOf(stage).word,
        TimeText(StageTime(stage, now)), StageDetail(view.run, stage, ""));
  }
}

// When its turn came: a run that waited for others has had ready stages only since then.
UtcTime BeginOf(const core::Run& run) {
  UtcTime begin;
  for (const core::StageRun& stage : run.stages) {
    if (!stage.first_ready.is_set()) continue;
    if (!begin.is_set() || stage.first_ready < begin) begin = stage.first_ready;
  }
  return begin.is_set() ? begin : run.created;
}

// Prints one line, or one JSON object, per change.
class TransitionLines : public RunObserver {
 public:
  TransitionLines(Invocation& invocation, const Terminal& screen, bool as_json)
      : invocation_(invocation), screen_(screen), as_json_(as_json) {}

  void Update(const RunView& view) override {
    view_ = view;
    for (const core::StageRun& stage : view.run.stages) {
      name_width_ = std::max(name_width_, DisplayWidth(stage.plan.name));
    }
    for (const Transition& transition : TransitionsOf(view, invocation_.ports.clock.Now())) {
      if (told_.insert(transition.key).second) Print(transition);
    }
  }

  void Tick() override {
    if (as_json_ || invocation_.ports.clock.Steady() - printed_ < kHeartbeat) return;
    const UtcTime now = invocation_.ports.clock.Now();
    if (view_.run.state == core::RunState::kQueued) {
      Print({now, "", "", 0, "queued", "", view_.queued_behind});
    }
    size_t shown = 0;
    for (const core::StageRun& stage : view_.run.stages) {
      const auto waiting = view_.waiting.find(stage.plan.name);
      const bool is_waiting =
          stage.state == core::StageState::kReady && waiting != view_.waiting.end();
      if (!is_waiting && stage.state != core::StageState::kRunning) continue;
      if (++shown > kHeartbeatStagesMax) break;
      Print({now, "", stage.plan.name, 0, WordOf(stage).word,
             is_waiting ? "" : TimeText(StageTime(stage, now)), is_waiting ? waiting->second : ""});
    }
    printed_ = invocation_.ports.clock.Steady();
  }

  void Finish() override {
    const core::Run& run = view_.run;
    if (!as_json_ || !core::IsTerminal(run.state)) return;
    screen_.Line(ToJson(Value::Map{{"time", FormatTime(run.ended)},
                                   {"run", run.id},
                                   {"state", core::Word(run)},
                                   {"detail", WhyNotPassed(run)},
                                   {"exit_code", static_cast<int>(ExitCodeOf(run))}}));
  }

  bool tells_end() const override { return as_json_; }

 private:
  void Print(const Transition& transition) {
    printed_ = invocation_.ports.clock.Steady();
    if (as_json_) return PrintJson(transition);
    std::string line = Elapsed(view_.run.created, transition.at) + " ";
    line += transition.stage.empty() ? view_.run.id + " " + transition.word
                                     : Pad(transition.stage, name_width_) + "  " +
                                           Pad(transition.word, 11) + " " + Pad(transition.time, 6);
    if (!transition.detail.empty()) line += " " + transition.detail;
    line = SafeLine(line);
    screen_.Line(line.substr(0, line.find_last_not_of(' ') + 1));
  }

  void PrintJson(const Transition& transition) const {
    Value::Map object = {
        {"time", FormatTime(transition.at)}, {"run", view_.run.id}, {"state", transition.word}};
    if (!transition.stage.empty()) object["stage"] = transition.stage;
    if (transition.attempt > 0) object["attempt"] = transition.attempt;
    if (!transition.detail.empty()) object["detail"] = transition.detail;
    screen_.Line(ToJson(object));
  }

  Invocation& invocation_;
  const Terminal& screen_;
  const bool as_json_;
  RunView view_;
  std::set<std::string> told_;
  size_t name_width_ = 0;
  Duration printed_{0};
};

class Silence : public RunObserver {
 public:
  void Update(const RunView&) override {}
  void Tick() override {}
  void Finish() override {}
};

}  // namespace

std::vector<Transition> TransitionsOf(const RunView& view, UtcTime now) {
  const core::Run& run = view.run;
  std::vector<Transition> transitions;
  if (run.state == core::RunState::kQueued) {
    transitions.push_back({run.created, "queued", "", 0, "queued", "", view.queued_behind});
  }
  if (HasBegun(run)) {
    transitions.push_back({BeginOf(run), "started", "", 0, "started", "",
                           CommitText(run.pins.commit, run.pins.commit_subject)});
  }
  if (run.cancel_requested) {
    transitions.push_back({now, "cancelling", "", 0, "cancelling", "", run.cancel_reason});
  }
  for (const core::StageRun& stage : run.stages) AddStage(view, stage, now, transitions);
  std::stable_sort(transitions.begin(), transitions.end(),
                   [](const Transition& a, const Transition& b) { return a.at < b.at; });
  return transitions;
}

std::unique_ptr<RunObserver> MakeSilence() { return std::make_unique<Silence>(); }

std::unique_ptr<RunObserver> MakeProgress(Invocation& invocation, const Terminal& screen) {
  std::string mode = invocation.arguments.One(
      "progress", Variable(invocation.ports.environment, "CD4ML_PROGRESS"));
  if (mode.empty() || mode == "auto") mode = screen.can_repaint() ? "tty" : "plain";
  if (mode == "none" || invocation.quiet) return MakeSilence();
  if (mode == "tty") return MakeLiveBlock(invocation, screen);
  return std::make_unique<TransitionLines>(invocation, screen, /*as_json=*/mode == "json");
}

}  // namespace cd4ml::cli
