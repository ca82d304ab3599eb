// One object from elsewhere into the blob store.
#include "remote_object.h"

#include "cd4ml/base/status.h"

namespace cd4ml::daemon {

absl::StatusOr<StoredObject> StoreObject(RemoteData& remote, const RemotePlace& place, const std::string& known_stamp,
                                         int64_t size_max, BlobStore& blobs, ByteCheck* check,
                                         const std::stop_token& stop) {
  CD4ML_ASSIGN_OR_RETURN(const auto writer, blobs.Create());
  const RemoteSink sink = [&](std::string_view piece) {
    if (check != nullptr) check->Update(piece);
    return writer->Append(piece);
  };
  CD4ML_ASSIGN_OR_RETURN(RemoteAnswer answer, remote.Read(place, known_stamp, size_max, sink, stop));
  StoredObject object{.unchanged = answer.unchanged, .digest = {}, .size = answer.size, .stamp = std::move(answer.stamp)};
  if (object.unchanged && known_stamp.empty()) {
    return absl::FailedPreconditionError(place.url + ": the server says that it is unchanged, though nothing is known of it here");
  }
  if (object.unchanged) return object;
  if (check != nullptr) CD4ML_RETURN_IF_ERROR(Annotate(check->Finish(), place.url));
  CD4ML_ASSIGN_OR_RETURN(object.digest, writer->Commit(Digest()));
  return object;
}

}  // namespace cd4ml::daemon
