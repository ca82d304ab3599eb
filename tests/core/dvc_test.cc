// What DVC writes, read: also what it must not lead us to.
#include "cd4ml/core/dvc.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cd4ml/base/status.h"

namespace cd4ml::core {
namespace {

using ::testing::HasSubstr;

constexpr std::string_view kMd5 = "95346a507b64185aceeea60b28c1e639";

absl::StatusOr<std::vector<DvcOut>> Read(std::string_view json, const std::string& path) {
  return ReadDvcPointer(*ParseJson(json), path, nullptr);
}

TEST(Dvc, ReadsPointersOfBothGenerations) {
  const std::string md5(kMd5);
  const auto now = Read(R"({"outs": [{"path": "raw.csv", "hash": "md5", "md5": ")" + md5 + R"("}]})", "data/raw.csv.dvc");
  const auto old = Read(R"({"wdir": "..", "outs": [{"path": "img", "md5": ")" + md5 + R"(.dir"}]})", "data/img.dvc");

  ASSERT_TRUE(now.ok() && old.ok());
  EXPECT_EQ(now->front(), (DvcOut{.path = "data/raw.csv", .md5 = md5}));
  EXPECT_EQ(old->front(), (DvcOut{.path = "img", .md5 = md5, .is_dir = true, .is_old = true}));
  EXPECT_EQ(DvcObjectPath(now->front(), md5, false), "files/md5/95/346a507b64185aceeea60b28c1e639");
  EXPECT_EQ(DvcObjectPath(old->front(), md5, true), "95/346a507b64185aceeea60b28c1e639.dir");
}

TEST(Dvc, RefusesPointersThatLeadOut) {
  const std::string md5(kMd5);
  for (const char* path : {"../../x", "/etc/passwd", "s3://bucket/x", ""}) {
    const auto read = Read(R"({"outs": [{"path": ")" + std::string(path) + R"(", "md5": ")" + md5 + R"("}]})", "data/x.dvc");
    EXPECT_THAT(Message(read.status()), HasSubstr("does not lie in the repository")) << path;
  }
  EXPECT_FALSE(Read(R"({"outs": [{"path": "x", "md5": "../../../etc/passwd"}]})", "x.dvc").ok());
  EXPECT_FALSE(Read(R"({"outs": [{"path": "x", "etag": "abc"}]})", "x.dvc").ok());
}

TEST(Dvc, ChoosesByPathAndSaysWhichThereAre) {
  const std::vector<DvcOut> outs = {{.path = "a.csv"}, {.path = "labels.txt"}};

  EXPECT_EQ(ChooseDvcOut(outs, "labels.txt", "dvc.lock")->path, "labels.txt");
  EXPECT_THAT(Message(ChooseDvcOut(outs, "label.txt", "dvc.lock").status()), HasSubstr("did you mean \"labels.txt\""));
  EXPECT_THAT(Message(ChooseDvcOut(outs, "", "dvc.lock").status()), HasSubstr("several outputs"));
  EXPECT_EQ(ChooseDvcOut({outs[0]}, "", "a.dvc")->path, "a.csv");
}

TEST(Dvc, RefusesALockOfDvc1) {
  EXPECT_THAT(Message(Read(R"({"train": {"outs": []}})", "dvc.lock").status()), HasSubstr("schema 2.0"));
}

TEST(Dvc, ReadsPathsOfALockInTheFoldersOfItsStages) {
  const std::string md5(kMd5), out = R"({"outs": [{"path": "o", "md5": ")" + md5 + R"("}]})";
  const Value lock = *ParseJson(R"({"schema": "2.0", "stages": {"a": )" + out + R"(, "each@1": )" + out + R"(, "gone": )" + out +
                                R"(, "top": )" + out + "}}");
  const Value pipeline = *ParseJson(R"({"stages": {"a": {"wdir": "a"}, "each": {"foreach": [1], "do": {"wdir": "../b"}}, "top": {}}})");

  const auto outs = ReadDvcPointer(lock, "sub/dvc.lock", &pipeline);

  ASSERT_TRUE(outs.ok()) << outs.status();
  std::vector<std::string> paths;
  for (const DvcOut& one : *outs) paths.push_back(one.path);
  EXPECT_EQ(paths, (std::vector<std::string>{"sub/a/o", "b/o", "sub/o"}));
  EXPECT_EQ(DvcPipelineOf("sub/dvc.lock"), "sub/dvc.yaml");
  EXPECT_EQ(DvcPipelineOf("dvc.lock"), "dvc.yaml");
  EXPECT_EQ(DvcPipelineOf("x.dvc"), "");
  EXPECT_THAT(Message(ReadDvcPointer(lock, "dvc.lock", &pipeline).status()), HasSubstr("stage \"each@1\" leads out"));
}

TEST(Dvc, TakesNoneOfTwoOutputsOfOnePath) {
  const std::vector<DvcOut> outs = {{.path = "o", .md5 = "1"}, {.path = "p"}, {.path = "o", .md5 = "2"}};

  EXPECT_THAT(Message(ChooseDvcOut(outs, "o", "dvc.lock").status()), HasSubstr("two of its stages make \"o\""));
  EXPECT_EQ(ChooseDvcOut(outs, "p", "dvc.lock")->path, "p");
  EXPECT_THAT(Message(ChooseDvcOut({{.path = "${dir}/o"}}, "a/o", "dvc.lock").status()), HasSubstr("`wdir` with ${}"));
}

TEST(Dvc, ReadsRemotesAndTheCacheFromItsConfig) {
  const DvcConfig config = ParseDvcConfig(
      "[core]\n    remote = storage\n# none\n['remote \"storage\"']\n    url = s3://bucket/dvc\n"
      "    endpointurl = https://minio.example\n    region = eu-1\n[cache]\n    dir = /srv/cache\n[remote \"other\"]\nurl=../x\n");

  EXPECT_EQ(config.default_remote, "storage");
  EXPECT_EQ(config.cache, "/srv/cache");
  EXPECT_EQ(config.remotes.at("storage").url, "s3://bucket/dvc");
  EXPECT_EQ(config.remotes.at("storage").endpoint, "https://minio.example");
  EXPECT_EQ(config.remotes.at("storage").region, "eu-1");
  EXPECT_EQ(config.remotes.at("other").url, "../x");
}

TEST(Dvc, ReadsTheListOfAFolder) {
  const auto files = ParseDvcDir("[{\"md5\": \"" + std::string(kMd5) + "\", \"relpath\": \"b/c.bin\"}]");

  ASSERT_TRUE(files.ok());
  EXPECT_EQ(files->front().path, "b/c.bin");
  EXPECT_FALSE(ParseDvcDir("{}").ok());
  EXPECT_FALSE(ParseDvcDir("[{\"relpath\": \"x\"}]").ok());
}

}  // namespace
}  // namespace cd4ml::core
