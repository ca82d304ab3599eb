// Chooses the nearest store and moves bytes between it and the daemon.
#include "agent/blobs.h"

#include "agent/await.h"
#include "agent/files.h"
#include "cd4ml/base/log.h"
#include "cd4ml/base/status.h"

namespace cd4ml::agent {
namespace {

constexpr Duration kRetry{1'000};  // A transfer can fail without the session ending.

}  // namespace

absl::StatusOr<std::unique_ptr<Blobs>> Blobs::Open(const std::string& state_dir,
                                                   const AgentPorts& ports) {
  std::unique_ptr<Blobs> blobs(new Blobs(state_dir, ports));
  CD4ML_ASSIGN_OR_RETURN(blobs->own_, ports.open_blobs(state_dir + "/blobs"));
  // A stage that was running when the agent ended can so be finished while the daemon is away.
  if (absl::StatusOr<Value> known = ReadJson(state_dir + "/daemon-blobs.json"); known.ok()) {
    const Value* dir = known->Find("dir");
    const Value* nonce = known->Find("nonce");
    if (dir != nullptr && nonce != nullptr && dir->is_string() && nonce->is_string()) {
      blobs->UseFolder(dir->string(), nonce->string());
    }
  }
  return blobs;
}

bool Blobs::UseFolder(const std::string& dir, const std::string& nonce) {
  const absl::StatusOr<std::string> found = ReadText(dir + "/nonce", 1 << 10);
  std::shared_ptr<BlobStore> store;
  if (!dir.empty() && !nonce.empty() && found.ok() && *found == nonce) {
    absl::StatusOr<std::unique_ptr<BlobStore>> opened = open_(dir);
    if (opened.ok()) {
      store = *std::move(opened);
    } else {
      LogWarn("the daemon's blob folder cannot be used directly",
              {{"dir", dir}, {"why", Message(opened.status())}});
    }
  }
  std::lock_guard lock(mutex_);
  daemons_ = store;
  daemons_dir_ = dir;
  return store != nullptr;
}

void Blobs::OnSession(const SessionGrant& grant) {
  if (UseFolder(grant.blob_dir, grant.blob_nonce)) {
    (void)WriteText(state_dir_ + "/daemon-blobs.json",
                    ToJson(Value::Map{{"dir", grant.blob_dir}, {"nonce", grant.blob_nonce}}));
  }
  std::lock_guard lock(mutex_);
  ++sessions_;
  session_.notify_all();
}

Blobs::Near Blobs::near() {
  std::lock_guard lock(mutex_);
  if (daemons_ != nullptr) return {daemons_, true};
  return {own_, false};
}

std::string Blobs::dir() {
  std::lock_guard lock(mutex_);
  return daemons_ != nullptr ? daemons_dir_ : state_dir_ + "/blobs";
}

absl::Status Blobs::Persist(const std::function<absl::Status()>& transfer,
                            const std::stop_token& stop) {
  for (;;) {
    int64_t sessions;
    {
      std::lock_guard lock(mutex_);
      sessions = sessions_;
    }
    absl::Status status = transfer();
    if (status.ok() || !IsAway(status)) return status;
    std::unique_lock lock(mutex_);
    session_.wait_for(lock, stop, kRetry, [&] { return sessions_ != sessions; });
    if (stop.stop_requested()) return status;
  }
}

absl::Status Blobs::Fetch(const ArtifactRef& artifact, const std::stop_token& stop) {
  const Near store = near();
  if (store.is_daemons) return absl::OkStatus();
  return Persist([&] { return CopyArtifact(far_, *store.store, artifact, stop); }, stop);
}

absl::StatusOr<std::string> Blobs::Read(const Digest& digest, int64_t size_max,
                                        const std::stop_token& stop) {
  const Near store = near();
  absl::StatusOr<std::string> bytes = ReadBlob(*store.store, digest, size_max);
  if (bytes.ok() || store.is_daemons) return bytes;
  CD4ML_RETURN_IF_ERROR(Persist(
      [&] {
        bytes = ReadBlob(far_, digest, size_max);
        return bytes.status();
      },
      stop));
  return bytes;
}

absl::Status Blobs::Place(const ArtifactRef& artifact, const std::string& path, bool may_link,
                          const std::stop_token& stop) {
  CD4ML_RETURN_IF_ERROR(Fetch(artifact, stop));
  const Near store = near();
  const absl::Status placed = PlaceArtifact(*store.store, artifact, path, may_link, stop);
  if (!absl::IsNotFound(placed) || !store.is_daemons) return placed;
  // The daemon knows why something that it had is gone.
  const absl::Status told = UseArtifact(far_, artifact);
  return told.ok() ? placed : told;
}

absl::StatusOr<ArtifactRef> Blobs::Put(const std::string& path, const std::stop_token& stop) {
  const Near store = near();
  CD4ML_ASSIGN_OR_RETURN(const ArtifactRef artifact,
                         PutArtifact(*store.store, path, /*may_link=*/true, stop));
  if (!store.is_daemons) {
    CD4ML_RETURN_IF_ERROR(
        Persist([&] { return CopyArtifact(*store.store, far_, artifact, stop); }, stop));
  }
  return artifact;
}

absl::StatusOr<ArtifactRef> Blobs::PutText(std::string_view text, const std::stop_token& stop) {
  const Near store = near();
  BlobStore& target = store.is_daemons ? *store.store : far_;
  ArtifactRef artifact{{}, false, static_cast<int64_t>(text.size()), 1};
  CD4ML_RETURN_IF_ERROR(Persist(
      [&]() -> absl::Status {
        CD4ML_ASSIGN_OR_RETURN(artifact.digest, PutBytes(target, text));
        return absl::OkStatus();
      },
      stop));
  return artifact;
}

void Blobs::Quarantine(const Digest& digest) {
  if (absl::Status removed = near().store->Remove(digest); !removed.ok()) {
    LogError("a damaged blob could not be removed",
             {{"digest", digest.hex()}, {"why", Message(removed)}});
  }
}

}  // namespace cd4ml::agent
