// Reading policies.
#include "policies.h"

#include "cd4ml/base/log.h"
#include "cd4ml/base/status.h"

namespace cd4ml::daemon {
namespace {

constexpr int64_t kFileSizeMax = 1 << 20;

}  // namespace

absl::Status Policies::Read() {
  if (file_.empty()) return absl::OkStatus();
  CD4ML_ASSIGN_OR_RETURN(const std::string text, files_.ReadFile(file_, kFileSizeMax));
  CD4ML_ASSIGN_OR_RETURN(core::GatePolicies read, parser_.ParseGatePolicies(text, file_));
  LogInfo("gate policies read", {{"file", file_}, {"policies", std::to_string(read.size())}});
  const std::lock_guard lock(mutex_);
  policies_ = std::make_shared<const core::GatePolicies>(std::move(read));
  return absl::OkStatus();
}

std::shared_ptr<const core::GatePolicies> Policies::Get() const {
  const std::lock_guard lock(mutex_);
  return policies_;
}

}  // namespace cd4ml::daemon
