// The listening socket. gRPC 1.51 stops accepting for ever once it ran out of file descriptors
// (CVE-2023-4785), so connections are accepted here and handed over.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "rpc/address.h"

namespace cd4ml::rpc {

class Listener {
 public:
  // ALREADY_EXISTS: somebody listens there. A socket file that nobody listens on is replaced.
  static absl::StatusOr<std::unique_ptr<Listener>> Open(const Address& address);
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  // Calls `take` with every connection (this socket, the connection) on a thread of its own; `take`
  // owns it. Connections that would use up the process's file descriptors are closed.
  void Start(std::function<void(int listener, int connection)> take);
  // Ends that thread and stops listening.
  void Stop();

  // Returns the real port; 0 for a Unix socket.
  int port() const { return port_; }

 private:
  Listener(int socket, std::string path, int port);
  void AcceptAll(const std::function<void(int, int)>& take) const;

  const int socket_;
  const int wake_;          // An eventfd that ends the thread.
  const std::string path_;  // Of the Unix socket; otherwise empty.
  const int port_;
  bool stopped_ = false;
  std::thread thread_;
};

}  // namespace cd4ml::rpc
