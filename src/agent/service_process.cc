// Asks a starting service whether it is ready, until it is or cannot be any more.
#include "agent/service_process.h"

#include <algorithm>
#include <charconv>

#include "agent/exits.h"
#include "cd4ml/base/status.h"

namespace cd4ml::agent {
namespace {

constexpr Duration kPauseMin{5}, kPauseMax{100};
constexpr Duration kAnswerMax{2'000};
constexpr int kRestartsMax = 3;  // A service that ends this often will not become ready.

// Returns OK while the process may still become ready.
absl::Status StillThere(const ProcessStatus& status) {
  if (status.state == ProcessState::kExited) {
    if (!status.message.empty())
      return absl::UnavailableError("could not be started: " + status.message);
    return absl::UnavailableError("ended with exit code " + std::to_string(status.exit_code));
  }
  if (status.restarts < kRestartsMax) return absl::OkStatus();
  return absl::UnavailableError("ended " + std::to_string(status.restarts) + " times");
}

// The protocol by which a server of gRPC says whether it is ready, as gRPC publishes it.
constexpr char kHealthFile[] = "grpc/health/v1/health.proto";
constexpr char kHealthProto[] = R"(
syntax = "proto3";
package grpc.health.v1;
message HealthCheckRequest { string service = 1; }
message HealthCheckResponse {
  enum ServingStatus { UNKNOWN = 0; SERVING = 1; NOT_SERVING = 2; SERVICE_UNKNOWN = 3; }
  ServingStatus status = 1;
}
service Health { rpc Check(HealthCheckRequest) returns (HealthCheckResponse); }
)";

// How one service is asked whether it is ready.
class Readiness {
 public:
  Readiness(const AgentPorts& ports, const core::ServiceSpec& spec, std::string base_url)
      : ports_(ports), spec_(spec), base_url_(std::move(base_url)), client_(ports.http_client()) {}

  bool Answers() {
    if (spec_.ready_grpc) return IsServing();
    HttpRequest request;
    request.url = base_url_ + (spec_.ready_path.empty() ? "/" : spec_.ready_path);
    request.timeout = kAnswerMax;
    const absl::StatusOr<HttpResponse> response = client_->Send(request);
    // Without a path an open port is enough, whatever is spoken there.
    if (spec_.ready_path.empty()) {
      return !absl::IsUnavailable(response.status()) && !absl::IsDeadlineExceeded(response.status());
    }
    return response.ok() && response->status >= 200 && response->status < 300;
  }

  // Returns what it has not done in time.
  std::string Missing() const {
    if (spec_.ready_grpc) return ": grpc.health.v1 never said SERVING" + (last_.empty() ? "" : ", but " + last_);
    return spec_.ready_path.empty() ? ": its port stayed closed" : ": GET " + spec_.ready_path + " never succeeded";
  }

 private:
  // Connects anew each time: a channel that has found the port closed does not look again for a while.
  absl::StatusOr<std::string> Health() const {
    const size_t host = base_url_.find("://") + 3;
    CD4ML_ASSIGN_OR_RETURN(const std::unique_ptr<GrpcMethod> check,
                           ports_.grpc_method({.address = base_url_.substr(host, base_url_.find('/', host) - host),
                                               .method = "grpc.health.v1.Health/Check",
                                               .proto = kHealthFile,
                                               .read = [](const std::string&) { return kHealthProto; }}));
    CD4ML_ASSIGN_OR_RETURN(const Value answer, check->Call(Value::Map{{"service", *spec_.ready_grpc}}, kAnswerMax));
    const Value* status = answer.Find("status");
    return status != nullptr ? ToText(*status) : "nothing";
  }

  bool IsServing() {
    const absl::StatusOr<std::string> health = Health();
    last_ = health.ok() ? *health : Message(health.status());
    return last_ == "SERVING";
  }

  const AgentPorts& ports_;
  const core::ServiceSpec& spec_;
  const std::string base_url_;
  const std::unique_ptr<HttpClient> client_;
  std::string last_;  // What it answered over gRPC.
};

}  // namespace

absl::Status AwaitReady(const Tools& tools, const std::string& process,
                        const core::ServiceSpec& spec, const std::string& base_url,
                        const std::stop_token& halt) {
  Readiness readiness(tools.ports, spec, base_url);
  const Duration deadline = tools.ports.clock.Steady() + spec.ready_within;
  for (Duration pause = kPauseMin;; pause = std::min(kPauseMax, pause * 2)) {
    const bool answers = readiness.Answers();
    CD4ML_ASSIGN_OR_RETURN(const ProcessStatus status, tools.ports.processes.Status(process));
    CD4ML_RETURN_IF_ERROR(StillThere(status));
    // Without a process it was someone else who answered.
    if (answers && status.pid != 0) return absl::OkStatus();
    if (halt.stop_requested()) return absl::CancelledError("cancelled");
    if (tools.ports.clock.Steady() >= deadline) {
      return absl::DeadlineExceededError("was not ready within " + FormatDuration(spec.ready_within) + readiness.Missing());
    }
    tools.exits.Wait(process, pause, halt);
  }
}

absl::Status StillServes(const Tools& tools, const std::string& process) {
  CD4ML_ASSIGN_OR_RETURN(const ProcessStatus status, tools.ports.processes.Status(process));
  return StillThere(status);
}

int PortOf(const std::string& url) {
  const size_t host = url.find("://");
  const size_t start = host == std::string::npos ? 0 : host + 3;
  const std::string authority = url.substr(start, url.find('/', start) - start);
  const size_t colon = authority.rfind(':');
  int port = 0;
  if (colon == std::string::npos) return 0;
  const char* end = authority.data() + authority.size();
  const auto [rest, error] = std::from_chars(authority.data() + colon + 1, end, port);
  return error == std::errc() && rest == end && port > 0 && port < 65'536 ? port : 0;
}

}  // namespace cd4ml::agent
