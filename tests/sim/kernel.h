// The simulated machine room's heart: one queue of events in time order, one source of randomness.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace cd4ml::sim {

// The same numbers on every machine for the same seed (splitmix64).
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t Next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  // Uniform in [from, to].
  int64_t Between(int64_t from, int64_t to) {
    return from + static_cast<int64_t>(Next() % static_cast<uint64_t>(to - from + 1));
  }
  bool Percent(int64_t chance) { return Between(0, 99) < chance; }
  double Unit() { return static_cast<double>(Next() >> 11) * 0x1.0p-53; }
  template <typename List>
  auto& OneOf(List& list) {
    return list[static_cast<size_t>(Between(0, static_cast<int64_t>(list.size()) - 1))];
  }

 private:
  uint64_t state_;
};

// Runs events in the order of their time, and of their making where that is the same.
class Kernel {
 public:
  int64_t now() const { return now_; }  // Milliseconds since the world began.

  void At(int64_t when, std::function<void()> event) {
    queue_.push_back({std::max(when, now_), made_++, std::move(event)});
    std::push_heap(queue_.begin(), queue_.end(), Later);
  }
  void After(int64_t wait, std::function<void()> event) { At(now_ + wait, std::move(event)); }

  // Runs the next event, if there is one before `end`.
  bool Step(int64_t end) {
    if (queue_.empty() || queue_.front().when > end) return false;
    std::pop_heap(queue_.begin(), queue_.end(), Later);
    const Item item = std::move(queue_.back());
    queue_.pop_back();
    now_ = item.when;
    ++steps_;
    item.event();
    return true;
  }
  int64_t steps() const { return steps_; }

 private:
  struct Item {
    int64_t when;
    uint64_t made;
    std::function<void()> event;
  };
  static bool Later(const Item& a, const Item& b) {
    return a.when != b.when ? a.when > b.when : a.made > b.made;
  }

  int64_t now_ = 0;
  uint64_t made_ = 0;
  int64_t steps_ = 0;
  std::vector<Item> queue_;
};

// What happened, for whoever reads a failed history; written only when it is on. Everything that
// happens goes into a hash, so that two runs of a seed can be compared.
class Trace {
 public:
  explicit Trace(bool on) : on_(on) {}

  bool on() const { return on_; }
  void Say(int64_t now, const std::string& line) {
    for (const char c : line) hash_ = (hash_ ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
    hash_ = (hash_ ^ static_cast<uint64_t>(now)) * 0x100000001b3u;
    if (on_) lines_.push_back(std::to_string(now) + " " + line);
  }
  uint64_t hash() const { return hash_; }
  const std::vector<std::string>& lines() const { return lines_; }

 private:
  const bool on_;
  uint64_t hash_ = 0xcbf29ce484222325u;
  std::vector<std::string> lines_;
};

}  // namespace cd4ml::sim
