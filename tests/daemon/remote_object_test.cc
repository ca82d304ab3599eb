// What comes from elsewhere is all of it or nothing, also from a port that is wrong.
#include "daemon/remote_object.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cd4ml/base/status.h"
#include "tests/support/memory_blob_store.h"

namespace cd4ml::daemon {
namespace {

using ::testing::HasSubstr;

// Says that everything is unchanged.
class Unchanging final : public RemoteData {
 public:
  absl::StatusOr<std::vector<RemoteObject>> List(const RemotePlace&, int64_t, const std::stop_token&) override {
    return absl::UnimplementedError("");
  }
  absl::StatusOr<RemoteAnswer> Read(const RemotePlace&, const std::string& stamp, int64_t, const RemoteSink&,
                                    const std::stop_token&) override {
    return RemoteAnswer{.unchanged = true, .stamp = stamp, .size = 0};
  }
};

TEST(StoreObject, DoesNotTakeForUnchangedWhatWasNeverSeen) {
  Unchanging remote;
  MemoryBlobStore blobs;
  const auto store = [&](const std::string& known) { return StoreObject(remote, {.url = "http://h/x"}, known, 10, blobs, nullptr, {}); };

  EXPECT_TRUE(store("etag \"1\"")->unchanged);
  EXPECT_THAT(Message(store("").status()), HasSubstr("http://h/x: the server says that it is unchanged"));
}

}  // namespace
}  // namespace cd4ml::daemon
