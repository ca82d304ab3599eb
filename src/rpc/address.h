// Where a daemon listens: text to parts, and whether only this machine can reach it.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace cd4ml::rpc {

struct Address {
  std::string path;  // Of a Unix socket; otherwise empty, and the rest counts.
  std::string host;  // Without brackets.
  int port = 0;
  std::string target;  // As gRPC wants it.

  std::string WithPort(int real_port) const;
};

// INVALID_ARGUMENT names what is allowed.
absl::StatusOr<Address> ParseAddress(const std::string& text);

// PERMISSION_DENIED when other machines could connect.
absl::Status CheckLocal(const Address& address);

}  // namespace cd4ml::rpc
