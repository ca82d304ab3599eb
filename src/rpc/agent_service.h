// The lease protocol's server side.
#pragma once

#include <grpcpp/impl/service_type.h>

#include <memory>

#include "cd4ml/ports/agent_api.h"

namespace cd4ml::rpc {

// The services that agents call; Sync is one open stream per session.
class AgentServices {
 public:
  virtual ~AgentServices() = default;
  virtual grpc::Service& agents() = 0;
  virtual grpc::Service& predictions() = 0;
  // Ends every open stream with UNAVAILABLE, and every later one at once.
  virtual void EndStreams() = 0;
};

std::unique_ptr<AgentServices> MakeAgentServices(AgentApi& api);

}  // namespace cd4ml::rpc
