// The deployment ledger: what was live where, since when. Rows are added and ended, never edited.
#pragma once

#include <string>
#include <vector>

#include "cd4ml/base/time.h"
#include "cd4ml/core/verdict.h"
#include "cd4ml/core/version.h"

namespace cd4ml::core {

struct Deployment {
  std::string id;            // Run and stage: "used-car-price/3/release".
  std::string environment;   // "production".
  std::string pipeline;
  std::string run;
  std::string stage;
  Version package;
  Version model;             // The model inside; empty name when the run has none.
  std::string agent;         // That keeps the service; empty for deploys by hooks.
  std::string endpoint;
  UtcTime started;           // When it became live.
  UtcTime ended;             // When the next one took over; unset: live.
  std::string replaced;      // Id of the one it took over from; empty: the first.
  std::vector<Override> overrides;   // By which gates of its run passed, as "model-gate.mae"; not of the ledger, told where it is listed.
};

}  // namespace cd4ml::core
