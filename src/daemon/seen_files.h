// What files hashed to when they were read the last time, so that an unchanged one need not be read again.
//
// A cache only: whatever cannot be read of it is as if it had never been seen. Each source has a file of its own, which
// holds names in order, so that a million of them are matched in one pass.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "cd4ml/ports/blob_store.h"
#include "cd4ml/ports/file_system.h"

namespace cd4ml::daemon {

// A file of a source as it was read.
struct SeenFile {
  TreeEntry entry;
  std::string stamp;              // Differs when the content may; empty: never to be trusted.
};

class SeenFiles {
 public:
  // `folder`: where all these files lie. `source`: names one of them, in any words.
  SeenFiles(FileSystem& files, const std::string& folder, std::string_view source);

  struct Record {
    std::string_view name, stamp, digest;
    int64_t size = 0;
  };
  // Returns the record of each name, null where there is none. REQUIRES: sorted names. Valid as long as this is.
  std::vector<const Record*> Match(const std::vector<std::string>& names) const;

  // Keeps `seen`, which replaces what was there. REQUIRES: sorted by name. Failing to is not an error.
  void Save(const std::vector<SeenFile>& seen) const;

 private:
  void Parse();

  FileSystem& files_;
  std::string folder_, path_;
  std::string text_;
  std::vector<Record> records_;   // Parts of text_.
};

// Sets digest and size of `entry` to what the record says, and returns true, when the store still holds that.
bool TakeStored(const SeenFiles::Record& record, BlobStore& blobs, TreeEntry& entry);

// Gives those of `seen` that were not read what was known of them: a failure must not make the next reading slower.
void KeepKnown(const std::vector<const SeenFiles::Record*>& records, std::vector<SeenFile>& seen);

// Returns the stamp of a file on this machine, "" when it cannot be trusted: a file that was written right before it was
// read may be written again within the same tick of its file system's clock (what git calls racily clean).
std::string StampOf(const FileStat& stat, UtcTime read_at);

}  // namespace cd4ml::daemon
