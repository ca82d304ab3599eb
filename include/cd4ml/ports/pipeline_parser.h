// Text to pipeline: the port that hides YAML from daemon, agent and CLI.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "cd4ml/core/diagnostic.h"
#include "cd4ml/core/expression.h"
#include "cd4ml/core/gate_policy.h"
#include "cd4ml/core/pipeline.h"

namespace cd4ml {

struct ParsedPipeline {
  core::PipelineSpec spec;        // Meaningful only when there is no error among the diagnostics.
  core::Diagnostics diagnostics;  // All findings of the file at once, in the order of their places.
  // The definition with every ${{ }} replaced, as canonical JSON, which is itself a definition: it is
  // what a run keeps, what its digest is taken of, and what an agent parses again. Empty on errors.
  std::string expanded;
};

// Parses and checks pipeline definitions and parameter files. Thread-safe; no I/O.
class PipelineParser {
 public:
  virtual ~PipelineParser() = default;

  // Parses `text`, which came from `file`. With a scope, expressions are evaluated in it; without
  // (null), only their form is checked and typed fields keep a stand-in value.
  virtual ParsedPipeline Parse(std::string_view text, std::string_view file,
                               const core::Scope* scope) const = 0;

  // Reads a parameter file (YAML, JSON or TOML, told by its name) with the same strictness.
  virtual absl::StatusOr<Value> ParseParams(std::string_view text, std::string_view file) const = 0;

  // Reads a document of somebody else's making (YAML or JSON, told by its name) as strictly as a parameter file; its keys
  // may have dots.
  virtual absl::StatusOr<Value> ParseDocument(std::string_view text, std::string_view file) const = 0;
  // Reads the file that says which gates the server requires; the first finding is the error.
  virtual absl::StatusOr<core::GatePolicies> ParseGatePolicies(std::string_view text, std::string_view file) const = 0;

  // Returns `text`, which is that of the parameter file `file`, so changed that it holds exactly
  // `params`. What stands in it beside values (comments, layout) stays as long as only scalars differ.
  virtual absl::StatusOr<std::string> WriteParams(const Value& params, std::string_view text,
                                                  std::string_view file) const = 0;
};

}  // namespace cd4ml
