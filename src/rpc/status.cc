// Errors on the wire; see status.h.
#include "rpc/status.h"

#include "cd4ml/base/status.h"
#include "cd4ml/ports/answer.h"
#include "cd4ml/ports/diagnostic_payload.h"

namespace cd4ml::rpc {
namespace {

constexpr size_t kMessageMax = 16 << 10;
constexpr size_t kDiagnosticsMax = 256 << 10;

}  // namespace

grpc::Status ToGrpc(const absl::Status& status, std::string* diagnostics) {
  *diagnostics = DiagnosticsJson(status);
  core::Diagnostics findings = DiagnosticsOf(status);
  while (diagnostics->size() > kDiagnosticsMax && !findings.empty()) {
    findings.resize(findings.size() / 2);
    *diagnostics = DiagnosticsJson(DiagnosticsError("", findings));
  }
  if (diagnostics->empty() || diagnostics->size() > kDiagnosticsMax) *diagnostics = "[]";
  return {static_cast<grpc::StatusCode>(status.code()), Message(status).substr(0, kMessageMax)};
}

absl::Status FromGrpc(const grpc::Status& status,
                      const std::multimap<grpc::string_ref, grpc::string_ref>& trailing,
                      const std::string& address) {
  if (status.ok()) return absl::OkStatus();
  const auto code = static_cast<absl::StatusCode>(status.error_code());
  if (const auto found = trailing.find(kDiagnosticsKey); found != trailing.end()) {
    const std::string json(found->second.data(), found->second.size());
    absl::Status answer(code, status.error_message());
    if (code == absl::StatusCode::kUnavailable) answer = AsAnswer(answer);
    return WithDiagnosticsJson(answer, json == "[]" ? "" : json);
  }
  const std::string daemon = "the daemon at " + address;
  if (code == absl::StatusCode::kUnavailable) {
    return absl::UnavailableError("cannot reach " + daemon + " (" + status.error_message() +
                                  "); is cd4mld running there?");
  }
  if (code == absl::StatusCode::kDeadlineExceeded) {
    return absl::DeadlineExceededError(daemon + " did not answer in time; the outcome is unknown");
  }
  return absl::Status(code, daemon + ": " + status.error_message());
}

}  // namespace cd4ml::rpc
