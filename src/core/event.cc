// Names of events.
#include "cd4ml/core/event.h"

#include <array>

namespace cd4ml::core {

std::string_view EventName(const Event& event) {
  static constexpr std::array<std::string_view, std::variant_size_v<Event>> kNames = {
      "run_started", "stage_ready",   "lease_granted", "attempt_started",  "attempt_ended", "versions_produced",
      "deployed",    "monitor_armed", "stage_ended",   "cancel_requested", "run_ended",     "run_admitted",
      "stage_carried", "stop_requested"};
  return kNames[event.index()];
}

}  // namespace cd4ml::core
