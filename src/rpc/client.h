// What all clients share: a channel, and calls that end before their client does.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>

#include "cd4ml/base/time.h"
#include "cd4ml/ports/done.h"
#include "rpc/status.h"

namespace cd4ml::rpc {

// A question that the daemon answers from memory or from its database.
constexpr Duration kQuickCall{10'000};
// One for which it may have to read a repository and all data of a run. A dead daemon is noticed
// earlier.
constexpr Duration kLongCall{600'000};
// All that there is, is read.
constexpr Duration kUpkeepCall{7 * 86'400'000};

// Returns a channel that shares its connection with nobody.
std::shared_ptr<grpc::Channel> OpenChannel(const std::string& address);

inline void SetDeadline(grpc::ClientContext* context, Duration deadline) {
  context->set_deadline(gpr_time_from_millis(deadline.count(), GPR_TIMESPAN));
}

// The calls under way of one client. Thread-safe.
//
// A context holds its channel, and gRPC's own threads must not be those that let go of it last: the
// channel waits for them then (grpc 1.51 aborts). So a call ends when its context has been destroyed.
class Calls {
 public:
  // Cancels what is under way and waits until all of it has ended.
  ~Calls() {
    std::unique_lock lock(mutex_);
    for (grpc::ClientContext* context : contexts_) context->TryCancel();
    ended_.wait(lock, [this] { return contexts_.empty(); });
  }

  void Begin(grpc::ClientContext* context) {
    std::lock_guard lock(mutex_);
    contexts_.insert(context);
  }
  // Destroys `call`, the owner of `context`.
  template <typename Owner>
  void End(grpc::ClientContext* context, Owner call) {
    std::lock_guard lock(mutex_);
    call.reset();
    contexts_.erase(context);
    ended_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable ended_;
  std::set<grpc::ClientContext*> contexts_;  // Guarded by mutex_.
};

// Makes one unary call: `start(context, request, response, callback)` is a method of an async stub,
// `read(response)` makes the answer. `done` is called exactly once.
template <typename Response, typename T, typename Request, typename Start, typename ReadAnswer>
void Ask(Calls& calls, const std::string& address, Duration deadline, Request request, Start start,
         ReadAnswer read, std::function<void(T)> done) {
  struct Call {
    grpc::ClientContext context;
    Request request;
    Response response;
  };
  Call* const call = new Call;  // Deleted by the callback, which comes exactly once.
  call->request = std::move(request);
  SetDeadline(&call->context, deadline);
  calls.Begin(&call->context);
  start(&call->context, &call->request, &call->response,
        [call, address, read, done = std::move(done), &calls](const grpc::Status& ended) {
          absl::Status status = FromGrpc(ended, call->context.GetServerTrailingMetadata(), address);
          if (status.ok()) {
            done(read(call->response));
          } else {
            done(std::move(status));
          }
          calls.End(&call->context, std::unique_ptr<Call>(call));
        });
}

}  // namespace cd4ml::rpc
