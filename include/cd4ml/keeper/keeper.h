// The agent's second process: it owns the processes of stages and services, and outlives the agent.
//
// It is small and single-threaded, so that starting a process is cheap and nothing here can hang
// behind a network. Agents speak to it through the port ProcessRunner; ports/keeper_wire.h has the
// messages.
#pragma once

namespace cd4ml::keeper {

// Runs `cd4ml-keeper STATE_DIR [--without-cgroup]`: makes sure that a keeper serves the folder, and
// returns the exit code of the caller, 0 once it does. The keeper itself goes on in the background,
// exactly one per folder, writes its log to STATE_DIR/keeper.log, and ends by itself when it has
// been without process and agent for ten seconds. SIGTERM to it (its pid is in
// STATE_DIR/keeper.lock) ends its processes first. --without-cgroup: do as on hosts where cgroups
// cannot be used.
int Main(int argc, char** argv);

}  // namespace cd4ml::keeper
