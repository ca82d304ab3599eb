// Identity of what goes into a model and comes out of a stage: kind, name and digest.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "cd4ml/base/digest.h"
#include "cd4ml/core/pipeline.h"

namespace cd4ml {

// What an artifact is and how much: enough to show, move and place it.
struct ArtifactRef {
  Digest digest;          // Of the bytes, or of the tree's text (ports/blob_store.h).
  bool is_tree = false;
  int64_t size = 0;       // Sum over the files.
  int64_t files = 1;

  bool operator==(const ArtifactRef&) const = default;
};

}  // namespace cd4ml

namespace cd4ml::core {

enum class VersionKind {
  kCode,          // A commit.
  kData,          // A material's content when the run was created.
  kParams,        // The effective parameters.
  kEnvironment,   // Interpreter, system and agent that a stage ran with.
  kDataset, kModel, kProbeSet, kDeployable, kReport, kFile,   // A stage's output.
};
std::string_view ToText(VersionKind kind);                    // "code", "probe_set"
std::optional<VersionKind> ParseVersionKind(std::string_view text);
VersionKind VersionKindOf(OutputType type);

// One version. Two versions are the same when `Id` is.
struct Version {
  VersionKind kind = VersionKind::kFile;
  std::string name;       // "used-car-price", "used-car-price/listings", "used-car-price/train.model".
  std::string digest;     // 64 hexadecimal digits; 40 for a commit.
  ArtifactRef artifact;   // Where its bytes are; unset for code.
  std::string summary;    // For people: a commit's subject, "12,000 rows". May be empty.

  bool operator==(const Version&) const = default;
};

// Returns "model:used-car-price/train.model@91bc…" with the whole digest.
std::string VersionId(const Version& version);

}  // namespace cd4ml::core
