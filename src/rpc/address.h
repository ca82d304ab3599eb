// Where a daemon listens: text to parts, and whether only this machine can reach it.
#pragma once

#include <sys/socket.h>

#include <string>

#include "absl/status/statusor.h"

namespace cd4ml::rpc {

struct Address {
  std::string path;  // Of a Unix socket; otherwise empty, and the rest counts.
  std::string host;  // Without brackets; a name or a number.
  int port = 0;
  sockaddr_storage socket = {};  // Family 0 when the host is neither a number nor localhost.
  socklen_t socket_size = 0;

  // Returns the address as clients write it, with another port.
  std::string WithPort(int other_port) const;
};

// INVALID_ARGUMENT names what is allowed.
absl::StatusOr<Address> ParseAddress(const std::string& text);

// PERMISSION_DENIED when other machines could connect.
absl::Status CheckLocal(const Address& address);

}  // namespace cd4ml::rpc
