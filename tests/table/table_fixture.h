// What the tests of tables share: a temporary folder, an engine, and short ways to write files and
// rules.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "cd4ml/base/status.h"
#include "cd4ml/table/open_table_engine.h"

namespace cd4ml::table {

inline std::unique_ptr<TableEngine>& TheSharedEngine() {
  static std::unique_ptr<TableEngine> engine;
  return engine;
}

// The library's thread-local data, which an engine needs at its end, goes before what is static.
class SharedEngineEnd : public ::testing::Environment {
 public:
  void TearDown() override { TheSharedEngine().reset(); }
};
inline ::testing::Environment* const shared_engine_end = ::testing::AddGlobalTestEnvironment(new SharedEngineEnd);

class TableTest : public ::testing::Test {
 protected:
  TableTest() : engine_(SharedEngine()) {
    std::string folder = (std::filesystem::temp_directory_path() / "cd4ml_table_XXXXXX").string();
    folder_ = mkdtemp(folder.data());
  }
  ~TableTest() override { std::filesystem::remove_all(folder_); }

  // Opening the library is most of a small test's time; a table of the same name is replaced.
  static TableEngine* SharedEngine() {
    std::unique_ptr<TableEngine>& engine = TheSharedEngine();
    if (engine == nullptr) engine = [] {
      const char* stated = std::getenv("CD4ML_DUCKDB");
      auto opened = OpenTableEngine(
          {.libraries = LibraryCandidates(stated == nullptr ? "" : stated, CD4ML_SOURCE_DIR),
           .work_folder = std::filesystem::temp_directory_path()});
      if (!opened.ok()) {
        std::cerr << opened.status() << std::endl;
        std::abort();  // Nothing below can run without it; the message says what to do.
      }
      return *std::move(opened);
    }();
    return engine.get();
  }

  std::string Write(const std::string& name, std::string_view bytes) {
    const std::filesystem::path path = std::filesystem::path(folder_) / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << bytes;
    return path.string();
  }

  absl::Status Add(const std::string& path, core::CsvFormat csv = {},
                   const std::string& name = "t") {
    return engine_->AddTable({.name = name, .path = path, .csv = std::move(csv)});
  }
  // Makes `bytes` the table `name`. Fails the test when that is refused.
  void Table(std::string_view bytes, const std::string& name = "t", core::CsvFormat csv = {}) {
    const absl::Status added = Add(Write(name + ".csv", bytes), std::move(csv), name);
    ASSERT_TRUE(added.ok()) << added;
  }
  // Returns why `bytes` are refused as a file of that name.
  std::string Refusal(const std::string& name, std::string_view bytes, core::CsvFormat csv = {}) {
    const absl::Status added = Add(Write(name, bytes), std::move(csv));
    EXPECT_EQ(added.code(), absl::StatusCode::kInvalidArgument) << added;
    return Message(added);
  }

  core::RuleResult Judge(core::RuleBody body, bool blocks = true) {
    return Judge(core::Rule{.name = "rule", .blocks = blocks, .body = std::move(body), .place = {}});
  }
  core::RuleResult JudgeBy(std::vector<std::string> by, core::RuleBody body) {
    return Judge(core::Rule{.name = "rule", .by = std::move(by), .body = std::move(body), .place = {}});
  }
  core::RuleResult Judge(const core::Rule& rule) { return engine_->Judge(rule, baselines_); }
  core::RuleResult Column(const std::string& column, void (*fill)(core::ColumnRule&)) {
    core::ColumnRule rule;
    rule.of = "t";
    rule.column = column;
    fill(rule);
    return Judge(rule);
  }
  // Returns how many rows the table `name` has, judged as a rule would.
  int64_t Rows(const std::string& name = "t") {
    return Judge(core::RowsRule{name, {0, std::nullopt}}).sample_size.value_or(-1);
  }

  std::string folder_;
  TableEngine* engine_;
  std::map<std::string, Baseline> baselines_;
};

inline core::CsvFormat Encoded(const std::string& encoding) {
  core::CsvFormat csv;
  csv.encoding = encoding;
  return csv;
}

}  // namespace cd4ml::table
