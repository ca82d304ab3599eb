// The two clocks of the machine.
#include <chrono>
#include <fstream>

#include "cd4ml/os/os.h"

namespace cd4ml::os {
namespace {

template <typename C>
Duration SinceEpoch() {
  return std::chrono::duration_cast<Duration>(C::now().time_since_epoch());
}

class SystemClock final : public Clock {
 public:
  UtcTime Now() const override { return {SinceEpoch<std::chrono::system_clock>().count()}; }
  Duration Steady() const override { return SinceEpoch<std::chrono::steady_clock>(); }
  int64_t Ticks() const override {
    return std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count();
  }
};

}  // namespace

std::string BootId() {
  std::string id;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> id;
  return id;
}

std::unique_ptr<Clock> MakeClock() { return std::make_unique<SystemClock>(); }

}  // namespace cd4ml::os
