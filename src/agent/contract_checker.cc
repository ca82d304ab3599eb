// Goes through the rules of contract gates.
#include "agent/contract_checker.h"

#include "agent/contract.h"
#include "cd4ml/base/status.h"
#include "cd4ml/core/expression.h"

namespace cd4ml::agent {
namespace {

namespace code = core::code;

constexpr size_t kRemarksMax = 3;  // Of one contract, shown by name.

// The port of a service that is never called.
constexpr char kNobody[] = "127.0.0.1:1";

class Check {
 public:
  Check(const PipelineParser& parser, const SchemaCompiler& compile, const GrpcConnector& connect, const RepoReader& read)
      : parser_(parser), compile_(compile), connect_(connect), read_(read) {}

  core::Diagnostics Pipeline(const core::PipelineSpec& pipeline) {
    for (const core::StageSpec& stage : pipeline.stages) {
      for (const core::Rule& rule : stage.rules) {
        const std::string part = "rules." + rule.name + ".";
        if (const auto* contract = std::get_if<core::ContractRule>(&rule.body)) {
          if (IsKnown(contract->file)) Contract(contract->file, stage.PlaceOf(part + "contract"));
        } else if (const auto* probe = std::get_if<core::ProbeRule>(&rule.body)) {
          if (IsKnown(probe->proto) && IsKnown(probe->grpc)) Protocol(*probe, stage.PlaceOf(part + "proto"));
        }
      }
    }
    return std::move(findings_);
  }

 private:
  // What is no path, or none yet, has findings of its own.
  static bool IsKnown(const std::string& text) {
    return !text.empty() && !core::HasTemplate(text) && text.front() != '/' && ("/" + text + "/").find("/../") == std::string::npos;
  }

  void Contract(const std::string& file, const core::Place& place) {
    const absl::StatusOr<std::string> text = read_(file);
    if (absl::IsNotFound(text.status())) {
      return Error(place, "there is no contract " + core::Quoted(file), "its path is relative to the top of the repository");
    }
    if (!text.ok()) return Error(place, "contract " + core::Quoted(file) + " cannot be read: " + Message(text.status()));
    const absl::StatusOr<agent::Contract> contract = ReadContract(*text, file, parser_, compile_);
    if (!contract.ok()) return Error(place, "contract cannot be checked: " + Message(contract.status()));
    std::string names;
    size_t bare = 0;
    for (const Interaction& one : contract->interactions) {
      if (one.checks_body) continue;
      if (++bare <= kRemarksMax) names += (names.empty() ? "" : ", ") + core::Quoted(one.name);
    }
    if (bare == 0) return;
    if (bare > kRemarksMax) names += " and " + std::to_string(bare - kRemarksMax) + " more";
    findings_.push_back(core::MakeWarning(code::kBadContract, place,
                                          "contract " + core::Quoted(file) + " says nothing about the body of the answer to " + names, "",
                                          "any body keeps it; give the answer a schema, or an example of its body"));
  }

  void Protocol(const core::ProbeRule& probe, const core::Place& place) {
    const auto method = connect_({.address = kNobody, .method = probe.grpc, .proto = probe.proto, .read = read_});
    if (!method.ok()) Error(place, "protocol " + core::Quoted(probe.proto) + " cannot be used: " + Message(method.status()));
  }

  void Error(const core::Place& place, std::string message, std::string help = "") {
    findings_.push_back(core::MakeError(code::kBadContract, place, std::move(message), "", std::move(help)));
  }

  const PipelineParser& parser_;
  const SchemaCompiler& compile_;
  const GrpcConnector& connect_;
  const RepoReader& read_;
  core::Diagnostics findings_;
};

}  // namespace

ContractChecker MakeContractChecker(const PipelineParser& parser, SchemaCompiler compile, GrpcConnector connect) {
  return [&parser, compile = std::move(compile), connect = std::move(connect)](const core::PipelineSpec& pipeline, const RepoReader& read) {
    return Check(parser, compile, connect, read).Pipeline(pipeline);
  };
}

}  // namespace cd4ml::agent
