// Convergence of what an agent holds with what the daemon wants it to hold. Pure: what happened
// comes in as an event with the time, what is to be done goes out as actions, and nothing here
// waits, calls or remembers elsewhere.
//
// Lost, repeated and reordered messages are harmless, because both sides speak of complete states.
// An attempt goes on whether or not there is a session; its result stays on disk until the daemon
// has answered for it.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "cd4ml/base/time.h"
#include "cd4ml/core/run.h"
#include "cd4ml/ports/agent_api.h"

namespace cd4ml::agent {

// --- what can happen ---

struct SessionOpened {
  std::string session;
  Duration heartbeat{5'000};
  Duration ttl{30'000};
};
struct SessionEnded {    // Could not be opened, broke or was superseded.
  bool refused = false;  // The daemon does not want this agent as it is; only an upgrade mends that.
};
struct DrainAsked {};  // Take nothing new; see `drained`.
struct DesiredArrived {
  DesiredState desired;
};
struct AttemptBegan {  // Its command or built-in work runs.
  core::AttemptId attempt;
};
struct AttemptEnded {  // Its outcome is on disk.
  core::AttemptId attempt;
};
struct LogDelivered {  // Every byte of an ended attempt's log is with the daemon.
  core::AttemptId attempt;
};
struct FinishAnswered {
  enum class Answer { kAccepted, kStale, kUnknown, kNoAnswer };
  core::AttemptId attempt;
  Answer answer = Answer::kNoAnswer;
  int64_t revision = 0;  // kAccepted: from here on the lease is no longer desired.
};
struct AttemptStale {  // The daemon refused the attempt's log: it counts no more.
  core::AttemptId attempt;
};
struct ReportAnswered {
  bool accepted = false;  // Otherwise the session is over.
};
struct ServicesChanged {};  // The report would say something new about them.
struct TimePassed {};

using SessionEvent = std::variant<SessionOpened, SessionEnded, DrainAsked, DesiredArrived, AttemptBegan,
                                  AttemptEnded, LogDelivered, FinishAnswered, AttemptStale,
                                  ReportAnswered, ServicesChanged, TimePassed>;

// --- what is to be done ---

struct OpenSession {};
struct StartAttempt {
  Task task;
};
struct StopAttempt {  // Kill it; its outcome will be `cancelled`.
  core::AttemptId attempt;
};
struct DropAttempt {  // Kill it and report nothing.
  core::AttemptId attempt;
};
struct SendFinish {
  core::AttemptId attempt;
};
struct ForgetAttempt {  // The daemon has answered for it: remove its records.
  core::AttemptId attempt;
  int64_t revision = 0;  // Its environment is free from this desired state on.
};
struct SendReport {
  std::vector<HeldLease> held;
  bool draining = false;
};
struct ReconcileServices {
  int64_t revision = 0;
  std::vector<ServiceTask> services;
};

using SessionAction = std::variant<OpenSession, StartAttempt, StopAttempt, DropAttempt, SendFinish,
                                   ForgetAttempt, SendReport, ReconcileServices>;

class Session {
 public:
  // Knows attempts that were found on disk: still going on, or with an outcome that waits for its
  // answer.
  void Found(const core::AttemptId& attempt, bool ended);

  // `random` is uniform in [0, 1): the jitter of a reconnection.
  std::vector<SessionAction> Handle(const SessionEvent& event, Duration now, double random);

  // Returns when TimePassed must be handled next, or nullopt when nothing waits for time.
  std::optional<Duration> NextDeadline() const;

  // Returns whether it was asked to drain, and the daemon knows so and has answered for everything.
  bool drained() const;
  bool is_open() const { return link_ == Link::kOpen; }
  const std::string& session() const { return session_; }

 private:
  enum class Link { kDown, kOpening, kOpen };
  enum class Drain { kNo, kAsked, kTold, kKnown };  // By whom: us, a report, the daemon's answer.
  enum class Phase {
    kPerforming,
    kStopping,  // No longer desired; ends with an outcome.
    kDropping,  // Stale; ends without one.
    kEnded,     // The outcome waits for its answer.
    kAnswered,  // Gone; stays so that an older desired state cannot start it a second time.
  };
  struct Held {
    Phase phase = Phase::kPerforming;
    bool began = false;
    bool log_delivered = false;
    std::optional<Duration> finish_at;  // Sent in this session, and to be sent again then.
    int64_t gone_at = 0;  // kAnswered: the revision that no longer wants it.
  };

  // Notes that the next report would say something new.
  void Changed();
  std::optional<Duration> NextOfSession() const;
  void Converge(const DesiredState& desired);
  void Settle(const core::AttemptId& attempt, Held& held, int64_t revision);
  void OnFinishAnswered(const FinishAnswered& answered);
  void OnEnded(const core::AttemptId& attempt);
  void OnSessionEnded(bool refused, Duration now, double random);
  void OnSessionOpened(const SessionOpened& opened, Duration now);
  void SendWhatIsDue(Duration now);

  Link link_ = Link::kDown;
  std::string session_;
  Duration heartbeat_{5'000};
  Duration retry_at_{0};
  Duration now_{0};
  Duration report_at_{0};
  Duration tell_at_{0};       // When what has changed is told at the latest.
  int64_t revision_ = 0;      // Of the newest desired state of this session.
  Duration ttl_{30'000};
  Duration opened_at_{0};
  int failures_ = 0;          // Openings in a row that led to no session of some length.
  Drain drain_ = Drain::kNo;
  bool changed_ = true;       // Something since the last report.
  bool report_sent_ = false;  // A report waits for its answer.
  std::map<core::AttemptId, Held> attempts_;
  std::vector<SessionAction> actions_;
};

}  // namespace cd4ml::agent
