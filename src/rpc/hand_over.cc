// Tells ThreadSanitizer what gRPC hands over between threads. Part of programs built with it, and of no others.
//
// The libraries are not built with the sanitizer and order their threads by atomics, which it therefore does not see:
// all that was written before an operation began seems to race with the callback that ends it. So the functions through
// which everything goes in and comes out stand here in front of the libraries' own and say what those promise, and no
// more: an operation begins before it ends, a server starts before it is called, a lock has one holder at a time.
// What no promise orders is a race as anywhere else.
#include <absl/synchronization/mutex.h>
#include <dlfcn.h>
#include <grpc/grpc.h>
#include <grpcpp/support/server_callback.h>

#include "cd4ml/base/check.h"

extern "C" void __tsan_acquire(void* address);
extern "C" void __tsan_release(void* address);

namespace {

char servers;  // Its address stands for all servers of this process, which start before they are called.

// Returns the library's function that stands behind the one here.
template <typename Function>
Function* Behind(const char* name) {
  void* const found = dlsym(RTLD_NEXT, name);
  CD4ML_CHECK(found != nullptr, name);
  return reinterpret_cast<Function*>(found);
}

grpc_event Came(const grpc_event& event) {
  if (event.type != GRPC_OP_COMPLETE) return event;
  __tsan_acquire(&servers);
  if (event.tag != nullptr) __tsan_acquire(event.tag);
  return event;
}

}  // namespace

grpc_call_error grpc_call_start_batch(grpc_call* call, const grpc_op* ops, size_t count, void* tag, void* reserved) {
  static auto* const behind = Behind<decltype(grpc_call_start_batch)>("grpc_call_start_batch");
  if (tag != nullptr) __tsan_release(tag);
  return behind(call, ops, count, tag, reserved);
}

grpc_event grpc_completion_queue_next(grpc_completion_queue* queue, gpr_timespec deadline, void* reserved) {
  static auto* const behind = Behind<decltype(grpc_completion_queue_next)>("grpc_completion_queue_next");
  return Came(behind(queue, deadline, reserved));
}

grpc_event grpc_completion_queue_pluck(grpc_completion_queue* queue, void* tag, gpr_timespec deadline, void* reserved) {
  static auto* const behind = Behind<decltype(grpc_completion_queue_pluck)>("grpc_completion_queue_pluck");
  return Came(behind(queue, tag, deadline, reserved));
}

void grpc_server_start(grpc_server* server) {
  static auto* const behind = Behind<decltype(grpc_server_start)>("grpc_server_start");
  __tsan_release(&servers);
  behind(server);
}

// Who counts a call down to its end does so in our code or, unseen, in the library's own: here both arrive.
void grpc::internal::ServerCallbackCall::ScheduleOnDone(bool inline_ondone) {
  static auto* const behind =
      Behind<void(ServerCallbackCall*, bool)>("_ZN4grpc8internal18ServerCallbackCall14ScheduleOnDoneEb");
  __tsan_acquire(&callbacks_outstanding_);
  behind(this, inline_ondone);
}

void grpc::internal::ServerCallbackCall::CallOnCancel(ServerReactor* reactor) {
  static auto* const behind = Behind<void(ServerCallbackCall*, ServerReactor*)>(
      "_ZN4grpc8internal18ServerCallbackCall12CallOnCancelEPNS0_13ServerReactorE");
  __tsan_acquire(&on_cancel_conditions_remaining_);
  behind(this, reactor);
}

// What waits for a condition takes the lock again without these; so giving it back takes over, too.
void absl::Mutex::Lock() {
  static auto* const behind = Behind<void(Mutex*)>("_ZN4absl7debian35Mutex4LockEv");
  behind(this);
  __tsan_acquire(this);
}

void absl::Mutex::Unlock() {
  static auto* const behind = Behind<void(Mutex*)>("_ZN4absl7debian35Mutex6UnlockEv");
  __tsan_acquire(this);
  __tsan_release(this);
  behind(this);
}
