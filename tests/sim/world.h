// One history: a world made from a seed, lived through, judged.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/sim/room.h"

namespace cd4ml::sim {

enum class Mode {
  kSafety,    // Faults go on to the end.
  kLiveness,  // They end at some time; then everything must come to its end.
};

struct Options {
  uint64_t seed = 0;
  Mode mode = Mode::kSafety;
  Plant plant = Plant::kNone;
  bool traced = false;
};

struct Lived {
  std::string violation;  // Empty: nothing was wrong.
  std::vector<std::string> trace;
  uint64_t hash = 0;      // Of everything that happened.
  int64_t steps = 0, events = 0, crashes = 0, runs = 0;
};

Lived Live(const Options& options);

// "no-fence", ...; every plant but kNone.
struct PlantName {
  Plant plant;
  const char* name;
};
const std::vector<PlantName>& Plants();

}  // namespace cd4ml::sim
