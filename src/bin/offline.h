// What cd4mld does without being a daemon: restore, verify, fsck.
#pragma once

#include <functional>
#include <string>

#include "cd4ml/daemon/upkeep.h"
#include "cd4ml/os/os.h"

namespace CLI {
class App;
}

namespace cd4ml::bin {

// The adapters that upkeep needs. `files` and `clock` outlive the answer.
daemon::UpkeepPorts MakeUpkeepPorts(FileSystem& files, const Clock& clock);

// Adds the subcommands. The one that was named is then told by `perform`: it runs it and returns the exit code.
struct Offline {
  std::function<int()> perform;
};
void AddOfflineCommands(CLI::App& app, const std::string& state_dir, Offline& chosen);

}  // namespace cd4ml::bin
