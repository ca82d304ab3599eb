// The daemon's ports as seen from another process: the same interfaces, carried over gRPC.
#pragma once

#include <memory>
#include <string>

#include "cd4ml/ports/agent_api.h"
#include "cd4ml/ports/blob_store.h"
#include "cd4ml/ports/control_api.h"
#include "cd4ml/ports/gate_api.h"
#include "cd4ml/ports/query_api.h"
#include "cd4ml/ports/storage_api.h"

namespace cd4ml::rpc {

// Each makes a client with a connection of its own, so that bulk bytes never delay a lease.
// `address` is as in ServerConfig. Connecting happens with the first call and again whenever the
// connection was lost; a daemon that does not answer makes calls fail with UNAVAILABLE, which names
// the address, within two seconds.
//
// All methods may be called from any thread. Callbacks come from gRPC's threads and must not block.
// Destroying a client cancels its open calls (their `done` hears CANCELLED), waits for callbacks
// under way and makes no further ones; it must not happen inside a callback.
std::unique_ptr<ControlApi> ConnectControl(const std::string& address);
std::unique_ptr<QueryApi> ConnectQuery(const std::string& address);
std::unique_ptr<StorageApi> ConnectStorage(const std::string& address);
std::unique_ptr<GateApi> ConnectGates(const std::string& address);
// `on_lost` hears UNAVAILABLE when the connection broke, otherwise why the daemon ended the
// session.
std::unique_ptr<AgentApi> ConnectAgent(const std::string& address);
// All bytes are verified on both ends. PutFile and Materialize copy: there is nothing to link.
// Remove is PERMISSION_DENIED.
std::unique_ptr<BlobStore> ConnectBlobs(const std::string& address);

}  // namespace cd4ml::rpc
