// A monitor watches one environment's live deployment and closes the loop: breach -> retrain.
//
// It is armed by a run's deploy and outlives the run. What it measured comes in; what follows goes out. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cd4ml/base/digest.h"
#include "cd4ml/base/time.h"
#include "cd4ml/core/pipeline.h"
#include "cd4ml/core/profile.h"
#include "cd4ml/core/verdict.h"

namespace cd4ml::core {

struct MonitorState {
  std::string pipeline;
  std::string stage;
  std::string environment;
  std::string deployment;                  // The live deployment that it watches now.
  Digest definition;                       // Where its MonitorSpec is read from.
  UtcTime armed;
  UtcTime next_check;
  int64_t checks = 0;                      // Number of checks so far; numbers the next one.
  std::map<std::string, int> broken;       // Check -> how often in a row it was broken.
  std::vector<UtcTime> retrains;           // Of the last seven days.
  int retrains_without_recovery = 0;       // Breaches that led to a retrain since the last check without one.
  bool given_up = false;

  std::string id() const { return pipeline + "/" + stage; }
};

// What was seen in the window.
struct MonitorWindow {
  UtcTime from, to;
  int64_t requests = 0;
  std::map<std::string, ColumnProfile> columns;    // Counted like the reference's columns.
};

// What the training data looked like; absent columns cannot be judged.
struct MonitorReference {
  TableProfile profile;
  std::string identity;                    // "used-car-price/1 validate-data.clean sha256:3fa1…".
};

// Judges all checks of a monitor on one window. Too few samples is a pass that says so.
Verdict JudgeWindow(const MonitorSpec& spec, const MonitorWindow& window, const MonitorReference& reference);

struct MonitorDecision {
  MonitorState next;
  bool retrain = false;
  std::string breach;      // The breach in words, when there is one: `input-drift: psi(age) 0.61 > 0.25`.
  std::string held_back;   // Why nothing follows: cool-down, cap, given up, a run is under way, too few samples.
};

// Decides what a judged window leads to. `retrain_open`: a run of the pipeline is still going on.
MonitorDecision DecideMonitor(const MonitorState& state, const MonitorSpec& spec, const Verdict& verdict,
                              bool retrain_open, UtcTime now);

}  // namespace cd4ml::core
