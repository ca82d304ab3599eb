// Subscribes, waits in short spans so that Ctrl-C and timers are seen, and subscribes again after a
// restart.
#include "cli/follow.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <optional>

#include "cd4ml/base/status.h"
#include "cli/text.h"

namespace cd4ml::cli {
namespace {

constexpr std::chrono::milliseconds kTick{100};
constexpr Duration kPatience{30'000};  // How long a silent daemon is asked again.

// What a subscription said, kept for the thread that follows. The latest view replaces older ones.
class Inbox {
 public:
  struct News {
    std::optional<RunView> view;
    std::optional<absl::Status> end;
  };

  void PutView(RunView view) {
    const std::lock_guard lock(mutex_);
    news_.view = std::move(view);
    arrived_.notify_one();
  }
  void PutEnd(absl::Status status) {
    const std::lock_guard lock(mutex_);
    news_.end = std::move(status);
    arrived_.notify_one();
  }
  // Returns what came since the last call; waits for one tick when that is nothing.
  News Take() {
    std::unique_lock lock(mutex_);
    arrived_.wait_for(lock, kTick, [this] { return news_.view || news_.end; });
    return std::exchange(news_, {});
  }

 private:
  std::mutex mutex_;
  std::condition_variable arrived_;
  News news_;  // Guarded by mutex_.
};

class Follower {
 public:
  Follower(Invocation& invocation, std::string run, RunObserver& observer, Duration timeout)
      : invocation_(invocation), observer_(observer), run_(std::move(run)), timeout_(timeout) {
    began_ = heard_ = invocation_.ports.clock.Steady();
  }

  absl::StatusOr<core::Run> ToEnd(QueryApi& query) {
    while (true) {
      const absl::Status status = Subscribe(query);
      if (last_ && core::IsTerminal(last_->state)) return *last_;
      if (status.ok())
        return absl::InternalError("the daemon stopped telling about " + run_ + " too early");
      // A daemon that was never there is said at once; one that was may be starting again.
      if (!absl::IsUnavailable(status) || !last_) return status;
      if (invocation_.ports.clock.Steady() - heard_ > kPatience) return status;
      CD4ML_RETURN_IF_ERROR(Pause());
    }
  }

 private:
  // Listens to one subscription until it ends.
  absl::Status Subscribe(QueryApi& query) {
    Inbox inbox;
    CD4ML_ASSIGN_OR_RETURN(const std::unique_ptr<Subscription> subscription,
                           query.WatchRun(
                               run_, [&inbox](RunView view) { inbox.PutView(std::move(view)); },
                               [&inbox](absl::Status status) { inbox.PutEnd(std::move(status)); }));
    bool is_heard = false;
    while (true) {
      Inbox::News news = inbox.Take();
      is_heard |= news.view.has_value();
      if (is_heard) heard_ = invocation_.ports.clock.Steady();
      if (news.view) See(std::move(*news.view));
      if (last_) observer_.Tick();
      if (news.end) return *news.end;
      CD4ML_RETURN_IF_ERROR(CheckLimits());
    }
  }

  void See(RunView view) {
    run_ = view.run.id;  // "latest" must not become another run after a restart.
    observer_.Update(view);
    last_ = std::move(view.run);
  }

  absl::Status Pause() {
    Inbox nobody;
    for (int i = 0; i < 5; ++i) {
      nobody.Take();
      CD4ML_RETURN_IF_ERROR(CheckLimits());
    }
    return absl::OkStatus();
  }

  absl::Status CheckLimits() const {
    if (invocation_.ports.interrupted() || !invocation_.out.is_open()) {
      return absl::CancelledError(run_ + " is still running; reattach with:  cd4ml run watch " +
                                  run_);
    }
    if (timeout_.count() > 0 && invocation_.ports.clock.Steady() - began_ >= timeout_) {
      return absl::DeadlineExceededError(run_ + " has not ended within " +
                                         FormatDuration(timeout_) + "; it goes on");
    }
    return absl::OkStatus();
  }

  Invocation& invocation_;
  RunObserver& observer_;
  std::string run_;
  const Duration timeout_;
  Duration began_{0};
  Duration heard_{0};  // When the daemon was there the last time.
  std::optional<core::Run> last_;
};

}  // namespace

absl::StatusOr<core::Run> Follow(Invocation& invocation, const std::string& run,
                                 RunObserver& observer) {
  CD4ML_ASSIGN_OR_RETURN(const Duration timeout, invocation.Span("timeout"));
  return Follower(invocation, run, observer, timeout).ToEnd(invocation.Query());
}

int FollowToEnd(Invocation& invocation, const std::string& run, RunObserver& observer,
                const Terminal& screen) {
  const absl::StatusOr<core::Run> ended = Follow(invocation, run, observer);
  observer.Finish();
  if (absl::IsCancelled(ended.status())) {
    invocation.Note(SafeLine(Message(ended.status())));
    return kExitInterrupted;
  }
  if (!ended.ok()) {
    const std::vector<Hint> reattach = {{"Reattach", "cd4ml run watch " + run}};
    return invocation.Fail(ended.status(),
                           absl::IsDeadlineExceeded(ended.status())
                               ? reattach
                               : IfNotFound(ended.status(), {"Runs", "cd4ml run list"}));
  }
  if (invocation.is_json()) invocation.PrintJson(invocation.ports.json.run(*ended));
  return observer.tells_end() ? ExitCodeOf(*ended) : ReportEnd(invocation, screen, *ended);
}

int ReportEnd(const Invocation& invocation, const Terminal& screen, const core::Run& run) {
  const StateWord word = WordOf(core::Word(run));
  const std::string why = SafeLine(WhyNotPassed(run));
  const bool has_passed = run.state == core::RunState::kSucceeded;
  // Of a run that has passed it is what went wrong all the same, like a cell that another one has made up for.
  if (!why.empty()) {
    screen.Line(has_passed ? screen.Paint("! " + why, Style::kWarn) : screen.Paint(word.symbol + " " + why, word.style));
  }
  if (!has_passed || FailedStage(run) != nullptr) invocation.Hints(NextSteps(run));
  screen.Line(screen.Paint(SafeLine(VerdictLine(run)), Style::kBold));
  return ExitCodeOf(run);
}

std::vector<Hint> NextSteps(const core::Run& run) {
  if (!core::IsTerminal(run.state)) {
    std::vector<Hint> hints = {{"Follow it", "cd4ml run watch " + run.id},
                               {"Stop it", "cd4ml run cancel " + run.id}};
    if (run.state == core::RunState::kQueued) {
      hints.push_back({"Why it waits", "cd4ml why " + run.id});
    }
    return hints;
  }
  if (run.state == core::RunState::kSucceeded) {
    std::vector<Hint> hints = {{"What it was made from", "cd4ml lineage " + run.id},
                               {"What is live", "cd4ml deploy list"}};
    if (FailedStage(run) != nullptr) hints.push_back({"Do again what failed, and choose anew", "cd4ml run retry " + run.id});
    return hints;
  }
  const core::StageRun* stage = FailedStage(run);
  std::vector<Hint> hints = {{"What it found", "cd4ml run show " + run.id}};
  if (stage != nullptr && !stage->attempts.empty()) {
    hints.push_back({"Its whole output", "cd4ml run logs " + run.id + " " + stage->plan.name});
  }
  if (!run.superseded_by.empty()) {
    hints.push_back({"What took its place", "cd4ml run show " + run.superseded_by});
  } else if (run.trigger.kind == core::TriggerKind::kReproduce) {
    hints.push_back({"Make it again", "cd4ml run reproduce " + run.retry_of});
  } else {
    hints.push_back({"Do again what did not pass", "cd4ml run retry " + run.id});
  }
  return hints;
}

}  // namespace cd4ml::cli
