// One object from elsewhere into the blob store: all of it, or nothing.
#pragma once

#include "cd4ml/ports/blob_store.h"
#include "cd4ml/ports/remote_data.h"

namespace cd4ml::daemon {

struct StoredObject {
  bool unchanged = false;         // It still has the stamp that was asked about; nothing was read.
  Digest digest;
  int64_t size = 0;
  std::string stamp;
};

// What is to be known of the bytes beside their digest; may refuse them before they have a name.
class ByteCheck {
 public:
  virtual ~ByteCheck() = default;
  virtual void Update(std::string_view piece) = 0;
  virtual absl::Status Finish() = 0;
};

// `check` may be null.
absl::StatusOr<StoredObject> StoreObject(RemoteData& remote, const RemotePlace& place, const std::string& known_stamp,
                                         int64_t size_max, BlobStore& blobs, ByteCheck* check,
                                         const std::stop_token& stop);

// INVALID_ARGUMENT, with the name: the entries cannot be the files of one folder.
absl::Status CheckNames(const std::vector<TreeEntry>& entries);

}  // namespace cd4ml::daemon
