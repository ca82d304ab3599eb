// Data behind URLs: one file over HTTP, objects of an S3 bucket.
#include <utility>

#include "cd4ml/base/glob.h"
#include "cd4ml/base/status.h"
#include "data_source.h"
#include "ranges.h"
#include "remote_object.h"
#include "seen_files.h"

namespace cd4ml::daemon {
namespace {

// Objects that one connection takes at a time, and connections: what is waited for is the other side.
constexpr size_t kRangeMax = 16;
constexpr size_t kConnectionsMax = 8;

class RemoteSource final : public DataSource {
 public:
  RemoteSource(const Settings& settings, const Ports& ports) : settings_(settings), ports_(ports) {}

  absl::StatusOr<ArtifactRef> Read(const core::MaterialSpec& material, const DataContext& context) const override {
    if (ports_.remote == nullptr) return absl::UnimplementedError("this daemon reads no data from other machines");
    const SeenFiles known(ports_.files, SeenFolder(settings_), "remote " + core::SourceText(material));
    return material.location.starts_with("s3://") ? ReadS3(material, known, context)
                                                  : ReadUrl(material.location, known, context);
  }

 private:
  absl::StatusOr<ArtifactRef> ReadUrl(const std::string& url, const SeenFiles& known, const DataContext& context) const {
    const std::vector<std::string> names = {"file"};
    const SeenFiles::Record* record = known.Match(names).front();
    std::vector<SeenFile> seen(1);
    seen[0].entry.path = names[0];
    const auto remote = ports_.remote();
    const bool is_kept = !context.anew && record != nullptr && TakeStored(*record, ports_.blobs, seen[0].entry);
    CD4ML_ASSIGN_OR_RETURN(
        const StoredObject object,
        StoreObject(*remote, {.url = url}, is_kept ? std::string(record->stamp) : "", settings_.remote_size_max,
                    ports_.blobs, /*check=*/nullptr, context.stop));
    if (!object.unchanged) {
      seen[0].entry.digest = object.digest;
      seen[0].entry.size = object.size;
      seen[0].stamp = object.stamp;
      known.Save(seen);
    }
    return ArtifactRef{.digest = seen[0].entry.digest, .is_tree = false, .size = seen[0].entry.size, .files = 1};
  }

  absl::StatusOr<ArtifactRef> ReadS3(const core::MaterialSpec& material, const SeenFiles& known,
                                     const DataContext& context) const {
    RemotePlace place{.url = material.location};
    // With a pattern the place is a folder, whatever else has that name.
    if (!material.pattern.empty() && !place.url.ends_with('/')) place.url += '/';
    CD4ML_ASSIGN_OR_RETURN(std::vector<RemoteObject> objects, ports_.remote()->List(place, kTreeFilesMax, context.stop));
    if (!material.pattern.empty()) {
      std::erase_if(objects, [&](const RemoteObject& object) { return !MatchesGlob(material.pattern, object.path); });
    }
    if (objects.empty()) {
      return absl::NotFoundError("no object in " + place.url +
                                 (material.pattern.empty() ? PatternHint(material.location)
                                                           : " matches \"" + material.pattern + '"'));
    }
    CD4ML_RETURN_IF_ERROR(CheckListing(objects, place));
    std::vector<std::string> names;
    std::vector<SeenFile> seen(objects.size());
    for (size_t i = 0; i < objects.size(); ++i) {
      names.push_back(objects[i].path.empty() ? "file" : objects[i].path);
      seen[i].entry.path = names[i];
    }
    const std::vector<const SeenFiles::Record*> records = known.Match(names);
    const absl::Status read = ForRanges(objects.size(), kRangeMax, kConnectionsMax, [&](size_t begin, size_t end) {
      return ReadObjects(place, objects, records, begin, end, seen, context);
    });
    if (!read.ok()) KeepKnown(records, seen);
    known.Save(seen);
    CD4ML_RETURN_IF_ERROR(read);
    if (objects.front().path.empty()) {
      return ArtifactRef{.digest = seen[0].entry.digest, .is_tree = false, .size = seen[0].entry.size, .files = 1};
    }
    std::vector<TreeEntry> entries;
    for (SeenFile& file : seen) entries.push_back(std::move(file.entry));
    return PutTree(ports_.blobs, std::move(entries));
  }

  // Keys are any bytes; files have names.
  absl::Status CheckListing(const std::vector<RemoteObject>& objects, const RemotePlace& place) const {
    int64_t size = 0;
    std::vector<TreeEntry> entries;
    for (const RemoteObject& object : objects) {
      size += object.size;
      if (!object.path.empty()) entries.push_back({.path = object.path, .digest = Sha256(""), .size = 0});
    }
    if (size > settings_.remote_size_max) {
      return absl::ResourceExhaustedError(place.url + " has " + FormatSize(size) + ", more than the " +
                                          FormatSize(settings_.remote_size_max) + " that cd4mld --remote-max allows");
    }
    return Annotate(CheckNames(entries), "the keys below " + place.url + " cannot be files of a folder");
  }

  absl::Status ReadObjects(const RemotePlace& place, const std::vector<RemoteObject>& objects,
                           const std::vector<const SeenFiles::Record*>& records, size_t begin, size_t end,
                           std::vector<SeenFile>& seen, const DataContext& context) const {
    std::unique_ptr<RemoteData> remote;
    for (size_t i = begin; i < end; ++i) {
      const RemoteObject& object = objects[i];
      seen[i].entry.size = object.size;
      if (!context.anew && !object.stamp.empty() && records[i] != nullptr && records[i]->stamp == object.stamp &&
          TakeStored(*records[i], ports_.blobs, seen[i].entry)) {
        seen[i].stamp = object.stamp;
        continue;
      }
      if (remote == nullptr) remote = ports_.remote();
      const bool needs_slash = !object.path.empty() && !place.url.ends_with('/');
      const RemotePlace from{.url = place.url + (needs_slash ? "/" : "") + object.path};
      CD4ML_ASSIGN_OR_RETURN(const StoredObject stored,
                             StoreObject(*remote, from, "", settings_.remote_size_max, ports_.blobs, nullptr, context.stop));
      if (stored.stamp != object.stamp || stored.size != object.size) {
        return absl::AbortedError(from.url + " changed while it was read (listed with " + Facts(object.stamp, object.size) +
                                  ", it came with " + Facts(stored.stamp, stored.size) +
                                  "); start the run again when nothing writes to it");
      }
      seen[i].entry.digest = stored.digest;
      seen[i].stamp = stored.stamp;
    }
    return absl::OkStatus();
  }

  // A server that names an object otherwise in its listings is told by this from one whose object changes.
  static std::string Facts(const std::string& stamp, int64_t size) {
    return (stamp.empty() ? "no etag" : stamp) + " and " + FormatSize(size);
  }

  const Settings& settings_;
  const Ports& ports_;
};

}  // namespace

std::unique_ptr<DataSource> MakeRemoteData(const Settings& settings, const Ports& ports) {
  return std::make_unique<RemoteSource>(settings, ports);
}

}  // namespace cd4ml::daemon
