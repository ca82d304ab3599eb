// One object from elsewhere into the blob store.
#include "remote_object.h"

#include <set>

#include "cd4ml/base/status.h"
#include "cd4ml/base/value.h"

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

namespace {

// In quotes, and readable whatever it holds.
std::string Shown(std::string_view name) { return ToJson(Value(std::string(name))); }

}  // namespace

absl::Status CheckNames(const std::vector<TreeEntry>& entries) {
  const auto tree = ParseTree(FormatTree(entries));
  // A name with a line break may look like two of them.
  if (tree.ok() && tree->size() == entries.size()) return absl::OkStatus();
  std::set<std::string_view> names;
  for (const TreeEntry& entry : entries) {
    const auto alone = ParseTree(FormatTree({entry}));
    if (!alone.ok() || alone->size() != 1) {
      return absl::InvalidArgumentError(Shown(entry.path) + " is no relative, clean and printable path of a file");
    }
    if (!names.insert(entry.path).second) return absl::InvalidArgumentError(Shown(entry.path) + " is there twice");
  }
  for (const std::string_view name : names) {
    for (size_t slash = name.find('/'); slash != name.npos; slash = name.find('/', slash + 1)) {
      if (!names.contains(name.substr(0, slash))) continue;
      return absl::InvalidArgumentError(Shown(name.substr(0, slash)) + " is a file and also the folder of " +
                                        Shown(name));
    }
  }
  return tree.status();
}

}  // namespace cd4ml::daemon
