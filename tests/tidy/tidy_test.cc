// The architecture's laws, checked on the tree as it is, and each law's own message.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "laws.h"

namespace cd4ml::tidy {
namespace {

namespace fs = std::filesystem;

// Every file of the checkout below the given folders, as paths relative to its top.
std::vector<std::string> Tree(const std::vector<std::string>& tops) {
  const fs::path root = CD4ML_SOURCE_DIR;
  std::vector<std::string> files;
  for (const std::string& top : tops) {
    if (fs::is_regular_file(root / top)) files.push_back(top);
    if (!fs::is_directory(root / top)) continue;
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(root / top)) {
      if (entry.is_regular_file()) files.push_back(fs::relative(entry.path(), root).string());
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::string Read(const std::string& file) {
  std::ostringstream text;
  text << std::ifstream(fs::path(CD4ML_SOURCE_DIR) / file).rdbuf();
  return text.str();
}

bool IsCode(const std::string& file) { return file.ends_with(".cc") || file.ends_with(".h"); }

void ExpectNone(const Findings& findings) {
  for (const std::string& finding : findings) ADD_FAILURE() << finding;
}

TEST(Tree, ModulesIncludeOnlyWhatTheirLayerMay) {
  for (const std::string& file : Tree({"src", "include"})) {
    if (IsCode(file)) ExpectNone(CheckIncludes(file, Read(file)));
  }
}

TEST(Tree, CallsStayWhereTheyBelong) {
  for (const std::string& file : Tree({"src", "include"})) {
    if (IsCode(file)) ExpectNone(CheckCalls(file, Read(file)));
  }
}

TEST(Tree, EveryFileSaysFirstWhatItIsFor) {
  for (const std::string& file : Tree({"src", "include", "tests"})) {
    if (IsCode(file) || file.ends_with(".sql")) {
      if (!file.starts_with("tests/golden/")) ExpectNone(CheckFirstLine(file, Read(file)));
    }
  }
}

TEST(Tree, FilesNamedInProseExist) {
  const std::vector<std::string> known = Tree({"src", "include", "tests", "proto", "docs", "scripts", "bench",
                                               "pipelines", "examples"});
  for (const char* file : {"README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"}) {
    const std::string text = Read(file);
    ASSERT_FALSE(text.empty()) << file;
    ExpectNone(CheckNamedFiles(file, text, known));
  }
}

TEST(CheckIncludes, RefusesACoreThatKnowsAnAdapter) {
  EXPECT_EQ(CheckIncludes("src/core/run.cc", "// x\n#include \"cd4ml/store/open_store.h\"\n"),
            Findings{"src/core/run.cc:2: core may not include \"cd4ml/store/open_store.h\""});
}

TEST(CheckIncludes, RefusesAdaptersThatKnowEachOther) {
  EXPECT_FALSE(CheckIncludes("src/git/x.cc", "#include \"cd4ml/blob/open_blob_store.h\"\n").empty());
  EXPECT_FALSE(CheckIncludes("src/agent/x.cc", "#include \"cd4ml/os/os.h\"\n").empty());
  EXPECT_TRUE(CheckIncludes("src/git/x.cc", "#include \"cd4ml/ports/source_repo.h\"\n").empty());
}

TEST(CheckIncludes, RefusesALibraryOutsideItsAdapter) {
  EXPECT_EQ(CheckIncludes("src/daemon/x.cc", "#include <sqlite3.h>\n"),
            Findings{"src/daemon/x.cc:1: daemon may not know <sqlite3.h>"});
}

TEST(CheckIncludes, LetsTheAssemblyKnowEverything) {
  EXPECT_TRUE(CheckIncludes("src/bin/cd4mld.cc", "#include \"cd4ml/store/open_store.h\"\n").empty());
}

TEST(CheckCalls, NamesTheReplacement) {
  EXPECT_EQ(CheckCalls("src/core/run.cc", "auto t = std::chrono::system_clock::now();\n"),
            Findings{"src/core/run.cc:1: system_clock::now does not belong here: take the time from ports/clock.h"});
}

TEST(CheckCalls, LooksAtCodeOnlyAndAtWholeWords) {
  EXPECT_TRUE(CheckCalls("src/core/run.cc", "// getenv( is banned\nconst char* s = \"getenv(\";\n").empty());
  EXPECT_TRUE(CheckCalls("src/core/run.cc", "InFilesystem(x);\n").empty());
}

TEST(CheckFirstLine, WantsAComment) {
  EXPECT_FALSE(CheckFirstLine("src/core/x.cc", "#include <map>\n").empty());
}

TEST(CheckNamedFiles, FindsWhatIsGone) {
  EXPECT_EQ(CheckNamedFiles("README.md", "see `src/core/gone.cc`\n", {"src/core/run.cc"}),
            Findings{"README.md:1: there is no `src/core/gone.cc`"});
  EXPECT_TRUE(CheckNamedFiles("README.md", "see `src/core/` and `src/core/run.cc`\n", {"src/core/run.cc"}).empty());
}

}  // namespace
}  // namespace cd4ml::tidy
