// Answers from maps; the order of events is the test's to decide.
#include "cli/fake_daemon.h"

#include <algorithm>

#include "cd4ml/base/status.h"

namespace cd4ml::cli {
namespace {

class FakeControl : public ControlApi {
 public:
  explicit FakeControl(FakeDaemon& daemon) : daemon_(daemon) {}

  void RegisterPipeline(RegisterRequest request, Done<RegisterResult> done) override {
    daemon_.registrations.push_back(request);
    Answer(daemon_.registered, done);
  }
  void StartRun(StartRequest request, Done<StartedRun> done) override {
    daemon_.started.push_back(request);
    Answer(StartedRun{daemon_.runs.empty() ? core::Run() : daemon_.runs.rbegin()->second.run, daemon_.already}, done);
  }
  void PlanRun(StartRequest request, Done<PlannedRun> done) override {
    daemon_.started.push_back(request);
    Answer(daemon_.plan, done);
  }
  void CancelRun(core::RunId run, std::string reason, Done<core::Run> done) override {
    if (!daemon_.runs.contains(run)) return done(absl::NotFoundError("no run \"" + run + "\""));
    daemon_.cancelled.push_back(run + ": " + reason);
    core::Run& cancelled = daemon_.runs[run].run;
    cancelled.cancel_requested = true;
    Answer(cancelled, done);
  }
  void RetryRun(RetryRequest request, Done<StartedRun> done) override {
    daemon_.retried.push_back(request);
    Answer(StartedRun{daemon_.runs.empty() ? core::Run() : daemon_.runs.rbegin()->second.run, daemon_.already}, done);
  }
  void BackUp(std::string dir, Done<BackupReport> done) override {
    daemon_.upkeep = "back up to " + dir;
    Answer(daemon_.backup, done);
  }
  void Scrub(int64_t bytes_per_second, Done<ScrubReport> done) override {
    daemon_.upkeep = "scrub " + std::to_string(bytes_per_second);
    Answer(daemon_.scrub, done);
  }
  void ReproduceRun(ReproduceRequest request, Done<StartedRun> done) override {
    daemon_.reproduced.push_back(request);
    Answer(StartedRun{daemon_.runs["used-car-price/9"].run, daemon_.already}, done);
  }
  void DrainAgent(std::string agent, bool drained, std::string reason,
                  Done<AgentRecord> done) override {
    for (AgentView& view : daemon_.agents) {
      if (view.agent.name != agent) continue;
      daemon_.drained.push_back(agent + (drained ? ": " + reason : " undrained"));
      view.agent.drained = drained;
      view.agent.drain_reason = drained ? reason : "";
      return Answer(view.agent, done);
    }
    done(absl::NotFoundError("there is no agent \"" + agent + "\""));
  }

 private:
  template <typename T>
  void Answer(const T& value, const Done<T>& done) {
    if (!daemon_.answers) return;
    if (!daemon_.failure.ok()) return done(daemon_.failure);
    done(value);
  }

  FakeDaemon& daemon_;
};

class FakeSubscription : public Subscription {
 public:
  explicit FakeSubscription(FakeDaemon& daemon) : daemon_(daemon) {}
  ~FakeSubscription() override { daemon_.watcher = nullptr; }

 private:
  FakeDaemon& daemon_;
};

class FakeQuery : public QueryApi {
 public:
  explicit FakeQuery(FakeDaemon& daemon) : daemon_(daemon) {}

  absl::StatusOr<ServerFacts> GetServer() override {
    CD4ML_RETURN_IF_ERROR(daemon_.failure);
    return ServerFacts{"0.1.0", "5f2c", "/var/lib/cd4ml", "/var/lib/cd4ml/cd4ml.db",
                       kStart + Duration(-90'000), "", {}, {}, 0, daemon_.signing_key};
  }
  absl::StatusOr<RunView> GetRun(const std::string& run) override {
    CD4ML_RETURN_IF_ERROR(daemon_.failure);
    const auto found = daemon_.runs.find(run);
    if (found == daemon_.runs.end()) return absl::NotFoundError("no run \"" + run + "\"");
    return found->second;
  }
  absl::StatusOr<std::vector<RunSummary>> ListRuns(const RunFilter& filter) override {
    CD4ML_RETURN_IF_ERROR(daemon_.failure);
    daemon_.filters.push_back(filter);
    return daemon_.summaries;
  }
  absl::StatusOr<std::unique_ptr<Subscription>> WatchRun(
      const std::string& run, std::function<void(RunView)> on_change,
      std::function<void(absl::Status)> on_end) override {
    CD4ML_ASSIGN_OR_RETURN(RunView view, GetRun(run));
    daemon_.watcher = on_change;
    daemon_.watcher_end = on_end;
    on_change(view);
    if (!daemon_.watch_failures.empty()) {
      on_end(daemon_.watch_failures.front());
      daemon_.watch_failures.erase(daemon_.watch_failures.begin());
    } else if (core::IsTerminal(view.run.state)) {
      on_end(absl::OkStatus());
    }
    return std::make_unique<FakeSubscription>(daemon_);
  }
  absl::StatusOr<LogChunk> ReadLog(const core::AttemptId& attempt, int64_t offset, bool) override {
    CD4ML_RETURN_IF_ERROR(daemon_.failure);
    const std::string& log = daemon_.logs[attempt];
    const core::StageRun* stage = daemon_.runs[attempt.run].run.FindStage(attempt.stage);
    // Small chunks, so that lines are cut in the middle.
    const auto from = std::min(static_cast<size_t>(offset), log.size());
    LogChunk chunk{offset, log.substr(from, 7), false};
    const bool is_over = stage != nullptr && core::IsTerminal(stage->state);
    chunk.end = is_over && from + chunk.bytes.size() == log.size();
    return chunk;
  }
  absl::StatusOr<std::vector<PipelineRecord>> ListPipelines() override {
    CD4ML_RETURN_IF_ERROR(daemon_.failure);
    return daemon_.pipelines;
  }
  absl::StatusOr<PipelineRecord> GetPipeline(const std::string& name) override {
    for (const PipelineRecord& pipeline : daemon_.pipelines) {
      if (pipeline.name == name) return pipeline;
    }
    return absl::NotFoundError("no pipeline \"" + name + "\" is registered");
  }
  absl::StatusOr<std::vector<AgentView>> ListAgents() override {
    CD4ML_RETURN_IF_ERROR(daemon_.failure);
    return daemon_.agents;
  }
  absl::StatusOr<std::vector<core::Deployment>> ListDeployments(const std::string& environment,
                                                                UtcTime at, int) override {
    std::vector<core::Deployment> found;
    for (const core::Deployment& deployment : daemon_.deployments) {
      const bool was_live = !at.is_set() || (deployment.started <= at &&
                                             (!deployment.ended.is_set() || at < deployment.ended));
      if ((environment.empty() || deployment.environment == environment) && was_live)
        found.push_back(deployment);
    }
    return found;
  }
  absl::StatusOr<std::vector<MonitorView>> ListMonitors(int) override { return daemon_.monitors; }
  absl::StatusOr<Impact> FindImpact(const std::string& reference) override {
    if (daemon_.impact.versions.empty() || daemon_.impact.versions[0].name != reference)
      return absl::NotFoundError("no data and no commit is known as \"" + reference + "\"");
    return daemon_.impact;
  }
  absl::StatusOr<core::Reproduction> JudgeReproduction(const std::string& run,
                                                       std::optional<double> tolerance) override {
    CD4ML_ASSIGN_OR_RETURN(const RunView rebuilt, GetRun(run));
    CD4ML_ASSIGN_OR_RETURN(const RunView original, GetRun(rebuilt.run.retry_of));
    return core::JudgeReproduction(original.run, rebuilt.run, tolerance);
  }
  // As the daemon does, but for git.
  absl::StatusOr<RunComparison> CompareRuns(const std::string& before, const std::string& after,
                                            core::Compared compared) override {
    CD4ML_ASSIGN_OR_RETURN(const RunView then, GetRun(before));
    CD4ML_ASSIGN_OR_RETURN(const RunView now, GetRun(after));
    RunComparison comparison = daemon_.comparison;
    comparison.before = before;
    comparison.after = after;
    comparison.differences = core::CompareRuns(then.run, now.run, {{"train.mae", false}}, compared);
    return comparison;
  }
  absl::StatusOr<std::string> ExportDocument(const std::string& reference, DocumentKind kind) override {
    const auto found = daemon_.documents.find({reference, kind});
    if (found == daemon_.documents.end()) return absl::NotFoundError("nothing is named \"" + reference + "\"");
    return found->second;
  }
  absl::StatusOr<LineageGraph> TraceLineage(const std::string& reference, LineageDirection,
                                            int) override {
    if (reference != daemon_.lineage.root)
      return absl::NotFoundError("nothing is named \"" + reference + "\"");
    return daemon_.lineage;
  }

 private:
  FakeDaemon& daemon_;
};

class FakeStorage : public StorageApi {
 public:
  explicit FakeStorage(FakeDaemon& daemon) : daemon_(daemon) {}

  void CollectGarbage(GcRequest request, Done<GcReport> done) override {
    if (!daemon_.failure.ok()) return done(daemon_.failure);
    GcReport report;
    report.dry_run = request.dry_run;
    report.blobs = 1'240;
    report.bytes = int64_t{9} << 30;
    report.kept = {{"live deployment used-car-price/3/release", 12, int64_t{3} << 30},
                   {"used within the last 7d0h", 4, 2 << 20}};
    report.removed = {{Sha256("model"), int64_t{2} << 30, "model:used-car-price/train.model",
                       "nothing that is kept refers to it", request.by, kStart},
                      {Sha256("orphan"), 512, "", "nothing that is kept refers to it", request.by, kStart}};
    report.removed_blobs = 2;
    report.removed_bytes = (int64_t{2} << 30) + 512;
    report.used_before = int64_t{6} << 30;
    report.used_after = request.dry_run ? report.used_before : int64_t{3} << 30;
    report.folded_blobs = request.dry_run ? 0 : 1;
    done(report);
  }
  void SetPin(std::string reference, std::string reason, std::string by, Done<Pin> done) override {
    if (!daemon_.failure.ok()) return done(daemon_.failure);
    daemon_.pins.push_back({reference, reference, reason, by, kStart});
    done(daemon_.pins.back());
  }
  void RemovePin(std::string reference, Done<Pin> done) override {
    for (const Pin& pin : daemon_.pins) {
      if (pin.reference == reference) return done(pin);
    }
    done(absl::NotFoundError("nothing is pinned as \"" + reference + "\""));
  }
  absl::StatusOr<std::vector<Pin>> ListPins() override {
    CD4ML_RETURN_IF_ERROR(daemon_.failure);
    return daemon_.pins;
  }

 private:
  FakeDaemon& daemon_;
};

class FakeGates : public GateApi {
 public:
  explicit FakeGates(FakeDaemon& daemon) : daemon_(daemon) {}

  void OverrideRule(OverrideRequest request, Done<OverrideView> done) override {
    if (!daemon_.failure.ok()) return done(daemon_.failure);
    daemon_.override_request = request;
    core::OverrideRecord record{.id = 3, .pipeline = "used-car-price", .gate = request.gate, .rule = request.rule,
                                .run = request.run, .by = request.by, .reason = request.reason, .at = kStart,
                                .expires = kStart + request.lasting};
    done(OverrideView{record, "in force"});
  }
  void RevokeOverride(int64_t id, std::string by, Done<OverrideView> done) override {
    for (OverrideView& view : daemon_.overrides) {
      if (view.record.id != id) continue;
      view.record.revoked_by = by;
      view.state = "revoked";
      return done(view);
    }
    done(absl::NotFoundError("there is no override " + std::to_string(id)));
  }
  absl::StatusOr<std::vector<OverrideView>> ListOverrides(const std::string&) override {
    CD4ML_RETURN_IF_ERROR(daemon_.failure);
    return daemon_.overrides;
  }
  absl::StatusOr<std::vector<GateRecord>> GateHistory(const std::string& pipeline, const std::string& gate,
                                                      int limit) override {
    CD4ML_RETURN_IF_ERROR(daemon_.failure);
    if (pipeline != "used-car-price" || gate != "model-gate") {
      return absl::NotFoundError("no run of pipeline \"" + pipeline + "\" has judged a gate \"" + gate + "\"");
    }
    std::vector<GateRecord> records = daemon_.gate_records;
    records.resize(std::min(records.size(), static_cast<size_t>(limit)));
    return records;
  }

 private:
  FakeDaemon& daemon_;
};

core::StageRun MakeStage(const std::string& name, core::StageKind kind,
                         std::vector<std::string> needs) {
  core::StageRun stage;
  stage.plan.name = name;
  stage.plan.kind = kind;
  stage.plan.needs = std::move(needs);
  stage.plan.timeout = Duration(600'000);
  return stage;
}

core::RuleResult MakeRule(const std::string& name, core::VerdictOutcome outcome,
                          const std::string& observed, const std::string& bound, int64_t samples) {
  core::RuleResult rule;
  rule.name = name;
  rule.outcome = outcome;
  rule.subject = name;
  rule.observed = observed;
  rule.bound = bound;
  if (samples > 0) rule.sample_size = samples;
  return rule;
}

std::string JsonOf(const std::string& kind, const std::string& id) {
  return ToJson(Value(Value::Map{{kind, id}}));
}

core::StageSpec GateStage(const std::string& name, core::StageKind kind) {
  core::StageSpec stage;
  stage.name = name;
  stage.kind = kind;
  stage.inputs = {{.name = "raw", .from = "listings", .at = "", .place = {}}};
  stage.outputs = {{.name = "clean", .path = "clean.csv"}};
  return stage;
}

JsonPrinters MakePrinters() {
  return {
      .run = [](const core::Run& run) { return JsonOf("run", run.id); },
      .run_summary = [](const RunSummary& run) { return JsonOf("run", run.id); },
      .plan = [](const PlannedRun& plan) { return JsonOf("plan", plan.pipeline); },
      .registered =
          [](const RegisterResult& result) { return JsonOf("registered", result.commit); },
      .pipeline = [](const PipelineRecord& pipeline) { return JsonOf("pipeline", pipeline.name); },
      .agent = [](const AgentView& agent) { return JsonOf("agent", agent.agent.name); },
      .deployment =
          [](const core::Deployment& deployment) { return JsonOf("deployment", deployment.id); },
      .monitor = [](const MonitorView& view) { return JsonOf("monitor", view.monitor.id()); },
      .lineage = [](const LineageGraph& graph) { return JsonOf("root", graph.root); },
      .comparison =
          [](const RunComparison& comparison) { return JsonOf("comparison", comparison.after); },
      .impact = [](const Impact& impact) { return JsonOf("impact", impact.versions[0].name); },
      .reproduction =
          [](const core::Reproduction& found) { return JsonOf("reproduction", found.rebuilt); },
      .server = [](const ServerFacts& facts) { return JsonOf("server", facts.version); },
      .gc = [](const GcReport& report) { return JsonOf("removed", std::to_string(report.removed_blobs)); },
      .pin = [](const Pin& pin) { return JsonOf("pin", pin.target); },
      .override_view = [](const OverrideView& view) { return JsonOf("override", std::to_string(view.record.id)); },
      .gate_record =
          [](const GateRecord& record) {
            return JsonOf(record.run, std::to_string(record.outcome.verdict->rules.size()) + " rules");
          },
      .backup = [](const BackupReport& report) { return JsonOf("backup", report.name); },
      .scrub = [](const ScrubReport& report) { return JsonOf("scrub", std::to_string(report.blobs)); },
      .verdict = [](const core::Verdict& verdict) { return JsonOf("verdict", std::string(core::ToText(verdict.outcome))); }};
}

}  // namespace

void FakeDaemon::Change(const RunView& view) {
  runs[view.run.id] = view;
  if (!watcher) return;
  watcher(view);
  if (core::IsTerminal(view.run.state)) watcher_end(absl::OkStatus());
}

Connection ConnectTo(FakeDaemon& daemon) {
  return {std::make_unique<FakeControl>(daemon), std::make_unique<FakeQuery>(daemon),
          std::make_unique<FakeStorage>(daemon), [&daemon](const Digest& digest, int64_t) -> absl::StatusOr<std::string> {
            const auto found = daemon.artifacts.find(digest.hex());
            if (found == daemon.artifacts.end()) return absl::NotFoundError("there is no such blob");
            return found->second;
          },
          std::make_unique<FakeGates>(daemon)};
}

ParsedPipeline FakeParser::Parse(std::string_view text, std::string_view file,
                                 const core::Scope*) const {
  ParsedPipeline parsed;
  if (text.starts_with("bad")) {
    parsed.diagnostics = {{.code = "CD0121",
                           .severity = core::Severity::kError,
                           .message = "unknown key \"need\" in stage \"train\"",
                           .file = std::string(file),
                           .place = {14, 7, 4},
                           .snippet = "      need: [features]",
                           .label = "did you mean \"needs\"?",
                           .help = ""},
                          {.code = "CD0107",
                           .severity = core::Severity::kWarning,
                           .message = "number out of range",
                           .file = std::string(file),
                           .place = {20, 3, 2},
                           .snippet = "  x: 99",
                           .label = "",
                           .help = ""}};
    return parsed;
  }
  parsed.spec.name = "cars";
  if (text.starts_with("gates")) {
    parsed.spec.stages = {GateStage("data", core::StageKind::kDataGate), GateStage("model", core::StageKind::kModelGate),
                          GateStage("contract", core::StageKind::kContractGate)};
    if (text.starts_with("gates: one")) parsed.spec.stages.resize(1);
    return parsed;
  }
  for (const char* name : {"clean", "features", "train"}) {
    core::StageSpec stage;
    stage.name = name;
    if (stage.name == "train") stage.needs = {"clean", "features"};
    parsed.spec.stages.push_back(stage);
  }
  return parsed;
}

absl::StatusOr<Value> FakeParser::ParseParams(std::string_view, std::string_view) const {
  return absl::UnimplementedError("not asked by the CLI");
}

absl::StatusOr<Value> FakeParser::ParseDocument(std::string_view, std::string_view) const {
  return absl::UnimplementedError("not asked by the CLI");
}

absl::StatusOr<std::string> FakeParser::WriteParams(const Value&, std::string_view, std::string_view) const {
  return absl::UnimplementedError("not asked by the CLI");
}

absl::Status FakeTables::AddTable(const TableSource& source) {
  if (tables_.contains(source.path)) return absl::OkStatus();
  return absl::InvalidArgumentError("table \"" + source.name + "\": there is no file \"" + source.path + "\"");
}

core::RuleResult FakeTables::Judge(const core::Rule& rule, const std::map<std::string, Baseline>&) {
  core::RuleResult result = core::CannotJudge(rule, "", "");
  if (core::Subject(rule.body) == "ragged.csv") result.rows = {"line 3: 1 of 2 fields: 3"};
  return result;
}

absl::StatusOr<std::vector<std::string>> FakeTables::QualifyingSegments(const core::SegmentsRule&) {
  return absl::UnimplementedError("not asked by the CLI");
}

absl::StatusOr<core::TableProfile> FakeTables::Profile(const std::string& table) { return tables_.at(table); }

// Tables of these tests have the same bins, so that their own counts are those of the reference's.
absl::StatusOr<std::map<std::string, core::ColumnProfile>> FakeTables::CountLike(const std::string& table,
                                                                                 const core::TableProfile& reference) {
  std::map<std::string, core::ColumnProfile> counted;
  for (const auto& [name, column] : tables_.at(table).columns) {
    if (reference.columns.contains(name)) counted[name] = column;
  }
  return counted;
}

absl::Status FakeTables::WriteBadRows(const std::string&, const std::vector<core::Rule>&, const std::string&) {
  return absl::UnimplementedError("not asked by the CLI");
}

absl::StatusOr<core::MetricSet> FakeTables::PredictionMetrics(const std::string&, const core::PredictionsSpec&) {
  return absl::UnimplementedError("not asked by the CLI");
}

CliResult FakeWorld::Run(const std::vector<std::string>& words) {
  std::ostringstream out, err;
  const CliPorts ports{.connect =
                           [this](const std::string& server) {
                             connected_to = server;
                             return ConnectTo(daemon);
                           },
                       .parser = parser,
                       .clock = clock,
                       .json = MakePrinters(),
                       .read_file = [this](const std::string& path) -> absl::StatusOr<std::string> {
                         if (!files.contains(path))
                           return absl::NotFoundError("there is no file \"" + path + "\"");
                         return files[path];
                       },
                       .write_file = [this](const std::string& path, const std::string& text) -> absl::Status {
                         files[path] = text;
                         return absl::OkStatus();
                       },
                       // A key signs with itself.
                       .check_signature = [](std::string_view key, std::string_view bytes,
                                             std::string_view signature) -> absl::Status {
                         if (signature == std::string(key) + std::string(bytes)) return absl::OkStatus();
                         return absl::DataLossError("the signature is not of these bytes");
                       },
                       .test_gate = [this](const GateTest& test) {
                         tested.push_back(test);
                         return verdict;
                       },
                       .table_engine = [this]() -> absl::StatusOr<std::unique_ptr<TableEngine>> {
                         if (!no_tables.empty()) return absl::FailedPreconditionError(no_tables);
                         return std::make_unique<FakeTables>(tables);
                       },
                       .find_definitions =
                           [this] {
                             std::vector<std::string> names;
                             for (const auto& [name, text] : files) names.push_back(name);
                             return names;
                           },
                       .check_contracts = [this](const core::PipelineSpec& pipeline, const RepoReader& read) {
                         return contract_check(pipeline, read);
                       },
                       .checkout_of = [](const std::string& file) { return "/checkout/of/" + file; },
                       .terminal_size = [this] { return size; },
                       .interrupted = [this] { return interrupted(); },
                       .new_key = [] { return std::string("key-1"); },
                       .out = {out, is_terminal},
                       .err = {err, is_terminal},
                       .environment = environment,
                       .user = "ana@laptop",
                       .working_dir = "/home/ana/cars",
                       .version = "0.1.0"};
  if (breaks_output) out.setstate(std::ios::badbit);
  std::vector<const char*> argv = {"cd4ml"};
  for (const std::string& word : words) argv.push_back(word.c_str());
  const int code = RunCli(static_cast<int>(argv.size()), argv.data(), ports);
  return {code, out.str(), err.str()};
}

core::Run MakeRun(int64_t number) {
  using core::StageKind;
  core::Run run;
  run.id = "used-car-price/" + std::to_string(number);
  run.pipeline = "used-car-price";
  run.number = number;
  run.lane = "production";
  run.trigger = {core::TriggerKind::kDispatch, "key-1", "ana@laptop", "deeper trees"};
  run.pins.repo = "/srv/git/cars.git";
  run.pins.commit = "9f2c1aa0000000000000000000000000000000aa";
  run.pins.commit_subject = "Use log mileage";
  run.pins.file = "used-car-price.cd4ml.yaml";
  core::Version listings;
  listings.kind = core::VersionKind::kData;
  listings.name = "used-car-price/listings";
  listings.digest = "3fa1" + std::string(60, '0');
  listings.summary = "12,000 rows";
  run.pins.materials["listings"] = listings;
  run.pins.params = Value::Map{{"train", Value::Map{{"max_depth", 1}, {"seed", 7}}}};
  run.pins.param_sources = {{"train.max_depth", "trigger"}, {"train.seed", "params.yaml"}};
  run.created = kStart;
  run.stages = {MakeStage("validate-data", StageKind::kDataGate, {}),
                MakeStage("train", StageKind::kTrain, {"validate-data"}),
                MakeStage("error-gate", StageKind::kModelGate, {"train", "validate-data"}),
                MakeStage("package", StageKind::kPackage, {"error-gate"}),
                MakeStage("contract-gate", StageKind::kContractGate, {"package"}),
                MakeStage("release", StageKind::kDeploy, {"contract-gate"}),
                MakeStage("watch", StageKind::kMonitor, {"release"})};
  run.stages[5].plan.environment = "production";
  core::Reindex(run);
  return run;
}

void Begin(core::Run& run, const std::string& name, Duration at) {
  core::StageRun& stage = *run.FindStage(name);
  stage.state = core::StageState::kRunning;
  core::Attempt attempt;
  attempt.number = static_cast<int>(stage.attempts.size()) + 1;
  attempt.agent = "agent-a";
  attempt.state = core::AttemptState::kStarted;
  attempt.granted = attempt.started = kStart + at;
  stage.attempts.push_back(attempt);
}

void End(core::Run& run, const std::string& name, Duration at, core::Outcome outcome) {
  core::StageRun& stage = *run.FindStage(name);
  const bool passed = outcome.state == core::AttemptState::kSucceeded;
  stage.state = passed ? core::StageState::kSucceeded : core::StageState::kFailed;
  stage.reason = outcome.reason;
  stage.message = outcome.message;
  stage.ended = kStart + at;
  if (!stage.attempts.empty()) {
    stage.attempts.back().state = outcome.state;
    stage.attempts.back().ended = kStart + at;
    stage.attempts.back().outcome = outcome;
  }
  if (passed) return;
  run.state = core::RunState::kFailed;
  run.reason = outcome.reason;
  run.message = outcome.message;
  run.ended = kStart + at;
  for (core::StageRun& later : run.stages) {
    if (later.state != core::StageState::kBlocked) continue;
    later.state = core::StageState::kSkipped;
    later.reason = core::Reason::kNeedFailed;
    later.message = "needs " + name;
    later.ended = kStart + at;
  }
}

core::Outcome Passed(std::map<std::string, double> metrics) {
  core::Outcome outcome;
  outcome.state = core::AttemptState::kSucceeded;
  outcome.metrics = std::move(metrics);
  return outcome;
}

core::Outcome WithRules(std::vector<core::RuleResult> rules) {
  core::Outcome outcome = Passed();
  outcome.verdict = core::Conclude(std::move(rules));
  if (core::Blocks(outcome.verdict->outcome)) {
    outcome.state = core::AttemptState::kFailed;
    outcome.reason = core::Reason::kGateRejected;
    outcome.message = core::BlockingReason(*outcome.verdict);
  }
  return outcome;
}

namespace {

using core::VerdictOutcome;

core::Run TrainedRun(int64_t number) {
  core::Run run = MakeRun(number);
  Begin(run, "validate-data", Duration(200));
  End(run, "validate-data", Duration(12'000),
      WithRules({MakeRule("enough-rows", VerdictOutcome::kPass, "12,000 rows", ">= 5000 rows", 0),
                 MakeRule("drift", VerdictOutcome::kWarn, "0.31", "<= 0.25", 2000)}));
  Begin(run, "train", Duration(12'100));
  return run;
}

}  // namespace

RunView RunningRun() { return {TrainedRun(4), {}}; }

RunView WaitingRun() {
  RunView view{TrainedRun(5), {{"train", "1 agent lacks label \"gpu\""}}};
  view.run.FindStage("train")->state = core::StageState::kReady;
  view.run.FindStage("train")->attempts.clear();
  return view;
}

RunView PassedRun() {
  core::Run run = TrainedRun(1);
  End(run, "train", Duration(60'000), Passed({{"mae", 1513.2}, {"r2", 0.861}, {"r2.train", 0.92}}));
  Begin(run, "error-gate", Duration(60'100));
  End(run, "error-gate", Duration(64'000),
      WithRules({MakeRule("mae", VerdictOutcome::kPass, "1513.2", "<= 1650", 3120)}));
  Begin(run, "package", Duration(64'100));
  End(run, "package", Duration(70'000), Passed());
  Begin(run, "contract-gate", Duration(70'100));
  End(run, "contract-gate", Duration(75'000),
      WithRules({MakeRule("parity", VerdictOutcome::kPass, "0 mismatches", "<= 0", 200)}));
  Begin(run, "release", Duration(75'100));
  core::Outcome live = Passed();
  live.service = core::StartedService{"http://127.0.0.1:40123", "agent-a"};
  End(run, "release", Duration(77'000), live);
  End(run, "watch", Duration(77'100), Passed());
  run.state = core::RunState::kSucceeded;
  run.ended = kStart + Duration(77'100);
  return {run, {}};
}

RunView RejectedRun() {
  core::Run run = TrainedRun(2);
  End(run, "train", Duration(260'000), Passed({{"mae", 2710.4}}));
  Begin(run, "error-gate", Duration(260'100));
  core::RuleResult mae = MakeRule("mae", VerdictOutcome::kFail, "2710.4", "<= 1650", 3120);
  mae.baseline = "used-car-price/1 = 1513.2";
  mae.message = "over by 1060.4 (64.3 %)";
  mae.rows = {"brand=lada: 6120.5 (n=214)"};
  End(run, "error-gate", Duration(272'000),
      WithRules({mae, MakeRule("r2", VerdictOutcome::kPass, "0.831", ">= 0.8", 3120)}));
  return {run, {}};
}

RunView FailedRun() {
  core::Run run = TrainedRun(3);
  core::Outcome outcome;
  outcome.reason = core::Reason::kExitCode;
  outcome.exit_code = 3;
  outcome.message = "the command exited with 3";
  End(run, "train", Duration(30'000), outcome);
  return {run, {}};
}

RunView QueuedRun() {
  core::Run run = MakeRun(6);
  run.state = core::RunState::kQueued;
  run.priority = 5;
  run.concurrency = {.group = "prices", .policy = core::ConcurrencyPolicy::kLatest, .limit = 1};
  return {run, {}, "waits for used-car-price/4: concurrency group \"prices\" lets 1 run at a time"};
}

RunView RetriedRun() {
  core::Run run = MakeRun(7);
  run.retry_of = "used-car-price/3";
  run.trigger.kind = core::TriggerKind::kRetry;
  core::StageRun& validated = run.stages[0];
  validated.carried = core::Carried{{"used-car-price/3", "validate-data", 1}, Passed()};
  End(run, "validate-data", Duration(0), Passed());
  Begin(run, "train", Duration(100));
  core::Attempt& lost = run.FindStage("train")->attempts.back();
  lost.state = lost.outcome.state = core::AttemptState::kLost;
  lost.ended = kStart + Duration(20'000);
  lost.outcome.reason = core::Reason::kAgentLost;
  lost.outcome.message = "agent \"agent-a\" has been silent for 10s";
  Begin(run, "train", Duration(21'000));
  return {run, {}};
}

RunView SupersededRun() {
  core::Run run = MakeRun(8);
  run.state = core::RunState::kCancelled;
  run.reason = core::Reason::kSuperseded;
  run.cancel_requested = true;
  run.cancel_reason = run.message = "superseded by run used-car-price/9";
  run.superseded_by = "used-car-price/9";
  run.ended = kStart + Duration(3'000);
  for (core::StageRun& stage : run.stages) {
    stage.state = core::StageState::kCancelled;
    stage.reason = run.reason;
    stage.message = run.message;
    stage.ended = run.ended;
  }
  return {run, {}};
}

}  // namespace cd4ml::cli
