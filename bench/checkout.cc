// Checks commits out as an agent does: the repository stays open, each stage gets a folder of its own.
//
//   bench_checkout REPOSITORY FOLDER COMMIT NEXT
//
// Prints one line of JSON: milliseconds of COMMIT with a repository that was not open, and of NEXT after it.
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "cd4ml/git/open_repo.h"
#include "driver.h"

namespace cd4ml::bench {
namespace {

double ExportMs(SourceRepo& repo, const char* commit, const std::string& dir) {
  std::filesystem::create_directories(dir);
  const double before = NowMs();
  const absl::Status exported = repo.Export(commit, dir);
  if (!exported.ok()) std::exit(Fail("bench_checkout", exported));
  return NowMs() - before;
}

int Checkout(char** argv) {
  const std::unique_ptr<SourceRepoOpener> opener = MakeRepoOpener();
  const std::string folder = argv[2];
  const double before = NowMs();
  auto repo = opener->Open(argv[1]);
  if (!repo.ok()) return Fail("bench_checkout", repo.status());
  const double opened_ms = NowMs() - before;
  const double cold_ms = opened_ms + ExportMs(**repo, argv[3], folder + "/cold");
  std::printf(R"({"cold_ms": %.3f, "opened_ms": %.3f, "next_ms": %.3f})" "\n", cold_ms, opened_ms,
              ExportMs(**repo, argv[4], folder + "/next"));
  return 0;
}

}  // namespace
}  // namespace cd4ml::bench

int main(int argc, char** argv) {
  if (argc == 5) return cd4ml::bench::Checkout(argv);
  std::fprintf(stderr, "usage: bench_checkout REPOSITORY FOLDER COMMIT NEXT\n");
  return 2;
}
