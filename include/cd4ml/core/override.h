// Overrides: people who take it upon themselves that a rule of a gate does not block, for a while.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cd4ml/core/verdict.h"

namespace cd4ml::core {

// Of StagePlan::override_people: nobody may override; 0 stands for 1.
inline constexpr int kNobodyOverrides = -1;

// What one person said about one rule. It takes effect once as many different people as are needed have said it.
struct OverrideRecord {
  int64_t id = 0;                      // Given by the store.
  std::string pipeline, gate, rule;
  std::string run;                     // That was looked at.
  std::string by, reason;
  UtcTime at, expires;
  int people = 1;                      // How many were needed when it was asked for.
  std::string revoked_by;
  UtcTime revoked;                     // Unset: it was not.

  bool operator==(const OverrideRecord&) const = default;
};

// Returns what was in force at `now`, an override for each rule. `records` are of one gate; a person counts once, whatever
// the case of the letters of the name, and an override lasts as long as enough people stand by it.
std::vector<Override> InForce(const std::vector<OverrideRecord>& records, int people, UtcTime now);

// Returns the verdict in which blocking rules that are overridden only warn; it names the overrides that were needed.
Verdict ApplyOverrides(Verdict verdict, const std::vector<Override>& overrides);

// Returns the verdict with those of its overrides that are in force, as they are recorded; without the others, which
// no longer keep their rules from blocking.
Verdict CheckOverrides(Verdict verdict, const std::vector<Override>& in_force);

}  // namespace cd4ml::core
