// Samples by a thread of its own.
#include "agent/memory_meter.h"

#include <algorithm>

namespace cd4ml::agent {
namespace {

constexpr int kRest = 20;  // Looking costs at most one part in so many of the time, because it holds up the service.

}  // namespace

MemoryMeter::MemoryMeter(const AgentPorts& ports, std::string process)
    : ports_(ports), process_(std::move(process)), thread_([this](std::stop_token stop) { Run(stop); }) {}

void MemoryMeter::Run(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    const Duration start = ports_.clock.Steady();
    Look();
    const Duration pause = std::max(kPeriod, (ports_.clock.Steady() - start) * kRest);
    std::unique_lock lock(mutex_);
    wake_.wait_for(lock, stop, pause, [] { return false; });
  }
}

void MemoryMeter::Look() {
  const absl::StatusOr<ProcessMemory> memory = ports_.processes.Memory(process_);
  std::lock_guard lock(mutex_);
  if (memory.ok()) {
    peak_ = std::max({peak_, memory->bytes, memory->peak_of_one});
  } else {
    problem_ = memory.status();
  }
}

absl::StatusOr<int64_t> MemoryMeter::Peak() {
  Look();
  std::lock_guard lock(mutex_);
  if (peak_ == 0 && !problem_.ok()) return problem_;
  if (peak_ == 0) return absl::UnavailableError("nothing of it ran while it was looked at");
  return peak_;
}

}  // namespace cd4ml::agent
