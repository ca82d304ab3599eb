// What every part of the agent may use, borrowed from the Agent.
#pragma once

#include "cd4ml/agent/agent.h"
#include "cd4ml/base/histogram.h"

namespace cd4ml::agent {

class Blobs;
class Crew;
class Definitions;
class Exits;
class Gpus;
class Repos;
class Runtimes;
class Services;
class Sweeper;

// Where the time of an attempt goes.
struct Steps {
  Histogram hear;      // Desired state received, until the agent's own thread looks at it.
  Histogram begin;     // Until the attempt's thread runs.
  Histogram prepare;   // Record, checkout, inputs, parameters.
  Histogram spawn;     // Asked of the keeper, until the process runs.
  Histogram process;   // Its life, until the attempt's thread hears of its end.
  Histogram conclude;  // Until outputs and outcome are on disk.
  Histogram finish;    // Until the daemon has committed it, and this agent heard so.
};

struct Tools {
  const AgentConfig& config;
  const AgentPorts& ports;
  Exits& exits;
  Blobs& blobs;
  Definitions& definitions;
  Services& services;
  Sweeper& sweeper;
  Repos& repos;
  Runtimes& runtimes;
  Crew& crew;
  Gpus& gpus;
  Steps& steps;
};

}  // namespace cd4ml::agent
