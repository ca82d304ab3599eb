// What becomes of a dvc.yaml: that the commands mean here what they mean to DVC.
#include "cli/import_dvc.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "cd4ml/base/status.h"
#include "cd4ml/yaml/yaml.h"
#include "cli/shell_text.h"

namespace cd4ml::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr std::string_view kMd5 = "95346a507b64185aceeea60b28c1e639";

struct World {
  std::map<std::string, std::string> files;
  std::string folder;

  // Returns the definition, which a parser has accepted, or what was refused, a line each.
  std::string Import() {
    const auto parser = yaml::MakePipelineParser();
    DvcRepo repo{.folder = folder, .read = {}, .find = {}};
    repo.read = [this](const std::string& path) -> absl::StatusOr<std::string> {
      if (!files.contains(path)) return absl::NotFoundError("there is no " + path);
      return files[path];
    };
    repo.find = [this](const std::string& below, const std::string& suffix) {
      std::vector<std::string> found;
      for (const auto& [path, text] : files) {
        const size_t skip = below.empty() ? 0 : below.size() + 1;
        if (path.ends_with(suffix) && (below.empty() || path.starts_with(below + "/"))) found.push_back(path.substr(skip));
      }
      return found;
    };
    const auto made = ImportDvc("p", *parser, repo);
    if (!made.ok()) return Message(made.status());
    notes.clear();
    for (const std::string& note : made->notes) notes += note + '\n';
    std::string refused;
    for (const std::string& line : made->refused) refused += "REFUSED " + line + '\n';
    if (!refused.empty()) return refused;
    const ParsedPipeline parsed = parser->Parse(made->definition, "p.cd4ml.yaml", nullptr);
    for (const auto& finding : parsed.diagnostics) {
      EXPECT_NE(finding.severity, core::Severity::kError) << core::Brief(finding) << '\n' << made->definition;
    }
    return made->definition;
  }
  std::string notes;
};

std::string Pointer(const std::string& path) { return "outs:\n- {hash: md5, md5: " + std::string(kMd5) + ", path: " + path + "}\n"; }

// --- parameters ---

TEST(ImportDvc, MakesTheFileOfAVariableInACommandAParameterFile) {
  World world{.files = {{"dvc.yaml", "stages: {s: {cmd: 'echo ${train.lr}'}}"}, {"params.yaml", "train: {lr: 0.5}"}}};

  const std::string text = world.Import();

  EXPECT_THAT(text, HasSubstr("params:\n  file: [\"params.yaml\"]\n"));
  EXPECT_THAT(text, HasSubstr("params: [\"train.lr\"]\n"));
}

TEST(ImportDvc, TakesParameterFilesFromTheFolderOfTheStage) {
  World world{.files = {{"dvc.yaml", "stages: {s: {wdir: sub, cmd: 'true', params: [lr, {x.yaml: [a]}]}}"},
                        {"params.yaml", "lr: 1"}, {"sub/params.yaml", "lr: 2"}, {"sub/x.yaml", "a: 1"}}};
  EXPECT_THAT(world.Import(), HasSubstr("file: [\"sub/params.yaml\", \"sub/x.yaml\"]\n"));

  // The command has the top's, the program the other's: one name cannot be both.
  world.files["dvc.yaml"] = "stages: {s: {wdir: sub, cmd: 'echo ${lr}', params: [lr]}}";
  EXPECT_THAT(world.Import(), HasSubstr("lr is in sub/params.yaml and, with another value, in params.yaml"));
}

TEST(ImportDvc, LetsAnOverrideReachWhatFilesOfVarsSay) {
  World world{.files = {{"dvc.yaml", "vars: [params.yaml, more.yaml]\nstages:\n"
                                     "  s: {cmd: 'echo ${lr} ${n} ${k}', vars: [own.yaml], wdir: sub, params: [{../params.yaml: [lr]}]}"},
                        {"params.yaml", "lr: 3"}, {"more.yaml", "n: 4"}, {"sub/own.yaml", "k: 5"}}};

  const std::string text = world.Import();

  EXPECT_THAT(text, HasSubstr("echo ${CD4ML_PARAM_LR} ${CD4ML_PARAM_N} ${CD4ML_PARAM_K}\n"));
  EXPECT_THAT(text, HasSubstr("file: [\"more.yaml\", \"params.yaml\", \"sub/own.yaml\"]\n"));
}

TEST(ImportDvc, WritesOutWhatTwoStagesCallTheSame) {
  World world{.files = {{"dvc.yaml", "stages:\n  a: {cmd: 'echo ${n}', vars: [a.yaml]}\n  b: {cmd: 'echo ${n}', vars: [b.yaml]}\n"},
                        {"a.yaml", "n: 1"}, {"b.yaml", "n: 2"}}};

  const std::string text = world.Import();

  EXPECT_THAT(text, HasSubstr("echo ${CD4ML_PARAM_N}\n"));
  EXPECT_THAT(text, HasSubstr("echo 2\n"));
  EXPECT_EQ(world.notes, "stage `b`: ${n} was replaced by what b.yaml says now; no override reaches it\n");
}

TEST(ShellText, KnowsInWhichQuotesAPlaceStands) {
  using enum Quoting;
  const std::pair<std::string, Quoting> cases[] = {
      {"echo ", kExpands},
      {"echo 'a", kSingle},
      {"echo 'a' ", kExpands},
      {"echo \"it's ", kExpands},
      {"echo it\\'s ", kExpands},
      {"echo $'it\\'s ", kEscapes},
      {"# don't\necho ", kExpands},
      {"echo a#'b", kSingle},
      {"echo \"$(echo 'x", kSingle},
      {"echo \"$(echo \"'\")'", kExpands},
      {"echo `echo 'x` ", kSingle},
      {"cat <<E\n'", kExpands},
      {"cat <<'E'\n", kDocument},
      {"cat <<\\E\nx\n", kDocument},
      {"cat <<-\"E\" > f; echo 'x'\nit's\n\tE\necho 'a", kSingle},
      {"cat <<'E' <<F\nE\n", kExpands},
      {"cat <<'E'\nE \nEE\n", kDocument},
      {"cat <<< 'x' ; echo ", kExpands},
      {"echo $((1<<2)) '", kSingle},
      {"((x = 1 << 2))\necho '", kSingle},
      {"(cd a; echo ')' '", kSingle},
  };
  for (const auto& [text, quoting] : cases) EXPECT_EQ(QuotingAtEnd(text), quoting) << text;
}

TEST(ImportDvc, PutsVariablesWhereAShellReplacesThem) {
  World world{.files = {{"dvc.yaml", "stages:\n  s:\n    cmd: |\n      python3 -c 'print(\"${lr}\")' \"${lr}\" $'\\t${lr}'\n"},
                        {"params.yaml", "lr: 3"}}};

  EXPECT_THAT(world.Import(), HasSubstr("python3 -c 'print(\"'\"${CD4ML_PARAM_LR}\"'\")' \"${CD4ML_PARAM_LR}\" "
                                        "$'\\t'\"${CD4ML_PARAM_LR}\"$''\n"));
  world.files["dvc.yaml"] = "stages:\n  s:\n    cmd: |\n      cat <<'EOF'\n      ${lr}\n      EOF\n";
  EXPECT_THAT(world.Import(), HasSubstr("REFUSED `cmd` of stage `s`: ${lr} stands in a here-document whose word is in quotes"));
}

// --- commands ---

TEST(ImportDvc, GivesEachEntryOfAListAShellOfItsOwn) {
  World world{.files = {{"dvc.yaml", "stages: {s: {wdir: w, cmd: [cd sub, '', \"pwd\\n\\nls\\n\"]}}"}}};
  EXPECT_THAT(world.Import(), HasSubstr("    run: |\n      cd -- 'w'\n      (\n      cd sub\n      )\n      (\n      pwd\n\n      ls\n      )\n"));
}

TEST(ImportDvc, KeepsBlankLinesAndRefusesACommandOfThem) {
  World world{.files = {{"dvc.yaml", "stages: {s: {cmd: \"\\n  cat <<X\\none\\n\\n two\\nX\\n\"}}"}}};
  EXPECT_THAT(world.Import(), HasSubstr("    run: |\n      cat <<X\n      one\n\n       two\n      X\n"));

  for (const char* cmd : {"''", "' '", "[]", "['', \"\\n\"]"}) {
    world.files["dvc.yaml"] = "stages: {s: {cmd: " + std::string(cmd) + "}}";
    EXPECT_EQ(world.Import(), "REFUSED stage `s`: it has no `cmd`\n") << cmd;
  }
}

TEST(ImportDvc, WritesPathsThatAShellLeavesAlone) {
  World world{.files = {{"dvc.yaml", "stages: {s: {wdir: a$(b), cmd: 'true', outs: [$HOME: {cache: false}, it's: {cache: false}]}}"}}};
  EXPECT_THAT(world.Import(), HasSubstr("      rm -rf -- 'a$(b)/$HOME'\n      rm -rf -- 'a$(b)/it'\\''s'\n      cd -- 'a$(b)'\n"));
}

// --- data ---

TEST(ImportDvc, TakesAllThatDvcTracksInAFolder) {
  World world{.files = {{"dvc.yaml", "stages: {s: {cmd: ls data, deps: [data]}, t: {cmd: 'true', deps: [data/x/y]}}"},
                        {"data/raw.csv.dvc", Pointer("raw.csv")}, {"data/odd.dvc", Pointer("x")}, {"other.dvc", Pointer("other")}}};

  const std::string text = world.Import();

  EXPECT_THAT(text, HasSubstr("raw-csv: {dvc: \"data/raw.csv.dvc\", at: \"data/raw.csv\"}\n"));
  EXPECT_THAT(text, HasSubstr("x: {dvc: \"data/odd.dvc\", at: \"data/x\"}\n"));
  EXPECT_THAT(text, HasSubstr("  s:\n    inputs:\n      raw-csv: raw-csv\n      x: x\n    code: [\"data/**\"]\n"));
  EXPECT_THAT(text, HasSubstr("  t:\n    inputs:\n      x: x\n    run"));
  EXPECT_THAT(text, Not(HasSubstr("other")));
}

TEST(ImportDvc, ReadsWhatAFrozenStageInAFolderMade) {
  const std::string out = "{outs: [{hash: md5, md5: " + std::string(kMd5) + ", path: o}]}";
  World world{.files = {{"dvc.yaml", "stages: {a: {wdir: a, cmd: x, outs: [o], frozen: true}, use: {cmd: x, deps: [a/o], desc: no}}"},
                        {"dvc.lock", "schema: '2.0'\nstages: {a: " + out + "}\n"}}};
  EXPECT_THAT(world.Import(), HasSubstr("o: {dvc: \"dvc.lock\", out: \"a/o\", at: \"a/o\"}\n"));
}

TEST(ImportDvc, KeepsThePathsOfAPipelineBelowTheTop) {
  World world{.files = {{"sub/dvc.yaml", "stages: {s: {cmd: run, deps: [raw, ../top.py], outs: [o], params: [lr]}}"},
                        {"sub/raw.dvc", Pointer("raw")}, {"sub/params.yaml", "lr: 1"}, {"top.py", ""}},
              .folder = "sub"};

  const std::string text = world.Import();

  for (const char* words : {"file: [\"sub/params.yaml\"]", "raw: {dvc: \"sub/raw.dvc\", at: \"sub/raw\"}", "code: [\"top.py\"]",
                            "cd -- 'sub'\n      run\n", "o: {path: \"sub/o\"}"}) {
    EXPECT_THAT(text, HasSubstr(words));
  }
  EXPECT_THAT(world.notes, IsEmpty());
}

TEST(ImportDvc, NamesOtherPipelinesOfTheRepository) {
  World world{.files = {{"dvc.yaml", "stages: {s: {cmd: x, deps: [a.py]}}"}, {"a.py", ""},
                        {"sub/dvc.yaml", "stages: {t: {cmd: y, outs: [o]}}"}}};
  world.Import();
  EXPECT_EQ(world.notes, "sub/dvc.yaml is a pipeline of its own and was not imported\n");

  world.files["dvc.yaml"] = "stages: {s: {cmd: x, deps: [sub]}}";
  EXPECT_THAT(world.Import(), HasSubstr("sub/o is made by sub/dvc.yaml, another pipeline"));
}

TEST(ImportDvc, TakesFilesOfGitAsCodeByTheirNames) {
  World world{.files = {{"dvc.yaml", "stages:\n  s: {cmd: x, outs: [out/a, out/b]}\n  t: {cmd: y, deps: ['src/a[1].py', out]}\n"},
                        {"src/a[1].py", ""}, {"out/a", ""}, {"out/b", ""}}};
  EXPECT_THAT(world.Import(), HasSubstr("    inputs:\n      a: s.a\n      b: s.b\n    code: [\"src/a\\\\[1].py\"]\n"));

  world.files["out/.gitignore"] = "/a";
  EXPECT_THAT(world.Import(), HasSubstr("code: [\"src/a\\\\[1].py\", \"out/**\"]\n"));
}

TEST(ImportDvc, GivesMetricsOfTheTopToTheStageThatWritesThem) {
  World world{.files = {{"dvc.yaml", "stages: {s: {cmd: x, outs: [eval]}, t: {cmd: y, metrics: [m.json]}}\n"
                                     "metrics: [eval/metrics.json, m.json, other.json]\n"}}};
  const std::string text = world.Import();
  EXPECT_THAT(text, HasSubstr("metrics: [\"eval/metrics.json\"]\n"));
  EXPECT_THAT(text, HasSubstr("metrics: [\"m.json\"]\n"));
  EXPECT_THAT(world.notes, HasSubstr("other.json was left out"));
}

TEST(ImportDvc, SaysWhichFlagsItLeavesOut) {
  World world{.files = {{"dvc.yaml", "stages: {s: {cmd: x, outs: [o: {remote: r, push: false}]}}"}}};
  world.Import();
  EXPECT_THAT(world.notes, HasSubstr("`remote` of o was left out"));
  EXPECT_THAT(world.notes, HasSubstr("`push` of o was left out"));
}

}  // namespace
}  // namespace cd4ml::cli
