// Adding context to an error on its way up.
#include "cd4ml/base/status.h"

namespace cd4ml {

absl::Status Annotate(const absl::Status& status, std::string_view what) {
  if (status.ok()) return status;
  return absl::Status(status.code(), std::string(what) + ": " + Message(status));
}

std::string Message(const absl::Status& status) {
  return std::string(status.message().data(), status.message().size());
}

}  // namespace cd4ml
