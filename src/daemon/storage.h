// Keeps the artifact store: pins, garbage collection, limits.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "cd4ml/daemon/daemon.h"
#include "pool.h"

namespace cd4ml::daemon {

class Storage : public StorageApi {
 public:
  // `record` commits a change on the loop and answers when it is durable.
  Storage(const Settings& settings, const Ports& ports,
          std::function<void(Change, DoneStatus)> record);
  ~Storage() override;

  void CollectGarbage(GcRequest request, Done<GcReport> done) override;
  void SetPin(std::string reference, std::string reason, std::string by, Done<Pin> done) override;
  void RemovePin(std::string reference, Done<Pin> done) override;
  absl::StatusOr<std::vector<Pin>> ListPins() override;

  // Keeps everything that is stored from being removed for as long as the answer lives. UNAVAILABLE while a collection
  // is under way.
  absl::StatusOr<std::shared_ptr<void>> Hold();
  // Adds what is known of the store.
  void Describe(ServerFacts& facts) const;

 private:
  using Wanted = std::map<Digest, std::string>;

  absl::Status Available() const;
  absl::StatusOr<GcReport> Collect(const GcRequest& request, bool fold_all);
  absl::StatusOr<Wanted> FindWanted(const std::vector<StoredBlob>& blobs);
  absl::StatusOr<std::vector<TreeEntry>> FilesOf(const Digest& digest);
  absl::StatusOr<std::vector<Tombstone>> Choose(const std::vector<StoredBlob>& blobs,
                                                const Wanted& wanted, UtcTime before,
                                                const GcRequest& request, GcReport& report);
  absl::Status Remove(const std::vector<Tombstone>& stones, UtcTime before, GcReport& report);
  void FoldCold(const std::vector<StoredBlob>& blobs, UtcTime before, GcReport& report);
  absl::StatusOr<Pin> Pinned(const std::string& reference, const std::string& reason,
                             const std::string& by);
  absl::Status CheckThere(const std::string& target, const std::vector<Digest>& artifacts);
  absl::Status Commit(Change change);
  // Collects now and then until `stop`.
  void Watch(const std::stop_token& stop);

  const StorageSettings& settings_;
  const Ports& ports_;
  const std::function<void(Change, DoneStatus)> record_;
  std::stop_source stop_;
  std::mutex mutex_;
  bool is_held_ = false;           // By a collection or by Hold; guarded by mutex_.
  std::condition_variable_any woken_;
  // One thread, so that a pin never comes between what is marked and what is removed.
  Pool pool_{1};
  std::jthread watch_;             // Last: it uses all of the above.
};

}  // namespace cd4ml::daemon
