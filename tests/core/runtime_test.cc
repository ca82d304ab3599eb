// What runtimes are known by, and which lock files say exactly what is to be installed.
#include "cd4ml/core/runtime.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cd4ml/base/status.h"

namespace cd4ml::core {
namespace {

using Kind = RuntimeSpec::Kind;
using testing::HasSubstr;

RuntimeSpec Python(const std::string& version = "3.11", const std::string& lock = "req.lock") {
  RuntimeSpec runtime;
  runtime.kind = Kind::kPython;
  runtime.python = version;
  runtime.requirements = lock;
  return runtime;
}

RuntimeSpec Prepared(std::vector<std::string> key, const std::string& script = "make") {
  RuntimeSpec runtime;
  runtime.kind = Kind::kSetup;
  runtime.setup.script = script;
  runtime.key = std::move(key);
  return runtime;
}

TEST(Runtime, IsKnownByWhatItSaysAndByTheTextsOfItsFiles) {
  const Digest digest = RuntimeDigest(Python(), {{"req.lock", "a==1"}});
  EXPECT_EQ(RuntimeDigest(Python(), {{"req.lock", "a==1"}, {"other", "x"}}), digest);
  EXPECT_NE(RuntimeDigest(Python(), {{"req.lock", "a==2"}}), digest);
  EXPECT_NE(RuntimeDigest(Python("3.12"), {{"req.lock", "a==1"}}), digest);
  EXPECT_NE(RuntimeDigest(Prepared({"a"}, "x"), {{"a", "1"}}), RuntimeDigest(Prepared({"a"}, "y"), {{"a", "1"}}));
  RuntimeSpec image;
  image.kind = Kind::kImage;
  image.image = "x@sha256:1";
  const Digest one = RuntimeDigest(image, {});
  image.image = "x@sha256:2";
  EXPECT_NE(RuntimeDigest(image, {}), one);
}

TEST(Runtime, TakesTheFilesThatItsKeysMatch) {
  const std::map<std::string, std::string> files = {{"env/a.lock", "1"}, {"env/b.txt", "2"}, {"env/c.lock", "3"}};
  const std::map<std::string, std::string> locks = {{"env/a.lock", "1"}, {"env/c.lock", "3"}};
  EXPECT_EQ(FilesOf(Prepared({"env/*.lock"}), files), locks);
  EXPECT_EQ(FilesOf(Python("3.11", "env/*.lock"), files).size(), 0u);
  EXPECT_EQ(FilesOf(RuntimeSpec(), files).size(), 0u);
}

TEST(Runtime, OfAServiceIsTheOneThatItsPackageWasMadeIn) {
  PipelineSpec pipeline;
  StageSpec pack;
  pack.name = "pack";
  pack.runtime = Python();
  StageSpec release;
  release.name = "release";
  release.package = "pack.service";
  release.runtime = Prepared({"a"});
  pipeline.stages = {pack, release};
  EXPECT_EQ(RuntimeOf(pipeline, release).kind, Kind::kSetup);  // By hooks.
  release.service.emplace();
  EXPECT_EQ(RuntimeOf(pipeline, release).kind, Kind::kPython);
  EXPECT_EQ(RuntimeOf(pipeline, pack).kind, Kind::kPython);
}

TEST(Lock, IsFineWhenEveryLineNamesOneVersion) {
  for (const char* text : {"", "# nothing\n\n", "numpy==1.26.4\n", "numpy==1.26.4 ; python_version >= \"3.8\"\n",
                           "numpy==1.26.4 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\npandas[excel]==2.0 # why\r\n",
                           "a @ https://example.org/a.whl#sha256=1\n", "b @ file:///srv/b-1-py3-none-any.whl\n",
                           "/srv/b-1-py3-none-any.whl\n", "--index-url https://example.org/simple\nnumpy===1.0\n",
                           "--find-links /srv/wheels\n--no-index\nx==1.0+local\n"}) {
    EXPECT_TRUE(CheckLock(text).ok()) << text << CheckLock(text);
  }
}

TEST(Lock, SaysWhichLineLeavesSomethingOpen) {
  const auto problem = [](const char* text) { return Message(CheckLock(text)); };
  EXPECT_EQ(problem("a==1\n\nnumpy>=1.26\n"), "line 3: \"numpy>=1.26\" does not name one version; write numpy==VERSION");
  EXPECT_THAT(problem("numpy"), HasSubstr("line 1: \"numpy\" does not name one version"));
  EXPECT_THAT(problem("numpy==1.*"), HasSubstr("does not name one version"));
  EXPECT_THAT(problem("numpy==1.0,<2"), HasSubstr("does not name one version"));
  EXPECT_THAT(problem("a==1 \\\n --hash=sha256:a\nb~=2"), HasSubstr("line 3: "));
  EXPECT_THAT(problem("a @ git+https://example.org/a.git@main"), HasSubstr("does not name one commit"));
  EXPECT_EQ(problem(("a @ git+https://example.org/a.git@" + std::string(40, 'b') + "#egg=a").c_str()), "");
  EXPECT_THAT(problem("-r base.txt"), HasSubstr("leads to other files"));
  EXPECT_THAT(problem("-rbase.txt"), HasSubstr("leads to other files"));
  EXPECT_THAT(problem("--constraint=c.txt"), HasSubstr("leads to other files"));
  EXPECT_THAT(problem("-e ."), HasSubstr("leads to other files"));
  EXPECT_THAT(problem("./wheels/x-1-py3-none-any.whl"), HasSubstr("is a file of the repository"));
  EXPECT_THAT(problem("x @ wheels/x.whl"), HasSubstr("is a file of the repository"));
  EXPECT_THAT(problem("--find-links wheels"), HasSubstr("is a folder of the repository"));
}

}  // namespace
}  // namespace cd4ml::core
