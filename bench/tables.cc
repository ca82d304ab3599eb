// Data gates on one table, beside DuckDB alone.
//
//   bench_tables make FOLDER ROWS                        writes cars.csv and cars.parquet
//   bench_tables gate FILE DEFINITION SPILL MEMORY       loads FILE as the table "cars" and judges the rules of the stage "gate"
//   bench_tables bare FILE QUERIES SPILL MEMORY          executes the statements of QUERIES, one a line, {file} for FILE
//
// The engine finds its library as the agent does; SPILL is a folder, MEMORY a number of bytes. Prints one line of JSON:
// seconds in all and of each rule or statement (what rules share counts for the first of them), also those that processors were
// busy, what it found, and the most memory that the process has had.
#include <sys/resource.h>

#include <fstream>
#include <iostream>
#include <iterator>

#include "cd4ml/base/value.h"
#include "cd4ml/table/open_table_engine.h"
#include "cd4ml/yaml/yaml.h"
#include "driver.h"
#include "table/duckdb.h"

namespace cd4ml::bench {
namespace {

std::string ReadAll(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

[[noreturn]] void Die(const absl::Status& status) {
  std::cerr << Message(status) << "\n";
  std::exit(1);
}

void Must(const absl::Status& status) {
  if (!status.ok()) Die(status);
}

table::TableEngineOptions Options(const std::string& spill, int64_t memory) {
  const char* stated = std::getenv("CD4ML_DUCKDB");
  return {.libraries = table::LibraryCandidates(stated == nullptr ? "" : stated, CD4ML_SOURCE_DIR),
          .work_folder = spill,
          .memory_max = memory};
}

std::unique_ptr<table::Database> OpenDatabase(const table::TableEngineOptions& options) {
  absl::StatusOr<std::unique_ptr<table::Database>> database = table::Database::Open(options);
  if (!database.ok()) Die(database.status());
  return *std::move(database);
}

rusage Usage() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage;
}

// Returns how long the processors were busy with this process.
double CpuSeconds() {
  const auto seconds = [](const timeval& time) { return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6; };
  const rusage usage = Usage();
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// Times each step, and prints all of them.
class Report {
 public:
  void Lap(const std::string& name, const std::string& found = "") {
    const double now = NowMs();
    const double cpu = CpuSeconds();
    Value::Map step;
    step["name"] = name;
    step["seconds"] = (now - last_) / 1e3;
    step["cpu_s"] = cpu - last_cpu_;
    step["found"] = found;
    steps_.emplace_back(std::move(step));
    last_ = now;
    last_cpu_ = cpu;
  }
  void Print() {
    Value::Map report;
    report["seconds"] = (last_ - began_) / 1e3;
    report["cpu_s"] = last_cpu_ - began_cpu_;
    report["steps"] = std::move(steps_);
    report["max_rss_mb"] = static_cast<double>(Usage().ru_maxrss) / 1024;
    std::cout << ToJson(report) << std::endl;
  }

 private:
  const double began_ = NowMs();
  double last_ = began_;
  const double began_cpu_ = CpuSeconds();
  double last_cpu_ = began_cpu_;
  Value::List steps_;
};

// A market of cars: mostly clean, with a few prices, years, codes and brands that rules find.
std::string Cars(int64_t rows) {
  return "SELECT i AS id, TIMESTAMP '2025-01-01' + to_seconds((hash(i + 1) % 31536000)::BIGINT) AS seen_at, "
         "CASE WHEN i % 100003 = 7 THEN 'unknown' ELSE 'brand' || (hash(i + 2) % 40) END AS brand, "
         "'model' || (hash(i + 3) % 300) AS model, "
         "CASE WHEN i % 5003 = 11 THEN -1 ELSE 500 + (hash(i + 4) % 60000)::BIGINT END AS price, "
         "CASE WHEN i % 7001 = 13 THEN 2099 ELSE 1990 + (hash(i + 5) % 36)::BIGINT END AS year, "
         "CASE WHEN hash(i + 6) % 20 > 0 THEN 40 + (hash(i + 6) % 400)::BIGINT END AS power, "
         "(hash(i + 7) % 300000)::BIGINT AS mileage, "
         "['petrol', 'diesel', 'electric', 'lpg'][1 + (hash(i + 8) % 4)::BIGINT] AS fuel, "
         "CASE WHEN i % 9001 = 17 THEN 'N/A' ELSE printf('Z%05d', (hash(i + 9) % 99999)::BIGINT) END AS zip, "
         "CASE WHEN hash(i + 10) % 3 = 0 THEN 'private' ELSE 'dealer' END AS seller, "
         "CASE WHEN hash(i + 11) % 10 > 0 THEN 'no' END AS damage FROM range(" +
         std::to_string(rows) + ") t(i)";
}

int Make(const std::string& folder, int64_t rows) {
  const std::unique_ptr<table::Database> database = OpenDatabase(Options(folder, int64_t{1} << 30));
  Must(database->Execute("COPY (" + Cars(rows) + ") TO " + table::Literal(folder + "/cars.csv") + " (FORMAT csv, HEADER)"));
  Must(database->Execute("COPY (" + Cars(rows) + ") TO " + table::Literal(folder + "/cars.parquet") + " (FORMAT parquet)"));
  return 0;
}

int Gate(const std::string& path, const std::string& definition, const table::TableEngineOptions& options) {
  const std::unique_ptr<PipelineParser> parser = yaml::MakePipelineParser();
  const ParsedPipeline parsed = parser->Parse(ReadAll(definition), definition, nullptr);
  for (const core::Diagnostic& finding : parsed.diagnostics) std::cerr << core::Format(finding);
  const core::StageSpec* stage = parsed.spec.FindStage("gate");
  if (core::HasErrors(parsed.diagnostics) || stage == nullptr) Die(absl::InvalidArgumentError("no stage \"gate\""));
  Report report;
  absl::StatusOr<std::unique_ptr<TableEngine>> engine = table::OpenTableEngine(options);
  if (!engine.ok()) Die(engine.status());
  Must((*engine)->AddTable({.name = "cars", .path = path, .csv = std::nullopt}));
  report.Lap("load");
  (*engine)->SetRules(stage->rules);
  for (const core::Rule& rule : stage->rules) {
    const core::RuleResult result = (*engine)->Judge(rule, {});
    report.Lap(rule.name, std::string(core::ToText(result.outcome)) + ": " + result.observed);
  }
  report.Print();
  return 0;
}

int Bare(const std::string& path, const std::string& queries, const table::TableEngineOptions& options) {
  std::ifstream lines(queries);
  Report report;
  const std::unique_ptr<table::Database> database = OpenDatabase(options);
  for (std::string line; std::getline(lines, line);) {
    const size_t at = line.find("{file}");
    if (at != std::string::npos) line.replace(at, 6, table::Literal(path));
    if (!line.starts_with("SELECT")) {
      Must(database->Execute(line));
      report.Lap("load");
      continue;
    }
    const absl::StatusOr<std::vector<table::Row>> rows = database->Query(line);
    if (!rows.ok()) Die(rows.status());
    report.Lap(line, rows->empty() ? "" : (*rows)[0][0].value_or("0"));
  }
  report.Print();
  return 0;
}

int Main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  if (words.size() == 3 && words[0] == "make") return Make(words[1], std::stoll(words[2]));
  if (words.size() == 5 && (words[0] == "gate" || words[0] == "bare")) {
    return (words[0] == "gate" ? Gate : Bare)(words[1], words[2], Options(words[3], std::stoll(words[4])));
  }
  std::cerr << "see the head of bench/tables.cc\n";
  return 2;
}

}  // namespace
}  // namespace cd4ml::bench

int main(int argc, char** argv) { return cd4ml::bench::Main(argc, argv); }
