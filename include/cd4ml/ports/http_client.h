// Plain HTTP requests to services on reachable addresses.
#pragma once

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "cd4ml/base/time.h"

namespace cd4ml {

struct HttpRequest {
  std::string method = "GET";
  std::string url;
  std::map<std::string, std::string> headers;
  std::string body;
  Duration timeout{10'000};
};

struct HttpResponse {
  int status = 0;
  std::map<std::string, std::string> headers;   // Names in lower case.
  std::string body;                             // At most 16 MiB; more is an error.
  double seconds = 0;                           // From sending to the last byte.
};

// Keeps connections open between calls. Not thread-safe: one per thread.
class HttpClient {
 public:
  virtual ~HttpClient() = default;
  // Any answer is OK here, whatever its status code. UNAVAILABLE when nobody answers, DEADLINE_EXCEEDED
  // on timeout. Follows no redirect and uses no proxy.
  virtual absl::StatusOr<HttpResponse> Send(const HttpRequest& request) = 0;
};

}  // namespace cd4ml
