// Passes the ends of processes on to the threads that wait for them.
#include "agent/exits.h"

namespace cd4ml::agent {

Exits::Exits(ProcessRunner& processes) : processes_(processes) {
  processes_.OnExit([board = board_](const ProcessStatus& status) {
    std::lock_guard lock(board->mutex);
    Exit& exit = board->exits[status.id];
    exit.status = status;
    exit.ended.notify_all();
  });
}

std::optional<ProcessStatus> Exits::Wait(const std::string& id, Duration patience,
                                         const std::stop_token& stop) {
  std::unique_lock lock(board_->mutex);
  Exit& exit = board_->exits[id];
  exit.ended.wait_for(lock, stop, patience, [&] { return exit.status.has_value(); });
  return exit.status;
}

std::optional<ProcessStatus> Exits::Wait(const std::string& id, const std::stop_token& stop) {
  std::unique_lock lock(board_->mutex);
  Exit& exit = board_->exits[id];
  exit.ended.wait(lock, stop, [&] { return exit.status.has_value(); });
  return exit.status;
}

void Exits::End(const std::string& id, const std::stop_token& stop) {
  if (!processes_.Status(id).ok() || !processes_.Kill(id).ok()) return;
  if (Wait(id, stop)) Forget(id);
}

void Exits::Forget(const std::string& id) {
  // The record first: as long as it is there, the runner may tell of it once more.
  (void)processes_.Forget(id);
  std::lock_guard lock(board_->mutex);
  board_->exits.erase(id);
}

}  // namespace cd4ml::agent
