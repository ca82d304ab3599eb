// What every part of a simulated world shares: time, chance, the trace, which faults there are.
#pragma once

#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "tests/sim/kernel.h"

namespace cd4ml::sim {

// Bugs that can be planted from outside of the product, to see that they are found.
enum class Plant {
  kNone,
  kNoFence,            // A stale report is accepted for the latest attempt.
  kAckBeforeCommit,    // A commit is acknowledged and made with the next one.
  kSyncsIgnored,       // What synchronous=NORMAL or OFF lets happen.
  kFailedSyncIgnored,  // Goes on after a failed commit as if it had been none.
  kNoIdempotency,      // Every request is a new one.
  kNoGrace,            // Agents are not given time to come back after a start.
  kWallExpiry,         // Leases expire by the wall clock.
  kSilenceUnnoticed,   // Leases never expire.
  kSleepCounted,       // What nobody heard while the daemon was stopped counts as silence.
  kNoLock,             // Deploys do not lock their environment.
  kNeedsIgnored,       // Stages do not wait for what they need.
  kCancelledTooEarly,  // An agent says cancelled before the processes are dead.
  kDroppedResult,      // A result is acknowledged and forgotten.
  kLabelsIgnored,      // Stages go to agents without the labels that they ask for.
  kResourcesIgnored,   // What stages take of an agent is not counted.
  kRetryTakesAll,      // A retry takes over what it was asked to do again.
  kRetryGoesOn,        // A retry of one stage goes on with those after it.
  kRetryEditsHistory,  // The run that is done again is not as it was.
  kTwinAdmitted,       // A second agent of a name passes for the first one.
  kGivesUpAlone,       // An agent ends what it holds when it has had no session for a while.
  kSlowReturn,         // Agents come back later than they are waited for.
  kOldServiceStays,    // An agent keeps services that are no longer wanted.
};

// Which faults a history has. Each is off in a good share of them: a fault can hide another.
struct Faults {
  bool drop = false, delay = false, duplicate = false, partition = false;
  bool agent_kill = false, agent_power = false, agent_wipe = false, agent_pause = false;
  bool keeper_kill = false, agent_silent = false;  // Silent for ever.
  bool daemon_kill = false, daemon_power = false, daemon_pause = false;
  bool die_in_commit = false, die_after_commit = false;
  bool disk_full = false, sync_fails = false;
  bool wall_jump = false;
  bool cancel = false, command_fails = false, command_hangs = false;
  bool drain = false;    // Operators drain agents, and take that back.
  bool retries = false;  // Clients repeat what has been answered.
  bool reruns = false;   // Runs that have ended are done again, in whole or in part.
  bool scarce = false;   // Stages ask for more than any agent has for all of them together.
  bool twin = false;     // A second agent takes the name of one that lives.
  bool outage = false;   // The daemon is away for longer than a session lives.
};

// Lives as long as the world.
struct Room {
  Room(uint64_t seed, Plant planted, bool traced) : random(seed), trace(traced), plant(planted) {}

  void Say(const std::string& line) { trace.Say(kernel.now(), line); }

  Kernel kernel;
  Random random;
  Trace trace;
  Faults faults;
  const Plant plant;
};

// A program that can be killed and paused. What is meant for one of its lives reaches no other, and
// what comes while it is paused waits.
class Program {
 public:
  explicit Program(Room& room) : room_(room) {}

  bool up() const { return up_; }
  int life() const { return life_; }
  bool paused() const { return room_.kernel.now() < paused_until_; }

  void Deliver(int life, std::function<void()> work) {
    if (!up_ || life != life_) return;
    if (!paused()) return work();
    backlog_.push_back(std::move(work));
  }
  // Delivers after some time to the present life.
  void Later(int64_t wait, std::function<void()> work) {
    room_.kernel.After(wait, [this, life = life_, work = std::move(work)] { Deliver(life, work); });
  }
  void Pause(int64_t span) {
    if (!up_ || paused()) return;
    paused_until_ = room_.kernel.now() + span;
    room_.kernel.At(paused_until_, [this, life = life_] {
      while (up_ && life == life_ && !backlog_.empty()) {
        const std::function<void()> work = std::move(backlog_.front());
        backlog_.pop_front();
        work();
      }
    });
  }

 protected:
  void Rise() {
    ++life_;
    up_ = true;
  }
  void Fall() {
    up_ = false;
    paused_until_ = 0;
    backlog_.clear();
  }

  Room& room_;

 private:
  bool up_ = false;
  int life_ = 0;
  int64_t paused_until_ = 0;
  std::deque<std::function<void()>> backlog_;
};

}  // namespace cd4ml::sim
