// The phases of a process, and the ladder that ends it: SIGTERM to all of it, grace, then every
// kill there is.
#include "supervisor.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <ctime>
#include <set>

#include "cd4ml/base/log.h"
#include "cd4ml/base/status.h"
#include "cgroup.h"
#include "reaper.h"
#include "spawn.h"

namespace cd4ml::keeper {
namespace {

// How often it is looked whether the rest of an ending process is gone, where no SIGCHLD tells.
constexpr int64_t kPollMs = 50;
// A service that ran for so long is not failing; its next start does not wait for long.
constexpr int64_t kSteadyServiceMs = 10'000;
constexpr int64_t kRestartDelayMinMs = 100;  // Doubled after each quick exit.
constexpr int64_t kRestartDelayMaxMs = 10'000;
// How often a log is looked at: ten times within the silence that is allowed, but at most so often.
constexpr int64_t kLookMinMs = 10, kLookMaxMs = 1'000;
constexpr Duration kSpanMax{int64_t{365} * 86'400'000};

int64_t Milliseconds(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}
int64_t SteadyNow() { return Milliseconds(CLOCK_MONOTONIC); }
UtcTime WallNow() { return {Milliseconds(CLOCK_REALTIME)}; }

int64_t SizeOf(const std::string& path) {
  struct stat facts {};
  return stat(path.c_str(), &facts) == 0 ? facts.st_size : 0;
}

bool IsSpan(Duration span) { return span >= Duration(0) && span <= kSpanMax; }

bool HasNul(const std::string& text) { return text.find('\0') != std::string::npos; }

absl::Status CheckSpec(const ProcessSpec& spec) {
  if (!IsProcessId(spec.id)) {
    return absl::InvalidArgumentError(
        "a process id needs 1 to 200 letters, digits and characters of ._-+,@~, the first a letter or digit");
  }
  const auto refuse = [&](const std::string& reason) {
    return absl::InvalidArgumentError("process \"" + spec.id + "\" " + reason);
  };
  if (spec.argv.empty() || spec.argv[0].empty()) return refuse("has no command");
  if (spec.dir.empty() || spec.dir[0] != '/') return refuse("needs an absolute working directory");
  if (spec.log.empty() || spec.log[0] != '/') return refuse("needs an absolute path for its log");
  bool has_nul = HasNul(spec.dir) || HasNul(spec.log);
  for (const std::string& argument : spec.argv) has_nul = has_nul || HasNul(argument);
  for (const auto& [name, value] : spec.env) {
    has_nul = has_nul || HasNul(name) || HasNul(value);
    if (name.empty() || name.find('=') != std::string::npos) {
      return refuse("has the variable \"" + name + "\", which is no name");
    }
  }
  if (has_nul) return refuse("has a NUL in its command, environment or paths");
  if (!IsSpan(spec.timeout) || !IsSpan(spec.silence) || !IsSpan(spec.grace)) {
    return refuse("has a timeout, silence or grace that is negative or longer than a year");
  }
  return absl::OkStatus();
}

absl::Status UnknownProcess(const std::string& id) {
  return absl::NotFoundError("there is no process \"" + id.substr(0, 200) + "\"");
}

}  // namespace

Supervisor::Supervisor(const std::string& folder, std::string cgroup_root)
    : folder_(folder),
      cgroup_root_(std::move(cgroup_root)),
      boot_id_(BootId()),
      records_(folder + "/processes") {}

absl::Status Supervisor::Load() {
  RecordMap records = records_.Load();
  CD4ML_RETURN_IF_ERROR(records_.Rewrite(records));
  for (auto& [id, record] : records) {
    if (record.status.state == ProcessState::kExited) {
      ended_[id] = std::move(record);
    } else {
      Adopt(std::move(record));
    }
  }
  // What runs without a record, because the file was damaged, must end as well.
  for (const pid_t pid : AllPids()) {
    const std::string marker = Variable(pid, kMarker);
    if (!marker.starts_with(folder_ + "/")) continue;
    Record record;
    record.spec.id = record.status.id = marker.substr(folder_.size() + 1);
    record.boot_id = boot_id_;
    const std::string& id = record.spec.id;
    const bool known = live_.contains(id) || ended_.contains(id) || !IsProcessId(id);
    if (!known && records_.Add(record).ok()) Adopt(std::move(record));
  }
  Tick();
  return absl::OkStatus();
}

void Supervisor::Adopt(Record record) {
  LogWarn("a process has lost its keeper and is ended", {{"process", record.spec.id}});
  Process& process = live_[record.spec.id];
  static_cast<Record&>(process) = std::move(record);
  const bool same_boot = process.boot_id == boot_id_;
  process.status.lost = true;
  process.status.exit_code = -1;
  process.status.message =
      same_boot ? "its keeper was killed, so it was ended too" : "the machine was restarted";
  process.adopted = true;
  process.stopping = true;
  same_boot ? BeginEnding(process) : Conclude(process);
}

absl::Status Supervisor::Start(const ProcessSpec& spec) {
  CD4ML_RETURN_IF_ERROR(CheckSpec(spec));
  if (live_.contains(spec.id) || ended_.contains(spec.id)) {
    return absl::AlreadyExistsError("process \"" + spec.id + "\" has been started before");
  }
  Process process;
  process.spec = spec;
  process.boot_id = boot_id_;
  process.cgroup = MakeCgroup(cgroup_root_, spec.id);
  process.status.id = spec.id;
  process.status.started = WallNow();
  if (spec.timeout > Duration(0)) process.timeout_ms = SteadyNow() + spec.timeout.count();
  absl::Status status = records_.Add(process);
  if (status.ok()) {
    status = Launch(process);
    if (!status.ok()) records_.Remove(spec.id);
  }
  if (!status.ok()) {
    RemoveCgroup(process.cgroup);
    return Annotate(status, "process \"" + spec.id + "\"");
  }
  live_.emplace(spec.id, std::move(process));
  return absl::OkStatus();
}

absl::Status Supervisor::Launch(Process& process) {
  process.up_ms = process.heard_ms = process.look_ms = SteadyNow();
  const SpawnResult result = reapers_.Spawn(process.spec, Marker(process), process.cgroup);
  if (result.pid < 0) return absl::UnavailableError(result.message);
  process.start_ticks = StartTicks(result.pid);
  process.status.pid = result.pid;
  process.reaper = result.reaper;
  process.reaper_ticks = result.reaper_ticks;
  process.main_alive = process.reaper_alive = true;
  process.is_all_gone = false;
  process.phase = Phase::kUp;
  records_.Change(process);
  return absl::OkStatus();
}

absl::StatusOr<ProcessStatus> Supervisor::Status(const std::string& id) const {
  if (const auto live = live_.find(id); live != live_.end()) return live->second.status;
  if (const auto ended = ended_.find(id); ended != ended_.end()) return ended->second.status;
  return UnknownProcess(id);
}

std::vector<ProcessStatus> Supervisor::List(const std::string& after, size_t count_max) const {
  std::vector<ProcessStatus> list;
  auto live = live_.upper_bound(after);
  auto ended = ended_.upper_bound(after);
  while (list.size() < count_max && (live != live_.end() || ended != ended_.end())) {
    if (ended == ended_.end() || (live != live_.end() && live->first < ended->first)) {
      list.push_back((live++)->second.status);
    } else {
      list.push_back((ended++)->second.status);
    }
  }
  return list;
}

absl::StatusOr<ProcessMemory> Supervisor::Memory(const std::string& id) const {
  const auto live = live_.find(id);
  if (live == live_.end()) {
    return ended_.contains(id) ? absl::StatusOr<ProcessMemory>(ProcessMemory()) : UnknownProcess(id);
  }
  ProcessMemory memory;
  for (const ProcessEntry& entry : Members(live->second, /*freeze=*/false)) {
    memory.bytes += MemoryOf(entry.pid);
    memory.peak_of_one = std::max(memory.peak_of_one, PeakMemoryOf(entry.pid));
  }
  return memory;
}

absl::Status Supervisor::Kill(const std::string& id) {
  const auto live = live_.find(id);
  if (live == live_.end()) return ended_.contains(id) ? absl::OkStatus() : UnknownProcess(id);
  Process& process = live->second;
  if (process.main_alive || process.phase == Phase::kWaiting) process.status.killed = true;
  Stop(process);
  MoveConcluded();
  return absl::OkStatus();
}

void Supervisor::KillAll() {
  for (auto& [id, process] : live_) {
    if (process.main_alive || process.phase == Phase::kWaiting) process.status.killed = true;
    Stop(process);
  }
  MoveConcluded();
}

absl::Status Supervisor::Forget(const std::string& id) {
  if (live_.contains(id)) {
    return absl::FailedPreconditionError("process \"" + id + "\" has not ended; kill it first");
  }
  if (ended_.erase(id) == 0) return UnknownProcess(id);
  records_.Remove(id);
  return absl::OkStatus();
}

void Supervisor::SetEnded(Process& process, int wait_status, const rusage& usage) {
  process.main_alive = false;
  ProcessStatus& status = process.status;
  status.signal = WIFSIGNALED(wait_status) ? WTERMSIG(wait_status) : 0;
  status.exit_code = status.signal != 0 ? 128 + status.signal : WEXITSTATUS(wait_status);
  status.max_rss_bytes = std::max(status.max_rss_bytes, int64_t{usage.ru_maxrss} * 1024);
  status.cpu_seconds += static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                        static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

void Supervisor::TakeReports() {
  while (const std::optional<Ended> report = reapers_.TakeReport()) {
    const Ended& ended = *report;
    for (auto& [id, process] : live_) {
      if (!process.reaper_alive || process.reaper != ended.reaper) continue;
      SetEnded(process, ended.wait_status, ended.usage);
      process.status.message = Explain(ended.failure, process.spec);
      process.is_all_gone = ended.is_all;
      if (!ended.is_all) continue;
      process.reaper_alive = false;
      process.reaper = 0;
      reapers_.Return(ended.reaper);
    }
  }
}

void Supervisor::Reap() {
  int wait_status = 0;
  rusage usage{};
  while (const pid_t pid = wait4(-1, &wait_status, WNOHANG, &usage)) {
    if (pid < 0) break;
    TakeReports();  // A reaper tells before it ends: one that has told nothing by now was killed.
    reapers_.Forget(pid);
    for (auto& [id, process] : live_) {
      if (process.reaper_alive && process.reaper == pid) {
        process.reaper_alive = false;
        process.is_all_gone = !process.main_alive && WIFEXITED(wait_status);
        if (process.main_alive && !ReadEntry(process.status.pid)) SetLost(process);
      } else if (process.main_alive && process.status.pid == pid) {
        SetEnded(process, wait_status, usage);
      }
    }
  }
  Tick();
}

// Its reaper was killed after it had waited for the command, and before it could tell.
void Supervisor::SetLost(Process& process) {
  process.main_alive = false;
  process.status.lost = true;
  process.status.exit_code = -1;
  process.status.message = "its reaper was killed";
}

void Supervisor::Tick() {
  const int64_t now = SteadyNow();
  for (auto& [id, process] : live_) TickOne(process, now);
  MoveConcluded();
  if (records_.is_large()) RewriteRecords();
}

void Supervisor::RewriteRecords() {
  RecordMap records = ended_;
  for (const auto& [id, process] : live_) records[id] = process;
  const absl::Status status = records_.Rewrite(records);
  if (!status.ok()) LogError("the records keep growing", {{"error", Message(status)}});
}

void Supervisor::TickOne(Process& process, int64_t now) {
  switch (process.phase) {
    case Phase::kUp:
      if (!process.main_alive) {
        IsAnythingLeft(process) ? BeginEnding(process) : Conclude(process);
      } else if (HasRunOut(process, now)) {
        Stop(process);
      }
      return;
    case Phase::kEnding:
      if (!process.main_alive && !IsAnythingLeft(process)) {
        Conclude(process);
      } else if (now >= process.due_ms) {
        KillEverything(process);
        process.due_ms = now + kPollMs;
      }
      return;
    case Phase::kWaiting:
      if (HasRunOut(process, now)) {
        Stop(process);
      } else if (now >= process.due_ms) {
        Restart(process);
      }
      return;
  }
}

bool Supervisor::HasRunOut(Process& process, int64_t now) {
  if (process.stopping) return false;
  ProcessStatus& status = process.status;
  status.timed_out = process.timeout_ms != 0 && now >= process.timeout_ms;
  status.silent = !status.timed_out && process.phase == Phase::kUp && IsSilent(process, now);
  return status.timed_out || status.silent;
}

bool Supervisor::IsSilent(Process& process, int64_t now) {
  const int64_t silence = process.spec.silence.count();
  if (silence == 0 || now < process.look_ms) return false;
  process.look_ms = now + std::clamp(silence / 10, kLookMinMs, kLookMaxMs);
  // The log's size and no time of its file: those follow the wall clock, which jumps.
  const int64_t size = SizeOf(process.spec.log);
  if (std::exchange(process.log_size, size) != size) process.heard_ms = now;
  return now - process.heard_ms >= silence;
}

int Supervisor::MillisecondsLeft() const {
  int64_t left = -1;
  const int64_t now = SteadyNow();
  const auto consider = [&](int64_t when) {
    const int64_t wait = std::clamp<int64_t>(when - now, 0, 3'600'000);
    left = left < 0 ? wait : std::min(left, wait);
  };
  for (const auto& [id, process] : live_) {
    if (process.phase == Phase::kEnding) consider(std::min(process.due_ms, now + kPollMs));
    if (process.phase == Phase::kWaiting) consider(process.due_ms);
    if (process.phase != Phase::kEnding && process.timeout_ms != 0) consider(process.timeout_ms);
    if (process.phase == Phase::kUp && process.spec.silence > Duration(0)) consider(process.look_ms);
  }
  return static_cast<int>(left);
}

void Supervisor::Stop(Process& process) {
  process.stopping = true;
  if (process.phase == Phase::kWaiting) Conclude(process);
  if (process.phase == Phase::kUp) BeginEnding(process);
}

void Supervisor::BeginEnding(Process& process) {
  process.phase = Phase::kEnding;
  process.due_ms = SteadyNow() + process.spec.grace.count();
  WakeReaper(process);
  for (const ProcessEntry& entry : Members(process, /*freeze=*/false)) {
    Signal(entry, SIGTERM);
    Signal(entry, SIGCONT);  // A stopped process hears nothing.
  }
}

void Supervisor::Conclude(Process& process) {
  ProcessStatus& status = process.status;
  if (process.spec.keep_alive && !process.stopping) {
    const int64_t now = SteadyNow();
    if (now - process.up_ms >= kSteadyServiceMs) process.quick_exits = 0;
    const int64_t delay = kRestartDelayMinMs << std::min(process.quick_exits++, 10);
    process.phase = Phase::kWaiting;
    process.due_ms = now + std::min(delay, kRestartDelayMaxMs);
    status.pid = 0;
    return;
  }
  status.state = ProcessState::kExited;
  status.ended = WallNow();
  records_.Change(process);
}

void Supervisor::Restart(Process& process) {
  ++process.status.restarts;
  const absl::Status status = Launch(process);
  if (!status.ok()) Conclude(process);
}

void Supervisor::MoveConcluded() {
  for (auto live = live_.begin(); live != live_.end();) {
    ProcessStatus& status = live->second.status;
    if (status.state != ProcessState::kExited) {
      ++live;
      continue;
    }
    RemoveCgroup(live->second.cgroup);
    just_ended_.push_back(status);
    ended_[live->first] = std::move(live->second);
    live = live_.erase(live);
  }
}

bool Supervisor::IsKnown(pid_t pid) const {
  return reapers_.contains(pid) || std::any_of(live_.begin(), live_.end(), [&](const auto& entry) {
    const Process& process = entry.second;
    return process.main_alive && !process.reaper_alive && process.status.pid == pid;
  });
}

bool Supervisor::IsMember(const Process& process, const ProcessEntry& entry) const {
  const pid_t main = process.status.pid;
  if (main != 0 && entry.session == main && entry.start_ticks >= process.start_ticks) {
    // The number of a dead session may be in use again.
    const auto leader = ReadEntry(main);
    if (leader && leader->start_ticks == process.start_ticks) return true;
  }
  return Variable(entry.pid, kMarker) == Marker(process);
}

std::vector<pid_t> Supervisor::Roots(const Process& process) const {
  std::vector<pid_t> roots = CgroupPids(process.cgroup);
  const auto reaper = process.reaper != 0 ? ReadEntry(process.reaper) : std::nullopt;
  if (reaper && reaper->start_ticks == process.reaper_ticks) roots.push_back(process.reaper);
  if (process.adopted) {
    for (const pid_t pid : AllPids()) {
      const auto entry = ReadEntry(pid);
      if (entry && pid != getpid() && !IsKnown(pid) && IsMember(process, *entry)) roots.push_back(pid);
    }
  } else if (!process.reaper_alive && !process.is_all_gone) {
    if (process.main_alive) roots.push_back(process.status.pid);
    // Its reaper was killed: what comes to the keeper can only be of such a process.
    for (const pid_t pid : Children(getpid())) {
      if (!IsKnown(pid)) roots.push_back(pid);
    }
  }
  return roots;
}

std::vector<ProcessEntry> Supervisor::Members(const Process& process, bool freeze) const {
  std::vector<ProcessEntry> members;
  std::set<pid_t> seen;
  std::vector<pid_t> pending = Roots(process);
  while (!pending.empty()) {
    const pid_t pid = pending.back();
    pending.pop_back();
    if (!seen.insert(pid).second) continue;
    const auto entry = ReadEntry(pid);
    if (!entry) continue;
    if (pid != process.reaper) {  // It ends by itself, after all others.
      if (freeze) Signal(*entry, SIGSTOP);
      if (!entry->is_dead) members.push_back(*entry);
    }
    for (const pid_t child : Children(pid)) pending.push_back(child);
  }
  return members;
}

bool Supervisor::IsAnythingLeft(const Process& process) const {
  if (IsPopulated(process.cgroup)) return true;
  if (process.is_all_gone) return false;
  return process.reaper_alive || !Members(process, /*freeze=*/false).empty();
}

void Supervisor::WakeReaper(const Process& process) {
  if (process.reaper_alive) kill(process.reaper, SIGCONT);  // A command may have stopped it.
}

void Supervisor::KillEverything(const Process& process) const {
  WakeReaper(process);
  KillCgroup(process.cgroup);
  // Twice, because what was forked just before its parent stopped shows up only then.
  for (int pass = 0; pass < 2; ++pass) {
    for (const ProcessEntry& entry : Members(process, /*freeze=*/true)) Signal(entry, SIGKILL);
  }
}

}  // namespace cd4ml::keeper
