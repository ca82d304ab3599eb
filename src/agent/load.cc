// Callers on threads of their own.
#include "agent/load.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>

#include "agent/contract.h"
#include "cd4ml/base/status.h"

namespace cd4ml::agent {
namespace {

constexpr int64_t kFailuresMax = 8;
constexpr int64_t kWarmUpMax = 1'000;

std::string Breach(const Asked& asked, const HttpResponse& response) {
  if (asked.breach == nullptr) return "";
  const bool is_same = !asked.good_body.empty() && response.body == asked.good_body && ContentType(response) == asked.good_type;
  return is_same ? "" : asked.breach(response);
}

// Asks once. Returns how long the answer took, or how it failed.
absl::StatusOr<double> Ask(const Clock& clock, HttpClient& client, const Asked& asked) {
  if (asked.method != nullptr) {
    const int64_t start = clock.Ticks();
    CD4ML_ASSIGN_OR_RETURN(const Value message, asked.method->Call(asked.message, asked.request.timeout));
    const double seconds = static_cast<double>(clock.Ticks() - start) / 1e9;
    const std::string breach = asked.message_breach == nullptr ? "" : asked.message_breach(message);
    if (!breach.empty()) return absl::AbortedError("answered right without load, and now: " + breach);
    return seconds;
  }
  CD4ML_ASSIGN_OR_RETURN(const HttpResponse response, client.Send(asked.request));
  if (response.status != asked.status) {
    return absl::AbortedError("answered with status " + std::to_string(response.status) + " instead of " +
                              std::to_string(asked.status));
  }
  const std::string breach = Breach(asked, response);
  if (!breach.empty()) return absl::AbortedError("answered right without load, and now: " + breach);
  return response.seconds;
}

}  // namespace

void ForEachAtOnce(const MakeClient& make, int64_t count, int threads, const std::stop_token& halt,
                   const std::function<bool(HttpClient&, int64_t)>& visit) {
  std::atomic<int64_t> next = 0;
  std::atomic<bool> goes_on = true;
  std::vector<std::jthread> pool;
  for (int64_t i = std::min<int64_t>(threads, count); i > 0; --i) {
    pool.emplace_back([&] {
      const std::unique_ptr<HttpClient> client = make();
      for (int64_t mine; goes_on && !halt.stop_requested() && (mine = next++) < count;) {
        if (!visit(*client, mine)) goes_on = false;
      }
    });
  }
}

LoadReport Load(const Clock& clock, const MakeClient& make, const std::vector<Asked>& asked, int64_t count,
                int concurrency, const std::stop_token& halt) {
  // Each caller keeps its connection from the one part into the other.
  const int64_t warm_up = std::min(kWarmUpMax, std::max<int64_t>(concurrency, count / 10));
  std::vector<double> seconds(static_cast<size_t>(count), -1);
  std::atomic<int64_t> start = 0, last = 0;
  std::mutex mutex;
  LoadReport report;
  ForEachAtOnce(make, warm_up + count, concurrency, halt, [&](HttpClient& client, int64_t i) {
    if (i == warm_up) start = clock.Ticks();
    const absl::StatusOr<double> took = Ask(clock, client, asked[static_cast<size_t>(i) % asked.size()]);
    last = clock.Ticks();
    if (took.ok()) {
      if (i >= warm_up) seconds[static_cast<size_t>(i - warm_up)] = *took;
      return true;
    }
    std::lock_guard lock(mutex);
    report.failure = Message(took.status());
    return ++report.failed < kFailuresMax;
  });
  report.asked = count;
  report.elapsed = static_cast<double>(last - start) / 1e9;
  std::erase_if(seconds, [](double one) { return one < 0; });
  std::sort(seconds.begin(), seconds.end());
  report.seconds = std::move(seconds);
  return report;
}

double Percentile(const std::vector<double>& values, int percent) {
  const size_t rank = (values.size() * static_cast<size_t>(percent) + 99) / 100;
  return values[std::max<size_t>(rank, 1) - 1];
}

}  // namespace cd4ml::agent
