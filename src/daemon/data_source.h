// Where the data of a material comes from. Reading it copies the bytes into the blob store, and so fixes the version.
//
// An error says which material, what of it and what to do. Nothing refers to what was stored until then; what was read
// whole is found again the next time.
#pragma once

#include <stop_token>
#include <string>

#include "cd4ml/core/pipeline.h"
#include "cd4ml/daemon/daemon.h"

namespace cd4ml::daemon {

// What a source may need to know of the run.
struct DataContext {
  SourceRepo& repo;               // The definition's.
  std::string location;           // Of that repository.
  std::string commit;
  std::stop_token stop = {};
  bool anew = false;              // What is known of before does not count.
};

// Blocking; called in the background, from several threads at once.
class DataSource {
 public:
  virtual ~DataSource() = default;
  virtual absl::StatusOr<ArtifactRef> Read(const core::MaterialSpec& material, const DataContext& context) const = 0;
};

// Each keeps references to all.
std::unique_ptr<DataSource> MakeLocalData(const Settings& settings, BlobStore& blobs, FileSystem& files,
                                          const Clock& clock);
std::unique_ptr<DataSource> MakeRemoteData(const Settings& settings, const Ports& ports);
std::unique_ptr<DataSource> MakeGitData(const Settings& settings, const Ports& ports);
std::unique_ptr<DataSource> MakeDvcData(const Settings& settings, const Ports& ports);

// Returns the folder of what files hashed to.
inline std::string SeenFolder(const Settings& settings) { return settings.state_dir + "/seen"; }

// Returns an absolute path with links resolved, as far as it is there.
std::string RealPath(const std::string& path);

// Returns what to write instead of a location that holds a pattern; "" when it holds none.
std::string PatternHint(const std::string& location);

// Threads that hash. More than that wait for disks.
size_t HashThreads();

}  // namespace cd4ml::daemon
