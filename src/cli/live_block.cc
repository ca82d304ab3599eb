// Lays the block out as text first; painting over is then only: cursor up, each line anew, erase
// the rest.
#include "cli/live_block.h"

#include <algorithm>
#include <map>
#include <optional>

#include "cli/log_lines.h"
#include "cli/text.h"

namespace cd4ml::cli {
namespace {

constexpr Duration kRepaint{500};
constexpr size_t kLogLinesMax = 4;
constexpr size_t kNameMax = 32;

// How much a stage matters when not all fit: what runs and what failed first.
int RankOf(const core::StageRun& stage) {
  switch (stage.state) {
    case core::StageState::kFailed:
      return 0;
    case core::StageState::kRunning:
    case core::StageState::kLeased:
      return 1;
    case core::StageState::kReady:
      return 2;
    case core::StageState::kBlocked:
      return 3;
    case core::StageState::kSucceeded:
      return 4;
    case core::StageState::kCancelled:
    case core::StageState::kSkipped:
      return 5;
  }
  return 5;
}

// Returns the positions of the stages to show, in their order.
std::vector<size_t> Choose(const std::vector<core::StageRun>& stages, size_t room) {
  std::vector<size_t> chosen(stages.size());
  for (size_t i = 0; i < chosen.size(); ++i) chosen[i] = i;
  if (chosen.size() <= room) return chosen;
  std::stable_sort(chosen.begin(), chosen.end(),
                   [&](size_t a, size_t b) { return RankOf(stages[a]) < RankOf(stages[b]); });
  chosen.resize(room > 0 ? room - 1 : 0);  // One line says what is left out.
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

std::string LeftOut(const std::vector<core::StageRun>& stages, const std::vector<size_t>& chosen) {
  std::map<std::string, int> counts;
  for (size_t i = 0; i < stages.size(); ++i) {
    if (!std::binary_search(chosen.begin(), chosen.end(), i)) ++counts[WordOf(stages[i]).word];
  }
  std::vector<std::string> parts;
  for (const auto& [word, count] : counts) parts.push_back(std::to_string(count) + " more " + word);
  return parts.empty() ? "" : "  … " + Join(parts, ", ");
}

std::string StageLine(const BlockContent& content, const core::StageRun& stage,
                      const Terminal& screen, size_t name_width, size_t width) {
  const auto waiting = content.view.waiting.find(stage.plan.name);
  const StateWord word = WordOf(stage);
  const Duration time = StageTime(stage, content.now);
  const std::string head = "  " + word.symbol + " ";
  const std::string name = Pad(Fit(SafeLine(stage.plan.name), name_width), name_width) + "  ";
  const std::string state = Pad(word.word, 11) + " ";
  const std::string rest =
      Pad(time.count() > 0 ? FormatDuration(time) : "", 7) +
      SafeLine(StageDetail(content.view.run, stage,
                           waiting == content.view.waiting.end() ? "" : waiting->second));
  const size_t used = DisplayWidth(head + name + state);
  if (used >= width) return Fit(head + name + state, width);
  const std::string tail = Fit(rest, width - used);
  return screen.Paint(head, word.style) + name + screen.Paint(state, word.style) +
         tail.substr(0, tail.find_last_not_of(' ') + 1);
}

std::vector<std::string> LogLines(const BlockContent& content, size_t width, size_t room) {
  std::vector<std::string> lines;
  if (content.log_lines.empty() || room < 2) return lines;
  const size_t count = std::min(room - 1, content.log_lines.size());
  lines.emplace_back();
  std::string prefix = "  " + content.log_stage + " │ ";
  for (size_t i = content.log_lines.size() - count; i < content.log_lines.size(); ++i) {
    lines.push_back(Fit(prefix + content.log_lines[i], width));
    prefix = std::string(DisplayWidth(prefix) - 2, ' ') + "│ ";
  }
  return lines;
}

class LiveBlock : public RunObserver {
 public:
  LiveBlock(Invocation& invocation, const Terminal& screen)
      : invocation_(invocation), screen_(screen) {}

  void Update(const RunView& view) override {
    view_ = view;
    is_stale_ = true;
  }

  void Tick() override {
    const Duration now = invocation_.ports.clock.Steady();
    if (!is_stale_ && now - painted_ < kRepaint) return;
    painted_ = now;
    ReadLog();
    Paint(/*is_final=*/false);
  }

  void Finish() override {
    if (!view_.run.id.empty()) Paint(/*is_final=*/true);
  }

 private:
  void ReadLog() {
    const auto running = std::find_if(
        view_.run.stages.begin(), view_.run.stages.end(),
        [](const core::StageRun& stage) { return stage.state == core::StageState::kRunning; });
    if (running == view_.run.stages.end()) return;
    const core::AttemptId attempt{view_.run.id, running->plan.name, running->latest()->number};
    if (!log_ || log_->attempt() != attempt) {
      log_.emplace(attempt);
      lines_.clear();
    }
    // A log that cannot be read now is read at the next repaint; the run's own state is what
    // matters.
    (void)log_->Read(invocation_.Query(), [this](const std::string& line) {
      lines_.push_back(SafeLine(line));
      if (lines_.size() > kLogLinesMax) lines_.erase(lines_.begin());
    });
  }

  void Paint(bool is_final) {
    const BlockContent content{view_, invocation_.ports.clock.Now(),
                               log_ ? log_->attempt().stage : "",
                               log_ ? lines_ : std::vector<std::string>(), is_final};
    // The cursor rests below the block, so one line of the screen is not the block's.
    const std::vector<std::string> lines =
        LayOutBlock(content, screen_, screen_.width(), std::max<size_t>(2, screen_.height()) - 1);
    std::string bytes = height_ == 0 ? "" : "\x1b[" + std::to_string(height_) + "A\r";
    for (const std::string& line : lines) bytes += line + "\x1b[K\n";
    screen_.Write(bytes + "\x1b[J");
    height_ = lines.size();
    is_stale_ = false;
  }

  Invocation& invocation_;
  const Terminal& screen_;
  RunView view_;
  std::optional<LogReader> log_;
  std::vector<std::string> lines_;
  size_t height_ = 0;  // Lines painted the last time.
  Duration painted_{0};
  bool is_stale_ = true;
};

}  // namespace

std::vector<std::string> LayOutBlock(const BlockContent& content, const Terminal& screen,
                                     size_t width, size_t height) {
  const core::Run& run = content.view.run;
  const StateWord word = WordOf(core::Word(run));
  std::vector<std::string> lines;
  const std::string age = FormatDuration(std::max(Duration(0), content.now - run.created));
  const bool is_queued = run.state == core::RunState::kQueued;
  const std::string when =
      core::IsTerminal(run.state) ? "took " + FormatDuration(run.ended - run.created)
      : is_queued                 ? "for " + age
                                  : "started " + age + " ago";
  lines.push_back(Fit(SafeLine(run.id + "  " + word.text() + "  " + when + "  " +
                               CommitText(run.pins.commit, run.pins.commit_subject)),
                      width));
  if (is_queued && height >= 3) {
    lines.push_back(Fit("  " + SafeLine(content.view.queued_behind), width));
  }
  const bool is_roomy = height >= 8;
  if (is_roomy) lines.emplace_back();
  const size_t fixed = lines.size() + (content.is_final ? 0 : 1);
  const size_t room = height > fixed ? height - fixed : 0;
  size_t name_width = 0;
  for (const core::StageRun& stage : run.stages) {
    name_width = std::max(name_width, std::min(kNameMax, DisplayWidth(stage.plan.name)));
  }
  const std::vector<size_t> chosen = Choose(run.stages, room);
  for (size_t position : chosen) {
    lines.push_back(StageLine(content, run.stages[position], screen, name_width, width));
  }
  const std::string left_out = LeftOut(run.stages, chosen);
  if (!left_out.empty() && room > 0) lines.push_back(Fit(left_out, width));
  if (content.is_final) return lines;
  for (std::string& line :
       LogLines(content, width, height - 1 - std::min(height - 1, lines.size()))) {
    lines.push_back(std::move(line));
  }
  if (lines.size() < height) lines.push_back(Fit("Ctrl-C detaches; the run goes on.", width));
  return lines;
}

std::unique_ptr<RunObserver> MakeLiveBlock(Invocation& invocation, const Terminal& screen) {
  return std::make_unique<LiveBlock>(invocation, screen);
}

}  // namespace cd4ml::cli
