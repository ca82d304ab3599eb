// Counting and removing objects. No lock reaches beyond this process, so a folder of objects has one owner.
#include <algorithm>
#include <mutex>
#include <set>

#include "blob/chunks.h"
#include "blob/object_blob_store.h"
#include "cd4ml/base/log.h"
#include "cd4ml/base/status.h"

namespace cd4ml::blob {
namespace {

constexpr Duration kServerTick{1'000};     // Servers tell times of whole seconds.

// Returns the objects of a folder that are named by a digest.
absl::StatusOr<std::vector<FoundObject>> FindObjects(ObjectStore& objects, const std::string& folder,
                                                     const std::stop_token& stop) {
  std::vector<FoundObject> found;
  CD4ML_RETURN_IF_ERROR(objects.List(folder, [&](const ObjectFacts& facts) {
    const auto digest = Digest::Parse(facts.key.substr(folder.size()));
    if (digest.ok()) found.push_back({*digest, facts.size, facts.age});
    return absl::OkStatus();
  }, stop));
  return found;
}

class Sweep {
 public:
  explicit Sweep(HeldChunks& held) : held_(held) { held_.BeginSweep(); }
  Sweep(const Sweep&) = delete;
  Sweep& operator=(const Sweep&) = delete;
  ~Sweep() { held_.EndSweep(); }

 private:
  HeldChunks& held_;
};

int64_t SizeOfAll(const std::vector<FoundObject>& found) {
  int64_t size = 0;
  for (const FoundObject& object : found) size += object.size;
  return size;
}

}  // namespace

void HeldChunks::Hold(const Digest& chunk) {
  std::unique_lock lock(mutex_);
  removed_.wait(lock, [&] { return !removing_.contains(chunk); });
  ++held_[chunk];
  if (is_sweeping_) since_sweep_.insert(chunk);
}

void HeldChunks::Release(const Digest& chunk) {
  const std::lock_guard lock(mutex_);
  if (--held_[chunk] == 0) held_.erase(chunk);
}

void HeldChunks::BeginSweep() {
  const std::lock_guard lock(mutex_);
  is_sweeping_ = true;
  for (const auto& [chunk, count] : held_) since_sweep_.insert(chunk);
}

void HeldChunks::EndSweep() {
  const std::lock_guard lock(mutex_);
  is_sweeping_ = false;
  since_sweep_.clear();
}

bool HeldChunks::BeginRemoval(const Digest& chunk) {
  const std::lock_guard lock(mutex_);
  if (since_sweep_.contains(chunk)) return false;
  removing_.insert(chunk);
  return true;
}

void HeldChunks::EndRemoval(const Digest& chunk) {
  const std::lock_guard lock(mutex_);
  removing_.erase(chunk);
  removed_.notify_all();
}

// A use within `touch_after` of the last one is not noted, so each may be as much later.
UtcTime ObjectBlobStore::UsedAt(Duration age) const { return clock_.Now() + (touch_after_ + kServerTick - age); }

absl::StatusOr<std::vector<StoredBlob>> ObjectBlobStore::List() {
  const Objects objects = Lease();
  CD4ML_ASSIGN_OR_RETURN(const auto whole, FindObjects(*objects, "objects/", {}));
  CD4ML_ASSIGN_OR_RETURN(const auto recipes, FindObjects(*objects, "recipes/", {}));
  std::vector<StoredBlob> blobs(whole.size() + recipes.size());
  for (size_t i = 0; i < whole.size(); ++i) {
    blobs[i] = {whole[i].digest, whole[i].size, UsedAt(whole[i].age), false, false};
  }
  CD4ML_RETURN_IF_ERROR(ForEachAtOnce(recipes.size(), [&](size_t i) -> absl::Status {
    const auto size = ReadListSize(recipes[i].digest);
    // Whoever opens a damaged one moves it aside.
    if (absl::IsDataLoss(size.status())) {
      LogWarn("the size of an artifact cannot be told", {{"digest", recipes[i].digest.hex()}, {"why", Message(size.status())}});
    } else if (!size.ok() && !absl::IsNotFound(size.status())) {
      return size.status();
    }
    blobs[whole.size() + i] = {recipes[i].digest, size.value_or(0), UsedAt(recipes[i].age), true, false};
    return absl::OkStatus();
  }));
  std::sort(blobs.begin(), blobs.end(), [](const StoredBlob& a, const StoredBlob& b) { return a.digest < b.digest; });
  return blobs;
}

absl::StatusOr<bool> ObjectBlobStore::RemoveUnused(const Digest& digest, UtcTime before) {
  const std::unique_lock alone(UseMutex(digest));
  const Objects objects = Lease();
  for (const char* folder : {"objects/", "recipes/"}) {
    const auto facts = objects->Find(folder + digest.hex(), {});
    if (!facts.ok() && !absl::IsNotFound(facts.status())) return facts.status();
    if (facts.ok() && UsedAt(facts->age) >= before) return false;
  }
  CD4ML_RETURN_IF_ERROR(Remove(digest));
  return true;
}

absl::Status ObjectBlobStore::TakeNamedChunks(ObjectStore& objects, const std::vector<FoundObject>& recipes,
                                              std::set<Digest>& wanted, const std::stop_token& stop) {
  // A list that cannot be read may name any of them, and one wrong answer must not be enough to lose what it names.
  for (const FoundObject& recipe : recipes) {
    const std::string key = "recipes/" + recipe.digest.hex();
    const auto list = ReadList(key);
    if (absl::IsNotFound(list.status())) {
      return absl::UnavailableError(objects.name() + key + " is listed but not there; nothing was removed, try again");
    }
    if (!list.ok()) return Annotate(list.status(), "no chunk was removed");
    for (const Chunk& chunk : *list) wanted.insert(chunk.digest);
  }
  // Somebody may put back what was moved aside, until the blob is there again.
  CD4ML_ASSIGN_OR_RETURN(const auto aside, FindObjects(objects, "quarantine/recipes/", stop));
  for (const FoundObject& recipe : aside) {
    const std::string key = "quarantine/recipes/" + recipe.digest.hex();
    if (std::any_of(recipes.begin(), recipes.end(), [&](const FoundObject& other) { return other.digest == recipe.digest; })) {
      CD4ML_RETURN_IF_ERROR(objects.Remove(key, stop));
      continue;
    }
    const auto list = ReadList(key);
    if (absl::IsDataLoss(list.status())) continue;
    if (!list.ok()) return list.status();
    for (const Chunk& chunk : *list) wanted.insert(chunk.digest);
  }
  return absl::OkStatus();
}

absl::StatusOr<int64_t> ObjectBlobStore::RemoveLoose(UtcTime before, const std::stop_token& stop) {
  const Objects objects = Lease();
  const std::lock_guard one_at_a_time(sweep_mutex_);
  const Sweep sweep(held_);
  // Chunks first: a recipe that comes after its listing is of chunks that were held since.
  CD4ML_ASSIGN_OR_RETURN(const auto chunks, FindObjects(*objects, "chunks/", stop));
  CD4ML_ASSIGN_OR_RETURN(const auto recipes, FindObjects(*objects, "recipes/", stop));
  CD4ML_ASSIGN_OR_RETURN(const auto whole, FindObjects(*objects, "objects/", stop));
  std::vector<FoundObject> old;
  std::copy_if(chunks.begin(), chunks.end(), std::back_inserter(old),
               [&](const FoundObject& chunk) { return UsedAt(chunk.age) < before; });
  std::set<Digest> wanted;
  if (!old.empty()) CD4ML_RETURN_IF_ERROR(TakeNamedChunks(*objects, recipes, wanted, stop));
  std::atomic<int64_t> freed = 0;
  CD4ML_RETURN_IF_ERROR(ForEachAtOnce(old.size(), [&](size_t i) -> absl::Status {
    if (stop.stop_requested()) return absl::CancelledError("cancelled while chunks were removed");
    if (wanted.contains(old[i].digest) || !held_.BeginRemoval(old[i].digest)) return absl::OkStatus();
    const absl::Status removed = Lease()->Remove("chunks/" + old[i].digest.hex(), stop);
    held_.EndRemoval(old[i].digest);
    if (removed.ok()) freed += old[i].size;
    return removed;
  }));
  used_ = SizeOfAll(chunks) + SizeOfAll(recipes) + SizeOfAll(whole) - freed;
  return freed.load();
}

}  // namespace cd4ml::blob
