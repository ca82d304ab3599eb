// The factory of the TOML adapter: parameter files in TOML, beside what another parser reads.
#pragma once

#include <memory>

#include "cd4ml/ports/pipeline_parser.h"

namespace cd4ml::toml {

// Returns a parser that reads and writes parameter files whose names end in ".toml", and leaves all else to `others`,
// which is not null.
std::unique_ptr<PipelineParser> WithToml(std::unique_ptr<PipelineParser> others);

}  // namespace cd4ml::toml
