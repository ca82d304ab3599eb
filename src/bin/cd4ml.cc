// The command line's program: hands the CLI a terminal, a clock, a parser and clients of the daemon.
#include <pwd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <iostream>
#include <memory>

#include "agent/contract_checker.h"
#include "cd4ml/base/log.h"
#include "cd4ml/base/status.h"
#include "cd4ml/cli/cli.h"
#include "cd4ml/crypto/ed25519.h"
#include "cd4ml/os/os.h"
#include "cd4ml/rpc/connect.h"
#include "cd4ml/rpc/connect_method.h"
#include "cd4ml/rpc/json.h"
#include "cd4ml/schema/compile_schema.h"
#include "cd4ml/table/open_table_engine.h"
#include "cd4ml/toml/toml.h"
#include "cd4ml/yaml/yaml.h"
#include "gate_tester.h"
#include "program.h"

namespace cd4ml {
namespace {

constexpr int64_t kFileSizeMax = 64 << 20;

volatile std::sig_atomic_t interrupted = 0;

cli::TerminalSize AskTerminal() {
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0) return {};
  return {.columns = size.ws_col, .lines = size.ws_row};
}

std::vector<std::string> FindDefinitions() {
  std::vector<std::string> found;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(".", error)) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with(".cd4ml.yaml")) found.push_back(name);
  }
  std::sort(found.begin(), found.end());
  return found;
}

absl::StatusOr<std::vector<std::string>> FilesBelow(const std::string& folder, const std::string& suffix) {
  namespace fs = std::filesystem;
  std::vector<std::string> found;
  std::error_code error;
  fs::recursive_directory_iterator at(folder, fs::directory_options::skip_permission_denied, error);
  for (; !error && at != fs::end(at); at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (at->is_directory(error)) {
      if (name == ".git" || name == ".dvc") at.disable_recursion_pending();
    } else if (name.ends_with(suffix)) {
      found.push_back(at->path().lexically_relative(folder).string());
    }
  }
  if (error) return absl::FailedPreconditionError("cannot list " + folder + ": " + error.message());
  std::sort(found.begin(), found.end());
  return found;
}

std::string CheckoutOf(const std::string& file) {
  std::error_code error;
  std::filesystem::path folder = std::filesystem::absolute(file, error).parent_path();
  while (!std::filesystem::exists(folder / ".git", error)) {
    if (!folder.has_relative_path()) return std::filesystem::current_path(error).string();
    folder = folder.parent_path();
  }
  return folder.string();
}

std::string UserAtHost() {
  const passwd* entry = getpwuid(getuid());
  return (entry == nullptr ? std::to_string(getuid()) : std::string(entry->pw_name)) + "@" + os::HostName();
}

// Where tables spill to that outgrow memory; made when the first engine is opened, and goes with the program.
class Spill {
 public:
  ~Spill() {
    std::error_code error;
    if (!dir_.empty()) std::filesystem::remove_all(dir_, error);
  }
  absl::StatusOr<std::unique_ptr<TableEngine>> OpenEngine() {
    if (dir_.empty()) {
      CD4ML_ASSIGN_OR_RETURN(dir_, os::MakeTempDir());
    }
    table::TableEngineOptions options;
    options.libraries = table::LibraryCandidates(os::Environment("CD4ML_DUCKDB"), bin::ProgramDir());
    options.work_folder = dir_;
    return table::OpenTableEngine(options);
  }

 private:
  std::string dir_;
};

cli::JsonPrinters MakePrinters() {
  const auto print = [](const auto& message) { return rpc::ToProtoJson(message); };
  return {.run = print, .run_summary = print, .plan = print, .registered = print, .pipeline = print,
          .agent = print, .deployment = print, .monitor = print, .lineage = print,
          .comparison = print, .impact = print, .reproduction = print, .server = print, .gc = print,
          .pin = print, .override_view = print, .gate_record = print, .backup = print, .scrub = print, .verdict = print};
}

}  // namespace
}  // namespace cd4ml

extern char** environ;

int main(int argc, char** argv) {
  using namespace cd4ml;  // NOLINT: this file is the assembly.
  std::signal(SIGINT, [](int) { interrupted = 1; });
  std::signal(SIGPIPE, SIG_IGN);
  OpenLog("cd4ml", LogLevel::kError, "");
  const std::unique_ptr<PipelineParser> parser = toml::WithToml(yaml::MakePipelineParser());
  const std::unique_ptr<Clock> clock = os::MakeClock();
  const std::unique_ptr<FileSystem> files = os::MakeFileSystem();
  Spill spill;
  cli::CliPorts ports{
      .connect = [](const std::string& server) {
        return cli::Connection{.control = rpc::ConnectControl(server), .query = rpc::ConnectQuery(server),
                               .storage = rpc::ConnectStorage(server),
                               .read_artifact = [blobs = std::shared_ptr<BlobStore>(rpc::ConnectBlobs(server))](
                                                    const Digest& digest, int64_t size_max) {
                                 return ReadBlob(*blobs, digest, size_max);
                               },
                               .gates = rpc::ConnectGates(server)};
      },
      .parser = *parser,
      .clock = *clock,
      .json = MakePrinters(),
      .read_file = [&](const std::string& path) { return files->ReadFile(bin::Absolute(path), kFileSizeMax); },
      .write_file = [&](const std::string& path, const std::string& text) {
        return files->WriteFileAtomically(bin::Absolute(path), text);
      },
      .check_signature = crypto::CheckSignature,
      .test_gate = bin::MakeGateTester([&spill] { return spill.OpenEngine(); }),
      .table_engine = [&spill] { return spill.OpenEngine(); },
      .find_definitions = FindDefinitions,
      .find_files = FilesBelow,
      .check_contracts = agent::MakeContractChecker(*parser, schema::CompileSchema, rpc::ConnectMethod),
      .checkout_of = CheckoutOf,
      .terminal_size = AskTerminal,
      .interrupted = [] { return interrupted != 0; },
      .new_key = [] { return "cli-" + os::RandomHex(16); },
      .out = {std::cout, isatty(STDOUT_FILENO) == 1},
      .err = {std::cerr, isatty(STDERR_FILENO) == 1},
      .environment = {},
      .user = UserAtHost(),
      .working_dir = std::filesystem::current_path().string(),
      .version = bin::kVersion};
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    ports.environment[text.substr(0, text.find('='))] = text.substr(std::min(text.size(), text.find('=') + 1));
  }
  const int code = cli::RunCli(argc, argv, ports);
  std::cout.flush();
  return code;
}
