// Parsing of listening addresses; see address.h.
#include "rpc/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <charconv>
#include <string_view>

namespace cd4ml::rpc {
namespace {

constexpr std::string_view kUnix = "unix://";

absl::Status BadAddress(const std::string& text) {
  return absl::InvalidArgumentError(
      "\"" + text + "\" is no address; write host:port, [ipv6]:port or unix:///absolute/path");
}

absl::StatusOr<Address> ParseUnix(const std::string& text) {
  const std::string path = text.substr(kUnix.size());
  if (!path.starts_with('/') || path.ends_with('/')) return BadAddress(text);
  if (path.size() >= sizeof(sockaddr_un::sun_path)) {
    return absl::InvalidArgumentError("the path of \"" + text +
                                      "\" is too long for a socket; it may have 107 bytes");
  }
  return Address{.path = path};
}

// Fills in the socket address; hosts that are no numbers keep none.
void Resolve(Address& address) {
  const std::string number = address.host == "localhost" ? "127.0.0.1" : address.host;
  sockaddr_in v4 = {};
  sockaddr_in6 v6 = {};
  if (inet_pton(AF_INET, number.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(static_cast<uint16_t>(address.port));
    reinterpret_cast<sockaddr_in&>(address.socket) = v4;
    address.socket_size = sizeof v4;
  } else if (inet_pton(AF_INET6, number.c_str(), &v6.sin6_addr) == 1) {
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(static_cast<uint16_t>(address.port));
    reinterpret_cast<sockaddr_in6&>(address.socket) = v6;
    address.socket_size = sizeof v6;
  }
}

bool IsLoopback(const sockaddr_storage& socket) {
  if (socket.ss_family == AF_INET) {
    return ntohl(reinterpret_cast<const sockaddr_in&>(socket).sin_addr.s_addr) >> 24 == 127;
  }
  return socket.ss_family == AF_INET6 &&
         IN6_IS_ADDR_LOOPBACK(&reinterpret_cast<const sockaddr_in6&>(socket).sin6_addr);
}

}  // namespace

std::string Address::WithPort(int other_port) const {
  if (!path.empty()) return std::string(kUnix) + path;
  return (host.find(':') == std::string::npos ? host : "[" + host + "]") + ":" +
         std::to_string(other_port);
}

absl::StatusOr<Address> ParseAddress(const std::string& text) {
  if (text.starts_with(kUnix)) return ParseUnix(text);
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos) return BadAddress(text);
  Address address{.host = text.substr(0, colon)};
  if (address.host.starts_with('[') && address.host.ends_with(']')) {
    address.host = address.host.substr(1, address.host.size() - 2);
  } else if (address.host.find(':') != std::string::npos) {
    return BadAddress(text);
  }
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data() + colon + 1, end, address.port);
  const bool is_port =
      error == std::errc() && rest == end && address.port >= 0 && address.port <= 65'535;
  if (!is_port || address.host.empty()) return BadAddress(text);
  Resolve(address);
  return address;
}

absl::Status CheckLocal(const Address& address) {
  if (!address.path.empty() || IsLoopback(address.socket)) return absl::OkStatus();
  return absl::PermissionDeniedError(
      "will not listen on " + address.WithPort(address.port) +
      ": connections from other machines need mTLS, which is not available yet; use "
      "127.0.0.1:" +
      std::to_string(address.port) + " or unix:///path");
}

}  // namespace cd4ml::rpc
