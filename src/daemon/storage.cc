// Mark and sweep over digests. Marking is conservative: whatever a kept record mentions stays.
//
// What makes sweeping safe beside everything else: whoever is about to refer to a blob puts it or asks
// for its size first, which makes it young, and a young blob is not removed. The tombstone is durable
// before the blob goes; when the daemon dies between the two, the next collection finds the blob again.
#include "storage.h"

#include <algorithm>
#include <memory>
#include <set>
#include <utility>

#include "cd4ml/base/log.h"
#include "cd4ml/base/status.h"

namespace cd4ml::daemon {
namespace {

constexpr Duration kLook{5'000};            // At the soft limit.
constexpr Duration kSoftAgain{600'000};     // A collection that did not help is not repeated at once.
constexpr Duration kFileClockLag{100};      // File systems tell the time of the last tick.
constexpr size_t kRemovedAtOnce = 500;
constexpr size_t kReportedMax = 1'000;
constexpr size_t kDigestSize = 64;

// Says of a blob that was removed when and why, instead of only that it is not there.
class TellingBlobs final : public BlobStore {
 public:
  TellingBlobs(BlobStore& blobs, StorageRecords& records) : blobs_(blobs), records_(records) {}

  absl::StatusOr<std::unique_ptr<BlobWriter>> Create() override { return blobs_.Create(); }
  absl::StatusOr<std::unique_ptr<BlobReader>> Open(const Digest& digest, int64_t offset) override {
    return Tell(digest, blobs_.Open(digest, offset));
  }
  absl::StatusOr<int64_t> Size(const Digest& digest) override {
    return Tell(digest, blobs_.Size(digest));
  }
  absl::Status Remove(const Digest& digest) override { return blobs_.Remove(digest); }
  absl::StatusOr<Digest> PutFile(const std::string& path, bool may_link,
                                 const std::stop_token& stop) override {
    return blobs_.PutFile(path, may_link, stop);
  }
  absl::StatusOr<std::vector<Digest>> PutFiles(const std::vector<std::string>& paths, bool may_link,
                                               const std::stop_token& stop) override {
    return blobs_.PutFiles(paths, may_link, stop);
  }
  absl::Status Materialize(const Digest& digest, const std::string& path, bool executable,
                           bool may_link, const std::stop_token& stop) override {
    const absl::Status made = blobs_.Materialize(digest, path, executable, may_link, stop);
    // A missing folder is NOT_FOUND, too.
    if (!absl::IsNotFound(made)) return made;
    const auto size = Size(digest);
    return size.ok() ? made : size.status();
  }
  absl::StatusOr<std::vector<Chunk>> Chunks(const Digest& digest,
                                            const std::stop_token& stop) override {
    return Tell(digest, blobs_.Chunks(digest, stop));
  }
  absl::StatusOr<std::unique_ptr<BlobReader>> OpenChunks(
      const Digest& digest, const std::vector<Chunk>& chunks,
      const std::vector<size_t>& wanted) override {
    return Tell(digest, blobs_.OpenChunks(digest, chunks, wanted));
  }
  absl::StatusOr<std::unique_ptr<BlobAssembly>> Assemble(const Digest& digest,
                                                         const std::vector<Chunk>& chunks,
                                                         const std::stop_token& stop) override {
    return blobs_.Assemble(digest, chunks, stop);
  }

 private:
  template <typename T>
  absl::StatusOr<T> Tell(const Digest& digest, absl::StatusOr<T> answer) {
    if (!absl::IsNotFound(answer.status())) return answer;
    const auto stone = records_.FindTombstone(digest);
    if (!stone.ok() || !stone->has_value()) return answer;
    const Tombstone& found = **stone;
    return absl::NotFoundError(
        (found.what.empty() ? "blob sha256:" + digest.hex()
                            : found.what + " (sha256:" + digest.hex() + ")") +
        " was removed on " + FormatTime(found.at).substr(0, 10) + " by " + found.by + ": " +
        found.why + "; run the stage that made it again");
  }

  BlobStore& blobs_;
  StorageRecords& records_;
};

UtcTime Before(UtcTime time, Duration span) { return UtcTime{time.ms - span.count()}; }

}  // namespace

std::unique_ptr<BlobStore> TellRemoved(BlobStore& blobs, StorageRecords& records) {
  return std::make_unique<TellingBlobs>(blobs, records);
}

Storage::Storage(const Settings& settings, const Ports& ports,
                 std::function<void(Change, DoneStatus)> record)
    : settings_(settings.storage), ports_(ports), record_(std::move(record)) {
  if (!Available().ok()) return;
  ports_.blob_upkeep->set_limit(settings_.hard_limit);
  // A crash may have left the count wrong.
  pool_.Post([this] {
    const auto counted = ports_.blob_upkeep->RemoveLoose(UtcTime{}, stop_.get_token());
    if (counted.ok()) return;
    LogWarn("the artifact store could not be counted", {{"why", Message(counted.status())}});
  });
  watch_ = std::jthread([this](const std::stop_token& stop) { Watch(stop); });
}

Storage::~Storage() {
  stop_.request_stop();
  watch_.request_stop();
  if (watch_.joinable()) watch_.join();
}

absl::Status Storage::Available() const {
  if (ports_.blob_upkeep != nullptr && ports_.storage_records != nullptr) return absl::OkStatus();
  return absl::FailedPreconditionError("this daemon's artifact store is kept by somebody else");
}

void Storage::CollectGarbage(GcRequest request, Done<GcReport> done) {
  if (const absl::Status available = Available(); !available.ok()) return done(available);
  absl::StatusOr<std::shared_ptr<void>> held = Hold();
  if (!held.ok()) return done(held.status());
  pool_.Post([this, request = std::move(request), done = std::move(done), held = *std::move(held)]() mutable {
    absl::StatusOr<GcReport> report = Collect(request, /*fold_all=*/request.by == "soft limit");
    held = nullptr;
    done(std::move(report));
  });
}

absl::StatusOr<std::shared_ptr<void>> Storage::Hold() {
  const std::lock_guard lock(mutex_);
  if (std::exchange(is_held_, true)) {
    return absl::UnavailableError("a garbage collection or a backup is under way; try again later");
  }
  return std::shared_ptr<void>(this, [this](void*) {
    const std::lock_guard release(mutex_);
    is_held_ = false;
  });
}

// --- collection ------------------------------------------------------------------------------------

absl::StatusOr<GcReport> Storage::Collect(const GcRequest& request, bool fold_all) {
  const UtcTime now = ports_.clock.Now();
  const UtcTime before = Before(now, settings_.grace + kFileClockLag);
  GcReport report;
  report.dry_run = request.dry_run;
  report.used_before = ports_.blob_upkeep->bytes_used();
  // What is stored first: what comes later is younger than `before`.
  CD4ML_ASSIGN_OR_RETURN(const std::vector<StoredBlob> blobs, ports_.blob_upkeep->List());
  CD4ML_ASSIGN_OR_RETURN(const Wanted wanted, FindWanted(blobs));
  CD4ML_ASSIGN_OR_RETURN(std::vector<Tombstone> stones,
                         Choose(blobs, wanted, before, request, report));
  if (!request.dry_run) {
    CD4ML_RETURN_IF_ERROR(Remove(stones, before, report));
    FoldCold(blobs, fold_all ? now : Before(now, settings_.fold_after), report);
    CD4ML_RETURN_IF_ERROR(ports_.blob_upkeep->RemoveLoose(before, stop_.get_token()).status());
  }
  report.used_after = ports_.blob_upkeep->bytes_used();
  std::sort(stones.begin(), stones.end(),
            [](const Tombstone& a, const Tombstone& b) { return a.size > b.size; });
  stones.resize(std::min(stones.size(), kReportedMax));
  report.removed = std::move(stones);
  LogInfo("garbage collected", {{"by", request.by},
                                {"dry_run", request.dry_run ? "yes" : "no"},
                                {"blobs", std::to_string(report.blobs)},
                                {"removed", std::to_string(report.removed_blobs)},
                                {"folded", std::to_string(report.folded_blobs)},
                                {"used", FormatSize(report.used_after)}});
  return report;
}

// Returns the files of a blob that is a tree, none of one that is not.
absl::StatusOr<std::vector<TreeEntry>> Storage::FilesOf(const Digest& digest) {
  {
    CD4ML_ASSIGN_OR_RETURN(const auto reader, ports_.blobs.Open(digest, 0));
    if (reader->size() > kTreeTextMax) return std::vector<TreeEntry>();
    CD4ML_ASSIGN_OR_RETURN(const std::string head, reader->Read(kDigestSize + 1));
    if (head.size() <= kDigestSize || head[kDigestSize] != ' ' ||
        !Digest::Parse(head.substr(0, kDigestSize)).ok()) {
      return std::vector<TreeEntry>();
    }
  }
  CD4ML_ASSIGN_OR_RETURN(const std::string text, ReadBlob(ports_.blobs, digest, kTreeTextMax));
  return ParseTree(text).value_or(std::vector<TreeEntry>());
}

absl::StatusOr<Storage::Wanted> Storage::FindWanted(const std::vector<StoredBlob>& blobs) {
  CD4ML_ASSIGN_OR_RETURN(Wanted wanted, ports_.storage_records->WantedBlobs(settings_.former));
  for (const StoredBlob& blob : blobs) {
    if (stop_.stop_requested()) return absl::UnavailableError("the daemon stops");
    const auto why = wanted.find(blob.digest);
    if (why == wanted.end()) continue;
    // A tree that cannot be read might want anything, so nothing is removed then.
    CD4ML_ASSIGN_OR_RETURN(const std::vector<TreeEntry> files, FilesOf(blob.digest));
    for (const TreeEntry& file : files) wanted.emplace(file.digest, why->second);
  }
  return wanted;
}

// Returns what is to go, and fills in the report.
absl::StatusOr<std::vector<Tombstone>> Storage::Choose(const std::vector<StoredBlob>& blobs,
                                                       const Wanted& wanted, UtcTime before,
                                                       const GcRequest& request,
                                                       GcReport& report) {
  CD4ML_ASSIGN_OR_RETURN(Wanted names, ports_.storage_records->NamesOfBlobs());
  std::map<std::string, GcReport::Share> shares;
  std::vector<Tombstone> stones;
  const std::string span = FormatDuration(settings_.grace);
  for (const StoredBlob& blob : blobs) {
    ++report.blobs;
    report.bytes += blob.size;
    const auto why = wanted.find(blob.digest);
    if (why != wanted.end() || blob.used >= before) {
      GcReport::Share& share =
          shares[why != wanted.end() ? why->second : "used within the last " + span];
      ++share.blobs;
      share.bytes += blob.size;
      continue;
    }
    stones.push_back({blob.digest, blob.size, "",
                      "nothing that is kept refers to it and nobody used it for " + span,
                      request.by, ports_.clock.Now()});
    if (request.dry_run) {
      ++report.removed_blobs;
      report.removed_bytes += blob.size;
    }
  }
  // The files of a tree are named after it, so it goes last: a collection that is cut off leaves what names the rest.
  std::set<Digest> trees;
  for (const Tombstone& stone : stones) {
    const auto name = names.find(stone.digest);
    if (name == names.end()) continue;
    const std::string of = " of " + name->second;
    const auto files = FilesOf(stone.digest);
    if (!files.ok() || files->empty()) continue;
    trees.insert(stone.digest);
    for (const TreeEntry& file : *files) names.emplace(file.digest, "file " + file.path + of);
  }
  std::stable_partition(stones.begin(), stones.end(), [&](const Tombstone& stone) { return !trees.contains(stone.digest); });
  for (Tombstone& stone : stones) {
    if (const auto name = names.find(stone.digest); name != names.end()) {
      stone.what = name->second;
      continue;
    }
    // A collection that did not get to its end may have taken away what named it.
    CD4ML_ASSIGN_OR_RETURN(const auto former, ports_.storage_records->FindTombstone(stone.digest));
    if (former) stone.what = former->what;
  }
  for (auto& [why, share] : shares) {
    share.why = why;
    report.kept.push_back(std::move(share));
  }
  std::sort(report.kept.begin(), report.kept.end(),
            [](const auto& a, const auto& b) { return a.bytes > b.bytes; });
  report.kept.resize(std::min(report.kept.size(), kReportedMax));
  return stones;
}

absl::Status Storage::Remove(const std::vector<Tombstone>& stones, UtcTime before,
                             GcReport& report) {
  for (size_t first = 0; first < stones.size(); first += kRemovedAtOnce) {
    const size_t end = std::min(stones.size(), first + kRemovedAtOnce);
    const auto at = [&](size_t i) { return stones.begin() + static_cast<std::ptrdiff_t>(i); };
    CD4ML_RETURN_IF_ERROR(Commit(TombstoneChange{{at(first), at(end)}}));
    for (size_t i = first; i < end; ++i) {
      CD4ML_ASSIGN_OR_RETURN(const bool removed,
                             ports_.blob_upkeep->RemoveUnused(stones[i].digest, before));
      report.removed_blobs += removed;
      report.removed_bytes += removed ? stones[i].size : 0;
    }
  }
  return absl::OkStatus();
}

void Storage::FoldCold(const std::vector<StoredBlob>& blobs, UtcTime before, GcReport& report) {
  for (const StoredBlob& blob : blobs) {
    if (stop_.stop_requested()) return;
    if (blob.is_folded || blob.is_linked || blob.size < kChunkedMin || blob.used >= before) continue;
    const auto folded = ports_.blob_upkeep->Fold(blob.digest, stop_.get_token());
    if (folded.ok()) {
      ++report.folded_blobs;
    } else if (!absl::IsNotFound(folded.status())) {
      LogWarn("a blob stays whole",
              {{"digest", blob.digest.hex()}, {"why", Message(folded.status())}});
    }
  }
}

absl::Status Storage::Commit(Change change) {
  struct Answer {
    std::mutex mutex;
    std::condition_variable_any come;
    std::optional<absl::Status> status;
  };
  const auto answer = std::make_shared<Answer>();
  record_(std::move(change), [answer](const absl::Status& status) {
    const std::lock_guard lock(answer->mutex);
    answer->status = status;
    answer->come.notify_all();
  });
  std::unique_lock lock(answer->mutex);
  answer->come.wait(lock, stop_.get_token(), [&] { return answer->status.has_value(); });
  return answer->status.value_or(absl::UnavailableError("the daemon stops"));
}

void Storage::Watch(const std::stop_token& stop) {
  Duration collected = ports_.clock.Steady();
  Duration softened = collected - kSoftAgain;
  std::unique_lock lock(mutex_);
  while (!stop.stop_requested()) {
    woken_.wait_for(lock, stop, kLook, [] { return false; });
    if (stop.stop_requested()) return;
    const Duration now = ports_.clock.Steady();
    const bool is_soft = settings_.soft_limit > 0 &&
                         ports_.blob_upkeep->bytes_used() > settings_.soft_limit &&
                         now - softened >= kSoftAgain;
    const bool is_due = settings_.every.count() > 0 && now - collected >= settings_.every;
    if (!is_soft && !is_due) continue;
    collected = now;
    if (is_soft) softened = now;
    lock.unlock();
    if (is_soft) {
      LogWarn("the artifact store is beyond its soft limit",
              {{"used", FormatSize(ports_.blob_upkeep->bytes_used())},
               {"limit", FormatSize(settings_.soft_limit)}});
    }
    CollectGarbage({false, is_soft ? "soft limit" : "schedule"}, [](const auto& report) {
      if (report.ok()) return;
      LogWarn("garbage could not be collected", {{"why", Message(report.status())}});
    });
    lock.lock();
  }
}

void Storage::Describe(ServerFacts& facts) const {
  if (!Available().ok()) return;
  facts.artifact_bytes = ports_.blob_upkeep->bytes_used();
  facts.artifact_soft_limit = settings_.soft_limit;
  facts.artifact_hard_limit = settings_.hard_limit;
  const auto beyond = [&](int64_t limit) { return limit > 0 && facts.artifact_bytes >= limit; };
  if (beyond(settings_.hard_limit)) {
    facts.artifact_warning =
        "full, nothing is stored any more; run `cd4ml gc`, unpin what is no longer wanted, or raise "
        "--blob-hard-limit";
  } else if (beyond(settings_.soft_limit)) {
    facts.artifact_warning =
        "beyond its soft limit; `cd4ml gc --dry-run` says what keeps it large";
  }
}

// --- pins ------------------------------------------------------------------------------------------

absl::StatusOr<Pin> Storage::Pinned(const std::string& reference, const std::string& reason,
                                    const std::string& by) {
  CD4ML_ASSIGN_OR_RETURN(const LineageGraph graph,
                         ports_.history.TraceLineage(reference, LineageDirection::kUp, 1));
  const LineageNode& node = graph.nodes.front();
  Pin pin{node.id, reference, reason, by, ports_.clock.Now()};
  if (node.kind == LineageNode::Kind::kVersion) {
    CD4ML_ASSIGN_OR_RETURN(const Digest artifact, ports_.storage_records->ArtifactOf(node.id));
    if (!artifact.is_set()) {
      return absl::InvalidArgumentError("\"" + reference + "\" has no bytes in the artifact store");
    }
    CD4ML_RETURN_IF_ERROR(ports_.blobs.Size(artifact).status());
    CD4ML_RETURN_IF_ERROR(CheckThere(pin.target, {artifact}));
    return pin;
  }
  const Value* run = node.facts.Find("run");
  if (run == nullptr || !run->is_string()) {
    return absl::InvalidArgumentError("\"" + reference +
                                      "\" cannot be pinned; pin a version, a run or a deployment");
  }
  pin.target = run->string();
  CD4ML_ASSIGN_OR_RETURN(const core::Run pinned, ports_.history.GetRun(pin.target));
  std::vector<Digest> artifacts;
  for (const core::StageRun& stage : pinned.stages) {
    if (stage.result() == nullptr) continue;
    for (const core::ProducedOutput& output : stage.result()->outputs) artifacts.push_back(output.artifact.digest);
  }
  for (const auto& [name, material] : pinned.pins.materials) artifacts.push_back(material.artifact.digest);
  CD4ML_RETURN_IF_ERROR(CheckThere(pin.target, artifacts));
  return pin;
}

// What a collection has taken away cannot stay. Trees count with their files.
absl::Status Storage::CheckThere(const std::string& target, const std::vector<Digest>& artifacts) {
  std::vector<Digest> covered;
  std::set<Digest> seen;
  const auto cover = [&](const Digest& digest) {
    if (digest.is_set() && seen.insert(digest).second) covered.push_back(digest);
  };
  for (const Digest& digest : artifacts) cover(digest);
  for (const Digest& digest : artifacts) {
    const auto files = digest.is_set() ? FilesOf(digest) : std::vector<TreeEntry>();
    if (!files.ok() && !absl::IsNotFound(files.status())) return files.status();
    for (const TreeEntry& file : files.value_or(std::vector<TreeEntry>())) cover(file.digest);
  }
  int64_t gone = 0;
  absl::Status first;
  for (const Digest& digest : covered) {
    CD4ML_ASSIGN_OR_RETURN(const auto stone, ports_.storage_records->FindTombstone(digest));
    if (!stone) continue;
    const absl::Status there = ports_.blobs.Size(digest).status();
    if (there.ok()) continue;
    if (!absl::IsNotFound(there)) return there;
    first.Update(there);
    ++gone;
  }
  if (gone == 0) return absl::OkStatus();
  const bool is_all = gone == static_cast<int64_t>(covered.size());
  return absl::NotFoundError(target + " cannot stay, " + std::to_string(gone) + " of its " + std::to_string(covered.size()) +
                             " artifacts are gone: " + Message(first) + (is_all ? "" : ", or pin what is left by its digest"));
}

void Storage::SetPin(std::string reference, std::string reason, std::string by, Done<Pin> done) {
  if (const absl::Status available = Available(); !available.ok()) return done(available);
  pool_.Post([this, reference = std::move(reference), reason = std::move(reason),
              by = std::move(by), done = std::move(done)] {
    const absl::StatusOr<Pin> pin = Pinned(reference, reason, by);
    if (!pin.ok()) return done(pin.status());
    const absl::Status status = Commit(PinChange{*pin});
    status.ok() ? done(*pin) : done(status);
  });
}

void Storage::RemovePin(std::string reference, Done<Pin> done) {
  if (const absl::Status available = Available(); !available.ok()) return done(available);
  pool_.Post([this, reference = std::move(reference), done = std::move(done)] {
    const auto pins = ports_.storage_records->ListPins();
    if (!pins.ok()) return done(pins.status());
    for (const Pin& pin : *pins) {
      if (pin.reference != reference && pin.target != reference) continue;
      const absl::Status status = Commit(PinChange{pin, /*is_removed=*/true});
      return status.ok() ? done(pin) : done(status);
    }
    done(absl::NotFoundError("nothing is pinned as \"" + reference + '"'));
  });
}

absl::StatusOr<std::vector<Pin>> Storage::ListPins() {
  CD4ML_RETURN_IF_ERROR(Available());
  return ports_.storage_records->ListPins();
}

}  // namespace cd4ml::daemon
