// Objects by key, as S3 and its likes keep them: put as a whole, read as a whole, listed.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "cd4ml/base/time.h"

namespace cd4ml {

struct ObjectFacts {
  std::string key;
  int64_t size = 0;
  Duration age{0};            // Since it was put, by the clock of the server; a second may be missing.
};

// One folder of objects: keys are relative to it. Keeps connections open between calls. Not thread-safe: one per thread.
//
// What may pass was tried several times before it is an error. Errors name the object, never a credential. NOT_FOUND;
// PERMISSION_DENIED; UNAVAILABLE when nobody answers, the server stops in the middle or is busy; CANCELLED at `stop`.
class ObjectStore {
 public:
  virtual ~ObjectStore() = default;

  // Returns where the folder is, for messages: "s3://bucket/prefix/".
  virtual std::string name() const = 0;

  // Puts the object in the place of what is there. It is seen by everybody as a whole, or not at all.
  virtual absl::Status Put(const std::string& key, std::string_view bytes, const std::stop_token& stop) = 0;
  // RESOURCE_EXHAUSTED when it has more than `size_max` bytes.
  virtual absl::StatusOr<std::string> Get(const std::string& key, int64_t size_max, const std::stop_token& stop) = 0;
  // Returns the first `count` bytes, or all that there are.
  virtual absl::StatusOr<std::string> GetHead(const std::string& key, int64_t count, const std::stop_token& stop) = 0;
  virtual absl::StatusOr<ObjectFacts> Find(const std::string& key, const std::stop_token& stop) = 0;
  // Copies inside of the server. A copy onto itself makes the object young.
  virtual absl::Status Copy(const std::string& from, const std::string& to, const std::stop_token& stop) = 0;
  // Removing what is not there succeeds.
  virtual absl::Status Remove(const std::string& key, const std::stop_token& stop) = 0;
  // Shows all objects whose key begins with `prefix`, until `visit` fails.
  virtual absl::Status List(const std::string& prefix, const std::function<absl::Status(const ObjectFacts&)>& visit,
                            const std::stop_token& stop) = 0;
};

// Makes one for the calling thread. Thread-safe.
using ObjectStoreOpener = std::function<std::unique_ptr<ObjectStore>()>;

}  // namespace cd4ml
