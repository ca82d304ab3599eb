// Offers the daemon's ports to other processes over gRPC.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "cd4ml/base/time.h"
#include "cd4ml/ports/agent_api.h"
#include "cd4ml/ports/blob_store.h"
#include "cd4ml/ports/control_api.h"
#include "cd4ml/ports/gate_api.h"
#include "cd4ml/ports/query_api.h"
#include "cd4ml/ports/storage_api.h"

namespace cd4ml::rpc {

struct ServerConfig {
  // "127.0.0.1:7077", "[::1]:7077", "localhost:0" or "unix:///run/cd4ml/socket". Port 0: a free
  // one. Other hosts are refused until connections can be authenticated.
  std::string address;
  Duration keepalive{20'000};  // A silent connection is asked for a sign of life this often,
  Duration keepalive_timeout{10'000};  // and given up after this long without one.
  int threads_max =
      128;  // Blob transfers, queries and followers at once; more get RESOURCE_EXHAUSTED.
  int followers_max = 64;  // Of those, runs watched and logs followed.
};

// A running server. Destroying it shuts it down at once.
class Server {
 public:
  virtual ~Server() = default;

  // Returns the port it listens on; 0 for a Unix socket.
  virtual int port() const = 0;
  // Returns where clients connect to, with the real port.
  virtual const std::string& address() const = 0;

  // Stops listening, ends all open streams with UNAVAILABLE, gives other calls until `deadline` and
  // cancels what is left then. Returns when no call of a port is under way and none will follow.
  // REQUIRES: the ports still answer.
  virtual void Shutdown(Duration deadline) = 0;
};

// Starts serving; the ports must outlive the server. Their callbacks may come at any time, also
// after the client that asked has gone. INVALID_ARGUMENT: no such kind of address.
// Without `storage` or `gates` what it offers is UNIMPLEMENTED. PERMISSION_DENIED: not loopback. ALREADY_EXISTS: somebody else listens there.
absl::StatusOr<std::unique_ptr<Server>> Serve(const ServerConfig& config, ControlApi& control,
                                              QueryApi& query, AgentApi& agents, BlobStore& blobs,
                                              StorageApi* storage = nullptr, GateApi* gates = nullptr);

}  // namespace cd4ml::rpc
