// Packaged services as processes: how they are started, and when they count as ready.
#pragma once

#include <map>
#include <string>

#include "agent/tools.h"
#include "cd4ml/core/pipeline.h"

namespace cd4ml::agent {

// Waits until the service at `base_url` answers as `spec` wants. DEADLINE_EXCEEDED: not in time.
// UNAVAILABLE: its process has ended, says how. CANCELLED: `halt`.
absl::Status AwaitReady(const Tools& tools, const std::string& process,
                        const core::ServiceSpec& spec, const std::string& base_url,
                        const std::stop_token& halt);

// Returns OK while the process runs or is started again. UNAVAILABLE: it has ended, says how.
absl::Status StillServes(const Tools& tools, const std::string& process);

// Returns the port of a URL like "http://127.0.0.1:8080/x", or 0 when it names none.
int PortOf(const std::string& url);

}  // namespace cd4ml::agent
