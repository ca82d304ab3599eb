// One job at a time, and what is due.
#include "caretaker.h"

#include <algorithm>
#include <utility>

#include "cd4ml/base/log.h"
#include "cd4ml/base/status.h"

namespace cd4ml::daemon {
namespace {

constexpr int64_t kRecordMax = 1 << 20;
constexpr Duration kLookAgain{60'000};   // Clocks are set; so nobody relies on one long wait.

absl::Status Busy() {
  return absl::FailedPreconditionError("another backup or scrub is under way; wait for its end");
}

std::string FileOf(const Settings& settings) { return settings.state_dir + "/last-scrub.json"; }

}  // namespace

Caretaker::Caretaker(const Settings& settings, const Ports& ports, Hold hold)
    : settings_(settings), ports_(ports), hold_(std::move(hold)) {
  if (ports_.upkeep == nullptr) return;
  Recall();
  if (settings_.scrub_every.count() > 0) watcher_ = std::jthread([this](std::stop_token stop) { Watch(stop); });
}

Caretaker::~Caretaker() {
  Stop();
  watcher_.request_stop();
}

template <typename Report>
void Caretaker::Perform(Done<Report> done, std::function<absl::StatusOr<Report>()> work) {
  if (ports_.upkeep == nullptr || ports_.inspector == nullptr) {
    return done(absl::UnimplementedError("this daemon cannot look after its store"));
  }
  if (stop_.stop_requested()) return done(absl::UnavailableError("the daemon is stopping"));
  if (busy_.exchange(true)) return done(Busy());
  pool_.Post([this, done = std::move(done), work = std::move(work)] {
    absl::StatusOr<Report> report = work();
    busy_ = false;
    done(std::move(report));
  });
}

void Caretaker::BackUp(std::string dir, Done<BackupReport> done) {
  if (!dir.starts_with('/')) return done(absl::InvalidArgumentError("the folder of a backup is an absolute path"));
  // A copy inside of what it is of would be lost with it.
  if ((dir + "/").starts_with(settings_.state_dir + "/")) {
    return done(absl::InvalidArgumentError("the backup would lie in the daemon's own folder " + settings_.state_dir +
                                           "; give it another, best on another disk"));
  }
  Perform<BackupReport>(std::move(done), [this, dir = std::move(dir)]() -> absl::StatusOr<BackupReport> {
    CD4ML_ASSIGN_OR_RETURN(const std::shared_ptr<void> held, hold_());
    absl::StatusOr<BackupReport> report =
        CreateBackup(*ports_.inspector, ports_.blobs, dir, *ports_.upkeep, stop_.get_token());
    if (report.ok()) LogInfo("backup made", {{"dir", dir}, {"name", report->name}});
    return report;
  });
}

void Caretaker::Scrub(int64_t bytes_per_second, Done<ScrubReport> done) {
  Perform<ScrubReport>(std::move(done), [this, bytes_per_second] { return ScrubNow(bytes_per_second); });
}

absl::StatusOr<ScrubReport> Caretaker::ScrubNow(int64_t bytes_per_second) {
  absl::StatusOr<ScrubReport> report = daemon::Scrub(*ports_.inspector, ports_.blobs, ports_.clock,
                                                     {.bytes_per_second = bytes_per_second, .stop = stop_.get_token()});
  if (report.ok()) Remember(*report);
  return report;
}

Caretaker::Last Caretaker::last() const {
  std::lock_guard lock(mutex_);
  return last_;
}

void Caretaker::Remember(const ScrubReport& report) {
  for (const Damage& item : report.damage) LogError("damage was found", {{"what", item.what}, {"why", item.why}});
  Last last{ports_.clock.Now(), static_cast<int64_t>(report.damage.size())};
  const Value::Map record = {{"ended", FormatTime(last.ended)}, {"damage", last.damage}};
  const absl::Status written = ports_.files.WriteFileAtomically(FileOf(settings_), ToJson(record));
  if (!written.ok()) LogWarn("the end of a scrub could not be noted", {{"error", Message(written)}});
  std::lock_guard lock(mutex_);
  last_ = last;
}

// A record that cannot be read is none: then a scrub is due.
void Caretaker::Recall() {
  const absl::StatusOr<std::string> text = ports_.files.ReadFile(FileOf(settings_), kRecordMax);
  const absl::StatusOr<Value> record = text.ok() ? ParseJson(*text) : text.status();
  if (!record.ok()) return;
  const Value* ended = record->Find("ended");
  const Value* damage = record->Find("damage");
  if (ended == nullptr || damage == nullptr || !damage->is_number()) return;
  const absl::StatusOr<UtcTime> time = ParseTime(ToText(*ended));
  if (time.ok()) last_ = {*time, static_cast<int64_t>(damage->number())};
}

void Caretaker::Watch(std::stop_token stop) {
  // The first one is due a whole period after the first start: a new daemon has better things to do.
  UtcTime from = ports_.clock.Now();
  std::unique_lock lock(mutex_);
  while (!stop.stop_requested()) {
    const UtcTime last = last_.ended.is_set() ? last_.ended : from;
    if (ports_.clock.Now() - last >= settings_.scrub_every) {
      lock.unlock();
      Scrub(settings_.scrub_rate, [](const absl::StatusOr<ScrubReport>& report) {
        if (!report.ok()) LogWarn("a scrub that was due did not end", {{"error", Message(report.status())}});
      });
      lock.lock();
      from = ports_.clock.Now();   // Should it fail, it is tried again after a period, not at once.
    }
    wake_.wait_for(lock, stop, std::min(settings_.scrub_every, kLookAgain), [] { return false; });
  }
}

}  // namespace cd4ml::daemon
