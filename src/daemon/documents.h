// Documents about outputs, made from the store's rows alone.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "cd4ml/ports/history.h"
#include "cd4ml/ports/query_api.h"
#include "cd4ml/ports/signer.h"

namespace cd4ml::daemon {

// `signer` may be null; then provenance is refused.
absl::StatusOr<std::string> MakeDocument(History& history, Signer* signer, const std::string& reference,
                                         DocumentKind kind);

}  // namespace cd4ml::daemon
