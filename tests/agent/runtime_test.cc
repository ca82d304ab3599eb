// What stages and services run in: built once, shared, checked, and what is said when that does not work.
#include <algorithm>
#include <filesystem>

#include "cd4ml/base/status.h"
#include "tests/agent/fixture.h"

namespace cd4ml::agent {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

namespace fs = std::filesystem;

constexpr char kDigest[] = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

// A pipeline whose stages "train" and "test" run `script` in `runtime`, whose file tool.lock holds `lock`.
std::string Pipeline(const Value& runtime, const std::string& script, const std::string& lock = "tool==1\n") {
  const Value stage = Value::Map{{"run", script}};
  return ToJson(Value::Map{{"format", 1},
                           {"pipeline", "shop"},
                           {"defaults", Value::Map{{"runtime", runtime}}},
                           {"stages", Value::Map{{"train", stage}, {"test", stage}}},
                           {"files", Value::Map{{"tool.lock", lock}}}});
}

Value MadeBy(const std::string& script) {
  return Value::Map{{"setup", script}, {"key", Value::List{"tool.lock"}}};
}

Value Python(const std::string& version) { return Value::Map{{"python", version}, {"requirements", "tool.lock"}}; }

// Leaves a program `tool` that says its version, and counts how often that was done.
std::string MakeTool(const std::string& count) {
  return "mkdir \"$CD4ML_RUNTIME/bin\"\n"
         "printf '#!/bin/sh\\necho \"%s of %s\"\\n' \"$(cat tool.lock)\" \"$CD4ML_RUNTIME\" > \"$CD4ML_RUNTIME/bin/tool\"\n"
         "chmod +x \"$CD4ML_RUNTIME/bin/tool\"\n"
         "cp tool.lock \"$CD4ML_RUNTIME/packages.txt\"\n"
         "echo built >> " + count + "\n";
}

class RuntimeTest : public ::testing::Test {
 protected:
  core::Outcome Run(const std::string& definition, int number = 1) {
    return world_.Perform(world_.TaskOf(definition, "train", number));
  }
  int64_t Built() {
    const std::string count = FileBytes(count_);
    return std::count(count.begin(), count.end(), '\n');
  }
  std::string Log(int number = 1) { return world_.daemon.Log({"shop/1", "train", number}); }
  std::string Fact(const core::Outcome& outcome, const std::string& path) {
    const Value* fact = outcome.environment.FindPath(path);
    return fact == nullptr ? "" : ToText(*fact);
  }
  // Puts a program into the PATH of stages.
  void Program(const std::string& name, const std::string& script) {
    world_.dir.Write("bin/" + name, "#!/bin/bash\n" + script);
    fs::permissions(world_.dir.At("bin/" + name), fs::perms::owner_all);
    world_.config.env["PATH"] = world_.dir.At("bin") + ":/usr/bin:/bin";
  }

  World world_;
  const std::string count_ = world_.dir.At("count");
};

TEST_F(RuntimeTest, IsMadeOnceAndComesFirstInPath) {
  const std::string definition = Pipeline(MadeBy(MakeTool(count_)), "tool; echo \"in $CD4ML_RUNTIME\"");
  core::Outcome outcome = Run(definition);
  EXPECT_EQ(outcome.state, core::AttemptState::kSucceeded) << outcome.message;
  EXPECT_THAT(Log(), AllOf(HasSubstr("making the runtime setup with tool.lock"), HasSubstr("tool==1 of /"),
                           HasSubstr("in " + world_.dir.At("agent/runtimes/"))));
  EXPECT_EQ(Fact(outcome, "runtime.made_from"), "setup with tool.lock");
  EXPECT_EQ(Fact(outcome, "runtime.packages"), R"(["tool==1"])");
  EXPECT_EQ(Fact(outcome, "runtime.digest").size(), 64u);
  outcome = Run(definition, 2);
  EXPECT_EQ(outcome.state, core::AttemptState::kSucceeded) << outcome.message;
  EXPECT_THAT(Log(2), AllOf(HasSubstr("tool==1 of /"), Not(HasSubstr("making"))));
  world_.Stop();
  world_.Start();
  EXPECT_THAT(Run(definition, 3).message, "");
  EXPECT_EQ(Built(), 1);
  // Another text of the file is another runtime.
  EXPECT_THAT(Run(Pipeline(MadeBy(MakeTool(count_)), "tool", "tool==2\n"), 4).message, "");
  EXPECT_THAT(Log(4), HasSubstr("tool==2 of /"));
  EXPECT_EQ(Built(), 2);
}

TEST_F(RuntimeTest, StagesAtTheSameTimeShareOne) {
  world_.config.slots = 8;
  world_.Start();
  const std::string definition = Pipeline(MadeBy(MakeTool(count_)), "tool");
  for (int i = 1; i <= 8; ++i) world_.daemon.Want(world_.TaskOf(definition, "train", i));
  for (int i = 1; i <= 8; ++i) EXPECT_EQ(world_.daemon.Outcome({"shop/1", "train", i}).message, "");
  EXPECT_EQ(Built(), 1);
}

TEST_F(RuntimeTest, OfTheHostIsRecordedAsSuch) {
  world_.config.build = "1 sha256:ab";
  const core::Outcome outcome = Run(Pipeline("host", "echo \"${CD4ML_RUNTIME-none}\""));
  EXPECT_EQ(Fact(outcome, "runtime"), "host");
  EXPECT_EQ(Fact(outcome, "cd4ml"), "1 sha256:ab");
  EXPECT_EQ(Log(), "none\n");
}

TEST_F(RuntimeTest, ASetupSeesItsKeyFilesAndNoOthers) {
  world_.repos.files = {{"secret.txt", "x"}};
  Run(Pipeline(MadeBy("find . -type f"), "true"));
  EXPECT_THAT(Log(), AllOf(HasSubstr("./tool.lock\n"), Not(HasSubstr("secret"))));
}

TEST_F(RuntimeTest, ASetupThatFailsSaysHowAndLeavesNothing) {
  const std::string definition = Pipeline(MadeBy("echo half > \"$CD4ML_RUNTIME/half\"; echo no such mirror; exit 3"), "true");
  const core::Outcome outcome = Run(definition);
  EXPECT_EQ(outcome.reason, core::Reason::kExitCode);
  EXPECT_EQ(outcome.message, "the runtime of stage \"train\" (setup with tool.lock) could not be made: exit code 3; its last "
                             "line: no such mirror");
  EXPECT_TRUE(fs::is_empty(world_.dir.At("agent/runtimes")));
  EXPECT_EQ(Run(definition, 2).reason, core::Reason::kExitCode);
}

TEST_F(RuntimeTest, ASetupThatHangsIsStopped) {
  Task task = world_.TaskOf(Pipeline(MadeBy("echo waiting; sleep 600"), "true"), "train");
  task.timeout = Duration(700);
  const core::Outcome outcome = world_.Perform(task);
  EXPECT_EQ(outcome.reason, core::Reason::kTimeout);
  EXPECT_EQ(outcome.message,
            "the runtime of stage \"train\" (setup with tool.lock) was not made within 700ms; its last line: waiting");
}

TEST_F(RuntimeTest, ACancelledStageLeavesTheMakingToTheNext) {
  const std::string wait = "if [ ! -e " + world_.dir.At("go") + " ]; then touch " + world_.dir.At("began") + "; sleep 600; fi\n";
  const std::string definition = Pipeline(MadeBy(wait + MakeTool(count_)), "tool");
  world_.Start();
  world_.daemon.Want(world_.TaskOf(definition, "train", 1));
  ASSERT_TRUE(world_.WaitForFile(world_.dir.At("began")));
  world_.daemon.Want(world_.TaskOf(definition, "train", 2));
  world_.dir.Write("go", "");
  world_.daemon.Unwant({"shop/1", "train", 1});
  EXPECT_EQ(world_.daemon.Outcome({"shop/1", "train", 2}).message, "");
  EXPECT_EQ(Built(), 1);
}

TEST_F(RuntimeTest, OneThatAnAgentDidNotFinishIsMadeAnewByTheNext) {
  const std::string wait = "if [ ! -e " + world_.dir.At("go") + " ]; then touch " + world_.dir.At("began") + "; sleep 600; fi\n";
  world_.Start();
  world_.daemon.Want(world_.TaskOf(Pipeline(MadeBy(wait + MakeTool(count_)), "tool"), "train"));
  ASSERT_TRUE(world_.WaitForFile(world_.dir.At("began")));
  world_.Stop();
  world_.dir.Write("go", "");
  world_.Start();
  EXPECT_EQ(world_.daemon.Outcome({"shop/1", "train", 1}).message, "");
  EXPECT_EQ(Built(), 1);
}

TEST_F(RuntimeTest, OneThatAStageHasChangedIsMadeAnew) {
  const Value setup = MadeBy(MakeTool(count_));
  EXPECT_EQ(Run(Pipeline(setup, "tool; echo evil > \"$CD4ML_RUNTIME/bin/tool\""), 1).message, "");
  EXPECT_EQ(Run(Pipeline(setup, "tool"), 2).message, "");
  EXPECT_THAT(Log(2), AllOf(HasSubstr("is not any more what was built; it is made anew"), HasSubstr("tool==1 of /")));
  EXPECT_EQ(Built(), 2);
  // What the interpreter leaves beside its modules is no change.
  EXPECT_EQ(Run(Pipeline(setup, "mkdir \"$CD4ML_RUNTIME/__pycache__\"; touch \"$CD4ML_RUNTIME/__pycache__/a.pyc\""), 3).message, "");
  EXPECT_EQ(Run(Pipeline(setup, "tool"), 4).message, "");
  EXPECT_EQ(Built(), 2);
}

TEST_F(RuntimeTest, APythonIsAVirtualEnvironmentWithWhatItsLockSays) {
  const core::Outcome outcome = Run(Pipeline(Python("3.11"), "python -c 'import sys; print(sys.prefix)'; command -v pip", ""));
  EXPECT_EQ(outcome.state, core::AttemptState::kSucceeded) << outcome.message << Log();
  EXPECT_THAT(Log(), HasSubstr(world_.dir.At("agent/runtimes/")));
  EXPECT_THAT(Fact(outcome, "runtime.python"), HasSubstr("3.11."));
  EXPECT_THAT(Fact(outcome, "runtime.packages"), HasSubstr("pip=="));
}

TEST_F(RuntimeTest, ALockThatDoesNotInstallSaysWhatIsMissing) {
  const core::Outcome outcome =
      Run(Pipeline(Python("3.11"), "true", "--no-index\nno-such-package==1.0\n"));
  EXPECT_EQ(outcome.reason, core::Reason::kExitCode);
  EXPECT_THAT(outcome.message, AllOf(HasSubstr("the runtime of stage \"train\" (python 3.11 with tool.lock) could not be made"),
                                     HasSubstr("its last line: ERROR: "), HasSubstr("no-such-package==1.0")));
}

TEST_F(RuntimeTest, APythonThatIsNotThereIsOurSide) {
  const core::Outcome outcome = Run(Pipeline(Python("3.99"), "true"));
  EXPECT_EQ(outcome.reason, core::Reason::kInfra);
  EXPECT_THAT(outcome.message, AllOf(HasSubstr("cannot be made here"), HasSubstr("this agent has no Python 3.99 in its PATH, only 3.")));
}

TEST_F(RuntimeTest, AnImageWithoutAnEngineIsOurSide) {
  Program("docker", "exit 1");
  const Value image = Value::Map{{"image", std::string("tools@") + kDigest}};
  const core::Outcome outcome = Run(Pipeline(image, "true"));
  EXPECT_EQ(outcome.reason, core::Reason::kInfra);
  EXPECT_THAT(outcome.message, HasSubstr("cannot be reached, which an image needs"));
}

TEST_F(RuntimeTest, AnImageIsFetchedOnceAndRunsInAContainer) {
  // An engine that writes down what it is told and runs the command here.
  Program("docker", "echo \"$@\" >> " + world_.dir.At("calls") + R"(
[[ $1 == image ]] && exit 1
[[ $1 == run ]] || exit 0
while [[ $1 != --entrypoint ]]; do shift; done
entry=$2; shift 3
exec "$entry" "$@"
)");
  const Value image = Value::Map{{"image", std::string("tools@") + kDigest}};
  const std::string definition = Pipeline(image, "echo \"$CD4ML_STAGE in $PWD\"");
  core::Outcome outcome = Run(definition);
  EXPECT_EQ(outcome.state, core::AttemptState::kSucceeded) << outcome.message;
  EXPECT_THAT(Log(), HasSubstr("train in " + world_.dir.At("agent/attempts/shop.1.train.1/room/work")));
  EXPECT_EQ(Fact(outcome, "runtime.engine"), "docker");
  EXPECT_EQ(Run(definition, 2).message, "");
  const std::string calls = FileBytes(world_.dir.At("calls"));
  const std::string pull = "pull tools@" + std::string(kDigest);
  EXPECT_NE(calls.find(pull), std::string::npos) << calls;
  EXPECT_EQ(calls.find(pull), calls.rfind(pull)) << "fetched twice";
  EXPECT_THAT(calls, AllOf(HasSubstr("run --rm --init --name cd4ml-shop.1.train.1 --network host --user "),
                           HasSubstr("--env CD4ML_STAGE"), Not(HasSubstr("--env PATH"))));
}

TEST_F(RuntimeTest, AContainerOfACellHasANameThatEnginesTake) {
  // What docker and podman refuse by this pattern.
  Program("docker", R"(
[[ $1 == run ]] || exit 0
[[ $* =~ --name\ ([^\ ]+) && ${BASH_REMATCH[1]} =~ ^[a-zA-Z0-9][a-zA-Z0-9_.-]+$ ]] || { echo "invalid name"; exit 125; }
echo "${BASH_REMATCH[0]}" >> )" + world_.dir.At("names") + "\n");
  const std::string definition = "format: 1\npipeline: shop\nparams: {schema: {depth: {type: int, default: 1}}}\n"
                                 "defaults: {runtime: {image: tools@" + std::string(kDigest) + "}}\n"
                                 "stages: {train: {run: \"true\", matrix: {depth: [1, 2]}}}\n";
  EXPECT_EQ(world_.Perform(world_.TaskOf(definition, "train@1")).message, "");
  EXPECT_EQ(world_.Perform(world_.TaskOf(definition, "train@2")).message, "");
  const std::string names = FileBytes(world_.dir.At("names"));
  EXPECT_EQ(std::count(names.begin(), names.end(), '\n'), 2);
  EXPECT_NE(names.substr(0, names.find('\n')), names.substr(names.find('\n') + 1, names.find('\n')));
}

TEST_F(RuntimeTest, AContainerIsRemovedWhenItsClientWasKilled) {
  Program("docker", "echo \"$@\" >> " + world_.dir.At("calls") + "\n[[ $1 == run ]] && exec sleep 600\nexit 0\n");
  const Value image = Value::Map{{"image", std::string("tools@") + kDigest}};
  Task task = world_.TaskOf(Pipeline(image, "true"), "train");
  task.timeout = Duration(1'500);
  EXPECT_EQ(world_.Perform(task).reason, core::Reason::kTimeout);
  const std::string calls = FileBytes(world_.dir.At("calls"));
  EXPECT_THAT(calls.substr(calls.find("run --rm")), HasSubstr("\nrm --force cd4ml-shop.1.train.1\n"));
}

}  // namespace
}  // namespace cd4ml::agent
