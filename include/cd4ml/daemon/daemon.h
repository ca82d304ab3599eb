// The daemon: one loop that owns all state, between the ports that drive it and the ports it drives.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "cd4ml/base/time.h"
#include "cd4ml/core/plan.h"
#include "cd4ml/daemon/upkeep.h"
#include "cd4ml/ports/agent_api.h"
#include "cd4ml/ports/blob_upkeep.h"
#include "cd4ml/ports/clock.h"
#include "cd4ml/ports/contract_checker.h"
#include "cd4ml/ports/control_api.h"
#include "cd4ml/ports/file_system.h"
#include "cd4ml/ports/gate_api.h"
#include "cd4ml/ports/history.h"
#include "cd4ml/ports/log_store.h"
#include "cd4ml/ports/pipeline_parser.h"
#include "cd4ml/ports/query_api.h"
#include "cd4ml/ports/remote_data.h"
#include "cd4ml/ports/signer.h"
#include "cd4ml/ports/source_repo.h"
#include "cd4ml/ports/state_store.h"
#include "cd4ml/ports/storage_api.h"
#include "cd4ml/ports/storage_records.h"

namespace cd4ml::daemon {

// How the artifact store is kept.
struct StorageSettings {
  Duration grace{7 * 86'400'000};       // What was used since stays, wanted or not.
  int former = 5;                       // Deployments before the live one that stay, per environment.
  Duration every{3'600'000};            // How often it is cleaned; zero: only when asked to.
  Duration fold_after{86'400'000};      // Large blobs that nobody used for so long become chunks.
  int64_t soft_limit = 0;               // Bytes on disk beyond which it warns and cleans; 0: none.
  int64_t hard_limit = 0;               // Bytes on disk beyond which it takes nothing; 0: none.
};

struct Settings {
  std::string instance;                 // Random, made by `bin` at every start.
  std::string boot;                     // Of the machine: within one, its steady clock goes on. Empty: not known.
  std::string version;
  std::string state_dir;                // For people: where everything is.
  std::string database;
  std::string data_root;                // Relative data materials are looked up here.
  std::vector<std::string> secret_files;   // No data, wherever they lie: credentials of the daemon.
  std::string blob_dir;                 // Told to agents, which may share it on the same host.
  std::string blob_nonce;
  Duration heartbeat{5'000};
  Duration session_ttl{30'000};         // An agent that is silent for longer loses its attempts.
  std::string gate_policy;              // File of the gates that this server requires; empty: none.
  core::PlanDefaults plan;
  int64_t remote_size_max = int64_t{1} << 40;   // What one material may bring from elsewhere.
  StorageSettings storage;
  Duration scrub_every{0};              // How long after a scrub the next one begins by itself; 0: never.
  int64_t scrub_rate = 0;               // Bytes per second that such a scrub reads; 0: as fast as it goes.
  size_t inbox_max = 10'000;            // More waiting requests are refused with RESOURCE_EXHAUSTED.
};

// What the daemon asks of the world. All outlive it.
struct Ports {
  StateStore& store;
  History& history;
  BlobStore& blobs;
  LogStore& logs;
  FileSystem& files;
  SourceRepoOpener& repos;
  const PipelineParser& parser;
  const Clock& clock;
  // The outcome of a commit is unknown: ends the process at once; the truth is on disk.
  std::function<void(const absl::Status&)> fail_stop;
  RemoteDataOpener remote = nullptr;   // Null: no data from other machines.
  Signer* signer = nullptr;             // Null: nothing is signed.
  // Both or none: without them nothing is removed.
  BlobUpkeep* blob_upkeep = nullptr;
  StorageRecords* storage_records = nullptr;
  // Both or none: without them there are no backups and no scrubs.
  Inspector* inspector = nullptr;
  const UpkeepPorts* upkeep = nullptr;
  ContractChecker check_contracts = nullptr;   // Null: contracts are looked at in runs only.
};

// Returns a store that says of a removed blob when and why it was removed. All outlive it.
std::unique_ptr<BlobStore> TellRemoved(BlobStore& blobs, StorageRecords& records);

// Runs the loop on its own thread from Start until destruction. The ports may be called from any thread.
class Daemon {
 public:
  virtual ~Daemon() = default;
  virtual ControlApi& control() = 0;
  virtual QueryApi& query() = 0;
  virtual AgentApi& agents() = 0;
  virtual StorageApi& storage() = 0;
  virtual GateApi& gates() = 0;
  // Reads the gate policies again; when they make no sense, those read before go on.
  virtual absl::Status ReadPolicies() = 0;
  // Ends a backup or scrub that is under way, which leaves nothing; its caller is answered soon.
  virtual void StopUpkeep() = 0;
};

// Loads the state and goes on where it stopped: starting is continuing.
absl::StatusOr<std::unique_ptr<Daemon>> Start(Settings settings, Ports ports);

}  // namespace cd4ml::daemon
