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

bool Answers(HttpClient& client, const core::ServiceSpec& spec, const std::string& base_url) {
  HttpRequest request;
  request.url = base_url + (spec.ready_path.empty() ? "/" : spec.ready_path);
  request.timeout = kAnswerMax;
  const absl::StatusOr<HttpResponse> response = client.Send(request);
  // Without a path an open port is enough, whatever is spoken there.
  if (spec.ready_path.empty()) {
    return !absl::IsUnavailable(response.status()) && !absl::IsDeadlineExceeded(response.status());
  }
  return response.ok() && response->status >= 200 && response->status < 300;
}

}  // namespace

absl::Status AwaitReady(const Tools& tools, const std::string& process,
                        const core::ServiceSpec& spec, const std::string& base_url,
                        const std::stop_token& halt) {
  const std::unique_ptr<HttpClient> client = tools.ports.http_client();
  const Duration deadline = tools.ports.clock.Steady() + spec.ready_within;
  for (Duration pause = kPauseMin;; pause = std::min(kPauseMax, pause * 2)) {
    const bool answers = Answers(*client, spec, base_url);
    CD4ML_ASSIGN_OR_RETURN(const ProcessStatus status, tools.ports.processes.Status(process));
    CD4ML_RETURN_IF_ERROR(StillThere(status));
    // Without a process it was someone else who answered.
    if (answers && status.pid != 0) return absl::OkStatus();
    if (halt.stop_requested()) return absl::CancelledError("cancelled");
    if (tools.ports.clock.Steady() >= deadline) {
      return absl::DeadlineExceededError(
          "was not ready within " + FormatDuration(spec.ready_within) +
          (spec.ready_path.empty() ? ": its port stayed closed"
                                   : ": GET " + spec.ready_path + " never succeeded"));
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
