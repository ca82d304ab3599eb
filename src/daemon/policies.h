// The gate policies of this server, from the file that its operator keeps.
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "cd4ml/core/gate_policy.h"
#include "cd4ml/ports/file_system.h"
#include "cd4ml/ports/pipeline_parser.h"

namespace cd4ml::daemon {

// Thread-safe.
class Policies {
 public:
  // Without a file there are none.
  Policies(std::string file, FileSystem& files, const PipelineParser& parser)
      : file_(std::move(file)), files_(files), parser_(parser) {}

  // Reads the file; when it makes no sense, what was read before goes on.
  absl::Status Read();
  std::shared_ptr<const core::GatePolicies> Get() const;

 private:
  const std::string file_;
  FileSystem& files_;
  const PipelineParser& parser_;
  mutable std::mutex mutex_;  // Guards policies_.
  std::shared_ptr<const core::GatePolicies> policies_ = std::make_shared<core::GatePolicies>();
};

}  // namespace cd4ml::daemon
