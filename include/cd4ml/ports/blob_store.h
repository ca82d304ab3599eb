// Bytes by digest: where every artifact lives before any row names it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "cd4ml/base/chunker.h"
#include "cd4ml/base/digest.h"
#include "cd4ml/core/version.h"

namespace cd4ml {

// Reads one blob from front to back, verifying as it goes.
class BlobReader {
 public:
  virtual ~BlobReader() = default;
  // Returns the next at most `size_max` bytes, "" at the end. DATA_LOSS when the stored bytes do not
  // hash to the digest: found before or with the last piece, never after it.
  virtual absl::StatusOr<std::string> Read(size_t size_max) = 0;
  virtual int64_t size() const = 0;
};

// Takes one blob piece by piece. Destroying it without Commit leaves nothing behind.
class BlobWriter {
 public:
  virtual ~BlobWriter() = default;
  virtual absl::Status Append(std::string_view bytes) = 0;
  // Makes the bytes durable and visible under their digest. DATA_LOSS when `expected` is set and
  // differs. Storing what is already there succeeds.
  virtual absl::StatusOr<Digest> Commit(const Digest& expected) = 0;
};

// Puts one blob together of chunks: those that the store had, and those that Append brings, one after
// the other, cut anywhere. When it is destroyed without Commit the store may keep what came, so that
// the next one for the same blob misses less.
class BlobAssembly : public BlobWriter {
 public:
  // The chunks that Append must bring, as ascending indices.
  virtual const std::vector<size_t>& missing() const = 0;
};

// A content-addressed store. Thread-safe, and shared by processes. Outlives its readers and writers.
//
// A folder is stored as a *tree*: a blob whose text has one line per file, sorted by path:
// `<sha256> <size> <x|-> <path>\n`. Its digest is the version of the folder.
class BlobStore {
 public:
  virtual ~BlobStore() = default;

  virtual absl::StatusOr<std::unique_ptr<BlobWriter>> Create() = 0;
  // NOT_FOUND when there is no such blob, OUT_OF_RANGE past its end. Reading starts at `offset` bytes; the
  // bytes before are hashed on the way, so that the whole blob is verified whatever the offset.
  virtual absl::StatusOr<std::unique_ptr<BlobReader>> Open(const Digest& digest, int64_t offset) = 0;
  // Returns the blob's size, or NOT_FOUND. Does not read the bytes.
  virtual absl::StatusOr<int64_t> Size(const Digest& digest) = 0;
  // Forgets a blob. Removing what is not there succeeds.
  virtual absl::Status Remove(const Digest& digest) = 0;

  // All below move as many bytes as there are: CANCELLED, soon after `stop`, leaving nothing behind.

  // Stores the regular file at `path` without passing its bytes through memory: reflink or hard link where
  // the file system allows and `may_link`, otherwise a copy. A linked file becomes read-only.
  virtual absl::StatusOr<Digest> PutFile(const std::string& path, bool may_link,
                                         const std::stop_token& stop = {}) = 0;
  // Like PutFile for each path, in order. A store may make many small files durable together, which is
  // several times faster than one by one.
  virtual absl::StatusOr<std::vector<Digest>> PutFiles(const std::vector<std::string>& paths,
                                                       bool may_link,
                                                       const std::stop_token& stop = {}) {
    std::vector<Digest> digests;
    for (const std::string& path : paths) {
      auto digest = PutFile(path, may_link, stop);
      if (!digest.ok()) return digest.status();
      digests.push_back(*std::move(digest));
    }
    return digests;
  }

  // Makes the blob appear as a new file at `path` (parents exist): reflink, else hard link when
  // `may_link`, else a verified copy. ALREADY_EXISTS when something is there. The file is read-only,
  // and executable when `executable` says so.
  virtual absl::Status Materialize(const Digest& digest, const std::string& path, bool executable,
                                   bool may_link, const std::stop_token& stop = {}) = 0;

  // --- moving only what is missing ---
  //
  // What a store does not do itself is done by what stands above: right, but of every chunk.

  // Returns how the blob is cut, front to back. It may have to be read.
  virtual absl::StatusOr<std::vector<Chunk>> Chunks(const Digest& digest,
                                                    const std::stop_token& stop = {});
  // Reads the chunks `wanted` (ascending indices into `chunks`, which are the blob's) one after the other.
  // No byte of a chunk is handed out before the chunk was verified.
  virtual absl::StatusOr<std::unique_ptr<BlobReader>> OpenChunks(const Digest& digest,
                                                                 const std::vector<Chunk>& chunks,
                                                                 const std::vector<size_t>& wanted);
  // Begins, or goes on with, the blob that is cut like this. The blob is verified as a whole before it is
  // visible. UNAVAILABLE while another assembly of the same blob is under way.
  virtual absl::StatusOr<std::unique_ptr<BlobAssembly>> Assemble(const Digest& digest,
                                                                 const std::vector<Chunk>& chunks,
                                                                 const std::stop_token& stop = {});
};

// Blobs of this size and more are moved by chunks. Below, asking what is missing costs more than it saves.
inline constexpr int64_t kChunkedMin = 1 << 20;
// A blob of more chunks is moved whole, so that no list of them is too large to hold.
inline constexpr size_t kChunksMax = 1'000'000;

// One line of a tree.
struct TreeEntry {
  std::string path;       // Relative, UTF-8, '/' between parts, no "." or "..", no control characters.
  Digest digest;
  int64_t size = 0;
  bool executable = false;

  bool operator==(const TreeEntry&) const = default;
};

// The most that one tree may hold.
inline constexpr int64_t kTreeFilesMax = 2'000'000;
inline constexpr int64_t kTreeTextMax = 512 << 20;

// A file below a folder.
struct FoundFile {
  std::string name;       // As it may stand in a tree.
  std::string path;       // Where its bytes are, links resolved.

  bool operator==(const FoundFile&) const = default;
};
struct FileFilter {
  bool is_deep = true;    // Also what lies in folders below.
  std::function<bool(std::string_view name)> wants = {};   // Null: everything.
};
// Returns the files below the folder, sorted by name. Symbolic links stand for what they lead to, which must be below it
// too. Refuses what cannot be in a tree: names, loops, sockets, pipes and devices. Opens no file.
absl::StatusOr<std::vector<FoundFile>> FindFiles(const std::string& folder, const FileFilter& filter = {});

// Sorts the entries and writes them down. REQUIRES: what ParseTree accepts.
std::string FormatTree(std::vector<TreeEntry> entries);
// Accepts exactly what FormatTree writes; refuses paths that would leave the folder, and a file that
// is also a folder.
absl::StatusOr<std::vector<TreeEntry>> ParseTree(std::string_view text);

// Reads a whole blob into memory; RESOURCE_EXHAUSTED when larger than `size_max`.
absl::StatusOr<std::string> ReadBlob(BlobStore& store, const Digest& digest, int64_t size_max);
absl::StatusOr<Digest> PutBytes(BlobStore& store, std::string_view bytes);

// Stores the tree of files that are in the store already. REQUIRES: what ParseTree accepts.
absl::StatusOr<ArtifactRef> PutTree(BlobStore& store, std::vector<TreeEntry> entries);

// Stores the file or folder at `path`. Symbolic links below it are stored as the content they lead to,
// which must be below it too; `path` itself is no link. Empty folders are not kept, and neither is
// the executable bit of a single file. Refuses sockets, pipes and devices.
absl::StatusOr<ArtifactRef> PutArtifact(BlobStore& store, const std::string& path, bool may_link,
                                        const std::stop_token& stop = {});
// Makes the artifact appear at `path`, which must not exist but its parent must. Leaves nothing there
// when it fails.
absl::Status PlaceArtifact(BlobStore& store, const ArtifactRef& artifact, const std::string& path,
                           bool may_link, const std::stop_token& stop = {});
// Returns OK when all of the artifact is there, and makes sure that it stays for a while: see
// ports/blob_upkeep.h.
absl::Status UseArtifact(BlobStore& store, const ArtifactRef& artifact);
// Copies what `to` lacks of an artifact from `from`, verifying: files first, the tree last, so that a
// tree which is there is complete. Of large files only the chunks that `to` lacks are moved; what was
// moved before a cut is not moved again.
absl::Status CopyArtifact(BlobStore& from, BlobStore& to, const ArtifactRef& artifact,
                          const std::stop_token& stop = {});

}  // namespace cd4ml
