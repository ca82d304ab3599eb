// Inputs that crash, hang or fool a reader of YAML. Each must end at once, with a located finding.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <fstream>
#include <functional>

#include "cd4ml/yaml/yaml.h"
#include "tests/yaml/golden.h"

namespace cd4ml::yaml {
namespace {

using testing::HasSubstr;

// What sanitizers add counts as little.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr double kSlowdown = 5;
#else
constexpr double kSlowdown = 1;
#endif

// Processor time bounds what a hostile file can cost; other programs' load does not count.
double SecondsOf(const std::function<void()>& call) {
  const std::clock_t begin = std::clock();
  call();
  return static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC / kSlowdown;
}

core::Diagnostics FindingsOf(const std::string& text) {
  core::Diagnostics findings = MakePipelineParser()->Parse(text, "x.cd4ml.yaml", nullptr).diagnostics;
  std::erase_if(findings, [](const core::Diagnostic& one) { return one.severity == core::Severity::kWarning; });
  return findings;
}

void ExpectRefused(const std::string& text, std::string_view code, int line = 0, int column = 0) {
  const std::string shown = text.substr(0, 60);
  core::Diagnostics findings;
  const double seconds = SecondsOf([&] { findings = FindingsOf(text); });
  EXPECT_LT(seconds, 0.9) << shown;
  const auto found = std::find_if(findings.begin(), findings.end(),
                                  [&](const core::Diagnostic& one) { return one.code == code; });
  ASSERT_NE(found, findings.end())
      << shown << ": " << (findings.empty() ? "nothing found" : core::Format(findings.front()));
  if (line > 0) {
    EXPECT_EQ(found->place.line, line) << core::Format(*found);
  }
  if (column > 0) {
    EXPECT_EQ(found->place.column, column) << core::Format(*found);
  }
}

// Reads `text` in a process of its own that may take `seconds` of processor time and 64 MiB beyond what it has, and returns
// how that ended: "" when the reading came back with its findings.
std::string EndOfReadingWithin(int seconds, const std::string& text) {
  const pid_t child = fork();
  if (child == 0) {
    const auto limit = [](int what, rlim_t most) {
      const rlimit both{most, most};
      if (setrlimit(what, &both) != 0) _exit(3);
    };
    int64_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
#ifndef __SANITIZE_ADDRESS__  // It reserves terabytes.
    limit(RLIMIT_AS, static_cast<rlim_t>(pages * sysconf(_SC_PAGESIZE) + (64 << 20)));
#endif
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_CPU, static_cast<rlim_t>(seconds));
    try {
      FindingsOf(text);
    } catch (const std::bad_alloc&) {
      _exit(2);
    }
    _exit(0);
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child) return "could not be tried";
  if (WIFSIGNALED(status)) return "ended by signal " + std::to_string(WTERMSIG(status));
  return WEXITSTATUS(status) == 0 ? "" : "ended for want of memory";
}

std::string Repeated(std::string_view text, size_t count) {
  std::string out;
  for (size_t i = 0; i < count; ++i) out += text;
  return out;
}

#ifdef __SANITIZE_ADDRESS__
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

const std::string kHead = "format: 1\npipeline: p\nstages: {a: {run: x}}\n";

TEST(Hostile, EndsOnWhatYamlCppLoopsOn) {
  ExpectRefused(",\n", "CD0016", 1, 1);
  ExpectRefused("\x2c\x9d\x20\x45\x0a\x20\xbb\x20\x45\x45", "CD0002", 1);
  ExpectRefused(", a: 1", "CD0016", 1, 1);
  ExpectRefused("]", "CD0016", 1, 1);
  ExpectRefused("}\n", "CD0016", 1, 1);
  ExpectRefused("a: ]", "CD0016", 1, 4);
  ExpectRefused("[a]]", "CD0016", 1, 4);
}

TEST(Hostile, RefusesBombsOfAliases) {
  std::string bomb = "a0: &a0 [x, x]\n";
  for (int i = 1; i < 30; ++i) {
    const std::string before = "*a" + std::to_string(i - 1);
    bomb += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + before + ", " + before +
            "]\n";
  }
  ExpectRefused(bomb, "CD0010", 1);
  ExpectRefused("&a [*a]", "CD0010", 1, 1);
  ExpectRefused(kHead + "x: &y 1\n", "CD0010", 4);
  ExpectRefused(kHead + "x: *y\n", "CD0016", 4);
}

TEST(Hostile, RefusesDepth) {
  ExpectRefused(std::string(2 << 20, '['), "CD0014", 1, 33);
  ExpectRefused(std::string(2 << 20, '{'), "CD0014", 1, 33);
  ExpectRefused(Repeated("{a: ", 500'000), "CD0014", 1);
  ExpectRefused(Repeated("- ", 1 << 20), "CD0014", 1);
  std::string steps;
  for (int i = 0; i < 600; ++i) steps += std::string(static_cast<size_t>(i), ' ') + "a:\n";
  ExpectRefused(steps, "CD0014");
  steps.clear();
  for (int i = 0; i < 40; ++i) steps += std::string(static_cast<size_t>(i), ' ') + "a:\n";
  ExpectRefused(steps, "CD0014", 33);
}

TEST(Hostile, RefusesWhatIsTooMuch) {
  ExpectRefused(std::string((8 << 20) + 1, 'a'), "CD0001");
  ExpectRefused("[" + Repeated("a,", 1'100'000) + "]", "CD0015", 1);
  ExpectRefused(Repeated("- a\n", 1'100'000), "CD0015");
}

TEST(Hostile, RefusesBytesThatAreNoText) {
  ExpectRefused(kHead + std::string("x: a\0b\n", 7), "CD0003", 4, 5);
  ExpectRefused(kHead + "x: \x1b[31m\n", "CD0003", 4, 4);
  ExpectRefused(kHead + "x: \x7f\n", "CD0003", 4, 4);
  ExpectRefused(kHead + "x: \xc2\x9b\n", "CD0003", 4, 4);
  ExpectRefused(kHead + "x: a\rb: 1\n", "CD0003", 4, 5);
  ExpectRefused(kHead + "x: a\xe2\x80\xae b\n", "CD0003", 4, 5);
  ExpectRefused(kHead + "x: \xff\n", "CD0002", 4);
  ExpectRefused(kHead + "x: \xc3\n", "CD0002", 4);
  ExpectRefused(kHead + "x: \xed\xa0\x80\n", "CD0002", 4);
  ExpectRefused("\xef\xbb\xbf" + kHead, "CD0004", 1, 1);
  ExpectRefused(std::string("\xff\xfe"
                            "f\0o\0",
                            6),
                "CD0004", 1, 1);
  ExpectRefused(std::string("f\0o\0r\0", 6), "CD0003", 1, 2);
  ExpectRefused("x: \"\\0\"\n", "CD0003", 1, 4);
  ExpectRefused("x: \"\\e[31m\"\n", "CD0003", 1, 4);
}

TEST(Hostile, ShowsUnprintableLinesSafely) {
  for (const core::Diagnostic& finding : FindingsOf("x: \x1b[31m\xc2\x9b\xff\n")) {
    for (const char c : core::Format(finding)) EXPECT_TRUE(c == '\n' || (c >= ' ' && c < 0x7f));
  }
}

TEST(Hostile, RefusesIndentationThatIsNoSpaces) {
  ExpectRefused("a:\n\tb: 1\n", "CD0005", 2, 1);
  ExpectRefused("a:\n  \tb: 1\n", "CD0005", 2);
  ExpectRefused(
      "a:\n\xc2\xa0\xc2\xa0"
      "b: 1\n",
      "CD0005", 2, 1);
  ExpectRefused(
      "a:\n  \xe3\x80\x80"
      "b: 1\n",
      "CD0005", 2, 3);
}

TEST(Hostile, RefusesWhatIsNotClosed) {
  ExpectRefused("a: \"b\nc: d\n", "CD0006", 1, 4);
  ExpectRefused("a: 'it''s\nc: d\n", "CD0006", 1, 4);
  ExpectRefused("a: [b\nc: d\n", "CD0016", 1);
  ExpectRefused("a: [b,\n", "CD0006", 1, 4);
  ExpectRefused("a: {b: [c}\n", "CD0006", 1, 10);
  ExpectRefused("a: [b, {c: d]\n", "CD0006", 1, 13);
  ExpectRefused("a: \"b\\\"\n", "CD0006", 1, 4);
}

TEST(Hostile, RefusesEmptyEntriesAndMissingCommas) {
  ExpectRefused("a: [b,,c]\n", "CD0007", 1, 7);
  ExpectRefused("a: [,b]\n", "CD0007", 1, 5);
  ExpectRefused("a: {b: 1,,c: 2}\n", "CD0007", 1, 10);
  ExpectRefused("a: [\"b\" \"c\"]\n", "CD0016", 1, 9);
  ExpectRefused("a: [[b] [c]]\n", "CD0016", 1, 9);
  ExpectRefused("a: [b\n  c]\n", "CD0016", 1, 5);
  ExpectRefused("a: {b: 1\n  c: 2}\n", "CD0016", 1, 8);
  ExpectRefused("a: \"b\" c\n", "CD0016", 1, 8);
  ExpectRefused("a: [b] c\n", "CD0016", 1, 8);
}

TEST(Hostile, RefusesFormsThatAreNotPartOfTheLanguage) {
  ExpectRefused("%YAML 1.2\n---\n" + kHead, "CD0008", 1, 1);
  ExpectRefused("%TAG ! tag:x,2000:\n---\n" + kHead, "CD0008", 1, 1);
  ExpectRefused("a: @b\n", "CD0008", 1, 4);
  ExpectRefused("a: `b`\n", "CD0008", 1, 4);
  ExpectRefused("? a\n: b\n", "CD0017", 1, 1);
  ExpectRefused("[a]: b\n", "CD0017", 1);
  ExpectRefused("{[a]: b}\n", "CD0017", 1);
  ExpectRefused("{{a: b}: c}\n", "CD0017", 1);
  ExpectRefused("null: a\n", "CD0017", 1, 1);
  ExpectRefused(": a\n", "CD0016", 1, 1);
  ExpectRefused("a: {b: c?d}\n", "CD0018", 1, 9);
  ExpectRefused("a: [|\n b]\n", "CD0016", 1, 5);
  ExpectRefused("<<: {a: 1}\n", "CD0012", 1, 1);
  ExpectRefused("a: !!python/object:os.system x\n", "CD0011", 1);
  ExpectRefused("a: !x {b: c}\n", "CD0011", 1);
}

TEST(Hostile, RefusesMoreThanOneDocument) {
  ExpectRefused(kHead + "---\n" + kHead, "CD0009", 4, 1);
  ExpectRefused("---\n---\n" + kHead, "CD0009", 2, 1);
  ExpectRefused(kHead + "...\n" + kHead, "CD0009", 4, 1);
  ExpectRefused(kHead + "...\n", "CD0009", 4, 1);
  ExpectRefused("{}\n{}\n", "CD0016", 2, 1);
}

TEST(Hostile, RefusesIndentationThatDoesNotFit) {
  ExpectRefused("a:\n  b: 1\n c: 2\n", "CD0016", 3);
  ExpectRefused("a: 1\n  b: 2\n", "CD0016", 2);
  ExpectRefused("a: b: c\n", "CD0016", 1);
  ExpectRefused("a:\n- b\nc\n", "CD0016", 3, 1);
  ExpectRefused("a: b\nc\n", "CD0016", 2, 1);
  ExpectRefused("a: b\nc\nd: e\n", "CD0016", 2, 1);
  ExpectRefused("a: b\n{}\n", "CD0016", 2, 1);
  ExpectRefused("a:\nb\n", "CD0016", 2, 1);
  ExpectRefused("a:\n{}\n", "CD0016", 2, 1);
  ExpectRefused("a: |# no comment\n  b\n", "CD0016", 1, 5);
  ExpectRefused("- a\nb: c\n", "CD0009", 2);
  ExpectRefused("a: \"b\"\n  c: d\n", "CD0016", 2);
}

TEST(Hostile, SaysThatNothingIsThere) {
  ExpectRefused("", "CD0019");
  ExpectRefused("\n\n# nothing\n", "CD0019");
  ExpectRefused("---\n", "CD0103");
  ExpectRefused("hello", "CD0103", 1, 1);
  ExpectRefused("[]", "CD0103", 1, 1);
  ExpectRefused("{}", "CD0101", 1, 1);
}

TEST(Hostile, TakesWhatOnlyLooksHostile) {
  for (const std::string& text : {
           "---\n" + kHead,
           "--- # a comment\n" + kHead,
           Repeated("# [[[[ \" ' {{{{ &a *a !x % @ ,\n", 100) + kHead,
           std::string("format: 1\r\npipeline: p\r\nstages:\r\n  a:\r\n    run: x\r\n"),
           std::string("format: 1\npipeline: p\nstages:\n  a:\n    run: |-\n      [[[ \" ' { & * ! "
                       "% @ `,,\n\n      \t ]\n      "
                       "# no comment\n  b:\n    run: >+\n\n      folded [\n\n  c: {run: x}\n"),
           std::string("format: 1\npipeline: p\ndescription: goes\n  on \"here\n  and, "
                       "[there\nstages: {a: {run: x}}\n"),
           std::string("format: 1\npipeline: p\ndescription: 'it''s\n  on two lines'\nstages: {a: "
                       "{run: x}}\n"),
           std::string("format: 1\npipeline: p\ndescription: \"a\\\n  b\\u00e9\\\"\"\nstages: {a: "
                       "{run: x}}\n"),
           std::string("format: 1\npipeline: p\ndescription: a#b 'c' \"d\" -e :f g:h\nstages: {a: "
                       "{run: x}}\n"),
           std::string("{\"format\":1,\"pipeline\":\"p\",\"stages\":{\"a\":{\"run\":\"x\",\"code\":"
                       "[\"a\",\"b\"]}}}"),
           std::string("format: 1\npipeline: p\nstages: {a: {run: x, code: [a, b,], }, }\n"),
           std::string("format: 1\npipeline: p\nstages: {\n  a: {run: x,\n    code: [\n      a,   "
                       "# comment ]\n      b\n    ]\n  }\n}\n"),
           std::string("format: 1\npipeline: p\nstages:\n  a:\n    run: x\n    code:\n    - "
                       "src/**\n    - \"*.py\"\n"),
           std::string("\"format\": 1\n'pipeline': p\nstages: {a: {run: x}}   "),
           std::string("format: 1\npipeline: p\nstages:\n  a:\n    run: |2\n        indented\n     "
                       " less\n"),
       }) {
    const core::Diagnostics findings = FindingsOf(text);
    EXPECT_TRUE(findings.empty()) << core::Format(findings.front()) << text.substr(0, 200);
  }
}

TEST(Hostile, SurvivesEveryPrefixAndEverySingleChangeOfAnExample) {
  const std::string text =
      ReadText(std::string(CD4ML_SOURCE_DIR) + "/tests/golden/pipelines/ten-mistakes.cd4ml.yaml");

  const double seconds = SecondsOf([&] {
    for (size_t i = 0; i < text.size(); ++i) FindingsOf(text.substr(0, i));
    for (const char c : {'[', '"', '\'', ':', '\n', '-', ' ', '#', '&', '\0', '|'}) {
      for (size_t i = 0; i < text.size(); i += 7) {
        std::string changed = text;
        changed[i] = c;
        FindingsOf(changed);
        changed.insert(i, 1, c);
        FindingsOf(changed);
      }
    }
  });

  EXPECT_LT(seconds, 20);
}

// Long runs of single forms, which are what makes a scanner quadratic.
TEST(Hostile, ReadsLongRunsOfOneFormInLinearTime) {
  const size_t kSize = 1 << 18;
  for (const std::string& text : {
           "a: " + std::string(kSize, 'x') + "\n",
           "a: \"" + std::string(kSize, 'x') + "\"\n",
           "a: \"" + Repeated("\\\"", kSize / 2) + "\"\n",
           "a: '" + Repeated("''", kSize / 2) + "'\n",
           "a: |\n" + Repeated("  x\n", kSize / 4),
           "a: x\n" + Repeated("  x\n", kSize / 4),
           "a: " + std::string(kSize, ' ') + "x\n",
           "#" + std::string(kSize, '#') + "\n",
           std::string(kSize, '\n'),
           std::string(kSize, ' '),
           std::string(kSize, ':'),
           std::string(kSize, '-'),
           std::string(kSize, '!'),
           std::string(kSize, '&'),
           std::string(kSize, '?'),
           Repeated("a: ", kSize / 3),
           Repeated("? ", kSize / 2),
           Repeated("a:\n", kSize / 3),
           Repeated("x: {}\n", kSize / 6),
           "{" + Repeated("a: b, ", kSize / 6) + "}",
           "[" + Repeated("{}, ", kSize / 4) + "]",
           Repeated("\"", kSize),
           Repeated("'", kSize),
           Repeated("[]", kSize / 2),
           Repeated("a: ${{ x }}\n", kSize / 12),
           Repeated("- - -\n", kSize / 6),
       }) {
    const double seconds = SecondsOf([&] { FindingsOf(text); });
    EXPECT_LT(seconds, 0.9) << text.substr(0, 20);
  }
}

TEST(Hostile, LoadsTenThousandStagesWithinItsBudget) {
  std::string text = "format: 1\npipeline: big\nmaterials: {sales: {data: s.csv}}\nstages:\n";
  for (int i = 0; i < 10'000; ++i) {
    const std::string n = std::to_string(i);
    text += "  s" + n + ":\n    kind: train\n    inputs:\n      sales: sales\n";
    if (i > 0) text += "      model: {from: s" + std::to_string(i - 1) + ".model}\n";
    text +=
        "    run: python src/train.py --data \"$CD4ML_IN_SALES\" --seed " + n + " --out model-" +
        n + "\n" +
        "    code: [src/train.py, \"src/features/**\"]\n    outputs:\n      model: {path: model-" +
        n + "/model.joblib, type: model}\n      probe: {path: model-" + n +
        "/probe.jsonl, type: probe_set, when: always}\n    metrics: [model-" + n +
        "/metrics.json]\n    timeout: 30m\n";
  }

  ParsedPipeline parsed;
  const double seconds =
      SecondsOf([&] { parsed = MakePipelineParser()->Parse(text, "x", nullptr); });

  EXPECT_FALSE(core::HasErrors(parsed.diagnostics)) << core::Format(parsed.diagnostics.front());
  EXPECT_EQ(parsed.spec.stages.size(), 10'000u);
  EXPECT_LT(seconds, 4) << "0.7 s on a quiet machine; this bound only finds what is not linear";
  RecordProperty("milliseconds", static_cast<int>(seconds * 1000));
}

// What loops or is a bomb would take the whole machine without these limits.
TEST(Hostile, TakesLittleTimeAndMemoryWhateverItReads) {
  std::string bomb = "a0: &a0 [x, x]\n";
  for (int i = 1; i < 30; ++i) {
    const std::string before = "*a" + std::to_string(i - 1);
    bomb += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + before + ", " + before + "]\n";
  }
  for (const std::string& text :
       {std::string(",\n"), std::string("\x2c\x9d\x20\x45\x0a\x20\xbb\x20\x45\x45"), std::string("&a [*a]"), bomb,
        std::string(2 << 20, '['), std::string(2 << 20, '{'), Repeated("- ", 1 << 20), std::string(8 << 20, 'a'),
        "[" + Repeated("a,", 1'100'000) + "]", Repeated("- a\n", 1'100'000)}) {
    EXPECT_EQ(EndOfReadingWithin(kSanitized ? 20 : 2, text), "") << text.substr(0, 40);
  }
}

TEST(Hostile, BoundsStagesAndEdges) {
  std::string many = "format: 1\npipeline: big\nstages:\n";
  for (int i = 0; i <= 10'000; ++i) many += "  s" + std::to_string(i) + ": {run: x}\n";
  ExpectRefused(many, "CD0215", 10'004);

  std::string dense = "format: 1\npipeline: big\nstages:\n";
  std::string names;
  for (int i = 0; i < 500; ++i) {
    dense += "  s" + std::to_string(i) + ": {run: x" +
             (names.empty() ? "" : ", needs: [" + names + "]") + "}\n";
    names += (names.empty() ? "s" : ", s") + std::to_string(i);
  }
  ExpectRefused(dense, "CD0216");
}

TEST(Hostile, FindsACycleOfTenThousandStages) {
  std::string text = "format: 1\npipeline: big\nstages:\n";
  for (int i = 0; i < 10'000; ++i) {
    text += "  s" + std::to_string(i) + ": {run: x, needs: [s" + std::to_string((i + 1) % 10'000) +
            "]}\n";
  }
  ExpectRefused(text, "CD0204");
}

TEST(Hostile, LooksUpNamesThatDoNotExistInBoundedTime) {
  std::string text = "format: 1\npipeline: big\nstages:\n";
  for (int i = 0; i < 10'000; ++i)
    text +=
        "  stage-" + std::to_string(i) + ": {run: x, needs: [staeg-" + std::to_string(i) + "]}\n";
  ExpectRefused(text, "CD0201", 4);
}

}  // namespace
}  // namespace cd4ml::yaml
