// What every part of the agent may use, borrowed from the Agent.
#pragma once

#include "cd4ml/agent/agent.h"

namespace cd4ml::agent {

class Blobs;
class Definitions;
class Exits;
class Services;
class Sweeper;

struct Tools {
  const AgentConfig& config;
  const AgentPorts& ports;
  Exits& exits;
  Blobs& blobs;
  Definitions& definitions;
  Services& services;
  Sweeper& sweeper;
};

}  // namespace cd4ml::agent
