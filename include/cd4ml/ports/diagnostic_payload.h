// How located findings travel inside an absl::Status, so that the CLI can show them like `lint` does.
#pragma once

#include "absl/status/status.h"
#include "cd4ml/core/diagnostic.h"

namespace cd4ml {

// Returns INVALID_ARGUMENT with `message` and the diagnostics as payload.
absl::Status DiagnosticsError(const std::string& message, const core::Diagnostics& diagnostics);

// Returns the diagnostics inside `status`; empty when it has none.
core::Diagnostics DiagnosticsOf(const absl::Status& status);

// The payload itself as JSON, for carrying it over a wire; "" when there is none.
std::string DiagnosticsJson(const absl::Status& status);
absl::Status WithDiagnosticsJson(absl::Status status, const std::string& json);

}  // namespace cd4ml
