// Commit and Load: what was committed is there, what contradicts it is refused.
#include <random>

#include "cd4ml/core/retry.h"
#include "fixture.h"
#include "raw.h"
#include "store/encode.h"

namespace cd4ml::store {
namespace {

class Store : public StoreTest {
 protected:
  core::Run Started(int64_t number) {
    core::Run run;
    EXPECT_TRUE(Do(run, CarRun(number)).ok());
    return run;
  }
  // Commits events as they are, past the rules.
  absl::Status Force(const core::Run& run, std::vector<core::Event> events, int64_t gap = 0) {
    return store_->Commit({RunChange{run.id, run.next_seq + gap, Tick(), std::move(events)}});
  }
};

// Everything that a run is, as text.
std::string Describe(const core::Run& run) {
  core::RunStarted started{.id = run.id,
                           .pipeline = run.pipeline,
                           .number = run.number,
                           .lane = run.lane,
                           .priority = run.priority,
                           .concurrency = run.concurrency,
                           .retry_of = run.retry_of,
                           .trigger = run.trigger,
                           .pins = run.pins};
  std::string text;
  const auto add = [&text](const auto&... parts) { ((text += parts, text += '|'), ...); };
  const auto time = [](UtcTime at) { return std::to_string(at.ms); };
  for (const core::StageRun& stage : run.stages) started.stages.push_back(stage.plan);
  add(*EncodeEvent(started), core::ToText(run.state), core::ToText(run.reason), run.message,
      run.cancel_reason, std::to_string(run.cancel_requested), run.superseded_by, time(run.created), time(run.ended),
      std::to_string(run.next_seq), std::to_string(run.open_stages));
  for (const core::StageRun& stage : run.stages) {
    add("\n" + stage.plan.name, core::ToText(stage.state), core::ToText(stage.reason),
        stage.message, time(stage.ready), time(stage.ended), time(stage.not_before),
        time(stage.first_ready), std::to_string(stage.open_needs),
        stage.stop ? *EncodeEvent(core::StopRequested{stage.plan.name, *stage.stop}) : "",
        stage.carried ? *EncodeEvent(core::StageCarried{stage.plan.name, *stage.carried}) : "");
    for (const core::Attempt& attempt : stage.attempts) {
      add("\n  " + std::to_string(attempt.number), attempt.agent, core::ToText(attempt.state),
          time(attempt.granted), time(attempt.started), time(attempt.ended),
          core::IsTerminal(attempt.state)
              ? *EncodeEvent(core::AttemptEnded{stage.plan.name, attempt.number, attempt.state,
                                                attempt.outcome})
              : "");
    }
  }
  return text;
}

TEST_F(Store, LoadsAnOpenRunAsItWasCommitted) {
  core::Run run = Started(1);
  ASSERT_OK(Perform(run, "validate", GoodOutcome("validate", "x")));
  ASSERT_OK(Do(run, core::GrantLease{"train", "agent-1"}));
  Open();

  auto state = store_->Load();

  ASSERT_OK(state.status());
  ASSERT_EQ(state->open_runs.size(), 1u);
  EXPECT_EQ(Describe(state->open_runs[0]), Describe(run));
  EXPECT_EQ(state->last_run_number.at("car"), 1);
  ASSERT_OK(Do(state->open_runs[0], core::ReportStarted{"train", 1, "agent-1"}));
}

TEST_F(Store, LoadsPipelinesAgentsMonitorsAndWhatIsLive) {
  PipelineRecord pipeline = Pipeline("car");
  pipeline.description = "prices";
  pipeline.good_commit = "abc";
  pipeline.bad_commit = "def";
  pipeline.problems.emplace_back().message = "what";
  pipeline.problems[0].place = {3, 4, 5};
  AgentRecord agent{"agent-1", "i", "h", "0.1", {"gpu"}, 4, {2'000, 1 << 30, 1}, true, "repair",
                    Value::Map{{"cpus", 2}}, UtcTime{1}, UtcTime{2}};
  core::MonitorState monitor;
  monitor.pipeline = "car";
  monitor.stage = "watch";
  monitor.environment = "production";
  monitor.deployment = "car/1/release";
  monitor.definition = Sha256("d");
  monitor.armed = UtcTime{1};
  monitor.next_check = UtcTime{2};
  monitor.checks = 3;
  monitor.broken = {{"drift", 2}};
  monitor.retrains = {UtcTime{7}};
  monitor.retrains_without_recovery = 1;
  monitor.given_up = true;
  RunCar(1, "one");
  RunCar(2, "two");
  ASSERT_OK(store_->Commit(
      {PipelineChange{pipeline}, AgentChange{agent}, MonitorChange{monitor, std::nullopt}}));
  Open();

  auto state = store_->Load();

  ASSERT_OK(state.status());
  EXPECT_TRUE(state->open_runs.empty());
  ASSERT_EQ(state->pipelines.size(), 1u);
  EXPECT_EQ(state->pipelines[0].problems, pipeline.problems);
  EXPECT_EQ(state->pipelines[0].bad_commit, "def");
  ASSERT_EQ(state->agents.size(), 1u);
  EXPECT_EQ(state->agents[0].facts, agent.facts);
  EXPECT_EQ(state->agents[0].labels, agent.labels);
  EXPECT_EQ(state->agents[0].resources, agent.resources);
  EXPECT_TRUE(state->agents[0].drained);
  EXPECT_EQ(state->agents[0].drain_reason, "repair");
  ASSERT_EQ(state->live.size(), 1u);
  EXPECT_EQ(state->live[0].id, "car/2/release");
  EXPECT_EQ(state->live[0].replaced, "car/1/release");
  EXPECT_EQ(state->live[0].agent, "agent-1");
  ASSERT_EQ(state->monitors.size(), 1u);
  const core::MonitorState& back = state->monitors[0];
  EXPECT_EQ(std::tie(back.pipeline, back.stage, back.environment, back.deployment, back.definition,
                     back.armed, back.next_check, back.checks, back.broken, back.retrains,
                     back.retrains_without_recovery, back.given_up),
            std::tie(monitor.pipeline, monitor.stage, monitor.environment, monitor.deployment,
                     monitor.definition, monitor.armed, monitor.next_check, monitor.checks,
                     monitor.broken, monitor.retrains, monitor.retrains_without_recovery,
                     monitor.given_up));
}

// Random walks through the rules: tables, events and memory tell the same.
TEST_F(Store, TablesEqualTheFoldOfEvents) {
  std::mt19937 random(7);
  const auto pick = [&random](size_t count) {
    return std::uniform_int_distribution<size_t>(0, count - 1)(random);
  };
  std::vector<core::Run> runs;
  for (int64_t number = 1; number <= 60; ++number) {
    core::StartRun start = CarRun(number);
    start.queued = pick(3) == 0;
    for (core::StagePlan& plan : start.stages) plan.total_timeout = Duration(10'000 * pick(2));
    if (!runs.empty()) {
      const auto selection =
          core::SelectForRetry(runs.back(), start.stages, core::RetryScope::kFailed, "");
      if (selection.ok()) {
        start.retry_of = runs.back().id;
        start.carried = selection->carried;
      }
    }
    core::Run run;
    ASSERT_OK(Do(run, start));
    for (int step = 0; step < 40 && !core::IsTerminal(run.state); ++step) {
      const core::StageRun& stage = run.stages[pick(run.stages.size())];
      const core::Attempt* latest = stage.latest();
      const int attempt = latest == nullptr ? 1 : latest->number;
      core::Outcome outcome = GoodOutcome(stage.plan.name, std::to_string(number));
      if (pick(4) == 0) {
        outcome.state = core::AttemptState::kFailed;
        outcome.reason = pick(2) == 0 ? core::Reason::kInfra : core::Reason::kExitCode;
        outcome.message = "it failed";
      }
      const std::vector<core::Command> commands = {
          core::GrantLease{stage.plan.name, "agent"},
          core::GrantLease{stage.plan.name, "agent"},
          core::ReportStarted{stage.plan.name, attempt, "agent"},
          core::ReportFinished{stage.plan.name, attempt, "agent", outcome},
          core::ReportFinished{stage.plan.name, attempt, "agent", outcome},
          core::LoseLease{stage.plan.name, attempt, "silent"},
          core::AdmitRun{},
          core::Tick{},
          core::SupersedeStage{stage.plan.name, "car/99"}};
      const absl::Status done = pick(60) == 0 ? Do(run, core::CancelRun{"enough", pick(2) == 0 ? "car/99" : ""})
                                              : Do(run, commands[pick(commands.size())]);
      ASSERT_FALSE(absl::IsInvalidArgument(done))
          << done.ToString();  // The store's word; refusals are others.
    }
    runs.push_back(std::move(run));
  }
  Open();

  auto state = store_->Load();

  ASSERT_OK(state.status());
  std::map<std::string, std::string> loaded;
  for (const core::Run& run : state->open_runs) loaded[run.id] = Describe(run);
  RawDatabase raw(options_.path);
  for (const core::Run& run : runs) {
    core::Run folded;
    for (const auto& row :
         raw.Rows("SELECT e.kind, e.payload, e.at_ms FROM run_event e JOIN run r ON r.id = e.run "
                  "WHERE r.number = " +
                  std::to_string(run.number) + " ORDER BY e.seq")) {
      auto event = DecodeEvent(row[0], row[1]);
      ASSERT_OK(event.status());
      core::Apply(*event, UtcTime{std::stoll(row[2])}, folded);
    }
    EXPECT_EQ(Describe(folded), Describe(run));
    auto table = history().GetRun(run.id);
    ASSERT_OK(table.status());
    EXPECT_EQ(Describe(*table), Describe(run));
    EXPECT_EQ(loaded.contains(run.id), run.state == core::RunState::kRunning);
    if (loaded.contains(run.id)) {
      EXPECT_EQ(loaded[run.id], Describe(run));
    }
  }
  EXPECT_GT(loaded.size(), 3u);
  EXPECT_LT(loaded.size(), 57u);
}

TEST_F(Store, RefusesASecondResultOfAnAttempt) {
  core::Run run = Started(1);
  ASSERT_OK(Do(run, core::GrantLease{"validate", "agent-1"}));
  core::Run before = run;
  ASSERT_OK(Do(run, core::ReportFinished{"validate", 1, "agent-1", GoodOutcome("validate", "x")}));

  const absl::Status second =
      Force(run, {core::AttemptEnded{"validate", 1, core::AttemptState::kFailed, core::Outcome{}}});

  EXPECT_TRUE(absl::IsInvalidArgument(second)) << second.ToString();
  EXPECT_EQ(Describe(*history().GetRun("car/1")), Describe(run));
}

TEST_F(Store, RefusesWhatAStaleAttemptSays) {
  core::Run run = Started(1);
  ASSERT_OK(Perform(run, "validate", GoodOutcome("validate", "x")));
  ASSERT_OK(Do(run, core::GrantLease{"train", "agent-1"}));
  ASSERT_OK(Do(run, core::LoseLease{"train", 1, "silent"}));
  ASSERT_OK(Do(run, core::GrantLease{"train", "agent-2"}));

  for (const core::Event& event : std::vector<core::Event>{
           core::AttemptStarted{"train", 1},
           core::AttemptEnded{"train", 1, core::AttemptState::kSucceeded, {}},
           core::AttemptStarted{"train", 3},
           core::AttemptEnded{"train", 3, core::AttemptState::kSucceeded, {}},
           core::LeaseGranted{"train", 3, "agent-3"}, core::LeaseGranted{"evaluate", 1, "agent-3"},
           core::AttemptStarted{"nowhere", 1},
           core::VersionsProduced{"train", 9, {DataVersion("x")}, {}}}) {
    const absl::Status status = Force(run, {event});
    EXPECT_TRUE(absl::IsInvalidArgument(status))
        << core::EventName(event) << ": " << status.ToString();
  }
  EXPECT_EQ(Describe(*history().GetRun("car/1")), Describe(run));
  ASSERT_OK(Do(run, core::ReportStarted{"train", 2, "agent-2"}));
}

TEST_F(Store, RefusesAGapOrAnOverlapInARunsEvents) {
  core::Run run = Started(1);
  for (const int64_t gap : {-1, 1}) {
    const absl::Status status = Force(run, {core::CancelRequested{"x"}}, gap);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status.ToString();
  }
  ASSERT_OK(Force(run, {core::CancelRequested{"x"}}));
}

TEST_F(Store, MakesAllChangesOfACommitOrNone) {
  core::Run run = Started(1);
  const absl::Status status =
      store_->Commit({PipelineChange{Pipeline("other")},
                      RunChange{"car/1", run.next_seq, Tick(), {core::CancelRequested{"x"}}},
                      RunChange{"car/9", 5, Tick(), {core::CancelRequested{"x"}}}});

  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status.ToString();
  auto state = store_->Load();
  ASSERT_OK(state.status());
  EXPECT_EQ(state->pipelines.size(), 1u);
  EXPECT_FALSE(state->open_runs[0].cancel_requested);
  ASSERT_OK(Do(run, core::CancelRun{"now"}));
}

TEST_F(Store, StartsOneRunPerIdempotencyKey) {
  core::StartRun start = CarRun(1);
  start.trigger.key = "delivery-1";
  core::Run run;
  ASSERT_OK(Do(run, start));
  start.number = 2;
  start.id = "car/2";

  core::Run second;
  const absl::Status status = Do(second, start);

  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status.ToString();
  EXPECT_EQ(*store_->FindByKey("delivery-1"), std::optional<core::RunId>("car/1"));
  EXPECT_EQ(*store_->FindByKey("delivery-2"), std::nullopt);
  EXPECT_EQ(*store_->FindByKey(""), std::nullopt);
}

TEST_F(Store, RefusesRunsThatCannotBe) {
  core::StartRun unknown = CarRun(1);
  unknown.pipeline = "bike";
  unknown.id = "bike/1";
  core::StartRun twice = CarRun(1);
  twice.stages[1].name = "validate";
  twice.stages[1].needs.clear();
  core::StartRun odd = CarRun(1);
  odd.id = "car/7";
  for (const core::StartRun& start : {unknown, odd}) {
    core::Run run;
    EXPECT_TRUE(absl::IsInvalidArgument(Do(run, start)));
  }
  const absl::Status status =
      store_->Commit({RunChange{"car/1",
                                1,
                                Tick(),
                                {core::RunStarted{.id = "car/1",
                                                  .pipeline = "car",
                                                  .number = 1,
                                                  .lane = "",
                                                  .trigger = {},
                                                  .pins = {},
                                                  .stages = twice.stages}}}});
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status.ToString();
  Started(1);
  core::Run again;
  EXPECT_TRUE(absl::IsInvalidArgument(Do(again, CarRun(1))));
}

TEST_F(Store, KeepsTheFirstOfRepeatedPredictions) {
  RunCar(1, "one");
  const PredictionRecord first{"car/1/release", "k1", UtcTime{5}, Value::Map{{"age", 3}}, 1.0};
  PredictionRecord changed = first;
  changed.prediction = 2.0;
  PredictionRecord other = first;
  other.key = "k2";
  int64_t added = -1;

  ASSERT_OK(store_->Commit({PredictionChange{{first}}}));
  ASSERT_OK(store_->Commit({PredictionChange{{changed, other, other}, &added}}));

  EXPECT_EQ(added, 1);
  auto predictions = history().Predictions("car/1/release", UtcTime{0}, UtcTime{10}, 10);
  ASSERT_OK(predictions.status());
  ASSERT_EQ(predictions->size(), 2u);
  EXPECT_EQ((*predictions)[0].prediction, 1.0);
  EXPECT_EQ((*predictions)[0].input, first.input);
  PredictionRecord foreign = first;
  foreign.deployment = "car/9/release";
  EXPECT_TRUE(absl::IsInvalidArgument(store_->Commit({PredictionChange{{foreign}}})));
  PredictionRecord nameless = first;
  nameless.key = "";
  EXPECT_TRUE(absl::IsInvalidArgument(store_->Commit({PredictionChange{{nameless}}})));
}

TEST_F(Store, LedgerAndEventsAreAppendOnly) {
  RunCar(1, "one");
  RunCar(2, "two");
  store_.reset();
  RawDatabase raw(options_.path);

  for (const char* sql :
       {"DELETE FROM deployment", "DELETE FROM run_event", "UPDATE run_event SET payload = '{}'",
        "UPDATE deployment SET ended_ms = NULL",
        "UPDATE deployment SET ended_ms = 5 WHERE ended_ms IS NOT NULL",
        "UPDATE deployment SET endpoint = 'x', ended_ms = 5 WHERE ended_ms IS NULL",
        "UPDATE deployment SET package = model, ended_ms = 5 WHERE ended_ms IS NULL",
        "UPDATE deployment SET model = NULL, ended_ms = 5 WHERE ended_ms IS NULL",
        "UPDATE deployment SET replaced = NULL, ended_ms = 5 WHERE ended_ms IS NULL"}) {
    EXPECT_NE(raw.Execute(sql), "") << sql;
  }
  EXPECT_EQ(raw.Execute("UPDATE deployment SET ended_ms = 5 WHERE ended_ms IS NULL"), "");
}

TEST_F(Store, BelongsToOneProcess) {
  auto second = OpenStateStore(options_);

  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(Message(second.status()).find("in use by process " + std::to_string(getpid())),
            std::string::npos)
      << second.status().ToString();
  store_.reset();
  EXPECT_TRUE(OpenStateStore(options_).ok());
}

TEST_F(Store, LivesInMemoryWhenAsked) {
  auto store = OpenStateStore({.path = ":memory:"});
  ASSERT_OK(store.status());
  ASSERT_OK((*store)->Commit({PipelineChange{Pipeline("car")}}));
  (*store)->Idle();
  EXPECT_EQ((*store)->Load()->pipelines.size(), 1u);
  EXPECT_FALSE(OpenHistory({.path = ":memory:"}).ok());
}

}  // namespace
}  // namespace cd4ml::store
