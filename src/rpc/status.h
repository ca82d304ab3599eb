// Errors on the wire: gRPC's codes are abseil's; located findings travel in the trailing metadata.
#pragma once

#include <grpcpp/support/status.h>
#include <grpcpp/support/string_ref.h>

#include <map>
#include <string>

#include "absl/status/status.h"

namespace cd4ml::rpc {

// Every error that the daemon itself answers carries this key, so that a client can tell it from
// gRPC's own.
constexpr char kDiagnosticsKey[] = "cd4ml-diagnostics-bin";
// Trailing metadata larger than this is refused by clients.
constexpr int kMetadataMax = 1 << 20;

// Returns `status` for the wire. `diagnostics` becomes what belongs under kDiagnosticsKey; as many
// findings as fit.
grpc::Status ToGrpc(const absl::Status& status, std::string* diagnostics);

// Sends `status` as the end of the call of `context`.
template <typename Context>
grpc::Status Answer(Context* context, const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  std::string diagnostics;
  grpc::Status answer = ToGrpc(status, &diagnostics);
  context->AddTrailingMetadata(kDiagnosticsKey, diagnostics);
  return answer;
}

// Returns what a call to the daemon at `address` ended with.
absl::Status FromGrpc(const grpc::Status& status,
                      const std::multimap<grpc::string_ref, grpc::string_ref>& trailing,
                      const std::string& address);

}  // namespace cd4ml::rpc
