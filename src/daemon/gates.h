// The daemon's answers about gates. What blocks is done in the background, what changes on the loop.
#pragma once

#include "cd4ml/daemon/daemon.h"
#include "cd4ml/ports/gate_api.h"
#include "definitions.h"
#include "loop.h"
#include "orchestrator.h"
#include "policies.h"
#include "pool.h"
#include "queries.h"

namespace cd4ml::daemon {

class Gates : public GateApi {
 public:
  Gates(const Ports& ports, Definitions& definitions, const Policies& policies, Loop& loop, Orchestrator& orchestrator,
        Queries& queries)
      : ports_(ports),
        definitions_(definitions),
        policies_(policies),
        loop_(loop),
        orchestrator_(orchestrator),
        queries_(queries) {}

  void OverrideRule(OverrideRequest request, Done<OverrideView> done) override;
  void RevokeOverride(int64_t id, std::string by, Done<OverrideView> done) override;
  absl::StatusOr<std::vector<OverrideView>> ListOverrides(const std::string& pipeline) override;
  absl::StatusOr<std::vector<GateRecord>> GateHistory(const std::string& pipeline, const std::string& gate,
                                                      int limit) override;

 private:
  // Returns the record that the request asks for, without its times.
  absl::StatusOr<core::OverrideRecord> Prepare(const OverrideRequest& request);
  absl::StatusOr<OverrideView> View(core::OverrideRecord record, UtcTime now);
  void Put(core::OverrideRecord record, Duration lasting, Done<OverrideView> done);

  const Ports ports_;
  Definitions& definitions_;
  const Policies& policies_;
  Loop& loop_;
  Orchestrator& orchestrator_;
  Queries& queries_;
  Pool pool_{1};
};

}  // namespace cd4ml::daemon
