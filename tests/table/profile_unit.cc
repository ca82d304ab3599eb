// Prints profiles and differences of tables as JSON, for the test that holds them against pandas.
//
//   profile_unit profile FILE ENCODING
//   profile_unit diff BEFORE AFTER
#include <cstdlib>
#include <filesystem>
#include <iostream>

#include "cd4ml/base/status.h"
#include "cd4ml/core/profile_diff.h"
#include "cd4ml/table/open_table_engine.h"

namespace cd4ml::table {
namespace {

absl::StatusOr<Value> Answer(const std::vector<std::string>& words) {
  const char* stated = std::getenv("CD4ML_DUCKDB");
  CD4ML_ASSIGN_OR_RETURN(const auto engine,
                         OpenTableEngine({.libraries = LibraryCandidates(stated == nullptr ? "" : stated, CD4ML_SOURCE_DIR),
                                          .work_folder = std::filesystem::temp_directory_path()}));
  core::CsvFormat csv;
  if (words[0] == "profile") csv.encoding = words[2];
  CD4ML_RETURN_IF_ERROR(engine->AddTable({.name = "a", .path = words[1], .csv = csv}));
  CD4ML_ASSIGN_OR_RETURN(const core::TableProfile before, engine->Profile("a"));
  if (words[0] == "profile") return core::ToValue(before);
  CD4ML_RETURN_IF_ERROR(engine->AddTable({.name = "b", .path = words[2], .csv = std::nullopt}));
  CD4ML_ASSIGN_OR_RETURN(const core::TableProfile after, engine->Profile("b"));
  CD4ML_ASSIGN_OR_RETURN(const auto counted, engine->CountLike("b", before));
  return core::ToValue(core::DiffProfiles(before, after, counted));
}

}  // namespace
}  // namespace cd4ml::table

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  if (words.size() != 3 || (words[0] != "profile" && words[0] != "diff")) {
    std::cerr << "profile_unit profile FILE ENCODING | diff BEFORE AFTER\n";
    return 2;
  }
  const absl::StatusOr<cd4ml::Value> answer = cd4ml::table::Answer(words);
  if (!answer.ok()) {
    std::cerr << cd4ml::Message(answer.status()) << "\n";
    return 1;
  }
  std::cout << cd4ml::ToJson(*answer) << std::endl;
  return 0;
}
