// What stages run in: virtual environments, images and whatever `setup` makes, built once and shared.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/tools.h"
#include "cd4ml/base/value.h"
#include "cd4ml/core/pipeline.h"

namespace cd4ml::agent {

class Attempt;

// A runtime that is there. The host's is one without a folder and without an engine.
struct Runtime {
  Value facts = "host";  // What is recorded of it.
  std::string dir;       // Its `bin` comes first in PATH.
  std::string engine;    // "docker" or "podman", for an image.
  std::string image;
};

// Who needs a runtime, and how one that is not there is built for them.
struct RuntimeUser {
  std::string who;      // `stage "train"`, for messages.
  std::string process;  // The id of the process that builds.
  std::string log;      // Where its output goes.
  Duration timeout{0};  // How long that may take; 0: however long.
  std::stop_token halt;
  std::function<absl::Status(ProcessSpec)> start;
  std::function<void(const std::string& line)> say;
};

// Thread-safe. A runtime lies in a folder of its own below <state>/runtimes, and is there once DIGEST.json says so; the
// folder of one whose making was interrupted is never used. Folders never move: virtual environments know their place.
class Runtimes {
 public:
  // Removes what was left unfinished.
  explicit Runtimes(const Tools& tools);

  // Returns the runtime, which is built first when it is not there or is not any more what was built. Of several
  // who need it at once, one builds and the others wait.
  //
  // FAILED_PRECONDITION: it cannot be built from these files, says why. DEADLINE_EXCEEDED: not in time. UNAVAILABLE: this
  // host lacks what it needs. CANCELLED: `halt`.
  absl::StatusOr<Runtime> Get(const core::RuntimeSpec& spec, const std::map<std::string, std::string>& files,
                              const RuntimeUser& user);

  // Returns what Get has returned before, also to an earlier agent; the host's when that is not known any more.
  Runtime Known(const core::RuntimeSpec& spec, const std::map<std::string, std::string>& files) const;

  // Removes the container of a process that did not end by itself; the engine keeps it although its client is gone.
  void Clear(const Runtime& runtime, const std::string& process);

 private:
  struct Place {
    std::string dir;
    std::string files() const { return dir + "/files"; }
    std::string root() const { return dir + "/root"; }
    std::string done() const { return dir + "/done"; }  // Its presence says that the folder is complete.
  };

  std::string RecordOf(const std::string& digest) const { return dir_ + "/" + digest + ".json"; }
  absl::StatusOr<Runtime> Load(const std::string& digest, bool is_checked) const;
  absl::StatusOr<Runtime> Build(const core::RuntimeSpec& spec, const std::map<std::string, std::string>& files,
                                const std::string& digest, const RuntimeUser& user);
  absl::StatusOr<Place> MakePlace(const std::string& digest, const std::map<std::string, std::string>& files);
  absl::Status RunBuild(const core::RuntimeSpec& spec, const Place& place, const RuntimeUser& user);

  const Tools& tools_;
  const std::string dir_;
  std::mutex mutex_;  // Guards all below.
  std::condition_variable_any changed_;
  std::set<std::string> busy_;                   // Digests that somebody looks after.
  std::map<std::string, absl::Status> failed_;  // By digest: how the last making ended, if badly.
};

// Has `spec` run in the runtime. A container sees `folder`, at the same place, and nothing else of the host's files.
void Enter(const Runtime& runtime, const std::string& folder, ProcessSpec& spec);

// Gets the runtime of the attempt's stage for it. `is_known`: its process was started by an earlier agent.
absl::Status EnterRuntime(Attempt& attempt, const core::PipelineSpec& pipeline, const core::StageSpec& stage,
                          bool is_known);

}  // namespace cd4ml::agent
