// `cd4ml backup create` and `cd4ml server scrub`: copies of everything, and the search for damage.
#include "cli/commands/commands.h"
#include "cli/invocation.h"
#include "cli/text.h"

namespace cd4ml::cli {
namespace {

constexpr size_t kShownMax = 50;

// Prints what is damaged and who needs it; returns the exit code.
int PrintDamage(Invocation& invocation, const std::vector<Damage>& damage) {
  for (size_t i = 0; i < damage.size() && i < kShownMax; ++i) {
    invocation.out.Line(invocation.out.Paint("✘", Style::kBad) + " " + SafeLine(damage[i].what + ": " + damage[i].why));
    if (!damage[i].users.empty()) invocation.out.Line(SafeLine("  needed by " + Join(damage[i].users, ", ")));
  }
  if (damage.size() > kShownMax) {
    invocation.out.Line("and " + std::to_string(damage.size() - kShownMax) + " more: -o json tells all");
  }
  return damage.empty() ? kExitOk : kExitFailed;
}

int Create(Invocation& invocation) {
  std::string dir = invocation.arguments.One("DIR");
  if (!dir.starts_with('/')) dir = invocation.ports.working_dir + "/" + dir;
  const auto report = invocation.Await<BackupReport>(
      [&](Done<BackupReport> done) { invocation.Control().BackUp(dir, std::move(done)); });
  if (!report.ok()) return invocation.Fail(report.status());
  if (invocation.is_json()) {
    invocation.PrintJson(invocation.ports.json.backup(*report));
    return report->damage.empty() ? kExitOk : kExitFailed;
  }
  if (invocation.format == OutputFormat::kName) {
    invocation.out.Line(SafeLine(report->name));
    return report->damage.empty() ? kExitOk : kExitFailed;
  }
  invocation.out.Line(invocation.out.Paint("✔", Style::kGood) + " " +
                      SafeLine("backup " + report->name + " in " + report->dir));
  invocation.out.Line("  database " + FormatSize(report->database_bytes) + "; " +
                      Count(report->blobs, "blob", "blobs") + ", " + std::to_string(report->blobs_copied) + " of them new (" +
                      FormatSize(report->bytes_copied) + ")");
  const int code = PrintDamage(invocation, report->damage);
  invocation.Hints({{"Read all of it", "cd4mld verify " + report->dir},
                    {"Put it in place elsewhere", "cd4mld restore " + report->dir + " --state NEW_FOLDER"}});
  return code;
}

int ScrubAll(Invocation& invocation) {
  int64_t rate = 0;
  if (invocation.arguments.Has("rate")) {
    const absl::StatusOr<int64_t> parsed = ParseSize(invocation.arguments.One("rate"));
    if (!parsed.ok()) return invocation.Fail(parsed.status());
    rate = *parsed;
  }
  const auto report = invocation.Await<ScrubReport>(
      [&](Done<ScrubReport> done) { invocation.Control().Scrub(rate, std::move(done)); });
  if (!report.ok()) return invocation.Fail(report.status());
  if (invocation.is_json()) {
    invocation.PrintJson(invocation.ports.json.scrub(*report));
    return report->damage.empty() ? kExitOk : kExitFailed;
  }
  const bool sound = report->damage.empty();
  invocation.out.Line(
      invocation.out.Paint(sound ? "✔" : "✘", sound ? Style::kGood : Style::kBad) + " read " +
      Count(report->runs, "run", "runs") + " with " + Count(report->events, "event", "events") + " and " +
      Count(report->blobs, "blob", "blobs") + " of " + FormatSize(report->bytes) + ": " +
      (sound ? "all as recorded" : Count(static_cast<int64_t>(report->damage.size()), "damage", "damages")));
  return PrintDamage(invocation, report->damage);
}

}  // namespace

Command BackupCreate() {
  return {.path = "backup create",
          .group = "Agents and daemon",
          .summary = "copy database and artifacts while runs go on",
          .examples = {"backup create /mnt/backup/cd4ml"},
          .operands = {{"DIR", "a folder on the daemon's host, best on another disk; made when it is missing"}},
          .perform = Create,
          .details = "Each backup is one moment of the database and every artifact that it refers to. Artifacts that the "
                     "folder has already are not copied again. The key that signs statements is not in it. Exits with 1 "
                     "when something was damaged before it could be copied. More: docs/reference/backup.md."};
}

Command ServerScrub() {
  return {.path = "server scrub",
          .group = "Agents and daemon",
          .summary = "read every record and artifact, and say what is damaged",
          .examples = {"server scrub", "server scrub --rate 20MiB -o json"},
          .options = {{"--rate", "SIZE", "read at most so much of artifacts a second, like 20MiB"}},
          .perform = ScrubAll,
          .details = "Exits with 1 when something is damaged; each damage names the runs and deployments that need it."};
}

}  // namespace cd4ml::cli
