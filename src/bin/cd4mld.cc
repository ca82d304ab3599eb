// The daemon's program: reads its settings, opens every adapter, runs until it is told to end.
#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "agent/contract_checker.h"
#include "cd4ml/base/log.h"
#include "cd4ml/base/status.h"
#include "cd4ml/blob/open_blob_store.h"
#include "cd4ml/crypto/ed25519.h"
#include "cd4ml/daemon/daemon.h"
#include "cd4ml/git/open_repo.h"
#include "cd4ml/http/object_store.h"
#include "cd4ml/http/remote_data.h"
#include "cd4ml/os/os.h"
#include "cd4ml/rpc/connect_method.h"
#include "cd4ml/rpc/serve.h"
#include "cd4ml/schema/compile_schema.h"
#include "cd4ml/store/open_store.h"
#include "cd4ml/toml/toml.h"
#include "cd4ml/yaml/yaml.h"
#include "offline.h"
#include "program.h"

namespace cd4ml {
namespace {

// What was written may be lost, and the outcome of a commit unknown; who restarts us finds the truth on disk.
constexpr int kExitUnknownCommit = 75;

struct Flags {
  std::string state_dir = bin::DefaultStateDir("daemon");
  std::string listen = "127.0.0.1:7420";
  std::string data_root;
  std::string gate_policy;
  std::string log_level = "info";
  std::string log_file;
  std::string session_ttl = "30s";
  std::string assign_timeout = "10m";
  std::string ballast = "64MiB";
  std::string remote_max = "1TiB";
  std::string s3_endpoint, s3_region, s3_credentials;
  std::string artifacts;
  std::string gc_grace = "7d";
  std::string gc_every = "1h";
  std::string fold_after = "1d";
  int gc_keep = 5;
  std::string blob_soft_limit = "0B";
  std::string blob_hard_limit = "0B";
  std::string scrub_every = "7d";
  std::string scrub_rate = "20MiB";
};

std::string DefaultCredentials() { return os::Environment("HOME") + "/.aws/credentials"; }

std::string CredentialsFile(const Flags& flags) {
  std::string file = flags.s3_credentials;
  if (file.empty()) file = os::Environment("AWS_SHARED_CREDENTIALS_FILE");
  return file.empty() ? DefaultCredentials() : file;
}

// Flags say more than variables, and these more than the file of credentials.
absl::StatusOr<http::S3Settings> MakeS3Settings(const Flags& flags, FileSystem& files) {
  const std::string file = CredentialsFile(flags);
  const bool is_asked_for = file != DefaultCredentials();
  const absl::StatusOr<std::string> text = files.ReadFile(file, 1 << 20);
  if (!text.ok() && is_asked_for) return Annotate(text.status(), "the credentials of S3");
  http::S3Settings s3 = http::ReadS3Settings(os::Environment, text.ok() ? *text : "");
  if (!flags.s3_endpoint.empty()) s3.endpoint = flags.s3_endpoint;
  if (!flags.s3_region.empty()) s3.region = flags.s3_region;
  const bool are_needed = !flags.s3_credentials.empty() || (!flags.artifacts.empty() && !s3.access_key.empty());
  if (are_needed && (s3.access_key.empty() || s3.secret_key.empty())) {
    return absl::InvalidArgumentError("the credentials of S3: " + file + " has no aws_access_key_id with an "
                                      "aws_secret_access_key in the section that AWS_PROFILE names, else [default], nor do "
                                      "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY hold both");
  }
  return s3;
}

absl::StatusOr<daemon::Settings> MakeSettings(const Flags& flags) {
  daemon::Settings settings;
  settings.instance = os::RandomHex(4);
  settings.boot = os::BootId();
  settings.version = bin::kVersion;
  settings.state_dir = flags.state_dir;
  settings.database = flags.state_dir + "/cd4ml.db";
  settings.data_root = flags.data_root.empty() ? flags.state_dir + "/data" : bin::Absolute(flags.data_root);
  if (!flags.gate_policy.empty()) settings.gate_policy = bin::Absolute(flags.gate_policy);
  // Nobody links into a bucket.
  if (flags.artifacts.empty()) settings.blob_dir = flags.state_dir + "/blobs";
  settings.secret_files = {CredentialsFile(flags), DefaultCredentials()};
  settings.blob_nonce = os::RandomHex(16);
  CD4ML_ASSIGN_OR_RETURN(settings.session_ttl, ParseDuration(flags.session_ttl));
  if (settings.session_ttl < Duration(100) || settings.session_ttl > Duration(86'400'000)) {
    return absl::InvalidArgumentError("--session-ttl " + flags.session_ttl + " is not within 100ms and 24h");
  }
  settings.heartbeat = settings.session_ttl / 6;
  if (flags.scrub_every != "never") {
    CD4ML_ASSIGN_OR_RETURN(settings.scrub_every, ParseDuration(flags.scrub_every));
  }
  CD4ML_ASSIGN_OR_RETURN(settings.scrub_rate, ParseSize(flags.scrub_rate));
  CD4ML_ASSIGN_OR_RETURN(settings.plan.assign_timeout, ParseDuration(flags.assign_timeout));
  CD4ML_ASSIGN_OR_RETURN(settings.remote_size_max, ParseSize(flags.remote_max));
  CD4ML_ASSIGN_OR_RETURN(settings.storage.grace, ParseDuration(flags.gc_grace));
  CD4ML_ASSIGN_OR_RETURN(settings.storage.every, ParseDuration(flags.gc_every));
  CD4ML_ASSIGN_OR_RETURN(settings.storage.fold_after, ParseDuration(flags.fold_after));
  CD4ML_ASSIGN_OR_RETURN(settings.storage.soft_limit, ParseSize(flags.blob_soft_limit));
  CD4ML_ASSIGN_OR_RETURN(settings.storage.hard_limit, ParseSize(flags.blob_hard_limit));
  settings.storage.former = flags.gc_keep;
  return settings;
}

// A bucket outlives a state folder, so what keeps two daemons apart is a name that the folder keeps.
absl::StatusOr<std::string> ReadOwner(const std::string& state_dir, FileSystem& files) {
  const std::string path = state_dir + "/artifacts.owner";
  absl::StatusOr<std::string> owner = files.ReadFile(path, 1 << 10);
  if (!absl::IsNotFound(owner.status())) return owner;
  owner = os::RandomHex(8) + " of " + state_dir;
  CD4ML_RETURN_IF_ERROR(files.WriteFileAtomically(path, *owner));
  return owner;
}

std::string PlaceFile(const std::string& state_dir) { return state_dir + "/artifacts.place"; }

// Records and the artifacts that they name belong together: with another place they would be split over two.
absl::Status CheckPlace(const std::string& artifacts, const std::string& state_dir, FileSystem& files) {
  const absl::StatusOr<std::string> place = files.ReadFile(PlaceFile(state_dir), 4 << 10);
  if (place.ok() && *place == artifacts) return absl::OkStatus();
  if (place.ok()) {
    return absl::FailedPreconditionError("the artifacts of " + state_dir + " are in " + *place + ": start with --artifacts " +
                                         *place + ", or remove " + PlaceFile(state_dir) + " when they were moved");
  }
  if (!absl::IsNotFound(place.status())) return place.status();
  const bool has_own = !files.Exists(state_dir + "/artifacts.owner") && files.Exists(state_dir + "/blobs/objects");
  if (artifacts.empty() || !has_own) return absl::OkStatus();
  return absl::FailedPreconditionError("the artifacts of " + state_dir + " are in " + state_dir +
                                       "/blobs: start without --artifacts, or remove that folder when they were moved");
}

absl::StatusOr<std::unique_ptr<KeptBlobStore>> OpenArtifacts(const Flags& flags, const daemon::Settings& settings,
                                                             const http::S3Settings& s3, FileSystem& files,
                                                             const Clock& clock,
                                                             std::function<void(const absl::Status&)> fail_stop) {
  CD4ML_RETURN_IF_ERROR(CheckPlace(flags.artifacts, settings.state_dir, files));
  if (flags.artifacts.empty()) {
    CD4ML_RETURN_IF_ERROR(files.MakeDirs(settings.blob_dir));
    CD4ML_ASSIGN_OR_RETURN(auto kept, OpenBlobStore(settings.blob_dir, std::move(fail_stop)));
    CD4ML_RETURN_IF_ERROR(files.WriteFileAtomically(settings.blob_dir + "/nonce", settings.blob_nonce));
    return kept;
  }
  CD4ML_ASSIGN_OR_RETURN(ObjectStoreOpener folder, http::MakeS3Folder(s3, flags.artifacts));
  CD4ML_ASSIGN_OR_RETURN(const std::string owner, ReadOwner(settings.state_dir, files));
  // To note a use costs a request; a hundredth of the grace is soon enough, and it makes the grace that much longer.
  CD4ML_ASSIGN_OR_RETURN(auto kept, OpenObjectBlobStore(std::move(folder), clock, owner, settings.storage.grace / 100));
  CD4ML_RETURN_IF_ERROR(files.WriteFileAtomically(PlaceFile(settings.state_dir), flags.artifacts));
  return kept;
}

absl::Status Serve(const Flags& flags, os::StopSignal& stop) {
  CD4ML_ASSIGN_OR_RETURN(const daemon::Settings settings, MakeSettings(flags));
  const std::unique_ptr<FileSystem> files = os::MakeFileSystem();
  for (const std::string& dir : {settings.state_dir, settings.data_root}) {
    CD4ML_RETURN_IF_ERROR(files->MakeDirs(dir));
  }
  const auto fail_stop = [](const absl::Status& status) {
    LogError("stopping at once; start the daemon again", {{"error", Message(status)}});
    std::_Exit(kExitUnknownCommit);
  };
  CD4ML_ASSIGN_OR_RETURN(const std::unique_ptr<os::DirLock> lock, os::LockDir(settings.state_dir));
  store::StoreOptions options{.path = settings.database};
  options.fail_stop = fail_stop;
  CD4ML_ASSIGN_OR_RETURN(options.ballast, ParseSize(flags.ballast));
  CD4ML_ASSIGN_OR_RETURN(const std::unique_ptr<StateStore> store, store::OpenStateStore(options));
  CD4ML_ASSIGN_OR_RETURN(const std::unique_ptr<History> history, store::OpenHistory(options));
  CD4ML_ASSIGN_OR_RETURN(const std::unique_ptr<StorageRecords> records, store::OpenStorageRecords(options));
  const std::unique_ptr<Clock> clock = os::MakeClock();
  CD4ML_ASSIGN_OR_RETURN(const http::S3Settings s3, MakeS3Settings(flags, *files));
  CD4ML_ASSIGN_OR_RETURN(const std::unique_ptr<KeptBlobStore> kept,
                         OpenArtifacts(flags, settings, s3, *files, *clock, fail_stop));
  const std::unique_ptr<BlobStore> blobs = daemon::TellRemoved(*kept, *records);
  CD4ML_ASSIGN_OR_RETURN(const std::unique_ptr<Signer> signer, crypto::OpenSigner(settings.state_dir + "/signing.key"));
  const std::unique_ptr<LogStore> logs = os::MakeLogStore(settings.state_dir + "/logs");
  const std::unique_ptr<SourceRepoOpener> repos = MakeRepoOpener();
  const std::unique_ptr<PipelineParser> parser = toml::WithToml(yaml::MakePipelineParser());
  const RemoteDataOpener remote = [&s3] { return http::MakeRemoteData(s3); };
  CD4ML_ASSIGN_OR_RETURN(const std::unique_ptr<Inspector> inspector, store::OpenInspector(options));
  daemon::UpkeepPorts upkeep = bin::MakeUpkeepPorts(*files, *clock);
  upkeep.signer = signer.get();
  CD4ML_ASSIGN_OR_RETURN(
      const std::unique_ptr<daemon::Daemon> daemon,
      daemon::Start(settings, {*store, *history, *blobs, *logs, *files, *repos, *parser, *clock, fail_stop, remote,
                               signer.get(), kept.get(), records.get(), inspector.get(), &upkeep,
                               agent::MakeContractChecker(*parser, schema::CompileSchema, rpc::ConnectMethod)}));
  CD4ML_ASSIGN_OR_RETURN(const std::unique_ptr<rpc::Server> server,
                         rpc::Serve({.address = flags.listen}, daemon->control(), daemon->query(), daemon->agents(),
                                    *blobs, &daemon->storage(), &daemon->gates()));
  // Scripts that let the system choose a port read the real address here.
  CD4ML_RETURN_IF_ERROR(files->WriteFileAtomically(settings.state_dir + "/address", server->address() + "\n"));
  std::printf("cd4mld %s listens on %s, state in %s\n", bin::kVersion, server->address().c_str(),
              settings.state_dir.c_str());
  std::fflush(stdout);
  LogInfo("ready", {{"address", server->address()}, {"state", settings.state_dir}, {"data", settings.data_root}});
  while (true) {
    const int signal = stop.Wait(Duration(3'600'000));
    const bool reads = signal == SIGHUP && !settings.gate_policy.empty();
    if (signal != 0 && !reads) break;
    const absl::Status read = reads ? daemon->ReadPolicies() : absl::OkStatus();
    if (!read.ok()) LogError("the gate policies of before go on", {{"why", Message(read)}});
  }
  LogInfo("ending; agents go on with what they hold");
  daemon->StopUpkeep();
  server->Shutdown(Duration(5'000));
  return absl::OkStatus();
}

}  // namespace
}  // namespace cd4ml

int main(int argc, char** argv) {
  cd4ml::Flags flags;
  CLI::App app("cd4mld: the daemon of cd4ml. It keeps pipelines, runs, versions and deployments.", "cd4mld");
  app.set_version_flag("--version", cd4ml::bin::kVersion);
  app.add_option("--state", flags.state_dir, "Folder of database, artifacts and logs")->envname("CD4ML_STATE")
      ->check(cd4ml::bin::NotEmpty);
  app.add_option("--listen", flags.listen, "host:port (loopback; port 0: a free one) or unix:///path")
      ->envname("CD4ML_LISTEN")->capture_default_str();
  app.add_option("--data-root", flags.data_root, "Where relative data materials are looked up; default STATE/data");
  app.add_option("--gate-policy", flags.gate_policy,
                 "File of the gates that this server requires; read again on SIGHUP, which ends the daemon without it")
      ->check(CLI::ExistingFile);
  app.add_option("--session-ttl", flags.session_ttl, "An agent silent for longer loses its attempts")
      ->capture_default_str();
  app.add_option("--assign-timeout", flags.assign_timeout, "How long a stage waits for an agent unless it says")
      ->capture_default_str();
  app.add_option("--ballast", flags.ballast, "Disk space held back for results when the disk is full; 0B: none")
      ->capture_default_str();
  app.add_option("--remote-max", flags.remote_max, "What one material may bring from other machines")
      ->capture_default_str();
  app.add_option("--artifacts", flags.artifacts,
                 "s3://BUCKET/PREFIX: keep artifacts there, with the settings below; default: files below the state folder");
  app.add_option("--s3-endpoint", flags.s3_endpoint, "URL of the S3 service; default AWS_ENDPOINT_URL, else AWS itself");
  app.add_option("--s3-region", flags.s3_region, "Region of the S3 service; default AWS_REGION, else us-east-1");
  app.add_option("--s3-credentials", flags.s3_credentials,
                 "File with the key, as the AWS tools write it; default AWS_SHARED_CREDENTIALS_FILE, else "
                 "~/.aws/credentials. AWS_ACCESS_KEY_ID counts more");
  app.add_option("--gc-grace", flags.gc_grace, "Artifacts that were used since stay, whether anything refers to them or not")
      ->capture_default_str();
  app.add_option("--gc-keep", flags.gc_keep, "Former deployments per environment whose artifacts stay")
      ->check(CLI::Range(0, 1'000'000))->capture_default_str();
  app.add_option("--gc-every", flags.gc_every, "How often artifacts that nothing refers to are removed; 0s: when asked to")
      ->capture_default_str();
  app.add_option("--fold-after", flags.fold_after, "Large artifacts that nobody used for so long are kept as chunks")
      ->capture_default_str();
  app.add_option("--blob-soft-limit", flags.blob_soft_limit, "Size of all artifacts at which to warn and clean; 0B: none")
      ->capture_default_str();
  app.add_option("--blob-hard-limit", flags.blob_hard_limit, "Size of all artifacts at which no more are taken; 0B: none")
      ->capture_default_str();
  app.add_option("--scrub-every", flags.scrub_every, "How long after a scrub the next begins by itself, or never")
      ->capture_default_str();
  app.add_option("--scrub-rate", flags.scrub_rate, "How much of artifacts such a scrub reads a second")
      ->capture_default_str();
  cd4ml::bin::Offline offline;
  cd4ml::bin::AddOfflineCommands(app, flags.state_dir, offline);
  cd4ml::bin::AddLogFlags(app, flags.log_level, flags.log_file);
  CLI11_PARSE(app, argc, argv);
  if (offline.perform) return offline.perform();
  cd4ml::os::StopSignal stop;
  cd4ml::bin::OpenProgramLog("cd4mld", flags.log_level, flags.log_file);
  flags.state_dir = cd4ml::bin::Absolute(flags.state_dir);
  while (flags.artifacts.ends_with('/')) flags.artifacts.pop_back();
  const absl::Status served = cd4ml::Serve(flags, stop);
  const int code = cd4ml::bin::ExitCode("cd4mld", served);
  return absl::IsDataLoss(served) ? cd4ml::kExitUnknownCommit : code;
}
