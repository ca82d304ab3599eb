// A unary call on the server as one expression: convert, ask the port, convert.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <utility>

#include "cd4ml/ports/done.h"
#include "rpc/status.h"

namespace cd4ml::rpc {

// Calls `ask(request, done)`, and when it answers `fill(answer)` and ends the call.
template <typename T, typename Request, typename Ask, typename Fill>
grpc::ServerUnaryReactor* AnswerUnary(grpc::CallbackServerContext* context,
                                      absl::StatusOr<Request> request, const Ask& ask, Fill fill) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  if (!request.ok()) {
    reactor->Finish(Answer(context, request.status()));
    return reactor;
  }
  ask(*std::move(request), Done<T>([context, reactor, fill](absl::StatusOr<T> answer) {
    if (answer.ok()) fill(*answer);
    reactor->Finish(Answer(context, answer.status()));
  }));
  return reactor;
}

}  // namespace cd4ml::rpc
