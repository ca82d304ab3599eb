// Following a file by inotify.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "cd4ml/ports/file_system.h"

namespace cd4ml::os {

absl::StatusOr<std::unique_ptr<FileTail>> OpenFileTail(const std::string& path, int64_t offset);

}  // namespace cd4ml::os
