// Data behind URLs: objects that are listed, and read piece by piece.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace cd4ml {

// Where something lies: "https://host/path", "s3://bucket/key" or "s3://bucket/prefix/".
struct RemotePlace {
  std::string url;
  std::string endpoint, region;   // s3: instead of the daemon's own; empty: those.
};

struct RemoteObject {
  std::string path;               // Below the place that was listed; "" for the place itself.
  int64_t size = 0;
  std::string stamp;              // Changes with the content, as far as the server knows.
};

// What the server said of an object. `unchanged`: it still has the stamp that was asked about, and nothing was read.
struct RemoteAnswer {
  bool unchanged = false;
  std::string stamp;              // Empty when the server gives none: then only reading tells.
  int64_t size = 0;
};

using RemoteSink = std::function<absl::Status(std::string_view piece)>;

// Keeps connections open between calls. Not thread-safe: one per thread.
//
// Errors name the URL, never a credential. NOT_FOUND; PERMISSION_DENIED; UNAVAILABLE when nobody answers or the server
// stops in the middle; RESOURCE_EXHAUSTED when there is more than allowed; CANCELLED at `stop`.
class RemoteData {
 public:
  virtual ~RemoteData() = default;

  // Lists every object of an s3:// place, sorted by path: the one whose key it is, or all below it. An http(s):// place
  // cannot be listed: INVALID_ARGUMENT.
  virtual absl::StatusOr<std::vector<RemoteObject>> List(const RemotePlace& place, int64_t count_max,
                                                         const std::stop_token& stop) = 0;

  // Gives the bytes of one object to `sink`, unless its stamp still is `known_stamp`. Whatever the sink has taken when
  // this fails is worth nothing. An answer that may be cut off without anyone noticing is refused.
  virtual absl::StatusOr<RemoteAnswer> Read(const RemotePlace& place, const std::string& known_stamp,
                                            int64_t size_max, const RemoteSink& sink,
                                            const std::stop_token& stop) = 0;
};

// Makes one for the calling thread. Thread-safe.
using RemoteDataOpener = std::function<std::unique_ptr<RemoteData>()>;

}  // namespace cd4ml
