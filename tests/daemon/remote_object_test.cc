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

TEST(CheckNames, SaysWhichCannotBe) {
  const auto check = [](const std::vector<std::string>& names) {
    std::vector<TreeEntry> entries;
    for (const std::string& name : names) entries.push_back({.path = name, .digest = Sha256(""), .size = 0});
    return Message(CheckNames(entries));
  };
  EXPECT_EQ(check({"a", "b/c", "b/d", "b c"}), "");
  for (const char* bad : {"a//b", "../x", "/a", "a/.", "part/", "", "\x1b[1m", "\xff"}) {
    EXPECT_THAT(check({"good", bad, "other"}), ::testing::EndsWith(" is no relative, clean and printable path of a file")) << bad;
    EXPECT_THAT(check({"good", bad}), ::testing::Not(HasSubstr("good")));
  }
  EXPECT_THAT(check({"a\nb"}), HasSubstr("\"a\\nb\""));
  // With what follows the break, it would be a line of its own.
  EXPECT_THAT(check({"a\n" + Sha256("x").hex() + " 0 - b"}), HasSubstr("\"a\\n"));
  EXPECT_EQ(check({"a", "b", "a"}), "\"a\" is there twice");
  EXPECT_EQ(check({"a", "a.b", "a/b/c"}), "\"a\" is a file and also the folder of \"a/b/c\"");
}

}  // namespace
}  // namespace cd4ml::daemon
