// Brings a database to this program's schema, one migration after the other.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "database.h"

namespace cd4ml::store {

struct Migration {
  std::string_view name;  // "0001_initial"; its place in the list is the schema's version.
  std::string_view script;
};

// Returns every migration of this program, oldest first.
const std::vector<Migration>& Migrations();

// Applies the migrations that are missing, with their records, in one transaction. Calls `back_up`
// with the old version before it changes a database that has been in use.
//
// FAILED_PRECONDITION: the database is of a newer program, of another program, or was made by other
// scripts.
absl::Status Migrate(Database& database, const std::vector<Migration>& migrations,
                     const std::function<absl::Status(int version)>& back_up);

// Copies the database beside itself as "PATH.schema-N.YYYYMMDDTHHMMSSZ.backup"; durable when it returns.
absl::Status BackUp(Database& database, const std::string& path, int version);

// Makes a file or a folder durable.
absl::Status SyncPath(const std::string& path);

// Returns the folder that a file is in.
std::string FolderOf(const std::string& path);

}  // namespace cd4ml::store
