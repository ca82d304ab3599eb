// Judges gates on local files: what `cd4ml gate test` asks for.
#pragma once

#include <functional>
#include <memory>

#include "cd4ml/ports/gate_tester.h"
#include "cd4ml/ports/table_engine.h"

namespace cd4ml::bin {

// `open_tables` opens an engine; it outlives the answer.
GateTester MakeGateTester(std::function<absl::StatusOr<std::unique_ptr<TableEngine>>()> open_tables);

}  // namespace cd4ml::bin
