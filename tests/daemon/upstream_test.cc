// One source of data has one name, however a definition spells it.
#include "daemon/upstream.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "tests/support/temp_dir.h"

namespace cd4ml::daemon {
namespace {

using Kind = core::MaterialSpec::Kind;

TEST(SourceKey, IsTheSameHoweverThePlaceIsSpelled) {
  const TempDir dir;
  dir.Write("data/sales/a.csv", "1");
  std::filesystem::create_directory_symlink(dir.At("data"), dir.At("link"));
  const auto key = [&](const std::string& location, const std::string& pattern = "") {
    return SourceKey({.name = "m", .location = location, .pattern = pattern}, dir.At("data"));
  };

  for (const std::string& same : {std::string("./sales"), std::string("sales/"), std::string("x/../sales"), dir.At("data/sales"),
                                  "file://" + dir.At("data/sales"), dir.At("link/sales")}) {
    EXPECT_EQ(key(same), key("sales")) << same;
  }
  EXPECT_EQ(key("sales", "**"), key("sales"));
  EXPECT_EQ(key("s3://lake/cars/"), key("s3://lake/cars"));
  const std::set<std::string> others = {key("sales"), key("sale"), key("sales", "*.csv"), key("s3://lake/cars"), key("s3://lake/car"),
                                        key("http://h/a"), key("http://h/a/"), key("http://h/a?b=1"), key("http://h/a?b=2")};
  EXPECT_EQ(others.size(), 9u);
}

TEST(SourceKey, OfARepositoryIsThatOfItsFolder) {
  const TempDir dir;
  std::filesystem::create_directory(dir.At("repo"));
  std::filesystem::create_directory_symlink(dir.At("repo"), dir.At("link"));
  const auto key = [&](const std::string& location, const std::string& path) {
    return SourceKey({.name = "m", .kind = Kind::kGitPath, .location = location, .path = path}, "/data");
  };

  for (const std::string& same : {dir.At("link"), dir.At("repo/"), "file://" + dir.At("repo")}) {
    EXPECT_EQ(RepoKey(same), RepoKey(dir.At("repo"))) << same;
    EXPECT_EQ(key(same, "./a"), key(dir.At("repo"), "a")) << same;
  }
  EXPECT_NE(RepoKey("https://h/a"), RepoKey("https://h/b"));
  EXPECT_NE(key(".", "a"), key(dir.At("repo"), "a"));
}

}  // namespace
}  // namespace cd4ml::daemon
