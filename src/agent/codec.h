// Tasks, services and outcomes as JSON values: how an agent keeps them on its disk across restarts.
#pragma once

#include "absl/status/statusor.h"
#include "cd4ml/base/value.h"
#include "cd4ml/core/run.h"
#include "cd4ml/ports/agent_api.h"

namespace cd4ml::agent {

// Total in this direction; NaN metrics survive as text.
Value ToValue(const Task& task);
Value ToValue(const ServiceTask& service);
Value ToValue(const core::Outcome& outcome);

// INVALID_ARGUMENT names the field that makes no sense; an absent field has its default.
absl::StatusOr<Task> TaskFromValue(const Value& value);
absl::StatusOr<ServiceTask> ServiceFromValue(const Value& value);
absl::StatusOr<core::Outcome> OutcomeFromValue(const Value& value);

}  // namespace cd4ml::agent
