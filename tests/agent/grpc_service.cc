// A price service over gRPC for tests, which speaks the wire format by hand so that it can also speak it wrongly.
//
//   service Prices { rpc Estimate(Car) returns (Price); ... }   see kProto in tests/agent/contract_gate_test.cc
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>

namespace {

// Returns a varint and moves past it.
uint64_t Varint(const std::string& bytes, size_t& at) {
  uint64_t number = 0;
  for (int shift = 0; at < bytes.size() && shift < 64; shift += 7) {
    const auto byte = static_cast<unsigned char>(bytes[at++]);
    number |= uint64_t{byte & 0x7fu} << shift;
    if (byte < 0x80) break;
  }
  return number;
}

// Returns field 2 (the age) of a Car whose fields are: 1 text, 2 double, 3 int64.
double AgeOf(const std::string& bytes) {
  double age = 0;
  for (size_t at = 0; at < bytes.size();) {
    const uint64_t tag = Varint(bytes, at);
    if (tag == 0x11 && at + 8 <= bytes.size()) {
      std::memcpy(&age, bytes.data() + at, 8);
      at += 8;
    } else if ((tag & 7) == 2) {
      const uint64_t size = Varint(bytes, at);
      at += size;
    } else {
      Varint(bytes, at);
    }
  }
  return age;
}

std::string PriceOf(double price) {
  std::string bytes = "\x09";  // Field 1, a double.
  bytes.append(reinterpret_cast<const char*>(&price), 8);
  bytes += "\x10\xff\xff\xff\xff\xff\xff\xff\xff\x7f";  // Field 2, the largest int64.
  return bytes;
}

// Whether it says that it is ready, as $HEALTH tells: "serving", "loading" (the fourth time), "never"; else it has no such service.
grpc::Status Health(const std::string& request, std::string& answer) {
  static std::atomic<int> asked = 0;
  const char* const told = std::getenv("HEALTH");
  const std::string health = told == nullptr ? "none" : told;
  if (health != "serving" && health != "loading" && health != "never") return grpc::Status(grpc::StatusCode::UNIMPLEMENTED, "");
  const std::string service = request.size() > 2 ? request.substr(2) : "";  // Field 1, a text.
  if (!service.empty() && service != "shop.Prices") return grpc::Status(grpc::StatusCode::NOT_FOUND, "unknown service");
  const bool serves = health == "serving" || (health == "loading" && ++asked > 3);
  answer = serves ? "\x08\x01" : "\x08\x02";
  return grpc::Status::OK;
}

class Call : public grpc::ServerGenericBidiReactor {
 public:
  explicit Call(std::string method) : method_(std::move(method)) { StartRead(&request_); }

  void OnReadDone(bool ok) override {
    if (!ok) return Finish(grpc::Status(grpc::StatusCode::INTERNAL, "no request"));
    std::vector<grpc::Slice> slices;
    (void)request_.Dump(&slices);
    std::string bytes;
    for (const grpc::Slice& slice : slices) bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
    if (method_ == "/shop.Prices/Silent") return;  // Until the caller has had enough.
    if (method_ == "/shop.Prices/Refuses") return Finish(grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "no such brand"));
    if (method_ == "/shop.Prices/Dies") std::_Exit(3);
    std::string health;
    if (method_ == "/grpc.health.v1.Health/Check") {
      if (const grpc::Status refused = Health(bytes, health); !refused.ok()) return Finish(refused);
    }
    const std::string answer = !health.empty() ? health : method_ == "/shop.Prices/Garbage" ? "\x09\x01 no message" : PriceOf(AgeOf(bytes) * 100);
    grpc::Slice slice(answer);
    response_ = grpc::ByteBuffer(&slice, 1);
    StartWriteAndFinish(&response_, grpc::WriteOptions(), grpc::Status::OK);
  }
  void OnCancel() override {
    if (method_ == "/shop.Prices/Silent") Finish(grpc::Status::CANCELLED);
  }
  void OnDone() override { delete this; }

 private:
  const std::string method_;
  grpc::ByteBuffer request_, response_;
};

class Prices : public grpc::CallbackGenericService {
  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext* context) override {
    return new Call(context->method());
  }
};

}  // namespace

int main() {
  Prices prices;
  grpc::ServerBuilder builder;
  builder.AddListeningPort(std::string("127.0.0.1:") + std::getenv("CD4ML_PORT"), grpc::InsecureServerCredentials());
  builder.RegisterCallbackGenericService(&prices);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  std::puts("serving");
  std::fflush(stdout);
  if (server != nullptr) server->Wait();
}
