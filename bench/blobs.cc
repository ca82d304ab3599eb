// Artifacts in and out of a store, as agents do it.
//
//   bench_blobs add-big FOLDER BYTES          one random file, cached, durably into a fresh store; the same linked
//   bench_blobs add-small FOLDER COUNT        a folder of files of 4 KiB
//   bench_blobs xfer FOLDER BYTES SERVER      one file to the daemon, back, and both ways after 100 insertions
//
// Beside each what the machine does at best with the same bytes. Prints one line of JSON.
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>

#include "cd4ml/blob/open_blob_store.h"
#include "cd4ml/rpc/connect.h"
#include "driver.h"

namespace cd4ml::bench {
namespace {

namespace fs = std::filesystem;

template <typename T>
T Must(absl::StatusOr<T> value) {
  if (value.ok()) return *std::move(value);
  std::fprintf(stderr, "bench_blobs: %s\n", value.status().ToString().c_str());
  std::exit(1);
}

std::string RandomBytes(size_t size, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string bytes(size, '\0');
  for (size_t i = 0; i + 8 <= size; i += 8) {
    const uint64_t number = random();
    std::memcpy(bytes.data() + i, &number, 8);
  }
  return bytes;
}

void WriteFile(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

// Returns the seconds that `step` takes.
template <typename Step>
double Seconds(const Step& step) {
  const double before = NowMs();
  step();
  return (NowMs() - before) / 1e3;
}

// Writes `bytes` to a new file, durably.
void WriteDurably(const std::string& path, const std::string& bytes) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  for (size_t at = 0; at < bytes.size();) {
    const ssize_t put = write(fd, bytes.data() + at, std::min<size_t>(bytes.size() - at, 256 << 10));
    if (put < 0) std::exit(1);
    at += static_cast<size_t>(put);
  }
  if (fdatasync(fd) != 0) std::exit(1);
  close(fd);
}

void AddBig(const std::string& folder, size_t size) {
  const std::string bytes = RandomBytes(size, 1);
  WriteFile(folder + "/big", bytes);
  sync();
  const auto store = Must(OpenBlobStore(folder + "/store"));
  const double copied =
      Seconds([&] { Must(store->PutFile(folder + "/big", /*may_link=*/false)); });
  fs::remove_all(folder + "/store");
  const auto linking = Must(OpenBlobStore(folder + "/store"));
  Digest digest;
  const double linked =
      Seconds([&] { digest = Must(linking->PutFile(folder + "/big", /*may_link=*/true)); });
  const double placed = Seconds([&] {
    if (!linking->Materialize(digest, folder + "/out", false, true).ok()) std::exit(1);
  });
  fs::remove(folder + "/big");
  fs::remove(folder + "/out");
  const double folded = Seconds([&] { Must(linking->Fold(digest, {})); });
  const double unfolded = Seconds([&] {
    if (!linking->Materialize(digest, folder + "/out", false, true).ok()) std::exit(1);
  });
  const double hashed = Seconds([&] { Sha256(bytes); });
  const double written = Seconds([&] { WriteDurably(folder + "/limit", bytes); });
  std::printf(
      "{\"copied_s\": %f, \"linked_s\": %f, \"placed_s\": %f, \"folded_s\": %f, \"unfolded_s\": %f, "
      "\"hashed_s\": %f, \"written_s\": %f}\n",
      copied, linked, placed, folded, unfolded, hashed, written);
}

void AddSmall(const std::string& folder, size_t count) {
  fs::create_directories(folder + "/files");
  std::string bytes = RandomBytes(4096, 2);
  for (size_t i = 0; i < count; ++i) {
    std::memcpy(bytes.data(), &i, sizeof i);
    const std::string below = folder + "/files/" + std::to_string(i / 1000);
    if (i % 1000 == 0) fs::create_directory(below);
    WriteFile(below + '/' + std::to_string(i), bytes);
  }
  sync();
  const auto store = Must(OpenBlobStore(folder + "/store"));
  const double copied =
      Seconds([&] { Must(PutArtifact(*store, folder + "/files", /*may_link=*/false)); });
  const double again =
      Seconds([&] { Must(PutArtifact(*store, folder + "/files", /*may_link=*/false)); });
  // The least that keeps all of it: read, hash, append to one file.
  const double packed = Seconds([&] {
    std::string all;
    for (size_t i = 0; i < count; ++i) {
      std::ifstream file(folder + "/files/" + std::to_string(i / 1000) + '/' + std::to_string(i),
                         std::ios::binary);
      file.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
      Sha256(bytes);
      all += bytes;
    }
    WriteDurably(folder + "/pack", all);
  });
  std::printf("{\"copied_s\": %f, \"again_s\": %f, \"packed_s\": %f}\n", copied, again, packed);
}

// Moves a blob; returns the bytes that were missing.
int64_t Move(BlobStore& from, BlobStore& to, const Digest& digest) {
  const auto chunks = Must(from.Chunks(digest));
  const auto assembly = Must(to.Assemble(digest, chunks));
  const auto reader = Must(from.OpenChunks(digest, chunks, assembly->missing()));
  while (true) {
    const std::string piece = Must(reader->Read(256 << 10));
    if (piece.empty()) break;
    if (!assembly->Append(piece).ok()) std::exit(1);
  }
  Must(assembly->Commit(digest));
  return reader->size();
}

void Transfer(const std::string& folder, size_t size, const std::string& server) {
  std::string bytes = RandomBytes(size, 3);
  const auto put = [&](BlobStore& store) { return Must(PutBytes(store, bytes)); };
  const auto near = Must(OpenBlobStore(folder + "/near"));
  const auto far = Must(OpenBlobStore(folder + "/far"));
  const auto daemon = rpc::ConnectBlobs(server);
  const Digest first = put(*near);
  const double cut = Seconds([&] { Must(near->Chunks(first)); });
  int64_t sent = 0;
  const double hashed = Seconds([&] { Sha256(bytes); });
  const double up = Seconds([&] { sent = Move(*near, *daemon, first); });
  const double down = Seconds([&] { Move(*daemon, *far, first); });
  std::mt19937 random(4);
  for (int i = 0; i < 100; ++i) bytes.insert(random() % bytes.size(), "sixteen bytes...");
  const Digest second = put(*near);
  int64_t up_again = 0, down_again = 0;
  const double edited_up = Seconds([&] { up_again = Move(*near, *daemon, second); });
  const double edited_down = Seconds([&] { down_again = Move(*daemon, *far, second); });
  std::printf(
      "{\"hashed_s\": %f, \"cut_s\": %f, \"up_s\": %f, \"down_s\": %f, \"sent\": %ld, \"edited_up_s\": %f, \"edited_down_s\": "
      "%f, \"edited_up\": %ld, \"edited_down\": %ld}\n",
      hashed, cut, up, down, static_cast<long>(sent), edited_up, edited_down, static_cast<long>(up_again),
      static_cast<long>(down_again));
}

int Main(int count, char** arguments) {
  const std::string what = count > 3 ? arguments[1] : "";
  const size_t size = count > 3 ? std::strtoull(arguments[3], nullptr, 10) : 0;
  if (what == "add-big") {
    AddBig(arguments[2], size);
  } else if (what == "add-small") {
    AddSmall(arguments[2], size);
  } else if (what == "xfer" && count > 4) {
    Transfer(arguments[2], size, arguments[4]);
  } else {
    std::fputs("usage: bench_blobs add-big|add-small|xfer FOLDER SIZE [SERVER]\n", stderr);
    return 2;
  }
  return 0;
}

}  // namespace
}  // namespace cd4ml::bench

int main(int count, char** arguments) { return cd4ml::bench::Main(count, arguments); }
