// The agent's program: finds its keeper, opens every adapter, performs leases until it is told to end.
#include <CLI/CLI.hpp>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <memory>
#include <optional>
#include <sstream>
#include <thread>

#include "cd4ml/agent/agent.h"
#include "cd4ml/archive/unpack.h"
#include "cd4ml/base/clock_watch.h"
#include "cd4ml/base/log.h"
#include "cd4ml/base/status.h"
#include "cd4ml/base/text.h"
#include "cd4ml/blob/open_blob_store.h"
#include "cd4ml/git/open_repo.h"
#include "cd4ml/http/connect.h"
#include "cd4ml/os/os.h"
#include "cd4ml/rpc/connect.h"
#include "cd4ml/rpc/connect_method.h"
#include "cd4ml/schema/compile_schema.h"
#include "cd4ml/table/open_table_engine.h"
#include "cd4ml/toml/toml.h"
#include "cd4ml/xml/parse_xml.h"
#include "cd4ml/yaml/yaml.h"
#include "program.h"

namespace cd4ml {
namespace {

constexpr Duration kClockLook{1'000};
constexpr Duration kDrainLook{100};  // How often it is looked whether a draining agent is done.

struct Flags {
  std::string server = "127.0.0.1:7420";
  std::string name;
  std::string state_dir;
  std::vector<std::string> labels;
  int slots = static_cast<int>(std::max<int64_t>(1, os::HostResources().cpu_millis / 1000));
  std::optional<double> cpus;
  std::string memory;
  std::optional<int> gpus;
  bool drain_on_stop = false;
  std::string keeper;
  std::string duckdb;
  std::string log_level = "info";
  std::string log_file;
};

// Turns a host's name into an agent's: lower case, everything else than letters and digits as '-'.
std::string NameOfHost() {
  std::string name;
  for (char c : os::HostName()) {
    const bool kept = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    name.push_back(kept ? c : c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : '-');
  }
  name = name.substr(0, 63);
  return IsName(name) ? name : "agent";
}

// Returns the GPUs that stages may be given: those of the flag, else those that this process may see,
// else those of the host.
std::vector<std::string> GpusOf(const Flags& flags) {
  std::vector<std::string> gpus;
  if (flags.gpus) {
    for (int gpu = 0; gpu < *flags.gpus; ++gpu) gpus.push_back(std::to_string(gpu));
    return gpus;
  }
  std::istringstream visible(os::Environment("CUDA_VISIBLE_DEVICES"));
  for (std::string gpu; std::getline(visible, gpu, ',');) gpus.push_back(gpu);
  return gpus.empty() ? os::HostGpus() : gpus;
}

absl::StatusOr<core::Resources> ResourcesOf(const Flags& flags) {
  core::Resources resources = os::HostResources();
  if (flags.cpus) resources.cpu_millis = std::llround(*flags.cpus * 1000);
  if (!flags.memory.empty()) {
    absl::StatusOr<int64_t> bytes = ParseSize(flags.memory);
    if (!bytes.ok()) return Annotate(bytes.status(), "--memory");
    resources.memory_bytes = *bytes;
  }
  return resources;
}

absl::StatusOr<agent::AgentConfig> MakeConfig(const Flags& flags) {
  agent::AgentConfig config;
  config.name = flags.name;
  config.state_dir = flags.state_dir;
  config.host = os::HostName();
  config.version = bin::kVersion;
  config.build = std::string(bin::kVersion) + " sha256:" + bin::ProgramDigest();
  config.labels = flags.labels;
  config.slots = flags.slots;
  config.gpus = GpusOf(flags);
  CD4ML_ASSIGN_OR_RETURN(config.resources, ResourcesOf(flags));
  config.facts = os::HostFacts();
  for (const std::string name : {"PATH", "HOME", "LANG", "TMPDIR"}) {
    if (std::string value = os::Environment(name); !value.empty()) config.env[name] = std::move(value);
  }
  return config;
}

absl::Status Work(const Flags& flags, os::StopSignal& signals, char* const* argv) {
  CD4ML_ASSIGN_OR_RETURN(agent::AgentConfig config, MakeConfig(flags));
  const std::unique_ptr<FileSystem> files = os::MakeFileSystem();
  CD4ML_RETURN_IF_ERROR(files->MakeDirs(flags.state_dir));
  CD4ML_ASSIGN_OR_RETURN(const std::unique_ptr<os::DirLock> lock, os::LockDir(flags.state_dir));
  // Tables that an agent has left there which was killed are nobody's.
  CD4ML_RETURN_IF_ERROR(files->RemoveAll(flags.state_dir + "/spill"));
  CD4ML_RETURN_IF_ERROR(files->MakeDirs(flags.state_dir + "/spill"));
  // Before the first thread of gRPC: the keeper is started by this process and must not inherit one.
  CD4ML_RETURN_IF_ERROR(files->MakeDirs(flags.state_dir + "/keeper"));
  CD4ML_ASSIGN_OR_RETURN(const std::unique_ptr<ProcessRunner> processes,
                         os::ConnectKeeper(flags.state_dir + "/keeper", flags.keeper));
  const std::unique_ptr<AgentApi> daemon = rpc::ConnectAgent(flags.server);
  const std::unique_ptr<BlobStore> blobs = rpc::ConnectBlobs(flags.server);
  const std::unique_ptr<SourceRepoOpener> repos = MakeRepoOpener();
  const std::unique_ptr<PipelineParser> parser = toml::WithToml(yaml::MakePipelineParser());
  const std::unique_ptr<Clock> clock = os::MakeClock();
  table::TableEngineOptions tables;
  tables.libraries = table::LibraryCandidates(flags.duckdb, bin::ProgramDir());
  tables.work_folder = flags.state_dir + "/spill";
  agent::AgentPorts ports{.daemon = *daemon,
                          .daemon_blobs = *blobs,
                          .processes = *processes,
                          .repos = *repos,
                          .parser = *parser,
                          .clock = *clock,
                          .open_blobs = [](const std::string& dir) { return OpenBlobStore(dir); },
                          .table_engine = [tables] { return table::OpenTableEngine(tables); },
                          .http_client = [] { return http::MakeHttpClient(); },
                          .load_client = [&clock] { return http::MakeLoadClient(*clock); },
                          .compile_schema = schema::CompileSchema,
                          .grpc_method = rpc::ConnectMethod,
                          .unpack = archive::Unpack,
                          .parse_xml = xml::ParseXml,
                          .free_port = os::FreePort,
                          .random = [] { return std::stoul(os::RandomHex(4), nullptr, 16) / 4294967296.0; },
                          .watch_reads = os::WatchReads};
  CD4ML_ASSIGN_OR_RETURN(const std::unique_ptr<agent::Agent> agent,
                         agent::Agent::Open(std::move(config), std::move(ports)));
  std::printf("cd4ml-agent %s \"%s\" serves %s with %d slots, state in %s\n", bin::kVersion, flags.name.c_str(),
              flags.server.c_str(), flags.slots, flags.state_dir.c_str());
  std::fflush(stdout);
  std::atomic<bool> drained = false;
  std::jthread work([&agent, &drained](std::stop_token stop) {
    agent->Run(stop);
    drained = true;
  });
  ClockWatch watch(clock->Now(), clock->Steady());
  while (signals.Wait(kClockLook) == 0) {
    if (!watch.WasSetBack(clock->Now(), clock->Steady())) continue;
    // Timers of gRPC wait for the old date, so that a lost session would never be opened again.
    LogWarn("the date was set back; this program starts anew, stages and services go on");
    CD4ML_RETURN_IF_ERROR(os::StartAnew(argv));
  }
  if (flags.drain_on_stop) {
    LogInfo("draining; ends when nothing is held, or at once when it is told again");
    agent->Drain();
    while (!drained.load() && signals.Wait(kDrainLook) == 0) continue;
  }
  LogInfo("ending; stages and services go on under the keeper");
  return absl::OkStatus();
}

}  // namespace
}  // namespace cd4ml

int main(int argc, char** argv) {
  cd4ml::Flags flags;
  CLI::App app("cd4ml-agent: performs the stages and keeps the services of a cd4ml daemon.", "cd4ml-agent");
  app.set_version_flag("--version", cd4ml::bin::kVersion);
  app.add_option("--server", flags.server, "Address of the daemon")->envname("CD4ML_SERVER")->capture_default_str();
  app.add_option("--name", flags.name, "Name among agents; default: the host's");
  app.add_option("--state", flags.state_dir, "Folder of workspaces, results and services")->envname("CD4ML_AGENT_STATE")
      ->check(cd4ml::bin::NotEmpty);
  app.add_option("--label", flags.labels, "A label that stages may ask for; repeat for more");
  app.add_option("--slots", flags.slots, "Stages at a time")->check(CLI::Range(1, 1024))->capture_default_str();
  app.add_option("--cpus", flags.cpus, "Cores that stages may ask for; default: those of this process")
      ->check([](const std::string& text) {
        const double cores = std::strtod(text.c_str(), nullptr);
        return std::string(cores > 0 && cores <= 1e6 ? "" : "a number above 0 is needed");   // NaN is none.
      });
  app.add_option("--memory", flags.memory, "Memory that stages may ask for, as 16GiB; default: that of this process");
  app.add_option("--gpus", flags.gpus, "GPUs that stages may ask for; default: those that nvidia-smi lists")
      ->check(CLI::Range(0, 1024));
  app.add_flag("--drain-on-stop", flags.drain_on_stop,
               "When told to end, first finish what is held; told again, end at once");
  app.add_option("--keeper", flags.keeper, "Path of cd4ml-keeper; default: beside this program");
  app.add_option("--duckdb", flags.duckdb, "Path of libduckdb.so; default: what scripts/setup installed")
      ->envname("CD4ML_DUCKDB");
  cd4ml::bin::AddLogFlags(app, flags.log_level, flags.log_file);
  CLI11_PARSE(app, argc, argv);
  cd4ml::os::StopSignal signals;
  cd4ml::bin::OpenProgramLog("cd4ml-agent", flags.log_level, flags.log_file);
  if (flags.name.empty()) flags.name = cd4ml::NameOfHost();
  if (flags.state_dir.empty()) flags.state_dir = cd4ml::bin::DefaultStateDir("agent-" + flags.name);
  flags.state_dir = cd4ml::bin::Absolute(flags.state_dir);
  if (flags.keeper.empty()) flags.keeper = cd4ml::bin::ProgramDir() + "/cd4ml-keeper";
  return cd4ml::bin::ExitCode("cd4ml-agent", cd4ml::Work(flags, signals, argv));
}
