// Parsing of listening addresses; see address.h.
#include "rpc/address.h"

#include <charconv>
#include <string_view>

namespace cd4ml::rpc {
namespace {

constexpr std::string_view kUnix = "unix://";

bool IsLoopback(std::string_view host) {
  return host == "localhost" || host == "::1" || host.starts_with("127.");
}

std::string Joined(const std::string& host, int port) {
  return (host.find(':') == std::string::npos ? host : "[" + host + "]") + ":" +
         std::to_string(port);
}

absl::Status BadAddress(const std::string& text) {
  return absl::InvalidArgumentError(
      "\"" + text + "\" is no address; write host:port, [ipv6]:port or unix:///absolute/path");
}

}  // namespace

std::string Address::WithPort(int real_port) const {
  return path.empty() ? Joined(host, real_port) : std::string(kUnix) + path;
}

absl::StatusOr<Address> ParseAddress(const std::string& text) {
  if (text.starts_with(kUnix)) {
    const std::string path = text.substr(kUnix.size());
    if (!path.starts_with('/')) return BadAddress(text);
    return Address{.path = path, .host = "", .port = 0, .target = text};
  }
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0) return BadAddress(text);
  std::string host = text.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string::npos) {
    return BadAddress(text);
  }
  int port = -1;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data() + colon + 1, end, port);
  if (error != std::errc() || rest != end || port < 0 || port > 65'535 || host.empty())
    return BadAddress(text);
  return Address{.path = "", .host = host, .port = port, .target = Joined(host, port)};
}

absl::Status CheckLocal(const Address& address) {
  if (!address.path.empty() || IsLoopback(address.host)) return absl::OkStatus();
  return absl::PermissionDeniedError(
      "will not listen on " + address.target +
      ": connections from other machines are not available yet, because they need mTLS; "
      "use 127.0.0.1:" +
      std::to_string(address.port) + " or unix:///path");
}

}  // namespace cd4ml::rpc
