// The time that runs are decided at: it passes evenly and never runs backwards, whatever is done to the wall clock.
#pragma once

#include <algorithm>
#include <cstdlib>

#include "cd4ml/base/time.h"

namespace cd4ml::daemon {

// Starts at the wall's time and advances with steady time. It approaches a wall clock that was set by at most a tenth of
// the time that passes, so that small corrections are followed within seconds and a jump moves no deadline.
class Timeline {
 public:
  Timeline(UtcTime start, Duration steady) : now_(start), steady_(steady) {}

  UtcTime Advance(UtcTime wall, Duration steady) {
    const int64_t passed = std::max<int64_t>(0, (steady - steady_).count());
    steady_ = std::max(steady_, steady);
    allowance_ = std::min(allowance_ + passed, kAllowanceMax);
    const int64_t bound = std::min(allowance_ / 10, passed);
    const int64_t step = std::clamp(wall.ms - (now_.ms + passed), -bound, bound);
    allowance_ -= 10 * std::abs(step);
    now_.ms += passed + step;
    return now_;
  }

 private:
  static constexpr int64_t kAllowanceMax = 10'000;
  UtcTime now_;
  Duration steady_;
  int64_t allowance_ = 0;   // Milliseconds that have passed without a correction.
};

}  // namespace cd4ml::daemon
