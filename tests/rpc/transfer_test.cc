// Chunks over the wire: how many bytes travel, and what a connection that is cut anywhere leaves.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <random>
#include <thread>

#include "cd4ml/blob/open_blob_store.h"
#include "cd4ml/rpc/connect.h"
#include "cd4ml/rpc/serve.h"
#include "cd4ml/v1/blob_service.grpc.pb.h"
#include "rpc/chunk.h"
#include "tests/rpc/fakes.h"
#include "tests/support/blob_contract.h"
#include "tests/support/edits.h"
#include "tests/support/temp_dir.h"

namespace cd4ml::rpc {
namespace {

// Forwards connections to a port, counts the bytes of both directions, and cuts everything after some.
class Proxy {
 public:
  Proxy(int port, int64_t bytes_max) : port_(port), left_(bytes_max) {
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = Loopback(0);
    socklen_t size = sizeof address;
    CD4ML_CHECK(bind(listener_, reinterpret_cast<sockaddr*>(&address), size) == 0, "bind");
    CD4ML_CHECK(listen(listener_, 8) == 0, "listen");
    getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    address_ = "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
    thread_ = std::jthread([this](const std::stop_token& stop) { Run(stop); });
  }
  ~Proxy() {
    thread_.request_stop();
    thread_.join();
    close(listener_);
  }
  const std::string& address() const { return address_; }
  int64_t bytes() const { return bytes_; }

 private:
  static sockaddr_in Loopback(int port) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
  }

  void Run(const std::stop_token& stop) {
    std::vector<pollfd> fds = {{listener_, POLLIN, 0}};
    while (!stop.stop_requested() && left_ > 0) {
      if (poll(fds.data(), fds.size(), 20) <= 0) continue;
      if ((fds[0].revents & POLLIN) != 0) {
        const int client = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
        const int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        const sockaddr_in address = Loopback(port_);
        (void)connect(server, reinterpret_cast<const sockaddr*>(&address), sizeof address);
        fds.push_back({client, POLLIN, 0});
        fds.push_back({server, POLLIN, 0});
      }
      for (size_t i = 1; i < fds.size(); ++i) {
        if (fds[i].revents != 0) Forward(fds[i], fds[i % 2 == 1 ? i + 1 : i - 1]);
      }
    }
    for (size_t i = 1; i < fds.size(); ++i) close(fds[i].fd);
    shutdown(listener_, SHUT_RDWR);
  }

  void Forward(pollfd& from, const pollfd& to) {
    char bytes[64 << 10];
    const ssize_t count =
        read(from.fd, bytes, static_cast<size_t>(std::min<int64_t>(sizeof bytes, left_)));
    if (count <= 0) {
      shutdown(to.fd, SHUT_WR);
      from.events = 0;
      return;
    }
    bytes_ += count;
    left_ -= count;
    for (ssize_t put = 0; put < count;) {
      const ssize_t more = send(to.fd, bytes + put, static_cast<size_t>(count - put), MSG_NOSIGNAL);
      if (more < 0) return;
      put += more;
    }
  }

  const int port_;
  int64_t left_;
  std::atomic<int64_t> bytes_ = 0;
  int listener_ = -1;
  std::string address_;
  std::jthread thread_;
};

class Chunks : public testing::Test {
 protected:
  // Copies up or down through a proxy that cuts after `bytes_max`; returns how many bytes travelled.
  int64_t Copy(const ArtifactRef& artifact, bool up, int64_t bytes_max, absl::Status* status) {
    Proxy proxy(server_->port(), bytes_max);
    {
      const auto remote = ConnectBlobs(proxy.address());
      *status = up ? CopyArtifact(*local_, *remote, artifact) : CopyArtifact(*remote, *local_, artifact);
    }
    return proxy.bytes();
  }
  ArtifactRef Put(BlobStore& store, const std::string& bytes) {
    return {PutBytes(store, bytes).value(), false, static_cast<int64_t>(bytes.size()), 1};
  }

  TempDir daemon_dir_, local_dir_;
  std::unique_ptr<KeptBlobStore> daemon_ = OpenBlobStore(daemon_dir_.path()).value();
  std::unique_ptr<KeptBlobStore> local_ = OpenBlobStore(local_dir_.path()).value();
  FakeControl control_;
  FakeQuery query_;
  FakeAgents agents_;
  std::unique_ptr<Server> server_ =
      Serve({.address = "127.0.0.1:0"}, control_, query_, agents_, *daemon_).value();
};

// In proportion what a hundred edits of a gibibyte are.
TEST_F(Chunks, AFewEditsSendAFiftiethBothWays) {
  std::mt19937 random(1);
  std::string bytes = RandomText(64 << 20, random);
  for (const bool up : {true, false}) {
    BlobStore& from = up ? *local_ : *daemon_;
    BlobStore& to = up ? *daemon_ : *local_;
    absl::Status status;
    const int64_t first = Copy(Put(from, bytes), up, INT64_MAX, &status);
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_TRUE(!up || first > 64 << 20) << first;
    for (int i = 0; i < 6; ++i) bytes.insert(random() % bytes.size(), "sixteen bytes...");
    const ArtifactRef edited = Put(from, bytes);

    const int64_t sent = Copy(edited, up, INT64_MAX, &status);

    ASSERT_TRUE(status.ok()) << status;
    EXPECT_LE(sent, (64 << 20) / 50);
    EXPECT_TRUE(ReadAll(to, edited.digest, 0, 1 << 20).value() == bytes);
  }
}

TEST_F(Chunks, GoOnAfterAConnectionThatWasCutAtAnyByte) {
  std::mt19937 random(2);
  for (int round = 0; round < 10; ++round) {
    const bool up = round % 2 == 0;
    const std::string bytes = RandomText(4 << 20, random);
    const ArtifactRef artifact = Put(up ? *local_ : *daemon_, bytes);
    BlobStore& to = up ? *daemon_ : *local_;
    absl::Status status;
    const int64_t cut = 20'000 + static_cast<int64_t>(random() % (4 << 20));
    const int64_t before = Copy(artifact, up, cut, &status);
    ASSERT_FALSE(status.ok()) << "cut after " << cut;
    EXPECT_EQ(to.Size(artifact.digest).status().code(), absl::StatusCode::kNotFound);

    // The daemon may not have noticed the cut yet.
    int64_t after = 0;
    do {
      after = Copy(artifact, up, INT64_MAX, &status);
    } while (absl::IsUnavailable(status));

    ASSERT_TRUE(status.ok()) << status;
    EXPECT_TRUE(ReadAll(to, artifact.digest, 0, 1 << 20).value() == bytes);
    // What was under way in buffers is lost, and the list goes again.
    EXPECT_LE(before + after, (4 << 20) + (3 << 20)) << "round " << round;
  }
}

TEST_F(Chunks, CarriesItsErrors) {
  const auto remote = ConnectBlobs(server_->address());
  const Digest absent = Sha256("absent");

  EXPECT_EQ(remote->Chunks(absent).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(remote->OpenChunks(absent, {{absent, 1}}, {0}).value()->Read(1).status().code(),
            absl::StatusCode::kNotFound);
  const std::string bytes = Noise(2 << 20);
  const ArtifactRef artifact = Put(*local_, bytes);
  const auto chunks = local_->Chunks(artifact.digest).value();
  {
    const auto assembly = remote->Assemble(artifact.digest, chunks).value();
    EXPECT_EQ(remote->Assemble(artifact.digest, chunks).status().code(),
              absl::StatusCode::kUnavailable);
    EXPECT_EQ(assembly->missing().size(), chunks.size());
    ASSERT_TRUE(assembly->Append(Noise(2 << 20, 9)).ok());
    EXPECT_EQ(assembly->Commit(artifact.digest).status().code(), absl::StatusCode::kDataLoss);
  }
  EXPECT_EQ(daemon_->Size(artifact.digest).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(Chunks, MoreRangesThanAMessageHoldsAreAskedForOneAfterTheOther) {
  // Every second chunk of a blob of many: no two of them are neighbours.
  std::vector<size_t> indices;
  for (size_t i = 0; i < 2 * kListedMax + 5; ++i) indices.push_back(2 * i);
  size_t at = 0;
  std::vector<size_t> read;
  int messages = 0;
  for (; at < indices.size(); ++messages) {
    v1::ReadChunksRequest request;
    at = AddRanges(indices, at, request.mutable_ranges());
    ASSERT_TRUE(TakeRanges(request.ranges(), 5 * kListedMax, read).ok());
  }
  EXPECT_EQ(messages, 3);
  EXPECT_EQ(read, indices);
}

TEST_F(Chunks, RefusesRangesThatAreNone) {
  const auto take = [](int64_t first, int64_t count, std::vector<size_t> before) {
    v1::ReadChunksRequest request;
    auto* range = request.add_ranges();
    range->set_first(first);
    range->set_count(count);
    return TakeRanges(request.ranges(), 10, before).ok();
  };
  EXPECT_TRUE(take(0, 10, {}));
  EXPECT_TRUE(take(5, 5, {4}));
  EXPECT_FALSE(take(0, 11, {}));
  EXPECT_FALSE(take(-1, 2, {}));
  EXPECT_FALSE(take(5, 0, {}));
  EXPECT_FALSE(take(5, -1, {}));
  EXPECT_FALSE(take(5, 1, {5}));
  EXPECT_FALSE(take(INT64_MAX, INT64_MAX, {}));
  EXPECT_FALSE(take(5, INT64_MAX, {}));
}

}  // namespace
}  // namespace cd4ml::rpc
