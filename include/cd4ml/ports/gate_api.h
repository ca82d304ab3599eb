// What operators may ask about gates: what they found in run after run, and that a rule does not block for a while.
#pragma once

#include <string>
#include <vector>

#include "cd4ml/core/override.h"
#include "cd4ml/ports/done.h"
#include "cd4ml/ports/history.h"

namespace cd4ml {

struct OverrideRequest {
  std::string run;                     // As QueryApi names runs: also "pipeline/latest".
  std::string gate, rule;
  std::string reason;
  std::string by;                      // Who. Nobody is authenticated yet: it is what the client says.
  Duration lasting{0};                 // From now on.
};

struct OverrideView {
  core::OverrideRecord record;
  std::string state;                   // "in force", "needs 1 more person", "expired", "revoked"
};

// Implemented by the daemon, and by rpc::GateClient. Methods with `done` call it exactly once, from any thread.
class GateApi {
 public:
  virtual ~GateApi() = default;

  // NOT_FOUND: no such run, gate or rule. INVALID_ARGUMENT: no reason, nobody, or no time that makes sense.
  // FAILED_PRECONDITION: a policy of the server forbids it.
  virtual void OverrideRule(OverrideRequest request, Done<OverrideView> done) = 0;
  // NOT_FOUND: no such override. FAILED_PRECONDITION: it was revoked already.
  virtual void RevokeOverride(int64_t id, std::string by, Done<OverrideView> done) = 0;
  // Newest first, of a pipeline or (empty) of all, at most a thousand.
  virtual absl::StatusOr<std::vector<OverrideView>> ListOverrides(const std::string& pipeline) = 0;
  // As History::GateHistory.
  virtual absl::StatusOr<std::vector<GateRecord>> GateHistory(const std::string& pipeline, const std::string& gate,
                                                              int limit) = 0;
};

}  // namespace cd4ml
