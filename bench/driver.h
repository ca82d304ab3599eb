// What the drivers of the benchmarks share: the time, waiting for an answer, starting runs, percentiles as JSON.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "cd4ml/base/status.h"
#include "cd4ml/ports/control_api.h"
#include "cd4ml/ports/query_api.h"

namespace cd4ml::bench {

// Wall-clock time in milliseconds: processes of one machine agree on it.
inline double NowMs() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) / 1e6;
}

// Sorts as it is asked.
class Samples {
 public:
  void Add(double value) { values_.push_back(value); }
  size_t count() const { return values_.size(); }

  // Returns {"count":..,"min":..,"p50":..,"p90":..,"p99":..,"max":..}.
  std::string Json() {
    std::sort(values_.begin(), values_.end());
    const auto at = [this](double share) {
      return values_.empty() ? 0.0 : values_[static_cast<size_t>(share * static_cast<double>(values_.size() - 1))];
    };
    char text[200];
    std::snprintf(text, sizeof text,
                  R"({"count": %zu, "min": %.4f, "p50": %.4f, "p90": %.4f, "p99": %.4f, "max": %.4f})", count(), at(0),
                  at(0.5), at(0.9), at(0.99), at(1));
    return text;
  }

 private:
  std::vector<double> values_;
};

struct Acknowledged {
  absl::StatusOr<core::Run> run = absl::UnknownError("no answer");
  double asked_ms = 0;
  double answered_ms = 0;
};

inline Acknowledged StartRun(ControlApi& control, const std::string& pipeline) {
  std::promise<Acknowledged> promise;
  StartRequest request;
  request.pipeline = pipeline;
  request.by = "bench";
  const double asked_ms = NowMs();
  control.StartRun(request, [&promise, asked_ms](absl::StatusOr<core::Run> run) {
    promise.set_value({.run = std::move(run), .asked_ms = asked_ms, .answered_ms = NowMs()});
  });
  return promise.get_future().get();
}

// Waits until the pipeline's newest run has ended, asking for one line at a time and seldom, since the record says when it
// ended: a watch would have the daemon send the whole run with every stage that ends, which is not what is to be measured.
inline absl::StatusOr<RunSummary> WaitForEnd(QueryApi& query, const std::string& pipeline,
                                             std::chrono::milliseconds pause = std::chrono::milliseconds(100)) {
  RunFilter filter;
  filter.pipeline = pipeline;
  filter.limit = 1;
  while (true) {
    CD4ML_ASSIGN_OR_RETURN(const std::vector<RunSummary> runs, query.ListRuns(filter));
    if (!runs.empty() && core::IsTerminal(runs.front().state)) return runs.front();
    std::this_thread::sleep_for(pause);
  }
}

inline int Fail(const char* program, const absl::Status& status) {
  std::fprintf(stderr, "%s: %s\n", program, Message(status).c_str());
  return 1;
}

}  // namespace cd4ml::bench
