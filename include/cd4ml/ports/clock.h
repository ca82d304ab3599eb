// Time from outside. The core never asks; the shell passes `now` in.
#pragma once

#include "cd4ml/base/time.h"

namespace cd4ml {

class Clock {
 public:
  virtual ~Clock() = default;

  // Returns the wall-clock time: for records and for people.
  virtual UtcTime Now() const = 0;

  // Returns time since an arbitrary start that never jumps: for deadlines and leases.
  virtual Duration Steady() const = 0;

  // Returns the same in nanoseconds: for measuring how long a step takes, and never for deciding anything.
  virtual int64_t Ticks() const { return std::chrono::nanoseconds(Steady()).count(); }
};

}  // namespace cd4ml
