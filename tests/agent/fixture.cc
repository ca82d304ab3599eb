// What stands in for the world around an agent in its tests.
#include "tests/agent/fixture.h"

#include <arpa/inet.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "cd4ml/base/status.h"
#include "cd4ml/blob/open_blob_store.h"
#include "cd4ml/core/gate.h"
#include "cd4ml/schema/compile_schema.h"
#include "cd4ml/xml/parse_xml.h"
#include "cd4ml/yaml/yaml.h"

namespace cd4ml::agent {
namespace {

namespace fs = std::filesystem;

constexpr auto kPatience = std::chrono::seconds(120);  // An environment with its packages takes half a minute on a busy machine.

class FakeRepo : public SourceRepo {
 public:
  explicit FakeRepo(const FakeRepos& repos) : repos_(repos) {}

  absl::StatusOr<CommitFacts> Resolve(std::string_view) override {
    return absl::UnimplementedError("");
  }
  absl::StatusOr<std::string> ReadFile(std::string_view, std::string_view path, int64_t) override {
    const auto found = repos_.files.find(std::string(path));
    if (found != repos_.files.end()) return found->second;
    return absl::NotFoundError("no file " + std::string(path));
  }
  absl::StatusOr<std::vector<std::string>> ListFiles(std::string_view, std::string_view) override {
    return absl::UnimplementedError("");
  }
  absl::StatusOr<std::string> IdentifyFiles(std::string_view,
                                            const std::vector<std::string>&) override {
    return absl::UnimplementedError("");
  }
  absl::StatusOr<std::vector<std::string>> ChangedPaths(std::string_view,
                                                        std::string_view) override {
    return absl::UnimplementedError("");
  }
  absl::Status Export(std::string_view commit, const std::string& dir) override {
    if (commit != std::string(40, 'c'))
      return absl::NotFoundError("no commit " + std::string(commit));
    for (const auto& [path, text] : repos_.files) {
      fs::create_directories(fs::path(dir + "/" + path).parent_path());
      std::ofstream(dir + "/" + path, std::ios::binary) << text;
    }
    for (const auto& [path, target] : repos_.links) fs::create_symlink(target, dir + "/" + path);
    return absl::OkStatus();
  }

 private:
  const FakeRepos& repos_;
};

// Counts rows and knows one column, which is enough to see who asks what of which file.
class FakeTables : public TableEngine {
 public:
  absl::Status AddTable(const TableSource& source) override {
    const std::string text = FileBytes(source.path);
    if (text.empty()) return absl::InvalidArgumentError(source.path + " is empty");
    paths_[source.name] = source.path;
    rows_[source.name] = std::count(text.begin(), text.end(), '\n') - 1;
    return absl::OkStatus();
  }
  void SetNow(UtcTime now) override { now_ = now; }
  void SetStop(std::stop_token stop) override { stop_ = std::move(stop); }
  void SetRules(std::vector<core::Rule>) override {}
  core::RuleResult Judge(const core::Rule& rule,
                         const std::map<std::string, Baseline>& baselines) override {
    const std::string of(core::Subject(rule.body));
    if (const auto* sql = std::get_if<core::SqlRule>(&rule.body); sql != nullptr && sql->predicate == "endless") {
      std::ofstream(paths_.at(of) + ".asked") << "asked";
      std::mutex mutex;
      std::unique_lock lock(mutex);
      std::condition_variable_any().wait(lock, stop_, [] { return false; });
    }
    if (const auto* rows = std::get_if<core::RowsRule>(&rule.body)) {
      return core::JudgeNumber(rule, of, static_cast<double>(rows_.at(of)), " rows", rows->rows,
                               rows_.at(of));
    }
    if (const auto* drift = std::get_if<core::DriftRule>(&rule.body)) {
      const auto found = baselines.find(drift->versus);
      const bool known = found != baselines.end();
      return core::JudgeDrift(rule, *drift, known ? &found->second.profile : nullptr,
                              known ? found->second.identity : "", {}, rows_.at(of));
    }
    if (std::holds_alternative<core::FreshRule>(rule.body)) {
      return core::JudgeNumber(rule, of, static_cast<double>(now_.ms), " ms",
                               {static_cast<double>(now_.ms), std::nullopt}, std::nullopt);
    }
    if (std::holds_alternative<core::SegmentsRule>(rule.body)) {
      return core::JudgeNumber(rule, of, 1, " segments", {1, std::nullopt}, rows_.at(of));
    }
    if (!rule.blocks) return core::JudgeNumber(rule, of, 1, " bad rows", {std::nullopt, 0}, rows_.at(of));
    return core::CannotJudge(rule, of, "not known to the fake");
  }
  absl::StatusOr<std::vector<std::string>> QualifyingSegments(const core::SegmentsRule& rule) override {
    if (rule.by == std::vector<std::string>{"missing"}) return absl::NotFoundError("no such column");
    return std::vector<std::string>{"golf"};
  }
  absl::StatusOr<core::TableProfile> Profile(const std::string& table) override {
    core::TableProfile profile;
    profile.rows = rows_.at(table);
    return profile;
  }
  absl::StatusOr<std::map<std::string, core::ColumnProfile>> CountLike(const std::string&,
                                                                       const core::TableProfile&) override {
    return std::map<std::string, core::ColumnProfile>{};
  }
  // Every row is bad, which is enough to see what is kept when.
  absl::Status WriteBadRows(const std::string& table, const std::vector<core::Rule>& rules,
                            const std::string& path) override {
    std::ofstream(path) << table << " " << rows_.at(table) << " rows, " << rules.size() << " rules\n";
    return absl::OkStatus();
  }
  absl::StatusOr<core::MetricSet> PredictionMetrics(const std::string& path,
                                                    const core::PredictionsSpec&) override {
    core::MetricSet metrics;
    metrics.overall["mae"] = std::stod(FileBytes(path));
    return metrics;
  }

 private:
  std::map<std::string, int64_t> rows_;
  std::map<std::string, std::string> paths_;
  UtcTime now_;
  std::stop_token stop_;
};

class SocketClient : public HttpClient {
 public:
  absl::StatusOr<HttpResponse> Send(const HttpRequest& request) override {
    const size_t host = request.url.find("://") + 3;
    const size_t slash = request.url.find('/', host);
    const std::string authority = request.url.substr(host, slash - host);
    const int port = std::stoi(authority.substr(authority.find(':') + 1));
    const std::unique_ptr<Clock> clock = os::MakeClock();
    const Duration start = clock->Steady();
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    timeval timeout{2, 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
      close(fd);
      return absl::UnavailableError("nobody listens on port " + std::to_string(port));
    }
    std::string text = request.method + " " + request.url.substr(slash) +
                       " HTTP/1.0\r\nHost: " + authority + "\r\n";
    for (const auto& [name, value] : request.headers) text += name + ": " + value + "\r\n";
    text += "Content-Length: " + std::to_string(request.body.size()) + "\r\n\r\n" + request.body;
    (void)send(fd, text.data(), text.size(), MSG_NOSIGNAL);
    std::string answer;
    char buffer[4096];
    for (ssize_t n; (n = recv(fd, buffer, sizeof buffer, 0)) > 0;)
      answer.append(buffer, static_cast<size_t>(n));
    close(fd);
    HttpResponse response;
    response.seconds = static_cast<double>((clock->Steady() - start).count()) / 1e3;
    const size_t head = answer.find("\r\n\r\n");
    if (!answer.starts_with("HTTP/1.") || head == std::string::npos)
      return absl::InternalError("no HTTP");
    response.status = std::stoi(answer.substr(9, 3));
    response.body = answer.substr(head + 4);
    std::istringstream lines(answer.substr(0, head));
    for (std::string line; std::getline(lines, line);) {
      const size_t colon = line.find(": ");
      if (colon == std::string::npos) continue;
      std::string name = line.substr(0, colon);
      for (char& c : name) c = static_cast<char>(std::tolower(c));
      if (line.back() == '\r') line.pop_back();
      response.headers[name] = line.substr(colon + 2);
    }
    return response;
  }
};

}  // namespace

std::unique_ptr<HttpClient> MakeSocketClient() { return std::make_unique<SocketClient>(); }

// --- FakeDaemon ---

void FakeDaemon::Push() {
  std::function<void(DesiredState)> push;
  DesiredState desired;
  {
    std::lock_guard lock(mutex_);
    ++desired_.revision;
    push = on_desired_;
    desired = desired_;
  }
  if (push) push(desired);
}

void FakeDaemon::Want(Task task) {
  {
    std::lock_guard lock(mutex_);
    desired_.leases.push_back(std::make_shared<const Task>(std::move(task)));
  }
  Push();
}

void FakeDaemon::Unwant(const core::AttemptId& attempt) {
  {
    std::lock_guard lock(mutex_);
    std::erase_if(desired_.leases, [&](const TaskPtr& task) { return task->attempt == attempt; });
  }
  Push();
}

void FakeDaemon::WantServices(std::vector<ServiceTask> services) {
  {
    std::lock_guard lock(mutex_);
    desired_.services = std::move(services);
  }
  Push();
}

void FakeDaemon::SetAway(bool away) {
  std::function<void(absl::Status)> lost;
  {
    std::lock_guard lock(mutex_);
    away_ = away;
    if (away) {
      lost = std::exchange(on_lost_, nullptr);
      on_desired_ = nullptr;
      session_.clear();
    }
  }
  if (lost) lost(absl::UnavailableError("the daemon is away"));
}

void FakeDaemon::Accept() {
  std::lock_guard lock(mutex_);
  refusal = absl::OkStatus();
}

void FakeDaemon::Wipe() {
  std::lock_guard lock(mutex_);
  desired_ = {};
  outcomes_.clear();
  finishes_.clear();
  logs_.clear();
}

void FakeDaemon::Forbid(const core::AttemptId& attempt) {
  std::lock_guard lock(mutex_);
  forbidden_.insert(attempt);
}

bool FakeDaemon::WaitFor(const std::function<bool()>& holds) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, kPatience, holds);
}

core::Outcome FakeDaemon::Outcome(const core::AttemptId& attempt) {
  EXPECT_TRUE(WaitFor([&] { return outcomes_.contains(attempt); }))
      << "no outcome of " << core::ToText(attempt);
  std::lock_guard lock(mutex_);
  return outcomes_[attempt];
}

bool FakeDaemon::HasOutcome(const core::AttemptId& attempt) {
  std::lock_guard lock(mutex_);
  return outcomes_.contains(attempt);
}

int FakeDaemon::Finishes(const core::AttemptId& attempt) {
  std::lock_guard lock(mutex_);
  return finishes_[attempt];
}

std::string FakeDaemon::Log(const core::AttemptId& attempt) {
  std::lock_guard lock(mutex_);
  return logs_[attempt];
}

std::vector<PredictionRecord> FakeDaemon::Predictions() {
  std::lock_guard lock(mutex_);
  std::vector<PredictionRecord> all;
  for (const auto& [key, record] : predictions_) all.push_back(record);
  return all;
}

bool FakeDaemon::WaitForLog(const core::AttemptId& attempt, const std::string& log) {
  return WaitFor([&] { return logs_[attempt] == log; });
}

bool FakeDaemon::WaitForPredictions(size_t count) {
  return WaitFor([&] { return predictions_.size() >= count; });
}

AgentReport FakeDaemon::LastReport() {
  std::lock_guard lock(mutex_);
  return report_;
}

int FakeDaemon::sessions() {
  std::lock_guard lock(mutex_);
  return sessions_;
}

AgentHello FakeDaemon::hello() {
  std::lock_guard lock(mutex_);
  return hello_;
}

bool FakeDaemon::WaitUntilStarted(const core::AttemptId& attempt) {
  return WaitFor([&] {
    return std::any_of(report_.held.begin(), report_.held.end(), [&](const HeldLease& lease) {
      return lease.attempt == attempt && lease.started;
    });
  });
}

absl::Status FakeDaemon::Check(const std::string& session) {
  if (away_) return absl::UnavailableError("the daemon is away");
  return session == session_ ? absl::OkStatus() : absl::NotFoundError("the session is over");
}

void FakeDaemon::OpenSession(AgentHello hello, std::function<void(DesiredState)> on_desired,
                             std::function<void(absl::Status)> on_lost, Done<SessionGrant> done) {
  SessionGrant granted;
  absl::Status refused_with;
  {
    std::lock_guard lock(mutex_);
    refused_with = refusal;
    if (!refusal.ok()) ++refused;
    if (away_ || !refusal.ok()) {
      granted.session = "";
    } else {
      granted = grant;
      granted.session = session_ = "s" + std::to_string(++sessions_);
      hello_ = std::move(hello);
      on_desired_ = std::move(on_desired);
      on_lost_ = std::move(on_lost);
    }
    changed_.notify_all();
  }
  if (!refused_with.ok()) return done(refused_with);
  if (granted.session.empty()) return done(absl::UnavailableError("the daemon is away"));
  done(granted);
  Push();
}

void FakeDaemon::Report(std::string session, AgentReport report, DoneStatus done) {
  absl::Status status;
  {
    std::lock_guard lock(mutex_);
    status = Check(session);
    if (status.ok()) report_ = std::move(report);
    changed_.notify_all();
  }
  done(status);
}

void FakeDaemon::AppendLog(std::string session, core::AttemptId attempt, int64_t offset,
                           std::string bytes, Done<int64_t> done) {
  absl::StatusOr<int64_t> answer = absl::InternalError("");
  {
    std::lock_guard lock(mutex_);
    const absl::Status status = Check(session);
    std::string& log = logs_[attempt];
    if (!status.ok()) {
      answer = status;
    } else if (forbidden_.contains(attempt)) {
      answer = absl::AbortedError("stale");
    } else {
      const auto size = static_cast<int64_t>(log.size());
      if (offset <= size && offset + static_cast<int64_t>(bytes.size()) > size) {
        log += bytes.substr(static_cast<size_t>(size - offset));
        log.resize(std::min(log.size(), log_max));
      }
      answer = static_cast<int64_t>(log.size());
    }
    changed_.notify_all();
  }
  done(answer);
}

void FakeDaemon::Finish(std::string session, core::AttemptId attempt, core::Outcome outcome,
                        Done<int64_t> done) {
  absl::StatusOr<int64_t> answer = absl::InternalError("");
  {
    std::lock_guard lock(mutex_);
    const absl::Status status = Check(session);
    if (!status.ok()) {
      answer = status;
    } else if (forbidden_.contains(attempt)) {
      answer = absl::AbortedError("stale");
    } else {
      if (outcome.service && !outcome.service->endpoint.empty())
        Deployed(attempt, *outcome.service);
      outcomes_[attempt] = std::move(outcome);
      ++finishes_[attempt];
      std::erase_if(desired_.leases, [&](const TaskPtr& task) { return task->attempt == attempt; });
      answer = desired_.revision + 1;
    }
    changed_.notify_all();
  }
  done(answer);
  if (answer.ok()) Push();
}

void FakeDaemon::Deployed(const core::AttemptId& attempt, const core::StartedService& service) {
  for (const TaskPtr& lease : desired_.leases) {
    const Task& task = *lease;
    if (task.attempt != attempt || task.inputs.empty()) continue;
    std::erase_if(desired_.services, [&](const ServiceTask& old) {
      return old.pipeline == task.pipeline && old.environment == task.environment;
    });
    const TaskInput& package = task.inputs.begin()->second;
    desired_.services.push_back({task.deployment, task.environment, task.pipeline, attempt.stage,
                                 task.definition, package.artifact, package.path, service.endpoint,
                                 task.model_digest});
  }
}

void FakeDaemon::RecordPredictions(std::string deployment,
                                   std::vector<PredictionRecord> predictions, Done<int64_t> done) {
  bool away;
  {
    std::lock_guard lock(mutex_);
    away = away_;
    for (PredictionRecord& record : predictions) {
      if (!away) predictions_.emplace(deployment + "/" + record.key, std::move(record));
    }
    changed_.notify_all();
  }
  if (away) return done(absl::UnavailableError("the daemon is away"));
  done(static_cast<int64_t>(predictions.size()));
}

void FakeDaemon::CloseSession(std::string, DoneStatus done) {
  {
    std::lock_guard lock(mutex_);
    on_desired_ = nullptr;
    on_lost_ = nullptr;
    session_.clear();
  }
  done(absl::OkStatus());
}

absl::StatusOr<std::unique_ptr<SourceRepo>> FakeRepos::Open(const std::string& location) {
  if (location != "/repo") return absl::NotFoundError("no repository at " + location);
  return std::make_unique<FakeRepo>(*this);
}

// --- World ---

World::World() : clock(os::MakeClock()), parser(yaml::MakePipelineParser()), http_client(MakeSocketClient) {
  for (const char* name : {"daemon", "agent", "keeper"}) fs::create_directories(dir.At(name));
  absl::StatusOr<std::unique_ptr<BlobStore>> store = OpenBlobStore(dir.At("daemon"));
  EXPECT_TRUE(store.ok()) << store.status();
  blobs = *std::move(store);
  dir.Write("daemon/nonce", "same");
  daemon.grant.blob_dir = dir.At("daemon");
  daemon.grant.blob_nonce = "same";
  config.name = "agent-a";
  config.state_dir = dir.At("agent");
  config.host = "here";
  config.version = "1";
  config.facts = Value::Map{{"cpus", 2}};
  config.env = {{"PATH", "/usr/bin:/bin"}, {"HOME", dir.path()}};
}

World::~World() {
  Stop();
  const std::string pid = FileBytes(dir.At("keeper/keeper.lock"));
  processes_.reset();
  if (const int number = std::atoi(pid.c_str()); number > 1) kill(number, SIGTERM);
}

void World::Start() {
  if (!same_host) daemon.grant.blob_nonce = "other";
  absl::StatusOr<std::unique_ptr<ProcessRunner>> keeper =
      os::ConnectKeeper(dir.At("keeper"), CD4ML_KEEPER);
  ASSERT_TRUE(keeper.ok()) << keeper.status();
  processes_ = *std::move(keeper);
  AgentPorts ports{.daemon = daemon,
                   .daemon_blobs = *blobs,
                   .processes = *processes_,
                   .repos = repos,
                   .parser = *parser,
                   .clock = *clock,
                   .open_blobs = [](const std::string& path) { return OpenBlobStore(path); },
                   .table_engine = [this]() -> absl::StatusOr<std::unique_ptr<TableEngine>> {
                     if (!no_tables.ok()) return no_tables;
                     return std::make_unique<FakeTables>();
                   },
                   .http_client = http_client,
                   .load_client = load_client ? load_client : http_client,
                   .compile_schema = schema::CompileSchema,
                   .grpc_method = grpc_method,
                   .unpack =
                       [](const std::string& archive, const std::string&) {
                         return absl::InvalidArgumentError(archive + " is no archive");
                       },
                   .parse_xml = xml::ParseXml,
                   .free_port = os::FreePort,
                   .random = [] { return 0.1; },
                   .watch_reads = watch_reads};
  absl::StatusOr<std::unique_ptr<Agent>> agent = Agent::Open(config, std::move(ports));
  ASSERT_TRUE(agent.ok()) << agent.status();
  agent_ = *std::move(agent);
  thread_ = std::jthread([this](std::stop_token stop) { agent_->Run(stop); });
}

void World::Drain() { agent_->Drain(); }

void World::Stop() {
  thread_ = {};
  agent_.reset();
}

Task World::TaskOf(const std::string& definition, const std::string& stage, int number) {
  const ParsedPipeline parsed = parser->Parse(definition, "shop.cd4ml.yaml", nullptr);
  for (const core::Diagnostic& diagnostic : parsed.diagnostics) {
    EXPECT_NE(diagnostic.severity, core::Severity::kError) << core::Format(diagnostic);
  }
  Task task;
  task.attempt = {"shop/1", stage, number};
  task.pipeline = "shop";
  task.lane = "production";
  task.repo = "/repo";
  task.commit = std::string(40, 'c');
  task.definition = Store(parsed.expanded).digest;
  task.params = Value::Map{};
  task.timeout = Duration(60'000);
  return task;
}

core::Outcome World::Perform(const Task& task) {
  if (agent_ == nullptr) Start();
  daemon.Want(task);
  return daemon.Outcome(task.attempt);
}

ArtifactRef World::Store(std::string_view bytes) {
  const absl::StatusOr<Digest> digest = PutBytes(*blobs, bytes);
  EXPECT_TRUE(digest.ok()) << digest.status();
  return {digest.value_or(Digest()), false, static_cast<int64_t>(bytes.size()), 1};
}

ArtifactRef World::StoreTree(const std::string& path) {
  const absl::StatusOr<ArtifactRef> artifact = PutArtifact(*blobs, path, /*may_link=*/false);
  EXPECT_TRUE(artifact.ok()) << artifact.status();
  return artifact.value_or(ArtifactRef());
}

std::string World::Bytes(const ArtifactRef& artifact) {
  const absl::StatusOr<std::string> bytes = ReadBlob(*blobs, artifact.digest, 1 << 30);
  EXPECT_TRUE(bytes.ok()) << bytes.status();
  return bytes.value_or("");
}

void World::Pause() {
  std::mutex mutex;
  std::condition_variable never;
  std::unique_lock lock(mutex);
  never.wait_for(lock, std::chrono::milliseconds(5));
}

bool World::WaitForFile(const std::string& path) {
  for (int i = 0; i < 6'000 && !fs::exists(path); ++i) Pause();
  return fs::exists(path);
}

std::vector<ProcessStatus> World::Processes() {
  const absl::StatusOr<std::vector<ProcessStatus>> all = processes_->List();
  EXPECT_TRUE(all.ok()) << all.status();
  return all.value_or(std::vector<ProcessStatus>{});
}

}  // namespace cd4ml::agent
