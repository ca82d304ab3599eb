// Unary gRPC calls to services whose protocol is known as text: the .proto files of a repository.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "cd4ml/base/time.h"
#include "cd4ml/base/value.h"

namespace cd4ml {

// One method of a service at one address. Thread-safe.
class GrpcMethod {
 public:
  virtual ~GrpcMethod() = default;
  // Returns the answer in protobuf's JSON form, but with names as in the .proto, fields that have no value too, and
  // 64-bit integers as numbers. INVALID_ARGUMENT: `request` is no message of the method's type. DEADLINE_EXCEEDED: no
  // answer in time. UNAVAILABLE: nobody answers. ABORTED: the service answered with an error, or with what is no message
  // of its type; says which.
  virtual absl::StatusOr<Value> Call(const Value& request, Duration timeout) = 0;
};

struct GrpcTarget {
  std::string address;  // "127.0.0.1:8080"
  std::string method;   // "package.Service/Method"
  std::string proto;    // The file that declares the service.
  // Returns the text of a file of the repository, or NOT_FOUND. Not called any more once the method is there.
  std::function<absl::StatusOr<std::string>(const std::string& path)> read;
};

// INVALID_ARGUMENT: a file does not compile, has no such method, or the method streams; says where.
using GrpcConnector = std::function<absl::StatusOr<std::unique_ptr<GrpcMethod>>(const GrpcTarget& target)>;

}  // namespace cd4ml
