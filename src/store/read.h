// Rows to values: what the writer needs at start and readers need at any time.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "cd4ml/core/event.h"
#include "cd4ml/core/run.h"
#include "cd4ml/ports/state_store.h"
#include "database.h"

namespace cd4ml::store {

// All of these return INVALID_ARGUMENT for a row that cannot be read, and other codes when SQLite
// fails.

// Returns the row of a run, or NOT_FOUND.
absl::StatusOr<int64_t> FindRunRow(Database& database, const core::RunId& id);

// Returns the whole run, with its attempts and their outcomes.
absl::StatusOr<core::Run> ReadRun(Database& database, int64_t row);

// Checks that the event whose `id, at_ms, kind, payload, digest` stand from `column` on is there and as it was written.
absl::Status CheckEvent(const Rows& rows, int column);
// Checks and reads an event that must be of the kind `kind`.
absl::StatusOr<core::Event> ReadEvent(const Rows& rows, int column, std::string_view kind);

// The columns that ReadDeployment reads, up to and including FROM.
extern const char kDeploymentColumns[];
absl::StatusOr<core::Deployment> ReadDeployment(const Rows& rows);

// Reads `kind, name, digest, artifact, is_tree, size, files, summary` from `column` on; NULL is no
// version.
absl::StatusOr<core::Version> ReadVersion(const Rows& rows, int column);

// Splits "pipeline/12" into its parts; number 0 when it is no such text.
struct RunName {
  std::string pipeline;
  int64_t number = 0;
};
RunName ParseRunName(std::string_view text);

// Parses a word of the schema.
template <typename Enum>
absl::Status ReadWord(const Rows& rows, int column, std::optional<Enum> (*parse)(std::string_view),
                      Enum& word) {
  const std::optional<Enum> parsed = parse(rows.Text(column));
  if (!parsed.has_value()) {
    return absl::InvalidArgumentError("\"" + std::string(rows.Text(column).substr(0, 40)) +
                                      "\" is no word of its column");
  }
  word = *parsed;
  return absl::OkStatus();
}

}  // namespace cd4ml::store
