// The agents: their sessions, what each should hold, and who has gone silent.
//
// Lives on the loop's thread. Liveness has one clock, the session: it counts steady time, so that wall-clock
// jumps lose nothing.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "cd4ml/core/schedule.h"
#include "cd4ml/ports/agent_api.h"
#include "cd4ml/ports/query_api.h"
#include "live.h"

namespace cd4ml::daemon {

class Roster {
 public:
  // `boot` is the steady time of the start: agents that hold leases from before have one `ttl` to come back.
  Roster(Duration ttl, Duration boot) : ttl_(ttl), boot_(boot) {}

  // --- what agents say ---

  // Says why an agent of this name may not open a session now: another instance of it is there, or has work and may
  // come back. "" when it may.
  std::string Objection(const AgentHello& hello, Duration now) const;

  struct Opened {
    std::string session;
    AgentRecord record;
    std::vector<core::AttemptId> orphaned;   // Leases of an earlier instance of this agent: lost.
    std::function<void(absl::Status)> superseded;   // Tells the former session that it is over; may be null.
  };
  Opened Open(const AgentHello& hello, const std::string& session, std::function<void(DesiredState)> on_desired,
              std::function<void(absl::Status)> on_lost, Duration now, UtcTime wall);
  // Notes a sign of life. Returns the agent's name, or NOT_FOUND when the session is over.
  absl::StatusOr<std::string> Heard(const std::string& session, const AgentReport* report, Duration now);
  absl::Status Close(const std::string& session);

  // --- what follows from committed events ---

  void Know(AgentRecord record);                        // Agents of earlier times.
  // An operator wants the agent to take nothing new, or to take work again. NOT_FOUND: unknown agent.
  absl::StatusOr<AgentRecord> Drain(const std::string& agent, bool drained, const std::string& reason);
  void Lease(const std::string& agent, Task task);
  // No longer desired; it goes on counting until End or until the agent goes silent.
  void Unlease(const std::string& agent, const core::AttemptId& attempt);
  void End(const std::string& agent, const core::AttemptId& attempt);       // No longer held either.
  void Serve(const std::string& agent, ServiceTask service);
  void Forget();                                        // All leases and services: they are taken up again.
  void Unserve(const std::string& agent, const std::string& deployment);

  // --- what others ask ---

  // Returns the leases of agents that have been silent for too long, and closes their sessions.
  struct Silent {
    std::string agent;
    core::AttemptId attempt;
    std::string why;
  };
  std::vector<Silent> Expire(Duration now);
  // Takes back `span` of everybody's silence: nobody listened.
  void Excuse(Duration span);
  // Returns when Expire must be asked again, or nullopt.
  std::optional<Duration> NextExpiry() const;

  // Returns what is no longer desired of the agent and what it does not hold either.
  std::vector<core::AttemptId> NotHeld(const std::string& agent) const;
  // Agents with an open session, and what each has left.
  const std::map<std::string, core::FreeAgent>& Free() const { return free_; }
  std::vector<AgentView> Views(UtcTime now) const;
  // Returns whether a connected agent has the facts of `environment`, or none is connected.
  bool HasHostLike(const Value& environment) const;
  int64_t RevisionOf(const std::string& agent) const;
  std::string AgentOf(const std::string& session) const;   // "" when the session is over.
  bool IsLeasedTo(const std::string& agent, const core::AttemptId& attempt) const;

  // Sends every agent whose desired state has changed its new one. Call after the commit.
  void Push();

 private:
  struct Ending {
    core::Resources resources;
    int unseen = 0;                                     // Reports in a row that did not name it.
  };
  struct Agent {
    AgentRecord record;
    std::string session;                                // Empty: none open.
    Duration heard{0};
    AgentReport report;
    std::function<void(DesiredState)> on_desired;
    std::function<void(absl::Status)> on_lost;
    std::map<core::AttemptId, TaskPtr> leases;
    std::map<core::AttemptId, Ending> ending;           // No longer desired, not ended yet.
    std::map<std::string, ServiceTask> services;        // By deployment.
    int64_t revision = 0;
  };

  static bool HasWork(const Agent& agent);
  static bool CanExpire(const Agent& agent);            // Its session, or leases that wait for one.
  static bool Holds(const Agent& agent, const core::AttemptId& attempt);
  void Changed(const std::string& name);
  // What the agent has left: counted anew, or one attempt more (-1 slots) or less.
  void Recount(const std::string& name);
  void Count(const std::string& name, int slots, const core::Resources& resources);

  Duration ttl_, boot_;
  std::map<std::string, Agent> agents_;
  std::map<std::string, std::string> sessions_;         // Session -> agent.
  std::set<std::string> changed_;
  std::map<std::string, core::FreeAgent> free_;         // Follows from agents_.
};

}  // namespace cd4ml::daemon
