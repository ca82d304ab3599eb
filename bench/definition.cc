// Loads a definition as the daemon does: from text to a checked pipeline, and on to the order of its stages.
//
//   bench_definition FILE
//
// Prints one line of JSON: milliseconds of both, bytes and stages.
#include <cstdio>
#include <fstream>
#include <sstream>

#include "cd4ml/core/plan.h"
#include "cd4ml/yaml/yaml.h"
#include "driver.h"

int main(int argc, char** argv) {
  using namespace cd4ml;
  if (argc != 2) {
    std::fprintf(stderr, "usage: bench_definition FILE\n");
    return 2;
  }
  std::stringstream text;
  text << std::ifstream(argv[1], std::ios::binary).rdbuf();
  const std::string bytes = text.str();
  const std::unique_ptr<PipelineParser> parser = yaml::MakePipelineParser();
  const double before = bench::NowMs();
  const ParsedPipeline parsed = parser->Parse(bytes, "bench.cd4ml.yaml", nullptr);
  const double parsed_ms = bench::NowMs() - before;
  if (core::HasErrors(parsed.diagnostics)) {
    std::fprintf(stderr, "bench_definition: %s\n", core::Format(parsed.diagnostics.front()).c_str());
    return 1;
  }
  const size_t stages = core::MakePlan(parsed.spec, {}).size();
  std::printf(R"({"parsed_ms": %.3f, "planned_ms": %.3f, "bytes": %zu, "stages": %zu})" "\n", parsed_ms,
              bench::NowMs() - before, bytes.size(), stages);
}
