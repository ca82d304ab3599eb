// A server that sends the same bytes to everybody, whatever they are.
#pragma once

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <thread>
#include <utility>

namespace cd4ml::http {

// Accepts connections and sends `answer` to each, or nothing for ever when it is empty.
class RawServer {
 public:
  explicit RawServer(std::string answer) : answer_(std::move(answer)) {
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address);
    listen(listener_, 8);
    socklen_t size = sizeof address;
    getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    if (!answer_.empty()) thread_ = std::thread([this] { Serve(); });
  }
  ~RawServer() {
    Requests();
    close(listener_);
  }
  // Stops the server. Returns what was sent to it.
  const std::string& Requests() {
    shutdown(listener_, SHUT_RDWR);
    if (thread_.joinable()) thread_.join();
    return requests_;
  }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_) + "/"; }

 private:
  void Serve() {
    for (int peer; (peer = accept(listener_, nullptr, nullptr)) >= 0; close(peer)) {
      char request[4096];
      const ssize_t size = read(peer, request, sizeof request);
      if (size <= 0) continue;
      requests_.append(request, static_cast<size_t>(size));
      for (size_t sent = 0; sent < answer_.size();) {
        const ssize_t n = send(peer, answer_.data() + sent, answer_.size() - sent, MSG_NOSIGNAL);
        if (n <= 0) break;
        sent += static_cast<size_t>(n);
      }
    }
  }

  const std::string answer_;
  std::string requests_;
  int listener_ = -1;
  int port_ = 0;
  std::thread thread_;
};

}  // namespace cd4ml::http
