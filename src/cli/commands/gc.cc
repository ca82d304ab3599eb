// `cd4ml gc`: removes artifacts that nothing wants any more.
#include "cli/commands/commands.h"
#include "cli/invocation.h"
#include "cli/text.h"

namespace cd4ml::cli {
namespace {

constexpr size_t kRowsMax = 20;

int Perform(Invocation& invocation) {
  const bool dry_run = invocation.arguments.Has("dry-run");
  const auto report = invocation.Await<GcReport>([&](Done<GcReport> done) {
    invocation.Storage().CollectGarbage({dry_run, invocation.ports.user}, std::move(done));
  });
  if (!report.ok()) return invocation.Fail(report.status());
  if (invocation.is_json()) {
    invocation.PrintJson(invocation.ports.json.gc(*report));
    return kExitOk;
  }
  Table kept({{"KEPT FOR", 0}, {"BLOBS", 1}, {"SIZE", 2}});
  for (size_t i = 0; i < report->kept.size() && i < kRowsMax; ++i) {
    const GcReport::Share& share = report->kept[i];
    kept.Add({SafeLine(share.why), std::to_string(share.blobs), FormatSize(share.bytes)});
  }
  if (!report->kept.empty()) invocation.PrintTable(kept);
  Table removed({{dry_run ? "WOULD BE REMOVED" : "REMOVED", 0}, {"SIZE", 1}, {"DIGEST", 2}});
  for (size_t i = 0; i < report->removed.size() && i < kRowsMax; ++i) {
    const Tombstone& stone = report->removed[i];
    removed.Add({stone.what.empty() ? "nothing names it" : SafeLine(stone.what),
                 FormatSize(stone.size), stone.digest.brief()});
  }
  if (!report->removed.empty()) invocation.PrintTable(removed);
  std::string text = dry_run ? "would remove " : "removed ";
  text += Count(report->removed_blobs, "blob", "blobs") + " of " + std::to_string(report->blobs) +
          ", " + FormatSize(report->removed_bytes);
  if (!dry_run) {
    text += "; " + Count(report->folded_blobs, "large one is", "large ones are") + " now chunks; " +
            FormatSize(report->used_after) + " on disk, before " + FormatSize(report->used_before);
  }
  invocation.out.Line(invocation.out.Paint("✔", Style::kGood) + " " + text);
  if (dry_run && report->removed_blobs > 0) {
    invocation.Hints({{"Remove them", "cd4ml gc"}, {"Keep one", "cd4ml pin REF --reason WHY"}});
  }
  return kExitOk;
}

}  // namespace

Command Gc() {
  return {.path = "gc",
          .group = "Agents and daemon",
          .summary = "remove artifacts that nothing wants any more",
          .examples = {"gc --dry-run", "gc", "gc --dry-run -o json"},
          .options = {{"--dry-run", "", "only say what would be removed, and why the rest stays"}},
          .perform = Perform,
          .details = "What live deployments, the ones before them, open runs and pins need stays, as does "
                     "all that was used a short while ago; the daemon's --gc-keep and --gc-grace say how "
                     "much. Of what is removed the digest, what it was, why, when and by whom stay on "
                     "record. The daemon does the same by itself now and then."};
}

}  // namespace cd4ml::cli
