// Where a stage's bytes come from and go to: the daemon's folder on the same host, or a store of
// the agent's own with transfers.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>

#include "absl/status/statusor.h"
#include "cd4ml/agent/agent.h"

namespace cd4ml::agent {

// Thread-safe. Calls that need the daemon wait for it as long as it takes, until `stop`.
class Blobs {
 public:
  // Keeps its own store below `state_dir`, and remembers there which folder of the daemon it may
  // use.
  static absl::StatusOr<std::unique_ptr<Blobs>> Open(const std::string& state_dir,
                                                     const AgentPorts& ports);

  // Takes the daemon's folder when it is really the same one; wakes whoever waits for the daemon.
  void OnSession(const SessionGrant& grant);

  absl::StatusOr<std::string> Read(const Digest& digest, int64_t size_max,
                                   const std::stop_token& stop);
  // Makes the artifact appear at `path`, which does not exist yet.
  absl::Status Place(const ArtifactRef& artifact, const std::string& path, bool may_link,
                     const std::stop_token& stop);
  // Stores the file or folder at `path`, so that the daemon has it.
  absl::StatusOr<ArtifactRef> Put(const std::string& path, const std::stop_token& stop);
  absl::StatusOr<ArtifactRef> PutText(std::string_view text, const std::stop_token& stop);

  // Removes a blob whose file was damaged through a link.
  void Quarantine(const Digest& digest);
  // Returns the folder into which outputs are stored.
  std::string dir();

 private:
  Blobs(std::string state_dir, const AgentPorts& ports)
      : state_dir_(std::move(state_dir)), open_(ports.open_blobs), far_(ports.daemon_blobs) {}

  struct Near {
    std::shared_ptr<BlobStore> store;
    bool is_daemons;
  };
  Near near();
  // Does `transfer` again after each new session for as long as the daemon is away.
  absl::Status Persist(const std::function<absl::Status()>& transfer, const std::stop_token& stop);
  absl::Status Fetch(const ArtifactRef& artifact, const std::stop_token& stop);
  // Uses the daemon's folder from now on when it is the one that `nonce` lies in, otherwise none.
  bool UseFolder(const std::string& dir, const std::string& nonce);

  const std::string state_dir_;
  const decltype(AgentPorts::open_blobs) open_;
  BlobStore& far_;  // The daemon's, over the wire.
  std::shared_ptr<BlobStore> own_;
  std::mutex mutex_;
  std::condition_variable_any session_;
  int64_t sessions_ = 0;  // Guarded by mutex_, as are the next two.
  // The daemon's folder; null on another host. Shared with what is under way when it is replaced.
  std::shared_ptr<BlobStore> daemons_;
  std::string daemons_dir_;
};

}  // namespace cd4ml::agent
