// Result files to rule results: what is missing, too large or no such file is an error that blocks.
#include "agent/verdict_files.h"

#include "agent/files.h"
#include "cd4ml/base/status.h"

namespace cd4ml::agent {
namespace {

using core::VerdictSpec;

constexpr int64_t kVerdictFileMax = 64 << 20;

absl::StatusOr<std::vector<core::RuleResult>> ReadAs(VerdictSpec::Kind kind, const std::string& path,
                                                     const XmlParser& parse_xml) {
  CD4ML_ASSIGN_OR_RETURN(const std::string text, ReadText(path, kVerdictFileMax));
  if (kind == VerdictSpec::Kind::kJunit) {
    CD4ML_ASSIGN_OR_RETURN(const core::XmlElement root, parse_xml(text));
    return core::ReadJunit(root);
  }
  CD4ML_ASSIGN_OR_RETURN(const Value value, ParseJson(text));
  return core::ReadOwnVerdict(kind, value);
}

}  // namespace

absl::StatusOr<std::vector<core::RuleResult>> ReadVerdictFile(const std::string& dir, const VerdictSpec& spec,
                                                              const XmlParser& parse_xml) {
  const std::string what = "verdict file " + spec.file;
  const std::string path = dir + "/" + spec.file;
  if (!IsInside(spec.file) || !Exists(path)) return absl::NotFoundError(what + " was not written");
  if (!ResolvesInside(path, dir)) {
    return absl::InvalidArgumentError(what + " leads out of the work directory through a symbolic link");
  }
  absl::StatusOr<std::vector<core::RuleResult>> results = ReadAs(spec.kind, path, parse_xml);
  if (!results.ok()) return Annotate(results.status(), what);
  return results;
}

absl::StatusOr<std::vector<core::RuleResult>> ReadVerdictVariable(const std::string& path) {
  absl::StatusOr<std::vector<core::RuleResult>> results = ReadAs(VerdictSpec::Kind::kFile, path, nullptr);
  if (!results.ok()) return Annotate(results.status(), "the file $CD4ML_VERDICT");
  return results;
}

absl::Status ClearVerdictFile(const std::string& dir, const VerdictSpec& spec) {
  if (spec.file.empty() || !IsInside(spec.file)) return absl::OkStatus();
  return RemoveAll(dir + "/" + spec.file);
}

}  // namespace cd4ml::agent
