// Decides what an agent does next from what happened.
#include "agent/session.h"

#include <algorithm>
#include <set>
#include <utility>

namespace cd4ml::agent {
namespace {

// What changes within so short a time is told together: a stage that ends sooner is told of by its result alone.
constexpr Duration kTogether{20};
constexpr Duration kBackOffMin{500};
constexpr Duration kBackOffMax{30'000};
constexpr int kDoublingsMax = 10;

template <class... Ts>
struct Overloaded : Ts... {
  using Ts::operator()...;
};
template <class... Ts>
Overloaded(Ts...) -> Overloaded<Ts...>;

}  // namespace

void Session::Found(const core::AttemptId& attempt, bool ended) {
  Held& held = attempts_[attempt];
  held.began = true;
  if (ended) held.phase = Phase::kEnded;
}

std::vector<SessionAction> Session::Handle(const SessionEvent& event, Duration now, double random) {
  actions_.clear();
  now_ = now;
  std::visit(Overloaded{
                 [&](const SessionOpened& opened) { OnSessionOpened(opened, now); },
                 [&](const SessionEnded& ended) { OnSessionEnded(ended.refused, now, random); },
                 [&](const DrainAsked&) {
                   if (drain_ == Drain::kNo) drain_ = Drain::kAsked;
                   Changed();
                 },
                 [&](const DesiredArrived& arrived) { Converge(arrived.desired); },
                 [&](const AttemptBegan& began) {
                   auto found = attempts_.find(began.attempt);
                   if (found == attempts_.end() || found->second.began) return;
                   found->second.began = true;
                   Changed();
                 },
                 [&](const AttemptEnded& ended) { OnEnded(ended.attempt); },
                 [&](const LogDelivered& delivered) {
                   auto found = attempts_.find(delivered.attempt);
                   if (found != attempts_.end()) found->second.log_delivered = true;
                 },
                 [&](const FinishAnswered& answered) { OnFinishAnswered(answered); },
                 [&](const AttemptStale& stale) {
                   auto found = attempts_.find(stale.attempt);
                   if (found == attempts_.end()) return;
                   Held& held = found->second;
                   if (held.phase == Phase::kEnded) {
                     Settle(stale.attempt, held, 0);
                   } else if (held.phase != Phase::kAnswered && held.phase != Phase::kDropping) {
                     held.phase = Phase::kDropping;
                     Changed();
                     actions_.push_back(DropAttempt{stale.attempt});
                   }
                 },
                 [&](const ReportAnswered& answered) {
                   report_sent_ = false;
                   if (!answered.accepted) OnSessionEnded(/*refused=*/false, now, random);
                   if (answered.accepted && drain_ == Drain::kTold) drain_ = Drain::kKnown;
                 },
                 [&](const ServicesChanged&) { Changed(); },
                 [&](const TimePassed&) {},
             },
             event);
  SendWhatIsDue(now);
  return std::move(actions_);
}

void Session::Changed() {
  if (!std::exchange(changed_, true)) tell_at_ = now_ + kTogether;
}

void Session::Converge(const DesiredState& desired) {
  // Overtaken by a newer one, which has settled attempts that this one would start again.
  if (desired.revision < revision_) return;
  revision_ = desired.revision;
  const auto by_id = [](const core::AttemptId* a, const core::AttemptId* b) { return *a < *b; };
  std::set<const core::AttemptId*, decltype(by_id)> wanted;
  for (const TaskPtr& task : desired.leases) {
    wanted.insert(&task->attempt);
    if (attempts_.contains(task->attempt)) continue;
    attempts_[task->attempt] = {};
    Changed();
    actions_.push_back(StartAttempt{*task});
  }
  for (auto entry = attempts_.begin(); entry != attempts_.end();) {
    const auto& [attempt, held] = *entry;
    if (!wanted.contains(&attempt)) {
      if (held.phase == Phase::kAnswered && desired.revision >= held.gone_at) {
        entry = attempts_.erase(entry);
        continue;
      }
      if (held.phase == Phase::kPerforming) {
        entry->second.phase = Phase::kStopping;
        actions_.push_back(StopAttempt{attempt});
      }
    }
    ++entry;
  }
  // After the starts, so that a deploy that begins now has claimed its environment.
  actions_.push_back(ReconcileServices{desired.revision, desired.services});
}

void Session::OnEnded(const core::AttemptId& attempt) {
  auto found = attempts_.find(attempt);
  if (found == attempts_.end()) return;
  Held& held = found->second;
  held.began = true;
  Changed();
  if (held.phase == Phase::kDropping) {
    Settle(attempt, held, 0);
  } else if (held.phase != Phase::kAnswered) {
    held.phase = Phase::kEnded;
  }
}

void Session::Settle(const core::AttemptId& attempt, Held& held, int64_t revision) {
  held.phase = Phase::kAnswered;
  held.gone_at = revision;
  Changed();
  actions_.push_back(ForgetAttempt{attempt, revision});
}

void Session::OnFinishAnswered(const FinishAnswered& answered) {
  auto found = attempts_.find(answered.attempt);
  if (found == attempts_.end() || found->second.phase != Phase::kEnded) return;
  Held& held = found->second;
  switch (answered.answer) {
    case FinishAnswered::Answer::kAccepted:
      return Settle(answered.attempt, held, answered.revision);
    case FinishAnswered::Answer::kStale:
      return Settle(answered.attempt, held, 0);
    case FinishAnswered::Answer::kUnknown:  // The session is over; what is unknown in itself is stale.
    case FinishAnswered::Answer::kNoAnswer:
      return;  // Sent again with the next heartbeat or session.
  }
}

void Session::OnSessionOpened(const SessionOpened& opened, Duration now) {
  if (link_ != Link::kOpening) return;  // It has ended before the agent, which was stopped, heard of it.
  link_ = Link::kOpen;
  session_ = opened.session;
  heartbeat_ = opened.heartbeat;
  ttl_ = opened.ttl;
  opened_at_ = now;
  changed_ = true;
  tell_at_ = now_;
  report_sent_ = false;
  revision_ = 0;  // A restarted daemon counts anew.
  // What this session desires was decided after every answer: a name that it holds again means
  // another attempt, of another database.
  std::erase_if(attempts_, [](const auto& entry) { return entry.second.phase == Phase::kAnswered; });
  for (auto& [attempt, held] : attempts_) held.finish_at.reset();
}

void Session::OnSessionEnded(bool refused, Duration now, double random) {
  if (link_ == Link::kDown) return;
  // Two agents of one name supersede each other: sessions that open and end at once are failures.
  if (link_ == Link::kOpen && now - opened_at_ >= heartbeat_) failures_ = 0;
  if (refused) failures_ = kDoublingsMax;
  if (drain_ != Drain::kNo) drain_ = Drain::kAsked;
  link_ = Link::kDown;
  session_.clear();
  report_sent_ = false;
  // Well within the time that a daemon gives its agents to come back after it was restarted.
  const Duration most = std::min({kBackOffMax, std::max(kBackOffMin, ttl_ / 3),
                                  kBackOffMin * (1 << std::min(failures_, kDoublingsMax))});
  ++failures_;
  retry_at_ = now + Duration(static_cast<int64_t>(random * static_cast<double>(most.count())));
}

void Session::SendWhatIsDue(Duration now) {
  if (link_ == Link::kDown && now >= retry_at_) {
    link_ = Link::kOpening;
    actions_.push_back(OpenSession{});
  }
  if (link_ != Link::kOpen) return;
  const bool heartbeat_due = now >= report_at_;
  for (auto& [attempt, held] : attempts_) {
    if (held.phase != Phase::kEnded || !held.log_delivered) continue;
    if (now < held.finish_at.value_or(now)) continue;
    held.finish_at = now + heartbeat_;
    actions_.push_back(SendFinish{attempt});
  }
  if (report_sent_ || !((changed_ && now >= tell_at_) || heartbeat_due)) return;
  SendReport report;
  report.draining = drain_ != Drain::kNo;
  if (drain_ == Drain::kAsked) drain_ = Drain::kTold;
  for (const auto& [attempt, held] : attempts_) {
    if (held.phase == Phase::kAnswered || held.phase == Phase::kDropping) continue;
    report.held.push_back({attempt, held.began});
  }
  changed_ = false;
  report_sent_ = true;
  report_at_ = now + heartbeat_;
  actions_.push_back(std::move(report));
}

bool Session::drained() const {
  return drain_ == Drain::kKnown &&
         std::all_of(attempts_.begin(), attempts_.end(),
                     [](const auto& entry) { return entry.second.phase == Phase::kAnswered; });
}

std::optional<Duration> Session::NextDeadline() const {
  switch (link_) {
    case Link::kDown:
      return retry_at_;
    case Link::kOpening:
      return std::nullopt;
    case Link::kOpen:
      return NextOfSession();
  }
  return std::nullopt;
}

std::optional<Duration> Session::NextOfSession() const {
  std::optional<Duration> next;
  if (!report_sent_) next = changed_ ? std::min(report_at_, tell_at_) : report_at_;
  for (const auto& [attempt, held] : attempts_) {
    if (held.phase != Phase::kEnded || !held.finish_at) continue;
    next = std::min(*held.finish_at, next.value_or(*held.finish_at));
  }
  return next;
}

}  // namespace cd4ml::agent
