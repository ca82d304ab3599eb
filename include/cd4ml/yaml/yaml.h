// The factory of the YAML adapter: reads and checks definitions and parameter files.
#pragma once

#include <memory>

#include "cd4ml/ports/pipeline_parser.h"

namespace cd4ml::yaml {

// Returns the parser of the pipeline language (docs/reference/pipeline.md). Never null.
std::unique_ptr<PipelineParser> MakePipelineParser();

}  // namespace cd4ml::yaml
