// What .dvc files and dvc.lock point at: bytes from the repository's own cache or from a remote of DVC, checked against
// DVC's hashes before they count.
#include <algorithm>
#include <atomic>
#include <filesystem>
#include <mutex>

#include "cd4ml/base/status.h"
#include "cd4ml/core/diagnostic.h"
#include "cd4ml/core/dvc.h"
#include "data_source.h"
#include "ranges.h"
#include "remote_object.h"
#include "seen_files.h"

namespace cd4ml::daemon {
namespace {

constexpr int64_t kPointerSizeMax = 64 << 20;
constexpr int64_t kListSizeMax = 256 << 20;
constexpr size_t kPieceSize = 256 << 10;
constexpr size_t kRangeMax = 64;

// Checks the MD5 of a stream. Before version 3, DVC hashed text files as if their lines ended plainly.
class Md5Check final : public ByteCheck {
 public:
  Md5Check(const std::string& md5, bool is_old) : md5_(md5), is_old_(is_old) {}

  void Update(std::string_view piece) override {
    exact_.Update(piece);
    if (!is_old_) return;
    std::string plain;
    for (const char c : piece) {
      if (held_ && c != '\n') plain.push_back('\r');
      held_ = c == '\r';
      if (!held_) plain.push_back(c);
    }
    plain_.Update(plain);
  }

  absl::Status Finish() override {
    const std::string exact = exact_.Finish();
    if (held_) plain_.Update("\r");
    if (exact == md5_ || (is_old_ && plain_.Finish() == md5_)) return absl::OkStatus();
    return absl::DataLossError("its bytes have md5 " + exact + ", and not the " + md5_ +
                               " that DVC recorded; restore it, or run `dvc push` from a good cache");
  }

 private:
  const std::string md5_;
  const bool is_old_;
  bool held_ = false;             // A carriage return whose next byte is not known yet.
  Md5Hasher exact_, plain_;
};

// Where the objects of one repository may lie, in the order in which they are looked for.
struct Stores {
  std::atomic<int64_t>& size_left;         // That the material may still bring from other machines.
  std::vector<std::string> folders;        // The cache, and remotes that are folders.
  std::optional<RemotePlace> remote;       // A remote behind a URL, without a slash at its end.
};

class DvcData final : public DataSource {
 public:
  DvcData(const Settings& settings, const Ports& ports) : settings_(settings), ports_(ports) {}

  absl::StatusOr<ArtifactRef> Read(const core::MaterialSpec& material, const DataContext& context) const override {
    CD4ML_ASSIGN_OR_RETURN(const std::string text,
                           context.repo.ReadFile(context.commit, material.location, kPointerSizeMax));
    CD4ML_ASSIGN_OR_RETURN(const Value pointer, ports_.parser.ParseParams(text, material.location));
    CD4ML_ASSIGN_OR_RETURN(const std::optional<Value> pipeline, ReadPipeline(material.location, context));
    CD4ML_ASSIGN_OR_RETURN(const std::vector<core::DvcOut> outs,
                           core::ReadDvcPointer(pointer, material.location, pipeline ? &*pipeline : nullptr));
    CD4ML_ASSIGN_OR_RETURN(const core::DvcOut out, core::ChooseDvcOut(outs, material.output, material.location));
    std::atomic<int64_t> size_left = settings_.remote_size_max;
    CD4ML_ASSIGN_OR_RETURN(const Stores stores, FindStores(material.location, out, context, size_left));
    if (out.is_dir) return ReadFolder(out, stores, context);
    std::unique_ptr<RemoteData> remote;
    const SeenFiles known(ports_.files, SeenFolder(settings_), "dvc " + context.location + '\n' + out.path);
    std::vector<SeenFile> seen(1);
    seen[0].entry.path = out.path;
    CD4ML_RETURN_IF_ERROR(Take(out, out.md5, stores, known.Match({out.path}).front(), remote, seen[0], context.stop));
    known.Save(seen);
    return ArtifactRef{.digest = seen[0].entry.digest, .is_tree = false, .size = seen[0].entry.size, .files = 1};
  }

 private:
  // --- where ---

  // Returns the dvc.yaml beside a dvc.lock; none when it says nothing about the folders of stages.
  absl::StatusOr<std::optional<Value>> ReadPipeline(const std::string& pointer, const DataContext& context) const {
    const std::string path = core::DvcPipelineOf(pointer);
    if (path.empty()) return std::nullopt;
    CD4ML_ASSIGN_OR_RETURN(const std::string text, context.repo.ReadFile(context.commit, path, kPointerSizeMax));
    absl::StatusOr<Value> pipeline = ports_.parser.ParseParams(text, path);
    // It may say what only DVC reads.
    if (!pipeline.ok() && text.find("wdir") == std::string::npos) return std::nullopt;
    if (!pipeline.ok()) return pipeline.status();
    return *std::move(pipeline);
  }

  // DVC may live below the root of a repository: the nearest config above the pointer counts.
  absl::StatusOr<std::pair<core::DvcConfig, std::string>> FindConfig(const std::string& pointer,
                                                                     const DataContext& context) const {
    std::string folder = pointer;
    while (!folder.empty()) {
      const size_t slash = folder.rfind('/');
      folder = slash == std::string::npos ? "" : folder.substr(0, slash);
      const std::string dir = folder.empty() ? ".dvc" : folder + "/.dvc";
      const auto text = context.repo.ReadFile(context.commit, dir + "/config", kPointerSizeMax);
      if (text.ok()) return std::pair(core::ParseDvcConfig(*text), dir);
      if (!absl::IsNotFound(text.status())) return text.status();
    }
    return absl::FailedPreconditionError("no .dvc/config above " + pointer + " is in git; commit it");
  }

  absl::StatusOr<Stores> FindStores(const std::string& pointer, const core::DvcOut& out, const DataContext& context,
                                    std::atomic<int64_t>& size_left) const {
    CD4ML_ASSIGN_OR_RETURN(const auto found, FindConfig(pointer, context));
    const auto& [config, dir] = found;
    std::string repo = context.location;
    if (repo.starts_with("file://")) repo = repo.substr(7);
    const auto absolute = [&](const std::string& path) {
      return (std::filesystem::path(repo) / dir / path).lexically_normal().string();
    };
    Stores stores{.size_left = size_left, .folders = {}, .remote = {}};
    stores.folders.push_back(absolute(config.cache));
    const std::string& name = out.remote.empty() ? config.default_remote : out.remote;
    const auto remote = config.remotes.find(name);
    if (remote == config.remotes.end()) {
      if (name.empty()) return stores;
      return absl::FailedPreconditionError(dir + "/config has no remote \"" + name + '"');
    }
    std::string url = remote->second.url;
    const size_t scheme = url.find("://");
    if (url.starts_with("file://")) url = url.substr(7);
    if (scheme == std::string::npos || remote->second.url.starts_with("file://")) {
      stores.folders.push_back(absolute(url));
    } else if (url.starts_with("s3://") || url.starts_with("http://") || url.starts_with("https://")) {
      while (url.ends_with('/')) url.pop_back();
      stores.remote = {.url = url, .endpoint = remote->second.endpoint, .region = remote->second.region};
    } else {
      return absl::FailedPreconditionError("remote \"" + name + "\" is at " + url.substr(0, scheme) +
                                           "://, which cannot be read; folders, s3://, http:// and https:// can");
    }
    return stores;
  }

  // --- what ---

  absl::StatusOr<ArtifactRef> ReadFolder(const core::DvcOut& out, const Stores& stores, const DataContext& context) const {
    std::unique_ptr<RemoteData> remote;
    SeenFile list;
    CD4ML_RETURN_IF_ERROR(Fetch(out, out.md5, /*is_list=*/true, stores, remote, list, context.stop));
    CD4ML_ASSIGN_OR_RETURN(const std::string json, ReadBlob(ports_.blobs, list.entry.digest, kListSizeMax));
    auto parsed = core::ParseDvcDir(json);
    if (!parsed.ok()) return Annotate(parsed.status(), out.path);
    std::vector<core::DvcFile>& files = *parsed;
    if (files.empty()) return absl::InvalidArgumentError(out.path + " is a folder without files");
    for (const core::DvcFile& file : files) {
      const bool has_control = std::any_of(file.path.begin(), file.path.end(), [](unsigned char c) { return c < ' ' || c == 0x7F; });
      if (!has_control) continue;
      return absl::InvalidArgumentError(out.path + ": the name " + core::Quoted(file.path) +
                                        " has line breaks or other control characters; rename it and run `dvc add`");
    }
    std::sort(files.begin(), files.end(),
              [](const core::DvcFile& a, const core::DvcFile& b) { return a.path < b.path; });
    std::vector<std::string> names;
    std::vector<SeenFile> seen(files.size());
    for (size_t i = 0; i < files.size(); ++i) names.push_back(seen[i].entry.path = files[i].path);
    const SeenFiles known(ports_.files, SeenFolder(settings_), "dvc " + context.location + '\n' + out.path);
    const auto records = known.Match(names);
    const absl::Status read = ForRanges(files.size(), kRangeMax, HashThreads(), [&](size_t begin, size_t end) -> absl::Status {
      std::unique_ptr<RemoteData> connection;
      for (size_t i = begin; i < end; ++i) {
        CD4ML_RETURN_IF_ERROR(Annotate(
            Take(out, files[i].md5, stores, records[i], connection, seen[i], context.stop), out.path + '/' + files[i].path));
      }
      return absl::OkStatus();
    });
    if (!read.ok()) KeepKnown(records, seen);
    known.Save(seen);
    CD4ML_RETURN_IF_ERROR(read);
    std::vector<TreeEntry> entries;
    for (SeenFile& file : seen) entries.push_back(std::move(file.entry));
    // The list comes from outside: its paths must stay inside.
    CD4ML_RETURN_IF_ERROR(Annotate(CheckNames(entries), out.path));
    return PutTree(ports_.blobs, std::move(entries));
  }

  // Fills in a file that may be known: the same MD5 is the same bytes.
  absl::Status Take(const core::DvcOut& out, const std::string& md5, const Stores& stores, const SeenFiles::Record* record,
                    std::unique_ptr<RemoteData>& remote, SeenFile& file, const std::stop_token& stop) const {
    const std::string stamp = "md5 " + md5;
    if (record == nullptr || record->stamp != stamp || !TakeStored(*record, ports_.blobs, file.entry)) {
      CD4ML_RETURN_IF_ERROR(Fetch(out, md5, /*is_list=*/false, stores, remote, file, stop));
    }
    file.stamp = stamp;
    return absl::OkStatus();
  }

  absl::Status Fetch(const core::DvcOut& out, const std::string& md5, bool is_list, const Stores& stores,
                     std::unique_ptr<RemoteData>& remote, SeenFile& file, const std::stop_token& stop) const {
    std::string tried;
    // A repository that moved to DVC 3 may still have objects where they were before.
    for (const bool is_old : {out.is_old, !out.is_old}) {
      const core::DvcOut layout{.is_old = is_old};
      const std::string object = core::DvcObjectPath(layout, md5, is_list);
      for (const std::string& folder : stores.folders) {
        const std::string path = folder + '/' + object;
        if (ports_.files.Exists(path)) return StoreLocal(path, md5, out.is_old, file, stop);
      }
      if (stores.remote && ports_.remote != nullptr) {
        if (remote == nullptr) remote = ports_.remote();
        RemotePlace place = *stores.remote;
        place.url += '/' + object;
        Md5Check check(md5, out.is_old);
        const int64_t size_left = std::max<int64_t>(0, stores.size_left);
        const std::string limit = "of the " + FormatSize(settings_.remote_size_max) + " that cd4mld --remote-max allows, " +
                                  FormatSize(size_left) + " were left";
        const auto stored = StoreObject(*remote, place, "", size_left, ports_.blobs, &check, stop);
        if (absl::IsResourceExhausted(stored.status())) return Annotate(stored.status(), limit);
        if (stored.ok()) {
          // Others may have taken their part meanwhile.
          if (stores.size_left.fetch_sub(stored->size) < stored->size) return absl::ResourceExhaustedError(limit);
          file.entry.digest = stored->digest;
          file.entry.size = stored->size;
          return absl::OkStatus();
        }
        if (!absl::IsNotFound(stored.status())) return stored.status();
      }
    }
    for (const std::string& folder : stores.folders) tried += (tried.empty() ? "" : ", ") + folder;
    if (stores.remote) tried += (tried.empty() ? "" : ", ") + stores.remote->url;
    return absl::NotFoundError("md5 " + md5 + " of " + out.path + " is not in " + tried + "; run `dvc push`");
  }

  absl::Status StoreLocal(const std::string& path, const std::string& md5, bool is_old, SeenFile& file,
                          const std::stop_token& stop) const {
    // A cache may hold links into a shared one.
    std::error_code error;
    const std::filesystem::path real = std::filesystem::canonical(path, error);
    if (error) return absl::FailedPreconditionError("cannot reach " + path + ": " + error.message());
    CD4ML_ASSIGN_OR_RETURN(file.entry.digest, ports_.blobs.PutFile(real.string(), /*may_link=*/false, stop));
    CD4ML_ASSIGN_OR_RETURN(file.entry.size, ports_.blobs.Size(file.entry.digest));
    Md5Check check(md5, is_old);
    CD4ML_ASSIGN_OR_RETURN(const auto reader, ports_.blobs.Open(file.entry.digest, 0));
    while (true) {
      CD4ML_ASSIGN_OR_RETURN(const std::string piece, reader->Read(kPieceSize));
      if (piece.empty()) return Annotate(check.Finish(), path);
      check.Update(piece);
    }
  }

  const Settings& settings_;
  const Ports& ports_;
};

}  // namespace

std::unique_ptr<DataSource> MakeDvcData(const Settings& settings, const Ports& ports) {
  return std::make_unique<DvcData>(settings, ports);
}

}  // namespace cd4ml::daemon
