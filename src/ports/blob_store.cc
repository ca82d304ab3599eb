// Trees and artifacts on top of any BlobStore: what daemon and agent do with one, whichever it is.
#include "cd4ml/ports/blob_store.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <limits>
#include <system_error>

#include "cd4ml/base/status.h"
#include "cd4ml/base/text.h"
#include "cd4ml/base/time.h"
#include "cd4ml/base/value.h"

namespace cd4ml {
namespace {

namespace fs = std::filesystem;

// Bytes moved at a time; larger pieces are slower on every transport that was measured.
constexpr size_t kPieceSize = 256 << 10;

constexpr size_t kPathSizeMax = 4'000;
constexpr int64_t kTreeLinksMax = 10'000;

std::string Quoted(const fs::path& path) { return '"' + path.string() + '"'; }

// Returns a name, at most 200 bytes of it, with what cannot be shown as \xNN.
std::string Escaped(std::string_view name) {
  static constexpr char kDigits[] = "0123456789ABCDEF";
  const bool is_utf8 = IsUtf8(name);
  std::string escaped;
  for (const char c : name.substr(0, 200)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= ' ' && byte != 0x7F && (is_utf8 || byte < 0x80)) {
      escaped += c;
    } else {
      escaped += {'\\', 'x', kDigits[byte >> 4], kDigits[byte & 15]};
    }
  }
  return escaped + (name.size() > 200 ? "…" : "");
}

// Returns whether `path` may stand in a tree: see TreeEntry.
bool IsTreePath(std::string_view path) {
  if (path.empty() || path.size() > kPathSizeMax || !IsUtf8(path)) return false;
  if (std::any_of(path.begin(), path.end(), [](unsigned char c) { return c < ' ' || c == 0x7F; })) {
    return false;
  }
  while (true) {
    const std::string_view part = path.substr(0, path.find('/'));
    if (part.empty() || part == "." || part == ".." || part.size() > 255) return false;
    if (part.size() == path.size()) return true;
    path.remove_prefix(part.size() + 1);
  }
}

absl::Status BadTree(size_t line, std::string_view what) {
  return absl::InvalidArgumentError("line " + std::to_string(line) +
                                    " of the tree: " + std::string(what));
}

// Cuts the text before the next space off `rest`.
std::string_view TakeWord(std::string_view& rest) {
  const std::string_view word = rest.substr(0, rest.find(' '));
  rest.remove_prefix(std::min(rest.size(), word.size() + 1));
  return word;
}

absl::StatusOr<TreeEntry> ParseLine(std::string_view rest, size_t line) {
  TreeEntry entry;
  const std::string_view hex = TakeWord(rest);
  auto digest = Digest::Parse(hex);
  if (!digest.ok() || digest->hex() != hex) return BadTree(line, "there is no digest");
  entry.digest = *std::move(digest);

  const std::string_view size = TakeWord(rest);
  const auto [end, error] = std::from_chars(size.data(), size.data() + size.size(), entry.size);
  if (error != std::errc() || end != size.data() + size.size() ||
      std::to_string(entry.size) != size || entry.size < 0) {
    return BadTree(line, "the size is not a plain number");
  }
  const std::string_view mode = TakeWord(rest);
  if (mode != "x" && mode != "-") return BadTree(line, "the mode is neither \"x\" nor \"-\"");
  entry.executable = mode == "x";
  if (!IsTreePath(rest)) return BadTree(line, "the path is not relative, clean and printable");
  entry.path = rest;
  return entry;
}

// Returns the part of `path` that is a file of `entries`, or "". REQUIRES: sorted entries.
std::string_view FileAbove(const std::vector<TreeEntry>& entries, std::string_view path) {
  for (size_t slash = path.find('/'); slash != path.npos; slash = path.find('/', slash + 1)) {
    const std::string_view folder = path.substr(0, slash);
    const auto at = std::lower_bound(
        entries.begin(), entries.end(), folder,
        [](const TreeEntry& entry, std::string_view wanted) { return entry.path < wanted; });
    if (at != entries.end() && at->path == folder) return folder;
  }
  return {};
}

absl::Status WalkError(const fs::path& path, const std::error_code& error) {
  const auto code = error == std::errc::no_such_file_or_directory ? absl::StatusCode::kNotFound
                    : error == std::errc::permission_denied ? absl::StatusCode::kPermissionDenied
                                                            : absl::StatusCode::kInternal;
  return absl::Status(code, "cannot read " + Quoted(path) + ": " + error.message());
}

// Walks one folder. Lists hold the kind of each entry, so that no file is looked at.
class Walk {
 public:
  Walk(fs::path root, const FileFilter& filter) : root_(std::move(root)), filter_(filter) {}

  absl::Status Enter(const fs::path& dir, const std::string& prefix) {
    const bool is_loop = std::find(above_.begin(), above_.end(), dir) != above_.end();
    if (is_loop) {
      return absl::InvalidArgumentError("the symbolic link " + Quoted(root_ / prefix) +
                                        " leads back to a folder that holds it; remove it");
    }
    above_.push_back(dir);
    std::error_code error;
    for (fs::directory_iterator it(dir, error), end; !error && it != end; it.increment(error)) {
      CD4ML_RETURN_IF_ERROR(Visit(*it, prefix));
    }
    if (error) return WalkError(dir, error);
    above_.pop_back();
    return absl::OkStatus();
  }

  std::vector<FoundFile> TakeFound() {
    std::sort(found_.begin(), found_.end(),
              [](const FoundFile& a, const FoundFile& b) { return a.name < b.name; });
    return std::move(found_);
  }

 private:
  absl::Status Visit(const fs::directory_entry& entry, const std::string& prefix) {
    // Folders count too: links between empty ones could be walked for ever.
    if (++visited_ > kTreeFilesMax) return TooMany(kTreeFilesMax, "files");
    std::string path = entry.path().string();
    std::string name = prefix + path.substr(path.rfind('/') + 1);
    std::error_code error;
    fs::file_type type = entry.symlink_status(error).type();
    const bool is_wanted = !filter_.wants || filter_.wants(name);
    if (!is_wanted && (!filter_.is_deep || (type != fs::file_type::directory && type != fs::file_type::symlink))) {
      return absl::OkStatus();
    }
    if (!IsTreePath(name)) {
      return absl::InvalidArgumentError("cannot store " + Quoted(root_) +
                                        ": the name \"" + Escaped(name) +
                                        "\" in it is not UTF-8, has control characters or is too long; rename it");
    }
    if (!error && type == fs::file_type::symlink) {
      if (++links_ > kTreeLinksMax) return TooMany(kTreeLinksMax, "symbolic links");
      CD4ML_ASSIGN_OR_RETURN(const fs::path target, Follow(path));
      path = target.string();
      type = fs::symlink_status(target, error).type();
    }
    if (error) return WalkError(path, error);
    if (type == fs::file_type::directory) return filter_.is_deep ? Enter(path, name + "/") : absl::OkStatus();
    if (!is_wanted) return absl::OkStatus();
    if (type != fs::file_type::regular) {
      return absl::InvalidArgumentError("cannot store " + Quoted(root_ / name) +
                                        ": it is a socket, a pipe or a device; remove it");
    }
    found_.push_back({std::move(name), std::move(path)});
    return absl::OkStatus();
  }

  absl::Status TooMany(int64_t max, const std::string& things) const {
    return absl::ResourceExhaustedError("cannot store " + Quoted(root_) + ": it holds more than " +
                                        std::to_string(max) + ' ' + things + "; pack them");
  }

  // Returns where the link at `path` leads to, links on the way resolved.
  absl::StatusOr<fs::path> Follow(const fs::path& path) {
    std::error_code error;
    const fs::path target = fs::canonical(path, error);
    if (error) {
      return absl::InvalidArgumentError("cannot store the symbolic link " + Quoted(path) +
                                        ": its target cannot be reached; remove or mend it");
    }
    if (!(target.string() + "/").starts_with(root_.string() + "/")) {
      return absl::InvalidArgumentError("cannot store the symbolic link " + Quoted(path) +
                                        ": it leads to " + Quoted(target) + ", outside of " +
                                        Quoted(root_) + "; copy that file instead");
    }
    return target;
  }

  const fs::path root_;  // Canonical.
  const FileFilter& filter_;
  std::vector<fs::path> above_;  // The folders being walked, outermost first.
  int64_t visited_ = 0;
  int64_t links_ = 0;
  std::vector<FoundFile> found_;
};

// References come from other processes and from records: one that names nothing is an error of theirs.
absl::Status CheckNamed(const Digest& digest) {
  return digest.is_set() ? absl::OkStatus() : absl::InternalError("it has no digest: what names it is damaged");
}

absl::StatusOr<ArtifactRef> PutFolder(BlobStore& store, const fs::path& path, bool may_link,
                                      const std::stop_token& stop) {
  CD4ML_ASSIGN_OR_RETURN(std::vector<FoundFile> files, FindFiles(path.string()));
  std::vector<std::string> paths;
  std::vector<TreeEntry> entries(files.size());
  for (size_t i = 0; i < files.size(); ++i) {
    std::error_code error;
    const fs::perms mode = fs::status(files[i].path, error).permissions();
    if (error) return WalkError(files[i].path, error);
    entries[i].executable = (mode & fs::perms::owner_exec) != fs::perms::none;
    entries[i].path = std::move(files[i].name);
    paths.push_back(std::move(files[i].path));
  }
  CD4ML_ASSIGN_OR_RETURN(std::vector<Digest> digests, store.PutFiles(paths, may_link, stop));
  for (size_t i = 0; i < entries.size(); ++i) {
    entries[i].digest = std::move(digests[i]);
    CD4ML_ASSIGN_OR_RETURN(entries[i].size, store.Size(entries[i].digest));
  }
  auto tree = PutTree(store, std::move(entries));
  return tree.ok() ? std::move(tree) : Annotate(tree.status(), "cannot store " + Quoted(path));
}

absl::StatusOr<std::vector<TreeEntry>> ReadTree(BlobStore& store, const Digest& digest) {
  CD4ML_ASSIGN_OR_RETURN(const std::string text, ReadBlob(store, digest, kTreeTextMax));
  auto entries = ParseTree(text);
  if (!entries.ok()) return Annotate(entries.status(), "artifact sha256:" + digest.hex());
  return entries;
}

absl::Status PlaceFolder(BlobStore& store, const std::vector<TreeEntry>& entries,
                         const fs::path& path, bool may_link, const std::stop_token& stop) {
  std::error_code error;
  fs::path made = path;
  for (const TreeEntry& entry : entries) {
    const fs::path file = path / entry.path;
    // Sorted entries share their folder mostly with the one before.
    if (file.parent_path() != made) {
      made = file.parent_path();
      fs::create_directories(made, error);
      if (error) return absl::InternalError("cannot make " + Quoted(made) + ": " + error.message());
    }
    CD4ML_RETURN_IF_ERROR(
        store.Materialize(entry.digest, file.string(), entry.executable, may_link, stop));
  }
  return absl::OkStatus();
}

absl::Status Pump(BlobReader& reader, BlobWriter& writer, const Digest& digest,
                  const std::stop_token& stop) {
  while (true) {
    CD4ML_ASSIGN_OR_RETURN(const std::string piece, reader.Read(kPieceSize));
    if (piece.empty()) return writer.Commit(digest).status();
    if (stop.stop_requested()) return absl::CancelledError("cancelled while it was copied");
    CD4ML_RETURN_IF_ERROR(writer.Append(piece));
  }
}

absl::Status CopyBlob(BlobStore& from, BlobStore& to, const Digest& digest,
                      const std::stop_token& stop) {
  const auto there = to.Size(digest);
  if (there.ok() || there.status().code() != absl::StatusCode::kNotFound) return there.status();
  CD4ML_ASSIGN_OR_RETURN(const int64_t size, from.Size(digest));
  if (size >= kChunkedMin) {
    CD4ML_ASSIGN_OR_RETURN(const std::vector<Chunk> chunks, from.Chunks(digest, stop));
    if (chunks.size() <= kChunksMax) {
      CD4ML_ASSIGN_OR_RETURN(const auto assembly, to.Assemble(digest, chunks, stop));
      CD4ML_ASSIGN_OR_RETURN(const auto reader,
                             from.OpenChunks(digest, chunks, assembly->missing()));
      return Pump(*reader, *assembly, digest, stop);
    }
  }
  CD4ML_ASSIGN_OR_RETURN(const auto reader, from.Open(digest, 0));
  CD4ML_ASSIGN_OR_RETURN(const auto writer, to.Create());
  return Pump(*reader, *writer, digest, stop);
}

// Some chunks of a blob that is read from front to back.
class ChunksOfReader final : public BlobReader {
 public:
  ChunksOfReader(std::unique_ptr<BlobReader> blob, const std::vector<Chunk>& chunks,
                 const std::vector<size_t>& wanted)
      : blob_(std::move(blob)), chunks_(chunks), wanted_(wanted) {
    for (const size_t i : wanted_) size_ += chunks_[i].size;
  }

  absl::StatusOr<std::string> Read(size_t size_max) override {
    while (taken_ == chunk_.size()) {
      if (done_ == wanted_.size()) return std::string();
      while (next_ < wanted_[done_]) CD4ML_RETURN_IF_ERROR(Fill());
      CD4ML_RETURN_IF_ERROR(Fill());
      ++done_;
      taken_ = 0;
    }
    std::string piece = chunk_.substr(taken_, size_max);
    taken_ += piece.size();
    return piece;
  }
  int64_t size() const override { return size_; }

 private:
  // Reads the next chunk of the blob.
  absl::Status Fill() {
    const Chunk& chunk = chunks_[next_++];
    chunk_.clear();
    while (static_cast<int64_t>(chunk_.size()) < chunk.size) {
      CD4ML_ASSIGN_OR_RETURN(const std::string piece,
                             blob_->Read(static_cast<size_t>(chunk.size) - chunk_.size()));
      if (piece.empty()) break;
      chunk_ += piece;
    }
    taken_ = chunk_.size();
    return Sha256(chunk_) == chunk.digest ? absl::OkStatus()
                                          : absl::DataLossError("the blob is not cut like this");
  }

  const std::unique_ptr<BlobReader> blob_;
  const std::vector<Chunk> chunks_;
  const std::vector<size_t> wanted_;
  int64_t size_ = 0;
  size_t next_ = 0;   // Of chunks_.
  size_t done_ = 0;   // Of wanted_.
  std::string chunk_;
  size_t taken_ = 0;  // Of chunk_.
};

// An assembly that has nothing yet.
class WholeAssembly final : public BlobAssembly {
 public:
  WholeAssembly(std::unique_ptr<BlobWriter> writer, size_t chunks) : writer_(std::move(writer)) {
    for (size_t i = 0; i < chunks; ++i) missing_.push_back(i);
  }

  const std::vector<size_t>& missing() const override { return missing_; }
  absl::Status Append(std::string_view bytes) override { return writer_->Append(bytes); }
  absl::StatusOr<Digest> Commit(const Digest& expected) override {
    return writer_->Commit(expected);
  }

 private:
  const std::unique_ptr<BlobWriter> writer_;
  std::vector<size_t> missing_;
};

}  // namespace

absl::StatusOr<std::vector<Chunk>> BlobStore::Chunks(const Digest& digest,
                                                     const std::stop_token& stop) {
  CD4ML_ASSIGN_OR_RETURN(const auto reader, Open(digest, 0));
  std::vector<Chunk> chunks;
  Chunker chunker;
  const auto take = [&](std::string_view bytes) {
    chunks.push_back({Sha256(bytes), static_cast<int64_t>(bytes.size())});
  };
  while (true) {
    CD4ML_ASSIGN_OR_RETURN(const std::string piece, reader->Read(kPieceSize));
    if (piece.empty()) break;
    if (stop.stop_requested()) return absl::CancelledError("cancelled while it was cut");
    chunker.Append(piece, take);
  }
  chunker.Finish(take);
  return chunks;
}

absl::StatusOr<std::unique_ptr<BlobReader>> BlobStore::OpenChunks(
    const Digest& digest, const std::vector<Chunk>& chunks, const std::vector<size_t>& wanted) {
  CD4ML_ASSIGN_OR_RETURN(auto blob, Open(digest, 0));
  return std::make_unique<ChunksOfReader>(std::move(blob), chunks, wanted);
}

absl::StatusOr<std::unique_ptr<BlobAssembly>> BlobStore::Assemble(
    const Digest& /*digest*/, const std::vector<Chunk>& chunks, const std::stop_token& /*stop*/) {
  CD4ML_ASSIGN_OR_RETURN(auto writer, Create());
  return std::make_unique<WholeAssembly>(std::move(writer), chunks.size());
}

std::string FormatTree(std::vector<TreeEntry> entries) {
  std::sort(entries.begin(), entries.end(),
            [](const TreeEntry& a, const TreeEntry& b) { return a.path < b.path; });
  std::string text;
  for (const TreeEntry& entry : entries) {
    text += entry.digest.hex() + ' ' + std::to_string(entry.size) +
            (entry.executable ? " x " : " - ") + entry.path + '\n';
  }
  return text;
}

absl::StatusOr<std::vector<TreeEntry>> ParseTree(std::string_view text) {
  std::vector<TreeEntry> entries;
  int64_t size_left = std::numeric_limits<int64_t>::max();
  for (size_t line = 1; !text.empty(); ++line) {
    const size_t end = text.find('\n');
    if (end == text.npos) return BadTree(line, "it does not end with a line break");
    if (line > kTreeFilesMax) return BadTree(line, "there are too many files");
    CD4ML_ASSIGN_OR_RETURN(TreeEntry entry, ParseLine(text.substr(0, end), line));
    text.remove_prefix(end + 1);
    if (!entries.empty() && entries.back().path >= entry.path) {
      return BadTree(line, "the paths are not sorted, or one is there twice");
    }
    if (!FileAbove(entries, entry.path).empty()) return BadTree(line, "a file is also a folder");
    if (entry.size > size_left) return BadTree(line, "the sizes are too large");
    size_left -= entry.size;
    entries.push_back(std::move(entry));
  }
  return entries;
}

absl::StatusOr<std::string> ReadBlob(BlobStore& store, const Digest& digest, int64_t size_max) {
  CD4ML_RETURN_IF_ERROR(CheckNamed(digest));
  CD4ML_ASSIGN_OR_RETURN(const auto reader, store.Open(digest, 0));
  if (reader->size() > size_max) {
    return absl::ResourceExhaustedError("blob sha256:" + digest.hex() + " has " +
                                        FormatSize(reader->size()) + ", more than the " +
                                        FormatSize(size_max) + " that are read at once");
  }
  std::string bytes;
  while (true) {
    CD4ML_ASSIGN_OR_RETURN(const std::string piece, reader->Read(kPieceSize));
    if (piece.empty()) return bytes;
    bytes += piece;
  }
}

absl::StatusOr<Digest> PutBytes(BlobStore& store, std::string_view bytes) {
  CD4ML_ASSIGN_OR_RETURN(const auto writer, store.Create());
  for (; !bytes.empty(); bytes.remove_prefix(std::min(bytes.size(), kPieceSize))) {
    CD4ML_RETURN_IF_ERROR(writer->Append(bytes.substr(0, kPieceSize)));
  }
  return writer->Commit(Digest());
}

absl::StatusOr<std::vector<FoundFile>> FindFiles(const std::string& folder, const FileFilter& filter) {
  std::error_code error;
  const fs::path root = fs::canonical(folder, error);
  if (error) return WalkError(folder, error);
  Walk walk(root, filter);
  CD4ML_RETURN_IF_ERROR(walk.Enter(root, ""));
  return walk.TakeFound();
}

absl::StatusOr<ArtifactRef> PutTree(BlobStore& store, std::vector<TreeEntry> entries) {
  ArtifactRef artifact{.digest = {}, .is_tree = true, .size = 0, .files = static_cast<int64_t>(entries.size())};
  for (const TreeEntry& entry : entries) artifact.size += entry.size;
  const std::string text = FormatTree(std::move(entries));
  if (text.size() > kTreeTextMax) {
    return absl::ResourceExhaustedError("the list of its files is larger than " + FormatSize(kTreeTextMax) +
                                        "; pack them");
  }
  // Hashing it is much cheaper than storing it once more.
  artifact.digest = Sha256(text);
  if (!store.Size(artifact.digest).ok()) CD4ML_RETURN_IF_ERROR(PutBytes(store, text).status());
  return artifact;
}

absl::StatusOr<ArtifactRef> PutArtifact(BlobStore& store, const std::string& path, bool may_link,
                                        const std::stop_token& stop) {
  std::error_code error;
  const fs::file_status status = fs::symlink_status(path, error);
  if (error && status.type() != fs::file_type::not_found) return WalkError(path, error);
  switch (status.type()) {
    case fs::file_type::directory:
      return PutFolder(store, path, may_link, stop);
    case fs::file_type::regular: {
      ArtifactRef artifact;
      CD4ML_ASSIGN_OR_RETURN(artifact.digest, store.PutFile(path, may_link, stop));
      CD4ML_ASSIGN_OR_RETURN(artifact.size, store.Size(artifact.digest));
      return artifact;
    }
    case fs::file_type::not_found:
      return absl::NotFoundError("there is no file or folder " + Quoted(path));
    case fs::file_type::symlink:
      return absl::InvalidArgumentError("cannot store " + Quoted(path) +
                                        ": it is a symbolic link; give the path that it leads to");
    default:
      return absl::InvalidArgumentError("cannot store " + Quoted(path) +
                                        ": it is a socket, a pipe or a device");
  }
}

absl::Status PlaceArtifact(BlobStore& store, const ArtifactRef& artifact, const std::string& path,
                           bool may_link, const std::stop_token& stop) {
  CD4ML_RETURN_IF_ERROR(CheckNamed(artifact.digest));
  if (!artifact.is_tree) {
    return store.Materialize(artifact.digest, path, /*executable=*/false, may_link, stop);
  }
  CD4ML_ASSIGN_OR_RETURN(const auto entries, ReadTree(store, artifact.digest));
  std::error_code error;
  if (fs::exists(fs::symlink_status(path, error))) {
    return absl::AlreadyExistsError("cannot place an artifact at " + Quoted(path) +
                                    ": something is there; remove it first");
  }
  if (!fs::create_directory(path, error)) {
    return absl::InternalError("cannot make " + Quoted(path) + ": " + error.message());
  }
  const absl::Status placed = PlaceFolder(store, entries, path, may_link, stop);
  if (!placed.ok()) fs::remove_all(path, error);
  return placed;
}

absl::Status UseArtifact(BlobStore& store, const ArtifactRef& artifact) {
  CD4ML_RETURN_IF_ERROR(CheckNamed(artifact.digest));
  CD4ML_RETURN_IF_ERROR(store.Size(artifact.digest).status());
  if (!artifact.is_tree) return absl::OkStatus();
  CD4ML_ASSIGN_OR_RETURN(const auto entries, ReadTree(store, artifact.digest));
  for (const TreeEntry& entry : entries) {
    CD4ML_RETURN_IF_ERROR(Annotate(store.Size(entry.digest).status(), entry.path));
  }
  return absl::OkStatus();
}

absl::Status CopyArtifact(BlobStore& from, BlobStore& to, const ArtifactRef& artifact,
                          const std::stop_token& stop) {
  CD4ML_RETURN_IF_ERROR(CheckNamed(artifact.digest));
  if (artifact.is_tree) {
    CD4ML_ASSIGN_OR_RETURN(const auto entries, ReadTree(from, artifact.digest));
    for (const TreeEntry& entry : entries) {
      CD4ML_RETURN_IF_ERROR(Annotate(CopyBlob(from, to, entry.digest, stop), entry.path));
    }
  }
  return CopyBlob(from, to, artifact.digest, stop);
}

}  // namespace cd4ml
