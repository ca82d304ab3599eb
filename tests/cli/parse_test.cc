// Command lines: what is understood, and what is said about the rest.
#include "cli/parse.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/help_text.h"
#include "cli/text.h"

namespace cd4ml::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Le;

// Splits at spaces; text in double quotes stays together.
std::vector<std::string> Words(const std::string& line) {
  std::vector<std::string> words;
  std::string word;
  bool is_quoted = false;
  for (char c : line + " ") {
    if (c == '"') {
      is_quoted = !is_quoted;
    } else if (c == ' ' && !is_quoted) {
      if (!word.empty()) words.push_back(std::exchange(word, ""));
    } else {
      word += c;
    }
  }
  return words;
}

std::string ErrorOf(const std::string& line) { return ParseLine(Words(line)).error; }

TEST(ParseLine, UnderstandsEveryExampleOfEveryCommand) {
  for (const Command& command : AllCommands()) {
    EXPECT_FALSE(command.examples.empty()) << command.path;
    for (const std::string& example : command.examples) {
      const ParsedLine line = ParseLine(Words(example));
      EXPECT_EQ(line.error, "") << example;
      ASSERT_NE(line.command, nullptr) << example;
      EXPECT_EQ(line.command->path, command.path);
    }
  }
}

TEST(ParseLine, CollectsOperandsAndFlags) {
  const ParsedLine line =
      ParseLine(Words("run start cars --lane exp -p a=1 --param b=2 --watch -o json"));

  EXPECT_EQ(line.error, "");
  EXPECT_EQ(line.arguments.One("PIPELINE"), "cars");
  EXPECT_EQ(line.arguments.One("lane"), "exp");
  EXPECT_THAT(line.arguments.Many("param"), ElementsAre("a=1", "b=2"));
  EXPECT_TRUE(line.arguments.Has("watch"));
  EXPECT_FALSE(line.arguments.Has("wait"));
  EXPECT_EQ(line.arguments.One("output"), "json");
}

TEST(ParseLine, TakesGlobalFlagsBeforeTheCommandToo) {
  const ParsedLine line = ParseLine(Words("-o json --server 127.0.0.1:1 run list"));

  EXPECT_EQ(line.error, "");
  EXPECT_EQ(line.command->path, "run list");
  EXPECT_EQ(line.arguments.One("server"), "127.0.0.1:1");
}

TEST(ParseLine, KnowsTheShortWaysToFrequentCommands) {
  for (const auto& [alias, path] : std::map<std::string, std::string>{{"watch", "run watch"},
                                                                      {"logs", "run logs"},
                                                                      {"cancel", "run cancel"},
                                                                      {"status", "run show"}}) {
    const ParsedLine line = ParseLine({alias, "cars/1"});
    ASSERT_NE(line.command, nullptr) << alias;
    EXPECT_EQ(line.command->path, path);
    EXPECT_EQ(line.arguments.Many("RUN"), std::vector<std::string>{"cars/1"});
  }
}

TEST(ParseLine, TakesNamesThatAreCommandsAsOperands) {
  EXPECT_EQ(ParseLine(Words("pipeline show list")).arguments.One("PIPELINE"), "list");
  EXPECT_THAT(ParseLine(Words("run logs cars/1 train watch")).arguments.Many("STAGE"),
              ElementsAre("train", "watch"));
}

TEST(ParseLine, SuggestsNearCommandsAndFlags) {
  EXPECT_EQ(ErrorOf("pipelin list"), "unknown command \"pipelin\"; did you mean \"pipeline\"?");
  EXPECT_EQ(ErrorOf("run strt cars"), "unknown command \"strt\"; did you mean \"start\"?");
  EXPECT_THAT(ErrorOf("run explode"), HasSubstr("after \"run\"; there are cancel, diff, list, logs"));
  EXPECT_EQ(ErrorOf("frobnicate"), "unknown command \"frobnicate\"");
  EXPECT_EQ(ErrorOf("run start cars --wtch"), "unknown flag \"--wtch\"; did you mean \"--watch\"?");
  EXPECT_EQ(ErrorOf("run list --outptu=json"),
            "unknown flag \"--outptu\"; did you mean \"--output\"?");
}

TEST(ParseLine, RefusesWhatIsNotAvailable) {
  for (const char* line :
       {"approve cars/1", "rollback prod", "run approve a", "dev", "agent show a",
        "run list --columns id", "lint --fix"}) {
    EXPECT_THAT(ErrorOf(line), HasSubstr("unknown")) << line;
  }
}

TEST(ParseLine, SaysWhatIsMissing) {
  EXPECT_THAT(ErrorOf("run start"), HasSubstr("\"cd4ml run start\" needs PIPELINE"));
  EXPECT_EQ(ErrorOf("run start cars --lane"), "flag \"--lane\" needs a value");
  EXPECT_EQ(ErrorOf("run start cars --lane a --lane b"), "flag \"--lane\" is given more than once");
  EXPECT_EQ(ErrorOf("run start cars --watch=3"), "flag \"--watch\" takes no value");
  EXPECT_EQ(ErrorOf("run show a b"), "unexpected \"b\" after \"cd4ml run show\"");
  EXPECT_EQ(ErrorOf("run list -o xml"),
            "--output is one of table, wide, json, jsonl, name, not \"xml\"");
  EXPECT_THAT(ErrorOf("run list -o jsn"), HasSubstr("did you mean \"json\"?"));
}

TEST(ParseLine, MakesHostileWordsHarmless) {
  EXPECT_EQ(ErrorOf("\x1b[2Jboo"), "unknown command \"boo\"");
  EXPECT_EQ(ErrorOf("--\x1b]0;x\x07yz").find('\x1b'), std::string::npos);
}

TEST(ParseLine, SurvivesOddLines) {
  for (const std::vector<std::string>& words :
       std::vector<std::vector<std::string>>{{""},
                                             {"-"},
                                             {"--"},
                                             {"---"},
                                             {"-o"},
                                             {"run", ""},
                                             {"="},
                                             {"--=x"},
                                             {"-p"},
                                             {"run", "start", "--", "-x"},
                                             {"lint", "[a]"},
                                             {"run", "start", "", "-p", ""},
                                             {std::string(100'000, 'x')}}) {
    const ParsedLine line = ParseLine(words);
    EXPECT_TRUE(line.command != nullptr || !line.error.empty() || line.group.empty());
  }
}

TEST(ParseLine, SeesHelpAnywhere) {
  const ParsedLine line = ParseLine(Words("run start --help"));

  EXPECT_TRUE(line.help);
  EXPECT_THAT(line.error, IsEmpty());
  EXPECT_EQ(line.command->path, "run start");
}

TEST(Help, FitsEightyColumnsAndEndsWithALineBreak) {
  for (const std::string& subject : HelpSubjects()) {
    const std::string page = HelpFor(subject);
    ASSERT_FALSE(page.empty()) << subject;
    EXPECT_EQ(page.back(), '\n') << subject;
    for (const std::string& line : SplitLines(page))
      EXPECT_THAT(DisplayWidth(line), Le(80u)) << line;
  }
  for (const std::string& line : SplitLines(HelpFor("")))
    EXPECT_THAT(DisplayWidth(line), Le(80u)) << line;
}

TEST(Help, LeadsWithExamples) {
  for (const Command& command : AllCommands()) {
    const std::string page = HelpFor(command.path);
    EXPECT_LT(page.find("Examples"), page.find("Usage")) << command.path;
  }
}

TEST(Help, NamesEveryCommandInTheOverview) {
  for (const Command& command : AllCommands()) {
    EXPECT_THAT(HelpFor(""), HasSubstr("\n  " + command.path + " ")) << command.path;
  }
}

}  // namespace
}  // namespace cd4ml::cli
