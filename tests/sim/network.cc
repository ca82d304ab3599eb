// Loss, delay, duplication and order of messages.
#include "tests/sim/network.h"

namespace cd4ml::sim {
namespace {

constexpr int64_t kCallMax = 30'000;    // As the agents' calls.
constexpr int64_t kNoticeMax = 30'000;  // A dead connection is noticed by its keepalive.

}  // namespace

std::optional<int64_t> Network::Transit(size_t host, Way way) {
  const CutWays& cut = cut_[host];
  if (way == Way::kUp ? cut.up : cut.down) return std::nullopt;
  if (room_.faults.drop && room_.random.Percent(3)) return std::nullopt;
  if (room_.faults.delay && room_.random.Percent(5)) return room_.random.Between(10, 20'000);
  return room_.random.Between(1, 10);
}

void Network::Send(const std::shared_ptr<Stream>& stream, Way way, std::function<void()> deliver) {
  if (stream->broken) return;
  const std::optional<int64_t> transit = Transit(stream->host, way);
  if (!transit) return Break(stream, false);
  int64_t& free = way == Way::kUp ? stream->up_free : stream->down_free;
  free = std::max(free, room_.kernel.now() + *transit);
  room_.kernel.At(free, std::move(deliver));
}

void Network::Up(const std::shared_ptr<Stream>& stream, std::function<void()> deliver) {
  Send(stream, Way::kUp, std::move(deliver));
}

void Network::Down(const std::shared_ptr<Stream>& stream, std::function<void()> deliver) {
  Send(stream, Way::kDown, std::move(deliver));
}

void Network::Break(const std::shared_ptr<Stream>& stream, bool told) {
  if (std::exchange(stream->broken, true)) return;
  const int64_t notice = told ? room_.random.Between(1, 20) : room_.random.Between(1, kNoticeMax);
  room_.kernel.After(notice, [stream] { stream->on_broken(); });
}

void Network::Call(size_t host, const std::function<void(Reply)>& at_daemon,
                   const Reply& on_answer) {
  const auto answered = std::make_shared<bool>(false);
  const Reply answer = [answered, on_answer](const Answer& given) {
    if (!std::exchange(*answered, true)) on_answer(given);
  };
  const auto fail = [this, answer] {
    // Either the connection is reset, or nobody answers in time.
    const bool reset = room_.random.Percent(50);
    room_.kernel.After(reset ? room_.random.Between(1, 2'000) : kCallMax, [answer, reset] {
      answer({reset ? absl::UnavailableError("reset") : absl::DeadlineExceededError("late")});
    });
  };
  const std::optional<int64_t> transit = Transit(host, Way::kUp);
  if (!transit) return fail();
  const Reply back = [this, host, answer, fail](const Answer& given) {
    const std::optional<int64_t> way_back = Transit(host, Way::kDown);
    if (!way_back) return fail();
    room_.kernel.After(*way_back, [answer, given] { answer(given); });
  };
  room_.kernel.After(*transit, [at_daemon, back] { at_daemon(back); });
  if (room_.faults.duplicate && room_.random.Percent(20)) {
    room_.kernel.After(*transit + room_.random.Between(0, 5'000),
                       [at_daemon, back] { at_daemon(back); });
  }
  room_.kernel.After(kCallMax, [answer] { answer({absl::DeadlineExceededError("late")}); });
}

}  // namespace cd4ml::sim
