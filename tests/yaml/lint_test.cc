// What lint says about whole files, and that the reference lists every code.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "cd4ml/yaml/yaml.h"
#include "tests/yaml/golden.h"

namespace cd4ml::yaml {
namespace {

namespace fs = std::filesystem;

const fs::path kSource = CD4ML_SOURCE_DIR;

std::string Lint(const fs::path& file) {
  const ParsedPipeline parsed =
      MakePipelineParser()->Parse(ReadText(file), file.filename().string(), nullptr);
  std::string out;
  for (const core::Diagnostic& finding : parsed.diagnostics) out += core::Format(finding) + "\n";
  return out + std::to_string(parsed.diagnostics.size()) + " findings\n";
}

std::vector<fs::path> GoldenPipelines() {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(kSource / "tests/golden/pipelines")) {
    if (entry.path().string().ends_with(".cd4ml.yaml")) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

TEST(Lint, SaysOfEachGoldenPipelineWhatItsLintFileHolds) {
  for (const fs::path& file : GoldenPipelines()) {
    SCOPED_TRACE(file);
    fs::path lint = file;
    ExpectGolden(lint.replace_extension(".lint"), Lint(file));
  }
}

TEST(Lint, FindsTenMistakesInAFileWithTen) {
  const fs::path file = kSource / "tests/golden/pipelines/ten-mistakes.cd4ml.yaml";

  const core::Diagnostics findings =
      MakePipelineParser()->Parse(ReadText(file), "x", nullptr).diagnostics;

  std::set<int> lines;
  std::set<std::string> codes;
  for (const core::Diagnostic& finding : findings) {
    lines.insert(finding.place.line);
    codes.insert(finding.code);
  }
  EXPECT_EQ(findings.size(), 10u);
  EXPECT_EQ(lines.size(), 10u) << "each mistake has a line of its own";
  EXPECT_GE(codes.size(), 9u);
}

TEST(Lint, FindsNothingWrongWithTheExamples) {
  for (const char* folder : {"examples", "pipelines"}) {
    if (!fs::exists(kSource / folder)) continue;
    for (const auto& entry : fs::recursive_directory_iterator(kSource / folder)) {
      if (!entry.path().string().ends_with(".cd4ml.yaml")) continue;
      EXPECT_EQ(Lint(entry.path()), "0 findings\n") << entry.path();
    }
  }
}

TEST(Lint, NamesOnlyWhatIsNotAvailableInTheLargeExampleOfTheLanguage) {
  const fs::path file = kSource / "tests/golden/pipelines/whole-language.cd4ml.yaml";

  for (const core::Diagnostic& finding :
       MakePipelineParser()->Parse(ReadText(file), "x", nullptr).diagnostics) {
    EXPECT_TRUE(finding.code.starts_with("CD04")) << core::Format(finding);
    EXPECT_TRUE(finding.message.ends_with("is not available yet")) << core::Format(finding);
  }
}

TEST(Lint, GivesEveryFindingACodeThatCanBeExplained) {
  for (const fs::path& file : GoldenPipelines()) {
    for (const core::Diagnostic& finding :
         MakePipelineParser()->Parse(ReadText(file), "x", nullptr).diagnostics) {
      EXPECT_NE(core::ExplainCode(finding.code), nullptr) << core::Format(finding);
      EXPECT_GT(finding.place.line, 0) << core::Format(finding);
    }
  }
}

std::string DiagnosticsPage() {
  std::string page =
      "# Diagnostics\n\n"
      "What `cd4ml lint` and the registration of a pipeline can say, by code. A code keeps its "
      "meaning for\n"
      "ever. `cd4ml explain CODE` shows the same text.\n";
  for (const core::CodeExplanation& code : core::AllCodes()) {
    page += "\n## " + std::string(code.code) + ": " + std::string(code.title) + "\n\n" +
            std::string(code.explanation) + "\n";
  }
  return page;
}

TEST(Diagnostics, AreAllListedInTheReference) {
  ExpectGolden(kSource / "docs/reference/diagnostics.md", DiagnosticsPage());
}

}  // namespace
}  // namespace cd4ml::yaml
