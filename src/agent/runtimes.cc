// Builds runtimes under the keeper and checks that they stay what they were.
#include "agent/runtimes.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "agent/attempt.h"
#include "agent/exits.h"
#include "agent/files.h"
#include "agent/sweeper.h"
#include "cd4ml/base/log.h"
#include "cd4ml/base/status.h"
#include "cd4ml/base/text.h"
#include "cd4ml/core/runtime.h"

namespace cd4ml::agent {
namespace {

namespace fs = std::filesystem;
using Kind = core::RuntimeSpec::Kind;

constexpr int kLacking = 69;  // What the scripts below exit with when it is the host's fault.
constexpr int64_t kPackagesMax = 1 << 20;
constexpr Duration kClearMax{30'000};

// The lock file says all that is installed: nothing is looked up beside it, and what is missing is an error.
constexpr char kPythonScript[] = R"sh(
found=
for python in "python$(cut -d. -f1,2 <<<"$CD4ML_PYTHON")" python3; do
  has=$("$python" -c 'import platform; print(platform.python_version())' 2>/dev/null) || continue
  found+="${found:+ and }$has"
  [[ $has == "$CD4ML_PYTHON" || $has == "$CD4ML_PYTHON".* ]] || continue
  "$python" -m venv "$CD4ML_RUNTIME" || { echo "Python $has of this agent cannot make virtual environments"; exit 69; }
  pip=("$CD4ML_RUNTIME/bin/python" -m pip --disable-pip-version-check --no-input)
  "${pip[@]}" install --no-deps --requirement "$CD4ML_LOCK"
  "${pip[@]}" check
  "${pip[@]}" list --format=freeze >"$CD4ML_RUNTIME/packages.txt"
  exit 0
done
echo "this agent has no Python $CD4ML_PYTHON in its PATH${found:+, only $found}"
exit 69
)sh";

constexpr char kImageScript[] = R"sh(
found=
for engine in docker podman; do
  command -v "$engine" >/dev/null || continue
  found+="${found:+ and }$engine"
  "$engine" version >/dev/null 2>&1 || continue
  "$engine" image inspect "$CD4ML_IMAGE" >/dev/null 2>&1 || "$engine" pull "$CD4ML_IMAGE"
  echo "$engine" >"$CD4ML_RUNTIME/engine"
  exit 0
done
if [[ $found ]]; then
  echo "this agent's $found cannot be reached, which an image needs"
else
  echo "this agent has neither docker nor podman, which an image needs"
fi
exit 69
)sh";

// A container of that name can only be what a kill has left. Rootless podman makes the user root inside otherwise.
constexpr char kContainerScript[] = R"sh(
engine=$1 name=$2
shift 2
"$engine" rm --force "$name" >/dev/null 2>&1 || true
if [[ $engine == podman ]] && (($(id -u) != 0)); then set -- --userns keep-id "$@"; fi
exec "$engine" run --rm --init --name "$name" --network host --user "$(id -u):$(id -g)" "$@"
)sh";

std::vector<std::string> Bash(const char* script) { return {"bash", "-euo", "pipefail", "-c", script}; }

// Returns whether it comes and goes as programs run.
bool IsPassing(const fs::path& path) { return path.extension() == ".pyc" || path.filename() == "__pycache__"; }

// Identifies what is in a folder without reading it: names, sizes and times of change.
std::string TreeMark(const std::string& dir) {
  std::vector<std::string> lines;
  std::error_code error;
  for (fs::recursive_directory_iterator at(dir, error), end; !error && at != end; at.increment(error)) {
    std::error_code gone;
    if (at->is_directory(gone) && !at->is_symlink(gone)) continue;
    if (IsPassing(at->path())) continue;
    std::string line = at->path().string().substr(dir.size());
    if (at->is_symlink(gone)) {
      line += " -> " + fs::read_symlink(at->path(), gone).string();
    } else {
      line += " " + std::to_string(at->file_size(gone)) + " " +
              std::to_string(at->last_write_time(gone).time_since_epoch().count());
    }
    lines.push_back(std::move(line));
  }
  std::sort(lines.begin(), lines.end());
  std::string all;
  for (const std::string& line : lines) all += line + "\n";
  return Sha256(all).hex();
}

// Returns the lines of a file, or nothing.
Value::List LinesOf(const std::string& path) {
  Value::List lines;
  const std::string text = ReadText(path, kPackagesMax).value_or("");
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    if (end > begin && IsUtf8(text)) lines.emplace_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

// Returns the version of the interpreter that a virtual environment was made with, or "".
std::string PythonOf(const std::string& root) {
  constexpr std::string_view kKey = "version = ";
  for (const Value& line : LinesOf(root + "/pyvenv.cfg")) {
    if (line.string().starts_with(kKey)) return line.string().substr(kKey.size());
  }
  return "";
}

Value FactsOf(const core::RuntimeSpec& spec, const std::string& digest, const std::string& root) {
  Value::Map facts = {{"made_from", core::ToText(spec)}, {"digest", digest}};
  if (std::string python = PythonOf(root); !python.empty()) facts["python"] = std::move(python);
  if (Value::List packages = LinesOf(root + "/packages.txt"); !packages.empty()) facts["packages"] = std::move(packages);
  return facts;
}

// Engines take fewer characters than a process's id has: that of a matrix's cell has a @.
std::string ContainerName(const std::string& process) {
  std::string name = "cd4ml-" + process;
  for (char& c : name) {
    const bool is_taken = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_';
    if (!is_taken) c = '-';
  }
  return name == "cd4ml-" + process ? name : name + "-" + Sha256(process).hex().substr(0, 8);
}

}  // namespace

Runtimes::Runtimes(const Tools& tools) : tools_(tools), dir_(tools.config.state_dir + "/runtimes") {
  for (const std::string& name : ListNames(dir_)) {
    const Place place{dir_ + "/" + name};
    if (!name.ends_with(".json") && !Exists(place.done())) tools_.sweeper.Take(place.dir);
  }
}

absl::StatusOr<Runtime> Runtimes::Load(const std::string& digest, bool is_checked) const {
  CD4ML_ASSIGN_OR_RETURN(const Value record, ReadJson(RecordOf(digest)));
  const auto text = [&](const char* name) {
    const Value* value = record.Find(name);
    return value == nullptr ? "" : ToText(*value);
  };
  Runtime runtime;
  if (const Value* facts = record.Find("facts")) runtime.facts = *facts;
  runtime.dir = text("dir");
  runtime.engine = text("engine");
  runtime.image = text("image");
  if (is_checked && TreeMark(runtime.dir) != text("tree")) {
    return absl::DataLossError("the runtime in " + runtime.dir + " is not any more what was built");
  }
  return runtime;
}

Runtime Runtimes::Known(const core::RuntimeSpec& spec, const std::map<std::string, std::string>& files) const {
  if (!spec.is_pinned()) return {};
  return Load(core::RuntimeDigest(spec, files).hex(), /*is_checked=*/false).value_or(Runtime());
}

absl::StatusOr<Runtime> Runtimes::Get(const core::RuntimeSpec& spec, const std::map<std::string, std::string>& files,
                                      const RuntimeUser& user) {
  if (!spec.is_pinned()) return Runtime();
  const std::string digest = core::RuntimeDigest(spec, files).hex();
  // What an earlier agent has begun for this user: nobody knows how far it came.
  tools_.exits.End(user.process, user.halt);
  std::unique_lock lock(mutex_);
  if (busy_.contains(digest)) {
    if (!changed_.wait(lock, user.halt, [&] { return !busy_.contains(digest); })) {
      return absl::CancelledError("cancelled while its runtime was being made");
    }
    // Who has waited for it would not do better.
    if (const auto failed = failed_.find(digest); failed != failed_.end()) return failed->second;
  }
  busy_.insert(digest);
  lock.unlock();
  absl::StatusOr<Runtime> runtime = Load(digest, /*is_checked=*/true);
  if (absl::IsDataLoss(runtime.status())) {
    LogWarn("a runtime is made anew", {{"why", Message(runtime.status())}});
    user.say(Message(runtime.status()) + "; it is made anew");
  }
  if (!runtime.ok()) runtime = Build(spec, files, digest, user);
  lock.lock();
  busy_.erase(digest);
  failed_.erase(digest);
  if (!runtime.ok() && !absl::IsCancelled(runtime.status())) failed_.emplace(digest, runtime.status());
  changed_.notify_all();
  return runtime;
}

absl::StatusOr<Runtimes::Place> Runtimes::MakePlace(const std::string& digest,
                                                    const std::map<std::string, std::string>& files) {
  // Whoever still runs in an older one goes on with it.
  Place place;
  for (int number = 1; place.dir.empty() || Exists(place.dir); ++number) {
    place.dir = dir_ + "/" + digest.substr(0, 16) + "-" + std::to_string(number);
  }
  CD4ML_RETURN_IF_ERROR(MakeDirs(place.root()));
  CD4ML_RETURN_IF_ERROR(MakeDirs(place.files()));
  for (const auto& [path, text] : files) {
    if (!IsInside(path)) return absl::InvalidArgumentError(path + " would lie outside of the runtime's folder");
    const std::string file = place.files() + "/" + path;
    CD4ML_RETURN_IF_ERROR(MakeDirs(fs::path(file).parent_path().string()));
    CD4ML_RETURN_IF_ERROR(WriteText(file, text));
  }
  return place;
}

absl::StatusOr<Runtime> Runtimes::Build(const core::RuntimeSpec& spec, const std::map<std::string, std::string>& files,
                                        const std::string& digest, const RuntimeUser& user) {
  const Duration begun = tools_.ports.clock.Steady();
  user.say("making the runtime " + core::ToText(spec));
  CD4ML_ASSIGN_OR_RETURN(const Place place, MakePlace(digest, core::FilesOf(spec, files)));
  if (absl::Status built = RunBuild(spec, place, user); !built.ok()) {
    tools_.sweeper.Take(place.dir);
    return built;
  }
  Runtime runtime{FactsOf(spec, digest, place.root()), place.root(), "", ""};
  if (spec.kind == Kind::kImage) {
    const Value::List engine = LinesOf(place.root() + "/engine");
    runtime.engine = engine.empty() ? "" : engine.front().string();
    runtime.image = spec.image;
    SetPath(runtime.facts, "engine", runtime.engine);
  }
  CD4ML_RETURN_IF_ERROR(WriteText(place.done(), ""));
  CD4ML_RETURN_IF_ERROR(WriteText(RecordOf(digest), ToJson(Value::Map{{"facts", runtime.facts},
                                                                      {"dir", runtime.dir},
                                                                      {"engine", runtime.engine},
                                                                      {"image", runtime.image},
                                                                      {"tree", TreeMark(runtime.dir)}})));
  user.say("made the runtime in " + FormatDuration(tools_.ports.clock.Steady() - begun));
  return runtime;
}

absl::Status Runtimes::RunBuild(const core::RuntimeSpec& spec, const Place& place, const RuntimeUser& user) {
  const bool is_setup = spec.kind == Kind::kSetup;
  ProcessSpec process;
  process.id = user.process;
  process.argv = !is_setup                   ? Bash(spec.kind == Kind::kPython ? kPythonScript : kImageScript)
                 : spec.setup.argv.empty() ? Bash(spec.setup.script.c_str())
                                           : spec.setup.argv;
  process.env = tools_.config.env;
  process.env["CD4ML_RUNTIME"] = place.root();
  process.env["CD4ML_PYTHON"] = spec.python;
  process.env["CD4ML_LOCK"] = place.files() + "/" + spec.requirements;
  process.env["CD4ML_IMAGE"] = spec.image;
  process.dir = place.files();
  process.log = user.log;
  process.timeout = user.timeout;
  CD4ML_RETURN_IF_ERROR(user.start(process));
  const std::optional<ProcessStatus> ended = tools_.exits.Wait(process.id, user.halt);
  if (!ended || user.halt.stop_requested()) {
    (void)tools_.ports.processes.Kill(process.id);
    return absl::CancelledError("cancelled while its runtime was being made");
  }
  tools_.exits.Forget(process.id);
  const std::string what = "the runtime of " + user.who + " (" + core::ToText(spec) + ") ";
  if (ended->timed_out) {
    return absl::DeadlineExceededError(what + "was not made within " + FormatDuration(user.timeout) + LastWords(user.log));
  }
  if (ended->lost || ended->killed) return absl::UnavailableError(what + "was not made: its keeper was ended");
  if (ended->exit_code == 0) return absl::OkStatus();
  if (!ended->message.empty()) return absl::UnavailableError(what + "could not be made: " + ended->message);
  if (!is_setup && ended->exit_code == kLacking) return absl::UnavailableError(what + "cannot be made here" + LastWords(user.log));
  return absl::FailedPreconditionError(what + "could not be made: exit code " + std::to_string(ended->exit_code) +
                                       LastWords(user.log));
}

void Runtimes::Clear(const Runtime& runtime, const std::string& process) {
  if (runtime.engine.empty()) return;
  ProcessSpec spec;
  spec.id = process + ".clear";
  spec.argv = {runtime.engine, "rm", "--force", ContainerName(process)};
  spec.env = tools_.config.env;
  spec.dir = dir_;
  spec.log = "/dev/null";
  spec.timeout = kClearMax;
  if (!tools_.ports.processes.Start(spec).ok()) return;
  (void)tools_.exits.Wait(spec.id, kClearMax, std::stop_token());
  tools_.exits.Forget(spec.id);
}

void Enter(const Runtime& runtime, const std::string& folder, ProcessSpec& spec) {
  if (runtime.engine.empty()) {
    if (runtime.dir.empty()) return;
    std::string& path = spec.env["PATH"];
    path = runtime.dir + "/bin" + (path.empty() ? "" : ":" + path);
    spec.env["CD4ML_RUNTIME"] = runtime.dir;
    if (Exists(runtime.dir + "/pyvenv.cfg")) spec.env["VIRTUAL_ENV"] = runtime.dir;
    return;
  }
  std::vector<std::string> argv = Bash(kContainerScript);
  argv.insert(argv.end(), {"cd4ml", runtime.engine, ContainerName(spec.id), "--volume", folder + ":" + folder, "--workdir",
                           spec.dir, "--env", "HOME=/tmp"});
  for (const auto& [name, value] : spec.env) {
    // Where these lead is not in the container. Values are taken from the environment of the engine's client.
    if (name != "PATH" && name != "HOME" && name != "TMPDIR") argv.insert(argv.end(), {"--env", name});
  }
  argv.insert(argv.end(), {"--entrypoint", spec.argv.front(), runtime.image});
  argv.insert(argv.end(), spec.argv.begin() + 1, spec.argv.end());
  spec.argv = std::move(argv);
}

absl::Status EnterRuntime(Attempt& attempt, const core::PipelineSpec& pipeline, const core::StageSpec& stage,
                          bool is_known) {
  const core::RuntimeSpec& spec = core::RuntimeOf(pipeline, stage);
  Runtimes& runtimes = attempt.tools().runtimes;
  if (is_known) {
    attempt.set_runtime(runtimes.Known(spec, pipeline.files));
    return absl::OkStatus();
  }
  const RuntimeUser user{.who = "stage \"" + stage.name + "\"",
                         .process = attempt.ProcessId("runtime"),
                         .log = attempt.paths().log(),
                         .timeout = attempt.task().timeout,
                         .halt = attempt.halt(),
                         .start = [&](const ProcessSpec& process) { return attempt.Start(process); },
                         .say = [&](const std::string& line) { attempt.Say(line); }};
  CD4ML_ASSIGN_OR_RETURN(Runtime runtime, runtimes.Get(spec, pipeline.files, user));
  attempt.set_runtime(std::move(runtime));
  return absl::OkStatus();
}

}  // namespace cd4ml::agent
