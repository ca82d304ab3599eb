// Reads that a stage does not declare: noticed, said and recorded; and nothing else is.
#include "agent/reads.h"

#include "cd4ml/os/os.h"
#include "tests/agent/fixture.h"

namespace cd4ml::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class ReadsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    world_.repos.files = {{"src/train.py", "1"}, {"src/util/more.py", "2"}, {"data/secret.csv", "3"},
                          {"README.md", "4"}, {"params.yaml", "rate: 1\n"}, {"old/model", "5"}};
    world_.watch_reads = os::WatchReads;
  }
  // Performs a stage that reads `script` and returns what its result says to have been read undeclared.
  std::string Reads(const std::string& script, const std::string& more = "    code: [src]\n") {
    const std::string definition = "format: 1\npipeline: shop\nparams: {file: params.yaml}\nstages:\n  train:\n    run: " +
                                   ToJson(Value(script + "; mkdir -p old; echo m > old/model")) +
                                   "\n    outputs: {model: {path: old/model}}\n" + more;
    outcome_ = world_.Perform(world_.TaskOf(definition, "train", ++number_));
    EXPECT_EQ(outcome_.state, core::AttemptState::kSucceeded) << outcome_.message;
    const Value* reads = outcome_.environment.Find("undeclared_reads");
    return reads == nullptr ? "" : ToJson(*reads);
  }
  std::string Log() { return world_.daemon.Log({"shop/1", "train", number_}); }

  World world_;
  core::Outcome outcome_;
  int number_ = 0;
};

TEST_F(ReadsTest, ThatAreNotDeclaredAreSaidAndRecorded) {
  EXPECT_EQ(Reads("cat data/secret.csv; (cd data; cat ../README.md)"), R"(["README.md","data/secret.csv"])");
  EXPECT_THAT(Log(), HasSubstr("read what it does not declare: README.md, data/secret.csv; its result will not be reused"));
}

TEST_F(ReadsTest, OfCodeParametersAndOutputsAreDeclared) {
  EXPECT_EQ(Reads("cat src/train.py src/util/more.py params.yaml; ls . src; stat README.md; echo new > own; cat own"), "");
  EXPECT_THAT(Log(), Not(HasSubstr("declare")));
  EXPECT_EQ(Reads("cat src/train.py src/util/more.py", "    code: [\"src/*.py\"]\n"), "") << "* goes through folders";
  EXPECT_EQ(Reads("cat README.md src/train.py", "    code: [README.md]\n"), R"(["src/train.py"])");
}

TEST_F(ReadsTest, OfWhatTheCommitHasWhereAnOutputIsToBeAreNotDeclared) {
  EXPECT_EQ(Reads("mkdir -p old; echo n > old/model; cat old/model"), "") << "it has become the stage's own";
  EXPECT_EQ(Reads("rm old/model; echo n > old/model; cat old/model"), "");
  EXPECT_EQ(Reads("cat old/model > /dev/null"), R"(["old/model"])");
  world_.repos.files["old/lib/x"] = "6";
  const std::string folder = "format: 1\npipeline: shop\nstages:\n  train:\n    run: echo m > old/model\n    code: [src]\n"
                             "    outputs: {model: {path: old}}\n";
  const core::Outcome outcome = world_.Perform(world_.TaskOf(folder, "train", ++number_));
  const Value* reads = outcome.environment.Find("undeclared_reads");
  ASSERT_NE(reads, nullptr) << "old/lib/x is a part of the output";
  EXPECT_EQ(ToJson(*reads), R"(["old/lib/x"])");
}

TEST_F(ReadsTest, AreAlsoThoseByAnotherNameOrOfTheNamesAlone) {
  EXPECT_EQ(Reads("mv data/secret.csv mine; cat mine"), R"(["data/secret.csv"])");
  EXPECT_EQ(Reads("mv data mine"), R"(["data/"])");
  EXPECT_EQ(Reads("ln data/secret.csv mine; cat mine"), R"(["data/secret.csv"])");
  EXPECT_EQ(Reads("ls data > names"), R"(["data/"])");
  world_.repos.files["data/more.csv"] = "7";
  EXPECT_EQ(Reads("ls data > names", "    code: [src, data/more.csv]\n"), "") << "who looks for declared files looks there too";
}

TEST_F(ReadsTest, DoNotMatterWhereEveryFileCountsOrNothingIsReused) {
  EXPECT_EQ(Reads("cat README.md", ""), "");
  EXPECT_EQ(Reads("cat README.md", "    code: [src]\n    cache: never\n"), "");
}

TEST_F(ReadsTest, ThatAreManyAreNamedInPart) {
  for (int i = 0; i < 30; ++i) world_.repos.files["data/" + std::to_string(100 + i)] = "x";
  const std::string reads = Reads("cat data/*");
  EXPECT_THAT(reads, HasSubstr("data/119\",\"11 more\"]"));
}

TEST_F(ReadsTest, ThatTheSystemDoesNotShowStopNobody) {
  world_.watch_reads = [](const std::string&, const std::set<std::string>&) { return absl::ResourceExhaustedError("no more watches"); };
  EXPECT_EQ(Reads("cat README.md"), "");
}

TEST(UndeclaredFiles, AreThoseOfNoPatternAndNoDeclaredPlace) {
  TempDir dir;
  for (const char* file : {"a/b/c", "a/d", "e", "in/x/y", "abc"}) dir.Write(file, "");
  EXPECT_THAT(UndeclaredFiles(dir.path(), {}, {}), ElementsAre("a/b/c", "a/d", "abc", "e", "in/x/y"));
  EXPECT_THAT(UndeclaredFiles(dir.path(), {"a", "?"}, {"in/x"}), ElementsAre("abc"));
  EXPECT_THAT(UndeclaredFiles(dir.path(), {"*"}, {}), IsEmpty());
}

}  // namespace
}  // namespace cd4ml::agent
