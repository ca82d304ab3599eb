// What carries messages between programs, or does not.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "tests/sim/room.h"

namespace cd4ml::sim {

// One connection: what is sent one way arrives in order, or the connection breaks.
struct Stream {
  size_t host = 0;
  bool broken = false;
  bool refused = false;                   // The daemon does not want who opened it.
  int64_t up_free = 0, down_free = 0;     // When the last message arrives.
  std::function<void()> on_broken;        // Told to the side that opened it.
};

struct Answer {
  absl::Status status;
  int64_t value = 0;
};
using Reply = std::function<void(Answer)>;

class Network {
 public:
  explicit Network(Room& room, size_t hosts) : room_(room), cut_(hosts) {}

  // --- streams ---
  void Up(const std::shared_ptr<Stream>& stream, std::function<void()> deliver);
  void Down(const std::shared_ptr<Stream>& stream, std::function<void()> deliver);
  // The other side is gone: it is told at once, or notices after a while.
  void Break(const std::shared_ptr<Stream>& stream, bool told);

  // --- calls ---
  // Asks the daemon once or twice, or not at all; `on_answer` is called once in any case.
  void Call(size_t host, const std::function<void(Reply)>& at_daemon, const Reply& on_answer);

  // --- faults ---
  // Cuts one direction, or both, between a host and the daemon.
  void Cut(size_t host, bool up, bool down) {
    cut_[host].up |= up;
    cut_[host].down |= down;
  }
  void Mend(size_t host) { cut_[host] = {}; }

 private:
  enum class Way { kUp, kDown };
  // Returns how long a message takes, or nullopt when it is lost.
  std::optional<int64_t> Transit(size_t host, Way way);
  void Send(const std::shared_ptr<Stream>& stream, Way way, std::function<void()> deliver);

  struct CutWays {
    bool up = false, down = false;
  };

  Room& room_;
  std::vector<CutWays> cut_;
};

}  // namespace cd4ml::sim
