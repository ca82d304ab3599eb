// Asking a service many times at once, over HTTP or gRPC, and how long its answers take.
#pragma once

#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "cd4ml/base/value.h"
#include "cd4ml/ports/clock.h"
#include "cd4ml/ports/grpc_client.h"
#include "cd4ml/ports/http_client.h"

namespace cd4ml::agent {

// A request that a service has answered before.
struct Asked {
  HttpRequest request;
  std::shared_ptr<GrpcMethod> method;  // In place of the request, with `message`.
  Value message;
  int status = 200;  // What it was answered with over HTTP.
  // How an answer differs from what it has to be, "" when it does not; null: whatever is answered will do. Called from
  // several threads.
  std::function<std::string(const HttpResponse&)> breach;
  std::function<std::string(const Value&)> message_breach;
  // An answer that was good, when it is small: the same again is good, too, which is quicker to see.
  std::string good_type, good_body;

  bool is_checked() const { return breach != nullptr || message_breach != nullptr; }
};

using MakeClient = std::function<std::unique_ptr<HttpClient>()>;

// Calls `visit(client, i)` for every i below `count`, from several threads. Ends early at `halt`, and when a visit
// returns false.
void ForEachAtOnce(const MakeClient& make, int64_t count, int threads, const std::stop_token& halt,
                   const std::function<bool(HttpClient&, int64_t)>& visit);

struct LoadReport {
  std::vector<double> seconds;  // Of each answer that counts, in ascending order.
  double elapsed = 0;           // From the first to the last of them.
  int64_t asked = 0;            // Those that count, answered or not.
  int64_t failed = 0;           // Not answered, with another status than before or wrongly; also while warming up.
  std::string failure;          // How one of them failed.
};

// Sends `count` requests, which are those of `asked` in turn, by `concurrency` callers, each of which waits for its answer
// before it asks again (a closed loop: while a service stalls it is asked less, so the stall counts once for each caller
// and not once for everyone who would have come meanwhile). Before, a tenth as many go unmeasured, so that connections are
// open and what is made at first use is there. After a few failures it gives up.
LoadReport Load(const Clock& clock, const MakeClient& make, const std::vector<Asked>& asked, int64_t count,
                int concurrency, const std::stop_token& halt);

// Returns the smallest of the ascending `values` that at least `percent` of them do not exceed. REQUIRES: there is one.
double Percentile(const std::vector<double>& values, int percent);

}  // namespace cd4ml::agent
