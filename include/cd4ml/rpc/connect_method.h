// Services of others over gRPC.
#pragma once

#include "cd4ml/ports/grpc_client.h"

namespace cd4ml::rpc {

// A GrpcConnector. Files that a file imports are looked for from the repository's top, then beside the target's own;
// google/protobuf/*.proto are known.
absl::StatusOr<std::unique_ptr<GrpcMethod>> ConnectMethod(const GrpcTarget& target);

}  // namespace cd4ml::rpc
