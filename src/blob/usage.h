// How much of the disk a store takes and may take, known to all processes that share its folder.
#pragma once

#include <atomic>
#include <cstdint>

#include "absl/status/status.h"

namespace cd4ml::blob {

class Usage {
 public:
  Usage() = default;
  ~Usage();
  Usage(const Usage&) = delete;
  Usage& operator=(const Usage&) = delete;

  // Maps the file "usage" of the folder.
  absl::Status Open(int root);

  void Add(int64_t bytes) { numbers_->used.fetch_add(bytes); }
  void Set(int64_t bytes) { numbers_->used.store(bytes); }
  void SetLimit(int64_t bytes) { numbers_->limit.store(bytes); }
  int64_t used() const { return numbers_->used.load(); }

  // RESOURCE_EXHAUSTED when `bytes` more are too many.
  absl::Status Admit(int64_t bytes) const;

  // What counts before it has a name, until this goes.
  class Hold {
   public:
    explicit Hold(Usage& usage) : usage_(usage) {}
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;
    ~Hold() { usage_.Add(-bytes_); }
    // RESOURCE_EXHAUSTED as Admit.
    absl::Status Take(int64_t bytes);

   private:
    Usage& usage_;
    int64_t bytes_ = 0;
  };

 private:
  struct Numbers {
    std::atomic<int64_t> used;
    std::atomic<int64_t> limit;  // 0: none.
  };
  static_assert(std::atomic<int64_t>::is_always_lock_free);

  Numbers* numbers_ = nullptr;
};

}  // namespace cd4ml::blob
