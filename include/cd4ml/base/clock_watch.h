// Notices that somebody has set the date back.
#pragma once

#include "cd4ml/base/time.h"

namespace cd4ml {

class ClockWatch {
 public:
  ClockWatch(UtcTime wall, Duration steady) : offset_(wall.ms - steady.count()) {}

  // Returns whether the wall clock was set back by more than a second since the last look. Both clocks are read now.
  bool WasSetBack(UtcTime wall, Duration steady) {
    const int64_t before = offset_;
    offset_ = wall.ms - steady.count();
    return offset_ < before - 1'000;
  }

 private:
  int64_t offset_;   // Of the wall clock to the steady one.
};

}  // namespace cd4ml
