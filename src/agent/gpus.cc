// Hands out GPUs and takes them back.
#include "agent/gpus.h"

namespace cd4ml::agent {

absl::StatusOr<std::vector<std::string>> Gpus::Take(int64_t count, const std::stop_token& stop) {
  const auto wanted = static_cast<size_t>(count);
  if (count <= 0) return std::vector<std::string>();
  if (wanted > all_.size()) {
    return absl::FailedPreconditionError("the stage needs " + std::to_string(count) +
                                         " GPUs and this agent has " + std::to_string(all_.size()));
  }
  std::unique_lock lock(mutex_);
  if (!released_.wait(lock, stop, [&] { return Free().size() >= wanted; })) {
    return absl::CancelledError("cancelled while it waited for a GPU");
  }
  std::vector<std::string> given = Free();
  given.resize(wanted);
  taken_.insert(given.begin(), given.end());
  return given;
}

void Gpus::Claim(const std::vector<std::string>& taken) {
  std::lock_guard lock(mutex_);
  taken_.insert(taken.begin(), taken.end());
}

void Gpus::Release(const std::vector<std::string>& taken) {
  std::lock_guard lock(mutex_);
  for (const std::string& gpu : taken) taken_.extract(gpu);
  released_.notify_all();
}

std::vector<std::string> Gpus::Free() const {
  std::vector<std::string> free;
  for (const std::string& gpu : all_) {
    if (!taken_.contains(gpu)) free.push_back(gpu);
  }
  return free;
}

void ShowGpus(const std::vector<std::string>& given, const std::vector<std::string>& all,
              std::map<std::string, std::string>& env) {
  if (all.empty()) return;
  env["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID";  // So that numbers mean what nvidia-smi says.
  std::string& visible = env["CUDA_VISIBLE_DEVICES"];
  visible.clear();
  for (const std::string& gpu : given) visible += (visible.empty() ? "" : ",") + gpu;
}

}  // namespace cd4ml::agent
