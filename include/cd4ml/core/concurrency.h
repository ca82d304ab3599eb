// How many runs of a group may be under way at a time, and what becomes of the others.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cd4ml::core {

enum class ConcurrencyPolicy {
  kQueue,    // Every one waits for its turn.
  kLatest,   // Only the newest waits; those that it overtakes are superseded.
  kCancel,   // The newest ends what is under way and takes its place.
};
std::string_view ToText(ConcurrencyPolicy policy);   // "queue", "latest", "cancel"
std::optional<ConcurrencyPolicy> ParseConcurrencyPolicy(std::string_view text);

// `concurrency:` of a pipeline.
struct ConcurrencySpec {
  std::string group;                 // Runs of all pipelines with this group count together; empty: no bound.
  ConcurrencyPolicy policy = ConcurrencyPolicy::kQueue;
  int limit = 1;                     // Runs of the group that may be under way.

  bool operator==(const ConcurrencySpec&) const = default;
};

// One of those that share a group: a run in its group, or a deploy at its environment.
struct Contender {
  std::string id;
  bool under_way = false;            // Else it waits.
  bool ending = false;               // Under way, but told to end: it counts until it has ended.
  int priority = 0;                  // Among those that wait, under kQueue.
};

// What must happen now so that a group keeps its policy.
struct GroupDecision {
  struct Superseded {
    std::string id;
    std::string by;
    bool operator==(const Superseded&) const = default;
  };
  std::vector<std::string> admitted;
  std::vector<Superseded> superseded;   // Waiting ones never start; those under way are told to end.
};

// `contenders` are in the order in which they came. Nothing is dropped: whoever is neither admitted nor superseded goes
// on waiting, and every superseded one says by which.
GroupDecision DecideGroup(ConcurrencyPolicy policy, int limit, const std::vector<Contender>& contenders);

}  // namespace cd4ml::core
