// Keeps gRPC's threads for callbacks from falling asleep.
//
// When nothing has come for a second, such a thread of gRPC 1.51 sleeps for 100 ms and hears nothing meanwhile: one
// question in forty to an idle daemon took that long. A call from within, twice a second, keeps one of them awake.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <condition_variable>
#include <future>
#include <memory>
#include <mutex>
#include <thread>

#include "cd4ml/v1/agent_service.grpc.pb.h"

namespace cd4ml::rpc {

class Wakeful {
 public:
  // `channel` leads to a server of this process.
  explicit Wakeful(const std::shared_ptr<grpc::Channel>& channel)
      : stub_(v1::AgentService::NewStub(channel)),
        thread_([this](std::stop_token stop) { Run(stop); }) {}

 private:
  static constexpr std::chrono::milliseconds kPeriod{500};

  void Run(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    while (!stop.stop_requested()) {
      Ring();
      wake_.wait_for(lock, stop, kPeriod, [] { return false; });
    }
  }

  // Asks what makes no sense, and so is answered at the door.
  void Ring() {
    grpc::ClientContext context;
    v1::FinishRequest request;
    v1::FinishResponse response;
    std::promise<void> ended;
    stub_->async()->Finish(&context, &request, &response, [&](const grpc::Status&) { ended.set_value(); });
    ended.get_future().wait();
  }

  const std::unique_ptr<v1::AgentService::Stub> stub_;
  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::jthread thread_;  // Last: it uses the others.
};

}  // namespace cd4ml::rpc
