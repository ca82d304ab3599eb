// The agent: holds leases and live services for a daemon and performs them, whether or not the
// daemon is there.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cd4ml/base/value.h"
#include "cd4ml/core/own_verdict.h"
#include "cd4ml/ports/agent_api.h"
#include "cd4ml/ports/blob_store.h"
#include "cd4ml/ports/clock.h"
#include "cd4ml/ports/grpc_client.h"
#include "cd4ml/ports/http_client.h"
#include "cd4ml/ports/json_schema.h"
#include "cd4ml/ports/pipeline_parser.h"
#include "cd4ml/ports/process_runner.h"
#include "cd4ml/ports/read_watch.h"
#include "cd4ml/ports/source_repo.h"
#include "cd4ml/ports/table_engine.h"

namespace cd4ml::agent {

struct AgentConfig {
  std::string name;       // [a-z0-9][a-z0-9_-]{0,62}
  std::string state_dir;  // Absolute; exists; of one running agent alone.
  std::string host;       // Shown to people.
  std::string version;    // Of cd4ml.
  std::string build;      // Identifies the program that performs the stages: its version and digest.
  std::vector<std::string> labels;
  core::Resources resources;      // What stages may take together; its gpus are those of `gpus`.
  std::vector<std::string> gpus;  // What CUDA_VISIBLE_DEVICES may say of them.
  int slots = 1;
  Value facts;  // CPU, memory, system, interpreters: a map.
  std::map<std::string, std::string>
      env;  // PATH, HOME, LANG and TMPDIR for stages; others are not passed on.
  std::string service_host = "127.0.0.1";    // Where its services can be reached.
  Duration answer_timeout{10'000};  // How long a service that is judged may take for one answer.
  int64_t disk_reserve = int64_t{16} << 20;  // Less free disk than this counts as full.
};

// What the agent needs of the world. References outlive the agent.
struct AgentPorts {
  AgentApi& daemon;
  BlobStore& daemon_blobs;  // The daemon's store over the wire.
  ProcessRunner& processes;
  SourceRepoOpener& repos;
  const PipelineParser& parser;
  const Clock& clock;
  // Opens a store in a folder of this host; makes it when it is missing.
  std::function<absl::StatusOr<std::unique_ptr<BlobStore>>(const std::string& dir)> open_blobs;
  std::function<absl::StatusOr<std::unique_ptr<TableEngine>>()>
      table_engine;                                          // One for each thread.
  std::function<std::unique_ptr<HttpClient>()> http_client;  // One for each thread.
  std::function<std::unique_ptr<HttpClient>()> load_client;  // The same, of one that takes little of the machine.
  SchemaCompiler compile_schema;
  GrpcConnector grpc_method;
  // Unpacks a tar (also compressed) or zip file into an empty folder and lets nothing out of it.
  // INVALID_ARGUMENT: the file is no archive.
  std::function<absl::Status(const std::string& archive, const std::string& dir)> unpack;
  // Reads a document into a tree. INVALID_ARGUMENT: it is not well-formed, or larger or deeper than results are.
  std::function<absl::StatusOr<core::XmlElement>(std::string_view text)> parse_xml;
  std::function<absl::StatusOr<int>()> free_port;  // Of the loopback interface.
  std::function<double()> random;                  // Uniform in [0, 1).
  ReadWatcher watch_reads = nullptr;               // Null: what stages read is not watched.
};

// One agent. Made by Open, which finds what an earlier agent left in the state folder.
class Agent {
 public:
  virtual ~Agent() = default;

  // FAILED_PRECONDITION: the configuration makes no sense.
  static absl::StatusOr<std::unique_ptr<Agent>> Open(AgentConfig config, AgentPorts ports);

  // Performs leases until `stop`; then closes the session and returns. What runs under the keeper
  // goes on, and the next agent on the same state folder takes it up. Call it once.
  virtual void Run(std::stop_token stop) = 0;

  // Takes nothing new: Run returns when the daemon knows so and has answered for all that is held.
  // Thread-safe.
  virtual void Drain() = 0;
};

}  // namespace cd4ml::agent
