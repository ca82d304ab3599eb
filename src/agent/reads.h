// Which files of its checkout a stage opens without having declared them.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "agent/workspace.h"
#include "cd4ml/core/pipeline.h"

namespace cd4ml::agent {

// Watches one stage's command. What was opened is kept in the attempt's room, for its record.
class UndeclaredReads {
 public:
  // Begins, unless there is nothing that an earlier result could be wrong about: a stage that names no code is made
  // again with any change of the repository, and one that is never reused is made again anyway.
  UndeclaredReads(Attempt& attempt, const Workspace& workspace, const core::PipelineSpec& pipeline,
                  const core::StageSpec& stage);
  // Call it when the command has ended.
  void Keep();

 private:
  Attempt& attempt_;
  const std::string stage_, dir_;
  std::unique_ptr<ReadWatch> watch_;    // Null: nothing is watched.
  std::map<std::string, std::pair<int64_t, int64_t>> old_;   // Files that are outputs unless they are replaced: size and time.
};

// Returns the names that were kept in `room`, as the environment of a result records them; an empty list for none.
Value::List KeptUndeclaredReads(const std::string& room);

// Returns the files below `dir` that are neither at nor below one of `declared`, nor match one of the patterns `code`.
std::set<std::string> UndeclaredFiles(const std::string& dir, const std::vector<std::string>& code,
                                      const std::set<std::string>& declared);

}  // namespace cd4ml::agent
