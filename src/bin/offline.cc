// Restore, verify and fsck on the command line of cd4mld.
#include "offline.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "cd4ml/base/status.h"
#include "cd4ml/base/time.h"
#include "cd4ml/blob/open_blob_store.h"
#include "cd4ml/crypto/ed25519.h"
#include "cd4ml/store/open_store.h"
#include "program.h"

namespace cd4ml::bin {
namespace {

constexpr int kExitDamaged = 3;
constexpr int64_t kKeyMax = 64 << 10;

struct Flags {
  std::string dir, name, key, rate;
};

int Report(const char* verb, const absl::StatusOr<ScrubReport>& report) {
  if (!report.ok()) {
    const int code = ExitCode("cd4mld", report.status());
    return absl::IsDataLoss(report.status()) ? kExitDamaged : code;
  }
  std::printf("%s: %lld runs, %lld events, %lld blobs, %s\n", verb, static_cast<long long>(report->runs),
              static_cast<long long>(report->events), static_cast<long long>(report->blobs),
              FormatSize(report->bytes).c_str());
  for (const Damage& item : report->damage) {
    std::printf("damaged: %s: %s\n", item.what.c_str(), item.why.c_str());
    for (const std::string& user : item.users) std::printf("  needed by %s\n", user.c_str());
  }
  if (report->damage.empty()) return 0;
  std::printf("%zu damages\n", report->damage.size());
  return kExitDamaged;
}

absl::StatusOr<daemon::BackupChoice> ChoiceOf(const Flags& flags, FileSystem& files) {
  daemon::BackupChoice choice{.dir = Absolute(flags.dir), .name = flags.name, .public_key = ""};
  if (flags.key.empty()) return choice;
  CD4ML_ASSIGN_OR_RETURN(choice.public_key, files.ReadFile(Absolute(flags.key), kKeyMax));
  return choice;
}

// The world of one offline command.
class Room {
 public:
  FileSystem& files() { return *files_; }
  const Clock& clock() { return *clock_; }
  const daemon::UpkeepPorts& ports() { return ports_; }
  absl::StatusOr<daemon::Pace> PaceOf(const std::string& rate) {
    daemon::Pace pace;
    if (rate.empty()) return pace;
    CD4ML_ASSIGN_OR_RETURN(pace.bytes_per_second, ParseSize(rate));
    return pace;
  }

 private:
  const std::unique_ptr<FileSystem> files_ = os::MakeFileSystem();
  const std::unique_ptr<Clock> clock_ = os::MakeClock();
  const daemon::UpkeepPorts ports_ = MakeUpkeepPorts(*files_, *clock_);
};

absl::StatusOr<ScrubReport> Verify(const Flags& flags) {
  Room room;
  CD4ML_ASSIGN_OR_RETURN(const daemon::BackupChoice choice, ChoiceOf(flags, room.files()));
  CD4ML_ASSIGN_OR_RETURN(const daemon::Pace pace, room.PaceOf(flags.rate));
  return daemon::VerifyBackup(choice, room.ports(), pace);
}

absl::StatusOr<ScrubReport> RestoreTo(const Flags& flags, const std::string& state_dir) {
  Room room;
  CD4ML_ASSIGN_OR_RETURN(const daemon::BackupChoice choice, ChoiceOf(flags, room.files()));
  return daemon::Restore(choice, Absolute(state_dir), room.ports(), {});
}

absl::StatusOr<ScrubReport> Fsck(const Flags& flags, const std::string& state_dir) {
  Room room;
  const std::string dir = Absolute(state_dir);
  if (!room.files().Exists(dir + "/cd4ml.db")) return absl::NotFoundError("there is no database in " + dir);
  if (room.files().Exists(dir + "/artifacts.place")) {
    return absl::FailedPreconditionError("the artifacts of " + dir + " are in S3; start cd4mld and run `cd4ml server scrub`");
  }
  CD4ML_ASSIGN_OR_RETURN(const auto lock, room.ports().lock_dir(dir));
  CD4ML_ASSIGN_OR_RETURN(const auto records, room.ports().open_records(dir + "/cd4ml.db"));
  CD4ML_ASSIGN_OR_RETURN(const auto blobs, room.ports().open_blobs(dir + "/blobs"));
  CD4ML_ASSIGN_OR_RETURN(const daemon::Pace pace, room.PaceOf(flags.rate));
  return daemon::Scrub(*records, *blobs, room.clock(), pace);
}

}  // namespace

daemon::UpkeepPorts MakeUpkeepPorts(FileSystem& files, const Clock& clock) {
  return {.files = files,
          .clock = clock,
          .open_blobs = [](const std::string& dir) { return OpenBlobStore(dir); },
          .open_records = [](const std::string& path) { return store::OpenInspector({.path = path}); },
          .lock_dir = [](const std::string& dir) -> absl::StatusOr<std::shared_ptr<void>> {
            CD4ML_ASSIGN_OR_RETURN(std::unique_ptr<os::DirLock> lock, os::LockDir(dir));
            return std::shared_ptr<os::DirLock>(std::move(lock));
          },
          .sync = os::SyncPath,
          .make_temp_dir = os::MakeTempDir,
          .signer = nullptr,
          .check_signature = crypto::CheckSignature};
}

void AddOfflineCommands(CLI::App& app, const std::string& state_dir, Offline& chosen) {
  const auto flags = std::make_shared<Flags>();
  const auto add = [&](const char* name, const char* help, auto perform) {
    CLI::App* command = app.add_subcommand(name, help)->fallthrough();
    command->parse_complete_callback([&chosen, perform] { chosen.perform = perform; });
    return command;
  };
  const auto of_backup = [&](CLI::App* command) {
    command->add_option("DIR", flags->dir, "Folder that `cd4ml backup create` has filled")->required();
    command->add_option("--backup", flags->name, "Which backup; without it the newest");
    command->add_option("--key", flags->key, "PEM file of the public key that must have signed it");
  };
  of_backup(add("restore", "Make the folder of --state, which must not exist, from a backup",
                [flags, &state_dir] { return Report("restored", RestoreTo(*flags, state_dir)); }));
  CLI::App* verify = add("verify", "Read all of a backup and say what is damaged",
                         [flags] { return Report("read", Verify(*flags)); });
  of_backup(verify);
  CLI::App* fsck = add("fsck", "Read all of the folder of --state, which no daemon may use, and say what is damaged",
                       [flags, &state_dir] { return Report("read", Fsck(*flags, state_dir)); });
  for (CLI::App* command : {verify, fsck}) {
    command->add_option("--rate", flags->rate, "Read at most so much of artifacts a second, like 20MiB");
  }
  app.require_subcommand(0, 1);
}

}  // namespace cd4ml::bin
