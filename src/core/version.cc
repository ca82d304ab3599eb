// The identity of versions.
#include "cd4ml/core/version.h"

#include <array>

namespace cd4ml::core {
namespace {

constexpr std::array<std::string_view, 10> kKinds = {"code",  "data",      "params",     "environment", "dataset",
                                                     "model", "probe_set", "deployable", "report",      "file"};

}  // namespace

std::string_view ToText(VersionKind kind) { return kKinds[static_cast<size_t>(kind)]; }

std::optional<VersionKind> ParseVersionKind(std::string_view text) {
  for (size_t i = 0; i < kKinds.size(); ++i) {
    if (kKinds[i] == text) return static_cast<VersionKind>(i);
  }
  return std::nullopt;
}

VersionKind VersionKindOf(OutputType type) {
  switch (type) {
    case OutputType::kDataset: return VersionKind::kDataset;
    case OutputType::kModel: return VersionKind::kModel;
    case OutputType::kProbeSet: return VersionKind::kProbeSet;
    case OutputType::kDeployable: return VersionKind::kDeployable;
    case OutputType::kReport: return VersionKind::kReport;
    case OutputType::kFile: return VersionKind::kFile;
  }
  return VersionKind::kFile;
}

std::string VersionId(const Version& version) {
  return std::string(ToText(version.kind)) + ":" + version.name + "@" + version.digest;
}

}  // namespace cd4ml::core
