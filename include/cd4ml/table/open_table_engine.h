// Opens the table engine on the DuckDB library, which is looked for when the program runs.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cd4ml/ports/table_engine.h"

namespace cd4ml::table {

struct TableEngineOptions {
  std::vector<std::string> libraries;     // Paths of libduckdb.so in the order to try them.
  std::string work_folder;                // Exists; tables that outgrow memory spill into it.
  int64_t memory_max = int64_t{1} << 30;  // Bytes.
  int64_t disk_max = 0;                   // Bytes that they may take there; 0: half of what is free.
  int threads = 2;
};

// Returns where to look: `explicit_path` alone when it is set, otherwise what scripts/setup
// installs into the project that `program_folder` lies in, then beside the program, then wherever
// the system's loader looks.
std::vector<std::string> LibraryCandidates(const std::string& explicit_path,
                                           const std::string& program_folder);

// FAILED_PRECONDITION when no library can be opened; the message says how to get it.
absl::StatusOr<std::unique_ptr<TableEngine>> OpenTableEngine(const TableEngineOptions& options);

}  // namespace cd4ml::table
